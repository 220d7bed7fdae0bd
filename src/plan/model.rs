//! The types of a plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::inventory::{HostName, RoleName};
use crate::script::Call;

/// Everything a run will change, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    pub stages: Vec<Stage>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.stages.iter().all(|stage| stage.batches.iter().all(|batch| batch.steps.is_empty()))
    }

    /// How many steps the plan has on each host that it changes.
    pub fn steps_by_host(&self) -> BTreeMap<&HostName, usize> {
        let mut counts = BTreeMap::new();
        for batch in self.stages.iter().flat_map(|stage| &stage.batches) {
            for (host, steps) in &batch.steps {
                *counts.entry(host).or_default() += steps.len();
            }
        }
        counts
    }
}

/// `prepare`, or the role that is activated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StageName(pub String);

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What may run in parallel; its gate, if any, closes each of its batches.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub name: StageName,
    /// The gate that must be met after each batch, by its name in `role.yaml`.
    pub gate: Option<String>,
    /// One after another; the hosts of one batch run at the same time.
    pub batches: Vec<Batch>,
}

/// Hosts that are changed together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Batch {
    pub steps: BTreeMap<HostName, Vec<Step>>,
}

/// Identifies a step within its host and stage, and names it for people: `file /etc/motd`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(pub String);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One change of one resource on one host.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub id: StepId,
    pub role: RoleName,
    #[serde(flatten)]
    pub change: Change,
}

/// Why a resource is not as wanted, what differs, and the calls that mend it.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// In the operator's words: `absent`, `mode 0644, wanted 0640`.
    pub reason: String,
    /// A unified diff of a text file; absent for secret and binary content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// What the apply script runs. Secrets show as `<secret>`.
    pub calls: Vec<Call>,
}
