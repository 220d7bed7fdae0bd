//! Takes a host out of its clusters: drained, gone from the peer sets, its agents stopped.
//!
//! The products' own programs do it, on the host where it answers and on another server where it does not: what is
//! done here an operator can repeat by hand.

use std::collections::{BTreeMap, BTreeSet};

use super::add::{refuse_before_upgrade, versions};
use super::change::{Decision, Operation};
use super::observed_hosts::{Alive, ObservedHosts, Teller};
use super::up::Waits;
use crate::engine::commands::{self, is_empty, stage};
use crate::engine::members::{Members, members};
use crate::engine::observe::{ClusterAnswers, Observed};
use crate::engine::tasks::{self, step};
use crate::engine::wait::Waiting;
use crate::engine::{EngineError, HostFailure, Outcome, Run, gate, undo};
use crate::model::{Check, Event, Finding, HostName, NulInArgument, Plan, Stage, Step, Verdict};
use crate::preflight::{HostMarker, Marker};
use crate::products::{Answers, DepartureNotice, Gate};
use crate::raft::{Departure, departure, without};
use crate::roles::{Wanted, WantedHost};

/// A host leaves every cluster that it is a member of; whether all is well with the others is for what comes after.
pub struct Leave<'a> {
    pub host: &'a HostName,
    /// Also when the others are no quorum.
    pub force: bool,
    /// Only if it does not answer: another host takes its place.
    pub must_be_dead: bool,
    departures: Vec<(Gate, Departure)>,
    /// What differed on the others before it left.
    pub waits: Waits,
}

impl<'a> Leave<'a> {
    pub fn new(host: &'a HostName, force: bool, must_be_dead: bool) -> Self {
        Self { host, force, must_be_dead, departures: Vec::new(), waits: Waits::default() }
    }

    /// What it means, and what may be lost.
    fn question(&self, wanted: &Wanted) -> String {
        let (host, cluster) = (self.host, &wanted.cluster);
        let gates: Vec<&str> = self.departures.iter().map(|(gate, _)| gate.name()).collect();
        let parts = if gates.is_empty() { "nothing".to_owned() } else { gates.join(", ") };
        if self.must_be_dead {
            format!(
                "{host} of `{cluster}` is given up: its place in {parts} goes to the new host. What only {host} had is lost, \
                 and with its old data it must not come back."
            )
        } else {
            format!(
                "{host} leaves `{cluster}`: it is taken out of {parts}, its work moves to others and its agents stop. Its data \
                 is set aside on its disk, and what its roles changed there is as it was before."
            )
        }
    }
}

