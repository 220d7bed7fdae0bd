//! `node-[1-3]` -> `node-1`, `node-2`, `node-3`; `web-*` -> the names it matches.

/// More hosts than this in one range is a typing slip.
const MOST: u32 = 1000;

/// Why a text with brackets is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("`{0}` has a bracket without its partner")]
    Unclosed(String),
    #[error("`{0}` has more than one range")]
    Several(String),
    #[error("`[{0}]` is no range")]
    NoNumbers(String),
    #[error("the range `[{first}-{last}]` ends before it starts")]
    Backwards { first: String, last: String },
    #[error("the ends of the range `[{first}-{last}]` have {} and {} digits", first.len(), last.len())]
    Padding { first: String, last: String },
    #[error("the range `[{first}-{last}]` has more than {MOST} numbers")]
    Long { first: String, last: String },
}

impl RangeError {
    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            Self::Unclosed(_) | Self::NoNumbers(_) => {
                "a range is two numbers in brackets: `node-[1-3]`, or `node-[01-12]` for names with leading zeros"
                    .to_owned()
            }
            Self::Several(_) => "write one entry for each value of the other range".to_owned(),
            Self::Backwards { first, last } => format!("did you mean `[{last}-{first}]`?"),
            Self::Padding { first, last } => {
                let width = first.len().max(last.len());
                format!(
                    "with leading zeros both ends have the same width: `[{:0>width$}-{:0>width$}]`; \
                     without them: `[{}-{}]`",
                    first,
                    last,
                    trim(first),
                    trim(last)
                )
            }
            Self::Long { .. } => "check its numbers; larger clusters are split into several ranges".to_owned(),
        }
    }
}

fn trim(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    }
}

/// Whether a text means several.
pub fn is_range(text: &str) -> bool {
    text.contains(['[', ']'])
}

/// The texts a range stands for, in its order; a text without brackets stands for itself.
pub fn expand(text: &str) -> Result<Vec<String>, RangeError> {
    if !is_range(text) {
        return Ok(vec![text.to_owned()]);
    }
    let unclosed = || RangeError::Unclosed(text.to_owned());
    let (prefix, rest) = text.split_once('[').ok_or_else(unclosed)?;
    let (inner, suffix) = rest.split_once(']').ok_or_else(unclosed)?;
    if prefix.contains(']') || inner.contains('[') {
        return Err(unclosed());
    }
    if is_range(suffix) {
        return Err(RangeError::Several(text.to_owned()));
    }
    let no_numbers = || RangeError::NoNumbers(inner.to_owned());
    let (first, last) = inner.split_once('-').ok_or_else(no_numbers)?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten().ok_or_else(no_numbers)
    };
    let (start, end) = (number(first)?, number(last)?);
    let ends = || (first.to_owned(), last.to_owned());
    if start > end {
        let (first, last) = ends();
        return Err(RangeError::Backwards { first, last });
    }
    let padded = [first, last].iter().any(|digits| digits.len() > 1 && digits.starts_with('0'));
    if padded && first.len() != last.len() {
        let (first, last) = ends();
        return Err(RangeError::Padding { first, last });
    }
    if end - start >= MOST {
        let (first, last) = ends();
        return Err(RangeError::Long { first, last });
    }
    let width = if padded { first.len() } else { 0 };
    Ok((start..=end).map(|number| format!("{prefix}{number:0width$}{suffix}")).collect())
}

/// Whether a text is a glob.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// `*` is any characters, `?` one.
pub fn matches(glob: &str, name: &str) -> bool {
    match glob.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &glob[1..];
            matches(rest, name)
                || name.char_indices().any(|(at, c)| matches(rest, &name[at + c.len_utf8()..]))
        }
        Some(wanted) => match name.chars().next() {
            Some(found) if wanted == '?' || wanted == found => {
                matches(&glob[wanted.len_utf8()..], &name[found.len_utf8()..])
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_expand_in_order() {
        for (text, names) in [
            ("node-1", vec!["node-1"]),
            ("node-[1-3]", vec!["node-1", "node-2", "node-3"]),
            ("[9-10].example.org", vec!["9.example.org", "10.example.org"]),
            ("n[08-10]", vec!["n08", "n09", "n10"]),
            ("n[0-1]", vec!["n0", "n1"]),
            ("n[5-5]", vec!["n5"]),
        ] {
            assert_eq!(expand(text).unwrap(), names, "{text}");
        }
    }

    #[test]
    fn what_is_no_range_says_why() {
        for (text, message) in [
            ("n[1-3", "`n[1-3` has a bracket without its partner"),
            ("n1-3]", "`n1-3]` has a bracket without its partner"),
            ("n[[1-3]]", "`n[[1-3]]` has a bracket without its partner"),
            ("n[1-2]m[1-2]", "`n[1-2]m[1-2]` has more than one range"),
            ("n[a-c]", "`[a-c]` is no range"),
            ("n[+1-3]", "`[+1-3]` is no range"),
            ("n[]", "`[]` is no range"),
            ("n[3-1]", "the range `[3-1]` ends before it starts"),
            ("n[01-100]", "the ends of the range `[01-100]` have 2 and 3 digits"),
            ("n[1-2000]", "the range `[1-2000]` has more than 1000 numbers"),
            ("n[1-99999999999]", "`[1-99999999999]` is no range"),
        ] {
            assert_eq!(expand(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, matched) in [
            ("web-*", "web-1", true),
            ("web-*", "web", false),
            ("*", "", true),
            ("*-1", "web-1", true),
            ("w?b-*1", "web-11", true),
            ("web-?", "web-11", false),
        ] {
            assert_eq!(matches(glob, name), matched, "{glob} {name}");
        }
    }
}
