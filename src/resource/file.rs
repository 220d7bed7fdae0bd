//! `file`: a file with its whole content, mode and owner.

use serde::Deserialize;

use super::seen::Access;
use super::write::{self, FileWrite, SeenFile};
use super::{AccountName, Content, Error, FileMode, HostPath, default_file_mode};
use crate::plan::{Change, StepId};
use crate::script::{Call, Fields};

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
        wanted.decide(&SeenFile::parse(&id, &self.path, seen)?)
    }
}
