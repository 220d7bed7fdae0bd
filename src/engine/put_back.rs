//! Gives hosts back what a batch changed there, where the batch does not prove itself.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::members::Members;
use super::{Fleet, HostFailure, Run, gate};
use crate::model::{Batch, Call, Change, Effect, Expected, HostName, Keep, StageName, Step, StepId};
use crate::products::Gate;
use crate::script::{Nonce, Script};
use crate::ssh::Connection;

/// A batch whose gate was not met.
pub(crate) struct Unproven<'a> {
    pub stage: &'a StageName,
    pub batch: &'a Batch,
    pub keeps: &'a BTreeMap<HostName, Keep>,
    pub members: &'a Members<'a>,
    /// Of the members, apart from their versions, once all is as before.
    pub expected: Expected,
}

/// Puts all of a batch back and waits for the gate once more: what stands now, in words. An operator who stops the run keeps
/// what was done.
pub(crate) async fn batch(fleet: &Fleet, run: Run<'_>, unproven: Unproven<'_>) -> Option<String> {
    if unproven.keeps.is_empty() || run.stop.requested() {
        return None;
    }
    let Unproven { stage, batch, keeps, members, mut expected } = unproven;
    let kept = batch.steps.iter().filter(|(host, _)| keeps.contains_key(*host));
    let concerned = kept.filter_map(|(host, steps)| Some((host, steps, fleet.connections.get(host)?)));
    let work = concerned.map(|(host, steps, connection)| async move {
        (host, self::host(connection, host, stage, steps, run).await.err())
    });
    let results = join_all(work).await;
    let hosts: Vec<&str> = results.iter().map(|(host, _)| host.as_str()).collect();
    let failed: Vec<String> = results
        .iter()
        .filter_map(|(host, failure)| Some(format!("{host} could not be put back: {}", failure.as_ref()?)))
        .collect();
    if !failed.is_empty() {
        return Some(failed.join("; "));
    }
    let hosts = hosts.join(", ");
    expected.versions.clear();
    Some(match gate::wait(fleet, members, &expected, Gate::judge, run).await {
        Ok(_) => format!("{hosts}: put back as before, and well again"),
        Err(still) => format!("{hosts}: put back as before, and still {still}"),
    })
}

/// Gives one host all back that is kept there.
///
/// # Errors
/// What of it does not run, or that the host cannot be reached.
pub(crate) async fn host(
    connection: &Connection,
    host: &HostName,
    stage: &StageName,
    steps: &[Step],
    run: Run<'_>,
) -> Result<(), HostFailure> {
    let Some(first) = steps.first() else { return Ok(()) };
    let step = Step {
        id: StepId(StepId::PUT_BACK.to_owned()),
        role: first.role.clone(),
        change: Change {
            reason: "the change did not prove itself".to_owned(),
            effect: Effect::Restart,
            diff: None,
            calls: vec![Call::new("keep_back", [])],
        },
        help: None,
    };
    super::steps::run(connection, host, stage, &[step], None, run).await.map(drop)
}

/// Forgets what is kept: the batch has proved itself. Where it stays, because the connection ended, the next batch knows
/// by the host's health whether it counts.
pub(crate) async fn forget(fleet: &Fleet, keeps: &BTreeMap<HostName, Keep>, run: Run<'_>) {
    let connections = keeps.keys().filter_map(|host| Some((host, fleet.connections.get(host)?)));
    join_all(connections.map(|(host, connection)| async move {
        let call = (StepId("kept".to_owned()), Call::new("keep_end", []));
        let script = Script::ask(&Nonce::random(), &[call]);
        if let Err(error) = connection.run(&script, run.options.timeout, |_| ()).await {
            tracing::debug!(%host, %error, "what is kept there stays");
        }
    }))
    .await;
}
