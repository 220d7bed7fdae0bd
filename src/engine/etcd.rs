//! A snapshot of etcd becomes its state, and that of a Kubernetes cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::by_hand::{self, Failure, is_empty, stage, step};
use super::members::members;
use super::snapshot::Keeper;
use super::{EngineError, Options, Outcome, Stop, lock};
use crate::model::{Check, Finding, HostName, NulInArgument, Stage, Step};
use crate::products::{Gate, Transfer, etcd, kubernetes};
use crate::report::Events;
use crate::roles::{Wanted, WantedHost};

const WHY: &str = "the state of the cluster becomes that of the snapshot";

impl Keeper {
    /// Every member of the etcd behind `gate` makes its data of the snapshot `file`, whose digest is `sha256`; then all
    /// stop, with the API servers that ask them, take them, and start; and who watched the API looks at all of it again. That
    /// the cluster stands is for the caller to see.
    ///
    /// # Errors
    /// A member, or a control plane, is out of reach, or somebody else works on the hosts. Nothing was changed.
    pub async fn restore_etcd(
        &mut self,
        wanted: &Wanted,
        gate: Gate,
        file: &Path,
        sha256: &str,
        options: &Options,
        events: &Events,
    ) -> Result<Outcome, EngineError> {
        let gates = members(wanted);
        let of_gate = |gate: Gate| -> Vec<&WantedHost> {
            let members = gates.iter().filter(|members| members.gate == gate);
            members.flat_map(|members| members.hosts.iter().map(|(host, _)| *host)).collect()
        };
        let hosts = of_gate(gate);
        // What they remember of the state is of another one then.
        let servers = of_gate(if gate == etcd::MEMBERS { kubernetes::API_SERVERS } else { gate });
        let watching = [servers.clone(), of_gate(kubernetes::WORKERS)].concat();
        let is_missing = |host: &&&WantedHost| !self.fleet.connections.contains_key(&host.host.name);
        let missing: BTreeSet<HostName> =
            hosts.iter().chain(&servers).filter(is_missing).map(|host| host.host.name.clone()).collect();
        if !missing.is_empty() {
            return Err(EngineError::Unfit(vec![Finding::error(
                Check::Ssh,
                missing.into_iter().collect(),
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
        // Of the workers those that answer; the others look when they are back.
        let watching: Vec<&WantedHost> = watching
            .into_iter()
            .filter(|host| self.fleet.connections.contains_key(&host.host.name))
            .collect();
        for stages in stages(gate, &hosts, &servers, &watching, sha256).unwrap_or_default() {
            let ended =
                by_hand::run(&mut self.fleet, stages, Failure::Ends, options, events, &all, &mut outcome)
                    .await;
            if let Err(stage) = ended {
                outcome.unhealthy = Some(format!("a host failed in stage {stage}"));
                break;
            }
        }
        Ok(outcome)
    }
}

/// What all must have done before any is stopped; then the rest.
fn stages(
    gate: Gate,
    hosts: &[&WantedHost],
    servers: &[&WantedHost],
    watching: &[&WantedHost],
    sha256: &str,
) -> Result<[Vec<Stage>; 2], NulInArgument> {
    let pushed = format!("/var/lib/bootstrap/incoming/{sha256}");
    let Some(Transfer::Stream { script, .. }) = gate.snapshots().map(|snapshots| snapshots.transfer()) else {
        return Ok([Vec::new(), Vec::new()]);
    };
    let on_all = |hosts: &[&WantedHost], name: &str, words: &[&str]| {
        let of_host = |host: &&WantedHost| {
            let step: Step = step(host, format!("{name} etcd"), WHY, "exec_run", words)?;
            Ok((host.host.name.clone(), vec![step]))
        };
        let steps: Result<BTreeMap<_, _>, NulInArgument> = hosts.iter().map(of_host).collect();
        steps.map(|steps| stage(name, steps))
    };
    let unpack = vec![on_all(hosts, "unpack", &[script, "unpack", &pushed, sha256])?];
    let take = on_all(hosts, "take", &[script, "take"])?;
    let down = on_all(servers, "stop API servers and", &[kubernetes::STATIC_PODS, "down"])?;
    let up = on_all(servers, "start API servers and", &[kubernetes::STATIC_PODS, "up"])?;
    let look = on_all(watching, "look again at", &[kubernetes::KUBE_RUN, "look-again"])?;
    let mut rest = match gate == etcd::MEMBERS {
        true => {
            let stop = on_all(hosts, "stop", &["systemctl", "stop", gate.unit()])?;
            let start = on_all(hosts, "start", &["systemctl", "start", gate.unit()])?;
            vec![down, stop, take, start, up, look]
        }
        // With its pods the member stops and starts as well.
        false => vec![down, take, up, look],
    };
    rest.retain(|stage| !is_empty(stage));
    Ok([unpack, rest])
}
