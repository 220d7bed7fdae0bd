//! One look at every host: what it says of itself, and what its agents say of their clusters.

use std::collections::BTreeMap;

use crate::engine::members::members;
use crate::engine::observe::{self, Observed};
use crate::engine::{EngineError, Fleet, HostFailure, Outcome, Run, gate};
use crate::model::{Check, Event, Finding, HostName};
use crate::products::Gate;
use crate::report::Events;

/// Hosts as they were found, with the open connections to them.
pub struct ObservedHosts {
    pub(crate) fleet: Fleet,
    pub(crate) observed: Observed,
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
