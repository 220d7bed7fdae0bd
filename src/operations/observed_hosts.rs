//! One look at every host: what it says of itself, and what its agents say of their clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::api::Api;
use crate::engine::members::members;
use crate::engine::observe::{self, ClusterAnswers, Observed};
use crate::engine::wait::Waiting;
use crate::engine::{EngineError, Fleet, HostFailure, Outcome, Run, gate};
use crate::model::{Check, Event, Finding, HostName};
use crate::products::{Gate, Member, Questions, gossip_members};
use crate::report::Events;
use crate::roles::Wanted;

/// Hosts as they were found, with the open connections to them.
pub struct ObservedHosts {
    pub(crate) fleet: Fleet,
    pub(crate) observed: Observed,
}

/// Gossip takes a member that is gone for alive until its probes have failed: some seconds in the products' own settings.
const GOSSIP: Duration = Duration::from_secs(20);

/// Somebody that SSH does not reach and that its peers see.
pub(super) struct Alive {
    pub host: HostName,
    pub gate: Gate,
    /// Whose gossip has it as alive.
    pub says: HostName,
}

impl std::fmt::Display for Alive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, gate, says } = self;
        let product = gate.product().name();
        write!(f, "SSH does not reach {host}, and gossip of {product} on {says} has it as alive")
    }
}

/// The first member that answers tells whom its gossip knows.
pub(super) async fn ask_roster(
    fleet: &Fleet,
    wanted: &Wanted,
    cluster: &ClusterAnswers,
) -> Option<(HostName, Vec<Member>)> {
    let host = cluster.answers.iter().find(|(_, answer)| answer.is_ok()).map(|(host, _)| host)?;
    let connection = fleet.connections.get(host)?;
    let wanted = wanted.hosts.iter().find(|wanted| wanted.host.name == *host)?;
    let question = cluster.gate.gossip_question(wanted.endpoint(cluster.gate.name())?)?;
    let answer = Api::new(connection, cluster.gate, Questions::Plain(vec![question])).ask().await;
    Some((host.clone(), gossip_members(&answer).ok()?))
}

/// Looks at every host of our own cluster; where a leader was just lost, the next one is waited for.
///
/// # Errors
/// As for a plan, and a host that belongs to somebody else.
pub async fn look(run: Run<'_>) -> Result<ObservedHosts, EngineError> {
    let mut observed_hosts = ObservedHosts::at(run).await?;
    if let Err(error) = observed_hosts.refuse_foreign() {
        observed_hosts.close().await;
        return Err(error);
    }
    observed_hosts.await_election(run).await;
    Ok(observed_hosts)
}

impl ObservedHosts {
    /// # Errors
    /// As for a plan.
    pub(super) async fn at(run: Run<'_>) -> Result<Self, EngineError> {
        let (fleet, observed) = observe::look(run).await?;
        Ok(Self { fleet, observed })
    }

    /// # Errors
    /// Every host that belongs to another cluster, or whose data is not known to be of this one.
    pub(super) fn refuse_foreign(&self) -> Result<(), EngineError> {
        let foreign = |finding: &&Finding| finding.is_error() && finding.check == Check::Data;
        let foreign: Vec<Finding> = self.observed.findings.iter().filter(foreign).cloned().collect();
        if foreign.is_empty() { Ok(()) } else { Err(EngineError::Unfit(foreign)) }
    }

    /// The same of everything else that stands in the way; warnings are told.
    pub(super) fn refuse_unfit(&mut self, events: &Events) -> Result<(), EngineError> {
        let findings = std::mem::take(&mut self.observed.findings);
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

    pub(super) async fn await_election(&mut self, run: Run<'_>) {
        gate::await_election(&self.fleet, run, &mut self.observed).await;
    }

    /// Those of `hosts` that SSH does not reach and that still are alive to their peers some seconds later.
    pub(super) async fn alive(&self, run: Run<'_>, hosts: &[HostName]) -> Vec<Alive> {
        let mut waiting = Waiting::new("gossip".to_owned(), GOSSIP, run.events, run.stop);
        loop {
            let mut found = Vec::new();
            for cluster in &self.observed.clusters {
                let addresses = &cluster.expected.members;
                let unreached = |host: &&HostName| {
                    addresses.contains_key(*host) && !self.fleet.connections.contains_key(*host)
                };
                let unreached: Vec<&HostName> = hosts.iter().filter(unreached).collect();
                if unreached.is_empty() {
                    continue;
                }
                let Some((says, roster)) = ask_roster(&self.fleet, run.wanted, cluster).await else {
                    continue;
                };
                let is_alive = |host: &HostName| {
                    let at = addresses.get(host);
                    roster.iter().any(|member| member.status == "alive" && member.address.as_ref() == at)
                };
                let alive = unreached.into_iter().filter(|host| is_alive(host));
                found.extend(alive.map(|host| Alive {
                    host: host.clone(),
                    gate: cluster.gate,
                    says: says.clone(),
                }));
            }
            let Some(first) = found.first() else { return found };
            if !waiting.goes_on(&first.to_string()).await {
                return found;
            }
        }
    }

    /// Waits until the cluster behind a gate stands.
    pub(super) async fn verify(&self, run: Run<'_>, gate: Gate, outcome: &mut Outcome) {
        let asked = self.fleet.connections.keys().cloned().collect();
        let missing = self.fleet.failures.keys().cloned().collect();
        let gates = members(run.wanted);
        let Some(members) = gates.iter().find(|members| members.gate == gate) else { return };
        let expected = members.expected(&self.observed.seen.addresses, &asked, &missing);
        gate::stands(&self.fleet, members, &expected, run, outcome).await;
    }

    /// Closes the connections: the hosts that were set aside.
    pub async fn close(self) -> BTreeMap<HostName, HostFailure> {
        self.fleet.close().await
    }
}
