//! What the variables of a role must be beyond their types, by the names that `role.yaml` gives: what
//! no type can say, because it is about several values, or about several hosts.

use super::check::Check;
use super::nfs;
use crate::model::Diagnostic;
use serde::Serialize;

/// A rule that a role names under `rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Paths, clients and options of NFS exports.
    NfsExports,
    /// NFS mounts: somebody exports what is mounted.
    NfsMounts,
    /// Accounts that own shared files: one number each, the same everywhere.
    NfsUsers,
}

impl Rule {
    /// As roles write them.
    pub const WORDS: [(&str, Self); 3] =
        [("nfs-exports", Self::NfsExports), ("nfs-mounts", Self::NfsMounts), ("nfs-users", Self::NfsUsers)];

    /// What is wrong on the hosts that have the role.
    pub fn judge(self, check: &Check<'_>, hosts: &[usize]) -> Vec<Diagnostic> {
        match self {
            Self::NfsExports => nfs::exports(check, hosts),
            Self::NfsMounts => nfs::mounts(check, hosts),
            Self::NfsUsers => nfs::users(check, hosts),
        }
    }
}
