//! What stands in the way of a run.

use std::collections::BTreeSet;

use crate::engine::{EngineError, Fleet, Run, failure, observe, peers};
use crate::model::Check;
use crate::preflight::Survey;

/// Observes the hosts and says what stands in the way of a run; changes nothing.
///
/// # Errors
/// A release that some host lacks and that cannot be verified.
pub async fn check(run: Run<'_>) -> Result<Survey, EngineError> {
    let (fleet, observed) = observe::look(run, observe::Releases::Verified).await?;
    let mut survey = survey(Check::FITNESS, run, &fleet);
    survey.findings.extend(observed.findings);
    let errors = observed.plan.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    survey.findings.extend(failure::plan_findings(errors, &survey.findings));
    let tried = peers::try_ports(&fleet, run, &observed.seen).await;
    survey.tried = tried.hosts;
    survey.findings.extend(tried.findings);
    survey.findings.sort_by_key(|finding| finding.check);
    fleet.close().await;
    Ok(survey)
}

/// The hosts of a run, and what keeps some of them from saying anything.
pub(super) fn survey(checks: &'static [Check], run: Run<'_>, fleet: &Fleet) -> Survey {
    let hosts = run.wanted.hosts.iter().map(|host| host.host.name.clone());
    Survey {
        checks,
        hosts: hosts.filter(|name| run.options.hosts.contains(name)).collect(),
        silent: fleet.failures.keys().cloned().collect(),
        tried: BTreeSet::new(),
        findings: fleet.failures.iter().map(|(host, failure)| failure.finding(host)).collect(),
    }
}
