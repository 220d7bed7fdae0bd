//! Takes a host out of its clusters: drained, gone from the peer sets, its agents stopped.
//!
//! The products' own programs do it, on the host where it answers and on another server where it does not: what is
//! done here an operator can repeat by hand.

use std::collections::{BTreeMap, BTreeSet};

use super::by_hand::{self, Failure, is_empty, stage, step};
use super::members::members;
use super::observe::{self, Heard};
use super::wait::Waiting;
use super::{EngineError, Fleet, Options, Outcome, Stop, gate, lock};
use crate::cluster::{Answers, Departure, ETCD_PORT, Gate, MEMBER, Marker, Verdict, departure, without};
use crate::model::{Check, Event, Finding, HostName, HostOutcome, NulInArgument, Stage, Step};
use crate::report::Events;
use crate::roles::{Wanted, WantedHost};

/// How long allocations may take to move to other nodes.
const DRAIN_DEADLINE: &str = "10m";
/// An election takes seconds; until it is over nothing can be removed.
const REMOVAL_SECONDS: &str = "30";

const KUBECTL: [&str; 3] = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];

/// Who leaves, and how.
pub struct Leaver<'a> {
    pub host: &'a HostName,
    /// Also when the others are no quorum.
    pub force: bool,
    /// Only if it does not answer: another host takes its place.
    pub must_be_dead: bool,
}

/// Takes `leaver` out of every cluster that it is a member of, and waits until the others are without it. Whether all is
/// well with the others is for what comes after.
///
/// # Errors
/// Quorum would be lost, or it is unknown whether it would.
pub async fn leave(
    wanted: &Wanted,
    leaver: &Leaver<'_>,
    marker: &Marker,
    options: &Options,
    events: &Events,
    stop: &Stop,
) -> Result<Outcome, EngineError> {
    let (mut fleet, mut observed) = observe::look(wanted, marker, options, events).await?;
    gate::await_election(&fleet, wanted, &mut observed, options, events, stop).await;
    let result = depart(&mut fleet, wanted, leaver, &observed, options, events, stop).await;
    let mut failures = fleet.close().await;
    // That it does not answer is why it goes.
    failures.remove(leaver.host);
    let mut outcome = result?;
    for (host, failure) in &failures {
        outcome.hosts.insert(host.clone(), HostOutcome::Failed { error: failure.to_string() });
    }
    outcome.failures = failures;
    Ok(outcome)
}

async fn depart(
    fleet: &mut Fleet,
    wanted: &Wanted,
    leaver: &Leaver<'_>,
    observed: &observe::Observed,
    options: &Options,
    events: &Events,
    stop: &Stop,
) -> Result<Outcome, EngineError> {
    let host = leaver.host;
    if leaver.must_be_dead && fleet.connections.contains_key(host) {
        let remedy = format!(
            "`bootstrap remove-node` takes a living host out; `bootstrap lab kill` or its power makes {host} a dead one"
        );
        let finding = Finding::error(
            Check::Agent,
            vec![host.clone()],
            "it answers: only a dead host is replaced".to_owned(),
            remedy,
        );
        return Err(EngineError::Unfit(vec![finding]));
    }
    let departures = departures(leaver, observed, events)?;
    let mut outcome = Outcome::default();
    lock::refuse_others(fleet, &observed.seen, options).await?;
    let stages = stages(fleet, wanted, host, &departures, &observed.heard).map_err(|_| nul(host))?;
    if by_hand::run(fleet, stages, Failure::Ends, options, events, stop, &mut outcome).await.is_err() {
        return Ok(outcome);
    }
    for members in members(wanted).iter().filter(|members| members.gate.has_raft()) {
        let Some((heard, _)) = departures.iter().find(|(heard, _)| heard.gate == members.gate) else {
            continue;
        };
        let asked = fleet.connections.keys().filter(|name| *name != host).cloned().collect();
        let expected = members.expected(&observed.seen.addresses, &asked, &BTreeSet::new());
        let waiting = Waiting::new(heard.gate.name().to_owned(), options.timeout, events, stop);
        let judge = |answers: &Answers| without(members.gate, &expected, answers, host);
        let (_, verdict, waiting) = gate::poll(fleet, members, &expected, waiting, judge).await;
        match verdict {
            Verdict::Met { detail } => waiting.met(detail),
            Verdict::NotYet { reason } => {
                let reason = waiting.failed(&reason, String::new());
                outcome.unhealthy.get_or_insert(format!("{}: {reason}", heard.gate.name()));
            }
        }
    }
    Ok(outcome)
}

