//! Gates: named conditions of a cluster that close a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use semver::Version;
use serde_json::{Map, Value};

use super::answer::Said;
use super::quorum::Peer;
use super::snapshot::Snapshot;
use super::{Answer, Answers, Question, Questions, TlsFiles, consul, etcd, kube, nomad, raft, roster};
use crate::model::{HostName, RoleName, Situation};

/// The gates roles may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Every server sees the same, expected raft peers and one leader.
    ConsulServers,
    /// Every client has joined, and the servers have it in the catalog.
    ConsulClients,
    /// The same of Nomad's servers; and where Nomad registers in Consul, its service passes.
    NomadServers,
    /// Every client's node is ready and eligible; and where Nomad registers in Consul, its service passes.
    NomadClients,
    /// Every member of etcd on a host of its own is healthy and sees the same, expected members, one of which leads.
    EtcdMembers,
    /// Every API server is ready, etcd has the same, expected members on all of them, every control plane's node is
    /// Ready at the version asked for, and the endpoint answers.
    KubeControlPlanes,
    /// The same of control planes whose etcd is elsewhere.
    KubeApiServers,
    /// Every worker's node is Ready at the version asked for, by the word of the endpoint.
    KubeWorkers,
}

/// Who must be there for a gate to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Members by their cluster address, reachable or not.
    pub members: BTreeMap<HostName, IpAddr>,
    /// Members that are asked: all but those this run has set aside or leaves out.
    pub asked: BTreeSet<HostName>,
    /// Members that are known to be down. They use up failure tolerance.
    pub missing: usize,
    /// The version that members must run, where the gate looks at it.
    pub versions: BTreeMap<HostName, String>,
}

/// Whether a gate is met, in the operator's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met { detail: String },
    NotYet { reason: String },
}

/// Everything that members say of themselves and of each other, against what is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// What stands, such as `3 of 3 voters, leader node-2`; empty where nothing can be said to.
    pub detail: String,
    /// The gravest first.
    pub complaints: Vec<Complaint>,
}

/// One thing that keeps a gate from being met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Who says it; `None` when all of them have to be asked to know it.
    pub host: Option<HostName>,
    /// Whom it is about, mostly the same.
    pub about: Option<HostName>,
    pub kind: ComplaintKind,
    pub reason: String,
}

/// What sort of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComplaintKind {
    /// The agent says nothing at all.
    Silent,
    /// Servers follow different leaders, or have different peers.
    Split,
    /// It is well, and of another version than it is to be: a change is on its way, or was stopped there.
    Behind,
    Other,
}

impl Complaint {
    pub(super) fn of(host: &HostName, reason: String) -> Self {
        Self { host: Some(host.clone()), about: Some(host.clone()), kind: ComplaintKind::Other, reason }
    }

    pub(super) fn behind(host: &HostName, reason: String) -> Self {
        Self { kind: ComplaintKind::Behind, ..Self::of(host, reason) }
    }

