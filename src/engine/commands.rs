//! Steps that no plan has: single commands of the products, as an operator would type them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::observe::Observed;
use super::{EngineError, Fleet, Outcome, Run, apply, elapsed_ms, lock};
use crate::model::{
    Arg, Batch, Call, Change, Effect, Event, HostName, NulInArgument, Plan, RoleName, Stage, StageName, Step,
    StepId,
};
use crate::plan::{self, PlanError};
use crate::products::{Gate, Task};
use crate::resource::Resource;
use crate::roles::{Wanted, WantedHost};

/// One command on a host as a step; `function` is that of the prelude that runs it.
pub(crate) fn step(
    host: &WantedHost,
    id: String,
    reason: &str,
    function: &'static str,
    words: &[&str],
) -> Result<Step, NulInArgument> {
    let arguments: Result<Vec<Arg>, _> = words.iter().map(|word| Arg::new(*word)).collect();
    let role = host.roles.last().map(|role| role.name.clone());
    let change = Change {
        reason: reason.to_owned(),
        effect: Effect::Stop,
        diff: None,
        calls: vec![Call::new(function, arguments?)],
    };
    Ok(Step {
        id: StepId(id),
        role: role.unwrap_or_else(|| RoleName::parse("none").expect("a name")),
        change,
        help: None,
    })
}

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

/// Stops a unit for good.
pub(crate) fn stop(host: &WantedHost, id: String, reason: &str, unit: &str) -> Result<Step, NulInArgument> {
    step(host, id, reason, "unit_stop", &[unit])
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

/// The steps of a product's tasks on a host.
pub(crate) fn tasks(host: &WantedHost, tasks: Vec<Task>) -> Result<Vec<Step>, NulInArgument> {
    let step = |task: Task| {
        let words: Vec<&str> = task.words.iter().map(String::as_str).collect();
        step(host, task.id, &task.reason, task.function, &words)
    };
    tasks.into_iter().map(step).collect()
}

/// Stops the agent of a part for good; what it remembers is set aside ([`aside`]).
pub(crate) fn ends(
    gate: Gate,
    host: &WantedHost,
    unit: &str,
    data: &str,
) -> Result<Vec<Step>, NulInArgument> {
    let id = format!("stop {unit} ({})", gate.name());
    let stop = stop(host, id, "it is to stay stopped, also after a boot", unit)?;
    let after = tasks(host, gate.leaving().after_stop())?;
    Ok([stop].into_iter().chain(after).chain(aside(gate, host, data)?).collect())
}

/// Sets aside what a member remembers, if that is something.
pub(crate) fn aside(gate: Gate, host: &WantedHost, data: &str) -> Result<Option<Step>, NulInArgument> {
    // With what a server remembers it would bring back a past that the others have left.
    let paths = match gate.has_raft() {
        true => gate.product().membership(data),
        false => gate.leaving().remains(data),
    };
    let aside = (!paths.is_empty()).then(|| {
        let words: Vec<&str> = paths.iter().map(String::as_str).collect();
        let id = format!("set aside {}", paths.join(", "));
        step(host, id, "a former member's data stays out of reach", "data_aside", &words)
    });
    aside.transpose()
}

/// Removes the secret files that its roles have written: who is a member no more has no use for them.
pub(crate) fn remove_keys(host: &WantedHost) -> Result<Option<Step>, NulInArgument> {
    let resources = host.roles.iter().flat_map(|role| &role.resources);
    let files: Vec<&str> = resources.filter_map(Resource::secret_file).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let words: Vec<&str> = ["rm", "-f", "--"].into_iter().chain(files).collect();
    step(host, "remove its keys".to_owned(), "it is a member no more", "exec_run", &words).map(Some)
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
