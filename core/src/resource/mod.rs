//! What a role wants to be true on a host, one file per kind: its fields, its probe, and the change
//! that it needs when what was seen is not what is wanted.
//!
//! Functions over data: nothing here runs a script or knows how one reaches a host.

mod block_in_file;
mod certificate;
mod directory;
mod download;
mod downloaded_file;
mod error;
mod exec;
mod file;
mod images;
mod import;
mod json_merge;
mod kernel_module;
mod mode;
mod mount;
mod package;
mod place;
mod planned;
mod release;
mod remote;
mod seen;
mod sysctl;
#[cfg(test)]
pub(crate) mod testing;
mod unit;
mod user;
mod values;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use block_in_file::BlockInFile;
pub(crate) use block_in_file::without_blocks;
pub use certificate::Certificate;
pub use directory::Directory;
pub use download::{Download, pushed_digest};
pub use downloaded_file::DownloadedFile;
pub use error::Error;
pub use exec::{Delegated, Exec};
pub use file::File;
pub use images::{Image, Images};
pub use json_merge::JsonMerge;
pub use kernel_module::KernelModule;
pub use mode::{FileMode, ModeError};
pub use mount::{Mount, unit_name};
pub use package::Package;
pub use place::{Contents, Place};
pub use planned::Planned;
pub use release::{Release, Source};
pub use remote::{Fingerprint, RemoteFile, SignatureRule, SigningKey, Sums, Trust, Verified, Via};
pub(crate) use seen::{digest, encode};
pub use sysctl::Sysctl;
pub use unit::{Load, State, Unit};
pub use user::User;
pub use values::{
    AccountName, Content, FileUrl, HostPath, PackageName, PartName, Sha256Digest, SysctlKey, UnitName, Url,
};
pub(crate) use values::{optional_from_text, optional_words};
pub(crate) use write::{can_be_shown, text_diff};

use crate::facts::Facts;
use crate::model::{Arg, Call, Change, Delegation, StepId};
use crate::script::Fields;

/// One thing a role wants to be true on a host, written `- file: {path: …}` in `role.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    Package(Package),
    User(User),
    Directory(Directory),
    File(File),
    Certificate(Certificate),
    Download(Download),
    Unit(Unit),
    JsonMerge(JsonMerge),
    BlockInFile(BlockInFile),
    Exec(Exec),
    Mount(Mount),
    Sysctl(Sysctl),
    KernelModule(KernelModule),
}

/// When a resource is changed: with everything on all hosts at once, or with its role, member by member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Prepare,
    Activate,
}

/// One `match` per verb: the arms all call the same method of the kind.
macro_rules! each {
    ($resource:expr, $kind:ident => $body:expr) => {
        match $resource {
            Resource::Package($kind) => $body,
            Resource::User($kind) => $body,
            Resource::Directory($kind) => $body,
            Resource::File($kind) => $body,
            Resource::Certificate($kind) => $body,
            Resource::Download($kind) => $body,
            Resource::Unit($kind) => $body,
            Resource::JsonMerge($kind) => $body,
            Resource::BlockInFile($kind) => $body,
            Resource::Exec($kind) => $body,
            Resource::Mount($kind) => $body,
            Resource::Sysctl($kind) => $body,
            Resource::KernelModule($kind) => $body,
        }
    };
}

impl Resource {
    /// From a map with one key, the kind: `{file: {path: …}}`. Identity is rendered, content need not be.
    pub fn from_value(value: serde_json::Value) -> Result<Self, Error> {
        // What roles were written with before downloads became one kind.
        if value.get("release").is_some() {
            return Err(Error::ReleaseKind);
        }
        let resource: Self = serde_json::from_value(value).map_err(Error::Shape)?;
        match &resource {
            Self::Exec(exec) => exec.check()?,
            Self::Download(download) => download.check()?,
            Self::Certificate(certificate) => certificate.check()?,
            _ => {}
        }
        Ok(resource)
    }

