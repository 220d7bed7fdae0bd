//! Why a host was set aside, and why a whole run stops before its first change.

use std::fmt;

use crate::model::{Check, Finding, HostName, StageName, StepId};
use crate::plan::PlanError;
use crate::roles::WantedError;
use crate::ssh;

/// Why a host takes no further part in a run.
#[derive(Debug, thiserror::Error)]
pub enum HostFailure {
    #[error("{0}")]
    Unreachable(crate::ssh::Error),
    #[error("{doing}: {source}")]
    Link { doing: String, source: crate::ssh::Error },
    #[error("its facts are unusable: {0}")]
    Facts(String),
    #[error("what its roles changed cannot be put back: {0}")]
    Ledger(String),
    /// What the step printed is told by its own event.
    #[error("stage {stage}, step `{step}` failed with status {status}{put_back}")]
    Step { stage: StageName, step: StepId, status: i32, put_back: PutBack },
    #[error("locked by {holder}; wait for that run to end and run again")]
    Locked { holder: String },
}

/// What became of the changes before a step that failed.
#[derive(Debug)]
pub enum PutBack {
    /// They stay: nothing was kept.
    Nothing,
    Done,
    Failed(Box<HostFailure>),
}

impl fmt::Display for PutBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Done => f.write_str("; the host was put back as it was before"),
            Self::Failed(failure) => {
                write!(f, "; the host could not be put back as it was before: {failure}")
            }
        }
    }
}

impl HostFailure {
    /// The same with what became of the changes before it.
    pub(crate) fn with(self, result: Result<(), Self>) -> Self {
        match self {
            Self::Step { stage, step, status, .. } => {
                let put_back =
                    result.map_or_else(|failure| PutBack::Failed(Box::new(failure)), |()| PutBack::Done);
                Self::Step { stage, step, status, put_back }
            }
            other => other,
        }
    }

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

    /// The same as a finding of the preflight.
    pub fn finding(&self, host: &HostName) -> Finding {
        let check = match self {
            Self::Unreachable(_) => Check::Ssh,
            Self::Link { source, .. } => match source {
                ssh::Error::SudoPasswordNeeded { .. }
                | ssh::Error::SudoPasswordWrong { .. }
                | ssh::Error::SudoMissing { .. }
                | ssh::Error::SudoDenied { .. } => Check::Root,
                _ => Check::Ssh,
            },
            Self::Facts(_) | Self::Ledger(_) | Self::Step { .. } | Self::Locked { .. } => Check::System,
        };
        let reason = match self {
            Self::Unreachable(error) | Self::Link { source: error, .. } => error.to_string(),
            _ => self.to_string(),
        };
        let remedy = self.remedy().unwrap_or_else(|| format!("try `ssh` to {host} by hand"));
        Finding::error(check, vec![host.clone()], reason, remedy)
    }

    /// What the operator can do about it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) | Self::Link { source: error, .. } => error.remedy(),
            Self::Facts(_) | Self::Ledger(_) | Self::Step { .. } | Self::Locked { .. } => None,
        }
    }
}

/// Why a run stops before it has changed anything.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Some of the findings are errors; warnings among them were told already.
    #[error("{}", list(.0))]
    Unfit(Vec<Finding>),
    #[error("{}", .0.iter().map(chain).collect::<Vec<_>>().join("\n"))]
    Plan(Vec<PlanError>),
    #[error("{}", .0.iter().map(|(host, holder)| locked(host, holder)).collect::<Vec<_>>().join("\n"))]
    Locked(Vec<(HostName, String)>),
    #[error("{}", .0.iter().map(|(source, reason)| format!("job `{source}`: {reason}")).collect::<Vec<_>>().join("\n"))]
    Jobs(Vec<(String, String)>),
    /// It cannot be done, in the operator's words; or not done to the end.
    #[error("{0}")]
    Refused(String),
    /// The operator has not said yes, or nobody could ask.
    #[error("{0}")]
    Unconfirmed(String),
    #[error(transparent)]
    Secrets(#[from] crate::secrets::SecretsError),
    #[error(transparent)]
    Release(#[from] crate::releases::ReleaseError),
    #[error("cannot read `{path}`, which hosts are to install")]
    Artifact { path: String, source: std::io::Error },
}

/// Why no plan can be made, beside what is known already: of a host whose system lacks what its roles need, a step that cannot be
/// planned says the same once more.
pub(crate) fn plan_findings(errors: &[PlanError], known: &[Finding]) -> Vec<Finding> {
    let is_unfit = |host: &HostName| {
        known
            .iter()
            .any(|known| known.is_error() && known.check == Check::System && known.hosts.contains(host))
    };
    let findings = errors.iter().filter_map(plan_finding);
    findings.filter(|finding| !finding.hosts.iter().all(is_unfit)).collect()
}

/// Why no plan can be made, as a finding; `None` if it is about no host in particular.
fn plan_finding(error: &PlanError) -> Option<Finding> {
    let (host, reason) = match error {
        PlanError::Resource { host, step, source, .. } | PlanError::Ledger { host, step, source } => {
            (host, format!("{step}: {}", chain(source)))
        }
        PlanError::SameFile { host, .. } => (host, error.to_string()),
        PlanError::Wanted(WantedError::Render { host, source }) => (host, chain(source)),
        PlanError::Wanted(WantedError::Resource { host, place, source }) => {
            (host, format!("{place}: {}", chain(source)))
        }
        PlanError::Wanted(_) => return None,
    };
    let remedy = "mend it there, or change what the role is told".to_owned();
    Some(Finding::error(Check::Paths, vec![host.clone()], reason, remedy))
}

fn locked(host: &HostName, holder: &str) -> String {
    format!(
        "host `{host}` is locked by {holder}; nothing was changed: wait for that run to end and run again"
    )
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
