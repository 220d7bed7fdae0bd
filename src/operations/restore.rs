//! A snapshot becomes the state of every member at once, and that of whoever keeps his state with them.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use super::snapshot::SnapshotSource;
use super::watching::{Watchers, on_all};
use crate::engine::commands::{self, Failure, is_empty};
use crate::engine::members::{Members, members};
use crate::engine::{EngineError, Fleet, Options, Outcome, Run, Stop, access};
use crate::model::{Check, Event, Finding, HostName, NulInArgument, Stage, hex};
use crate::products::{Gate, Transfer};
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
        })?;
        renew_tokens(source.gate, observed_hosts, run, outcome).await;
        Ok(())
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
        // What goes to a server's API has no old state beside it: there the reason stays as it is.
        if let Some(gate) = self.members
            && let Some(reason) = outcome.unhealthy.take()
        {
            put_back(gate, observed_hosts, run, outcome, &reason).await;
        }
    }
}

/// The state knows the tokens of the time when it was saved, which may be those of another cluster: it is told those of this one.
async fn renew_tokens(gate: Gate, observed_hosts: &ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
    let Some(wanted) = &observed_hosts.observed.wanted else { return };
    // The operator has agreed to another state as a whole.
    let options = Options { resets_tokens: true, ..run.options.clone() };
    let run = Run { wanted, options: &options, ..run };
    for members in members(wanted).iter().filter(|members| members.gate == gate) {
        let addresses = &observed_hosts.observed.seen.addresses;
        if let Err(unmet) =
            access::make(&observed_hosts.fleet, members, addresses, access::Doing::All, run).await
        {
            unmet.tell(outcome);
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

/// The hosts of its members.
fn hosts_of(gate: Gate, wanted: &Wanted) -> Vec<&WantedHost> {
    let gates = members(wanted);
    gates.iter().filter(|members| members.gate == gate).flat_map(Members::hosts).collect()
}

/// # Errors
/// A member, or whoever serves its state to others, is out of reach.
fn refuse_missing(gate: Gate, observed_hosts: &ObservedHosts, run: Run<'_>) -> Result<(), EngineError> {
    let watchers = Watchers::of(gate, run.wanted);
    let hosts = hosts_of(gate, run.wanted).into_iter().chain(watchers.serving());
    let is_missing = |host: &&WantedHost| !observed_hosts.fleet.connections.contains_key(&host.host.name);
    let missing: BTreeSet<HostName> = hosts.filter(is_missing).map(|host| host.host.name.clone()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(EngineError::Unfit(vec![Finding::error(
        Check::Ssh,
        missing.into_iter().collect(),
        "a member that does not take the snapshot would be of another cluster".to_owned(),
        "bring it back, or take it out with `bootstrap remove-node`, and restore then; where quorum is lost with it, first \
         `bootstrap recover`"
            .to_owned(),
    )]))
}

/// How the members of a gate take a snapshot, host by host.
struct Takers<'a> {
    members: Vec<&'a WantedHost>,
    watchers: Watchers<'a>,
    script: &'static str,
    unit: Option<&'static str>,
}

impl<'a> Takers<'a> {
    fn new(gate: Gate, run: Run<'a>, fleet: &Fleet) -> Option<Self> {
        let Transfer::Stream { script, unit, .. } = gate.snapshots()?.transfer() else { return None };
        let watchers = Watchers::of(gate, run.wanted).that_answer(fleet);
        Some(Self { members: hosts_of(gate, run.wanted), watchers, script, unit })
    }

    fn all(&self, name: &str, words: &[&str]) -> Result<Stage, NulInArgument> {
        on_all(&self.members, name, self.watchers.label, words, WHY)
    }

    /// With the pods of a member that is one, it stops and starts as well.
    fn unit(&self, name: &str, verb: &[&str]) -> Result<Vec<Stage>, NulInArgument> {
        let words = |unit| [&["systemctl"], verb, &[unit]].concat();
        self.unit.map(|unit| self.all(name, &words(unit))).into_iter().collect()
    }

    /// Makes the data, beside what is there, while all runs.
    fn unpack(&self, sha256: &str) -> Result<Vec<Stage>, NulInArgument> {
        let pushed = format!("/var/lib/bootstrap/incoming/{sha256}");
        Ok(vec![self.all("unpack", &[self.script, "unpack", &pushed, sha256])?])
    }

    /// All stop, with whoever serves their state to others; do what `verb` of the script is; and start. Who watches that state
    /// looks at all of it again.
    fn exchange(&self, verb: &str) -> Result<Vec<Stage>, NulInArgument> {
        let mut stages = [
            self.watchers.pause(WHY)?,
            self.unit("stop", &["stop"])?,
            vec![self.all(verb, &[self.script, verb])?],
            // Whether it serves the gate says, and a host that is set aside could not be put back.
            self.unit("start", &["--no-block", "start"])?,
            self.watchers.resume(WHY)?,
            self.watchers.look_again(WHY)?,
        ]
        .concat();
        stages.retain(|stage| !is_empty(stage));
        Ok(stages)
    }
}

/// Every member of `gate` makes its data of the snapshot; then all stop, take it, and start.
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
    let sha256 = hex(Sha256::digest(bytes));
    let Some(takers) = Takers::new(gate, run, &observed_hosts.fleet) else { return Ok(()) };
    for host in &takers.members {
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
    let names: Vec<HostName> = takers.members.iter().map(|host| host.host.name.clone()).collect();
    let scripts = commands::scripts(run.wanted, &observed_hosts.observed, &names)?;
    let unpack = [vec![scripts], takers.unpack(&sha256).unwrap_or_default()].concat();
    if let Err(stage) = commands::run(&mut observed_hosts.fleet, unpack, Failure::Ends, all, outcome).await {
        outcome.unhealthy = Some(format!("a host failed in stage {stage}; nothing was changed"));
        return Ok(());
    }
    let take = takers.exchange("take").unwrap_or_default();
    if let Err(stage) = commands::run(&mut observed_hosts.fleet, take, Failure::Ends, all, outcome).await {
        put_back(gate, observed_hosts, run, outcome, &format!("a host failed in stage {stage}")).await;
    }
    Ok(())
}

/// The snapshot did not prove itself: the members have their own data again, and what they had of it is set aside.
async fn put_back(
    gate: Gate,
    observed_hosts: &mut ObservedHosts,
    run: Run<'_>,
    outcome: &mut Outcome,
    reason: &str,
) {
    let run = Run { stop: &Stop::default(), ..run };
    let Some(takers) = Takers::new(gate, run, &observed_hosts.fleet) else { return };
    let message = format!("{reason}: the members go back to the state that they had");
    run.events.send(Event::Warning { host: None, message });
    let back = takers.exchange("back").unwrap_or_default();
    outcome.unhealthy = None;
    let ended = commands::run(&mut observed_hosts.fleet, back, Failure::GoOn, run, outcome).await;
    observed_hosts.verify(run, gate, outcome).await;
    let now = match (ended, &outcome.unhealthy) {
        (Ok(()), None) => "the state that they had is back, and the members stand".to_owned(),
        (_, Some(reason)) => format!("the state that they had is back, and they do not stand: {reason}"),
        (Err(stage), None) => format!("a host failed in stage {stage} on the way back"),
    };
    outcome.notes.push(format!("restored: {now}"));
    outcome.unhealthy = Some(format!("{reason}; {now}"));
}
