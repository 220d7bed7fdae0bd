//! What probes say of paths, as types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{AccountName, Error, FileMode};
use crate::model::{StepId, hex};
use crate::script::Fields;

/// Refuses an answer that says the probe failed.
pub(super) fn check(id: &StepId, seen: &Fields<'_>) -> Result<(), Error> {
    match seen.text("error") {
        Some(message) => Err(Error::Probe { id: id.0.clone(), message: message.trim().to_owned() }),
        None => Ok(()),
    }
}

/// A value that a working probe always says.
pub(super) fn text<'a>(id: &StepId, seen: &Fields<'a>, key: &'static str) -> Result<&'a str, Error> {
    check(id, seen)?;
    seen.text(key).ok_or(Error::Unanswered { id: id.0.clone(), key })
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SeenPath<'a> {
    Absent,
    Link(&'a str),
    File(Stat<'a>),
    Directory(Stat<'a>),
    Other,
}

/// Owner, mode and size of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    mode: FileMode,
    /// Number and name, in this order.
    owner: [&'a str; 2],
    group: [&'a str; 2],
    pub(super) size: u64,
}

impl<'a> SeenPath<'a> {
    pub(super) fn parse(id: &StepId, seen: &Fields<'a>) -> Result<Self, Error> {
        let stat = || {
            let stat = text(id, seen, "stat")?;
            Stat::parse(stat).ok_or_else(|| Error::Unknown {
                id: id.0.clone(),
                key: "stat",
                text: stat.to_owned(),
            })
        };
        Ok(match text(id, seen, "type")? {
            "absent" => Self::Absent,
            "link" => Self::Link(seen.text("target").unwrap_or("?")),
            "file" => Self::File(stat()?),
            "directory" => Self::Directory(stat()?),
            _ => Self::Other,
        })
    }

    /// In words, for the error about a path that is something else than wanted.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Link(target) => format!("a symbolic link to {target}"),
            Self::File(_) => "a file".to_owned(),
            Self::Directory(_) => "a folder".to_owned(),
            Self::Other => "a device, socket or pipe".to_owned(),
        }
    }
}

impl<'a> Stat<'a> {
    /// `%a %u %g %U %G %s` of `stat -c`.
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        let mode = FileMode::parse_stat(words.next()?)?;
        let (uid, gid, user, group) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(Self { mode, owner: [uid, user], group: [gid, group], size: words.next()?.parse().ok()? })
    }

    /// What differs from the wanted mode and owner, in the operator's words.
    pub(super) fn drift(&self, access: &Access<'_>) -> Vec<String> {
        let mut drift = Vec::new();
        if self.mode != access.mode {
            drift.push(format!("mode {}, wanted {}", self.mode, access.mode));
        }
        for (what, found, wanted) in
            [("owner", self.owner, access.owner), ("group", self.group, access.group)]
        {
            if !found.contains(&wanted.as_str()) {
                drift.push(format!("{what} {}, wanted {wanted}", self::name(found)));
            }
        }
        drift
    }

    /// Mode, owner and group as they are, to be kept.
    pub(super) fn access(&self) -> Option<(FileMode, AccountName, AccountName)> {
        Some((self.mode, self.owner[0].parse().ok()?, self.group[0].parse().ok()?))
    }
}

/// The name of a number and name, or the number where the host has no name for it.
fn name([number, name]: [&str; 2]) -> &str {
    if name == "UNKNOWN" { number } else { name }
}

/// The mode and owner something should have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub mode: FileMode,
    pub owner: &'a AccountName,
    pub group: &'a AccountName,
}

/// The sha256 of some bytes, in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// Bytes as a shell can carry them.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
