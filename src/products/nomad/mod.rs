//! Nomad: what its agents, and the Consul agents beside them, are asked and what the answers mean.
//!
//! Shapes of the answers: Nomad's HTTP API, `/agent` and `/nodes`, the same from 1.1 to 2.0; Consul's
//! `/agent/health/service`, since 1.3.

pub mod jobs;

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::gossip::{Gossip, Member};
use super::part::DRAIN_DEADLINE;
use super::{
    Agent, Answer, Answers, Client, DepartureNotice, Drills, Gate, Leaving, Part, PlacesIn, Product,
    Question, Questions, Raft, Recovers, Response, Responses, Roster, Snapshots, Task, Traces, Transfer, Ui,
    consul, data_dir, operator, review, those,
};
use crate::model::{ClusterState, Endpoint, Expected, Review};
use crate::raft::{Peer, RaftState};

/// Every server sees the same, expected raft peers and one leader; and where Nomad registers in Consul, its service passes.
pub const SERVERS: Gate = Gate::new(&Servers);
/// Every client's node is ready and eligible; and where Nomad registers in Consul, its service passes.
pub const CLIENTS: Gate = Gate::new(&Clients);

struct Servers;
struct Clients;

const NAME: &str = "nomad";

/// Servers gossip as between datacenters (serf's settings for a WAN): a probe every 5 s, and 30 s of suspicion.
const GOSSIP: Gossip = Gossip { lag: Duration::from_secs(60) };

const SELF: &str = "/v1/agent/self";
/// Answered by the leader, so this is a use of quorum.
const NODES: &str = "/v1/nodes";
/// The same of the host alone; before 1.3 servers know no filter, and tell of all.
const NODE: &str = "/v1/nodes?filter=Name%20%3D%3D%20%22NAME%22";
/// What Nomad's own check in Consul asks, of either part.
const SERVER_HEALTH: &str = "/v1/agent/health?type=server";
const CLIENT_HEALTH: &str = "/v1/agent/health?type=client";
/// The status says it: 200 passing, 429 warning, 503 critical, 404 not registered.
const SERVER_SERVICE: &str = "/v1/agent/health/service/name/nomad";
const CLIENT_SERVICE: &str = "/v1/agent/health/service/name/nomad-client";

const SERVER_PATHS: [&str; 4] = [SELF, operator::CONFIGURATION, operator::AUTOPILOT, NODES];
const CLIENT_PATHS: [&str; 2] = [SELF, NODE];
/// What is asked besides where Nomad registers in Consul: Nomad, and the Consul agent of the host.
const SERVER_REGISTERED: Registered =
    Registered { health: SERVER_HEALTH, service: SERVER_SERVICE, name: "nomad" };
const CLIENT_REGISTERED: Registered =
    Registered { health: CLIENT_HEALTH, service: CLIENT_SERVICE, name: "nomad-client" };

/// A part of Nomad as a service of Consul.
struct Registered {
    health: &'static str,
    service: &'static str,
    name: &'static str,
}

/// What Consul says of one service of an agent.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceHealth {
    #[serde(default)]
    checks: Vec<ServiceCheck>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceCheck {
    status: String,
    #[serde(default)]
    output: String,
}

#[derive(Deserialize)]
struct AgentSelf {
    config: AgentConfig,
    stats: AgentStats,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    region: String,
    datacenter: String,
    node_name: String,
    version: Option<AgentVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentVersion {
    version: String,
}

#[derive(Deserialize)]
struct AgentStats {
    /// Servers alone have it.
    raft: Option<operator::Stats>,
    /// Clients alone have it.
    client: Option<ClientStats>,
}

#[derive(Deserialize)]
struct ClientStats {
    node_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    address: String,
    status: String,
    #[serde(default)]
    status_description: String,
    scheduling_eligibility: String,
    drain: bool,
}

/// Entries of the data directory beside `data`, the servers' part of it.
fn beside_servers(data: &str, entries: &[&str]) -> Vec<String> {
    let folder = data.rsplit_once('/').map_or("", |(folder, _)| folder);
    entries.iter().map(|entry| format!("{folder}/{entry}")).collect()
}

/// The Consul agent on the same host with which Nomad registers.
fn registers_with<'a>(agent: &Agent<'a>) -> Option<&'a Endpoint> {
    let uses = agent.endpoint.settings.get("consul").and_then(Value::as_bool).unwrap_or_default();
    agent.beside.iter().copied().find(|endpoint| uses && endpoint.product == consul::NAME)
}

