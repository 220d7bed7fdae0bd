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

    /// What the host gets: not to be shown, it may be a secret.
    pub fn as_str(&self) -> &str {
        &self.text
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

/// What many probes of a look ask for, so that one process on the host answers them all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefetch {
    pub of: PrefetchOf,
    /// A path, or a name.
    pub name: String,
}

/// What is asked, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrefetchOf {
    /// What is in a file, and all that follows.
    Content,
    /// The sha256 of a file, and all that follows.
    Digest,
    /// Type, mode, owners and size of what is at a path, and where a link leads.
    Path,
    /// The state of a unit.
    Unit,
    /// The lines of an account.
    User,
    Group,
    /// Whether a package is installed.
    Package,
}

impl PrefetchOf {
    pub fn named(self, name: impl Into<String>) -> Prefetch {
        Prefetch { of: self, name: name.into() }
    }
}

/// A call of one prelude function; the name is a literal, every argument is quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    function: &'static str,
    args: Vec<Arg>,
    prefetch: Vec<Prefetch>,
    /// Functions that make the call, with their own arguments: the last one is called first.
    makers: Vec<(&'static str, Vec<Arg>)>,
}

impl Call {
    pub fn new(function: &'static str, args: impl IntoIterator<Item = Arg>) -> Self {
        Self { function, args: args.into_iter().collect(), prefetch: Vec::new(), makers: Vec::new() }
    }

    /// The same, with what it will ask for. What is left out here it asks for by itself.
    #[must_use]
    pub fn with_prefetch(mut self, prefetch: impl IntoIterator<Item = Prefetch>) -> Self {
        self.prefetch.extend(prefetch);
        self
    }

    /// What it will ask for, as far as it was said.
    pub fn prefetch(&self) -> &[Prefetch] {
        &self.prefetch
    }

    /// An argument of a call of this function, whoever makes the call; none of any other.
    pub fn argument_of(&self, function: &str, index: usize) -> Option<&str> {
        self.arguments_of(function)?.get(index).map(Arg::as_str)
    }

    /// All arguments of a call of this function, whoever makes the call.
    pub fn arguments_of(&self, function: &str) -> Option<&[Arg]> {
        (self.function == function).then_some(&*self.args)
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

    /// The arguments of a function that makes this call.
    pub fn maker(&self, function: &str) -> Option<&[Arg]> {
        self.makers.iter().find(|(maker, _)| *maker == function).map(|(_, args)| &**args)
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
