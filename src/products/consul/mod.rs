//! Consul: what its agents are asked and what the answers mean.
//!
//! Shapes of the answers: Consul's HTTP API, `/agent` and `/catalog`; the same from 1.8 to 1.21.

mod access;

use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::gossip::{Gossip, Member};
use super::{
    Access, Agent, Answer, Answers, Client, DepartureNotice, Drills, Gate, Keys, Leaving, Method, Part,
    PlacesIn, Product, Question, Questions, Raft, Recovers, Request, Responses, Roster, Snapshots, Task,
    Traces, Transfer, Ui, data_dir, operator, review, those,
};
use crate::model::{ClusterState, Endpoint, Expected, HostName, Review};
use crate::raft::{Peer, RaftState};

/// Every server sees the same, expected raft peers and one leader.
pub const SERVERS: Gate = Gate::new(&Servers);
/// Every client has joined, and the servers have it in the catalog.
pub const CLIENTS: Gate = Gate::new(&Clients);

/// As the registry, and an inventory's variables, have it.
pub(super) const NAME: &str = "consul";

struct Servers;
struct Clients;

/// As serf's settings for a LAN have it: a probe each second, and suspicion for some seconds after the first that fails.
const GOSSIP: Gossip = Gossip { lag: Duration::from_secs(20) };

const SELF: &str = "/v1/agent/self";
/// `consistent`: the leader confirms with a majority before it answers, so this is a use of quorum.
const NODES: &str = "/v1/catalog/nodes?consistent";
/// The same of the host alone, by the leader's word too; `null` where it is not there.
const NODE: &str = "/v1/catalog/node/NAME?consistent";
const LEADER: &str = "/v1/status/leader";

const SERVER_PATHS: [&str; 4] = [SELF, operator::CONFIGURATION, operator::AUTOPILOT, NODES];
/// The same where its agents know who asks.
const SERVER_PATHS_WITH_ACL: [&str; 6] =
    [SELF, operator::CONFIGURATION, operator::AUTOPILOT, NODES, access::POLICIES, access::TOKENS];
const CLIENT_PATHS: [&str; 3] = [SELF, LEADER, NODE];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentSelf {
    config: AgentConfig,
    stats: Option<AgentStats>,
}

#[derive(Deserialize)]
struct AgentStats {
    /// Servers alone have it.
    raft: Option<operator::Stats>,
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
    #[serde(default)]
    address: String,
}

fn review_servers(expected: &Expected, answers: &Answers) -> Review {
    operator::review(expected, answers, own_raft, is_in_catalog)
}

fn agent(answer: &Responses) -> Result<AgentSelf, String> {
    answer.get(SELF).ok_or("the agent was not asked about itself")?.json()
}

fn own_raft(answer: &Responses) -> Result<Option<operator::Stats>, String> {
    Ok(agent(answer)?.stats.and_then(|stats| stats.raft))
}

fn standing(answer: &Answer) -> Option<RaftState> {
    let stats = own_raft(answer.as_ref().ok()?).ok()??;
    Some((&stats).into())
}

fn version(answer: &Answer) -> Option<String> {
    Some(agent(answer.as_ref().ok()?).ok()?.config.version)
}

/// Whether it dials the others by TLS: its settings since 1.12, and before (agent/config/runtime.go).
fn speaks_tls(answer: &Answer) -> Option<bool> {
    let own = answer.as_ref().ok()?.get(SELF)?;
    own.flag_at(&["/DebugConfig/TLS/InternalRPC/VerifyOutgoing", "/DebugConfig/VerifyOutgoing"])
}

fn review_clients(expected: &Expected, answers: &Answers) -> Review {
    review::count(expected, answers, "clients joined", |_, answer| has_joined(answer))
}

/// What the catalog answers to a question.
fn catalog<T: DeserializeOwned>(answer: &Responses, path: &'static str) -> Result<T, String> {
    let response = answer.get(path).ok_or("the catalog was not asked")?;
    if response.status != 200 && !response.is_refused() {
        return Err(format!("its agent cannot read the catalog: {}", response.start()));
    }
    response.json()
}

const NOT_YET: &str = "not in the catalog yet";

/// The leader lists the server, so it has joined and reaches a quorum.
fn is_in_catalog(host: &HostName, answer: &Responses) -> Result<(), String> {
    let nodes: Vec<CatalogNode> = catalog(answer, NODES)?;
    let is_it = |node: &CatalogNode| node.node == host.as_str();
    if nodes.iter().any(is_it) { Ok(()) } else { Err(NOT_YET.to_owned()) }
}

/// The same of a client.
fn has_joined(answer: &Responses) -> Result<(), String> {
    // Whoever may not know the agent gets a catalog with nothing in it.
    agent(answer)?;
    let node: Option<IgnoredAny> = catalog(answer, NODE)?;
    node.map(drop).ok_or_else(|| NOT_YET.to_owned())
}

