//! How a run ended -> the process's exit status.

use std::process::ExitCode;

use crate::operations::Outcome;

/// The exit statuses of `bootstrap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    HostFailed = 1,
    /// Usage or inventory.
    Usage = 2,
    Unreachable = 3,
    /// No quorum, or a gate that was not met; or refused for quorum's sake.
    Unhealthy = 4,
    /// `plan --exit-code` found changes.
    Changes = 5,
    /// Stopped by the operator: what a shell says of a process that Ctrl-C ended.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The gravest first: a cluster that does not stand, then a host that failed, then one that was
    /// not reached.
    pub fn of(outcome: &Outcome) -> Self {
        let unreachable = outcome.failures.values().filter(|failure| failure.is_unreachable()).count();
        if outcome.unhealthy.is_some() {
            Self::Unhealthy
        } else if outcome.failures.len() > unreachable {
            Self::HostFailed
        } else if outcome.stopped {
            Self::Interrupted
        } else if unreachable > 0 {
            Self::Unreachable
        } else if !outcome.held_back.is_empty() {
            Self::Unhealthy
        } else {
            Self::Done
        }
    }
}

/// The diagnostics were printed already; only the status is left to say.
#[derive(Debug, thiserror::Error)]
#[error("the inventory cannot be used")]
pub struct Rejected;

/// The command line asks for something that the inventory does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
