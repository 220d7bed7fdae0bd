//! A snapshot becomes the state of every member at once, and that of whoever keeps his state with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use super::snapshot::SnapshotSource;
use crate::engine::commands::{self, Failure, is_empty, stage, step};
use crate::engine::members::{Members, members};
use crate::engine::{EngineError, Outcome, Run, Stop};
use crate::model::{Check, Finding, HostName, NulInArgument, Stage};
use crate::products::{Command, Gate, Transfer, Watching};
use crate::roles::{Wanted, WantedHost};

const WHY: &str = "the state of the cluster becomes that of the snapshot";

/// The state of one product becomes that of a snapshot.
pub struct Restore<'a> {
    /// What `snapshot save` wrote, and its bytes.
    file: &'a Path,
    bytes: Vec<u8>,
    /// Whose it is, where that is known.
    product: Option<String>,
    /// It is for these members to take, all at once while none of them runs; without them it goes to a server's API.
    members: Option<Gate>,
    /// What the operator has to agree to.
    question: String,
    source: Option<SnapshotSource>,
}

impl<'a> Restore<'a> {
    pub fn new(
        file: &'a Path,
        bytes: Vec<u8>,
        product: Option<String>,
        members: Option<Gate>,
        question: String,
    ) -> Self {
        Self { file, bytes, product, members, question, source: None }
    }

    /// The only cluster of the inventory that the snapshot can be of.
    async fn source(
        &self,
        observed_hosts: &ObservedHosts,
        run: Run<'_>,
    ) -> Result<SnapshotSource, EngineError> {
        let sources = observed_hosts.snapshot_sources(run).await?;
        let fits = |source: &SnapshotSource| {
            self.product.as_deref().is_none_or(|product| source.gate.product().name() == product)
        };
        let mut fitting = sources.into_iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(source), None) => Ok(source),
            _ => Err(EngineError::Refused(format!(
                "it is not known which product's state {} is: the file that `snapshot save` wrote beside it is missing",
                self.file.display()
            ))),
        }
    }
}

impl Operation for Restore<'_> {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        observed_hosts.await_election(run).await;
        match self.members {
            Some(gate) => refuse_missing(gate, observed_hosts, run)?,
            None => self.source = Some(self.source(observed_hosts, run).await?),
        }
        Ok(Some(Decision { changes_hosts: true, question: Some(self.question.clone()) }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        if let Some(gate) = self.members {
            return restore_members(gate, self.file, &self.bytes, observed_hosts, run, outcome).await;
        }
        let Some(source) = &self.source else { return Ok(()) };
        let restored = source.restore(std::mem::take(&mut self.bytes)).await;
        restored.map_err(|reason| {
            EngineError::Refused(format!("{} on {}: {reason}", source.gate.product().name(), source.host))
        })
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        let Some(gate) = self.members.or(self.source.as_ref().map(|source| source.gate)) else { return };
        let serves = |part: &Gate| part.watches(gate.name()).is_some_and(|watching| watching.pause.is_some());
        let serving = parts(run.wanted).filter(|part| *part != gate && serves(part));
        for gate in std::iter::once(gate).chain(serving) {
            if outcome.unhealthy.is_none() {
                observed_hosts.verify(run, gate, outcome).await;
            }
        }
    }
}

/// The parts that the inventory has, in the order of the program's own list.
fn parts(wanted: &Wanted) -> impl Iterator<Item = Gate> {
    let roles = || wanted.hosts.iter().flat_map(|host| &host.roles);
    Gate::ALL.into_iter().filter(move |gate| roles().any(|role| role.gate.as_deref() == Some(gate.name())))
}

/// Whose members take a snapshot themselves: those on hosts of their own, where the inventory has such, or control planes.
pub fn takes_streams(wanted: &Wanted) -> Option<Gate> {
    let by_stream = |gate: &Gate| {
        gate.snapshots().is_some_and(|snapshots| matches!(snapshots.transfer(), Transfer::Stream { .. }))
    };
    parts(wanted).find(by_stream)
}

/// Its members, and with what they do each part that keeps its state with them.
struct Affected<'a> {
    members: Vec<&'a WantedHost>,
    watching: Vec<(Watching, Vec<&'a WantedHost>)>,
}

impl<'a> Affected<'a> {
    fn by(gate: Gate, wanted: &'a Wanted) -> Self {
        let gates = members(wanted);
        let watches =
            |members: &Members<'a>| Some((members.gate.watches(gate.name())?, members.hosts().collect()));
        Self {
            members: gates.iter().filter(|members| members.gate == gate).flat_map(Members::hosts).collect(),
            watching: gates.iter().filter_map(watches).collect(),
        }
    }
}

/// # Errors
/// A member, or whoever serves its state to others, is out of reach.
fn refuse_missing(gate: Gate, observed_hosts: &ObservedHosts, run: Run<'_>) -> Result<(), EngineError> {
    let concerned = Affected::by(gate, run.wanted);
    let serving = concerned.watching.iter().filter(|(watching, _)| watching.pause.is_some());
    let is_missing = |host: &&&WantedHost| !observed_hosts.fleet.connections.contains_key(&host.host.name);
    let hosts = concerned.members.iter().chain(serving.flat_map(|(_, hosts)| hosts));
    let missing: BTreeSet<HostName> = hosts.filter(is_missing).map(|host| host.host.name.clone()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(EngineError::Unfit(vec![Finding::error(
        Check::Ssh,
        missing.into_iter().collect(),
        "a member that does not take the snapshot would be of another cluster".to_owned(),
        "bring it back, or take it out with `bootstrap remove-node`, and restore then".to_owned(),
    )]))
}

/// Every member of `gate` makes its data of the snapshot; then all stop, with whoever serves their state to others, take it,
/// and start; and who watches that state looks at all of it again.
///
/// # Errors
/// A host did not get the snapshot. Nothing was changed.
async fn restore_members(
    gate: Gate,
    file: &Path,
    bytes: &[u8],
    observed_hosts: &mut ObservedHosts,
    run: Run<'_>,
    outcome: &mut Outcome,
) -> Result<(), EngineError> {
    let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let concerned = Affected::by(gate, run.wanted);
    for host in &concerned.members {
        let connection = &observed_hosts.fleet.connections[&host.host.name];
        connection.upload(file, &sha256, |_| ()).await.map_err(|error| {
            EngineError::Unfit(vec![Finding::error(
                Check::Ssh,
                vec![host.host.name.clone()],
                format!("the snapshot could not be sent: {error}"),
                "nothing was changed; run it again".to_owned(),
            )])
        })?;
    }
    // Half of it is worse than all of it: once it has begun to stop, it is not stopped on the way.
    let all = Run { stop: &Stop::default(), ..run };
    // Of those that only watch, the ones that answer; the others look when they are back.
    let answer = |host: &&WantedHost| observed_hosts.fleet.connections.contains_key(&host.host.name);
    let watching: Vec<(Watching, Vec<&WantedHost>)> = concerned
        .watching
        .into_iter()
        .map(|(watching, hosts)| (watching, hosts.into_iter().filter(answer).collect()))
        .collect();
    for stages in stages(gate, &concerned.members, &watching, &sha256).unwrap_or_default() {
        if let Err(stage) =
            commands::run(&mut observed_hosts.fleet, stages, Failure::Ends, all, outcome).await
        {
            outcome.unhealthy = Some(format!("a host failed in stage {stage}"));
            break;
        }
    }
    Ok(())
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
