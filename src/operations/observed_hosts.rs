//! One look at every host: what it says of itself, and what its agents say of their clusters.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::engine::api::Api;
use crate::engine::members::members;
use crate::engine::observe::{self, ClusterAnswers, Observed, Releases};
use crate::engine::questions::signed;
use crate::engine::wait::Waiting;
use crate::engine::{EngineError, Fleet, HostFailure, Outcome, Run, gate};
use crate::model::{Check, Endpoint, Event, Finding, HostName};
use crate::products::{Gate, Member};
use crate::raft::View;
use crate::report::Events;
use crate::roles::{Wanted, WantedHost};

/// Hosts as they were found, with the open connections to them.
pub struct ObservedHosts {
    pub(crate) fleet: Fleet,
    pub(crate) observed: Observed,
    /// The election was waited for, whatever came of it.
    awaited: bool,
}

/// Somebody who is not looked at and whom the members see.
pub(super) struct Alive {
    pub who: String,
    pub gate: Gate,
    /// Which member has it as alive.
    pub says: HostName,
}

impl Alive {
    /// Whether what is known behind this gate is newer than `other`: it is about the same agent, and whoever tells it is quicker
    /// to know. A server of Nomad that is a client too is one process; once gossip knows that it failed, a new leader
    /// still counts its node as ready for minutes.
    fn outdates(&self, other: &Self) -> bool {
        let is_same_agent =
            self.who == other.who && self.gate.product().name() == other.gate.product().name();
        is_same_agent && self.gate.roster().lag() < other.gate.roster().lag()
    }
}

impl std::fmt::Display for Alive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { who, gate, says } = self;
        let (source, product) = (gate.roster().source(), gate.product().name());
        write!(f, "{source} of {product} on {says} has {who} as alive, whom SSH does not reach")
    }
}

/// A member that answers and can tell the others of its product that one of them goes.
pub(super) struct Teller<'w> {
    pub gate: Gate,
    pub host: &'w WantedHost,
    /// Where its own agent listens: a server does not know where a client would.
    pub endpoint: &'w Endpoint,
}

/// Who tells the cluster behind a gate that `leaver` goes: one of the same part, or else one of the same product.
pub(super) fn teller<'w>(
    fleet: &Fleet,
    clusters: &[ClusterAnswers],
    wanted: &'w Wanted,
    gate: Gate,
    leaver: Option<&HostName>,
) -> Option<Teller<'w>> {
    let product = gate.product().name();
    let mut clusters: Vec<&ClusterAnswers> =
        clusters.iter().filter(|cluster| cluster.gate.product().name() == product).collect();
    clusters.sort_by_key(|cluster| cluster.gate != gate);
    let members =
        clusters.into_iter().filter(|cluster| cluster.gate.leaving().can_tell()).flat_map(|cluster| {
            let answering = cluster.answers.iter().filter(|(_, answer)| answer.is_ok());
            answering.map(|(name, _)| (cluster.gate, name))
        });
    let mut others =
        members.filter(|(_, name)| Some(*name) != leaver && fleet.connections.contains_key(*name));
    others.find_map(|(gate, name)| {
        let host = wanted.hosts.iter().find(|wanted| wanted.host.name == *name)?;
        Some(Teller { gate, host, endpoint: host.endpoint(gate.name())? })
    })
}

/// The first member that answers tells whom its cluster takes for alive.
pub(super) async fn ask_roster(
    fleet: &Fleet,
    clusters: &[ClusterAnswers],
    wanted: &Wanted,
    gate: Gate,
) -> Option<(HostName, Vec<Member>)> {
    let Teller { gate, host, endpoint } = teller(fleet, clusters, wanted, gate, None)?;
    let name = &host.host.name;
    let roster = gate.roster();
    let answer =
        Api::new(fleet.connections.get(name)?, gate, signed(roster.questions(endpoint), &[endpoint]))
            .ask()
            .await;
    Some((name.clone(), roster.members(&answer).ok()?))
}

/// Whether servers know each other and follow nobody. Those of a cluster that is just being made know nobody yet.
fn lacks_leader(cluster: &ClusterAnswers) -> bool {
    let views = cluster.gate.views(&cluster.answers);
    let mut told = views.values().filter_map(View::peers);
    told.any(|peers| !peers.is_empty())
        && !views.values().filter_map(View::peers).flatten().any(|peer| peer.leader)
}