    /// Identifies it on its host and names it for people: `file /etc/consul.d/consul.json`.
    pub fn id(&self) -> StepId {
        each!(self, kind => kind.id())
    }

    pub fn phase(&self) -> Phase {
        match self {
            Self::Unit(_) | Self::Mount(_) => Phase::Activate,
            Self::JsonMerge(merge) => merge.phase,
            Self::Exec(exec) => exec.phase,
            Self::Download(download) => download.phase(),
            _ => Phase::Prepare,
        }
    }

    /// The call that asks a host about it. It only reads, and needs nothing that only the host knows.
    pub fn probe(&self) -> Result<Call, Error> {
        each!(self, kind => kind.probe())
    }

    /// What another host does before and after it is changed.
    pub fn help(&self) -> Result<Option<Delegation>, Error> {
        match self {
            Self::Exec(exec) => exec.help(),
            _ => Ok(None),
        }
    }

    /// The text that goes into the file, or that it is made from, as the role wrote it: a template until facts are known.
    pub fn content(&self) -> Option<&str> {
        match self {
            Self::File(file) => Some(file.content.as_str()),
            Self::JsonMerge(merge) => Some(merge.content.as_str()),
            Self::BlockInFile(block) => Some(block.content.as_str()),
            Self::Certificate(certificate) => Some(certificate.alternative_names.as_str()),
            _ => None,
        }
    }

    /// The same with its content rendered; other kinds stay as they are.
    pub fn with_content(mut self, rendered: String) -> Self {
        let content = Content::new(rendered);
        match &mut self {
            Self::File(file) => file.content = content,
            Self::JsonMerge(merge) => merge.content = content,
            Self::BlockInFile(block) => block.content = content,
            Self::Certificate(certificate) => certificate.alternative_names = content,
            _ => {}
        }
        self
    }

