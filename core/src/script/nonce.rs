//! The word that marks the lines of one reply.

use std::fmt;

/// 16 hex digits that start every line of a reply: what login files print does not look like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        // Without the kernel's random source nothing on this machine works; there is no way on.
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(format!("{:016x}", u64::from_be_bytes(bytes)))
    }

    /// A known word, for tests and snapshots.
    pub fn fixed(word: &str) -> Self {
        Self(word.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
