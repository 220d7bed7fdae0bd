//! Consul: what its agents are asked and what the answers mean.
//!
//! Shapes of the answers: Consul's HTTP API, `/agent` and `/catalog`; the same from 1.8 to 1.21.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Said;
use super::{Answer, Answers, Expected, Review, raft};
use crate::model::HostName;

const SELF: &str = "/v1/agent/self";
/// `consistent`: the leader confirms with a majority before it answers, so this is a use of quorum.
const NODES: &str = "/v1/catalog/nodes?consistent";
const LEADER: &str = "/v1/status/leader";

pub(super) const SERVER_PATHS: [&str; 4] = [SELF, raft::CONFIGURATION, raft::AUTOPILOT, NODES];
pub(super) const CLIENT_PATHS: [&str; 3] = [SELF, LEADER, NODES];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentSelf {
    config: AgentConfig,
    stats: Option<AgentStats>,
}

#[derive(Deserialize)]
struct AgentStats {
    /// Servers alone have it.
    raft: Option<raft::Stats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
    node_name: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    /// Without `v`, as in a release's name.
    #[serde(default)]
    version: String,
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

pub(super) fn review_servers(expected: &Expected, answers: &Answers) -> Review {
    raft::review(expected, answers, |host, answer| {
        raft::follows(own_raft(answer)?.as_ref())?;
        is_in_catalog(host, answer)
    })
}

fn agent(answer: &Said) -> Result<AgentSelf, String> {
    answer.get(SELF).ok_or("the agent was not asked about itself")?.json()
}

fn own_raft(answer: &Said) -> Result<Option<raft::Stats>, String> {
    Ok(agent(answer)?.stats.and_then(|stats| stats.raft))
}

pub(super) fn standing(answer: &Answer) -> Option<raft::Standing> {
    let stats = own_raft(answer.as_ref().ok()?).ok()??;
    Some((&stats).into())
}

pub(super) fn version(answer: &Answer) -> Option<String> {
    Some(agent(answer.as_ref().ok()?).ok()?.config.version)
}

pub(super) fn review_clients(expected: &Expected, answers: &Answers) -> Review {
    Review::count(expected, answers, "clients joined", is_in_catalog)
}

/// The leader lists the host, so the agent has joined and reaches a quorum.
fn is_in_catalog(host: &HostName, answer: &Said) -> Result<(), String> {
    let response = answer.get(NODES).ok_or("the catalog was not asked")?;
    if response.status != 200 {
        return Err(format!("its agent cannot read the catalog: {}", response.start()));
    }
    let nodes: Vec<CatalogNode> = response.json()?;
    if nodes.iter().any(|node| node.node == host.as_str()) {
        Ok(())
    } else {
        Err("not in the catalog yet".to_owned())
    }
}

pub(super) fn client_has_joined(answer: &Answer) -> bool {
    let leader = |answer: &Said| answer.get(LEADER)?.json::<String>().ok();
    answer.as_ref().is_ok_and(|answer| leader(answer).is_some_and(|leader| !leader.is_empty()))
}

/// Datacenter, node and peers of a running agent, for a message.
pub(super) fn describe(answer: &Answer) -> Option<String> {
    let agent = agent(answer.as_ref().ok()?).ok()?;
    Some(format!(
        "a running agent `{}` of datacenter `{}`, node id {}, peers: {}",
        agent.config.node_name,
        agent.config.datacenter,
        agent.config.node_id,
        raft::list(answer)
    ))
}
