//! Names that appear in an inventory, checked once, on the way in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no usable name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a {what} must not be empty")]
    Empty { what: &'static str },
    #[error("a {what} has at most 63 characters, `{text}` has {length}")]
    TooLong { what: &'static str, text: String, length: usize },
    #[error("`{text}` is no {what}: it cannot have {}", character(*.found))]
    Character { what: &'static str, text: String, found: char },
    #[error("`{text}` is no {what}: it starts or ends with `-`")]
    Hyphen { what: &'static str, text: String },
}

/// Lower-case letters, digits and inner hyphens, as DNS labels have them (RFC 1123): host names
/// become node names, and those become DNS names.
fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > 63 {
        return Err(NameError::TooLong { what, text: text.to_owned(), length: text.chars().count() });
    }
    let bad = text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'));
    match bad {
        Some(found) => Err(NameError::Character { what, text: text.to_owned(), found }),
        None if text.starts_with('-') || text.ends_with('-') => {
            Err(NameError::Hyphen { what, text: text.to_owned() })
        }
        None => Ok(()),
    }
}

fn character(found: char) -> String {
    match found {
        ' ' => "spaces".to_owned(),
        'A'..='Z' => "capital letters".to_owned(),
        '_' => "`_`, only `-`".to_owned(),
        found => format!("`{}`", found.escape_debug()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check($what, &text)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a host in the inventory; also the node name its agents get.
    HostName,
    "host name"
);
name!(
    /// The name of a group of hosts.
    GroupName,
    "group name"
);
name!(
    /// The name of a role: its folder under `roles/`.
    RoleName,
    "role name"
);
name!(
    /// The name of the cluster an inventory describes.
    ClusterName,
    "cluster name"
);
