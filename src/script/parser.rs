//! Lines of a reply -> records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::record::decode_id;
use super::{Nonce, Record};

/// Reads the lines of one reply. Lines that do not start with its nonce are noise of login files.
#[derive(Clone, Debug)]
pub struct Parser {
    prefix: String,
}

impl Parser {
    pub fn new(nonce: &Nonce) -> Self {
        Self { prefix: format!("{nonce} ") }
    }

    /// The record of one line, without its line end; `None` for noise.
    pub fn line(&mut self, line: &str) -> Option<Record> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (kind, rest) = split_word(line.strip_prefix(&self.prefix)?);
        match kind {
            "seen" => {
                let (id, rest) = split_word(rest);
                let (key, value) = split_word(rest);
                Some(Record::Seen { id: decode_id(id)?, key: key.to_owned(), value: value_of(value)? })
            }
            "begin" => Some(Record::Begin { id: decode_id(rest)? }),
            "finish" => {
                let (id, rest) = split_word(rest);
                let (status, output) = split_word(rest);
                Some(Record::End {
                    id: decode_id(id)?,
                    status: status.parse().ok()?,
                    output: text_of(output)?,
                })
            }
            "locked" => Some(Record::LockHeld { holder: text_of(rest)?.trim_end().to_owned() }),
            "end" if rest.is_empty() => Some(Record::Finished),
            _ => None,
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// A value as `encode` of the prelude makes it: `=` and plain text, or `~` and base64.
fn value_of(word: &str) -> Option<Vec<u8>> {
    match word.as_bytes().split_first()? {
        (b'=', plain) => Some(plain.to_vec()),
        (b'~', encoded) => STANDARD.decode(encoded).ok(),
        _ => None,
    }
}

fn text_of(word: &str) -> Option<String> {
    value_of(word).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Record> {
        Parser::new(&Nonce::fixed("00ff")).line(line)
    }

    #[test]
    fn each_kind_of_line() {
        let seen = |id: &str, key: &str, value: &[u8]| {
            Some(Record::Seen { id: id.into(), key: key.into(), value: value.to_vec() })
        };
        assert_eq!(parse("00ff seen facts arch =x86_64"), seen("facts", "arch", b"x86_64"));
        assert_eq!(parse("00ff seen file+/a stat =640 0 0 "), seen("file /a", "stat", b"640 0 0 "));
        assert_eq!(parse("00ff seen file+/a body ~AP8K"), seen("file /a", "body", b"\x00\xff\n"));
        assert_eq!(parse("00ff seen facts machine-id ="), seen("facts", "machine-id", b""));
        assert_eq!(parse("00ff begin unit+a.service"), Some(Record::Begin { id: "unit a.service".into() }));
        assert_eq!(
            parse("00ff finish unit+a.service 1 ~bm8K"),
            Some(Record::End { id: "unit a.service".into(), status: 1, output: "no\n".into() })
        );
        assert_eq!(
            parse("00ff locked ~YWRhQGxhcHRvcCBzaW5jZSAxMjowMAo="),
            Some(Record::LockHeld { holder: "ada@laptop since 12:00".into() })
        );
        assert_eq!(parse("00ff end"), Some(Record::Finished));
        assert_eq!(parse("00ff end\r"), Some(Record::Finished));
    }

    #[test]
    fn everything_else_is_noise() {
        for line in [
            "",
            "Welcome to Debian!",
            "00ff",
            " 00ff end",
            "00fe end",
            "00ff end of the world",
            "00ff seen",
            "00ff seen facts arch",
            "00ff seen facts arch x86_64",
            "00ff seen facts body ~cut",
            "00ff finish a many ~",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
