//! How well clusters and hosts are: one look at each host, and a question to a server of each product.

use futures_util::future::join_all;

use super::check::survey;
use super::observed_hosts::ask_roster;
use crate::engine::observe::{self, Releases};
use crate::engine::{EngineError, Run, failure, proof};
use crate::health::{self, Health};
use crate::model::{Check, ClusterState};
use crate::preflight::low_on_space;
use crate::products::Gate;

/// Looks at every host and asks the clusters; changes nothing.
///
/// # Errors
/// A release that some host lacks and that cannot be verified.
pub async fn health(run: Run<'_>) -> Result<Health, EngineError> {
    let (fleet, observed) = observe::look(run, Releases::AsNamed).await?;
    let mut survey = survey(Check::HEALTH, run, &fleet);
    survey.findings.extend(health::of_certificates(observed.certificates()));
    survey.findings.extend(observed.findings);
    let (rosters, wrong) = {
        let run = Run { wanted: observed.wanted.as_ref().unwrap_or(run.wanted), ..run };
        let clusters = &observed.clusters;
        let ask = async |gate: Gate| match gate.knows_members() {
            true => ask_roster(&fleet, clusters, run.wanted, gate).await,
            false => None,
        };
        let rosters = join_all(clusters.iter().map(|cluster| ask(cluster.gate)));
        tokio::join!(rosters, proof::all_wrong(&fleet, run, &observed.seen))
    };
    let nobody = ClusterState::default();
    let mut clusters = Vec::new();
    for (cluster, roster) in observed.clusters.iter().zip(rosters) {
        let (cluster, findings) = health::of_cluster(
            &health::ClusterView {
                gate: cluster.gate,
                expected: &cluster.expected,
                answers: &cluster.answers,
                cuts: &cluster.cuts,
                cluster_state: observed.seen.cluster_states.get(cluster.gate.name()).unwrap_or(&nobody),
                roster,
            },
            &run.wanted.hosts,
        );
        clusters.push(cluster);
        survey.findings.extend(findings);
    }
    match &observed.plan {
        Ok(plan) => survey.findings.extend(health::of_plan(plan)),
        Err(errors) => survey.findings.extend(failure::plan_findings(errors, &survey.findings)),
    }
    survey.findings.extend(health::of_uses(wrong));
    for host in &run.wanted.hosts {
        if let Some(seen) = observed.seen.hosts.get(&host.host.name) {
            survey.findings.extend(low_on_space(host, &seen.observation));
        }
    }
    fleet.close().await;
    survey.findings.sort_by_key(|finding| (finding.severity, finding.check));
    Ok(Health { clusters, survey })
}
