//! A snapshot of etcd becomes the state of a Kubernetes cluster.

use std::collections::BTreeMap;
use std::path::Path;

use super::by_hand::{self, Failure, stage, step};
use super::members::members;
use super::snapshot::Keeper;
use super::{EngineError, Options, Outcome, Stop, lock};
use crate::cluster::{ETCD_RESTORE, Gate, STATIC_PODS};
use crate::inventory::HostName;
use crate::plan::{Stage, Step};
use crate::preflight::{Check, Finding};
use crate::report::Events;
use crate::roles::{Wanted, WantedHost};
use crate::script::NulInArgument;

const WHY: &str = "the state of the cluster becomes that of the snapshot";

impl Keeper {
    /// Every control plane makes its member's data of the snapshot `file`, whose digest is `sha256`; then all stop, take
    /// them, and start. That the cluster stands is for the caller to see.
    ///
    /// # Errors
    /// A control plane is out of reach, or somebody else works on the hosts. Nothing was changed.
    pub async fn restore_etcd(
        &mut self,
        wanted: &Wanted,
        file: &Path,
        sha256: &str,
        options: &Options,
        events: &Events,
    ) -> Result<Outcome, EngineError> {
        let gates = members(wanted);
        let hosts: Vec<&WantedHost> = gates
            .iter()
            .filter(|members| members.gate == Gate::KubeControlPlanes)
            .flat_map(|members| members.hosts.iter().map(|(host, _)| *host))
            .collect();
        let is_missing = |host: &&&WantedHost| !self.fleet.connections.contains_key(&host.host.name);
        let missing: Vec<HostName> =
            hosts.iter().filter(is_missing).map(|host| host.host.name.clone()).collect();
        if !missing.is_empty() {
            return Err(EngineError::Unfit(vec![Finding::error(
                Check::Ssh,
                missing,
                "a member that does not take the snapshot would be of another cluster".to_owned(),
                "bring it back, or take it out with `bootstrap remove-node`, and restore then".to_owned(),
            )]));
        }
        lock::refuse_others(&self.fleet, &self.observed.seen, options).await?;
        for host in &hosts {
            let connection = &self.fleet.connections[&host.host.name];
            connection.upload(file, sha256, |_| ()).await.map_err(|error| {
                EngineError::Unfit(vec![Finding::error(
                    Check::Ssh,
                    vec![host.host.name.clone()],
                    format!("the snapshot could not be sent: {error}"),
                    "nothing was changed; run it again".to_owned(),
                )])
            })?;
        }
        let mut outcome = Outcome::default();
        // Half of it is worse than all of it: once it has begun to stop, it is not stopped on the way.
        let all = Stop::default();
        for stages in stages(&hosts, sha256).unwrap_or_default() {
            let ended =
                by_hand::run(&mut self.fleet, stages, Failure::Ends, options, events, &all, &mut outcome)
                    .await;
            if let Err(stage) = ended {
                outcome.unhealthy = Some(format!("a control plane failed in stage {stage}"));
                break;
            }
        }
        Ok(outcome)
    }
}

/// What all must have done before any is stopped; then the rest.
fn stages(hosts: &[&WantedHost], sha256: &str) -> Result<[Vec<Stage>; 2], NulInArgument> {
    let pushed = format!("/var/lib/bootstrap/incoming/{sha256}");
    let on_all = |name: &str, words: &[&str]| {
        let of_host = |host: &&WantedHost| {
            let step: Step = step(host, format!("{name} etcd"), WHY, "exec_run", words)?;
            Ok((host.host.name.clone(), vec![step]))
        };
        let steps: Result<BTreeMap<_, _>, NulInArgument> = hosts.iter().map(of_host).collect();
        steps.map(|steps| stage(name, steps))
    };
    Ok([
        vec![on_all("unpack", &[ETCD_RESTORE, "unpack", &pushed, sha256])?],
        vec![
            on_all("stop", &[STATIC_PODS, "down"])?,
            on_all("take", &[ETCD_RESTORE, "take"])?,
            on_all("start", &[STATIC_PODS, "up"])?,
        ],
    ])
}
