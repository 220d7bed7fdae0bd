//! What must be fetched from a site for a release, and by whose word it is believed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{PartName, Url};

/// Who downloads a release.
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

/// One archive of a site, laid out as `PRODUCT/VERSION/PRODUCT_VERSION_linux_ARCH.zip` unless it has a path of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Download {
    pub product: PartName,
    pub version: PartName,
    pub arch: String,
    pub site: Url,
    /// Below the site; its digest is beside it, in a file of the same name with `.sha256` after it unless `sums` names one.
    pub path: Option<String>,
    pub sums: Option<PartName>,
    pub via: Via,
    /// None: nothing signs it.
    pub key: Option<SigningKey>,
    /// Whether it must be signed, or is only looked at for a signature.
    pub signed: bool,
}

impl Download {
    pub fn folder(&self) -> String {
        match self.split_path() {
            Some(("", _)) => self.site.to_string(),
            Some((folder, _)) => format!("{}/{folder}", self.site),
            None => format!("{}/{}/{}", self.site, self.product, self.version),
        }
    }

    pub fn archive(&self) -> String {
        match self.split_path() {
            Some((_, name)) => name.to_owned(),
            None => format!("{}_{}_linux_{}.zip", self.product, self.version, self.arch),
        }
    }

    /// The file that has its digest, in a line of its own or alone.
    pub fn sums(&self) -> String {
        match (self.split_path(), &self.sums) {
            (Some(_), Some(sums)) => sums.to_string(),
            (Some((_, name)), None) => format!("{name}.sha256"),
            (None, _) => format!("{}_{}_SHA256SUMS", self.product, self.version),
        }
    }

    fn split_path(&self) -> Option<(&str, &str)> {
        let path = self.path.as_deref()?;
        Some(path.rsplit_once('/').unwrap_or(("", path)))
    }
}

impl fmt::Display for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.product, self.version, self.arch)
    }
}
