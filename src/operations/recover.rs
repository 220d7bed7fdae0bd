//! Quorum is lost for good: the survivors become the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use super::watching::{Watchers, on_all};
use crate::engine::commands::{self, Failure, stage};
use crate::engine::members::{Members, members};
use crate::engine::observe::ClusterAnswers;
use crate::engine::tasks::step;
use crate::engine::{EngineError, HostFailure, Outcome, Run, Stop, gate};
use crate::model::{Check, Endpoint, Finding, HostName, NulInArgument, Stage, Step};
use crate::products::{Gate, Recovers};
use crate::raft::{Recovery, View, recovery, unfinished};
use crate::roles::{Wanted, WantedHost};

const WHY: &str = "quorum is lost, and the survivors become the cluster";

/// The servers that are left of each raft cluster become the whole of it, with the state that they have.
#[derive(Default)]
pub struct Recover {
    product: Option<String>,
    /// Those that cannot be recovered, or need not be, and why.
    refused: Vec<Finding>,
    /// The others.
    pub recoveries: Vec<(Gate, Recovery)>,
    /// Those of which nobody answers, though hosts have the data of members: an earlier run may have been killed once it had stopped
    /// them.
    stopped: Vec<Stopped>,
}

/// Servers that are started, so that they can say what they have.
struct Stopped {
    gate: Gate,
    start: String,
    hosts: Vec<HostName>,
}

impl Recover {
    /// Of one product alone, or of all.
    pub fn new(product: Option<String>) -> Self {
        Self { product, ..Self::default() }
    }
}

