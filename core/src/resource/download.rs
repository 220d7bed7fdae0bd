//! `download`: everything that comes from elsewhere than the role. What is the same for all: who downloads it, this machine or
//! the host, and by whose word it is believed. What differs is what becomes of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::downloaded_file::{self, DownloadedFile};
use super::images::{self, Images};
use super::import::{self, Import};
use super::release::{self, Release};
use super::remote::{RemoteFile, Verified};
use super::{Error, HostPath, Phase};
use crate::facts::Facts;
use crate::model::{Call, Change, StepId};
use crate::script::Fields;

/// What is downloaded, by what it becomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Download {
    /// Programs of a product.
    Release(Box<Release>),
    /// A file, as it is: a manifest, a key.
    File(DownloadedFile),
    /// Images of containers.
    Images(Images),
    /// Whatever a command makes of a file on this machine.
    Import(Import),
}

/// The digest of the file that must be on the host before this call runs, if it is such a call.
pub fn pushed_digest(call: &Call) -> Option<&str> {
    [release::PUSHED, downloaded_file::PUSHED, images::PUSHED, import::PUSHED]
        .iter()
        .find_map(|(function, at)| call.argument_of(function, *at))
}

impl Download {
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Release(release) => release.check(),
            Self::File(_) => Ok(()),
            Self::Images(images) => images.check(),
            Self::Import(import) => import.check(),
        }
    }

    pub(super) fn id(&self) -> StepId {
        match self {
            Self::Release(release) => release.id(),
            Self::File(file) => file.id(),
            Self::Images(images) => images.id(),
            Self::Import(import) => import.id(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Release(_) | Self::File(_) => Phase::Prepare,
            // The runtime must run, and what an import is brought to.
            Self::Images(_) | Self::Import(_) => Phase::Activate,
        }
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        match self {
            Self::Release(release) => release.probe(),
            Self::File(file) => file.probe(),
            Self::Images(images) => images.probe(),
            Self::Import(import) => import.probe(),
        }
    }

    /// The file that it becomes, if it becomes one.
    pub(super) fn path(&self) -> Option<&HostPath> {
        match self {
            Self::File(file) => Some(&file.path),
            Self::Release(_) | Self::Images(_) | Self::Import(_) => None,
        }
    }

    /// The file on this machine that must be pushed to the host first.
    pub(super) fn artifact(&self) -> Option<&Path> {
        match self {
            Self::Release(release) => release.artifact(),
            Self::Import(import) => Some(import.artifact()),
            Self::File(_) | Self::Images(_) => None,
        }
    }

    /// All files that come from sites, for hosts of this architecture.
    pub fn remote_files(&self, arch: &str) -> Vec<RemoteFile> {
        match self {
            Self::Release(release) => release.remote(arch).into_iter().collect(),
            Self::File(file) => vec![file.remote()],
            Self::Images(images) => images.remote().collect(),
            Self::Import(_) => Vec::new(),
        }
    }

    /// Those of them that the host which said this lacks.
    pub(super) fn lacking(&self, seen: &Fields<'_>, facts: &Facts) -> Vec<RemoteFile> {
        match self {
            Self::Release(release) => release.lacking_file(seen, facts).into_iter().collect(),
            Self::File(file) => file.lacking(seen).into_iter().collect(),
            Self::Images(images) => images.lacking(seen).collect(),
            Self::Import(_) => Vec::new(),
        }
    }

    /// The same, told what is known on this machine of files that are lacking: the sha256 in hex that each must have.
    pub(super) fn with_verified(mut self, verified: &BTreeMap<RemoteFile, Verified>, arch: &str) -> Self {
        // In a run with nothing to do no address need be made.
        if !verified.is_empty()
            && let Self::Release(release) = &mut self
            && let Some(remote) = release.remote(arch)
        {
            release.verified_digest = verified.get(&remote).and_then(|verified| verified.digest.clone());
        }
        self
    }

    /// What can be done of it before its turn: [`super::Resource::ahead`].
    pub(super) fn ahead(&self, change: &mut Change) -> Option<(StepId, Change)> {
        match self {
            Self::Release(release) => release.ahead(change),
            Self::File(_) | Self::Images(_) | Self::Import(_) => None,
        }
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, facts: &Facts) -> Result<Option<Change>, Error> {
        match self {
            Self::Release(release) => release.decide(seen, facts),
            Self::File(file) => file.decide(seen),
            Self::Images(images) => images.decide(seen),
            Self::Import(import) => import.decide(seen),
        }
    }
}
