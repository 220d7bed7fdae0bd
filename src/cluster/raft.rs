//! Servers that elect one of them: what Consul and Nomad say of raft in the same words.
//!
//! Shapes of the answers: `/v1/operator/raft/configuration` and `/v1/operator/autopilot/health` of either HTTP API;
//! the same in Consul from 1.8 and in Nomad from 1.1. A server is known by its address, for the products give it
//! different names.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::answer::Said;
use super::quorum::{self, Peer};
use super::{Answer, Answers, Complaint, ComplaintKind, Expected, Review};
use crate::model::{HostName, Situation};

/// `stale`: each server answers from its own state instead of passing the question to the leader.
pub(super) const CONFIGURATION: &str = "/v1/operator/raft/configuration?stale";
/// 200 when healthy, 429 when not, the same JSON both times; 500 without a leader.
pub(super) const AUTOPILOT: &str = "/v1/operator/autopilot/health";

/// Autopilot's own measure of a healthy server, `max_trailing_logs`.
const MAX_BEHIND: u64 = 250;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    /// Null on a Nomad server that knows nobody yet.
    servers: Option<Vec<Server>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    voter: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Autopilot {
    healthy: bool,
    failure_tolerance: usize,
    /// Null until autopilot has looked for the first time.
    servers: Option<Vec<AutopilotServer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AutopilotServer {
    address: String,
    serf_status: String,
    healthy: bool,
}

/// Raft as one server lives it, out of what its agent says of itself. All values are texts.
#[derive(Deserialize)]
pub(super) struct Stats {
    /// `Leader`, `Follower` or `Candidate`.
    state: String,
    applied_index: String,
    commit_index: String,
    /// `never` on a follower that has heard no leader yet; `0` on the leader.
    last_contact: String,
}

/// Do all servers agree on the raft configuration, and is every host that was asked content with it? `special` is what
/// a product asks of one server's answer besides.
pub(super) fn review(
    expected: &Expected,
    answers: &Answers,
    special: impl Fn(&HostName, &Said) -> Result<(), String>,
) -> Review {
    let Views { detail, mut complaints, views } = views(expected, answers, peers);
    // Every server relays autopilot's question to the leader; asking all of them shows that each can.
    for host in views.keys() {
        let Ok(answer) = &answers[host] else { continue };
        complaints.extend(match autopilot_is_content(expected, answer) {
            Ok(()) => special(host, answer).err().map(|reason| Complaint::of(host, reason)),
            Err((about, reason)) => {
                let complaint = Complaint::of(host, reason);
                Some(Complaint { about: about.cloned().or(complaint.about), ..complaint })
            }
        });
    }
    // With a complaint it is the complaint that counts.
    Review { detail: if complaints.is_empty() { detail } else { String::new() }, complaints }
}

/// The peers as each server sees them, and whether they are the same ones and those expected.
pub(super) struct Views {
    /// Empty where they are not.
    pub detail: String,
    pub complaints: Vec<Complaint>,
    pub views: BTreeMap<HostName, Vec<Peer>>,
}

pub(super) fn views(
    expected: &Expected,
    answers: &Answers,
    peers: impl Fn(&Answer) -> Result<Vec<Peer>, String>,
) -> Views {
    let mut complaints = Vec::new();
    let mut views = BTreeMap::new();
    for host in &expected.asked {
        match answers.get(host) {
            None => complaints.push(Complaint::silent(host, "was not asked".to_owned())),
            Some(Err(reason)) => complaints.push(Complaint::silent(host, reason.clone())),
            Some(answer) => match peers(answer) {
                Ok(view) => drop(views.insert(host.clone(), view)),
                Err(reason) => complaints.push(Complaint::of(host, reason)),
            },
        }
    }
    let detail = match quorum::agree(&expected.members, &views) {
        Ok(peers) => {
            let voters = peers.iter().filter(|peer| peer.voter).count();
            let leader = peers.iter().find(|peer| peer.leader).map_or("none", |peer| peer.node.as_str());
            // A voter that says nothing votes no more, whatever the others' configuration says of it.
            let answering = match views.len() {
                all if all >= voters => String::new(),
                some => format!(", {some} answer"),
            };
            format!("{voters} of {} voters{answering}, leader {leader}", expected.members.len())
        }
        Err(discord) => {
            let kind = if discord.split { ComplaintKind::Split } else { ComplaintKind::Other };
            complaints.push(Complaint { host: None, about: None, kind, reason: discord.reason });
            String::new()
        }
    };
    Views { detail, complaints, views }
}

/// What one server says of its own part in raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// `leader`, `follower` or `candidate`.
    pub state: String,
    /// Since it last heard from the leader, in the product's words; `never`, or `0` on the leader.
    pub last_contact: String,
}

impl From<&Stats> for Standing {
    fn from(stats: &Stats) -> Self {
        Self { state: stats.state.to_lowercase(), last_contact: stats.last_contact.clone() }
    }
}

/// The server itself takes part in raft and keeps up. Autopilot looks every two seconds only, so it
/// still praises a server that was restarted a moment ago.
pub(super) fn follows(stats: Option<&Stats>) -> Result<(), String> {
    let raft = stats.ok_or("the agent is no server")?;
    let index = |text: &str| text.parse::<u64>().unwrap_or(0);
    let behind = index(&raft.commit_index).saturating_sub(index(&raft.applied_index));
    match raft.state.as_str() {
        "Leader" | "Follower" if behind > MAX_BEHIND => {
            Err(format!("{behind} log entries behind what it knows to be committed"))
        }
        "Leader" => Ok(()),
        "Follower" if raft.last_contact == "never" => Err("it has not heard from the leader yet".to_owned()),
        "Follower" => Ok(()),
        state => Err(format!("it is a {}", state.to_lowercase())),
    }
}

