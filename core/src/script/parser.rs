//! Lines of a reply -> records.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::record::decode_id;
use super::{Nonce, Record};
use crate::model::hex;

/// How much of what a probe's programs print besides its records is kept, in bytes.
const NOISE_LIMIT: usize = 16 << 10;

/// Reads the lines of one reply. Lines without its nonce are noise of login files, or what the programs of a probe say on stderr: why
/// it failed, where it failed.
#[derive(Clone, Debug)]
pub struct Parser {
    prefix: String,
    /// What was printed since the running probe began.
    noise: String,
    /// The files of which the content comes in one piece, in its order.
    parts: Vec<Part>,
    /// That content by path, as far as it is what the file's digest says.
    contents: HashMap<String, Vec<u8>>,
}

/// A file among others that are read together.
#[derive(Clone, Debug)]
struct Part {
    path: String,
    /// In bytes.
    size: usize,
    sha256: String,
}

impl Parser {
    pub fn new(nonce: &Nonce) -> Self {
        Self {
            prefix: format!("{nonce} "),
            noise: String::new(),
            parts: Vec::new(),
            contents: HashMap::new(),
        }
    }

    /// The record of one line, without its line end; `None` for noise, and for what only the parser needs.
    pub fn line(&mut self, line: &str) -> Option<Record> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        // A program may leave its last line without an end.
        let Some((noise, record)) = line.split_once(&self.prefix) else {
            self.hear(line);
            return None;
        };
        if !noise.is_empty() {
            self.hear(noise);
        }
        let (kind, rest) = split_word(record);
        match kind {
            "next" if rest.is_empty() => {
                self.noise.clear();
                None
            }
            "failed" => {
                let (id, status) = split_word(rest);
                let status: i32 = status.parse().ok()?;
                let reason = match self.noise.trim() {
                    "" => format!("status {status}"),
                    noise => noise.to_owned(),
                };
                Some(Record::Seen { id: decode_id(id)?, key: "error".to_owned(), value: reason.into_bytes() })
            }
            "seen" => {
                let (id, rest) = split_word(rest);
                let (key, value) = split_word(rest);
                let (id, key) = (decode_id(id)?, key.to_owned());
                Some(match value.strip_prefix('@') {
                    None => Record::Seen { id, key, value: value_of(value)? },
                    Some(path) => self.content_of(id, key, text_of(path)?),
                })
            }
            "part" => {
                let (size, rest) = split_word(rest);
                let (sha256, path) = split_word(rest);
                let (size, path) = (size.parse().ok()?, text_of(path)?);
                self.parts.push(Part { path, size, sha256: sha256.to_owned() });
                None
            }
            "parts" => {
                self.take_apart(&value_of(rest)?);
                None
            }
            "begin" => Some(Record::Begin { id: decode_id(rest)? }),
            "finish" => {
                let (id, rest) = split_word(rest);
                let (status, output) = split_word(rest);
                let mut output = text_of(output)?;
                // A shell takes the end of the last line off.
                if !output.is_empty() && !output.ends_with('\n') {
                    output.push('\n');
                }
                Some(Record::End { id: decode_id(id)?, status: status.parse().ok()?, output })
            }
            "locked" => Some(Record::LockHeld { holder: text_of(rest)?.trim_end().to_owned() }),
            "end" if rest.is_empty() => Some(Record::Finished),
            _ => None,
        }
    }

    /// What a file holds that was read with others.
    fn content_of(&self, id: String, key: String, path: String) -> Record {
        match self.contents.get(&path) {
            Some(content) => Record::Seen { id, key, value: content.clone() },
            None => Record::Seen {
                id,
                key: "error".to_owned(),
                value: format!("{path} changed while it was read: run it again").into_bytes(),
            },
        }
    }

    /// Gives each file its part. One that has grown or shrunk meanwhile takes those after it along: what is not as its digest says is
    /// left out.
    fn take_apart(&mut self, mut rest: &[u8]) {
        for part in std::mem::take(&mut self.parts) {
            let (content, after) = rest.split_at(part.size.min(rest.len()));
            rest = after;
            let sha256 = hex(Sha256::digest(content));
            if sha256 == part.sha256 {
                self.contents.insert(part.path, content.to_vec());
            }
        }
    }

    fn hear(&mut self, noise: &str) {
        if self.noise.len() + noise.len() < NOISE_LIMIT {
            self.noise += noise;
            self.noise.push('\n');
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// A value as `encode` of the prelude makes it: `=` and plain text, `|` and lines with bars between them, or `~` and base64.
fn value_of(word: &str) -> Option<Vec<u8>> {
    match word.as_bytes().split_first()? {
        (b'=', plain) => Some(plain.to_vec()),
        (b'|', lines) => Some(lines.iter().map(|byte| if *byte == b'|' { b'\n' } else { *byte }).collect()),
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
        assert_eq!(parse("00ff seen unit say =$(a) | 'b'"), seen("unit", "say", b"$(a) | 'b'"));
        assert_eq!(parse("00ff seen unit say ||one||two|"), seen("unit", "say", b"\none\n\ntwo\n"));
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
    fn a_probe_that_fails_says_what_its_programs_printed() {
        let mut parser = Parser::new(&Nonce::fixed("00ff"));
        let mut read = |line: &str| parser.line(line);
        let error = |id: &str, text: &str| {
            Some(Record::Seen { id: id.into(), key: "error".into(), value: text.as_bytes().to_vec() })
        };
        for line in ["Welcome to Debian!", "00ff next", "stat: no such file", "00ff seen a key =said"] {
            drop(read(line));
        }
        assert_eq!(
            read("and more, without an end00ff failed a 1"),
            error("a", "stat: no such file\nand more, without an end")
        );
        assert_eq!(read("00ff next"), None);
        assert_eq!(read("00ff failed file+/b 127"), error("file /b", "status 127"));
        // What a program says without end is no part of the value that follows.
        let seen = Some(Record::Seen { id: "c".into(), key: "key".into(), value: b"said".to_vec() });
        assert_eq!(read("a warning00ff seen c key =said"), seen);
    }

    #[test]
    fn files_that_are_read_together_are_taken_apart() {
        let sum = |text: &str| hex(Sha256::digest(text));
        let mut parser = Parser::new(&Nonce::fixed("00ff"));
        let lines = [
            format!("00ff part 3 {} =/etc/a", sum("one")),
            format!("00ff part 0 {} =/etc/empty", sum("")),
            format!("00ff part 3 {} ~{}", sum("two"), STANDARD.encode("/etc/b\tb")),
            format!("00ff part 5 {} =/etc/grown", sum("three")),
            format!("00ff parts ~{}", STANDARD.encode("onetwothree and more")),
        ];
        for line in lines {
            assert_eq!(parser.line(&line), None);
        }
        let seen = |key: &str, value: &str| {
            Some(Record::Seen { id: "file".into(), key: key.into(), value: value.as_bytes().to_vec() })
        };
        assert_eq!(parser.line("00ff seen file body @=/etc/a"), seen("body", "one"));
        assert_eq!(parser.line("00ff seen file body @=/etc/empty"), seen("body", ""));
        let odd = format!("00ff seen file body @~{}", STANDARD.encode("/etc/b\tb"));
        assert_eq!(parser.line(&odd), seen("body", "two"));
        assert_eq!(parser.line("00ff seen file body @=/etc/grown"), seen("body", "three"));

        for line in [format!("00ff part 3 {} =/etc/c", sum("one")), "00ff parts ~bW9yZQ==".to_owned()] {
            assert_eq!(parser.line(&line), None);
        }
        let changed = "/etc/c changed while it was read: run it again";
        assert_eq!(parser.line("00ff seen file body @=/etc/c"), seen("error", changed));
    }

    #[test]
    fn everything_else_is_noise() {
        for line in [
            "",
            "Welcome to Debian!",
            "00ff",
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
