//! The mode of a file, as four octal digits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Permission bits of a file or folder: `0640`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(u16);

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no file mode: four octal digits in quotes, like \"0640\"")]
pub struct ModeError(String);

impl FileMode {
    pub const fn new(bits: u16) -> Self {
        Self(bits & 0o7777)
    }

    /// From what `stat -c %a` prints: no leading zeros.
    pub fn parse_stat(text: &str) -> Option<Self> {
        u16::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777).map(Self)
    }

    /// Whether its owner may run it.
    pub const fn is_executable(self) -> bool {
        self.0 & 0o100 != 0
    }
}

impl TryFrom<String> for FileMode {
    type Error = ModeError;

    fn try_from(text: String) -> Result<Self, ModeError> {
        let four_digits = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        four_digits.then(|| Self::parse_stat(&text)).flatten().ok_or(ModeError(text))
    }
}

impl From<FileMode> for String {
    fn from(mode: FileMode) -> String {
        mode.to_string()
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_octal_digits_and_nothing_else() {
        let parse = |text: &str| FileMode::try_from(text.to_owned());
        assert_eq!(parse("0640").unwrap().to_string(), "0640");
        assert_eq!(parse("1777").unwrap().to_string(), "1777");
        for text in ["640", "0o640", "00640", "0680", "u=rw", "+640", ""] {
            assert_eq!(parse(text), Err(ModeError(text.into())), "{text}");
        }
    }

    #[test]
    fn stat_leaves_zeros_out() {
        assert_eq!(FileMode::parse_stat("0"), Some(FileMode::new(0)));
        assert_eq!(FileMode::parse_stat("755"), Some(FileMode::new(0o755)));
        assert_eq!(FileMode::parse_stat("?"), None);
    }
}
