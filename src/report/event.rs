//! What the engine says while it works.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inventory::HostName;
use crate::plan::{Plan, StageName, StepId};

/// One thing that happened. Owned, so that it can cross the channel to the one task that prints.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    RunStarted {
        command: String,
        cluster: String,
        hosts: Vec<HostName>,
    },
    /// The connection to a host stands.
    HostConnected {
        host: HostName,
        elapsed_ms: u64,
    },
    HostObserved {
        host: HostName,
        elapsed_ms: u64,
    },
    PlanReady {
        plan: Plan,
    },
    StageStarted {
        stage: StageName,
        hosts: Vec<HostName>,
        steps: usize,
    },
    StepStarted {
        host: HostName,
        stage: StageName,
        step: StepId,
    },
    StepFinished {
        host: HostName,
        stage: StageName,
        step: StepId,
        outcome: StepOutcome,
        elapsed_ms: u64,
    },
    StageFinished {
        stage: StageName,
        elapsed_ms: u64,
    },
    GateWaiting {
        gate: String,
        reason: String,
    },
    GateMet {
        gate: String,
        detail: String,
        elapsed_ms: u64,
    },
    /// Something an operator should know that stops nothing.
    Warning {
        host: Option<HostName>,
        message: String,
    },
    /// The host is set aside; the others go on.
    HostFailed {
        host: HostName,
        error: String,
    },
    RunFinished {
        outcome: BTreeMap<HostName, HostOutcome>,
        elapsed_ms: u64,
        /// What stands now, and what to do next: leader, peers, URLs, commands.
        notes: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    Changed,
    /// With the last lines the step printed.
    Failed {
        output: String,
    },
}

/// How a run ended for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOutcome {
    Unchanged,
    Changed { steps: usize },
    Failed { error: String },
}