/// The error says whom it is about, where that is another server than the one that was asked.
fn autopilot_is_content<'e>(
    expected: &'e Expected,
    answer: &Said,
) -> Result<(), (Option<&'e HostName>, String)> {
    let own = |reason: &str| (None, reason.to_owned());
    let response = answer.get(AUTOPILOT).ok_or_else(|| own("autopilot was not asked"))?;
    let autopilot: Autopilot = response.json().map_err(|error| (None, format!("autopilot: {error}")))?;
    let servers = autopilot.servers.ok_or_else(|| own("autopilot has not looked yet"))?;
    for (host, ip) in expected.members.iter().filter(|(host, _)| expected.asked.contains(*host)) {
        let is_it = |server: &&AutopilotServer| {
            server.address.parse::<SocketAddr>().is_ok_and(|address| address.ip() == *ip)
        };
        match servers.iter().find(is_it) {
            Some(server) if server.healthy => {}
            Some(server) => {
                let reason = format!("autopilot calls {host} unhealthy (gossip says {})", server.serf_status);
                return Err((Some(host), reason));
            }
            None => return Err((Some(host), format!("autopilot does not know {host} yet"))),
        }
    }
    let wanted = quorum::tolerance(expected.members.len()).saturating_sub(expected.missing);
    if autopilot.failure_tolerance < wanted {
        return Err((None, format!("failure tolerance {}, {wanted} expected", autopilot.failure_tolerance)));
    }
    if !autopilot.healthy && expected.missing == 0 {
        return Err(own("autopilot is not healthy"));
    }
    Ok(())
}

pub(super) fn peers(answer: &Answer) -> Result<Vec<Peer>, String> {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    let response = answer.get(CONFIGURATION).ok_or("the raft configuration was not asked")?;
    let configuration: Configuration =
        response.json().map_err(|error| format!("no raft configuration: {error}"))?;
    configuration
        .servers
        .unwrap_or_default()
        .into_iter()
        .map(|server| {
            let address = server
                .address
                .parse()
                .map_err(|_| format!("peer {} has the address `{}`", server.node, server.address))?;
            Ok(Peer { id: server.id, node: server.node, address, leader: server.leader, voter: server.voter })
        })
        .collect()
}

/// What stands, by the word of a server that has a leader; `tolerance` is how many may fail, by the same.
pub(super) fn situation(
    expected: &Expected,
    answers: &Answers,
    peers: impl Fn(&Answer) -> Result<Vec<Peer>, String>,
    tolerance: impl Fn(&Answer, &[Peer]) -> usize,
) -> Situation {
    let led = answers.iter().find_map(|(host, answer)| {
        let peers = peers(answer).ok()?;
        peers.iter().any(|peer| peer.leader).then_some((host, peers))
    });
    let Some((host, peers)) = led else { return Situation::default() };
    let named = |peer: &Peer| {
        expected.members.iter().find(|(_, ip)| **ip == peer.address.ip()).map(|(host, _)| host.clone())
    };
    Situation {
        members: peers.iter().filter_map(named).collect(),
        leader: peers.iter().find(|peer| peer.leader).and_then(named),
        failure_tolerance: tolerance(&answers[host], &peers),
        ..Situation::default()
    }
}

/// How many servers may fail, as autopilot counts.
pub(super) fn autopilot_tolerance(answer: &Answer, _: &[Peer]) -> usize {
    let autopilot = answer.as_ref().ok().and_then(|answer| answer.get(AUTOPILOT)?.json::<Autopilot>().ok());
    autopilot.map_or(0, |autopilot| autopilot.failure_tolerance)
}

/// The peers as a table, under the label of the product, and the command that shows them on a host.
pub(super) fn notes(
    label: &str,
    command: &str,
    expected: &Expected,
    answers: &Answers,
    peers: impl Fn(&Answer) -> Result<Vec<Peer>, String>,
) -> Vec<String> {
    let found = answers.values().find_map(|answer| peers(answer).ok().filter(|peers| !peers.is_empty()));
    let Some(mut peers) = found else { return Vec::new() };
    peers.sort_by(|one, other| one.node.cmp(&other.node));
    let width = peers.iter().map(|peer| peer.node.len()).max().unwrap_or(0);
    let mut notes: Vec<String> = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let label = if index == 0 { format!("{label}: ") } else { String::new() };
            let state = if peer.leader { "leader" } else { "follower" };
            let voter = if peer.voter { "voter" } else { "non-voter" };
            format!("{label}{:width$}  {:21}  {state:8}  {voter}", peer.node, peer.address)
        })
        .collect();
    if let Some(host) = expected.members.keys().next() {
        notes.push(format!("see: `{command}` on any server, for example {host}"));
    }
    notes
}

/// The peers in one line, for a message.
pub(super) fn list(answer: &Answer) -> String {
    let peers = peers(answer).unwrap_or_default();
    let list: Vec<String> = peers.iter().map(|peer| format!("{} ({})", peer.node, peer.address)).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
