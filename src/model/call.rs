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
}

impl Call {
    pub fn new(function: &'static str, args: impl IntoIterator<Item = Arg>) -> Self {
        Self { function, args: args.into_iter().collect() }
    }

    /// An argument of a call of this function; none of any other.
    pub fn argument_of(&self, function: &str, index: usize) -> Option<&str> {
        self.args.get(index).filter(|_| self.function == function).map(|arg| arg.text.as_str())
    }

    pub fn function(&self) -> &'static str {
        self.function
    }

    /// A call of a function that makes this call: it gets its name and arguments after its own.
    pub fn made_by(self, function: &'static str, args: impl IntoIterator<Item = Arg>) -> Self {
        let name = Arg { text: self.function.to_owned(), secret: false };
        Self { function, args: args.into_iter().chain([name]).chain(self.args).collect() }
    }

    /// The line the host's shell reads, secrets included.
    pub fn for_host(&self) -> String {
        self.args.iter().fold(self.function.to_owned(), |line, arg| line + " " + &arg.quoted())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
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
