//! A text that nobody is to see: a token.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A token of an API, and what whoever shows it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// For people, and to know it again.
    pub name: String,
    /// `None`: these are the rights of whoever shows none.
    pub secret: Option<Secret>,
    /// In the product's own language.
    pub rules: String,
}

/// Shows as `<secret>`; templates, files and requests get it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
