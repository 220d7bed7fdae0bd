//! `file`: a file with its whole content, mode and owner.

use serde::Deserialize;

use super::seen::Access;
use super::write::{self, FileWrite, SeenFile};
use super::{AccountName, Content, Error, FileMode, HostPath, default_file_mode};
use crate::model::{Call, Change, StepId};
use crate::script::Fields;

/// A file that holds exactly this.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub path: HostPath,
    pub content: Content,
    /// Default `"0644"`.
    #[serde(default = "default_file_mode")]
    pub mode: FileMode,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub owner: AccountName,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub group: AccountName,
    /// Never read back nor shown: compared by digest alone.
    #[serde(default, deserialize_with = "super::values::from_text")]
    pub secret: bool,
    /// A program that may refuse the content before it replaces what is there; `%s` stands for the new file, which
    /// has its final name in a folder of its own.
    #[serde(default)]
    pub validate: Vec<String>,
    /// Takes the place of a symbolic link. By default that is refused: somebody else writes what it leads to.
    #[serde(default, deserialize_with = "super::values::from_text")]
    pub replace_symlink: bool,
}

impl File {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("file {}", self.path))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        write::probe(&self.id(), &self.path, self.secret)
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let wanted = FileWrite {
            id: &id,
            path: &self.path,
            access: Access { mode: self.mode, owner: &self.owner, group: &self.group },
            content: self.content.as_str(),
            secret: self.secret,
            validate: &self.validate,
        };
        let seen = match self.replace_symlink {
            true => SeenFile::parse_or_link(&id, &self.path, seen)?,
            false => SeenFile::parse(&id, &self.path, seen)?,
        };
        wanted.decide(&seen)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::seen::digest;
    use super::super::testing::{calls, decide, decide_with, facts, owned, reason, resource};
    use super::super::{Planned, Resource};
    use crate::script::Fields;

    fn file(content: &str) -> serde_json::Value {
        json!({"file": {"path": "/etc/motd", "content": content}})
    }

    #[test]
    fn content_mode_and_owner_are_compared() {
        let seen = |stat, body| [("stat", stat), ("type", "file"), ("body", body)];
        assert_eq!(reason(file("hi\n"), &[("type", "absent")]), "absent");
        assert_eq!(reason(file("hi\n"), &seen("644 0 0 root root 3", "hi\n")), "-");
        assert_eq!(reason(file("hi\n"), &seen("644 0 0 root root 3", "ho\n")), "content differs");
        assert_eq!(
            reason(file("hi\n"), &seen("600 0 0 root root 3", "ho\n")),
            "content differs, mode 0600, wanted 0644"
        );
        let drifted = seen("600 7 0 ada root 3", "hi\n");
        assert_eq!(reason(file("hi\n"), &drifted), "mode 0600, wanted 0644, owner ada, wanted root");
        assert_eq!(calls(file("hi\n"), &drifted), ["path_owner '/etc/motd' '0644' 'root' 'root'"]);
    }

    #[test]
    fn a_write_carries_both_digests_and_the_validator() {
        let file = json!({"file": {
            "path": "/etc/x", "content": "new", "mode": "0640", "group": "adm", "validate": ["check", "%s"],
        }});
        let said = [("stat", "640 0 4 root adm 3"), ("type", "file"), ("body", "old")];
        let wanted = format!(
            "file_write '/etc/x' '0640' 'root' 'adm' '{}' '{}' 'bmV3' 'check' '%s'",
            digest(b"old"),
            digest(b"new")
        );
        assert_eq!(calls(file, &said), [wanted]);
    }

    #[test]
    fn a_text_has_a_diff() {
        let body: String = (1..=9).map(|line| format!("{line}\n")).collect();
        let said = [("stat", "644 0 0 root root 18"), ("type", "file"), ("body", body.as_str())];
        let change = decide(file(&body.replace("5\n", "five\n")), &said).unwrap().unwrap();
        assert_eq!(
            change.diff.unwrap(),
            "--- a/etc/motd\n+++ b/etc/motd\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        let change = decide(file("hi\n"), &[("type", "absent")]).unwrap().unwrap();
        assert_eq!(change.diff.unwrap(), "--- a/etc/motd\n+++ b/etc/motd\n@@ -0,0 +1 @@\n+hi\n");
    }

    #[test]
    fn what_is_large_or_binary_is_told_by_size_and_digest() {
        let large = [("stat", "644 0 0 root root 300000"), ("type", "file"), ("sha256", "0123456789abcdef")];
        let change = decide(file("hi\n"), &large).unwrap().unwrap();
        assert_eq!(change.diff, None);
        let wanted = digest(b"hi\n");
        assert_eq!(
            change.reason,
            format!(
                "content differs: 300000 bytes, sha256 0123456789ab…, wanted 3 bytes, sha256 {wanted:.12}…"
            )
        );
        let mut binary = owned(&[("stat", "644 0 0 root root 2"), ("type", "file"), ("body", "")]);
        binary[2].1 = vec![0xff, 0x00];
        let decided = resource(file("hi\n")).decide(
            &Fields::new(&binary),
            &facts("x86_64"),
            &Planned { steps: &std::collections::BTreeSet::new(), keys: &std::collections::BTreeMap::new() },
        );
        let change = decided.unwrap().unwrap();
        assert!(
            change.diff.is_none() && change.reason.starts_with("content differs: 2 bytes"),
            "{}",
            change.reason
        );
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let key = Resource::from_value(
            json!({"file": {"path": "/etc/key", "content": "hunter2", "secret": true, "mode": "0600"}}),
        );
        let key = key.unwrap();
        assert_eq!(key.probe().unwrap().to_string(), "file_probe '/etc/key' 'digest'");
        let said = [("stat", "600 0 0 root root 3"), ("type", "file"), ("sha256", "0123")];
        let change = decide_with(&key, &said, &facts("x86_64"), &[]).unwrap().unwrap();
        assert_eq!(change.reason, "content differs (secret)");
        assert_eq!(change.diff, None);
        assert_eq!(
            change.calls[0].to_string(),
            "file_write '/etc/key' '0600' 'root' 'root' <secret> <secret> <secret>"
        );
        let digest = digest(b"hunter2");
        let same = [("stat", "600 0 0 root root 7"), ("type", "file"), ("sha256", digest.as_str())];
        assert!(decide_with(&key, &same, &facts("x86_64"), &[]).unwrap().is_none());
        let change = decide_with(&key, &[("type", "absent")], &facts("x86_64"), &[]).unwrap().unwrap();
        assert_eq!((change.reason.as_str(), change.diff), ("absent", None));
    }

    #[test]
    fn a_link_is_replaced_where_the_role_says_so() {
        let file = json!({"file": {"path": "/etc/motd", "content": "hi\n", "replace_symlink": true}});
        let link = [("target", "../run/motd"), ("type", "link")];
        assert_eq!(reason(file.clone(), &link), "a symbolic link to ../run/motd, wanted a file");
        let wanted = digest(b"hi\n");
        assert_eq!(
            calls(file.clone(), &link),
            [format!("file_write '/etc/motd' '0644' 'root' 'root' 'link ../run/motd' '{wanted}' 'aGkK'")]
        );
        assert_eq!(reason(file, &[("stat", "644 0 0 root root 3"), ("type", "file"), ("body", "hi\n")]), "-");
    }

    #[test]
    fn links_are_not_written_through_and_torn_reads_are_noticed() {
        assert_eq!(
            reason(file(""), &[("target", "../run/motd"), ("type", "link")]),
            "error: /etc/motd is a symbolic link to ../run/motd, wanted a file; move it away, or name another path"
        );
        assert_eq!(
            reason(file(""), &[("stat", "644 0 0 root root 9"), ("type", "file"), ("body", "short")]),
            "error: `file /etc/motd` could not be looked at: it changed while it was read; try again"
        );
    }
}