fn client_has_joined(answer: &Answer) -> bool {
    let leader = |answer: &Responses| answer.get(LEADER)?.json::<String>().ok();
    answer.as_ref().is_ok_and(|answer| leader(answer).is_some_and(|leader| !leader.is_empty()))
}

/// Datacenter, node and peers of a running agent, for a message.
fn describe(answer: &Answer) -> Option<String> {
    let agent = agent(answer.as_ref().ok()?).ok()?;
    Some(format!(
        "a running agent `{}` of datacenter `{}`, node id {}, peers: {}",
        agent.config.node_name,
        agent.config.datacenter,
        agent.config.node_id,
        operator::list(answer)
    ))
}

fn plain(paths: &[&'static str], agent: &Agent<'_>) -> Questions {
    let port = agent.endpoint.port;
    Questions::Plain(paths.iter().map(|path| Question::about(agent.host, port, path)).collect())
}

/// What servers and clients have in common.
struct Consul;

/// What an agent of Consul makes in its data directory, by what versions 1.8 to 1.21 leave there and `agent/` of their sources
/// names.
const STATE: [&str; 12] = [
    "raft",
    "serf",
    "node-id",
    "checkpoint-signature",
    "checks",
    "services",
    "proxy",
    "acl-tokens.json",
    "auto-config.json",
    "server_metadata.json",
    "xds",
    "tmp",
];

impl Product for Consul {
    fn name(&self) -> &'static str {
        NAME
    }

    fn keyring_command(&self) -> Option<&'static str> {
        Some("consul keyring")
    }

    fn client(&self, endpoint: &Endpoint) -> Option<Client> {
        Some(Client { program: NAME, variables: vec![("CONSUL_HTTP_ADDR", endpoint.url())] })
    }

    fn token_header(&self) -> Option<&'static str> {
        Some("X-Consul-Token")
    }

    fn token_file(&self) -> Option<&'static str> {
        Some("/etc/consul.d/acl.json")
    }

    fn token_variable(&self) -> Option<&'static str> {
        Some("CONSUL_HTTP_TOKEN")
    }

    fn ui(&self) -> Option<Ui> {
        Some(Ui { page: "/ui/", reads: &["/v1/internal/acl/authorize"] })
    }

    fn data_in(&self, configuration: &str) -> Option<String> {
        data_dir(configuration)
    }

    /// The vendor's packages have it in /opt, Debian's in /var/lib, the vendor's older guides in /var.
    fn traces(&self) -> Traces {
        Traces {
            state: &["raft/raft.db", "raft/wal", "serf/local.snapshot"],
            folders: &["/opt/consul", "/var/lib/consul", "/var/consul"],
        }
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "acl",
            "addresses",
            "advertise_addr",
            "autopilot",
            "bind_addr",
            "ca_file",
            "cert_file",
            "bootstrap",
            "bootstrap_expect",
            "client_addr",
            "data_dir",
            "datacenter",
            "encrypt",
            "key_file",
            "log_level",
            "node_id",
            "node_name",
            "performance",
            "ports",
            "retry_interval",
            "retry_join",
            "server",
            "start_join",
            "tls",
            "ui",
            "ui_config",
            "verify_incoming",
            "verify_incoming_rpc",
            "verify_outgoing",
            "verify_server_hostname",
        ]
    }

    fn state(&self, data: &str) -> Vec<String> {
        STATE.iter().map(|entry| format!("{data}/{entry}")).collect()
    }

    fn membership(&self, data: &str) -> Vec<String> {
        ["raft", "serf", "node-id"].map(|entry| format!("{data}/{entry}")).to_vec()
    }

    fn keyrings(&self, data: &str) -> Vec<String> {
        ["local", "remote"].map(|network| format!("{data}/serf/{network}.keyring")).to_vec()
    }

    fn version(&self, answer: &Answer) -> Option<String> {
        version(answer)
    }
}

