//! Quorum is lost for good: the survivors become the cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::commands::{self, Failure, stage, step};
use super::members::members;
use super::observe::ClusterAnswers;
use super::snapshot::Clusters;
use super::{EngineError, Outcome, Run, Stop, gate, lock};
use crate::model::{HostName, NulInArgument, Stage, Step};
use crate::products::Gate;
use crate::raft::{Recovery, recovery};
use crate::roles::{Wanted, WantedHost};

const WHY: &str = "quorum is lost, and the survivors become the cluster";

impl Clusters {
    /// What can be saved of each raft cluster of the inventory, or why not.
    pub fn recoveries(&self) -> Vec<(Gate, Result<Recovery, String>)> {
        let reads = |gate: Gate| gate.raft().is_some_and(|raft| raft.reads_peers_json());
        let judge = |gate: Gate, cluster: &ClusterAnswers| {
            recovery(
                gate.product().name(),
                gate.product().unit(),
                &cluster.expected,
                &gate.views(&cluster.answers),
            )
        };
        let cluster = self.observed.clusters.iter().filter(|cluster| reads(cluster.gate));
        cluster.map(|cluster| (cluster.gate, judge(cluster.gate, cluster))).collect()
    }

    /// Stops the survivors, tells them that they are all there is, starts them, and waits until they have a leader.
    ///
    /// # Errors
    /// Somebody else works on the hosts.
    pub async fn recover(
        &mut self,
        run: Run<'_>,
        product: Gate,
        recovery: &Recovery,
    ) -> Result<Outcome, EngineError> {
        lock::refuse_others(&self.fleet, &self.observed.seen, run.options).await?;
        let mut outcome = Outcome::default();
        let stages = stages(run.wanted, product, recovery).unwrap_or_default();
        // Half of it is worse than all of it: it is not stopped on the way.
        let all = Run { stop: &Stop::default(), ..run };
        if let Err(stage) = commands::run(&mut self.fleet, stages, Failure::Ends, all, &mut outcome).await {
            outcome.unhealthy = Some(format!("{}: a survivor failed in stage {stage}", product.name()));
            return Ok(outcome);
        }
        let gates = members(run.wanted);
        if let Some(members) = gates.iter().find(|members| members.gate == product) {
            let asked: BTreeSet<HostName> = recovery.survivors.iter().cloned().collect();
            let mut expected = members.expected(&self.observed.seen.addresses, &asked, &BTreeSet::new());
            expected.members.retain(|host, _| asked.contains(host));
            match gate::wait(&self.fleet, members, &expected, run).await {
                Ok(met) => outcome.notes.extend(product.notes(&expected, &met.answers)),
                Err(reason) => outcome.unhealthy = Some(reason),
            }
        }
        Ok(outcome)
    }
}

/// All survivors stop before the first is told, and all are told before the first starts.
fn stages(wanted: &Wanted, gate: Gate, recovery: &Recovery) -> Result<Vec<Stage>, NulInArgument> {
    let unit = gate.product().unit();
    let survivors = || wanted.hosts.iter().filter(|host| recovery.survivors.contains(&host.host.name));
    let on_all = |name: &str, of_host: &dyn Fn(&WantedHost) -> Result<Step, NulInArgument>| {
        let steps: Result<BTreeMap<_, _>, _> =
            survivors().map(|host| Ok((host.host.name.clone(), vec![of_host(host)?]))).collect();
        steps.map(|steps| stage(name, steps))
    };
    let run = |host: &WantedHost, id: String, words: &[&str]| step(host, id, WHY, "exec_run", words);
    let peers = |host: &WantedHost| format!("{}/raft/peers.json", gate.data_directory(&host.variables));
    Ok(vec![
        on_all("stop", &|host| run(host, format!("stop {unit}"), &["systemctl", "stop", unit]))?,
        on_all("tell", &|host| {
            let file = peers(host);
            step(host, format!("file {file}"), WHY, "peers_write", &[&file, &recovery.peers])
        })?,
        // An agent is ready when it has joined somebody, and a single survivor has nobody to join: the gate judges it.
        on_all("start", &|host| {
            run(host, format!("start {unit}"), &["systemctl", "--no-block", "start", unit])
        })?,
    ])
}