fn review_servers(expected: &Expected, answers: &Answers) -> Review {
    operator::review(expected, answers, own_raft, |_, answer| SERVER_REGISTERED.passes(answer))
}

fn review_clients(expected: &Expected, answers: &Answers) -> Review {
    review::count(expected, answers, "clients ready", |_, answer| is_ready(answer))
}

fn agent(answer: &Responses) -> Result<AgentSelf, String> {
    answer.get(SELF).ok_or("the agent was not asked about itself")?.json()
}

/// Whether it dials the others by TLS (command/agent/config.go).
fn speaks_tls(answer: &Answer) -> Option<bool> {
    answer.as_ref().ok()?.get(SELF)?.flag_at(&["/config/TLSConfig/EnableRPC"])
}

fn own_raft(answer: &Responses) -> Result<Option<operator::Stats>, String> {
    Ok(agent(answer)?.stats.raft)
}

fn standing(answer: &Answer) -> Option<RaftState> {
    let stats = agent(answer.as_ref().ok()?).ok()?.stats.raft?;
    Some((&stats).into())
}

fn version(answer: &Answer) -> Option<String> {
    Some(agent(answer.as_ref().ok()?).ok()?.config.version?.version)
}

/// Of a client in its servers' list of nodes.
fn node_id(answer: &Answer) -> Option<String> {
    Some(agent(answer.as_ref().ok()?).ok()?.stats.client?.node_id)
}

fn is_ready(answer: &Responses) -> Result<(), String> {
    let client = agent(answer)?.stats.client.ok_or("the agent is no client")?;
    let response = answer.get(NODE).ok_or("the servers were not asked for their nodes")?;
    if response.status != 200 && !response.is_refused() {
        return Err(format!("its agent reaches no server: {}", response.start()));
    }
    let nodes: Vec<Node> = response.json()?;
    let node = nodes.iter().find(|node| node.id == client.node_id).ok_or("not registered yet")?;
    match node.status.as_str() {
        "ready" => {}
        status if node.status_description.is_empty() => return Err(format!("its node is {status}")),
        status => return Err(format!("its node is {status}: {}", node.status_description)),
    }
    if node.drain {
        return Err("its node is being drained; `nomad node drain -disable` ends that".to_owned());
    }
    if node.scheduling_eligibility != "eligible" {
        return Err("its node is not eligible; `nomad node eligibility -enable` makes it so".to_owned());
    }
    CLIENT_REGISTERED.passes(answer)
}

impl Registered {
    /// The service passes its checks on the host's Consul agent, if that was asked.
    fn passes(&self, answer: &Responses) -> Result<(), String> {
        let Some(response) = answer.get(self.service) else { return Ok(()) };
        let name = self.name;
        match response.status {
            200 => Ok(()),
            0 => Err(format!("Consul does not tell of the service `{name}`: {}", response.start())),
            404 => Err(format!("the service `{name}` is not in Consul yet")),
            429 => Err(format!("the service `{name}` has warnings in Consul")),
            503 if is_yet_to_be_checked(response) => self.is_well(answer),
            503 => Err(format!("the service `{name}` is not passing in Consul yet")),
            status => Err(format!("Consul says {status} of the service `{name}`: {}", response.start())),
        }
    }

    /// Consul makes its first check within ten seconds, at a moment of its own: it is not waited for what can be asked.
    fn is_well(&self, answer: &Responses) -> Result<(), String> {
        super::answered(answer, self.health, &format!("the service `{}`", self.name)).map(drop)
    }
}

/// Every check that does not pass is one that Consul has not made yet: they begin as critical, and without a word.
fn is_yet_to_be_checked(response: &Response) -> bool {
    let services: Vec<ServiceHealth> = response.json().unwrap_or_default();
    let mut failing = services
        .iter()
        .flat_map(|service| &service.checks)
        .filter(|check| check.status != "passing")
        .peekable();
    failing.peek().is_some() && failing.all(|check| check.status == "critical" && check.output.is_empty())
}

