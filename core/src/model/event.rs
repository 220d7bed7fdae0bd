//! What the engine says while it works.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{HostName, Plan, StageName, StepId};

/// One thing that happened. Owned, so that it can cross the channel to the one task that prints.
///
/// Secrets never reach an event: what is printed, logged or handed to a program is what stands here.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Always the first.
    RunStarted {
        /// The subcommand: `up`.
        command: String,
        /// The cluster's name in the inventory.
        cluster: String,
        /// Every host of the run, in the inventory's order.
        hosts: Vec<HostName>,
    },
    /// The connection to a host stands.
    HostConnected {
        host: HostName,
        /// Milliseconds since the first attempt.
        elapsed_ms: u64,
    },
    /// The observe script of a host has answered.
    HostObserved {
        host: HostName,
        /// Milliseconds since the first attempt to connect.
        elapsed_ms: u64,
    },
    /// Sent once, when the plan of the whole run is made; it may be empty.
    PlanReady { plan: Plan },
    /// The first step of a stage is about to begin.
    StageStarted {
        stage: StageName,
        /// The hosts it changes, over all of its batches.
        hosts: Vec<HostName>,
        /// How many steps it has on all of them together.
        steps: usize,
    },
    /// A file is on its way; sent a few times a second at most.
    TransferProgress {
        /// Where to. `None`: from a site to this machine.
        host: Option<HostName>,
        file: String,
        /// How many have arrived.
        bytes: u64,
        /// `None`: the site does not say.
        total: Option<u64>,
    },
    /// A file has arrived, and is what it should be.
    TransferFinished {
        host: Option<HostName>,
        file: String,
        bytes: u64,
        /// Milliseconds since its first byte was asked for.
        elapsed_ms: u64,
    },
    /// A host says that it begins a step.
    StepStarted { host: HostName, stage: StageName, step: StepId },
    /// A host says that a step has ended.
    StepFinished {
        host: HostName,
        stage: StageName,
        step: StepId,
        outcome: StepOutcome,
        /// Milliseconds between the host's two records, as they arrived here.
        elapsed_ms: u64,
    },
    /// Every batch of the stage has ended, its gates included.
    StageFinished {
        stage: StageName,
        /// Milliseconds since `StageStarted`.
        elapsed_ms: u64,
    },
    /// A gate is polled and not met; sent for each new reason, not for each poll.
    GateWaiting {
        /// Its name in `role.yaml`: `consul-raft`.
        gate: String,
        /// In a few words: `2 of 3 voters`.
        reason: String,
    },
    /// A gate has let the run pass.
    GateMet {
        gate: String,
        /// What it saw: `3 voters, leader node-1`.
        detail: String,
        /// Milliseconds since its first poll.
        elapsed_ms: u64,
    },
    /// A gate's deadline has passed: no further stage begins.
    GateFailed {
        gate: String,
        /// The last reason it was not met.
        reason: String,
        /// The last lines of the unit's journal, or empty.
        output: String,
        /// Milliseconds since its first poll.
        elapsed_ms: u64,
    },
    /// Something an operator should know that stops nothing.
    Warning {
        /// `None`: it is about the run or the cluster.
        host: Option<HostName>,
        /// May have several lines.
        message: String,
    },
    /// The host is set aside; the others go on.
    HostFailed {
        host: HostName,
        /// The error and its causes, and what to do about it; may have several lines. The host's name
        /// stands beside it, and what a failed step printed in its `StepFinished`: neither is repeated.
        error: String,
    },
    /// Always the last.
    RunFinished {
        /// The operator ended it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
        /// What is not as it must be, in words, where the run ended with that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unwell: Option<String>,
        /// One entry for each host of the run.
        outcome: BTreeMap<HostName, HostOutcome>,
        /// Milliseconds since `RunStarted`.
        elapsed_ms: u64,
        /// What stands now, and what to do next: leader, peers, URLs, commands. One line each; a
        /// `label: text` is shown as two columns.
        notes: Vec<String>,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It did what the plan said.
    Changed,
    /// It did not, and the host's later steps were not begun.
    Failed {
        /// The last lines it printed, stdout and stderr together.
        output: String,
    },
}

/// How a run ended for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOutcome {
    /// It was as the inventory says.
    Unchanged,
    /// All of its steps ended well.
    Changed {
        /// How many that were.
        steps: usize,
    },
    /// It was set aside, for the reason its `HostFailed` gave.
    Failed { error: String },
}
