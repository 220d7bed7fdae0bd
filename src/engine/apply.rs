//! Runs a plan: prepare on all hosts at once, then role by role, batch by batch, each batch closed
//! by its gate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::stream::{self, StreamExt};

use super::access::Doing;
use super::members::members;
use super::wait::Unmet;
use super::{
    Fleet, HostFailure, Outcome, Run, access, delegation, elapsed_ms, gate, put_back, reach, releases, steps,
};
use crate::model::{
    Batch, ClusterState, Event, Expected, HostName, HostOutcome, Keep, Plan, Stage, StageName,
};
use crate::plan::{Seen, hold_back, interrupts, is_of_ill, keeps, still_ill};
use crate::products::Gate;
use crate::report::Events;

/// Everything in order; failures and what was held back end up in `outcome`.
pub(crate) async fn apply(fleet: &mut Fleet, run: Run<'_>, plan: &Plan, seen: &Seen, outcome: &mut Outcome) {
    if let Err(unmet) = make_tokens(fleet, run, (plan, seen), Doing::Grants, |gate| stands(seen, gate)).await
    {
        return unmet.tell(outcome);
    }
    for stage in &plan.stages {
        if run.stop.requested() {
            outcome.stopped = true;
            return;
        }
        let concerned = |batch: &Batch| batch.steps.keys().any(|host| fleet.connections.contains_key(host));
        if !stage.batches.iter().any(concerned) {
            // Every host of it was set aside on the way here.
            continue;
        }
        let started = Instant::now();
        announce(stage, run.events);
        let go_on = run_stage(fleet, run, (plan, stage), seen, outcome).await;
        run.events.send(Event::StageFinished { stage: stage.name.clone(), elapsed_ms: elapsed_ms(started) });
        if !go_on || fleet.failures.values().any(|failure| matches!(failure, HostFailure::Locked { .. })) {
            return;
        }
    }
    // Whoever went by a token has gone. Where nobody told of the tokens that there are, only now it is known which are old.
    if let Err(unmet) = make_tokens(fleet, run, (plan, seen), Doing::All, |_| true).await {
        unmet.tell(outcome);
    }
}

pub(crate) fn announce(stage: &Stage, events: &Events) {
    let hosts: BTreeSet<HostName> =
        stage.batches.iter().flat_map(|batch| batch.steps.keys().cloned()).collect();
    let steps = stage.batches.iter().flat_map(|batch| batch.steps.values()).map(Vec::len).sum();
    events.send(Event::StageStarted { stage: stage.name.clone(), hosts: hosts.into_iter().collect(), steps });
}

/// Whether the run may go on with the next stage.
async fn run_stage(
    fleet: &mut Fleet,
    run: Run<'_>,
    (plan, stage): (&Plan, &Stage),
    seen: &Seen,
    outcome: &mut Outcome,
) -> bool {
    let gates = members(run.wanted);
    let members = gates.iter().find(|members| Some(members.gate.name()) == stage.gate.as_deref());
    let none = ClusterState::default();
    let cluster_state = stage.gate.as_ref().and_then(|gate| seen.cluster_states.get(gate)).unwrap_or(&none);
    // Grows as batches are activated: a gate in the middle of a stage expects only those.
    let mut standing = if stage.quorum { cluster_state.known() } else { &cluster_state.members }.clone();
    for (index, batch) in stage.batches.iter().enumerate() {
        if run.stop.requested() {
            outcome.stopped = true;
            return false;
        }
        let absent: BTreeSet<HostName> = members.map_or_else(BTreeSet::new, |members| {
            let names = members.names();
            names.into_iter().filter(|name| !fleet.connections.contains_key(name)).collect()
        });
        if let Some(reason) = hold_back(stage, batch, cluster_state, &absent) {
            let held = format!("{} is held back: {reason}", stage.name);
            run.events.send(Event::Warning { host: None, message: held.clone() });
            outcome.held_back.push(held);
            return false;
        }
        let interrupts = interrupts(batch);
        let waits = stage.quorum && interrupts && !cluster_state.members.is_empty();
        if let Some(members) = members.filter(|_| waits && !is_of_ill(batch, cluster_state)) {
            // A voter is only interrupted while the others can spare it.
            let mut expected = expected(members, &standing, seen, fleet, run);
            expected.versions.clear();
            if let Err(unmet) = spare(fleet, members, &expected, batch, run).await {
                unmet.tell(outcome);
                return false;
            }
        }
        releases::push(fleet, run, seen, batch).await;
        let follow_ups = match delegation::prepare(fleet, run, seen, &stage.name, batch).await {
            Ok(follow_ups) => follow_ups,
            Err(reason) => {
                outcome.held_back.push(format!("{}: {reason}", stage.name));
                return false;
            }
        };
        // What a role that was removed leaves has a ledger of its own.
        let is_of_role = run.wanted.order.iter().any(|role| role.as_str() == stage.name.0);
        let keeps =
            if is_of_role { keeps(stage.gate.is_some(), batch, cluster_state) } else { BTreeMap::new() };
        run_batch(fleet, &stage.name, batch, &keeps, run, outcome).await;
        delegation::finish(fleet, &stage.name, follow_ups, run).await;
        standing.extend(batch.steps.keys().filter(|host| fleet.connections.contains_key(*host)).cloned());
        let lost = batch.steps.keys().find(|host| !fleet.connections.contains_key(*host));
        let others = index + 1 < stage.batches.len();
        if let Some(lost) = lost.filter(|_| !stage.quorum && interrupts && others) {
            // What harmed one host would harm the others too; they are untouched.
            outcome.held_back.push(format!("{}: stopped after {lost} failed", stage.name));
            return true;
        }
        let Some(members) = members else {
            put_back::forget(fleet, &keeps, run).await;
            continue;
        };
        let lost = stage.quorum && lost.is_some();
        if lost && cluster_state.members.is_empty() {
            let held = format!("{}: a first quorum needs all its servers", stage.name);
            outcome.held_back.push(held);
            return false;
        }
        let mut expected = expected(members, &standing, seen, fleet, run);
        // Those that come later run what they ran.
        let later: BTreeSet<&HostName> =
            stage.batches[index + 1..].iter().flat_map(|batch| batch.steps.keys()).collect();
        expected.versions.retain(|host, _| !later.contains(host));
        let ill = still_ill(&stage.batches[index + 1..], cluster_state);
        expected.asked.retain(|host| !ill.contains(host));
        expected.missing += ill.len();
        if expected.asked.is_empty() {
            return false;
        }
        // A new cluster has no tokens until it has a leader, and tells nobody anything without them.
        let is_new = |gate: Gate| gate == members.gate && !stands(seen, gate);
        if let Err(unmet) = make_tokens(fleet, run, (plan, seen), Doing::Grants, is_new).await {
            unmet.tell(outcome);
            return false;
        }
        let forms = stage.quorum && cluster_state.members.is_empty() && index + 1 < stage.batches.len();
        let judge = if forms { Gate::admits } else { Gate::judge };
        if let Err(unmet) = gate::wait(fleet, members, &expected, judge, run).await {
            let change = put_back::Unproven { stage: &stage.name, batch, keeps: &keeps, members, expected };
            outcome.notes.extend(put_back::batch(fleet, run, change).await);
            unmet.tell(outcome);
            return false;
        }
        put_back::forget(fleet, &keeps, run).await;
        if lost {
            // The first that does not come back ends a rolling change; the others are untouched.
            outcome.held_back.push(format!("{}: stopped after a voter failed", stage.name));
            return false;
        }
    }
    true
}