/// Every client that the servers have on their list.
fn listed(answer: &Responses) -> Result<Vec<Member>, String> {
    let nodes: Vec<Node> = super::answered(answer, NODES, "its agent")?.json()?;
    let member = |node: Node| Member {
        name: node.name,
        address: node.address.parse().ok(),
        status: if node.status == "ready" { "alive".to_owned() } else { node.status },
    };
    Ok(nodes.into_iter().map(member).collect())
}

fn is_ready_client(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|answer| is_ready(answer).is_ok())
}

/// Region, node and peers of a running agent, for a message.
fn describe(answer: &Answer) -> Option<String> {
    let agent = agent(answer.as_ref().ok()?).ok()?;
    Some(format!(
        "a running Nomad agent `{}` of region `{}`, datacenter `{}`, peers: {}",
        agent.config.node_name,
        agent.config.region,
        agent.config.datacenter,
        operator::list(answer)
    ))
}

/// What the agent is asked, and the Consul agent beside it where Nomad registers there.
fn plain(own: &[&'static str], registered: &Registered, agent: &Agent<'_>) -> Questions {
    let at = |port: u16| move |path: &&'static str| Question::about(agent.host, port, path);
    let own = own.iter().map(at(agent.endpoint.port));
    let beside = registers_with(agent).map(|consul| {
        [(agent.endpoint.port, registered.health), (consul.port, registered.service)]
            .map(|(port, path)| Question::new(port, path))
    });
    Questions::Plain(own.chain(beside.into_iter().flatten()).collect())
}

/// What servers and clients have in common.
struct Nomad;

impl Product for Nomad {
    fn name(&self) -> &'static str {
        NAME
    }

    fn keyring_command(&self) -> Option<&'static str> {
        Some("nomad operator gossip keyring")
    }

    fn data_in(&self, configuration: &str) -> Option<String> {
        data_dir(configuration).map(|folder| format!("{folder}/server"))
    }

    /// The vendor's packages have it in /opt, Debian's in /var/lib.
    fn traces(&self) -> Traces {
        Traces {
            state: &["server/raft/raft.db", "server/raft/wal", "client/state.db"],
            folders: &["/opt/nomad", "/opt/nomad/data", "/var/lib/nomad", "/var/nomad"],
        }
    }

    /// The folder of an endpoint is that of servers; that of clients is beside it.
    /// A `client` block of somebody else adds volumes and plugins to that of the role.
    fn client(&self, endpoint: &Endpoint) -> Option<Client> {
        Some(Client { program: "nomad", variables: vec![("NOMAD_ADDR", endpoint.url())] })
    }

    /// It searches, reads job files and asks what it may by POST (ui/app/adapters of its source).
    fn ui(&self) -> Option<Ui> {
        Some(Ui { page: "/ui/", reads: &["/v1/search", "/v1/search/fuzzy", "/v1/jobs/parse"] })
    }

    fn settings(&self) -> &'static [&'static str] {
        &[
            "addresses",
            "advertise",
            "autopilot",
            "bind_addr",
            "consul",
            "data_dir",
            "datacenter",
            "leave_on_interrupt",
            "leave_on_terminate",
            "log_level",
            "name",
            "ports",
            "region",
            "server",
            "tls",
        ]
    }

    fn state(&self, data: &str) -> Vec<String> {
        let beside = beside_servers(data, &["client", "alloc", "checkpoint-signature"]);
        [data.to_owned()].into_iter().chain(beside).collect()
    }

    fn membership(&self, data: &str) -> Vec<String> {
        vec![data.to_owned()]
    }

    fn keyrings(&self, data: &str) -> Vec<String> {
        vec![format!("{data}/serf.keyring")]
    }

    fn version(&self, answer: &Answer) -> Option<String> {
        version(answer)
    }
}