    pub(super) fn silent(host: &HostName, reason: String) -> Self {
        Self { kind: ComplaintKind::Silent, ..Self::of(host, reason) }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Review {
    /// Whether all that is wrong is versions that are yet to change.
    pub fn stands(&self) -> bool {
        self.complaints.iter().all(|complaint| complaint.kind == ComplaintKind::Behind)
    }

    /// Every asked member by itself, and how many of them have nothing against them.
    pub(super) fn count(
        expected: &Expected,
        answers: &Answers,
        what: &str,
        judge: impl Fn(&HostName, &Said) -> Result<(), String>,
    ) -> Self {
        Self::of_each(expected, answers, what, |host, said| {
            judge(host, said).err().map(|reason| Complaint::of(host, reason))
        })
    }

    /// The same of what can be silent in part.
    pub(super) fn of_each(
        expected: &Expected,
        answers: &Answers,
        what: &str,
        judge: impl Fn(&HostName, &Said) -> Option<Complaint>,
    ) -> Self {
        let complaint = |host: &HostName| match answers.get(host) {
            None => Some(Complaint::silent(host, "was not asked".to_owned())),
            Some(Err(reason)) => Some(Complaint::silent(host, reason.clone())),
            Some(Ok(said)) => judge(host, said),
        };
        let complaints: Vec<Complaint> = expected.asked.iter().filter_map(complaint).collect();
        let ill = complaints.iter().filter(|complaint| complaint.kind != ComplaintKind::Behind).count();
        let (met, all) = (expected.asked.len() - ill, expected.asked.len());
        Self { detail: format!("{met} of {all} {what}"), complaints }
    }

    fn verdict(self) -> Verdict {
        match self.complaints.first() {
            None => Verdict::Met { detail: self.detail },
            Some(first) if self.detail.is_empty() => Verdict::NotYet { reason: first.to_string() },
            Some(first) => Verdict::NotYet { reason: format!("{}; {first}", self.detail) },
        }
    }
}

impl Gate {
    pub const ALL: [Self; 8] = [
        Self::ConsulServers,
        Self::ConsulClients,
        Self::NomadServers,
        Self::NomadClients,
        Self::EtcdMembers,
        Self::KubeControlPlanes,
        Self::KubeApiServers,
        Self::KubeWorkers,
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| gate.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::ConsulServers => "consul-servers",
            Self::ConsulClients => "consul-clients",
            Self::NomadServers => "nomad-servers",
            Self::NomadClients => "nomad-clients",
            Self::EtcdMembers => "etcd-members",
            Self::KubeControlPlanes => "kube-control-planes",
            Self::KubeApiServers => "kube-api-servers",
            Self::KubeWorkers => "kube-workers",
        }
    }

    /// The agent's unit, whose journal explains a gate that is not met.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ConsulServers | Self::ConsulClients => "consul.service",
            Self::NomadServers | Self::NomadClients => "nomad.service",
            Self::EtcdMembers => "etcd.service",
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => "kubelet.service",
        }
    }

    /// What the programs of a host with these variables and roles are asked, in this order.
    pub fn questions(self, host: &HostName, variables: &Map<String, Value>, roles: &[RoleName]) -> Questions {
        let (own, consul): (&[&'static str], &[&'static str]) = match self {
            Self::ConsulServers => (&[], &consul::SERVER_PATHS),
            Self::ConsulClients => (&[], &consul::CLIENT_PATHS),
            Self::NomadServers => (&nomad::SERVER_PATHS, &nomad::SERVER_CONSUL_PATHS),
            Self::NomadClients => (&nomad::CLIENT_PATHS, &nomad::CLIENT_CONSUL_PATHS),
            Self::EtcdMembers => return Questions::Tls(etcd::questions(etcd::ALONE)),
            Self::KubeControlPlanes => return Questions::Tls(kube::control_plane_questions(variables)),
            Self::KubeApiServers => return Questions::Tls(kube::api_questions(variables)),
            Self::KubeWorkers => return Questions::Tls(kube::worker_questions(host, variables)),
        };
        let consul = if own.is_empty() || nomad::registers(variables, roles) { consul } else { &[] };
        let at = |port: u16| move |path: &&'static str| Question { port, path };
        let own = own.iter().map(at(nomad::http_port(variables)));
        Questions::Plain(own.chain(consul.iter().map(at(consul::http_port(variables)))).collect())
    }

    /// The prelude's probe that looks for what a member keeps, with its arguments.
    pub fn data_probe(self, variables: &Map<String, Value>) -> (&'static str, Vec<String>) {
        let folder = self.data_directory(variables);
        let member = || format!("{folder}/member");
        match self {
            Self::EtcdMembers => ("state_data", vec![String::new(), member()]),
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => {
                let own = (self == Self::KubeControlPlanes).then(|| (member(), folder.clone()));
                let (member, etcd) = own.unzip();
                let state = [Some(kube::BEGAN.to_owned()), member, Some(kube::KUBELET_CONF.to_owned())];
                let remains = [Some("-".to_owned()), etcd].into_iter().flatten();
                let remains = remains.chain(kube::REMAINS.map(str::to_owned));
                ("state_data", state.into_iter().flatten().chain(remains).collect())
            }
            Self::ConsulServers | Self::ConsulClients | Self::NomadServers | Self::NomadClients => {
                ("raft_data", vec![folder])
            }
        }
    }

    /// Where an agent keeps what tells whose it is.
    pub fn data_directory(self, variables: &Map<String, Value>) -> String {
        match self {
            Self::ConsulServers | Self::ConsulClients => consul::data_dir(variables),
            Self::NomadServers | Self::NomadClients => nomad::data_dir(variables),
            Self::EtcdMembers => etcd::data_dir(variables),
            Self::KubeControlPlanes => kube::data_dir(variables),
            // kubeadm's own.
            Self::KubeApiServers | Self::KubeWorkers => "/etc/kubernetes".to_owned(),
        }
    }

    /// Whether its members keep raft data there.
    pub fn has_raft(self) -> bool {
        match self {
            Self::ConsulServers | Self::NomadServers | Self::EtcdMembers | Self::KubeControlPlanes => true,
            Self::ConsulClients | Self::NomadClients | Self::KubeApiServers | Self::KubeWorkers => false,
        }
    }

    /// Whether what its probe finds makes a host somebody's. Clients of Consul and Nomad keep nothing that would.
    pub fn has_claims(self) -> bool {
        self.has_raft() || matches!(self, Self::KubeApiServers | Self::KubeWorkers)
    }

    /// Whether its members can tell the cluster that one of its members goes.
    pub fn can_tell(self) -> bool {
        self != Self::KubeWorkers
    }

    /// The version that the gate demands of a member with these variables, if it looks at it.
    pub fn demanded_version(self, variables: &Map<String, Value>) -> Option<String> {
        match self {
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => {
                Some(variables.get(self.product())?.get("version")?.as_str()?.to_owned())
            }
            _ => None,
        }
    }

    /// Where members that run one version cannot be brought to another by its product's own tools: what to do instead.
    pub fn no_way_between(self, runs: &str, wanted: &str) -> Option<String> {
        match self {
            Self::KubeControlPlanes | Self::KubeApiServers => kube::no_way_between(runs, wanted),
            Self::KubeWorkers => kube::no_way_back(runs, wanted),
            _ => None,
        }
    }

    /// The raft peers that a server knows.
    pub(super) fn peers(self, answer: &Answer) -> Result<Vec<Peer>, String> {
        match self {
            Self::EtcdMembers | Self::KubeControlPlanes => etcd::peers(answer),
            _ => raft::peers(answer),
        }
    }

    pub fn judge(self, expected: &Expected, answers: &Answers) -> Verdict {
        self.review(expected, answers).verdict()
    }

    /// The same with everything that is not as expected, not only the first.
    pub fn review(self, expected: &Expected, answers: &Answers) -> Review {
        match self {
            Self::ConsulServers => consul::review_servers(expected, answers),
            Self::ConsulClients => consul::review_clients(expected, answers),
            Self::NomadServers => nomad::review_servers(expected, answers),
            Self::NomadClients => nomad::review_clients(expected, answers),
            Self::EtcdMembers => etcd::review(expected, answers),
            Self::KubeControlPlanes => kube::review_control_planes(expected, answers),
            Self::KubeApiServers => kube::review_api_servers(expected, answers),
            Self::KubeWorkers => kube::review_workers(expected, answers),
        }
    }

    /// What an agent's gossip knows: one more question to ask of one server.
    pub fn roster_question(self, variables: &Map<String, Value>) -> Option<Question> {
        let port = match self {
            Self::ConsulServers => consul::http_port(variables),
            Self::NomadServers => nomad::http_port(variables),
            _ => return None,
        };
        Some(Question { port, path: roster::PATH })
    }

    /// The product of the agent, as its key in an inventory's variables.
    pub fn product(self) -> &'static str {
        match self {
            Self::ConsulServers | Self::ConsulClients => "consul",
            Self::NomadServers | Self::NomadClients => "nomad",
            Self::EtcdMembers => "etcd",
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => "kube",
        }
    }

    /// Where the API saves and restores the state of raft; `None` where there is no such thing.
    pub fn snapshot_path(self) -> Option<&'static str> {
        match self {
            Self::ConsulServers => Some("/v1/snapshot"),
            Self::NomadServers => Some("/v1/operator/snapshot"),
            Self::EtcdMembers | Self::KubeControlPlanes => Some(etcd::SNAPSHOT),
            _ => None,
        }
    }

    /// Whether servers read `raft/peers.json` when they start.
    pub fn reads_peers_json(self) -> bool {
        matches!(self, Self::ConsulServers | Self::NomadServers)
    }

    /// Where etcd's log stands by the word of a member, which its snapshots do not say; `None` of other products.
    pub fn position(self, answer: &Answer) -> Option<Snapshot> {
        self.etcd_files().and_then(|_| etcd::position(answer))
    }

    /// What lies on its members' hosts for whoever asks etcd there; `None` of gates without etcd.
    pub fn etcd_files(self) -> Option<TlsFiles> {
        match self {
            Self::EtcdMembers => Some(etcd::ALONE),
            Self::KubeControlPlanes => Some(etcd::BESIDE_API_SERVER),
            _ => None,
        }
    }

    /// The role's script that makes of a snapshot of etcd what a member starts with; `None` of gates without etcd.
    pub fn etcd_restore(self) -> Option<&'static str> {
        match self {
            Self::EtcdMembers => Some(etcd::RESTORE),
            Self::KubeControlPlanes => Some(kube::ETCD_RESTORE),
            _ => None,
        }
    }

    /// The port of the agent's API.
    pub fn api_port(self, variables: &Map<String, Value>) -> u16 {
        match self {
            Self::NomadServers | Self::NomadClients => nomad::http_port(variables),
            Self::ConsulServers | Self::ConsulClients => consul::http_port(variables),
            Self::EtcdMembers => etcd::ETCD_PORT,
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => kube::api_port(variables),
        }
    }

    /// Where the agent's API is on the host's own loopback.
    pub fn api(self, variables: &Map<String, Value>) -> String {
        format!("http://127.0.0.1:{}", self.api_port(variables))
    }

    /// The command that shows on each server of a split cluster what that server thinks; `None` of clients.
    pub fn stale_command(self) -> Option<String> {
        match self {
            Self::EtcdMembers | Self::KubeControlPlanes => Some("etcdctl member list".to_owned()),
            _ => self.raft_command().map(|command| format!("{command} -stale")),
        }
    }

    /// The command that shows the members on a host; `None` of clients.
    pub fn raft_command(self) -> Option<&'static str> {
        match self {
            Self::ConsulServers => Some("consul operator raft list-peers"),
            Self::NomadServers => Some("nomad operator raft list-peers"),
            Self::EtcdMembers => Some("/etc/etcd/bootstrap/member list"),
            Self::KubeControlPlanes => Some("kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes"),
            _ => None,
        }
    }

    /// What stops a member on its host for good, where something would outlive its unit.
    pub fn stop_command(self) -> Option<Vec<&'static str>> {
        match self {
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => {
                Some(vec![kube::KUBE_RUN, "stop"])
            }
            _ => None,
        }
    }

    /// What removes all that made the host a member, where that is more than its data.
    pub fn purge_command(self) -> Option<Vec<&'static str>> {
        match self {
            Self::EtcdMembers => Some(vec![etcd::MEMBER, "forget"]),
            Self::KubeControlPlanes | Self::KubeApiServers | Self::KubeWorkers => {
                Some(vec![kube::KUBE_RUN, "purge"])
            }
            _ => None,
        }
    }

    /// Where the API of a leader has it hand over to another server, by POST: Consul since 1.15 (`operator raft
    /// transfer-leader`), Nomad since 1.7 (`operator raft transfer-leadership`). `None` of older ones and of clients.
    pub fn step_down(self, leader: &Answer) -> Option<String> {
        let version = Version::parse(self.version(leader)?.trim_start_matches('v')).ok()?;
        match self {
            Self::ConsulServers if version >= Version::new(1, 15, 0) => {
                Some("/v1/operator/raft/transfer-leader".to_owned())
            }
            Self::NomadServers if version >= Version::new(1, 7, 0) => {
                let peers = raft::peers(leader).ok()?;
                let heir = peers.iter().find(|peer| peer.voter && !peer.leader)?;
                Some(format!("/v1/operator/raft/transfer-leadership?address={}", heir.address))
            }
            _ => None,
        }
    }

    /// Where its members keep credentials for whoever governs the cluster.
    pub fn credentials(self) -> Option<&'static str> {
        matches!(self, Self::KubeControlPlanes | Self::KubeApiServers).then_some("/etc/kubernetes/admin.conf")
    }

    /// The version of the agent that answered.
    pub fn version(self, answer: &Answer) -> Option<String> {
        match self {
            Self::ConsulServers | Self::ConsulClients => consul::version(answer),
            Self::NomadServers | Self::NomadClients => nomad::version(answer),
            Self::EtcdMembers => etcd::version(answer),
            Self::KubeControlPlanes | Self::KubeApiServers => kube::version(answer),
            Self::KubeWorkers => kube::worker_version(answer),
        }
    }

    /// Under which a product knows a client apart from its servers' peers; `None` of those that have none.
    pub fn node_id(self, answer: &Answer) -> Option<String> {
        match self {
            Self::NomadClients => nomad::node_id(answer),
            _ => None,
        }
    }

    /// A server's own place in raft; `None` of clients.
    pub fn standing(self, answer: &Answer) -> Option<raft::Standing> {
        match self {
            Self::ConsulServers => consul::standing(answer),
            Self::NomadServers => nomad::standing(answer),
            _ => None,
        }
    }

    /// What stands now, read from the members' answers.
    pub fn situation(self, expected: &Expected, answers: &Answers) -> Situation {
        let those = |stands: fn(&Answer) -> bool| Situation {
            members: answers
                .iter()
                .filter(|(_, answer)| stands(answer))
                .map(|(host, _)| host.clone())
                .collect(),
            ..Situation::default()
        };
        match self {
            Self::ConsulServers | Self::NomadServers => {
                raft::situation(expected, answers, raft::peers, raft::autopilot_tolerance)
            }
            Self::ConsulClients => those(consul::client_has_joined),
            Self::NomadClients => those(nomad::is_ready_client),
            Self::EtcdMembers | Self::KubeControlPlanes => etcd::situation(expected, answers),
            Self::KubeApiServers => kube::api_situation(answers),
            Self::KubeWorkers => those(kube::is_ready_worker),
        }
    }

    /// Lines for the closing summary: leader, peers, where to look next.
    pub fn notes(self, expected: &Expected, answers: &Answers) -> Vec<String> {
        let Some(command) = self.raft_command() else { return Vec::new() };
        let label = match self {
            Self::ConsulServers => "peers",
            Self::EtcdMembers | Self::KubeControlPlanes => "etcd",
            _ => self.product(),
        };
        raft::notes(label, command, expected, answers, |answer| self.peers(answer))
    }

    /// How the members that an agent knows are named, for a message about a foreign cluster.
    pub fn describe(self, answer: &Answer) -> Option<String> {
        match self {
            Self::ConsulServers => consul::describe(answer),
            Self::NomadServers => nomad::describe(answer),
            Self::EtcdMembers => etcd::describe(answer),
            Self::KubeControlPlanes | Self::KubeApiServers => kube::describe(answer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Response;
    use super::*;

    /// What the leader of two servers says of itself.
    fn leader(config: &Value, version: &str) -> Answer {
        let peer = |n: u8| {
            json!({"ID": format!("id-{n}"), "Node": format!("n{n}"), "Address": format!("10.0.0.{n}:4647"),
                   "Leader": n == 1, "Voter": true})
        };
        let mut config = config.clone();
        match config.get("NodeID") {
            Some(_) => config["Version"] = json!(version),
            None => config["Version"] = json!({ "Version": version }),
        }
        let body = |value: Value| Response { status: 200, body: value.to_string().into_bytes() };
        Ok(BTreeMap::from([
            ("/v1/agent/self", body(json!({ "Config": config, "config": config, "Stats": {}, "stats": {} }))),
            (raft::CONFIGURATION, body(json!({ "Servers": [peer(1), peer(2)] }))),
        ]))
    }

    #[test]
    fn a_leader_hands_over_where_its_version_can() {
        let consul = json!({ "Datacenter": "dc1", "NodeName": "n1", "NodeID": "1", "Server": true });
        let nomad = json!({ "Region": "global", "Datacenter": "dc1", "NodeName": "n1" });
        let consul = |version: &str| Gate::ConsulServers.step_down(&leader(&consul, version));
        assert_eq!(consul("1.14.11"), None);
        assert_eq!(consul("1.15.0+ent").as_deref(), Some("/v1/operator/raft/transfer-leader"));
        let nomad = |version: &str| Gate::NomadServers.step_down(&leader(&nomad, version));
        assert_eq!(nomad("v1.6.9"), None);
        assert_eq!(
            nomad("1.7.0").as_deref(),
            Some("/v1/operator/raft/transfer-leadership?address=10.0.0.2:4647")
        );
        assert_eq!(Gate::ConsulClients.step_down(&leader(&json!({}), "1.20.0")), None);
    }
}
