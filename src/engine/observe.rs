//! One connection and one script per host: facts, resources, and what its agents say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use futures_util::stream::{self, StreamExt};

use super::members::{Members, members};
use super::{EngineError, Fleet, HostFailure, Options, elapsed_ms, failure::UnfitHost};
use crate::cluster::{Answer, Answers, Claim, Gate, Marker, Response, Verdict, check_identity};
use crate::facts::{Facts, Init};
use crate::inventory::{Host, HostName};
use crate::plan::{HostSeen, Seen, StepId};
use crate::report::{Event, Events};
use crate::roles::{ClusterAddresses, Wanted, WantedHost, declared_address};
use crate::script::{Arg, Call, Nonce, Observation, Script};
use crate::ssh::{ConnectOptions, Connection, Target};

const MARKER: &str = "marker cluster";

/// The cluster as its hosts describe it.
pub(super) struct Observed {
    pub seen: Seen,
    /// The first gate that is not met, with its reason.
    pub unhealthy: Option<String>,
    pub notes: Vec<String>,
}

/// Connects to every host of the run and lets each describe itself; those that do not answer are set
/// aside.
pub(super) async fn observe(
    wanted: &Wanted,
    options: &Options,
    events: &Events,
) -> (Fleet, BTreeMap<HostName, HostSeen>) {
    let mut fleet = Fleet { connections: BTreeMap::new(), failures: BTreeMap::new() };
    let mut seen = BTreeMap::new();
    let taking_part = wanted.hosts.iter().filter(|host| options.hosts.contains(&host.host.name));
    let mut answers = stream::iter(taking_part)
        .map(|host| async move { (host.host.name.clone(), observe_host(host, options, events).await) })
        .buffer_unordered(options.parallel);
    while let Some((host, result)) = answers.next().await {
        match result {
            Ok((connection, state)) => {
                fleet.connections.insert(host.clone(), connection);
                seen.insert(host, state);
            }
            Err(failure) => fleet.set_aside(&host, failure, events).await,
        }
    }
    (fleet, seen)
}

async fn observe_host(
    wanted: &WantedHost,
    options: &Options,
    events: &Events,
) -> Result<(Connection, HostSeen), HostFailure> {
    let started = Instant::now();
    let host = &wanted.host;
    let target = Target::from(host);
    let connect = ConnectOptions { deadline: options.connect_timeout, ..ConnectOptions::default() };
    let connection = Connection::open(&target, &connect, options.password.as_ref())
        .await
        .map_err(HostFailure::Unreachable)?;
    events.send(Event::HostConnected { host: host.name.clone(), elapsed_ms: elapsed_ms(started) });
    let script = Script::observe(&Nonce::random(), &probes(wanted)?);
    let records = connection
        .run(&script, options.script_timeout, |_| ())
        .await
        .map_err(|source| HostFailure::Link { doing: "observing it".to_owned(), source })?;
    let observation = Observation::new(&records);
    let facts =
        Facts::parse(&observation.of("facts")).map_err(|error| HostFailure::Facts(error.to_string()))?;
    let marker = observation.of(MARKER).text("body").map(|text| text.trim_end().to_owned());
    events.send(Event::HostObserved { host: host.name.clone(), elapsed_ms: elapsed_ms(started) });
    Ok((connection, HostSeen { facts, observation, marker }))
}

/// Everything a host is asked besides its facts. Depends on the inventory alone, so that one script
/// serves before the host has said anything.
fn probes(wanted: &WantedHost) -> Result<Vec<(StepId, Call)>, HostFailure> {
    let mut probes = vec![(StepId(MARKER.to_owned()), Call::new("cluster_read", []))];
    let mut asked = BTreeSet::new();
    for role in &wanted.roles {
        for resource in &role.resources {
            let id = resource.id();
            if asked.insert(id.clone()) {
                let probe = resource.probe().map_err(|error| HostFailure::Facts(error.to_string()))?;
                probes.push((id, probe));
            }
        }
        let Some(gate) = role.gate.as_deref().and_then(Gate::parse) else { continue };
        probes.push((question(gate), http_get(gate.port(&wanted.variables), gate)));
        if let Some(directory) = gate.raft_directory(&wanted.variables)
            && let Ok(directory) = Arg::new(directory)
        {
            probes.push((raft_data(gate), Call::new("raft_data", [directory])));
        }
    }
    Ok(probes)
}

/// The id of the probe that asks a gate's questions.
pub(super) fn question(gate: Gate) -> StepId {
    StepId(format!("{} answers", gate.name()))
}

fn raft_data(gate: Gate) -> StepId {
    StepId(format!("{} raft data", gate.name()))
}

/// Asks an agent a gate's questions, on the host's own loopback.
pub(super) fn http_get(port: u16, gate: Gate) -> Call {
    let url = |path: &&str| {
        Arg::new(format!("http://127.0.0.1:{port}{path}")).expect("paths are literals without NUL")
    };
    Call::new("http_get", gate.paths().iter().map(url))
}

/// What a host's agent said to the observe script.
pub(super) fn answer(observation: &Observation, gate: Gate) -> Answer {
    let fields = observation.of(&question(gate).0);
    let said = fields.all("status").filter_map(|status| status.parse().ok()).zip(fields.all_bytes("body"));
    let said: BTreeMap<_, _> = gate
        .paths()
        .iter()
        .zip(said)
        .map(|(&path, (status, body))| (path, Response { status, body: body.to_vec() }))
        .collect();
    if said.len() < gate.paths().len() {
        let reason = fields.text("error").map(str::trim).filter(|reason| !reason.is_empty());
        return Err(reason.unwrap_or("its agent does not answer").to_owned());
    }
    Ok(said)
}