impl Part for Servers {
    fn name(&self) -> &'static str {
        "nomad-servers"
    }

    fn product(&self) -> &'static dyn Product {
        &Nomad
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        plain(&SERVER_PATHS, &SERVER_REGISTERED, agent)
    }

    fn speaks_tls(&self, answer: &Answer) -> Option<bool> {
        speaks_tls(answer)
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

    /// The clients, but for those that are down: these go from the list by themselves.
    fn listed(&self, said: &Responses) -> Result<Vec<Member>, String> {
        Ok(listed(said)?.into_iter().filter(|node| node.status != "down").collect())
    }

    fn keeps_nodes(&self) -> bool {
        false
    }

    fn forget_command(&self, member: &str) -> Option<String> {
        Some(format!("nomad server force-leave {member}"))
    }

    fn drills(&self) -> Vec<&dyn Drills> {
        vec![&operator::Drill { keys: None }]
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
        self
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
        NAME
    }

    fn members_command(&self) -> &'static str {
        "nomad operator raft list-peers"
    }

    /// Since 1.7: `nomad operator raft transfer-leadership`.
    fn step_down(&self, leader: &Answer) -> Option<String> {
        if !operator::is_at_least(&version(leader)?, 1, 7) {
            return None;
        }
        let peers = operator::peers(leader).ok()?;
        let heir = peers.iter().find(|peer| peer.voter && !peer.leader)?;
        Some(format!("/v1/operator/raft/transfer-leadership?address={}", heir.address))
    }

    fn recovery(&self) -> Recovers {
        Recovers::PeersJson
    }
}

impl Snapshots for Servers {
    fn transfer(&self) -> Transfer {
        Transfer::Api { path: "/v1/operator/snapshot" }
    }
}

impl Leaving for Servers {
    /// Servers do not leave by themselves.
    fn told(&self, told: &DepartureNotice<'_>) -> Vec<Task> {
        let Some((id, name)) = told.peer else { return Vec::new() };
        let (host, address) = (told.host, format!("-address={}", told.api));
        let words = ["nomad", "operator", "raft", "remove-peer", &address, &format!("-peer-id={id}")];
        let reason = "Nomad's servers do not leave by themselves";
        let peer = Task::remove(format!("remove peer {host} from nomad"), reason, &words);
        let words = ["nomad", "server", "force-leave", &address, name];
        vec![peer, Task::remove(format!("forget {host} in nomad"), "the same for gossip", &words)]
    }
}

impl Part for Clients {
    fn name(&self) -> &'static str {
        "nomad-clients"
    }

    fn product(&self) -> &'static dyn Product {
        &Nomad
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        plain(&CLIENT_PATHS, &CLIENT_REGISTERED, agent)
    }

    fn speaks_tls(&self, answer: &Answer) -> Option<bool> {
        speaks_tls(answer)
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review_clients(expected, answers)
    }

    fn cluster_state(&self, _: &Expected, answers: &Answers) -> ClusterState {
        those(answers, is_ready_client)
    }

    fn roster(&self) -> &dyn Roster {
        self
    }

    fn leaving(&self) -> &dyn Leaving {
        self
    }
}

/// Clients do not gossip: servers have a list of them, and wait for each one's heartbeat.
impl Roster for Clients {
    fn source(&self) -> &'static str {
        "the list of nodes"
    }

    fn questions(&self, endpoint: &Endpoint) -> Questions {
        Questions::Plain(vec![Question::new(endpoint.port, NODES)])
    }

    fn members(&self, answer: &Answer) -> Result<Vec<Member>, String> {
        listed(answer.as_ref().map_err(Clone::clone)?)
    }

    /// Between two heartbeats go up to 20 s, and 10 s of grace (`heartbeat_grace`). But a server that has just become the leader
    /// gives every node 5 min before it counts one as down (`failover_heartbeat_ttl`): where the old leader went in the
    /// same moment, it is that.
    fn lag(&self) -> Duration {
        Duration::from_secs(330)
    }
}

impl Leaving for Clients {
    fn on_host(&self, api: &str, answers: bool) -> Vec<Task> {
        let address = format!("-address={api}");
        let words =
            ["nomad", "node", "drain", &address, "-self", "-enable", "-yes", "-deadline", DRAIN_DEADLINE];
        let drain = || Task::run("drain nomad", "its allocations move to other nodes", &words);
        answers.then(drain).into_iter().collect()
    }

    fn hands_over(&self, api: &str) -> Vec<Task> {
        self.on_host(api, true)
    }

    /// A node that comes back as the one that was drained gets no work.
    fn remains(&self, data: &str) -> Vec<String> {
        beside_servers(data, &["client"])
    }

