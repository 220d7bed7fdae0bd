//! Consul: what its agents are asked and what the answers mean.
//!
//! Shapes of the answers: Consul's HTTP API, `/operator/raft`, `/operator/autopilot`, `/agent` and
//! `/catalog`; the same from 1.8 to 1.21.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::quorum::{self, Peer};
use super::{Answer, Answers, Expected, Response, Verdict};
use crate::inventory::HostName;
use crate::plan::Situation;

const SELF: &str = "/v1/agent/self";
/// `stale`: each server answers from its own state instead of passing the question to the leader.
const RAFT: &str = "/v1/operator/raft/configuration?stale";
/// 200 when healthy, 429 when not, the same JSON both times; 500 without a leader.
const AUTOPILOT: &str = "/v1/operator/autopilot/health";
/// `consistent`: the leader confirms with a majority before it answers, so this is a use of quorum.
const NODES: &str = "/v1/catalog/nodes?consistent";
const LEADER: &str = "/v1/status/leader";

/// Autopilot's own measure of a healthy server, `max_trailing_logs`.
const MAX_BEHIND: u64 = 250;

pub(super) const SERVER_PATHS: [&str; 4] = [SELF, RAFT, AUTOPILOT, NODES];
pub(super) const CLIENT_PATHS: [&str; 3] = [SELF, LEADER, NODES];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RaftConfiguration {
    servers: Vec<RaftServer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RaftServer {
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
    name: String,
    serf_status: String,
    healthy: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentSelf {
    config: AgentConfig,
    stats: Option<AgentStats>,
}

#[derive(Deserialize)]
struct AgentStats {
    /// Servers alone have it.
    raft: Option<RaftStats>,
}

/// Raft as one server lives it. All values are texts.
#[derive(Deserialize)]
struct RaftStats {
    /// `Leader`, `Follower` or `Candidate`.
    state: String,
    applied_index: String,
    commit_index: String,
    /// `never` on a follower that has heard no leader yet; `0` on the leader.
    last_contact: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
    node_name: String,
    #[serde(rename = "NodeID")]
    node_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CatalogNode {
    node: String,
}

pub(super) fn http_port(variables: &Map<String, Value>) -> u16 {
    variables
        .get("consul")
        .and_then(|consul| consul["http_port"].as_u64())
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(8500)
}

pub(super) fn data_dir(variables: &Map<String, Value>) -> String {
    variables.get("consul").and_then(|consul| consul["data_dir"].as_str()).unwrap_or("/opt/consul").to_owned()
}

pub(super) fn judge_servers(expected: &Expected, answers: &Answers) -> Verdict {
    match servers_agree(expected, answers) {
        Ok(detail) => Verdict::Met { detail },
        Err(reason) => Verdict::NotYet { reason },
    }
}

fn servers_agree(expected: &Expected, answers: &Answers) -> Result<String, String> {
    let mut views = BTreeMap::new();
    for host in &expected.asked {
        let answer = answers.get(host).ok_or_else(|| format!("{host} was not asked"))?;
        views.insert(host.clone(), peers(answer).map_err(|reason| format!("{host}: {reason}"))?);
    }
    let peers = quorum::agree(&expected.members, &views)?;
    let voters = peers.iter().filter(|peer| peer.voter).count();
    // Every server relays this one to the leader; asking all of them shows that each can.
    for host in views.keys() {
        let answer = answers[host].as_ref().map_err(Clone::clone)?;
        follows(answer).map_err(|reason| format!("{host}: {reason}"))?;
        autopilot_is_content(expected, answer).map_err(|reason| format!("{host}: {reason}"))?;
        is_in_catalog(host, answer).map_err(|reason| format!("{host}: {reason}"))?;
    }
    let leader = peers.iter().find(|peer| peer.leader).map_or("none", |peer| peer.node.as_str());
    Ok(format!("{voters} of {} voters, leader {leader}", expected.members.len()))
}

/// The server itself takes part in raft and keeps up. Autopilot looks every two seconds only, so it
/// still praises a server that was restarted a moment ago.
fn follows(answer: &BTreeMap<&'static str, Response>) -> Result<(), String> {
    let agent: AgentSelf = answer.get(SELF).ok_or("the agent was not asked about itself")?.json()?;
    let raft = agent.stats.and_then(|stats| stats.raft).ok_or("the agent is no server")?;
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

fn autopilot_is_content(
    expected: &Expected,
    answer: &BTreeMap<&'static str, Response>,
) -> Result<(), String> {
    let response = answer.get(AUTOPILOT).ok_or("autopilot was not asked")?;
    let autopilot: Autopilot = response.json().map_err(|error| format!("autopilot: {error}"))?;
    let servers = autopilot.servers.ok_or("autopilot has not looked yet")?;
    for host in &expected.asked {
        match servers.iter().find(|server| server.name == host.as_str()) {
            Some(server) if server.healthy => {}
            Some(server) => {
                return Err(format!("autopilot calls {host} unhealthy (gossip says {})", server.serf_status));
            }
            None => return Err(format!("autopilot does not know {host} yet")),
        }
    }
    let wanted = quorum::tolerance(expected.members.len()).saturating_sub(expected.missing);
    if autopilot.failure_tolerance < wanted {
        return Err(format!("failure tolerance {}, {wanted} expected", autopilot.failure_tolerance));
    }
    if !autopilot.healthy && expected.missing == 0 {
        return Err("autopilot is not healthy".to_owned());
    }
    Ok(())
}

pub(super) fn judge_clients(expected: &Expected, answers: &Answers) -> Verdict {
    let mut joined = 0;
    let mut first_reason = None;
    for host in &expected.asked {
        let reason = match answers.get(host) {
            None => Err("was not asked".to_owned()),
            Some(Err(reason)) => Err(reason.clone()),
            Some(Ok(answer)) => is_in_catalog(host, answer),
        };
        match reason {
            Ok(()) => joined += 1,
            Err(reason) => first_reason = first_reason.or(Some(format!("{host}: {reason}"))),
        }
    }
    let asked = expected.asked.len();
    match first_reason {
        None => Verdict::Met { detail: format!("{joined} of {asked} clients joined") },
        Some(reason) => Verdict::NotYet { reason: format!("{joined} of {asked} clients joined; {reason}") },
    }
}

/// The leader lists the host, so the agent has joined and reaches a quorum.
fn is_in_catalog(host: &HostName, answer: &BTreeMap<&'static str, Response>) -> Result<(), String> {
    let response = answer.get(NODES).ok_or("the catalog was not asked")?;
    if response.status != 200 {
        let text: String = String::from_utf8_lossy(&response.body).chars().take(120).collect();
        return Err(format!("its agent cannot read the catalog: {}", text.trim()));
    }
    let nodes: Vec<CatalogNode> = response.json()?;
    if nodes.iter().any(|node| node.node == host.as_str()) {
        Ok(())
    } else {
        Err("not in the catalog yet".to_owned())
    }
}

pub(super) fn client_has_joined(answer: &Answer) -> bool {
    let leader = |answer: &BTreeMap<&'static str, Response>| answer.get(LEADER)?.json::<String>().ok();
    answer.as_ref().is_ok_and(|answer| leader(answer).is_some_and(|leader| !leader.is_empty()))
}

fn peers(answer: &Answer) -> Result<Vec<Peer>, String> {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    let response = answer.get(RAFT).ok_or("the raft configuration was not asked")?;
    let configuration: RaftConfiguration =
        response.json().map_err(|error| format!("no raft configuration: {error}"))?;
    configuration
        .servers
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

pub(super) fn situation(expected: &Expected, answers: &Answers) -> Situation {
    let led = answers.iter().find_map(|(host, answer)| {
        let peers = peers(answer).ok()?;
        peers.iter().any(|peer| peer.leader).then_some((host, peers))
    });
    let Some((host, peers)) = led else { return Situation::default() };
    let named = |peer: &Peer| {
        expected.members.iter().find(|(_, ip)| **ip == peer.address.ip()).map(|(host, _)| host.clone())
    };
    let tolerance = answers[host]
        .as_ref()
        .ok()
        .and_then(|answer| answer.get(AUTOPILOT)?.json::<Autopilot>().ok())
        .map_or(0, |autopilot| autopilot.failure_tolerance);
    Situation {
        members: peers.iter().filter_map(named).collect(),
        leader: peers.iter().find(|peer| peer.leader).and_then(named),
        failure_tolerance: tolerance,
    }
}

pub(super) fn notes(expected: &Expected, answers: &Answers) -> Vec<String> {
    let found = answers.values().find_map(|answer| peers(answer).ok().filter(|peers| !peers.is_empty()));
    let Some(mut peers) = found else { return Vec::new() };
    peers.sort_by(|one, other| one.node.cmp(&other.node));
    let width = peers.iter().map(|peer| peer.node.len()).max().unwrap_or(0);
    let mut notes: Vec<String> = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let label = if index == 0 { "peers: " } else { "" };
            let state = if peer.leader { "leader" } else { "follower" };
            let voter = if peer.voter { "voter" } else { "non-voter" };
            format!("{label}{:width$}  {:21}  {state:8}  {voter}", peer.node, peer.address)
        })
        .collect();
    if let Some(host) = expected.members.keys().next() {
        notes.push(format!("see: `consul operator raft list-peers` on any server, for example {host}"));
    }
    notes
}

/// Datacenter, node and peers of a running agent, for a message.
pub(super) fn describe(answer: &Answer) -> Option<String> {
    let fields = answer.as_ref().ok()?;
    let agent: AgentSelf = fields.get(SELF)?.json().ok()?;
    let peers = peers(answer).unwrap_or_default();
    let list: Vec<String> = peers.iter().map(|peer| format!("{} ({})", peer.node, peer.address)).collect();
    Some(format!(
        "a running agent `{}` of datacenter `{}`, node id {}, peers: {}",
        agent.config.node_name,
        agent.config.datacenter,
        agent.config.node_id,
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    ))
}
