//! Whether a cluster is as it is expected to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::HostName;

/// Who must be there for a gate to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Members by their cluster address, reachable or not.
    pub members: BTreeMap<HostName, IpAddr>,
    /// Members that are asked: all but those this run has set aside or leaves out.
    pub asked: BTreeSet<HostName>,
    /// Members that are known to be down. They use up failure tolerance.
    pub missing: usize,
    /// The version that members must run, where the gate looks at it.
    pub versions: BTreeMap<HostName, String>,
}

/// Whether a gate is met, in the operator's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met {
        detail: String,
    },
    NotYet {
        reason: String,
    },
    /// Members answer that they do not tell: where nobody changes that, waiting does not help.
    Refused {
        reason: String,
    },
}

impl Verdict {
    /// Why it is not met.
    pub fn unmet(self) -> Option<String> {
        match self {
            Self::Met { .. } => None,
            Self::NotYet { reason } | Self::Refused { reason } => Some(reason),
        }
    }
}

/// Everything that members say of themselves and of each other, against what is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// What stands, such as `3 of 3 voters, leader node-2`; empty where nothing can be said to.
    pub detail: String,
    /// The gravest first.
    pub problems: Vec<Problem>,
}

/// One thing that keeps a gate from being met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Who says it; `None` when all of them have to be asked to know it.
    pub host: Option<HostName>,
    /// Whom it is about, mostly the same.
    pub about: Option<HostName>,
    pub kind: ProblemKind,
    pub reason: String,
}

/// What sort of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The agent says nothing at all.
    Silent,
    /// The agent answers, and refuses to tell whoever asks.
    Refused,
    /// Servers follow different leaders, or have different peers.
    Split,
    /// One server cannot connect to another.
    Cut,
    /// It is well, and of another version than it is to be: a change is on its way, or was stopped there.
    Behind,
    Other,
}

impl Problem {
    /// What a member says, or is said of it.
    pub fn of(host: &HostName, reason: String) -> Self {
        Self { host: Some(host.clone()), about: Some(host.clone()), kind: ProblemKind::Other, reason }
    }

    /// It runs another version than it is to.
    pub fn behind(host: &HostName, reason: String) -> Self {
        Self { kind: ProblemKind::Behind, ..Self::of(host, reason) }
    }

    /// It answers that it does not tell.
    pub fn refused(host: &HostName, reason: String) -> Self {
        Self { kind: ProblemKind::Refused, ..Self::of(host, reason) }
    }

    /// It does not answer.
    pub fn silent(host: &HostName, reason: String) -> Self {
        Self { kind: ProblemKind::Silent, ..Self::of(host, reason) }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Review {
    /// With what else is wrong.
    pub fn and(mut self, problems: &[Problem]) -> Self {
        self.problems.extend_from_slice(problems);
        self
    }

    /// Whether all that is wrong is versions that are yet to change.
    pub fn stands(&self) -> bool {
        self.problems.iter().all(|problem| problem.kind == ProblemKind::Behind)
    }

    /// All of it in one: met, or the gravest reason why not.
    pub fn verdict(self) -> Verdict {
        match self.problems.first() {
            None => Verdict::Met { detail: self.detail },
            Some(first) => {
                let reason = match self.detail.is_empty() {
                    true => first.to_string(),
                    false => format!("{}; {first}", self.detail),
                };
                match first.kind {
                    ProblemKind::Refused => Verdict::Refused { reason },
                    _ => Verdict::NotYet { reason },
                }
            }
        }
    }
}