impl Operation for Leave<'_> {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        let host = self.host;
        observed_hosts.await_election(run).await;
        if self.must_be_dead && observed_hosts.fleet.connections.contains_key(host) {
            let remedy = format!(
                "`bootstrap remove-node` takes a living host out; `bootstrap lab kill` or its power makes {host} a dead one"
            );
            let finding = Finding::error(
                Check::Agent,
                vec![host.clone()],
                "it answers: only a dead host is replaced".to_owned(),
                remedy,
            );
            return Err(EngineError::Unfit(vec![finding]));
        }
        // Whom SSH does not reach is dead or not.
        let alive = observed_hosts.alive(run, std::slice::from_ref(host)).await;
        let remedy = match self.must_be_dead {
            true => format!(
                "only a dead host is replaced: switch {host} off, or reach it by SSH again and use `bootstrap remove-node`"
            ),
            false => {
                "it would join again: reach it by SSH again, or switch it off, and run this again".to_owned()
            }
        };
        let finding = |alive: &Alive| {
            Finding::error(Check::Agent, vec![host.clone()], alive.to_string(), remedy.clone())
        };
        if !alive.is_empty() {
            return Err(EngineError::Unfit(alive.iter().map(finding).collect()));
        }
        let all = members(run.wanted);
        let of_host: Vec<&Members<'_>> =
            all.iter().filter(|members| members.names().contains(host)).collect();
        if self.must_be_dead && !is_half_upgraded(host, &of_host, &observed_hosts.observed) {
            // Who comes in its place joins like any newcomer.
            refuse_before_upgrade(host, &of_host, &observed_hosts.observed)?;
        }
        self.departures = departures(self, &observed_hosts.observed, run)?;
        let differs = observed_hosts.observed.plan.iter().flat_map(Plan::steps);
        let of_others = differs.filter(|(name, _)| *name != host);
        self.waits = Waits {
            steps: of_others.map(|(name, step)| (name.clone(), step.id.clone())).collect(),
            address: observed_hosts.observed.seen.addresses.get(host).copied(),
        };
        Ok(Some(Decision { changes_hosts: true, question: Some(self.question(run.wanted)) }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let stages = stages(observed_hosts, run.wanted, run.marker, self.host, &self.departures)
            .map_err(|_| nul(self.host))?;
        commands::run_all(&mut observed_hosts.fleet, stages, run, outcome).await;
        if !outcome.stopped && outcome.held_back.is_empty() {
            let host = BTreeSet::from([self.host.clone()]);
            undo::all(&mut observed_hosts.fleet, &host, run, outcome).await;
        }
        Ok(())
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        for members in members(run.wanted).iter().filter(|members| members.gate.has_raft()) {
            let gate = members.gate;
            if !self.departures.iter().any(|(departs, _)| *departs == gate) {
                continue;
            }
            let asked =
                observed_hosts.fleet.connections.keys().filter(|name| *name != self.host).cloned().collect();
            let expected =
                members.expected(&observed_hosts.observed.seen.addresses, &asked, &BTreeSet::new());
            let waiting = Waiting::new(gate.name().to_owned(), run.options.timeout, run.events, run.stop);
            let judge = |answers: &Answers| without(&expected, &gate.views(answers), self.host);
            let (_, verdict, waiting) =
                gate::poll(&observed_hosts.fleet, members, &expected, waiting, judge).await;
            match verdict {
                Verdict::Met { detail } => waiting.met(detail),
                _ if run.stop.requested() => outcome.stopped = true,
                Verdict::NotYet { reason } | Verdict::Refused { reason } => {
                    let reason = waiting.failed(&reason, String::new());
                    outcome.unhealthy.get_or_insert(format!("{}: {reason}", gate.name()));
                }
            }
        }
    }

    fn tell(&self, _run: Run<'_>, mut failures: BTreeMap<HostName, HostFailure>, outcome: &mut Outcome) {
        // That it does not answer is why it goes.
        failures.remove(self.host);
        outcome.set_aside(failures);
    }
}