impl Operation for Recover {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        observed_hosts.await_election(run).await;
        let gates = members(run.wanted);
        for cluster in &observed_hosts.observed.clusters {
            let (gate, product) = (cluster.gate, cluster.gate.product());
            if !gate.has_raft() || self.product.as_deref().is_some_and(|wanted| wanted != product.name()) {
                continue;
            }
            let unit = gates.iter().find(|members| members.gate == gate).and_then(Members::unit);
            let (Some(unit), Some(raft)) = (unit, gate.raft()) else { continue };
            let (start, views) = (raft.start_command(unit), gate.views(&cluster.answers));
            let kept = &observed_hosts.observed.seen.cluster_states[gate.name()].kept;
            if let (Recovers::OneGoesOn { .. }, Some(recovery)) =
                (raft.recovery(), unfinished(&cluster.expected, &views, kept))
            {
                self.recoveries.push((gate, recovery));
                continue;
            }
            let hosts: Vec<HostName> = cluster.expected.asked.intersection(kept).cloned().collect();
            if !hosts.is_empty() && views.values().all(|view| matches!(view, View::Silent(_))) {
                self.stopped.push(Stopped { gate, start, hosts });
                continue;
            }
            match recovery(product.name(), &cluster.expected, &views) {
                Ok(mut recovery) => {
                    newest_first(&mut recovery.survivors, cluster);
                    self.recoveries.push((gate, recovery));
                }
                Err(refused) => self.refused.push(refused),
            }
        }
        let lost: Vec<HostName> =
            self.recoveries.iter().flat_map(|(_, recovery)| recovery.lost.iter().cloned()).collect();
        // Two clusters out of one: what one of them acknowledges the other never sees.
        for alive in observed_hosts.alive(run, &lost).await {
            self.recoveries.retain(|(gate, _)| *gate != alive.gate);
            let reason = format!("{alive}: it would go on as another cluster");
            let remedy = "mend its SSH, or switch it off, and run again".to_owned();
            self.refused.push(Finding::error(Check::Quorum, Vec::new(), reason, remedy));
        }
        if self.recoveries.is_empty() && self.stopped.is_empty() {
            return Err(match std::mem::take(&mut self.refused) {
                refused if refused.is_empty() => EngineError::Refused(format!(
                    "no cluster of `{}` that could be recovered: no host of it is a server of such a product",
                    run.wanted.cluster
                )),
                refused => EngineError::Unfit(refused),
            });
        }
        let questions = self.recoveries.iter().map(|(gate, recovery)| question(*gate, recovery, run));
        let stopped = self.stopped.iter().map(|stopped| stopped.question(run));
        let question = Some(questions.chain(stopped).collect::<Vec<_>>().join("\n"));
        Ok(Some(Decision { changes_hosts: true, question }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        // Half of it is worse than all of it: it is not stopped on the way.
        let all = Run { stop: &Stop::default(), ..run };
        for stopped in &self.stopped {
            let stages = vec![stopped.stage(run.wanted).unwrap_or_else(|_| stage("start", BTreeMap::new()))];
            // One that does not start is told by the next look.
            let _ = commands::run(&mut observed_hosts.fleet, stages, Failure::GoOn, all, outcome).await;
            outcome.unhealthy = Some(format!(
                "{}: nobody answered; its servers are started, and the same `bootstrap recover` can ask them now",
                stopped.gate.name()
            ));
        }
        for (gate, recovery) in &self.recoveries {
            let address = |host: &HostName| observed_hosts.observed.seen.addresses.get(host).copied();
            let mut stages =
                vec![commands::scripts(run.wanted, &observed_hosts.observed, &recovery.survivors)?];
            stages.extend(
                match gate.raft().map(|raft| raft.recovery()) {
                    Some(Recovers::OneGoesOn { script }) => {
                        let watchers = Watchers::of(*gate, run.wanted).that_answer(&observed_hosts.fleet);
                        one_goes_on(run.wanted, script, recovery, &watchers, address)
                    }
                    _ => all_are_told(run.wanted, *gate, recovery),
                }
                .unwrap_or_default(),
            );
            stages.retain(|stage| !commands::is_empty(stage));
            let ended = commands::run(&mut observed_hosts.fleet, stages, Failure::Ends, all, outcome).await;
            if let Err(stage) = ended {
                let reason = format!("{}: a survivor failed in stage {stage}", gate.name());
                outcome.unhealthy.get_or_insert(reason);
            }
        }
        Ok(())
    }

    async fn prove(&mut self, observed_hosts: &mut ObservedHosts, run: Run<'_>, outcome: &mut Outcome) {
        let gates = members(run.wanted);
        for (gate, recovery) in &self.recoveries {
            let Some(members) = gates.iter().find(|members| members.gate == *gate) else { continue };
            let asked: BTreeSet<HostName> = recovery.survivors.iter().cloned().collect();
            let mut expected =
                members.expected(&observed_hosts.observed.seen.addresses, &asked, &BTreeSet::new());
            expected.members.retain(|host, _| asked.contains(host));
            gate::stands(&observed_hosts.fleet, members, &expected, run, outcome).await;
        }
    }

    /// That some do not answer is why it was done.
    fn tell(&self, _run: Run<'_>, _failures: BTreeMap<HostName, HostFailure>, outcome: &mut Outcome) {
        // One of two products that needed it is done; that the other stands is no failure.
        outcome.notes.extend(self.refused.iter().map(|refused| format!("not recovered: {refused}")));
    }
}

impl Stopped {
    fn question(&self, run: Run<'_>) -> String {
        let hosts: Vec<&str> = self.hosts.iter().map(HostName::as_str).collect();
        format!(
            "No server of {} of `{}` answers.\n  Those on {}, which have the data of members, are started; nothing else is done.",
            self.gate.product().name(),
            run.wanted.cluster,
            hosts.join(", ")
        )
    }

