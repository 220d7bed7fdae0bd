//! The door that every change of hosts goes through.

use std::collections::BTreeMap;

use super::observed_hosts::ObservedHosts;
use crate::engine::observe::Releases;
use crate::engine::{EngineError, HostFailure, Outcome, Run, lock};
use crate::model::HostName;
use crate::report::RunLog;

/// Asks the operator for a yes; an error when there is none, or nobody who could be asked.
pub type Ask<'a> = &'a dyn Fn(&str) -> Result<(), EngineError>;

/// What a command comes with.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    pub run: Run<'a>,
    pub ask: Ask<'a>,
    /// What it does is written down here.
    pub log: &'a RunLog,
}

/// What an operation is about to do.
#[derive(Debug)]
pub struct Decision {
    /// Hosts are changed: nobody else may be at work on them.
    pub changes_hosts: bool,
    /// What may be lost by it, for the operator to agree to; `None` where nothing is.
    pub question: Option<String>,
}

/// What is a command's own of each step of [`change()`].
#[allow(async_fn_in_trait, reason = "nobody outside of this crate has operations, and all run on one thread")]
pub trait Operation {
    /// What it has to know of releases; without more, nothing: a cluster in need is helped without any vendor's site.
    fn releases(&self) -> Releases {
        Releases::AsNamed
    }

    /// What stands in its way of all that was found; without more, hosts that are somebody else's.
    ///
    /// # Errors
    /// All of it.
    fn fits(&self, observed_hosts: &mut ObservedHosts, _run: Run<'_>) -> Result<(), EngineError> {
        observed_hosts.refuse_foreign()
    }

    /// What it is to do, by what the members themselves say; `None`: there is nothing to do.
    ///
    /// # Errors
    /// Why it must not be done: what would be lost, and how the operator can go on.
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError>;

    /// Does it. What stopped it on the way is in `outcome`.
    ///
    /// # Errors
    /// It could not begin.
    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError>;

    /// The operator has agreed to what came up on the way: it is done once more, with that.
    fn agreed(&mut self) {}

    /// Sees that what was done holds. Only asked where nothing stopped it.
    async fn prove(&mut self, _observed_hosts: &mut ObservedHosts, _run: Run<'_>, _outcome: &mut Outcome) {}

    /// What is told of each host at the end; `failures` are those that were set aside.
    fn tell(&self, _run: Run<'_>, failures: BTreeMap<HostName, HostFailure>, outcome: &mut Outcome) {
        outcome.failures = failures;
    }
}

/// Takes an operation through every step, in this order: look at all hosts; whose are they, and what lives there; may it
/// be done; is anybody else at work; the operator's yes; do it; prove it; tell. The log is there from the first on.
///
/// # Errors
/// Why nothing was changed.
pub async fn change(door: Door<'_>, operation: &mut impl Operation) -> Result<Outcome, EngineError> {
    let run = door.run;
    tracing::debug!(log = %door.log.path().display(), "it is written down there");
    let mut observed_hosts = ObservedHosts::at(run, operation.releases()).await?;
    match observed_hosts.end_drills(run).await {
        Ok(false) => {}
        Ok(true) => {
            observed_hosts.close().await;
            observed_hosts = ObservedHosts::at(run, operation.releases()).await?;
        }
        Err(error) => {
            observed_hosts.close().await;
            return Err(error);
        }
    }
    if observed_hosts.is_led_again(run).await {
        // What was planned for a cluster without a leader would restart all of it together.
        observed_hosts.close().await;
        observed_hosts = ObservedHosts::at(run, operation.releases()).await?;
    }
    let result = pass(&mut observed_hosts, door, operation).await;
    let failures = observed_hosts.close().await;
    let mut outcome = result?;
    operation.tell(run, failures, &mut outcome);
    Ok(outcome)
}

async fn pass(
    observed_hosts: &mut ObservedHosts,
    door: Door<'_>,
    operation: &mut impl Operation,
) -> Result<Outcome, EngineError> {
    let run = door.run;
    operation.fits(observed_hosts, run)?;
    let mut outcome = Outcome::default();
    let Some(decision) = operation.decide(observed_hosts, run).await? else {
        outcome.notes.append(&mut observed_hosts.observed.notes);
        return Ok(outcome);
    };
    if decision.changes_hosts {
        lock::refuse_others(&observed_hosts.fleet, &observed_hosts.observed.seen, run.options).await?;
    }
    if let Some(question) = decision.question {
        (door.ask)(&question)?;
    }
    operation.change(observed_hosts, run, &mut outcome).await?;
    if let Some(question) = outcome.asks.take() {
        (door.ask)(&question)?;
        operation.agreed();
        operation.change(observed_hosts, run, &mut outcome).await?;
    }
    // What was held back cannot stand, and says so itself.
    let locked =
        observed_hosts.fleet.failures.values().any(|failure| matches!(failure, HostFailure::Locked { .. }));
    if !outcome.stopped && !locked && outcome.unhealthy.is_none() && outcome.held_back.is_empty() {
        operation.prove(observed_hosts, run, &mut outcome).await;
    }
    Ok(outcome)
}