    /// A drained node would stay out of the scheduler's sight when it comes back: it is to come back as a new one. One that
    /// is down is forgotten by itself. Nomad's program has no word for it.
    fn told(&self, told: &DepartureNotice<'_>) -> Vec<Task> {
        let Some(node) = told.answer.and_then(node_id) else { return Vec::new() };
        let url = format!("{}/v1/node/{node}/purge", told.api);
        let id = format!("forget node {} in nomad", told.host);
        vec![Task::put(id, "its servers keep no record of it", &url)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde_json::json;

    use super::*;
    use crate::model::HostName;
    use crate::model::Verdict;

    fn host(number: u8) -> HostName {
        HostName::parse(format!("node-{number}")).unwrap()
    }

    fn response(status: u16, body: &Value) -> Response {
        Response { status, body: body.to_string().into_bytes() }
    }

    fn expected() -> Expected {
        Expected {
            members: (1..=3).map(|n| (host(n), IpAddr::from([10, 0, 0, n]))).collect(),
            asked: (1..=3).map(host).collect(),
            ..Expected::default()
        }
    }

    /// A server as Nomad 1.1 describes it; the second leads.
    fn server(number: u8) -> Responses {
        let address = |n: u8| format!("10.0.0.{n}:4647");
        let peer = |n: u8| {
            json!({"ID": format!("id-{n}"), "Node": format!("node-{n}.global"), "Address": address(n),
                   "Leader": n == 2, "Voter": true, "RaftProtocol": "3"})
        };
        let health = |n: u8| {
            json!({"ID": format!("id-{n}"), "Name": format!("node-{n}.global"), "Address": address(n),
                   "SerfStatus": "alive", "Healthy": true, "Voter": true, "Leader": n == 2})
        };
        let state = if number == 2 { "Leader" } else { "Follower" };
        BTreeMap::from([
            (
                SELF,
                response(
                    200,
                    &json!({
                        "config": {"Region": "global", "Datacenter": "dc1", "NodeName": format!("node-{number}")},
                        "stats": {"raft": {"state": state, "applied_index": "40", "commit_index": "40", "last_contact": "12ms"}},
                    }),
                ),
            ),
            (
                operator::CONFIGURATION,
                response(200, &json!({"Index": 0, "Servers": [peer(1), peer(2), peer(3)]})),
            ),
            (
                operator::AUTOPILOT,
                response(
                    200,
                    &json!({
                        "Healthy": true, "FailureTolerance": 1, "Servers": [health(1), health(2), health(3)],
                    }),
                ),
            ),
            (SERVER_SERVICE, response(200, &json!([]))),
        ])
    }

    /// The verdict when node-1 answers otherwise at one path.
    fn judged(path: &'static str, other: Option<Response>) -> Verdict {
        let mut answers: Answers = (1..=3).map(|n| (host(n), Ok(server(n)))).collect();
        let first = answers.get_mut(&host(1)).unwrap().as_mut().unwrap();
        match other {
            Some(other) => drop(first.insert(path, other)),
            None => drop(first.remove(path)),
        }
        SERVERS.judge(&expected(), &answers)
    }

    fn not_yet(reason: &str) -> Verdict {
        Verdict::NotYet { reason: reason.to_owned() }
    }

    #[test]
    fn servers_and_every_way_they_are_not_there_yet() {
        let met = Verdict::Met { detail: "3 of 3 voters, leader node-2.global".to_owned() };
        assert_eq!(judged(SERVER_SERVICE, Some(response(200, &json!([])))), met);
        // Where Nomad does not register, nobody is asked.
        assert_eq!(judged(SERVER_SERVICE, None), met);
        // Consul has yet to look, and Nomad says what it will see.
        let check = |output: &str| {
            json!([{"AggregatedStatus": "critical", "Checks": [{"Status": "passing", "Output": "TCP connect: Success"},
                    {"Status": "critical", "Output": output}]}])
        };
        let with_health = |check: &Value, status: u16| {
            let mut answer = server(1);
            answer.insert(SERVER_SERVICE, response(503, check));
            answer.insert(SERVER_HEALTH, response(status, &json!({"server": {"ok": status == 200}})));
            SERVER_REGISTERED.passes(&answer)
        };
        assert_eq!(with_health(&check(""), 200), Ok(()));
        let ill = with_health(&check(""), 500).unwrap_err();
        assert!(ill.starts_with("the service `nomad` says 500: "), "{ill}");
        let refused = with_health(&check("connection refused"), 200).unwrap_err();
        assert_eq!(refused, "the service `nomad` is not passing in Consul yet");
        let alone = json!({"Servers": null, "Index": 0});
        for (path, other, reason) in [
            (
                SERVER_SERVICE,
                response(503, &json!([])),
                "node-1: the service `nomad` is not passing in Consul yet",
            ),
            (SERVER_SERVICE, response(404, &json!([])), "node-1: the service `nomad` is not in Consul yet"),
            (
                operator::CONFIGURATION,
                response(200, &alone),
                "node-1 and node-2 see different peers: none and 10.0.0.1:4647 10.0.0.2:4647 10.0.0.3:4647",
            ),
        ] {
            assert_eq!(judged(path, Some(other)), not_yet(reason));
        }
    }

    #[test]
    fn clients_are_ready_eligible_and_registered() {
        let node = |changes: &[(&str, Value)]| {
            let mut node = json!({"ID": "n1", "Name": "node-1", "Status": "ready", "StatusDescription": "",
                "SchedulingEligibility": "eligible", "Drain": false});
            for (key, value) in changes {
                node[*key] = value.clone();
            }
            node
        };
        let judge = |nodes: Value, service: u16| {
            let answer = BTreeMap::from([
                (
                    SELF,
                    response(
                        200,
                        &json!({
                            "config": {"Region": "global", "Datacenter": "dc1", "NodeName": "node-1"},
                            "stats": {"client": {"node_id": "n1"}},
                        }),
                    ),
                ),
                (NODE, response(200, &nodes)),
                (CLIENT_SERVICE, response(service, &json!([]))),
            ]);
            is_ready(&answer)
        };
        assert_eq!(judge(json!([node(&[])]), 200), Ok(()));
        for (nodes, service, reason) in [
            (json!([]), 200, "not registered yet"),
            (json!([node(&[("ID", json!("n2"))])]), 200, "not registered yet"),
            (json!([node(&[("Status", json!("initializing"))])]), 200, "its node is initializing"),
            (json!([node(&[("Drain", json!(true))])]), 200, "drained"),
            (json!([node(&[("SchedulingEligibility", json!("ineligible"))])]), 200, "not eligible"),
            (json!([node(&[])]), 503, "`nomad-client` is not passing"),
        ] {
            let said = judge(nodes, service).unwrap_err();
            assert!(said.contains(reason), "`{reason}` is not in `{said}`");
        }
    }

    #[test]
    fn consul_is_asked_on_its_own_port_where_it_runs() {
        let at = |product: &str, port: u16, uses_consul: bool| -> Endpoint {
            let settings = json!({ "consul": uses_consul });
            let unit = format!("{product}.service");
            let said =
                json!({"product": product, "port": port, "unit": unit, "data": "/opt", "settings": settings});
            serde_json::from_value(said).unwrap()
        };
        let consul = at("consul", 18500, false);
        let ports = |uses_consul: bool, beside: Vec<&Endpoint>| -> Vec<u16> {
            let endpoint = at("nomad", 14646, uses_consul);
            let agent = Agent { host: &host(1), endpoint: &endpoint, beside };
            let Questions::Plain(asked) = SERVERS.questions(&agent) else {
                unreachable!("agents answer in plain HTTP")
            };
            asked.iter().map(|question| question.port).collect()
        };
        assert_eq!(ports(true, vec![&consul]), [14646, 14646, 14646, 14646, 14646, 18500]);
        assert_eq!(ports(false, vec![&consul]), [14646; 4]);
        assert_eq!(ports(true, vec![]), [14646; 4]);
    }

    #[test]
    fn a_client_is_alive_while_its_servers_hear_of_it() {
        let nodes = json!([
            {"ID": "a", "Name": "node-1", "Address": "10.0.0.1", "Status": "ready", "SchedulingEligibility": "eligible", "Drain": false},
            {"ID": "b", "Name": "node-2", "Address": "10.0.0.2", "Status": "down", "SchedulingEligibility": "eligible", "Drain": false}
        ]);
        let told = Roster::members(&Clients, &Ok(BTreeMap::from([(NODES, response(200, &nodes))]))).unwrap();
        let told: Vec<_> = told.iter().map(|member| (member.name.as_str(), member.status.as_str())).collect();
        assert_eq!(told, [("node-1", "alive"), ("node-2", "down")]);
    }
}
