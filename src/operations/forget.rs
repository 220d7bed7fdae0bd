//! A member that is gone for good, and that no inventory names, is taken out of its clusters by the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::change::{Decision, Operation};
use super::observed_hosts::{ObservedHosts, Teller};
use crate::engine::commands::{self, stage};
use crate::engine::tasks::{signed, tasks};
use crate::engine::{EngineError, Outcome, Run};
use crate::model::{Check, Finding, HostName, Stage};
use crate::products::{DepartureNotice, Gate};
use crate::raft::strangers;

/// Who is forgotten in one cluster.
struct Forgotten {
    gate: Gate,
    /// Its id and name in raft, where it is a peer.
    peer: Option<(String, String)>,
    address: Option<IpAddr>,
}

/// The clusters take out somebody whom the inventory does not name.
pub struct Forget<'a> {
    name: &'a HostName,
    found: Vec<Forgotten>,
}

impl<'a> Forget<'a> {
    pub fn new(name: &'a HostName) -> Self {
        Self { name, found: Vec::new() }
    }
}

impl Operation for Forget<'_> {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        let name = self.name;
        if run.wanted.hosts.iter().any(|host| host.host.name == *name) {
            return Err(EngineError::Refused(format!(
                "{name} is in the inventory: `bootstrap remove-node` takes it out of its clusters and of the inventory"
            )));
        }
        observed_hosts.await_election(run).await;
        for cluster in &observed_hosts.observed.clusters {
            let gate = cluster.gate;
            if !gate.knows_members() {
                continue;
            }
            let is_it = |node: &str| node.split('.').next() == Some(name.as_str());
            let peer = strangers(&cluster.expected, &gate.views(&cluster.answers))
                .into_iter()
                .find(|peer| is_it(&peer.node));
            let roster = observed_hosts.roster(run.wanted, gate).await;
            let member = roster.and_then(|(_, roster)| roster.into_iter().find(|member| is_it(&member.name)));
            if peer.is_none() && member.is_none() {
                continue;
            }
            let address = peer.as_ref().map(|peer| peer.address.ip());
            let address = address.or_else(|| member.and_then(|member| member.address));
            self.found.push(Forgotten { gate, peer: peer.map(|peer| (peer.id, peer.node)), address });
        }
        refuse_unled(observed_hosts, name, &self.found)?;
        if self.found.is_empty() {
            return Err(EngineError::Refused(format!(
                "no cluster of `{}` that has a leader knows a member {name}: `bootstrap health` shows whom they know",
                run.wanted.cluster
            )));
        }
        let found = &self.found;
        let alive = observed_hosts.alive_at(run, |cluster| {
            let of_cluster = found.iter().filter(|found| found.gate == cluster.gate);
            of_cluster.filter_map(|found| Some((name.to_string(), found.address?))).collect()
        });
        if let Some(alive) = alive.await.first() {
            return Err(EngineError::Refused(format!(
                "{alive}: it would join again. Switch it off or stop its agent; or write it into the inventory and use \
                 `bootstrap remove-node`"
            )));
        }
        let gates: Vec<&str> = self.found.iter().map(|found| found.gate.name()).collect();
        let question = format!(
            "{name} is taken out of {} of `{}`. What only it had is lost, and with its old data it must not come back.",
            gates.join(", "),
            run.wanted.cluster
        );
        Ok(Some(Decision { changes_hosts: true, question: Some(question) }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let stages = self.stages(observed_hosts, run)?;
        commands::run_all(&mut observed_hosts.fleet, stages, run, outcome).await;
        Ok(())
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        for found in &self.found {
            observed_hosts.verify(run, found.gate, outcome).await;
        }
    }
}

/// Without a leader nobody says whom a cluster has, and nobody is taken out of it.
fn refuse_unled(
    observed_hosts: &ObservedHosts,
    name: &HostName,
    found: &[Forgotten],
) -> Result<(), EngineError> {
    let observed = &observed_hosts.observed;
    // Where gossip knows it, it is of that cluster; else it may be a voter of any.
    let is_meant = |gate: Gate| found.is_empty() || found.iter().any(|found| found.gate == gate);
    let is_unled = |gate: Gate| {
        gate.has_raft()
            && observed.seen.cluster_states.get(gate.name()).is_none_or(|state| state.leader.is_none())
    };
    let unled: Vec<Finding> = observed
        .clusters
        .iter()
        .filter(|cluster| is_meant(cluster.gate) && is_unled(cluster.gate))
        .map(|cluster| {
            let reason = format!("nobody leads {}, so nobody says whether {name} is one of it", cluster.gate.name());
            let remedy = "`bootstrap health` says why; where quorum is lost for good, first `bootstrap recover`, and \
                          forget then";
            Finding::error(
                Check::Quorum,
                cluster.expected.members.keys().cloned().collect(),
                reason,
                remedy.to_owned(),
            )
        })
        .collect();
    if unled.is_empty() { Ok(()) } else { Err(EngineError::Unfit(unled)) }
}

impl Forget<'_> {
    /// Another member of each cluster does it.
    fn stages(&self, observed_hosts: &ObservedHosts, run: Run<'_>) -> Result<Vec<Stage>, EngineError> {
        let mut steps: BTreeMap<HostName, Vec<_>> = BTreeMap::new();
        for Forgotten { gate, peer, .. } in &self.found {
            let teller = observed_hosts.teller(run.wanted, *gate, self.name);
            let Some(Teller { host: helper, endpoint, .. }) = teller else {
                return Err(EngineError::Refused(format!("no member of {} answers", gate.name())));
            };
            let notice =
                DepartureNotice { api: &endpoint.url(), host: self.name, peer: peer.as_ref(), answer: None };
            let told = tasks(helper, signed(*gate, run.wanted, gate.leaving().told(&notice)))
                .map_err(|error| EngineError::Refused(error.to_string()))?;
            steps.entry(helper.host.name.clone()).or_default().extend(told);
        }
        Ok(vec![stage("forget", steps)])
    }
}