/// Reads what the hosts said: whose they are, which address their agents use, what stands already.
///
/// # Errors
/// Every host on which nothing may be changed.
pub(super) fn assess(
    wanted: &Wanted,
    hosts: BTreeMap<HostName, HostSeen>,
    fleet: &Fleet,
    marker: &Marker,
) -> Result<Observed, EngineError> {
    let gates = members(wanted);
    check_identities(&gates, &hosts, marker)?;
    let addresses = addresses(wanted, &hosts)?;
    let missing: BTreeSet<HostName> = fleet.failures.keys().cloned().collect();
    let asked: BTreeSet<HostName> = hosts.keys().cloned().collect();
    let mut situations = BTreeMap::new();
    let mut unhealthy = None;
    let mut notes = Vec::new();
    for members in &gates {
        let expected = members.expected(&addresses, &asked, &missing);
        let answers: Answers = expected
            .asked
            .iter()
            .map(|host| (host.clone(), answer(&hosts[host].observation, members.gate)))
            .collect();
        situations.insert(members.gate.name().to_owned(), members.gate.situation(&expected, &answers));
        if expected.asked.is_empty() {
            // `--limit` leaves all of them alone: this run says nothing about them.
            continue;
        }
        match members.gate.judge(&expected, &answers) {
            Verdict::Met { .. } => notes.extend(members.gate.notes(&expected, &answers)),
            Verdict::NotYet { reason } => {
                unhealthy = unhealthy.or(Some(format!("{}: {reason}", members.gate.name())));
            }
        }
    }
    let marker = serde_json::to_string(marker).expect("a marker is two strings");
    Ok(Observed { seen: Seen { hosts, situations, addresses, marker }, unhealthy, notes })
}

fn check_identities(
    gates: &[Members<'_>],
    hosts: &BTreeMap<HostName, HostSeen>,
    marker: &Marker,
) -> Result<(), EngineError> {
    let mut errors = Vec::new();
    for (host, seen) in hosts {
        let mut claim = Claim { marker: seen.marker.clone(), ..Claim::default() };
        for members in gates.iter().filter(|members| members.names().contains(host)) {
            let fields = seen.observation.of(&raft_data(members.gate).0);
            if let Some(path) = fields.text("raft").filter(|path| *path != "absent") {
                claim.raft_data = Some(format!(
                    "{path} of node id {}, last written {}",
                    fields.text("node-id").map_or("unknown", str::trim),
                    fields.text("mtime").and_then(age).unwrap_or_else(|| "at an unknown time".to_owned()),
                ));
            }
            let answer = answer(&seen.observation, members.gate);
            claim.agent = claim.agent.or(members.gate.describe(&answer));
        }
        errors.extend(check_identity(host, marker, &claim).err());
    }
    if errors.is_empty() { Ok(()) } else { Err(EngineError::Identity(errors)) }
}

/// Seconds since the epoch as a date and time.
fn age(seconds: &str) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds.trim().parse().ok()?).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// The address of every host's agents: as the inventory says, or as the host itself says.
fn addresses(wanted: &Wanted, hosts: &BTreeMap<HostName, HostSeen>) -> Result<ClusterAddresses, EngineError> {
    let mut found = ClusterAddresses::new();
    let mut errors = Vec::new();
    for WantedHost { host, .. } in &wanted.hosts {
        let Some(seen) = hosts.get(&host.name) else {
            // Not asked: what the inventory says must do.
            found.extend(declared_address(host).map(|address| (host.name.clone(), address)));
            continue;
        };
        if seen.facts.init != Init::Systemd {
            errors.push(UnfitHost::Init { host: host.name.clone() });
        }
        match address(host, &seen.facts) {
            Ok(address) => {
                found.insert(host.name.clone(), address);
            }
            Err(error) => errors.push(error),
        }
    }
    errors.extend(twins(hosts));
    if errors.is_empty() { Ok(found) } else { Err(EngineError::Unfit(errors)) }
}

fn address(host: &Host, facts: &Facts) -> Result<IpAddr, UnfitHost> {
    let present = || {
        let list = facts.addresses.iter().filter(|(_, ip)| !ip.is_loopback());
        list.map(|(interface, ip)| format!("{ip} on {interface}")).collect::<Vec<_>>().join(", ")
    };
    if let Some(interface) = &host.cluster_interface {
        let on_it = facts.addresses.iter().filter(|(name, _)| name == interface);
        // IPv4 first: that is what an interface's name means to most who write it.
        return on_it.map(|(_, ip)| *ip).min_by_key(IpAddr::is_ipv6).ok_or_else(|| UnfitHost::Address {
            host: host.name.clone(),
            wanted: format!("on interface `{interface}`"),
            present: present(),
        });
    }
    let Some(wanted) = declared_address(host).or(facts.ssh_server_address) else {
        return Err(UnfitHost::NoAddress { host: host.name.clone(), address: host.address.clone() });
    };
    if facts.addresses.iter().any(|(_, ip)| *ip == wanted) {
        Ok(wanted)
    } else {
        Err(UnfitHost::Address { host: host.name.clone(), wanted: wanted.to_string(), present: present() })
    }
}

/// Hosts that are clones of one another: their agents would take each other's place.
fn twins(hosts: &BTreeMap<HostName, HostSeen>) -> Vec<UnfitHost> {
    let mut by_id: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, seen) in hosts.iter().filter(|(_, seen)| !seen.facts.machine_id.is_empty()) {
        by_id.entry(&seen.facts.machine_id).or_default().push(name.to_string());
    }
    let shared = by_id.into_iter().filter(|(_, hosts)| hosts.len() > 1);
    shared.map(|(id, hosts)| UnfitHost::Twins { hosts, what: "machine-id", value: id.to_owned() }).collect()
}