/// Looks at every host of our own cluster; where a leader was just lost, the next one is waited for.
///
/// # Errors
/// As for a plan, and a host that belongs to somebody else.
pub async fn look(run: Run<'_>) -> Result<ObservedHosts, EngineError> {
    let mut observed_hosts = ObservedHosts::at(run, Releases::AsNamed).await?;
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
    pub(super) async fn at(run: Run<'_>, releases: Releases) -> Result<Self, EngineError> {
        let (fleet, observed) = observe::look(run, releases).await?;
        Ok(Self { fleet, observed, awaited: false })
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

    /// Whether a cluster was found between two leaders, and has its next one now.
    pub(super) async fn is_led_again(&mut self, run: Run<'_>) -> bool {
        if !self.observed.clusters.iter().any(lacks_leader) {
            return false;
        }
        self.await_election(run).await;
        !self.observed.clusters.iter().any(lacks_leader)
    }

    /// Waits for the election where a leader was lost, once.
    pub(super) async fn await_election(&mut self, run: Run<'_>) {
        if std::mem::replace(&mut self.awaited, true) {
            return;
        }
        gate::await_election(&self.fleet, run, &mut self.observed).await;
    }

    /// Those of `hosts` that SSH does not reach and that still are alive to their peers some seconds later.
    pub(super) async fn alive(&self, run: Run<'_>, hosts: &[HostName]) -> Vec<Alive> {
        let is_unreached = |host: &&HostName| !self.fleet.connections.contains_key(*host);
        let unreached: Vec<&HostName> = hosts.iter().filter(is_unreached).collect();
        self.alive_at(run, |cluster| {
            let address = |host: &&HostName| Some((host.to_string(), *cluster.expected.members.get(*host)?));
            unreached.iter().filter_map(address).collect()
        })
        .await
    }

    /// Those that still are alive to the members some seconds later; `who` names them, with their addresses.
    pub(super) async fn alive_at(
        &self,
        run: Run<'_>,
        who: impl Fn(&ClusterAnswers) -> Vec<(String, IpAddr)>,
    ) -> Vec<Alive> {
        let began = Instant::now();
        let meant = self.observed.clusters.iter().filter(|cluster| !who(cluster).is_empty());
        let longest = meant.map(|cluster| cluster.gate.roster().lag()).max();
        let longest = longest.unwrap_or_default();
        let mut waiting = Waiting::new("members".to_owned(), longest, run.events, run.stop);
        loop {
            let (mut found, mut gone) = (Vec::new(), Vec::new());
            for cluster in &self.observed.clusters {
                let who = who(cluster);
                if who.is_empty() {
                    continue;
                }
                let Some((says, roster)) = self.roster(run.wanted, cluster.gate).await else { continue };
                for (who, address) in who {
                    let known: Vec<_> =
                        roster.iter().filter(|member| member.address == Some(address)).collect();
                    if known.is_empty() {
                        continue;
                    }
                    let is_alive = known.iter().any(|member| member.status == "alive");
                    let said = Alive { who, gate: cluster.gate, says: says.clone() };
                    if is_alive { &mut found } else { &mut gone }.push(said);
                }
            }
            found.retain(|alive| !gone.iter().any(|gone| gone.outdates(alive)));
            let Some(first) = found.first() else { return found };
            let is_sure = found.iter().any(|alive| began.elapsed() > alive.gate.roster().lag());
            if is_sure || !waiting.goes_on(&first.to_string()).await {
                return found;
            }
        }
    }

    /// Who tells the cluster behind a gate that `leaver` goes.
    pub(super) fn teller<'w>(&self, wanted: &'w Wanted, gate: Gate, leaver: &HostName) -> Option<Teller<'w>> {
        teller(&self.fleet, &self.observed.clusters, wanted, gate, Some(leaver))
    }

    /// Whom the cluster behind a gate takes for alive, and who says so.
    pub(super) async fn roster(&self, wanted: &Wanted, gate: Gate) -> Option<(HostName, Vec<Member>)> {
        ask_roster(&self.fleet, &self.observed.clusters, wanted, gate).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::products::{consul, nomad};

    #[test]
    fn what_gossip_knows_of_an_agent_is_newer_than_the_list_of_nodes() {
        let said = |who: &str, gate: Gate| Alive {
            who: who.to_owned(),
            gate,
            says: HostName::parse("node-1").unwrap(),
        };
        let listed = said("node-3", nomad::CLIENTS);
        assert!(said("node-3", nomad::SERVERS).outdates(&listed));
        // The other way round it may be the client's part alone that is down.
        assert!(!listed.outdates(&said("node-3", nomad::SERVERS)));
        assert!(!said("node-2", nomad::SERVERS).outdates(&listed));
        assert!(!said("node-3", consul::SERVERS).outdates(&listed));
    }
}
