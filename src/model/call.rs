//! A call of one prelude function: the only way data reaches a shell.

use std::fmt;

use serde::{Serialize, Serializer};

/// An argument held a NUL byte, which no shell can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a NUL byte cannot be passed to a shell")]
pub struct NulInArgument;

/// One argument: any text without NUL, quoted when written; a secret shows as `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Arg {
    text: String,
    secret: bool,
}

impl Arg {
    pub fn new(text: impl Into<String>) -> Result<Self, NulInArgument> {
        let text = text.into();
        if text.contains('\0') { Err(NulInArgument) } else { Ok(Self { text, secret: false }) }
    }

    /// Redacted wherever a script is displayed; the host gets it.
    pub fn secret(text: impl Into<String>) -> Result<Self, NulInArgument> {
        Ok(Self { secret: true, ..Self::new(text)? })
    }

    /// Text that only people read: NUL is left out instead of refused.
    pub fn lossy(text: &str) -> Self {
        Self { text: text.replace('\0', ""), secret: false }
    }

    fn quoted(&self) -> String {
        quoted(&self.text)
    }
}

/// A text as one word of a shell's script, whatever is in it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str("<secret>") } else { f.write_str(&self.quoted()) }
    }
}

/// A call of one prelude function; the name is a literal, every argument is quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    function: &'static str,
    args: Vec<Arg>,
    /// Functions that make the call, with their own arguments: the last one is called first.
    makers: Vec<(&'static str, Vec<Arg>)>,
}

impl Call {
    pub fn new(function: &'static str, args: impl IntoIterator<Item = Arg>) -> Self {
        Self { function, args: args.into_iter().collect(), makers: Vec::new() }
    }

    /// An argument of a call of this function, whoever makes the call; none of any other.
    pub fn argument_of(&self, function: &str, index: usize) -> Option<&str> {
        self.args.get(index).filter(|_| self.function == function).map(|arg| arg.text.as_str())
    }

    /// What is called, whoever makes the call.
    pub fn function(&self) -> &'static str {
        self.function
    }

    /// A call of a function that makes this call: it gets its name and arguments after its own.
    #[must_use]
    pub fn made_by(mut self, function: &'static str, args: impl IntoIterator<Item = Arg>) -> Self {
        self.makers.push((function, args.into_iter().collect()));
        self
    }

    /// The line the host's shell reads, secrets included.
    pub fn for_host(&self) -> String {
        self.line(Arg::quoted)
    }

    fn line(&self, show: impl Fn(&Arg) -> String) -> String {
        let own = (self.function, &self.args);
        let all = self.makers.iter().rev().map(|(function, args)| (*function, args)).chain([own]);
        let mut line = String::new();
        for (number, (function, args)) in all.enumerate() {
            // One that is made is an argument itself.
            line += &if number == 0 { function.to_owned() } else { format!(" {}", quoted(function)) };
            args.iter().for_each(|arg| line += &format!(" {}", show(arg)));
        }
        line
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(Arg::to_string))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Call {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
