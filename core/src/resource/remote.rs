//! A file at some site, and by whose word it is believed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Url;

/// Who downloads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// Each host for itself.
    #[default]
    Host,
    /// The operator's machine, once; it pushes it to the hosts.
    Controller,
}

/// What to do when a mirror has no signature. The vendor's site always must have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureRule {
    /// Install nothing.
    Required,
    /// Say so, and check the digest alone.
    #[default]
    IfPresent,
}

/// Names an OpenPGP key: 40 or 64 hex digits; blanks between them are of no meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// In capitals, without blanks.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part by which vendors name their files of signatures.
    pub fn short_id(&self) -> &str {
        // A fingerprint of version 4 ends with the id of its key.
        &self.0[self.0.len() - 8..]
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != ' ').collect::<String>().to_uppercase();
        let right = [40, 64].contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
        if right {
            Ok(Self(digits))
        } else {
            Err(format!("`{text}` is no fingerprint of a key (40 hex digits; a short key id is not enough)"))
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The key that a vendor signs with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SigningKey {
    pub fingerprint: Fingerprint,
    pub url: Option<Url>,
    /// Relative to the inventory.
    pub file: Option<PathBuf>,
}

/// A file at a site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteFile {
    /// For people: `consul 1.21.4`, or the path that it gets on a host.
    pub what: String,
    /// In the vendor's words, for one of several; else empty.
    pub arch: String,
    /// For people: whose site it is.
    pub site: String,
    /// Its address without its name.
    pub folder: String,
    pub name: String,
    pub via: Via,
    pub trust: Trust,
}

/// By whose word a file is what it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// The inventory's, which has its sha256 in hex.
    Digest(String),
    Sums(Sums),
    /// Nobody's: it is as good as its address.
    Nobody,
}

/// A file beside others, with the sha256 of each in a line, or of one alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sums {
    pub name: String,
    /// Where no other version has one of this name: the site, or the folder.
    pub scope: String,
    /// None: nothing signs it.
    pub key: Option<SigningKey>,
    /// Whether it must be signed, or is only looked at for a signature.
    pub signed: bool,
}

/// What this machine knows of a file before a host installs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The sha256, in hex, of the only file that may be installed. None: nobody here could see the site, or nobody vouches for
    /// it, and its own word must do.
    pub digest: Option<String>,
}

impl RemoteFile {
    /// One whose whole address is known.
    pub(super) fn new(what: String, url: &str, via: Via, trust: Trust) -> Self {
        let (folder, name) = url.rsplit_once('/').unwrap_or(("", url));
        let (folder, name) = (folder.to_owned(), name.to_owned());
        Self { what, arch: String::new(), site: folder.clone(), folder, name, via, trust }
    }

    pub fn url(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }

    /// Who says what its sha256 is.
    pub fn said_by(&self) -> &str {
        match &self.trust {
            Trust::Sums(sums) => &sums.name,
            Trust::Digest(_) | Trust::Nobody => "the inventory",
        }
    }
}

impl fmt::Display for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.arch.is_empty() { Ok(()) } else { write!(f, " {}", self.arch) }
    }
}
