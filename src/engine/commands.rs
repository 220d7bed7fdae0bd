//! Runs steps that no plan has: single commands of the products ([`super::tasks`]), stage by stage.

use std::collections::BTreeMap;
use std::time::Instant;

use super::observe::Observed;
use super::{EngineError, Fleet, Outcome, Run, apply, elapsed_ms, lock};
use crate::model::{Batch, Event, HostName, Plan, Stage, StageName, Step};
use crate::plan::{self, PlanError};
use crate::report::Events;
use crate::roles::Wanted;

/// What brings the scripts of these hosts' roles to what they are wanted to be now: those that lie there may be of an earlier
/// inventory, and know other members.
///
/// # Errors
/// They cannot be made for a host.
pub(crate) fn scripts(
    wanted: &Wanted,
    observed: &Observed,
    hosts: &[HostName],
) -> Result<Stage, EngineError> {
    let wanted = observed.wanted.as_ref().unwrap_or(wanted);
    let of_host = |name: &HostName| {
        let steps = wanted.host(name).map(|host| plan::scripts(wanted, host, &observed.seen));
        Ok((name.clone(), steps.transpose()?.unwrap_or_default()))
    };
    let steps: Result<BTreeMap<_, _>, PlanError> = hosts.iter().map(of_host).collect();
    steps.map(|steps| stage("scripts", steps)).map_err(|error| EngineError::Plan(vec![error]))
}

/// Tells of steps that an operator has to know of, each in its own words.
pub(crate) fn warn<'p>(steps: impl Iterator<Item = (&'p HostName, &'p Step)>, events: &Events) {
    for (host, step) in steps {
        let message = format!("{}: {}", step.id, step.change.reason);
        events.send(Event::Warning { host: Some(host.clone()), message });
    }
}

/// Hosts that do their steps at the same time; hosts without any are left out.
pub(crate) fn stage(name: &str, mut steps: BTreeMap<HostName, Vec<Step>>) -> Stage {
    steps.retain(|_, steps| !steps.is_empty());
    Stage { name: StageName(name.to_owned()), gate: None, quorum: false, batches: vec![Batch { steps }] }
}

pub(crate) fn is_empty(stage: &Stage) -> bool {
    stage.batches.iter().all(|batch| batch.steps.is_empty())
}

/// What a host that fails means for the stages that come after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// They are left out.
    Ends,
    /// The other hosts go on.
    GoOn,
}

/// The same for all of a command: what a failure or the operator's wish to stop left undone is in `outcome`.
pub(crate) async fn run_all(fleet: &mut Fleet, stages: Vec<Stage>, run: Run<'_>, outcome: &mut Outcome) {
    if let Err(stage) = self::run(fleet, stages, Failure::Ends, run, outcome).await {
        outcome.held_back.push(format!("what comes after stage {stage}"));
    }
}

/// Runs the stages one after another, then lets go of the hosts' locks.
///
/// # Errors
/// The stage after which nothing more was done, because a host failed in it or the operator wants to stop.
pub(crate) async fn run(
    fleet: &mut Fleet,
    stages: Vec<Stage>,
    failure: Failure,
    run: Run<'_>,
    outcome: &mut Outcome,
) -> Result<(), StageName> {
    let plan = Plan { stages, ..Plan::default() };
    run.events.send(Event::PlanReady { plan: plan.clone() });
    let mut result = Ok(());
    for (index, stage) in plan.stages.iter().enumerate() {
        let started = Instant::now();
        apply::announce(stage, run.events);
        for batch in &stage.batches {
            apply::run_batch(fleet, &stage.name, batch, &BTreeMap::new(), run, outcome).await;
        }
        run.events.send(Event::StageFinished { stage: stage.name.clone(), elapsed_ms: elapsed_ms(started) });
        let mut hosts = stage.batches.iter().flat_map(|batch| batch.steps.keys());
        let has_failed = failure == Failure::Ends && hosts.any(|host| !fleet.connections.contains_key(host));
        let is_stopped = run.stop.requested() && index + 1 < plan.stages.len();
        outcome.stopped |= is_stopped;
        if has_failed || is_stopped {
            result = Err(stage.name.clone());
            break;
        }
    }
    lock::release(fleet, &plan, run.options).await;
    result
}
