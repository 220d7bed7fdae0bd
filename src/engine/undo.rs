//! All that roles have changed on a host is put back: where it leaves its clusters, or all of it ends.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::commands::{self, Failure};
use super::tasks::step;
use super::{Fleet, HostFailure, Outcome, Run};
use crate::ledger;
use crate::model::{HostName, NulInArgument, Plan, Stage};
use crate::roles::WantedHost;
use crate::script::{Nonce, Observation, Script};
use crate::ssh::Connection;

/// What the ledgers of these hosts hold is put back, as of hosts without any role; then they are nobody's. A host that fails
/// keeps no other one from it.
pub(crate) async fn all(fleet: &mut Fleet, hosts: &BTreeSet<HostName>, run: Run<'_>, outcome: &mut Outcome) {
    let wanted = run.wanted.hosts.iter().filter(|wanted| hosts.contains(&wanted.host.name));
    let looks = wanted.filter_map(|wanted| {
        let connection = fleet.connections.get(&wanted.host.name)?;
        Some(async move { (wanted.host.name.clone(), look(connection, wanted, run).await) })
    });
    let mut removals = BTreeMap::new();
    for (host, removal) in join_all(looks).await {
        match removal {
            Ok(removal) => drop(removals.insert(host, removal)),
            Err(failure) => fleet.set_aside(&host, failure, run.events).await,
        }
    }
    removals.retain(|_, removal| !removal.steps.is_empty());
    let mut stages = Vec::new();
    if !removals.is_empty() {
        let name = ledger::stage_name(removals.values());
        let steps = removals.into_iter().map(|(host, removal)| (host, removal.steps)).collect();
        stages.push(commands::stage(&name, steps));
    }
    let plan = Plan { stages, ..Plan::default() };
    commands::warn(plan.warnings(), run.events);
    // Without roles this program has been nowhere.
    let used = run
        .wanted
        .hosts
        .iter()
        .filter(|wanted| hosts.contains(&wanted.host.name) && !wanted.roles.is_empty());
    let Ok(last) = forget(used) else { return };
    let stages: Vec<Stage> = plan.stages.into_iter().chain([last]).collect();
    if commands::run(fleet, stages, Failure::GoOn, run, outcome).await.is_err() {
        outcome.stopped = true;
    }
}

/// The hosts keep nothing of this program, and belong to no cluster.
fn forget<'w>(hosts: impl Iterator<Item = &'w WantedHost>) -> Result<Stage, NulInArgument> {
    let of_host = |host: &WantedHost| {
        let id = "remove /var/lib/bootstrap".to_owned();
        Ok((host.host.name.clone(), vec![step(host, id, "the host is nobody's", "state_gone", &[])?]))
    };
    Ok(commands::stage("forget the cluster", hosts.map(of_host).collect::<Result<_, _>>()?))
}

async fn look(
    connection: &Connection,
    wanted: &WantedHost,
    run: Run<'_>,
) -> Result<ledger::Removal, HostFailure> {
    let bare = WantedHost { roles: Vec::new(), ..wanted.clone() };
    let script = Script::ask(&Nonce::random(), &[ledger::probe([])]);
    let doing = || "asking what its roles changed".to_owned();
    let records = connection
        .run(&script, run.options.script_timeout, |_| ())
        .await
        .map_err(|source| HostFailure::Link { doing: doing(), source })?;
    ledger::removal(&bare, &Observation::new(&records))
        .map_err(|(step, error)| HostFailure::Ledger(format!("{step}: {error}")))
}