    /// The file whose content it decides.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::File(file) => Some(file.path.as_str()),
            Self::JsonMerge(merge) => Some(merge.path.as_str()),
            Self::BlockInFile(block) => Some(block.path.as_str()),
            Self::Certificate(certificate) => Some(certificate.path.as_str()),
            Self::Download(download) => download.path().map(HostPath::as_str),
            _ => None,
        }
    }

    /// The keys at the top of a JSON file that it changes.
    pub fn changed_keys(&self, seen: &Fields<'_>) -> Result<Option<BTreeSet<String>>, Error> {
        match self {
            Self::JsonMerge(merge) => merge.changed_keys(seen).map(Some),
            _ => Ok(None),
        }
    }

    /// The file that it writes, also one that stands for something else: a unit, a setting.
    pub fn file(&self) -> Option<String> {
        match self {
            Self::Mount(mount) => mount.unit_file().ok().map(|path| path.to_string()),
            Self::Sysctl(sysctl) => sysctl.file().ok().map(|path| path.to_string()),
            Self::KernelModule(module) => module.file().ok().map(|path| path.to_string()),
            _ => self.path().map(str::to_owned),
        }
    }

    /// The folder that it makes.
    pub fn folder(&self) -> Option<&str> {
        match self {
            Self::Directory(directory) => Some(directory.path.as_str()),
            Self::Mount(mount) => Some(mount.r#where.as_str()),
            _ => None,
        }
    }

    /// Whether it is a file that is there to be run.
    pub fn is_script(&self) -> bool {
        matches!(self, Self::File(file) if file.mode.is_executable())
    }

    /// The unit that it starts or stops.
    pub fn unit(&self) -> Option<Unit> {
        match self {
            Self::Unit(unit) => Some(unit.clone()),
            Self::Mount(mount) => mount.unit().ok(),
            _ => None,
        }
    }

    /// Whether its content is kept out of plans, diffs and logs.
    pub fn secret(&self) -> bool {
        self.secret_file().is_some()
    }

    /// The file on this machine that must be pushed to the host before it is applied.
    pub fn artifact(&self) -> Option<&Path> {
        match self {
            Self::Download(download) => download.artifact(),
            _ => None,
        }
    }

    /// The sha256 of its artifact, in hex, once it is known.
    pub fn artifact_digest(&self) -> Option<&str> {
        match self {
            Self::Download(Download::Release(release)) => release.artifact_digest.as_deref(),
            Self::Download(Download::Import(import)) => import.artifact_digest.as_deref(),
            _ => None,
        }
    }

    /// Whether its artifact must be a tar archive, plain or by gzip.
    pub fn artifact_is_archive(&self) -> bool {
        matches!(self, Self::Download(Download::Import(import)) if import.archive)
    }

    /// The same with the sha256 of its artifact, in hex; other kinds stay as they are.
    pub fn with_artifact_digest(mut self, sha256: String) -> Self {
        match &mut self {
            Self::Download(Download::Release(release)) => release.artifact_digest = Some(sha256),
            Self::Download(Download::Import(import)) => import.artifact_digest = Some(sha256),
            _ => {}
        }
        self
    }

    /// All that comes for it from sites, for hosts of this architecture in the vendor's words.
    pub fn remote_files(&self, arch: &str) -> Vec<RemoteFile> {
        match self {
            Self::Download(download) => download.remote_files(arch),
            _ => Vec::new(),
        }
    }

    /// Those of them that the host which said this lacks.
    pub fn lacking(&self, seen: &Fields<'_>, facts: &Facts) -> Vec<RemoteFile> {
        match self {
            Self::Download(download) => download.lacking(seen, facts),
            _ => Vec::new(),
        }
    }

    /// The same, told the sha256 in hex that its download must have, where this machine knows it; others stay as they are.
    pub fn with_verified(self, verified: &BTreeMap<RemoteFile, Verified>, facts: &Facts) -> Self {
        match self {
            Self::Download(download) => {
                Self::Download(download.with_verified(verified, facts.release_arch()))
            }
            other => other,
        }
    }

    /// The words of a command, if it is one.
    pub fn command(&self) -> Option<&[String]> {
        match self {
            Self::Exec(exec) => Some(&exec.command),
            _ => None,
        }
    }

    /// The file that holds a secret, if it is one.
    pub fn secret_file(&self) -> Option<&str> {
        match self {
            Self::File(file) if file.secret => Some(file.path.as_str()),
            Self::Certificate(certificate) => Some(certificate.path.as_str()),
            _ => None,
        }
    }

    /// Takes what can be done at any time out of what it needs, as a step of its own: a release lies beside the one that
    /// runs until the links lead to it.
    pub fn ahead(&self, change: &mut Change) -> Option<(StepId, Change)> {
        match self {
            Self::Download(download) => download.ahead(change),
            _ => None,
        }
    }

    /// What it needs, from what its probe saw; `None` if it is as wanted. Content is rendered by now.
    pub fn decide(
        &self,
        seen: &Fields<'_>,
        facts: &Facts,
        planned: &Planned<'_>,
    ) -> Result<Option<Change>, Error> {
        match self {
            Self::Package(package) => package.decide(seen),
            Self::User(user) => user.decide(seen),
            Self::Directory(directory) => directory.decide(seen),
            Self::File(file) => file.decide(seen),
            Self::Certificate(certificate) => certificate.decide(seen, facts),
            Self::Download(download) => download.decide(seen, facts),
            Self::Unit(unit) => unit.decide(seen, planned),
            Self::JsonMerge(merge) => merge.decide(seen),
            Self::BlockInFile(block) => block.decide(seen),
            Self::Exec(exec) => exec.decide(seen, planned),
            Self::Mount(mount) => mount.decide(seen, planned),
            Self::Sysctl(sysctl) => sysctl.decide(seen),
            Self::KernelModule(module) => module.decide(seen),
        }
    }
}

