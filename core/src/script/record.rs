//! What one line of a reply says.

/// One line of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// One observed value: `id` is the probe's id, or `facts`; a key may repeat.
    Seen { id: String, key: String, value: Vec<u8> },
    /// A step begins.
    Begin { id: String },
    /// A step ended, with the last lines that it printed.
    End { id: String, status: i32, output: String },
    /// Another run holds the host's lock; nothing was done.
    LockHeld { holder: String },
    /// The reply is complete: without this record the link failed.
    Finished,
}

/// An id as one shell word that a person can read: a space is `+`, what is unusual is `%XX`.
pub(super) fn encode_id(id: &str) -> String {
    id.bytes().fold(String::new(), |mut word, byte| {
        match byte {
            b' ' => word.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'@' | b':' => {
                word.push(char::from(byte));
            }
            _ => word.push_str(&format!("%{byte:02X}")),
        }
        word
    })
}

/// What `encode_id` was given; `None` for a word that it never writes.
pub(super) fn decode_id(word: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_readable_and_come_back() {
        assert_eq!(encode_id("file /etc/consul.d/consul.json"), "file+/etc/consul.d/consul.json");
        for id in ["unit a@b.service", "exec it's + 100% \n ü", "", "facts"] {
            assert_eq!(decode_id(&encode_id(id)).as_deref(), Some(id));
        }
    }

    #[test]
    fn a_broken_word_is_no_id() {
        for word in ["%", "%4", "%zz", "%FF"] {
            assert_eq!(decode_id(word), None, "{word}");
        }
    }
}