/// Whether somebody runs what the inventory says already: an upgrade that the host's death has ended goes on with the new one.
fn is_half_upgraded(host: &HostName, of_host: &[&Members<'_>], observed: &Observed) -> bool {
    versions(host, of_host, observed).iter().any(|member| member.runs == *member.wanted)
}

/// What each cluster says to it. Forced or not, the operator is told what it means.
fn departures(
    leaver: &Leave<'_>,
    observed: &Observed,
    run: Run<'_>,
) -> Result<Vec<(Gate, Departure)>, EngineError> {
    let mut departures = Vec::new();
    let mut refused = Vec::new();
    let warn = |message: String| run.events.send(Event::Warning { host: Some(leaver.host.clone()), message });
    for members in members(run.wanted).iter().filter(|members| members.names().contains(leaver.host)) {
        let gate = members.gate;
        let departs = match observed.clusters.iter().find(|cluster| cluster.gate == gate) {
            Some(cluster) if !cluster.expected.members.contains_key(leaver.host) => continue,
            Some(ClusterAnswers { expected, answers, .. }) if gate.has_raft() => {
                departure(gate.product().name(), expected, &gate.views(answers), leaver.host)
            }
            None if gate.has_raft() => continue,
            // Also where nobody of its part answers, as when the only client is dead: others can still be told.
            _ => Ok(Departure::default()),
        };
        match departs {
            Ok(departure) => {
                departure.warning.iter().cloned().for_each(warn);
                departures.push((gate, departure));
            }
            Err(refusal) if leaver.force && refusal.can_be_forced => {
                warn(format!("{}, and is forced", refusal.reason));
                departures.push((gate, Departure::default()));
            }
            Err(refusal) => {
                refused.push(Finding::error(
                    Check::Quorum,
                    vec![leaver.host.clone()],
                    refusal.reason,
                    refusal.remedy,
                ));
            }
        }
    }
    if refused.is_empty() { Ok(departures) } else { Err(EngineError::Unfit(refused)) }
}

fn nul(host: &HostName) -> EngineError {
    let reason = "a name has a NUL byte in it".to_owned();
    EngineError::Unfit(vec![Finding::error(
        Check::Agent,
        vec![host.clone()],
        reason,
        "mend the inventory".to_owned(),
    )])
}

/// First what others do while it is still there; then what the host does itself, in reverse order of activation; then
/// what the others are told of it.
fn stages(
    observed_hosts: &ObservedHosts,
    wanted: &Wanted,
    marker: &Marker,
    host: &HostName,
    departures: &[(Gate, Departure)],
) -> Result<Vec<Stage>, NulInArgument> {
    let leaving = wanted.hosts.iter().find(|wanted| wanted.host.name == *host);
    let mut own = Vec::new();
    let mut first: BTreeMap<HostName, Vec<Step>> = BTreeMap::new();
    let mut told: BTreeMap<HostName, Vec<Step>> = BTreeMap::new();
    for (gate, departure) in departures.iter().rev() {
        let cluster = observed_hosts.observed.clusters.iter().find(|cluster| cluster.gate == *gate);
        let answer = cluster.and_then(|cluster| cluster.answers.get(host));
        let answers = answer.is_some_and(Result::is_ok);
        if let Some(leaving) = leaving.filter(|_| observed_hosts.fleet.connections.contains_key(host)) {
            own.extend(own_steps(*gate, wanted, leaving, answers)?);
        }
        if let Some(Teller { host: helper, endpoint, .. }) = observed_hosts.teller(wanted, *gate, host) {
            let leaving = gate.leaving();
            let before = tasks::tasks(helper, tasks::signed(*gate, wanted, leaving.before(host, answers)))?;
            first.entry(helper.host.name.clone()).or_default().extend(before);
            let peer = departure.peer.as_ref();
            let notice = DepartureNotice { api: &endpoint.url(), host, peer, answer };
            let notice = tasks::tasks(helper, tasks::signed(*gate, wanted, leaving.told(&notice)))?;
            told.entry(helper.host.name.clone()).or_default().extend(notice);
        }
    }
    if let Some(leaving) = leaving.filter(|_| !own.is_empty()) {
        own.extend(tasks::remove_keys(leaving)?);
        let text = HostMarker::new(marker, BTreeMap::new()).to_string();
        let (id, reason) = ("marker cluster".to_owned(), "nothing is set up there any more");
        own.push(step(leaving, id, reason, "cluster_write", &[&text])?);
    }
    let own = BTreeMap::from([(host.clone(), own)]);
    let mut stages = vec![stage("drain", first), stage("leave", own), stage("forget", told)];
    stages.retain(|stage| !is_empty(stage));
    Ok(stages)
}

/// What the host does as a member of this gate's cluster.
fn own_steps(
    gate: Gate,
    wanted: &Wanted,
    host: &WantedHost,
    answers: bool,
) -> Result<Vec<Step>, NulInArgument> {
    let Some(endpoint) = host.endpoint(gate.name()) else { return Ok(Vec::new()) };
    let own = gate.leaving().on_host(&endpoint.url(), answers);
    let before = tasks::tasks(host, tasks::signed(gate, wanted, own))?;
    let rest = tasks::ends(gate, host, &endpoint.unit, &endpoint.data)?;
    Ok(before.into_iter().chain(rest).collect())
}