    fn stage(&self, wanted: &Wanted) -> Result<Stage, NulInArgument> {
        let hosts: Vec<&WantedHost> = self.hosts.iter().filter_map(|name| wanted.host(name)).collect();
        on_all(&hosts, "start", self.gate.name(), &["sh", "-c", &self.start], WHY)
    }
}

/// Who has seen most of the state, where its members tell; others stay in their order.
fn newest_first(survivors: &mut [HostName], cluster: &ClusterAnswers) {
    let Some(snapshots) = cluster.gate.snapshots() else { return };
    let index = |host: &HostName| {
        let answer = cluster.answers.get(host)?;
        Some(snapshots.position(answer)?.index)
    };
    survivors.sort_by_key(|host| std::cmp::Reverse(index(host)));
}

/// What it means for one cluster.
fn question(gate: Gate, recovery: &Recovery, run: Run<'_>) -> String {
    let names = |hosts: &[HostName]| hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    if let (true, Some((first, others))) = (recovery.is_led, recovery.survivors.split_first()) {
        return format!(
            "{} of `{}` is led by {first}, and an earlier recovery was cut short.\n  {} join it anew, and their own data is set aside.",
            gate.product().name(),
            run.wanted.cluster,
            names(others)
        );
    }
    let (survivors, lost) = (names(&recovery.survivors), names(&recovery.lost));
    let become_it = match (gate.raft().map(|raft| raft.recovery()), recovery.survivors.as_slice()) {
        (Some(Recovers::OneGoesOn { .. }), [one, others @ ..]) if !others.is_empty() => format!(
            "{one} becomes the whole cluster, with the state it has: it has seen most of it.\n  {} join it anew, and their own data \
             is set aside.",
            names(others)
        ),
        (Some(Recovers::OneGoesOn { .. }), _) => {
            format!("{survivors} becomes the whole cluster, with the state it has.")
        }
        _ => format!("{survivors} become the whole cluster, with the state they have."),
    };
    format!(
        "{} of `{}` has lost its quorum.\n  {become_it}\n  {lost} are given up: what only they have is lost, and with their old \
         data they must not come back.",
        gate.product().name(),
        run.wanted.cluster,
    )
}

/// All survivors stop before the first is told, and all are told before the first starts.
fn all_are_told(wanted: &Wanted, gate: Gate, recovery: &Recovery) -> Result<Vec<Stage>, NulInArgument> {
    let survivors = || {
        let hosts = wanted.hosts.iter().filter(|host| recovery.survivors.contains(&host.host.name));
        hosts.filter_map(|host| Some((host, host.endpoint(gate.name())?)))
    };
    let on_all = |name: &str, of_host: &dyn Fn(&WantedHost, &Endpoint) -> Result<Step, NulInArgument>| {
        let steps: Result<BTreeMap<_, _>, _> = survivors()
            .map(|(host, endpoint)| Ok((host.host.name.clone(), vec![of_host(host, endpoint)?])))
            .collect();
        steps.map(|steps| stage(name, steps))
    };
    let run = |host: &WantedHost, id: String, words: &[&str]| step(host, id, WHY, "exec_run", words);
    Ok(vec![
        on_all("stop", &|host, Endpoint { unit, .. }| {
            run(host, format!("stop {unit}"), &["systemctl", "stop", unit])
        })?,
        on_all("tell", &|host, Endpoint { data, .. }| {
            let file = format!("{data}/raft/peers.json");
            step(host, format!("file {file}"), WHY, "peers_write", &[&file, &recovery.peers])
        })?,
        // An agent is ready when it has joined somebody, and a single survivor has nobody to join: the gate judges it.
        on_all("start", &|host, Endpoint { unit, .. }| {
            run(host, format!("start {unit}"), &["systemctl", "--no-block", "start", unit])
        })?,
    ])
}

/// All survivors stop before the first goes on alone; then the others join it, one after the other, as its quorum wants it. Who
/// serves their state to others stands still meanwhile, and looks at all of it again at the end.
fn one_goes_on(
    wanted: &Wanted,
    script: &str,
    recovery: &Recovery,
    watchers: &Watchers<'_>,
    address: impl Fn(&HostName) -> Option<IpAddr>,
) -> Result<Vec<Stage>, NulInArgument> {
    let of_host = |stage_name: &str, name: &HostName, id: String, words: &[&str]| {
        let steps = match wanted.host(name) {
            Some(host) => vec![step(host, id, WHY, "exec_run", words)?],
            None => Vec::new(),
        };
        Ok(stage(stage_name, BTreeMap::from([(name.clone(), steps)])))
    };
    let Some((first, others)) = recovery.survivors.split_first() else { return Ok(Vec::new()) };
    let stopping = if recovery.is_led { others } else { &recovery.survivors };
    let beside = watchers.beside();
    let mut stages = beside.pause(WHY)?;
    let stopping: Vec<&WantedHost> = stopping.iter().filter_map(|name| wanted.host(name)).collect();
    stages.push(on_all(&stopping, "stop", watchers.label, &[script, "stop"], WHY)?);
    if !recovery.is_led {
        stages.push(of_host("alone", first, "go on as the only member".to_owned(), &[script, "alone"])?);
    }
    let at = address(first).map(|ip| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    });
    for name in others {
        let words = [script, "rejoin", at.as_deref().unwrap_or_default()];
        stages.push(of_host(&format!("join {name}"), name, format!("join {first} anew"), &words)?);
    }
    stages.extend(beside.resume(WHY)?);
    stages.extend(watchers.look_again(WHY)?);
    Ok(stages)
}
