//! A snapshot becomes the state of every member at once, and that of whoever keeps his state with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::commands::{self, Failure, is_empty, stage, step};
use super::members::{Members, members};
use super::snapshot::Clusters;
use super::{EngineError, Outcome, Run, Stop, lock};
use crate::model::{Check, Finding, HostName, NulInArgument, Stage};
use crate::products::{Command, Gate, Transfer, Watching};
use crate::roles::WantedHost;

const WHY: &str = "the state of the cluster becomes that of the snapshot";

impl Clusters {
    /// Every member of `gate` makes its data of the snapshot `file`, whose digest is `sha256`; then all stop, with whoever
    /// serves their state to others, take it, and start; and who watches that state looks at all of it again. That the
    /// cluster stands is for the caller to see.
    ///
    /// # Errors
    /// A member, or a control plane, is out of reach, or somebody else works on the hosts. Nothing was changed.
    pub async fn restore_members(
        &mut self,
        run: Run<'_>,
        gate: Gate,
        file: &Path,
        sha256: &str,
    ) -> Result<Outcome, EngineError> {
        let gates = members(run.wanted);
        let hosts: Vec<&WantedHost> =
            gates.iter().filter(|members| members.gate == gate).flat_map(Members::hosts).collect();
        let watching: Vec<(Watching, Vec<&WantedHost>)> = gates
            .iter()
            .filter_map(|members| Some((members.gate.watches(gate.name())?, members.hosts().collect())))
            .collect();
        let servers =
            watching.iter().filter(|(watching, _)| watching.pause.is_some()).flat_map(|(_, hosts)| hosts);
        let is_missing = |host: &&&WantedHost| !self.fleet.connections.contains_key(&host.host.name);
        let missing: BTreeSet<HostName> =
            hosts.iter().chain(servers).filter(is_missing).map(|host| host.host.name.clone()).collect();
        if !missing.is_empty() {
            return Err(EngineError::Unfit(vec![Finding::error(
                Check::Ssh,
                missing.into_iter().collect(),
                "a member that does not take the snapshot would be of another cluster".to_owned(),
                "bring it back, or take it out with `bootstrap remove-node`, and restore then".to_owned(),
            )]));
        }
        lock::refuse_others(&self.fleet, &self.observed.seen, run.options).await?;
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
        let all = Run { stop: &Stop::default(), ..run };
        // Of those that only watch, the ones that answer; the others look when they are back.
        let answer = |host: &&WantedHost| self.fleet.connections.contains_key(&host.host.name);
        let watching: Vec<(Watching, Vec<&WantedHost>)> = watching
            .into_iter()
            .map(|(watching, hosts)| (watching, hosts.into_iter().filter(answer).collect()))
            .collect();
        for stages in stages(gate, &hosts, &watching, sha256).unwrap_or_default() {
            let ended = commands::run(&mut self.fleet, stages, Failure::Ends, all, &mut outcome).await;
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
    watching: &[(Watching, Vec<&WantedHost>)],
    sha256: &str,
) -> Result<[Vec<Stage>; 2], NulInArgument> {
    let (Some(raft), Some(snapshots)) = (gate.raft(), gate.snapshots()) else { return Ok([vec![], vec![]]) };
    let Transfer::Stream { script, unit, .. } = snapshots.transfer() else { return Ok([vec![], vec![]]) };
    let pushed = format!("/var/lib/bootstrap/incoming/{sha256}");
    let on_all = |hosts: &[&WantedHost], name: &str, words: &[&str]| {
        let of_host = |host: &&WantedHost| {
            let step = step(host, format!("{name} {}", raft.label()), WHY, "exec_run", words)?;
            Ok((host.host.name.clone(), vec![step]))
        };
        let steps: Result<BTreeMap<_, _>, NulInArgument> = hosts.iter().map(of_host).collect();
        steps.map(|steps| stage(name, steps))
    };
    // Those that do the same do it at the same time.
    let of_watching = |which: fn(&Watching) -> Option<Command>| -> Result<Vec<Stage>, NulInArgument> {
        let mut doing: Vec<(Command, Vec<&WantedHost>)> = Vec::new();
        for (watching, hosts) in watching {
            let Some(command) = which(watching) else { continue };
            match doing.iter_mut().find(|(known, _)| *known == command) {
                Some((_, all)) => all.extend(hosts),
                None => doing.push((command, hosts.clone())),
            }
        }
        doing.iter().map(|(command, hosts)| on_all(hosts, command.name, &command.words)).collect()
    };
    // With the pods of a member that is one, it stops and starts as well.
    let of_unit = |verb: &'static str| -> Result<Vec<Stage>, NulInArgument> {
        unit.map(|unit| on_all(hosts, verb, &["systemctl", verb, unit])).into_iter().collect()
    };
    let unpack = vec![on_all(hosts, "unpack", &[script, "unpack", &pushed, sha256])?];
    let take = vec![on_all(hosts, "take", &[script, "take"])?];
    let mut rest = [
        of_watching(|watching| watching.pause)?,
        of_unit("stop")?,
        take,
        of_unit("start")?,
        of_watching(|watching| watching.resume)?,
        of_watching(|watching| Some(watching.look_again))?,
    ]
    .concat();
    rest.retain(|stage| !is_empty(stage));
    Ok([unpack, rest])
}
