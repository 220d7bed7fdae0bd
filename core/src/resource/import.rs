//! `download: { import: … }`: a file on this machine that a command of the role takes in on the host, such as an image for a registry.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::values::{from_text, is_runnable, words};
use super::{Error, call_of, seen};
use crate::model::{Call, Change, Effect, StepId};
use crate::script::Fields;

/// A file that is brought to the host where what it holds is not there yet, and removed again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// What it is, in a few words.
    pub name: String,
    /// On this machine, relative to the inventory.
    pub file: PathBuf,
    /// Whether it must be a tar archive, plain or by gzip: what is none is refused before the first change.
    #[serde(default, deserialize_with = "from_text")]
    pub archive: bool,
    /// Takes it in. Two more words are the file's sha256 and where it is on the host.
    #[serde(deserialize_with = "words")]
    pub command: Vec<String>,
    /// It is done when this command succeeds; it only reads. One more word is the file's sha256.
    #[serde(deserialize_with = "words")]
    pub unless: Vec<String>,
    /// The sha256 of the file, read on this machine before the plan.
    #[serde(skip)]
    pub(super) artifact_digest: Option<String>,
}

/// The prelude's function that hands over what was pushed, and which of its arguments is the digest.
pub(super) const PUSHED: (&str, usize) = ("import_from_push", 0);

impl Import {
    pub(super) fn check(&self) -> Result<(), Error> {
        if is_runnable(&self.command) && is_runnable(&self.unless) {
            Ok(())
        } else {
            Err(Error::NoProgram { id: self.id().0 })
        }
    }

    pub(super) fn id(&self) -> StepId {
        StepId(format!("download {}", self.name))
    }

    pub(super) fn artifact(&self) -> &Path {
        &self.file
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        // Where nobody has read it yet, no answer to this question is of use: `decide` says so.
        let digest = self.artifact_digest.as_deref().unwrap_or_default();
        call_of(&self.id(), "exec_unless", self.unless.iter().map(String::as_str).chain([digest]))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        if seen::text(&id, seen, "satisfied")? == "yes" {
            return Ok(None);
        }
        let path = self.file.display().to_string();
        let Some(digest) = &self.artifact_digest else { return Err(Error::NoArtifactDigest { path }) };
        let words = [digest].into_iter().chain(&self.command);
        Ok(Some(Change {
            reason: format!("not yet from {path} as it is"),
            diff: None,
            effect: Effect::Start,
            calls: vec![call_of(&id, PUSHED.0, words)?],
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{decide_with, facts, reason, reason_of, resource};
    use super::super::{Error, Resource, pushed_digest};

    const SUM: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    fn image() -> Value {
        json!({"download": {"import": {
            "name": "image app:1", "file": "images/app 1.tar", "archive": true,
            "command": ["/etc/r/images", "push", ""], "unless": ["/etc/r/images", "has", ""],
        }}})
    }

    #[test]
    fn it_is_brought_where_its_guard_does_not_know_this_file() {
        let known = resource(image()).with_artifact_digest(SUM.to_owned());
        assert_eq!(known.id().0, "download image app:1");
        assert_eq!(known.artifact().unwrap().to_str(), Some("images/app 1.tar"));
        assert_eq!(known.artifact_digest(), Some(SUM));
        assert!(known.artifact_is_archive());
        assert_eq!(
            known.probe().unwrap().to_string(),
            format!("exec_unless '/etc/r/images' 'has' '' '{SUM}'")
        );
        let decided = |said| decide_with(&known, &[("satisfied", said)], &facts("x86_64"), &[]);
        assert_eq!(reason_of(decided("yes")), "-");
        assert_eq!(reason_of(decided("no")), "not yet from images/app 1.tar as it is");
        let calls = decided("no").unwrap().unwrap().calls;
        assert_eq!(calls[0].to_string(), format!("import_from_push '{SUM}' '/etc/r/images' 'push' ''"));
        assert_eq!(pushed_digest(&calls[0]), Some(SUM));
    }

    #[test]
    fn what_nobody_has_read_is_not_planned() {
        assert!(reason(image(), &[("satisfied", "no")]).starts_with("error: the digest of images/app 1.tar"));
        assert!(reason(image(), &[]).starts_with("error: the host said nothing about `satisfied`"));
        assert!(resource(image()).remote_files("amd64").is_empty());
    }

    #[test]
    fn it_names_programs() {
        for key in ["command", "unless"] {
            for words in [json!([]), json!([""]), json!(["-x"])] {
                let mut wrong = image();
                wrong["download"]["import"][key] = words;
                assert!(matches!(Resource::from_value(wrong), Err(Error::NoProgram { .. })), "{key}");
            }
        }
    }
}
