//! The loops that join the rest: connect and observe every host, plan, apply stage by stage, hold
//! each stage to its gate, verify.
//!
//! It prints nothing; it sends events. The hosts themselves are the only state between two runs.

mod api;
mod apply;
mod commands;
mod credentials;
mod delegation;
mod down;
mod drill;
mod failure;
mod file;
mod gate;
mod health;
mod jobs;
mod leave;
mod lock;
mod members;
mod observe;
mod peers;
mod proof;
mod recover;
mod releases;
mod restore;
mod snapshot;
mod steps;
mod stop;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use drill::{Drill, Drilled, Power, Victim};
pub use failure::{EngineError, HostFailure};
pub use health::health;
pub use leave::{Leaver, leave};
pub use members::check_gates;
pub use snapshot::{Clusters, SnapshotSource, clusters};
pub use stop::Stop;

use crate::model::{Check, Event, Finding, HostName, HostOutcome, Plan, StepId};
use crate::plan::Share;
use crate::preflight::{Marker, Survey};
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
    /// The only steps that are taken of a plan; `None`: all.
    pub only: Option<BTreeSet<StepId>>,
    /// Hosts worked on at once.
    pub parallel: usize,
    /// How many hosts that are no voters are interrupted at once.
    pub share: Share,
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
    /// Where downloads are kept.
    pub cache: Cache,
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
pub async fn plan(run: Run<'_>) -> Result<(Plan, Outcome), EngineError> {
    let (fleet, observed) = observe::look(run).await?;
    let jobs = jobs::plan(&fleet, run, &observed.seen).await;
    let failures = fleet.close().await;
    refuse_unfit(observed.findings, run.events)?;
    let plan = Plan { jobs: jobs?.plans, ..observed.plan.map_err(EngineError::Plan)? };
    Ok((plan, Outcome { failures, ..Outcome::default() }))
}

/// Observes the hosts and says what stands in the way of a run; changes nothing.
pub async fn check(run: Run<'_>) -> Result<Survey, EngineError> {
    let (fleet, observed) = observe::look(run).await?;
    let mut survey = survey(Check::FITNESS, run, &fleet);
    survey.findings.extend(observed.findings);
    for error in observed.plan.as_ref().err().into_iter().flatten() {
        survey.findings.extend(failure::plan_finding(error));
    }
    let tried = peers::try_ports(&fleet, run, &observed.seen).await;
    survey.tried = tried.hosts;
    survey.findings.extend(tried.findings);
    survey.findings.sort_by_key(|finding| finding.check);
    fleet.close().await;
    Ok(survey)
}

/// The hosts of a run, and what keeps some of them from saying anything.
fn survey(checks: &'static [Check], run: Run<'_>, fleet: &Fleet) -> Survey {
    let hosts = run.wanted.hosts.iter().map(|host| host.host.name.clone());
    Survey {
        checks,
        hosts: hosts.filter(|name| run.options.hosts.contains(name)).collect(),
        silent: fleet.failures.keys().cloned().collect(),
        tried: BTreeSet::new(),
        findings: fleet.failures.iter().map(|(host, failure)| failure.finding(host)).collect(),
    }
}

/// Brings every host to its wanted state and says whether the clusters stand.
///
/// `before_changes` runs once there is something to change: it keeps the secrets that were made.
pub async fn up(
    run: Run<'_>,
    before_changes: impl FnOnce() -> Result<(), EngineError>,
) -> Result<Outcome, EngineError> {
    let (mut fleet, observed) = observe::look(run).await?;
    let result = converge(&mut fleet, run, observed, before_changes).await;
    let failures = fleet.close().await;
    let mut outcome = result?;
    for host in &run.wanted.hosts {
        let name = &host.host.name;
        if let Some(failure) = failures.get(name) {
            outcome.hosts.insert(name.clone(), HostOutcome::Failed { error: failure.to_string() });
        } else if run.options.hosts.contains(name) {
            outcome.hosts.entry(name.clone()).or_insert(HostOutcome::Unchanged);
        }
    }
    outcome.failures = failures;
    Ok(outcome)
}

async fn converge(
    fleet: &mut Fleet,
    run: Run<'_>,
    observed: observe::Observed,
    before_changes: impl FnOnce() -> Result<(), EngineError>,
) -> Result<Outcome, EngineError> {
    refuse_unfit(observed.findings, run.events)?;
    let observe::Observed { seen, wanted: settled, plan, unhealthy, notes, .. } = observed;
    let run = Run { wanted: settled.as_ref().unwrap_or(run.wanted), ..run };
    let jobs = jobs::plan(fleet, run, &seen).await?;
    let plan = Plan { jobs: jobs.plans, ..plan.map_err(EngineError::Plan)? };
    let unhealthy = unhealthy.or(jobs.unwell);
    run.events.send(Event::PlanReady { plan: plan.clone() });
    let mut outcome = Outcome::default();
    if plan.is_empty() && unhealthy.is_none() {
        outcome.notes = notes;
        return Ok(outcome);
    }
    for (host, step) in plan.left_files().chain(plan.stops()) {
        let message = format!("{}: {}", step.id, step.change.reason);
        run.events.send(Event::Warning { host: Some(host.clone()), message });
    }
    if !plan.changes_no_host() {
        releases::fetch(&seen, run).await?;
        lock::refuse_others(fleet, &seen, run.options).await?;
        before_changes()?;
        apply::apply(fleet, run, &plan, &seen, &mut outcome).await;
        lock::release(fleet, &plan, run.options).await;
    }
    // What was held back cannot stand, and says so itself.
    let locked = fleet.failures.values().any(|failure| matches!(failure, HostFailure::Locked { .. }));
    if !outcome.stopped && !locked && outcome.unhealthy.is_none() && outcome.held_back.is_empty() {
        gate::verify(fleet, run, &seen, &mut outcome).await;
        if outcome.unhealthy.is_none() {
            outcome.unhealthy = proof::verify(fleet, run, &seen).await.err();
        }
        if outcome.unhealthy.is_none() && !run.stop.requested() && !plan.jobs.is_empty() {
            jobs::run(fleet, run, &seen, plan.jobs, &mut outcome).await;
        }
    }
    Ok(outcome)
}

/// Tells the warnings; with an error among the findings nothing may be changed.
fn refuse_unfit(findings: Vec<Finding>, events: &Events) -> Result<(), EngineError> {
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(Finding::is_error);
    for warning in warnings {
        let (host, message) = match warning.hosts.as_slice() {
            [host] => (Some(host.clone()), format!("{}; {}", warning.reason, warning.remedy)),
            _ => (None, warning.to_string()),
        };
        events.send(Event::Warning { host, message });
    }
    if errors.is_empty() { Ok(()) } else { Err(EngineError::Unfit(errors)) }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