/// What each cluster says to it. Forced or not, the operator is told what it means.
fn departures<'o>(
    leaver: &Leaver<'_>,
    observed: &'o observe::Observed,
    events: &Events,
) -> Result<Vec<(&'o Heard, Departure)>, EngineError> {
    let mut departures = Vec::new();
    let mut refused = Vec::new();
    let warn = |message: String| events.send(Event::Warning { host: Some(leaver.host.clone()), message });
    for heard in observed.heard.iter().filter(|heard| heard.expected.members.contains_key(leaver.host)) {
        match departure(heard.gate, &heard.expected, &heard.answers, leaver.host) {
            Ok(departure) => {
                departure.warning.iter().cloned().for_each(warn);
                departures.push((heard, departure));
            }
            Err(stays) if leaver.force && stays.can_be_forced => {
                warn(format!("{}, and is forced", stays.reason));
                departures.push((heard, Departure::default()));
            }
            Err(stays) => {
                refused.push(Finding::error(
                    Check::Agent,
                    vec![leaver.host.clone()],
                    stays.reason,
                    stays.remedy,
                ));
            }
        }
    }
    if refused.is_empty() { Ok(departures) } else { Err(EngineError::Unfit(refused)) }
}

fn nul(host: &HostName) -> EngineError {
    let reason = "a name has a NUL byte in it".to_owned();
    EngineError::Unfit(vec![Finding::error(
        Check::Agent,
        vec![host.clone()],
        reason,
        "mend the inventory".to_owned(),
    )])
}

/// First what others do while it is still there; then what the host does itself, in reverse order of activation; then
/// what the others are told of it.
fn stages(
    fleet: &Fleet,
    wanted: &Wanted,
    host: &HostName,
    departures: &[(&Heard, Departure)],
    all: &[Heard],
) -> Result<Vec<Stage>, NulInArgument> {
    let leaving = wanted.hosts.iter().find(|wanted| wanted.host.name == *host);
    let mut own = Vec::new();
    let mut first: BTreeMap<HostName, Vec<Step>> = BTreeMap::new();
    let mut told: BTreeMap<HostName, Vec<Step>> = BTreeMap::new();
    for (heard, departure) in departures.iter().rev() {
        let answers = heard.answers.get(host).is_some_and(Result::is_ok);
        if let Some(leaving) = leaving.filter(|_| fleet.connections.contains_key(host)) {
            own.extend(own_steps(heard.gate, leaving, answers)?);
        }
        // Another of its kind, or another member of the product: the only client has servers.
        let of_product = all.iter().filter(|other| other.gate.product() == heard.gate.product());
        let tellers = [*heard].into_iter().chain(of_product).filter(|heard| heard.gate.can_tell());
        let helper = tellers
            .flat_map(|heard| &heard.answers)
            .find(|(name, answer)| *name != host && answer.is_ok() && fleet.connections.contains_key(*name));
        let helper =
            helper.and_then(|(name, _)| wanted.hosts.iter().find(|wanted| wanted.host.name == *name));
        if let Some(helper) = helper {
            let steps = first_steps(heard.gate, helper, host, answers)?;
            first.entry(helper.host.name.clone()).or_default().extend(steps);
            let node = heard.answers.get(host).and_then(|answer| heard.gate.node_id(answer));
            let steps = told_steps(heard.gate, helper, host, departure, answers, node)?;
            told.entry(helper.host.name.clone()).or_default().extend(steps);
        }
    }
    let own = BTreeMap::from([(host.clone(), own)]);
    let mut stages = vec![stage("drain", first), stage("leave", own), stage("forget", told)];
    stages.retain(|stage| !is_empty(stage));
    Ok(stages)
}

/// What another member does while the host is still there.
fn first_steps(
    gate: Gate,
    helper: &WantedHost,
    host: &HostName,
    answers: bool,
) -> Result<Vec<Step>, NulInArgument> {
    match gate {
        // Pods of a node that is dead never say that they have ended.
        Gate::KubeControlPlanes | Gate::KubeApiServers | Gate::KubeWorkers if answers => {
            let timeout = format!("--timeout={DRAIN_DEADLINE}");
            let drain = [
                "drain",
                host.as_str(),
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                "--force",
                &timeout,
            ];
            let words = [&KUBECTL[..], &drain].concat();
            let id = format!("drain node {host}");
            Ok(vec![step(helper, id, "its pods move to other nodes", "exec_run", &words)?])
        }
        _ => Ok(Vec::new()),
    }
}