/// A call of a prelude function, the error naming the resource.
fn call_of<T: AsRef<str>>(
    id: &StepId,
    function: &'static str,
    args: impl IntoIterator<Item = T>,
) -> Result<Call, Error> {
    let args: Result<Vec<_>, _> = args.into_iter().map(|text| Arg::new(text.as_ref())).collect();
    args.map(|args| Call::new(function, args)).map_err(|source| Error::Nul { id: id.0.clone(), source })
}

fn default_true() -> bool {
    true
}

fn default_file_mode() -> FileMode {
    FileMode::new(0o644)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_mistake_in_a_resource_is_named() {
        for (value, message) in [
            (json!({"fille": {"path": "/x"}}), "unknown variant `fille`"),
            (json!({"file": {"path": "/x", "content": "", "moode": "0644"}}), "unknown field `moode`"),
            (json!({"file": {"path": "x", "content": ""}}), "`x` is no absolute path"),
            (json!({"file": {"path": "/x", "content": "", "mode": 640}}), "invalid type: integer `640`"),
            (json!({"file": {"path": "/x", "content": "", "mode": "640"}}), "four octal digits in quotes"),
            (json!({"file": {"path": "/x"}}), "missing field `content`"),
            (json!({"unit": {"name": "consul"}}), "`consul` is no unit name with its type"),
            (json!({"user": {"name": "x", "uid": "many"}}), "`many`: invalid digit"),
            (json!({"package": {"names": ["-y"]}}), "`-y` is no package name"),
        ] {
            let error = Resource::from_value(value).unwrap_err();
            let cause = error.source().expect("the cause").to_string();
            assert!(cause.contains(message), "{cause}");
        }
    }

    #[test]
    fn what_was_a_kind_of_its_own_is_named() {
        let error = Resource::from_value(json!({"release": {"product": "consul"}})).unwrap_err();
        assert!(error.to_string().contains("`- download: { release: … }`"), "{error}");
    }

    #[test]
    fn identity_phase_and_content() {
        for (value, id, phase, content) in [
            (json!({"package": {"names": ["curl", "unzip"]}}), "package curl unzip", Phase::Prepare, None),
            (
                json!({"file": {"path": "/a", "content": "{{ x }}"}}),
                "file /a",
                Phase::Prepare,
                Some("{{ x }}"),
            ),
            (
                json!({"json-merge": {"path": "/a", "content": "{}"}}),
                "json-merge /a",
                Phase::Prepare,
                Some("{}"),
            ),
            (
                json!({"block-in-file": {"path": "/a", "content": "b", "marker": "m"}}),
                "block-in-file /a (m)",
                Phase::Prepare,
                Some("b"),
            ),
            (json!({"unit": {"name": "a.service"}}), "unit a.service", Phase::Activate, None),
            (
                json!({"mount": {"what": "a:/b", "where": "/c", "type": "nfs"}}),
                "mount /c",
                Phase::Activate,
                None,
            ),
            (
                json!({"sysctl": {"key": "vm.swappiness", "value": 1}}),
                "sysctl vm.swappiness",
                Phase::Prepare,
                None,
            ),
            (json!({"kernel-module": {"name": "overlay"}}), "kernel-module overlay", Phase::Prepare, None),
        ] {
            let resource = Resource::from_value(value).unwrap();
            assert_eq!((resource.id().0.as_str(), resource.phase()), (id, phase));
            assert_eq!(resource.content(), content, "{id}");
            let rendered = resource.with_content("new".to_owned());
            assert_eq!(rendered.content(), content.map(|_| "new"), "{id}");
        }
    }

    #[test]
    fn debug_output_never_shows_content() {
        let file = json!({"file": {"path": "/a", "content": "hunter2", "secret": "true"}});
        let resource = Resource::from_value(file).unwrap();
        assert!(resource.secret());
        assert!(!format!("{resource:?}").contains("hunter2"), "{resource:?}");
    }
}
