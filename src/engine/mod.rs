//! The loops that join the rest: connect and observe every host, plan, apply stage by stage, hold
//! each stage to its gate, verify.
//!
//! It prints nothing; it sends events. The hosts themselves are the only state between two runs.

pub(crate) mod access;
pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod commands;
mod delegation;
pub(crate) mod failure;
pub(crate) mod file;
pub(crate) mod gate;
pub(crate) mod jobs;
pub(crate) mod lock;
pub(crate) mod members;
mod membership;
pub(crate) mod observe;
pub(crate) mod parts;
pub(crate) mod peers;
pub(crate) mod proof;
mod put_back;
pub(crate) mod questions;
pub(crate) mod reach;
pub(crate) mod releases;
mod steps;
mod stop;
pub(crate) mod tasks;
pub(crate) mod ui;
pub(crate) mod undo;
pub(crate) mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use failure::{EngineError, HostFailure};
pub use members::{check_gates, check_roles};
pub use stop::Stop;

use crate::model::{Event, Expected, HostName, HostOutcome, StepId};
use crate::plan::BatchSize;
use crate::preflight::Marker;
use crate::releases::Cache;
use crate::report::Events;
use crate::roles::Wanted;
use crate::script::LockHolder;
use crate::ssh::{BecomePassword, Connection};

/// How to work, apart from what to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts that take part; all others are left alone.
    pub hosts: BTreeSet<HostName>,
    /// Hosts that are expected not to answer: that one of them does not is no failure of the run.
    pub given_up: BTreeSet<HostName>,
    /// Hosts that are brought to all that is wanted; of the others something is left to the next `up`. `None`: all are.
    pub brings: Option<BTreeSet<HostName>>,
    /// The only steps that are taken of a plan; `None`: all.
    pub only: Option<BTreeSet<StepId>>,
    /// Servers that know none of this cluster's tokens are given a first one anew.
    pub resets_tokens: bool,
    /// Jobs of the inventory stay as they are.
    pub leaves_jobs: bool,
    /// Hosts worked on at once.
    pub parallel: usize,
    /// How many hosts that are no voters are interrupted at once.
    pub share: BatchSize,
    /// For each gate.
    pub timeout: Duration,
    /// For connecting to a host, all attempts together.
    pub connect_timeout: Duration,
    /// The same for one of `given_up`.
    pub given_up_timeout: Duration,
    /// For one script on one host.
    pub script_timeout: Duration,
    /// Whose name the hosts' locks carry.
    pub holder: LockHolder,
    pub password: Option<BecomePassword>,
    /// What paths of local artifacts in the inventory are relative to.
    pub artifacts: PathBuf,
    /// Where downloads are kept.
    pub cache: Cache,
}

impl Options {
    /// The same, but that hosts which are not brought to all that is wanted run what they ran.
    fn as_far_as_brought(&self, mut expected: Expected) -> Expected {
        if let Some(brings) = &self.brings {
            expected.versions.retain(|host, _| brings.contains(host));
        }
        expected
    }
}

/// What all parts of a run are given.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub wanted: &'a Wanted,
    /// Whose the hosts are.
    pub marker: &'a Marker,
    pub options: &'a Options,
    pub events: &'a Events,
    /// The operator's wish that it ends early.
    pub stop: &'a Stop,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub hosts: BTreeMap<HostName, HostOutcome>,
    /// Hosts that were set aside, with the reason.
    pub failures: BTreeMap<HostName, HostFailure>,
    /// A gate that was not met, with the last reason.
    pub unhealthy: Option<String>,
    /// Stages that were not run because quorum would not have allowed it.
    pub held_back: Vec<String>,
    /// The operator asked to stop.
    pub stopped: bool,
    /// It can go on once the operator has agreed to this.
    pub asks: Option<String>,
    /// What differs on which hosts and is left to the next `up`.
    pub pending: Vec<String>,
    /// What stands now, and what to do next.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Tells of the hosts that were set aside as of those that failed.
    pub(crate) fn set_aside(&mut self, failures: BTreeMap<HostName, HostFailure>) {
        let failed = |failure: &HostFailure| HostOutcome::Failed { error: failure.to_string() };
        self.hosts.extend(failures.iter().map(|(host, failure)| (host.clone(), failed(failure))));
        self.failures = failures;
    }
}

/// Hosts that answered, with the open connections to them.
pub(crate) struct Fleet {
    pub connections: BTreeMap<HostName, Connection>,
    pub failures: BTreeMap<HostName, HostFailure>,
}

impl Fleet {
    /// Sets a host aside: it takes no further part, the others go on.
    pub async fn set_aside(&mut self, host: &HostName, failure: HostFailure, events: &Events) {
        events.send(Event::HostFailed { host: host.clone(), error: failure.explanation() });
        if let Some(connection) = self.connections.remove(host) {
            // The host failed already; how its connection ends adds nothing.
            let _ = connection.close().await;
        }
        self.failures.entry(host.clone()).or_insert(failure);
    }

    pub async fn close(self) -> BTreeMap<HostName, HostFailure> {
        futures_util::future::join_all(self.connections.into_values().map(Connection::close)).await;
        self.failures
    }
}

pub(crate) fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
