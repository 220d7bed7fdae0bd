//! Quorum is lost for good: the survivors become the cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use crate::engine::commands::{self, Failure, stage, step};
use crate::engine::members::{Members, members};
use crate::engine::{EngineError, HostFailure, Outcome, Run, Stop, gate};
use crate::model::{Endpoint, HostName, NulInArgument, Stage, Step};
use crate::products::Gate;
use crate::raft::{Recovery, recovery};
use crate::roles::{Wanted, WantedHost};

const WHY: &str = "quorum is lost, and the survivors become the cluster";

/// The servers that are left of each raft cluster become the whole of it, with the state that they have.
#[derive(Default)]
pub struct Recover {
    /// Of this product alone.
    pub product: Option<String>,
    /// Those that cannot be recovered, or need not be, and why.
    pub refused: Vec<String>,
    /// The others.
    pub recoveries: Vec<(Gate, Recovery)>,
}

impl Operation for Recover {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        observed_hosts.await_election(run).await;
        let gates = members(run.wanted);
        for cluster in &observed_hosts.observed.clusters {
            let (gate, product) = (cluster.gate, cluster.gate.product());
            let reads_peers = gate.raft().is_some_and(|raft| raft.reads_peers_json());
            if !reads_peers || self.product.as_deref().is_some_and(|wanted| wanted != product.name()) {
                continue;
            }
            let unit = gates.iter().find(|members| members.gate == gate).and_then(Members::unit);
            let (Some(unit), views) = (unit, gate.views(&cluster.answers)) else { continue };
            match recovery(product.name(), unit, &cluster.expected, &views) {
                Ok(recovery) => self.recoveries.push((gate, recovery)),
                Err(reason) => self.refused.push(reason),
            }
        }
        let lost: Vec<HostName> =
            self.recoveries.iter().flat_map(|(_, recovery)| recovery.lost.iter().cloned()).collect();
        // Two clusters out of one: what one of them acknowledges the other never sees.
        for alive in observed_hosts.alive(run, &lost).await {
            self.recoveries.retain(|(gate, _)| *gate != alive.gate);
            self.refused.push(format!(
                "{alive}: it would go on as another cluster. Mend its SSH, or switch it off, and run again"
            ));
        }
        if self.recoveries.is_empty() {
            return Ok(None);
        }
        let questions = self.recoveries.iter().map(|(gate, recovery)| question(*gate, recovery, run));
        let question = Some(questions.collect::<Vec<_>>().join("\n"));
        Ok(Some(Decision { changes_hosts: true, question }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        // Half of it is worse than all of it: it is not stopped on the way.
        let all = Run { stop: &Stop::default(), ..run };
        for (gate, recovery) in &self.recoveries {
            let stages = stages(run.wanted, *gate, recovery).unwrap_or_default();
            let ended = commands::run(&mut observed_hosts.fleet, stages, Failure::Ends, all, outcome).await;
            if let Err(stage) = ended {
                let reason = format!("{}: a survivor failed in stage {stage}", gate.name());
                outcome.unhealthy.get_or_insert(reason);
            }
        }
        Ok(())
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        let gates = members(run.wanted);
        for (gate, recovery) in &self.recoveries {
            let Some(members) = gates.iter().find(|members| members.gate == *gate) else { continue };
            let asked: BTreeSet<HostName> = recovery.survivors.iter().cloned().collect();
            let mut expected =
                members.expected(&observed_hosts.observed.seen.addresses, &asked, &BTreeSet::new());
            expected.members.retain(|host, _| asked.contains(host));
            gate::stands(&observed_hosts.fleet, members, &expected, run, outcome).await;
        }
    }

    /// That some do not answer is why it was done.
    fn tell(&self, _run: Run<'_>, _failures: BTreeMap<HostName, HostFailure>, _outcome: &mut Outcome) {}
}

/// What it means for one cluster.
fn question(gate: Gate, recovery: &Recovery, run: Run<'_>) -> String {
    let names = |hosts: &[HostName]| hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    format!(
        "{} of `{}` has lost its quorum.\n  {} become the whole cluster, with the state they have.\n  {} are given up: what \
         only they have is lost, and with their old data they must not come back.",
        gate.product().name(),
        run.wanted.cluster,
        names(&recovery.survivors),
        names(&recovery.lost),
    )
}

/// All survivors stop before the first is told, and all are told before the first starts.
fn stages(wanted: &Wanted, gate: Gate, recovery: &Recovery) -> Result<Vec<Stage>, NulInArgument> {
    let survivors = || {
        let hosts = wanted.hosts.iter().filter(|host| recovery.survivors.contains(&host.host.name));
        hosts.filter_map(|host| Some((host, host.endpoint(gate.name())?)))
    };
    let on_all = |name: &str, of_host: &dyn Fn(&WantedHost, &Endpoint) -> Result<Step, NulInArgument>| {
        let steps: Result<BTreeMap<_, _>, _> = survivors()
            .map(|(host, endpoint)| Ok((host.host.name.clone(), vec![of_host(host, endpoint)?])))
            .collect();
        steps.map(|steps| stage(name, steps))
    };
    let run = |host: &WantedHost, id: String, words: &[&str]| step(host, id, WHY, "exec_run", words);
    Ok(vec![
        on_all("stop", &|host, Endpoint { unit, .. }| {
            run(host, format!("stop {unit}"), &["systemctl", "stop", unit])
        })?,
        on_all("tell", &|host, Endpoint { data, .. }| {
            let file = format!("{data}/raft/peers.json");
            step(host, format!("file {file}"), WHY, "peers_write", &[&file, &recovery.peers])
        })?,
        // An agent is ready when it has joined somebody, and a single survivor has nobody to join: the gate judges it.
        on_all("start", &|host, Endpoint { unit, .. }| {
            run(host, format!("start {unit}"), &["systemctl", "--no-block", "start", unit])
        })?,
    ])
}
