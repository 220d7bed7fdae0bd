//! Why a host was set aside, and why a whole run stops before its first change.

use crate::cluster::IdentityError;
use crate::inventory::HostName;
use crate::plan::{PlanError, StageName, StepId};

/// Why a host takes no further part in a run.
#[derive(Debug, thiserror::Error)]
pub enum HostFailure {
    #[error("{0}")]
    Unreachable(crate::ssh::Error),
    #[error("{doing}: {source}")]
    Link { doing: String, source: crate::ssh::Error },
    #[error("its facts are unusable: {0}")]
    Facts(String),
    /// What the step printed is told by its own event.
    #[error("stage {stage}, step `{step}` failed with status {status}")]
    Step { stage: StageName, step: StepId, status: i32 },
    #[error("locked by {holder}; wait for that run to end and run again")]
    Locked { holder: String },
}

impl HostFailure {
    /// The host could not be reached at all, as opposed to a failure on it.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// What happened, and on a line of its own what the operator can do about it.
    pub fn explanation(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}\n{remedy}"),
            None => self.to_string(),
        }
    }

    /// What the operator can do about it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) | Self::Link { source: error, .. } => error.remedy(),
            Self::Facts(_) | Self::Step { .. } | Self::Locked { .. } => None,
        }
    }
}

/// Why a run stops before it has changed anything.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{}", list(.0))]
    Identity(Vec<IdentityError>),
    #[error("{}", list(.0))]
    Unfit(Vec<UnfitHost>),
    #[error("{}", .0.iter().map(chain).collect::<Vec<_>>().join("\n"))]
    Plan(Vec<PlanError>),
    #[error(transparent)]
    Secrets(#[from] crate::secrets::SecretsError),
    #[error(transparent)]
    Release(#[from] crate::releases::ReleaseError),
    #[error("cannot read `{path}`, which hosts are to install")]
    Artifact { path: String, source: std::io::Error },
}

/// A host on which this program must not or cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitHost {
    #[error("host `{host}` does not run systemd as its process 1, and units need it")]
    Init { host: HostName },
    #[error(
        "host `{host}` has no address {wanted} (it has {present}); set its `cluster_address` or \
         `cluster_interface` to what it has"
    )]
    Address { host: HostName, wanted: String, present: String },
    #[error(
        "host `{host}`: its agents' address is not known, because `{address}` is a name; set \
         `cluster_address` or `cluster_interface`"
    )]
    NoAddress { host: HostName, address: String },
    #[error("hosts {} have the same {what} {value}; they are copies of one another: give each its own", .hosts.join(" and "))]
    Twins { hosts: Vec<String>, what: &'static str, value: String },
}

fn list<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// An error with its sources on one line: several of them may be shown together.
fn chain(error: &impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