/// Waits until the others can spare who is in the batch. Where that is the leader, it has another lead if its product can: clients
/// wait less than for an election.
async fn spare(
    fleet: &Fleet,
    members: &super::members::Members<'_>,
    expected: &Expected,
    batch: &Batch,
    run: Run<'_>,
) -> Result<(), Unmet> {
    let met = gate::wait(fleet, members, expected, Gate::judge, run).await?;
    let leader = members.gate.cluster_state(expected, &met.answers).leader;
    let Some(leader) = leader.filter(|leader| batch.steps.contains_key(leader)) else { return Ok(()) };
    // While all reach the leader all is well. Whoever leads next has to be in reach of all too.
    reach::wait(fleet, members, expected, run).await?;
    if gate::hand_over(fleet, members, &leader, &met, run.events).await {
        gate::wait(fleet, members, expected, Gate::judge, run).await?;
    }
    Ok(())
}

/// Whether servers of it answer already, if only to refuse.
fn stands(seen: &Seen, gate: Gate) -> bool {
    let now = seen.cluster_states.get(gate.name());
    now.is_some_and(|now| !now.members.is_empty() || !now.untold.is_empty())
}

/// Changes the tokens that a plan has for the servers of those gates that `whose` names.
async fn make_tokens(
    fleet: &Fleet,
    run: Run<'_>,
    (plan, seen): (&Plan, &Seen),
    doing: Doing,
    whose: impl Fn(Gate) -> bool,
) -> Result<(), Unmet> {
    for members in members(run.wanted).iter().filter(|members| whose(members.gate)) {
        if plan.access.iter().any(|access| access.gate == members.gate.name()) {
            access::make(fleet, members, &seen.addresses, doing, run).await?;
        }
    }
    Ok(())
}

/// Those that should be members by now.
fn expected(
    members: &super::members::Members<'_>,
    standing: &BTreeSet<HostName>,
    seen: &Seen,
    fleet: &Fleet,
    run: Run<'_>,
) -> Expected {
    let asked = standing.iter().filter(|host| fleet.connections.contains_key(*host)).cloned().collect();
    let missing = fleet.failures.keys().filter(|host| standing.contains(*host)).cloned().collect();
    let mut expected = run.options.as_far_as_brought(members.expected(&seen.addresses, &asked, &missing));
    expected.members.retain(|host, _| standing.contains(host));
    expected
}

/// One batch on its hosts at once; a host that fails is set aside, and before that gets back what is kept there.
pub(crate) async fn run_batch(
    fleet: &mut Fleet,
    stage: &StageName,
    batch: &Batch,
    keeps: &BTreeMap<HostName, Keep>,
    run: Run<'_>,
    outcome: &mut Outcome,
) {
    let mut results = BTreeMap::new();
    {
        let connections = &fleet.connections;
        let work = batch.steps.iter().filter_map(|(host, steps)| Some((host, connections.get(host)?, steps)));
        let mut running = stream::iter(work)
            .map(|(host, connection, steps)| async move {
                let keep = keeps.get(host).copied();
                let mut result = steps::run(connection, host, stage, steps, keep, run).await;
                if let (Some(_), Err(HostFailure::Step { .. })) = (keep, &result) {
                    let put_back = put_back::host(connection, host, stage, steps, run).await;
                    result = result.map_err(|failure| failure.with(put_back));
                }
                (host.clone(), result)
            })
            .buffer_unordered(run.options.parallel);
        while let Some((host, result)) = running.next().await {
            results.insert(host, result);
        }
    }
    for (host, result) in results {
        match result {
            Ok(steps) => {
                let entry = outcome.hosts.entry(host).or_insert(HostOutcome::Changed { steps: 0 });
                if let HostOutcome::Changed { steps: total } = entry {
                    *total += steps;
                }
            }
            Err(failure) => fleet.set_aside(&host, failure, run.events).await,
        }
    }
}
