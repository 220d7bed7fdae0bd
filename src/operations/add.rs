//! A host joins its clusters; all others stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use super::up::Up;
use crate::engine::members::{Members, members};
use crate::engine::observe::{Observed, Releases};
use crate::engine::{EngineError, HostFailure, Outcome, Run, peers};
use crate::model::{Check, Finding, HostName, Plan};
use crate::products::Gate;

/// [`Up`] of one host, which the clusters take in.
pub struct Add<'a, F> {
    host: &'a HostName,
    up: Up<F>,
    /// The clusters that it was a member of before; `None`: it joins some.
    is_member_of: Option<Vec<Gate>>,
}

impl<'a, F: FnOnce() -> Result<(), EngineError>> Add<'a, F> {
    /// `before_changes` as of [`Up::new`].
    pub fn new(host: &'a HostName, before_changes: F) -> Self {
        Self { host, up: Up::new(before_changes), is_member_of: None }
    }
}

impl<F: FnOnce() -> Result<(), EngineError>> Operation for Add<'_, F> {
    fn releases(&self) -> Releases {
        self.up.releases()
    }

    fn fits(&self, observed_hosts: &mut ObservedHosts, run: Run<'_>) -> Result<(), EngineError> {
        self.up.fits(observed_hosts, run)
    }

    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        if let Some(failure) = observed_hosts.fleet.failures.get(self.host) {
            return Err(EngineError::Unfit(vec![failure.finding(self.host)]));
        }
        self.up.look(observed_hosts, run).await?;
        let observed = &observed_hosts.observed;
        let all = members(run.wanted);
        let of_host = |members: &&Members<'_>| members.names().contains(self.host);
        let of_host: Vec<&Members<'_>> = all.iter().filter(of_host).collect();
        let plan = std::mem::take(&mut self.up.plan);
        self.is_member_of = is_member_of(self.host, &of_host, observed, &plan);
        if self.is_member_of.is_some() {
            self.up.left = plan;
        } else {
            refuse_alone(self.host, &of_host, observed)?;
            refuse_closed_ways(observed_hosts, run).await?;
            refuse_before_upgrade(self.host, &of_host, observed)?;
            let wanted = self.up.wanted.as_ref().unwrap_or(run.wanted);
            let address = observed.seen.addresses.get(self.host).copied();
            (self.up.plan, self.up.left) = plan.for_newcomer(wanted, self.host, address);
        }
        Ok(self.up.decided(observed.unhealthy.is_none(), run))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        self.up.change(observed_hosts, run, outcome).await
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        self.up.prove(observed_hosts, run, outcome).await;
    }

    fn tell(&self, run: Run<'_>, failures: BTreeMap<HostName, HostFailure>, outcome: &mut Outcome) {
        if let Some(gates) = &self.is_member_of {
            let gates: Vec<&str> = gates.iter().map(|gate| gate.name()).collect();
            let of = if gates.is_empty() { String::new() } else { format!(" of {}", gates.join(", ")) };
            outcome.notes.insert(0, format!("{} is a member already{of}", self.host));
        }
        self.up.tell(run, failures, outcome);
    }
}

/// The clusters of a host, where all of them count it among their members. A host whose roles have none is one of ours as soon as
/// it is as the inventory says.
fn is_member_of(
    host: &HostName,
    of_host: &[&Members<'_>],
    observed: &Observed,
    plan: &Plan,
) -> Option<Vec<Gate>> {
    let state = |gate: Gate| observed.seen.cluster_states.get(gate.name());
    let is_in = |members: &&Members<'_>| state(members.gate).is_some_and(|now| now.members.contains(host));
    let is_set_up = !of_host.is_empty() || !plan.steps().any(|(name, _)| name == host);
    (is_set_up && of_host.iter().all(is_in)).then(|| of_host.iter().map(|members| members.gate).collect())
}

/// Where hosts do not reach the ports that they need of one another: the newcomer would wait for that.
async fn refuse_closed_ways(observed_hosts: &ObservedHosts, run: Run<'_>) -> Result<(), EngineError> {
    let tried = peers::try_ports(&observed_hosts.fleet, run, &observed_hosts.observed.seen).await;
    let closed: Vec<Finding> = tried.findings.into_iter().filter(Finding::is_error).collect();
    if closed.is_empty() { Ok(()) } else { Err(EngineError::Unfit(closed)) }
}

/// Where the others of its kind have no cluster that it could join: alone it would wait for them, or make one of its own.
fn refuse_alone(host: &HostName, of_host: &[&Members<'_>], observed: &Observed) -> Result<(), EngineError> {
    for members in of_host {
        let is_voter = members.hosts.iter().any(|(wanted, role)| wanted.host.name == *host && role.quorum);
        let lives = |gate: Gate| {
            observed.seen.cluster_states.get(gate.name()).is_some_and(|state| !state.members.is_empty())
        };
        if is_voter && members.hosts.len() > 1 && !lives(members.gate) {
            let reason = format!(
                "there is no cluster of {} with a leader that it could join, and nothing was changed on the hosts",
                members.gate.name()
            );
            let remedy = "`bootstrap up` makes the first one, and then it can join; `bootstrap recover` brings back one that has \
                          lost its quorum";
            return Err(EngineError::Unfit(vec![Finding::error(
                Check::Quorum,
                vec![host.clone()],
                reason,
                remedy.to_owned(),
            )]));
        }
    }
    Ok(())
}

/// Where a product does not take in who is newer than those that are there, and the inventory wants newer ones.
pub(super) fn refuse_before_upgrade(
    host: &HostName,
    of_host: &[&Members<'_>],
    observed: &Observed,
) -> Result<(), EngineError> {
    match versions(host, of_host, observed).into_iter().find(|member| member.runs != *member.wanted) {
        Some(Versions { gate, name, runs, wanted }) => Err(EngineError::Refused(format!(
            "{name} runs {runs} as one of {}, the inventory says {wanted}, and {host} would join with that: bring the \
             others there first, by `bootstrap up` of the inventory without {host}; or set the version back",
            gate.name()
        ))),
        None => Ok(()),
    }
}

/// What a member runs, and is to run.
pub(super) struct Versions<'o> {
    gate: Gate,
    name: &'o HostName,
    pub runs: String,
    pub wanted: &'o str,
}

/// Those of the others in the clusters of a host's products.
pub(super) fn versions<'o>(
    host: &HostName,
    of_host: &[&Members<'_>],
    observed: &'o Observed,
) -> Vec<Versions<'o>> {
    let products: BTreeSet<&str> = of_host.iter().map(|members| members.gate.product().name()).collect();
    let clusters =
        observed.clusters.iter().filter(|cluster| products.contains(cluster.gate.product().name()));
    let members = clusters.flat_map(|cluster| cluster.answers.iter().map(move |answer| (cluster, answer)));
    members
        .filter(|(_, (name, _))| *name != host)
        .filter_map(|(cluster, (name, answer))| {
            let (runs, wanted) = (cluster.gate.version(answer)?, cluster.expected.versions.get(name)?);
            Some(Versions { gate: cluster.gate, name, runs, wanted })
        })
        .collect()
}