impl Part for Servers {
    fn name(&self) -> &'static str {
        "consul-servers"
    }

    fn product(&self) -> &'static dyn Product {
        &Consul
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        match agent.endpoint.tokens.observe {
            Some(_) => plain(&SERVER_PATHS_WITH_ACL, agent),
            None => plain(&SERVER_PATHS, agent),
        }
    }

    fn speaks_tls(&self, answer: &Answer) -> Option<bool> {
        speaks_tls(answer)
    }

    fn access(&self) -> Option<&dyn Access> {
        Some(&access::Acl)
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review_servers(expected, answers)
    }

    fn cluster_state(&self, expected: &Expected, answers: &Answers) -> ClusterState {
        operator::cluster_state(expected, answers, own_raft)
    }

    fn describe(&self, answer: &Answer) -> Option<String> {
        describe(answer)
    }

    fn forget_command(&self, member: &str) -> Option<String> {
        // Consul knows members by their short names.
        let name = member.split_once('.').map_or(member, |(name, _)| name);
        Some(format!("consul force-leave {name}"))
    }

    fn listed(&self, said: &Responses) -> Result<Vec<Member>, String> {
        let nodes: Vec<CatalogNode> = catalog(said, NODES)?;
        let member = |node: CatalogNode| Member {
            name: node.node,
            address: node.address.parse().ok(),
            status: "registered".to_owned(),
        };
        Ok(nodes.into_iter().map(member).collect())
    }

    fn drills(&self) -> Vec<&dyn Drills> {
        vec![&operator::Drill { keys: Some(&Self) }]
    }

    fn roster(&self) -> &dyn Roster {
        &GOSSIP
    }

    fn raft(&self) -> Option<&dyn Raft> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn leaving(&self) -> &dyn Leaving {
        &LeavingAgent
    }
}

impl Raft for Servers {
    fn peers(&self, answer: &Answer) -> Result<Vec<Peer>, String> {
        operator::peers(answer)
    }

    fn places(&self) -> PlacesIn {
        operator::PLACES
    }

    fn standing(&self, answer: &Answer) -> Option<RaftState> {
        standing(answer)
    }

    fn label(&self) -> &'static str {
        "peers"
    }

    fn members_command(&self) -> &'static str {
        "consul operator raft list-peers"
    }

    /// Since 1.15: `consul operator raft transfer-leader`.
    fn step_down(&self, leader: &Answer) -> Option<String> {
        let can = operator::is_at_least(&version(leader)?, 1, 15);
        can.then(|| "/v1/operator/raft/transfer-leader".to_owned())
    }

    fn recovery(&self) -> Recovers {
        Recovers::PeersJson
    }
}

/// Its key-value store: a write that is acknowledged says `true`.
impl Keys for Servers {
    fn put(&self, key: &str, value: &str) -> Request {
        Request::new(Method::Put, format!("/v1/kv/{key}"), value)
    }

    fn is_acknowledged(&self, body: &str) -> bool {
        body.trim() == "true"
    }

    fn list(&self, prefix: &str) -> Request {
        Request::new(Method::Get, format!("/v1/kv/{prefix}?keys&consistent"), "")
    }

    fn read_list(&self, body: &str) -> Option<Vec<String>> {
        serde_json::from_str(body).ok()
    }

    fn remove(&self, prefix: &str) -> Request {
        Request::new(Method::Delete, format!("/v1/kv/{prefix}?recurse"), "")
    }
}

impl Snapshots for Servers {
    fn transfer(&self) -> Transfer {
        Transfer::Api { path: "/v1/snapshot" }
    }
}

impl Part for Clients {
    fn name(&self) -> &'static str {
        "consul-clients"
    }

    fn product(&self) -> &'static dyn Product {
        &Consul
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        plain(&CLIENT_PATHS, agent)
    }

    fn speaks_tls(&self, answer: &Answer) -> Option<bool> {
        speaks_tls(answer)
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review_clients(expected, answers)
    }

    fn cluster_state(&self, _: &Expected, answers: &Answers) -> ClusterState {
        those(answers, client_has_joined)
    }

    /// Clients gossip with servers, and know all of them.
    fn roster(&self) -> &dyn Roster {
        &GOSSIP
    }

    fn leaving(&self) -> &dyn Leaving {
        &LeavingAgent
    }
}

/// Servers and clients leave in the same way.
struct LeavingAgent;

impl Leaving for LeavingAgent {
    fn on_host(&self, api: &str, answers: bool) -> Vec<Task> {
        let leave = || {
            Task::run(
                "leave consul",
                "it tells the others that it goes",
                &["consul", "leave", &format!("-http-addr={api}")],
            )
        };
        answers.then(leave).into_iter().collect()
    }

    /// Gossip spreads what the host itself has said.
    fn told(&self, told: &DepartureNotice<'_>) -> Vec<Task> {
        if told.said_itself() {
            return Vec::new();
        }
        let (host, reason) = (told.host, "it does not answer");
        let address = format!("-http-addr={}", told.api);
        let peer = told.peer.map(|(id, _)| {
            let words = ["consul", "operator", "raft", "remove-peer", &address, &format!("-id={id}")];
            Task::remove(format!("remove peer {host} from consul"), reason, &words)
        });
        let words = ["consul", "force-leave", &address, "-prune", host.as_str()];
        peer.into_iter().chain([Task::remove(format!("forget {host} in consul"), reason, &words)]).collect()
    }
}
