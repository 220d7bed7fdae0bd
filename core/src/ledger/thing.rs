//! What a resource changes, and the name it has in the ledger.

use sha2::{Digest as _, Sha256};

use crate::model::hex;
use crate::resource::{Download, Resource};

/// One thing on a host that a role may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerItem {
    File(String),
    Directory(String),
    Unit(String),
    /// A command, by its name.
    Exec(String),
    /// The folder of one version of a product, with all that is in it.
    Release(String),
    User(String),
    Group(String),
    /// What stays when its role is removed, by the id of its resource: `package dnsmasq`.
    Left(String),
}

/// Everything that a resource may change.
pub fn things(resource: &Resource) -> Vec<LedgerItem> {
    let mut things: Vec<LedgerItem> = resource.file().into_iter().map(LedgerItem::File).collect();
    things.extend(resource.folder().map(|path| LedgerItem::Directory(path.to_owned())));
    things.extend(resource.unit().map(|unit| LedgerItem::Unit(unit.name.to_string())));
    match resource {
        Resource::Exec(exec) => things.push(LedgerItem::Exec(exec.name.clone())),
        Resource::Sysctl(_) => things.push(LedgerItem::Exec(resource.id().0)),
        Resource::User(user) => {
            things.push(LedgerItem::User(user.name.to_string()));
            things.push(LedgerItem::Group(user.group().to_owned()));
        }
        Resource::Download(Download::Release(release)) => {
            things.push(LedgerItem::Release(release.directory()));
            things.extend(release.links().map(LedgerItem::File));
        }
        _ => {}
    }
    if matches!(
        resource,
        Resource::Package(_)
            | Resource::User(_)
            | Resource::Download(Download::Release(_) | Download::Images(_) | Download::Import(_))
            | Resource::Sysctl(_)
            | Resource::KernelModule(_)
    ) {
        things.push(LedgerItem::Left(resource.id().0));
    }
    things
}

impl LedgerItem {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Directory(_) => "directory",
            Self::Unit(_) => "unit",
            Self::Exec(_) => "exec",
            Self::Release(_) => "release",
            Self::User(_) => "user",
            Self::Group(_) => "group",
            Self::Left(_) => "left",
        }
    }

    /// Path, unit or name.
    pub fn at(&self) -> &str {
        match self {
            Self::File(at)
            | Self::Directory(at)
            | Self::Unit(at)
            | Self::Exec(at)
            | Self::Release(at)
            | Self::User(at)
            | Self::Group(at)
            | Self::Left(at) => at,
        }
    }

    pub(super) fn parse(kind: &str, at: &str) -> Option<Self> {
        let of = match kind {
            "file" => Self::File,
            "directory" => Self::Directory,
            "unit" => Self::Unit,
            "exec" => Self::Exec,
            "release" => Self::Release,
            "user" => Self::User,
            "group" => Self::Group,
            "left" => Self::Left,
            _ => return None,
        };
        Some(of(at.to_owned()))
    }

    /// The name of its folder in the ledger: plain, short, and of no other thing. It ends in the key.
    pub fn entry(&self) -> String {
        format!("{}-{}-{}", self.kind(), plain_end(self.at()), self.key())
    }

    /// What tells it from all others on its host. Every observe script carries those of all that is wanted.
    pub(super) fn key(&self) -> String {
        hex(&Sha256::digest(format!("{} {}", self.kind(), self.at()))[..5])
    }
}

/// The last part of a path or name, of letters that need no quotes.
pub(super) fn plain_end(at: &str) -> String {
    let end = at.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-@".contains(c) { c } else { '_' };
    end.chars().take(60).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_plain_words_and_differ() {
        let entry = |thing: LedgerItem| thing.entry();
        assert_eq!(entry(LedgerItem::File("/etc/motd".into())), "file-motd-d438b948e2");
        assert!(entry(LedgerItem::File("/etc/it's $(a) ü".into())).starts_with("file-it_s___a___-"));
        assert!(entry(LedgerItem::Exec("x".repeat(500))).len() < 100);
        assert_ne!(entry(LedgerItem::File("/a/x".into())), entry(LedgerItem::File("/b/x".into())));
        assert_ne!(entry(LedgerItem::File("/a/x".into())), entry(LedgerItem::Directory("/a/x".into())));
    }

    #[test]
    fn what_resources_change() {
        for (resource, wanted) in [
            (json!({"file": {"path": "/f", "content": ""}}), vec![LedgerItem::File("/f".into())]),
            (json!({"directory": {"path": "/d"}}), vec![LedgerItem::Directory("/d".into())]),
            (
                json!({"mount": {"what": "a:/b", "where": "/m", "type": "nfs"}}),
                vec![
                    LedgerItem::File("/etc/systemd/system/m.mount".into()),
                    LedgerItem::Directory("/m".into()),
                    LedgerItem::Unit("m.mount".into()),
                ],
            ),
            (json!({"package": {"names": ["a", "b"]}}), vec![LedgerItem::Left("package a b".into())]),
            (
                json!({"sysctl": {"key": "vm.swappiness", "value": 1}}),
                vec![
                    LedgerItem::File("/etc/sysctl.d/90-bootstrap-vm.swappiness.conf".into()),
                    LedgerItem::Exec("sysctl vm.swappiness".into()),
                    LedgerItem::Left("sysctl vm.swappiness".into()),
                ],
            ),
            (
                json!({"user": {"name": "a", "group": "b"}}),
                vec![
                    LedgerItem::User("a".into()),
                    LedgerItem::Group("b".into()),
                    LedgerItem::Left("user a".into()),
                ],
            ),
            (
                json!({"download": {"release": {"product": "p", "version": "1.0.0", "source": "release"}}}),
                vec![
                    LedgerItem::Release("/opt/bootstrap/p/1.0.0".into()),
                    LedgerItem::File("/usr/local/bin/p".into()),
                    LedgerItem::Left("release p 1.0.0 /usr/local/bin/p".into()),
                ],
            ),
        ] {
            assert_eq!(things(&Resource::from_value(resource).unwrap()), wanted);
        }
    }
}
