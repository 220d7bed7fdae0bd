//! Brings every host to what the inventory says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use crate::engine::observe::Releases;
use crate::engine::{
    EngineError, HostFailure, Options, Outcome, Run, apply, commands, gate, jobs, lock, proof, reach,
    releases,
};
use crate::model::{Event, HostName, HostOutcome, Plan, StepId};
use crate::report::pending;
use crate::roles::Wanted;

/// Observes the hosts and plans; changes nothing.
///
/// # Errors
/// What stands in the way of it.
pub async fn plan(run: Run<'_>) -> Result<(Plan, Outcome), EngineError> {
    let mut observed_hosts = ObservedHosts::at(run, Releases::Verified).await?;
    let jobs = jobs::plan(&observed_hosts.fleet, run, &observed_hosts.observed.seen).await;
    let fits = observed_hosts.refuse_unfit(run.events);
    let plan = std::mem::replace(&mut observed_hosts.observed.plan, Ok(Plan::default()));
    let failures = observed_hosts.close().await;
    fits?;
    let plan = Plan { jobs: jobs?.plans, ..plan.map_err(EngineError::Plan)? };
    Ok((plan, Outcome { failures, ..Outcome::default() }))
}

/// What waited for `up` when a host left its clusters.
#[derive(Debug, Default)]
pub struct Waits {
    pub steps: BTreeSet<(HostName, StepId)>,
    /// Of the host that left, where it is known.
    pub address: Option<IpAddr>,
}

/// Every host comes to its wanted state, and the clusters stand.
pub struct Up<F> {
    /// Runs once there is something to change: it keeps the secrets that were made.
    before_changes: Option<F>,
    pub(super) plan: Plan,
    /// What differs as well, and waits for another `up`.
    pub(super) left: Plan,
    /// What waited before this command and has nothing to do with it.
    waits: Option<Waits>,
    /// What is wanted, now that facts are known.
    pub(super) wanted: Option<Wanted>,
    /// What it means where hosts leave their clusters.
    pub(super) question: Option<String>,
    releases: Releases,
    /// The operator lets servers take a first token anew.
    resets_tokens: bool,
}

impl<F: FnOnce() -> Result<(), EngineError>> Up<F> {
    pub fn new(before_changes: F) -> Self {
        let (plan, left) = (Plan::default(), Plan::default());
        Self {
            before_changes: Some(before_changes),
            plan,
            left,
            waits: None,
            wanted: None,
            question: None,
            releases: Releases::Verified,
            resets_tokens: false,
        }
    }

    /// The same for what follows from another change alone: it leaves these steps, which waited before that, and jobs that differ.
    #[must_use]
    pub fn leaving(self, waits: Waits) -> Self {
        Self { waits: Some(waits), ..self }
    }

    /// The same where nothing is installed: it needs no vendor's site.
    #[must_use]
    pub fn installing_nothing(self) -> Self {
        Self { releases: Releases::AsNamed, ..self }
    }
}

impl<F> Up<F> {
    /// Plans; the first job that is not well.
    pub(super) async fn look(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<String>, EngineError> {
        let observed = &mut observed_hosts.observed;
        self.wanted = observed.wanted.take();
        self.question = observed.lost.question();
        let run = with_facts(run, self.wanted.as_ref());
        let jobs = jobs::plan(&observed_hosts.fleet, run, &observed.seen).await?;
        let plan = std::mem::replace(&mut observed.plan, Ok(Plan::default())).map_err(EngineError::Plan)?;
        self.plan = Plan { jobs: jobs.plans, ..plan };
        if let Some(Waits { steps, address }) = &self.waits {
            let came =
                run.options.brings.iter().flatten().filter_map(|host| observed.seen.addresses.get(host));
            let addresses: Vec<IpAddr> = came.chain(address).copied().collect();
            let plan = std::mem::take(&mut self.plan);
            (self.plan, self.left) = plan.without_waiting(steps, run.wanted, &addresses);
        }
        Ok(jobs.unwell)
    }

    /// Shows the plan; nothing is to be done where it is empty and all `is_well`.
    pub(super) fn decided(&self, is_well: bool, run: Run<'_>) -> Option<Decision> {
        run.events.send(Event::PlanReady { plan: self.plan.clone() });
        if self.plan.is_empty() && is_well {
            return None;
        }
        commands::warn(self.plan.warnings(), run.events);
        // They may be among what is left to another run.
        let leaves = self.plan.stages.iter().any(|stage| stage.name.is_leaving());
        let question = self.question.clone().filter(|_| leaves);
        let changes_hosts = !self.plan.changes_no_host() || !self.plan.access.is_empty();
        Some(Decision { changes_hosts, question })
    }
}

/// With what is wanted now that facts are known.
fn with_facts<'a>(run: Run<'a>, wanted: Option<&'a Wanted>) -> Run<'a> {
    Run { wanted: wanted.unwrap_or(run.wanted), ..run }
}

impl<F: FnOnce() -> Result<(), EngineError>> Operation for Up<F> {
    fn releases(&self) -> Releases {
        self.releases
    }

    fn fits(&self, observed_hosts: &mut ObservedHosts, run: Run<'_>) -> Result<(), EngineError> {
        observed_hosts.refuse_unfit(run.events)
    }

    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        let unwell = self.look(observed_hosts, run).await?;
        Ok(self.decided(observed_hosts.observed.unhealthy.is_none() && unwell.is_none(), run))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        if self.plan.changes_no_host() && self.plan.access.is_empty() {
            return Ok(());
        }
        let options = Options { resets_tokens: self.resets_tokens, ..run.options.clone() };
        let run = Run { options: &options, ..with_facts(run, self.wanted.as_ref()) };
        let (fleet, seen) = (&mut observed_hosts.fleet, &observed_hosts.observed.seen);
        releases::fetch(seen, run).await?;
        if let Some(before_changes) = self.before_changes.take() {
            before_changes()?;
        }
        apply::apply(fleet, run, &self.plan, seen, outcome).await;
        lock::release(fleet, &self.plan, run.options).await;
        Ok(())
    }

    fn agreed(&mut self) {
        self.resets_tokens = true;
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        let run = with_facts(run, self.wanted.as_ref());
        let (fleet, seen) = (&observed_hosts.fleet, &observed_hosts.observed.seen);
        gate::verify(fleet, run, seen, outcome).await;
        if outcome.unhealthy.is_none() && !outcome.stopped {
            reach::verify(fleet, run, seen, outcome).await;
        }
        if outcome.unhealthy.is_none() && !outcome.stopped {
            outcome.unhealthy = proof::verify(fleet, run, seen).await.err();
        }
        if outcome.unhealthy.is_none() && !run.stop.requested() && !self.plan.jobs.is_empty() {
            let plans = std::mem::take(&mut self.plan.jobs);
            jobs::run(fleet, run, seen, plans, outcome).await;
        }
    }

    fn tell(&self, run: Run<'_>, failures: BTreeMap<HostName, HostFailure>, outcome: &mut Outcome) {
        outcome.set_aside(failures);
        outcome.pending = pending(&self.left);
        for name in &run.options.hosts {
            outcome.hosts.entry(name.clone()).or_insert(HostOutcome::Unchanged);
        }
    }
}
