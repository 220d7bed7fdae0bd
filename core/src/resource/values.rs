//! The words a resource is made of, checked once, on the way in.
//!
//! A role writes templates, and a rendered template is text: where a number or a switch is wanted,
//! its text is as good.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(format!("`{text}` is no {}", $what)) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar_text(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

word!(
    /// An absolute path on a host, without `.`, `..`, empty parts, a slash at its end or control characters.
    HostPath,
    "absolute path (no `.` or `..`, no slash at the end)",
    |text| !text.contains(char::is_control)
        && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !["", ".", ".."].contains(&part)))
);
word!(
    /// The name or number of a user or group.
    AccountName,
    "user or group name",
    |text| starts_alike(text, "_") && made_of(text, "_.-") && text.len() <= 32
);
word!(
    /// The name of a package.
    PackageName,
    "package name",
    |text| starts_alike(text, "") && made_of(text, "+._-")
);
word!(
    /// The name of a unit, with its type: `consul.service`.
    UnitName,
    "unit name with its type, like `consul.service`",
    |text| starts_alike(text, "_:") && made_of(text, ":_.-\\@") && text.contains('.') && text.len() <= 255
);
word!(
    /// A name that becomes one part of a path or of an address: a product, a version, a program.
    PartName,
    "name of one part (letters, digits, `.`, `_`, `+`, `-`)",
    |text| starts_alike(text, "_") && made_of(text, "._+-")
);
word!(
    /// The name of a kernel parameter: `net.ipv4.ip_forward`.
    SysctlKey,
    "kernel parameter, like `net.ipv4.ip_forward`",
    |text| {
        let parts = text.split(['.', '/']).all(|part| !part.is_empty());
        // Dots part it, and a slash is a dot within a part; written the other way round it would be another file.
        parts && made_of(text, "._/-") && text.find(['.', '/']).is_some_and(|at| text[at..].starts_with('.'))
    }
);
word!(
    /// An http or https address without a slash at its end.
    Url,
    "http or https address without a slash at the end",
    |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
            && text.chars().all(|c| c.is_ascii_graphic())
    }
);

word!(
    /// Where a file is: at a site, or with `file:///` on the host.
    FileUrl,
    "address of a file (`https://…`, `http://…`, or `file:///…` on the host)",
    |text| {
        let rest = ["https://", "http://", "file:///"].iter().find_map(|scheme| text.strip_prefix(scheme));
        rest.is_some_and(|rest| !rest.is_empty()) && text.chars().all(|c| c.is_ascii_graphic())
    }
);
word!(
    /// A sha256, in hex.
    Sha256Digest,
    "sha256 (64 hex digits, in small letters, as `sha256sum` prints it)",
    |text| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
);

fn starts_alike(text: &str, more: &str) -> bool {
    text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric() || more.contains(first))
}

fn made_of(text: &str, more: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

impl HostPath {
    /// The folder it is in; `/` for what is at the top.
    pub fn folder(&self) -> &str {
        match self.0.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((folder, _)) => folder,
        }
    }
}

impl AccountName {
    /// The account that everything belongs to unless said otherwise.
    pub fn root() -> Self {
        Self("root".to_owned())
    }
}

/// Text that goes into a file; a log never shows it, since it may be a secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Content(String);

impl Content {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// The text of a string, number or switch.
fn scalar_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        serde_json::Value::Bool(switch) => Ok(switch.to_string()),
        other => Err(D::Error::custom(format!("expected a single value, found `{other}`"))),
    }
}

/// A value, or the text of one: `deserialize_with` for numbers and switches.
pub(super) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = scalar_text(deserializer)?;
    text.trim().parse().map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
}

/// Like [`from_text`], for a field that may be left out; null and an empty text leave it out too.
pub(crate) fn optional_from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(None);
    }
    from_text(value).map(Some).map_err(D::Error::custom)
}

/// Arguments of a command: one that is a template of nothing but a port has become a number.
pub(super) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    optional_words(deserializer)?.ok_or_else(|| D::Error::custom("a list of arguments is missing"))
}

/// Whether an argument list names a program.
pub(super) fn is_runnable(words: &[String]) -> bool {
    words.first().is_some_and(|word| !word.is_empty() && !word.starts_with('-'))
}

/// Like [`words`], for a command that may be left out.
pub(crate) fn optional_words<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let words = Option::<Vec<serde_json::Value>>::deserialize(deserializer)?;
    let texts = words.map(|words| words.into_iter().map(scalar_text).collect());
    texts.transpose().map_err(|error: serde_json::Error| D::Error::custom(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for text in ["/etc/motd", "/a b/ü", "/-rf"] {
            assert!(text.parse::<HostPath>().is_ok(), "{text}");
        }
        for text in ["", "/", "etc", "/etc/", "/etc//x", "/etc/../x", "/./x", "~/x", "/a\nb"] {
            assert!(text.parse::<HostPath>().is_err(), "{text}");
        }
        assert_eq!("/etc/motd".parse::<HostPath>().unwrap().folder(), "/etc");
        assert_eq!("/motd".parse::<HostPath>().unwrap().folder(), "/");
    }

    #[test]
    fn names_never_look_like_options_or_paths() {
        for text in ["-x", "", "a/b", "a b", "$(x)", "a\nb"] {
            assert!(text.parse::<AccountName>().is_err(), "{text}");
            assert!(text.parse::<PackageName>().is_err(), "{text}");
            assert!(text.parse::<UnitName>().is_err(), "{text}");
            assert!(text.parse::<PartName>().is_err(), "{text}");
        }
        for text in ["..", "-", ".x"] {
            assert!(text.parse::<PartName>().is_err(), "{text}");
        }
        assert!("consul".parse::<UnitName>().is_err());
        assert!("srv-a\\x2db@1.mount".parse::<UnitName>().is_ok());
        assert!("net.ipv4.conf.eth0/1.rp_filter".parse::<SysctlKey>().is_ok());
        assert!("/etc/passwd".parse::<SysctlKey>().is_err());
        assert!("a/../b".parse::<SysctlKey>().is_err());
        assert!("net/ipv4/ip_forward".parse::<SysctlKey>().is_err());
    }

    #[test]
    fn addresses() {
        assert!("https://releases.hashicorp.com".parse::<Url>().is_ok());
        for text in ["ftp://x", "https://", "https://x/", "https://x y", "file:///etc"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
