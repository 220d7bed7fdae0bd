//! The loops that join the rest: connect and observe every host, plan, apply stage by stage, hold
//! each stage to its gate, verify.
//!
//! It prints nothing; it sends events. The hosts themselves are the only state between two runs.

mod api;
mod apply;
mod failure;
mod gate;
mod members;
mod observe;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use failure::{EngineError, HostFailure};
pub use stop::Stop;

use crate::cluster::Marker;
use crate::inventory::HostName;
use crate::plan::Plan;
use crate::report::{Event, Events, HostOutcome};
use crate::roles::Wanted;
use crate::script::LockHolder;
use crate::ssh::{BecomePassword, Connection};

/// How to work, apart from what to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts that take part; all others are left alone.
    pub hosts: BTreeSet<HostName>,
    /// Hosts worked on at once.
    pub parallel: usize,
    /// For each gate.
    pub timeout: Duration,
    /// For connecting to a host, all attempts together.
    pub connect_timeout: Duration,
    /// For one script on one host.
    pub script_timeout: Duration,
    /// Whose name the hosts' locks carry.
    pub holder: LockHolder,
    pub password: Option<BecomePassword>,
    /// What paths of local artifacts in the inventory are relative to.
    pub artifacts: PathBuf,
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
    /// What stands now, and what to do next.
    pub notes: Vec<String>,
}

/// Hosts that answered, with the open connections to them.
struct Fleet {
    connections: BTreeMap<HostName, Connection>,
    failures: BTreeMap<HostName, HostFailure>,
}

impl Fleet {
    /// Sets a host aside: it takes no further part, the others go on.
    async fn set_aside(&mut self, host: &HostName, failure: HostFailure, events: &Events) {
        events.send(Event::HostFailed { host: host.clone(), error: failure.explanation() });
        if let Some(connection) = self.connections.remove(host) {
            // The host failed already; how its connection ends adds nothing.
            let _ = connection.close().await;
        }
        self.failures.entry(host.clone()).or_insert(failure);
    }

    async fn close(self) -> BTreeMap<HostName, HostFailure> {
        futures_util::future::join_all(self.connections.into_values().map(Connection::close)).await;
        self.failures
    }
}

/// Observes the hosts and plans; changes nothing.
pub async fn plan(
    wanted: &Wanted,
    marker: &Marker,
    options: &Options,
    events: &Events,
) -> Result<(Plan, Outcome), EngineError> {
    let (fleet, hosts) = observe::observe(wanted, options, events).await;
    let observed = observe::assess(wanted, hosts, &fleet, marker);
    let failures = fleet.close().await;
    let observed = observed?;
    let plan = Plan::new(wanted, &observed.seen).map_err(EngineError::Plan)?;
    Ok((plan, Outcome { failures, ..Outcome::default() }))
}

/// Brings every host to its wanted state and says whether the clusters stand.
///
/// `before_changes` runs once there is something to change: it keeps the secrets that were made.
pub async fn up(
    wanted: &Wanted,
    marker: &Marker,
    options: &Options,
    events: &Events,
    stop: &Stop,
    before_changes: impl FnOnce() -> Result<(), EngineError>,
) -> Result<Outcome, EngineError> {
    let (mut fleet, hosts) = observe::observe(wanted, options, events).await;
    let result = match observe::assess(wanted, hosts, &fleet, marker) {
        Ok(observed) => converge(&mut fleet, wanted, observed, options, events, stop, before_changes).await,
        Err(error) => Err(error),
    };
    let failures = fleet.close().await;
    let mut outcome = result?;
    for host in &wanted.hosts {
        let name = &host.host.name;
        if let Some(failure) = failures.get(name) {
            outcome.hosts.insert(name.clone(), HostOutcome::Failed { error: failure.to_string() });
        } else if options.hosts.contains(name) {
            outcome.hosts.entry(name.clone()).or_insert(HostOutcome::Unchanged);
        }
    }
    outcome.failures = failures;
    Ok(outcome)
}

async fn converge(
    fleet: &mut Fleet,
    wanted: &Wanted,
    observed: observe::Observed,
    options: &Options,
    events: &Events,
    stop: &Stop,
    before_changes: impl FnOnce() -> Result<(), EngineError>,
) -> Result<Outcome, EngineError> {
    let plan = Plan::new(wanted, &observed.seen).map_err(EngineError::Plan)?;
    events.send(Event::PlanReady { plan: plan.clone() });
    let mut outcome = Outcome::default();
    if plan.is_empty() && observed.unhealthy.is_none() {
        outcome.notes = observed.notes;
        return Ok(outcome);
    }
    if !plan.is_empty() {
        before_changes()?;
        apply::apply(fleet, wanted, &plan, &observed.seen, options, events, stop, &mut outcome).await;
    }
    // What was held back cannot stand, and says so itself.
    if !outcome.stopped && outcome.unhealthy.is_none() && outcome.held_back.is_empty() {
        gate::verify(fleet, wanted, &observed.seen, options, events, stop, &mut outcome).await;
    }
    Ok(outcome)
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Digest of a file that is pushed to hosts, read in pieces.
pub fn file_digest(path: &Path) -> std::io::Result<String> {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hasher.update(&piece[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
