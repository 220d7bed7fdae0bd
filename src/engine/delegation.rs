//! What other hosts do before and after a batch, such as letting in who joins.

use std::collections::BTreeSet;

use super::members::members;
use super::{Fleet, Run, lock, steps};
use crate::model::{Batch, Change, Delegation, Effect, Event, HostName, RoleName, StageName, Step, StepId};
use crate::plan::Seen;
use crate::roles::Wanted;

/// Who helps a batch, and what it has to do when the batch is over.
pub(crate) struct FollowUp {
    host: HostName,
    step: Step,
}

/// Has everything done that the steps of a batch need from others: once for all of them where it is the same.
///
/// # Errors
/// Nobody could; why the last one could not.
pub(crate) async fn prepare(
    fleet: &Fleet,
    run: Run<'_>,
    seen: &Seen,
    stage: &StageName,
    batch: &Batch,
) -> Result<Vec<FollowUp>, String> {
    let mut needed: Vec<(&Delegation, &StepId)> = Vec::new();
    for step in batch
        .steps
        .iter()
        .filter(|(host, _)| fleet.connections.contains_key(*host))
        .flat_map(|(_, steps)| steps)
    {
        if let Some(help) = &step.help
            && !needed.iter().any(|(known, _)| *known == help)
        {
            needed.push((help, &step.id));
        }
    }
    let mut follow_ups = Vec::new();
    for (help, id) in needed {
        match one(fleet, run, seen, stage, batch, help, id).await {
            Ok(one) => follow_ups.push(one),
            Err(reason) => {
                finish(fleet, stage, follow_ups, run).await;
                return Err(reason);
            }
        }
    }
    Ok(follow_ups)
}

async fn one(
    fleet: &Fleet,
    run: Run<'_>,
    seen: &Seen,
    stage: &StageName,
    batch: &Batch,
    help: &Delegation,
    id: &StepId,
) -> Result<FollowUp, String> {
    let mut last = format!("no host with the role `{}` is there to help", help.role);
    for host in helpers(fleet, run.wanted, seen, batch, &help.role) {
        let Some(connection) = fleet.connections.get(&host) else { continue };
        let step = |words: &str, call: &crate::model::Call| Step {
            id: StepId(format!("{words} {id}")),
            role: help.role.clone(),
            change: Change {
                reason: "another host needs it".to_owned(),
                effect: Effect::Quiet,
                diff: None,
                calls: vec![call.clone()],
            },
            help: None,
        };
        let before = [step("before", &help.before)];
        match steps::run(connection, &host, stage, &before, None, run).await {
            Ok(_) => return Ok(FollowUp { host, step: step("after", &help.after) }),
            Err(failure) => last = format!("{host} cannot help: {}", failure.explanation()),
        }
    }
    Err(last)
}

/// The others with a role: those first that are members of its cluster.
fn helpers(fleet: &Fleet, wanted: &Wanted, seen: &Seen, batch: &Batch, role: &RoleName) -> Vec<HostName> {
    let standing: BTreeSet<HostName> = members(wanted)
        .iter()
        .filter(|members| members.hosts.iter().any(|(_, of_host)| of_host.name == *role))
        .filter_map(|members| seen.cluster_states.get(members.gate.name()))
        .flat_map(|cluster_state| cluster_state.members.clone())
        .collect();
    let has_role = wanted.hosts.iter().filter(|host| host.roles.iter().any(|known| known.name == *role));
    let others = has_role
        .map(|host| host.host.name.clone())
        .filter(|host| fleet.connections.contains_key(host) && !batch.steps.contains_key(host));
    let mut others: Vec<HostName> = others.collect();
    others.sort_by_key(|host| !standing.contains(host));
    others
}

/// Ends what was done before the batch; what cannot be ended is told.
pub(crate) async fn finish(fleet: &Fleet, stage: &StageName, follow_ups: Vec<FollowUp>, run: Run<'_>) {
    let mut delegated = BTreeSet::new();
    for FollowUp { host, step } in follow_ups {
        let Some(connection) = fleet.connections.get(&host) else { continue };
        let step = [step];
        if let Err(failure) = steps::run(connection, &host, stage, &step, None, run).await {
            let message = format!("{}: {}", step[0].id, failure.explanation());
            run.events.send(Event::Warning { host: Some(host.clone()), message });
        }
        delegated.insert(host);
    }
    // It may have no step of its own, at whose end it would be let go of.
    lock::let_go(fleet, &delegated, run.options).await;
}