/// What the host does as a member of this gate's cluster.
fn own_steps(gate: Gate, host: &WantedHost, answers: bool) -> Result<Vec<Step>, NulInArgument> {
    let api = gate.api(&host.variables);
    let mut steps = Vec::new();
    match gate {
        Gate::NomadClients if answers => {
            let address = format!("-address={api}");
            let words =
                ["nomad", "node", "drain", &address, "-self", "-enable", "-yes", "-deadline", DRAIN_DEADLINE];
            steps.push(step(
                host,
                "drain nomad".to_owned(),
                "its allocations move to other nodes",
                "exec_run",
                &words,
            )?);
        }
        Gate::ConsulServers | Gate::ConsulClients if answers => {
            let words = ["consul", "leave", &format!("-http-addr={api}")];
            steps.push(step(
                host,
                "leave consul".to_owned(),
                "it tells the others that it goes",
                "exec_run",
                &words,
            )?);
        }
        // It takes its own etcd member out where it can.
        Gate::KubeControlPlanes | Gate::KubeApiServers | Gate::KubeWorkers => {
            let words = ["kubeadm", "reset", "--force"];
            let id = format!("reset kubeadm ({})", gate.name());
            steps.push(step(host, id, "what kubeadm made of it goes", "exec_run", &words)?);
        }
        _ => {}
    }
    let unit = gate.unit();
    let id = format!("stop {unit} ({})", gate.name());
    steps.push(by_hand::stop(host, id, "it is to stay stopped, also after a boot", unit)?);
    if gate == Gate::EtcdMembers {
        let why = "a member that was taken out never comes back with what it kept";
        steps.push(step(host, "forget etcd".to_owned(), why, "exec_run", &[MEMBER, "forget"])?);
    }
    Ok(steps)
}

/// What another member is told, where the host did not say it itself.
fn told_steps(
    gate: Gate,
    helper: &WantedHost,
    host: &HostName,
    departure: &Departure,
    said_itself: bool,
    node: Option<String>,
) -> Result<Vec<Step>, NulInArgument> {
    let api = gate.api(&helper.variables);
    let mut steps = Vec::new();
    let mut tell_by = |function, id: String, reason: &str, words: &[&str]| {
        let words = [&[REMOVAL_SECONDS], words].concat();
        step(helper, id, reason, function, &words).map(|step| steps.push(step))
    };
    let mut tell = |id, reason: &str, words: &[&str]| tell_by("forget_until", id, reason, words);
    let peer = departure.peer.as_ref();
    match gate {
        // Gossip spreads what the host itself has said.
        Gate::ConsulServers | Gate::ConsulClients if said_itself => {}
        Gate::ConsulServers | Gate::ConsulClients => {
            let address = format!("-http-addr={api}");
            if let Some((id, _)) = peer {
                let id = format!("-id={id}");
                let words = ["consul", "operator", "raft", "remove-peer", &address, &id];
                tell(format!("remove peer {host} from consul"), "it does not answer", &words)?;
            }
            let words = ["consul", "force-leave", &address, "-prune", host.as_str()];
            tell(format!("forget {host} in consul"), "it does not answer", &words)?;
        }
        Gate::NomadServers => {
            if let Some((id, name)) = peer {
                let address = format!("-address={api}");
                let id = format!("-peer-id={id}");
                let words = ["nomad", "operator", "raft", "remove-peer", &address, &id];
                tell(
                    format!("remove peer {host} from nomad"),
                    "Nomad's servers do not leave by themselves",
                    &words,
                )?;
                let words = ["nomad", "server", "force-leave", &address, name];
                tell(format!("forget {host} in nomad"), "the same for gossip", &words)?;
            }
        }
        // A drained node would stay out of the scheduler's sight when it comes back: it is to come back as a new one. One
        // that is down is forgotten by itself.
        Gate::NomadClients => {
            if let Some(node) = node {
                let address = format!("{api}/v1/node/{node}/purge");
                // Nomad's program has no word for it.
                tell_by(
                    "http_put_until",
                    format!("forget node {host} in nomad"),
                    "its servers keep no record of it",
                    &[&address],
                )?;
            }
        }
        Gate::EtcdMembers => {
            if let Some((id, _)) = peer {
                let words = etcd_words(gate, id);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                tell(format!("remove member {host} from etcd"), "its quorum is that of the others", &words)?;
            }
        }
        Gate::KubeControlPlanes | Gate::KubeApiServers | Gate::KubeWorkers => {
            if let Some((id, _)) = peer.filter(|_| !said_itself) {
                let words = etcd_words(gate, id);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                tell(format!("remove member {host} from etcd"), "it does not answer", &words)?;
            }
            let words = [&KUBECTL[..], &["delete", "node", host.as_str(), "--ignore-not-found"]].concat();
            tell(format!("forget node {host}"), "the cluster keeps nodes until it is told", &words)?;
        }
    }
    Ok(steps)
}

/// What takes the member with this id out of the etcd behind a gate. etcd has no client on a host of kubeadm's, but its
/// gateway takes what curl sends.
fn etcd_words(gate: Gate, id: &str) -> Vec<String> {
    let Some(files) = gate.etcd_files() else { return Vec::new() };
    let body = format!("{{\"ID\":\"{id}\"}}");
    let url = format!("https://127.0.0.1:{ETCD_PORT}/v3/cluster/member/remove");
    let shown = ["--cacert", files.authority, "--cert", files.certificate, "--key", files.key];
    let words =
        ["curl", "--silent", "--show-error", "--fail"].iter().chain(&shown).chain(&["--noproxy", "*", "-d"]);
    words.map(|word| (*word).to_owned()).chain([body, url]).collect()
}
