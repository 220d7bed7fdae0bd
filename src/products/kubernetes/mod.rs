//! Kubernetes by kubeadm: what API servers are asked and what the answers mean.
//!
//! Shapes of the answers: the API server's health endpoints (`/readyz` since 1.16), nodes as a `Table` of
//! `meta.k8s.io/v1`, which is what `kubectl get nodes` prints and a fraction of the nodes themselves.

mod drill;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use semver::Version;
use serde::Deserialize;
use serde_json::Value;

use drill::ApiServerDrill;

use super::gossip::Member;
use super::part::DRAIN_DEADLINE;
use super::snapshot::Snapshot;
use super::{
    Agent, Answer, Answers, Client, Command, DepartureNotice, Drills, Gate, Leaving, Part, PlacesIn, Product,
    Questions, Raft, Recovers, Responses, Roster, Snapshots, Task, TlsFiles, TlsQuestion, Transfer,
    VersionChange, Watching, answered, etcd, review, those, views,
};
use crate::model::{
    Arg, Call, ClusterState, Endpoint, Expected, HostName, NulInArgument, PrefetchOf, Problem, Review,
};
use crate::raft::{self, Peer};

/// Every API server is ready, etcd has the same, expected members on all of them, every control plane's node is Ready at the
/// version asked for, and the endpoint answers.
pub const CONTROL_PLANES: Gate = Gate::new(&ControlPlanes);
/// The same of control planes whose etcd is elsewhere.
pub const API_SERVERS: Gate = Gate::new(&ApiServers);
/// Every worker's node is Ready at the version asked for, by the word of the endpoint.
pub const WORKERS: Gate = Gate::new(&Workers);

struct ControlPlanes;
struct ApiServers;
struct Workers;

const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";
const KUBECTL: [&str; 3] = ["kubectl", "--kubeconfig", ADMIN_CONF];

/// The host's own API server; with a line for each of its checks.
const READY: &str = "/readyz?verbose";
const VERSION: &str = "/version";
const NODES: &str = "/api/v1/nodes?includeObject=None";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// The pods that the kubelets of control planes run by themselves: kubeadm gives them this label.
const PODS: &str =
    "/api/v1/namespaces/kube-system/pods?includeObject=None&labelSelector=tier%3Dcontrol-plane";
const DNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns?includeObject=None";
/// The same as [`READY`], by the way that everybody takes.
const ENDPOINT: &str = "/readyz";
/// The host's own node.
const NODE: &str = "/api/v1/nodes/NAME";

/// Lies on a host while kubeadm makes it a member: what it leaves behind if it is killed is not a member's.
const BEGAN: &str = "/var/lib/bootstrap/kubeadm-began";

/// What kubeadm has left behind of every node.
const KUBELET_CONF: &str = "/etc/kubernetes/kubelet.conf";

/// What else a node has that kubeadm made: any of it would be in the way of a new one, or lead it to the old cluster.
const REMAINS: [&str; 9] = [
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/kubelet/pki",
];

/// The role's scripts for a snapshot that is put back.
const STATIC_PODS: &str = "/etc/kubernetes/bootstrap/static-pods";
const ETCD_RESTORE: &str = "/etc/kubernetes/bootstrap/etcd-restore";
const ETCD_RECOVER: &str = "/etc/kubernetes/bootstrap/etcd-recover";

/// The role's script that runs kubeadm.
const KUBE_RUN: &str = "/etc/kubernetes/bootstrap/run";

/// All that the kubelet of a control plane runs by itself: etcd's member, the API server, the controllers.
const DRILL: etcd::Drill =
    etcd::Drill { files: etcd::BESIDE_API_SERVER, victim: "its control plane", script: Some(STATIC_PODS) };

const PAUSE: Command = Command { name: "stop API servers and", words: [STATIC_PODS, "down"] };
const RESUME: Command = Command { name: "start API servers and", words: [STATIC_PODS, "up"] };
const LOOK_AGAIN: Command = Command { name: "look again at", words: [KUBE_RUN, "look-again"] };

const API_FILES: TlsFiles = TlsFiles {
    authority: "/etc/kubernetes/pki/ca.crt",
    certificate: "/etc/kubernetes/pki/apiserver-kubelet-client.crt",
    key: "/etc/kubernetes/pki/apiserver-kubelet-client.key",
};
const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
const WORKER_FILES: TlsFiles =
    TlsFiles { authority: "/etc/kubernetes/pki/ca.crt", certificate: KUBELET, key: KUBELET };

/// The address and the port at which everybody finds the API.
fn shared_place(endpoint: &Endpoint) -> Option<&str> {
    endpoint.settings.get("endpoint").and_then(Value::as_str)
}

/// The same as a site.
fn shared_api(endpoint: &Endpoint) -> String {
    shared_place(endpoint).map_or_else(|| endpoint.url(), |shared| format!("https://{shared}"))
}

/// The questions to an API server.
fn api_questions(endpoint: &Endpoint) -> Vec<TlsQuestion> {
    let (own, shared) = (endpoint.url(), shared_api(endpoint));
    let has_dns = endpoint.settings.get("dns").and_then(Value::as_bool).unwrap_or(true);
    let dns = has_dns.then_some((DNS, &own, TABLE));
    [
        (READY, &own, ""),
        (VERSION, &own, ""),
        (NODES, &own, TABLE),
        (PODS, &own, TABLE),
        (ENDPOINT, &shared, ""),
    ]
    .into_iter()
    .chain(dns)
    .map(|(path, site, accept)| TlsQuestion {
        path,
        url: format!("{site}{path}"),
        files: API_FILES,
        accept,
        body: "",
    })
    .collect()
}

/// The same, and those to the member of etcd beside it.
fn control_plane_questions(endpoint: &Endpoint) -> Vec<TlsQuestion> {
    [api_questions(endpoint), etcd::questions(etcd::BESIDE_API_SERVER)].concat()
}

fn worker_questions(host: &HostName, endpoint: &Endpoint) -> Vec<TlsQuestion> {
    let url = format!("{}{}", shared_api(endpoint), NODE.replace("NAME", host.as_str()));
    vec![TlsQuestion { path: NODE, url, files: WORKER_FILES, accept: "", body: "" }]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiVersion {
    git_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    column_definitions: Vec<Column>,
    rows: Option<Vec<Row>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<Value>,
}

impl Table {
    /// The node of a host.
    fn row(&self, host: &HostName) -> Result<&Row, String> {
        let rows = self.rows.as_deref().unwrap_or_default();
        let row = rows.iter().find(|row| self.cell(row, "Name") == host.as_str());
        row.ok_or_else(|| "its node is not registered yet".to_owned())
    }

    /// The node of a row, as its cluster takes it.
    fn member(&self, row: &Row) -> Member {
        let status = self.cell(row, "Status");
        Member {
            name: self.cell(row, "Name").to_owned(),
            address: self.cell(row, "Internal-IP").parse().ok(),
            status: if status.split(',').next() == Some("Ready") { "alive" } else { status }.to_owned(),
        }
    }

    fn cell<'t>(&'t self, row: &'t Row, column: &str) -> &'t str {
        let at = self.column_definitions.iter().position(|known| known.name == column);
        at.and_then(|at| row.cells.get(at)?.as_str()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
struct NodeSpec {
    #[serde(default)]
    unschedulable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    addresses: Vec<NodeAddress>,
    node_info: NodeInfo,
}

#[derive(Deserialize)]
struct NodeAddress {
    r#type: String,
    address: String,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    kubelet_version: String,
}

/// Control planes whose API servers are ready. While one is left, the API is served.
fn api_state(answers: &Answers) -> ClusterState {
    let stands = |answer: &Answer| answer.as_ref().is_ok_and(|said| ready(said).is_ok());
    let members: BTreeSet<HostName> =
        answers.iter().filter(|(_, answer)| stands(answer)).map(|(host, _)| host.clone()).collect();
    ClusterState { failure_tolerance: members.len().saturating_sub(1), members, ..ClusterState::default() }
}

fn review_control_planes(expected: &Expected, answers: &Answers) -> Review {
    review_voters(expected, answers, |host, said| problem(expected, host, said, etcd::healthy))
}

/// Whether etcd has all its members, and each control plane nothing that `problem` finds.
fn review_voters(
    expected: &Expected,
    answers: &Answers,
    problem: impl Fn(&HostName, &Responses) -> Option<Problem>,
) -> Review {
    let views = views(answers, etcd::LIST, etcd::peers);
    let raft::Agreement { detail, mut problems, .. } = raft::agreement(expected, &views);
    for (host, said) in
        expected.asked.iter().filter_map(|host| Some((host, answers.get(host)?.as_ref().ok()?)))
    {
        problems.extend(problem(host, said));
    }
    let review = Review { detail, problems };
    let detail = if review.stands() { review.detail } else { String::new() };
    Review { detail, ..review }
}

/// Control planes whose etcd is elsewhere.
fn review_api_servers(expected: &Expected, answers: &Answers) -> Review {
    review::of_each(expected, answers, "control planes ready", |host, said| {
        problem(expected, host, said, |_| Ok(()))
    })
}

/// What keeps a control plane from serving those that join: what its node, its other programs and CoreDNS are still about to
/// become, they become meanwhile.
fn not_serving(host: &HostName, said: &Responses) -> Option<Problem> {
    let serves = ready(said).and_then(|()| answered(said, ENDPOINT, "the endpoint").map(drop));
    serves.err().map(|reason| Problem::of(host, reason))
}

/// What keeps a control plane from being one; `state` says whether its API server has where to keep what it is told.
fn problem(
    expected: &Expected,
    host: &HostName,
    said: &Responses,
    state: impl Fn(&Responses) -> Result<(), String>,
) -> Option<Problem> {
    if let Err(reason) = ready(said) {
        let silent = said.get(READY).is_some_and(|response| response.status == 0);
        let problem = if silent { Problem::silent } else { Problem::of };
        return Some(problem(host, reason));
    }
    let version = expected.versions.get(host);
    let own = state(said).and_then(|()| listed(said, host, expected));
    let own = own.and_then(|()| static_pods(said, host)).and_then(|()| dns(said));
    let own = own.and_then(|()| answered(said, ENDPOINT, "the endpoint").map(drop));
    if let Err(reason) = own {
        return Some(Problem::of(host, reason));
    }
    let versions = kubelet_version(said, host, version).and_then(|()| api_version(said, version));
    versions.err().map(|reason| Problem::behind(host, reason))
}

/// The checks that fail, where the API server is not ready.
fn ready(said: &Responses) -> Result<(), String> {
    let response = said.get(READY).ok_or("the API server was not asked")?;
    if !matches!(response.status, 0 | 200) {
        let text = String::from_utf8_lossy(&response.body);
        let failing: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("[-]")?.split_whitespace().next()).collect();
        if !failing.is_empty() {
            return Err(format!("its API server is not ready: {}", failing.join(", ")));
        }
    }
    answered(said, READY, "its API server").map(drop)
}

/// The node of a host, in the list of its own API server.
fn listed(said: &Responses, host: &HostName, expected: &Expected) -> Result<(), String> {
    let table: Table = answered(said, NODES, "its API server")?.json()?;
    let row = table.row(host)?;
    let mut status = table.cell(row, "Status").split(',');
    match status.next() {
        Some("Ready") => {}
        other => return Err(format!("its node is {}", other.unwrap_or("without status"))),
    }
    if status.any(|word| word == "SchedulingDisabled") {
        return Err(cordoned(host));
    }
    has_address(&[table.cell(row, "Internal-IP")], expected.members.get(host))
}

fn kubelet_version(said: &Responses, host: &HostName, wanted: Option<&String>) -> Result<(), String> {
    let table: Table = answered(said, NODES, "its API server")?.json()?;
    runs(table.cell(table.row(host)?, "Version"), wanted)
}

/// Whether a node is found where the cluster looks for it. Where it is not, its pods run, and yet their logs cannot be read,
/// nobody gets into them, and metrics are missing.
fn has_address(addresses: &[&str], wanted: Option<&IpAddr>) -> Result<(), String> {
    let Some(wanted) = wanted else { return Ok(()) };
    if addresses.iter().any(|address| address.parse() == Ok(*wanted)) {
        return Ok(());
    }
    let has = match addresses {
        [] | ["" | "<none>"] => "no address inside the cluster".to_owned(),
        addresses => format!("the address {} inside the cluster", addresses.join(", ")),
    };
    Err(format!(
        "its node has {has}, wanted {wanted}: somebody else's flags of the kubelet? `systemctl cat kubelet.service` and \
         /etc/default/kubelet show them"
    ))
}

/// Every node that the API has.
fn nodes(said: &Responses) -> Result<Vec<Member>, String> {
    let table: Table = answered(said, NODES, "its API server")?.json()?;
    Ok(table.rows.iter().flatten().map(|row| table.member(row)).collect())
}

/// The programs of a control plane, as its API server sees them. Whether they are ready it learns late: they say so some ten
/// seconds after they have begun.
fn static_pods(said: &Responses, host: &HostName) -> Result<(), String> {
    let table: Table = answered(said, PODS, "its API server")?.json()?;
    for program in ["kube-controller-manager", "kube-scheduler"] {
        let name = format!("{program}-{host}");
        let row = table.rows.iter().flatten().find(|row| table.cell(row, "Name") == name);
        match row.map(|row| table.cell(row, "Status")) {
            Some("Running") => {}
            Some(status) => return Err(format!("its {program} is not running: {status}")),
            None => return Err(format!("its {program} is not there")),
        }
    }
    Ok(())
}

/// Whether somebody resolves the names of services, where the role sets that up.
fn dns(said: &Responses) -> Result<(), String> {
    if !said.contains_key(DNS) {
        return Ok(());
    }
    let table: Table = answered(said, DNS, "its API server, asked for CoreDNS,")?.json()?;
    let ready = table.rows.iter().flatten().next().map_or("", |row| table.cell(row, "Ready"));
    match ready.split_once('/') {
        Some((ready, _)) if ready != "0" => Ok(()),
        _ => Err(format!("none of CoreDNS' pods is ready ({ready})")),
    }
}

fn cordoned(host: &HostName) -> String {
    format!("its node takes no pods; `kubectl uncordon {host}` ends that")
}

/// Versions of Kubernetes begin with `v`.
fn runs(kubelet: &str, wanted: Option<&String>) -> Result<(), String> {
    match wanted {
        Some(wanted) if kubelet.trim_start_matches('v') != wanted => {
            Err(format!("its kubelet is {kubelet}, wanted v{wanted}"))
        }
        _ => Ok(()),
    }
}

fn api_version(said: &Responses, wanted: Option<&String>) -> Result<(), String> {
    let version: ApiVersion = answered(said, VERSION, "its API server")?.json()?;
    match wanted {
        Some(wanted) if version.git_version.trim_start_matches('v') != wanted => {
            Err(format!("its API server is {}, wanted v{wanted}", version.git_version))
        }
        _ => Ok(()),
    }
}

/// kubeadm upgrades to a later patch release or to the next minor version, and never goes back:
/// <https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/>.
fn no_way_between(runs: &str, wanted: &str) -> Option<String> {
    let (from, to) = (Version::parse(runs).ok()?, Version::parse(wanted).ok()?);
    if (to.major, to.minor) > (from.major, from.minor + 1) {
        return Some(format!(
            "kubeadm upgrades one minor version at a time: set `kube.version` to a release of {}.{} first",
            from.major,
            from.minor + 1
        ));
    }
    no_way_back(runs, wanted)
}

/// A kubelet may be older than the API by some minor versions, and catches up in one go.
fn no_way_back(runs: &str, wanted: &str) -> Option<String> {
    (Version::parse(wanted).ok()? < Version::parse(runs).ok()?).then(|| {
        format!("kubeadm does not go back to an older version: set `kube.version` to {runs} or later")
    })
}

fn version(answer: &Answer) -> Option<String> {
    let version: ApiVersion = answer.as_ref().ok()?.get(VERSION)?.json().ok()?;
    Some(version.git_version.trim_start_matches('v').to_owned())
}

fn review_workers(expected: &Expected, answers: &Answers) -> Review {
    let ready = |host: &HostName, node: &Node| {
        is_ready(node)?;
        if node.spec.unschedulable {
            return Err(cordoned(host));
        }
        let internal = node.status.addresses.iter().filter(|address| address.r#type == "InternalIP");
        let internal: Vec<&str> = internal.map(|address| address.address.as_str()).collect();
        has_address(&internal, expected.members.get(host))
    };
    review::of_each(expected, answers, "workers ready", |host, said| {
        let node = match node(said) {
            Ok(node) => node,
            Err(reason) => return Some(Problem::of(host, reason)),
        };
        if let Err(reason) = ready(host, &node) {
            return Some(Problem::of(host, reason));
        }
        let version = runs(&node.status.node_info.kubelet_version, expected.versions.get(host));
        version.err().map(|reason| Problem::behind(host, reason))
    })
}

fn node(said: &Responses) -> Result<Node, String> {
    match said.get(NODE) {
        Some(response) if response.status == 404 => Err("its node is not registered yet".to_owned()),
        _ => answered(said, NODE, "the endpoint")?.json(),
    }
}

fn is_ready(node: &Node) -> Result<(), String> {
    let ready = node.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => Err(format!("its node is not Ready: {}", ready.message)),
        None => Err("its node has no status yet".to_owned()),
    }
}

fn is_ready_worker(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|said| node(said).is_ok_and(|node| is_ready(&node).is_ok()))
}

fn worker_version(answer: &Answer) -> Option<String> {
    let node = node(answer.as_ref().ok()?).ok()?;
    Some(node.status.node_info.kubelet_version.trim_start_matches('v').to_owned())
}

/// A running control plane, for a message about one that somebody else has made.
fn describe(answer: &Answer) -> Option<String> {
    let version = version(answer)?;
    let etcd = etcd::describe(answer).map(|etcd| format!(", {etcd}")).unwrap_or_default();
    Some(format!("a control plane of Kubernetes, version {version}{etcd}"))
}

/// What a node of kubeadm's leaves on its host; `etcd` is where a member of etcd has its data.
fn node_probe(etcd: Option<&str>) -> Result<Call, NulInArgument> {
    let member = etcd.map(|folder| format!("{folder}/member"));
    let state = [Some(BEGAN.to_owned()), member, Some(KUBELET_CONF.to_owned())];
    let remains = [Some("-".to_owned()), etcd.map(str::to_owned)].into_iter().flatten();
    let remains = remains.chain(REMAINS.map(str::to_owned));
    let words: Result<Vec<Arg>, _> = state.iter().flatten().cloned().chain(remains).map(Arg::new).collect();
    let looked_at = state.into_iter().flatten().map(|path| PrefetchOf::Path.named(path));
    Ok(Call::new("state_data", words?).with_prefetch(looked_at))
}

/// Every node that the API has, and whether it is Ready: its kubelet says so every ten seconds.
struct Nodes {
    /// Each control plane has a member of etcd, which its peers know.
    has_etcd: bool,
}

impl Roster for Nodes {
    fn source(&self) -> &'static str {
        "the list of nodes"
    }

    fn questions(&self, endpoint: &Endpoint) -> Questions {
        let etcd = if self.has_etcd { etcd::roster_questions(etcd::BESIDE_API_SERVER) } else { Vec::new() };
        let nodes = api_questions(endpoint).into_iter().filter(|question| question.path == NODES);
        Questions::Tls(nodes.chain(etcd).collect())
    }

    fn members(&self, answer: &Answer) -> Result<Vec<Member>, String> {
        let said = answer.as_ref().map_err(Clone::clone)?;
        let nodes = nodes(said);
        if !self.has_etcd {
            return nodes;
        }
        // While etcd has no quorum there is no list, and its members know each other all the same.
        match (nodes, etcd::roster(said)) {
            (Err(reason), Err(_)) => Err(reason),
            (nodes, etcd) => {
                let mut members: Vec<Member> = nodes.unwrap_or_default();
                for member in etcd.unwrap_or_default() {
                    match members.iter_mut().find(|known| known.address == member.address) {
                        Some(known) if member.status == "alive" => known.status = member.status,
                        Some(_) => {}
                        None => members.push(member),
                    }
                }
                Ok(members)
            }
        }
    }

    /// After 50 s without a word from its kubelet a node is no longer Ready (`--node-monitor-grace-period` since 1.32). Where the
    /// controller manager that watches ran on that node, another one has to take over (`--leader-elect-lease-duration`, 15 s), to start
    /// its controllers, and to count from its own beginning.
    fn lag(&self) -> Duration {
        Duration::from_secs(120)
    }
}

/// What all nodes have in common.
struct Kubernetes;

impl Product for Kubernetes {
    fn name(&self) -> &'static str {
        "kube"
    }

    fn client(&self, _: &Endpoint) -> Option<Client> {
        Some(Client { program: "kubectl", variables: vec![("KUBECONFIG", ADMIN_CONF.to_owned())] })
    }

    fn version(&self, answer: &Answer) -> Option<String> {
        version(answer)
    }

    fn demands_version(&self) -> bool {
        true
    }

    fn looks_at_hardware(&self) -> bool {
        true
    }

    /// What is in /etc/kubernetes its own command removes.
    fn state(&self, data: &str) -> Vec<String> {
        vec![format!("{data}/member")]
    }

    fn clean_up(&self) -> Option<&'static str> {
        Some("systemctl stop kubelet; kubeadm reset --force")
    }

    fn stop_command(&self) -> Option<Vec<&'static str>> {
        Some(vec![KUBE_RUN, "stop"])
    }

    fn purge_command(&self) -> Option<Vec<&'static str>> {
        Some(vec![KUBE_RUN, "purge"])
    }
}

impl Part for ControlPlanes {
    fn name(&self) -> &'static str {
        "kube-control-planes"
    }

    fn product(&self) -> &'static dyn Product {
        &Kubernetes
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        Questions::Tls(control_plane_questions(agent.endpoint))
    }

    fn data_probe(&self, endpoint: &Endpoint) -> Result<Call, NulInArgument> {
        node_probe(Some(&endpoint.data))
    }

    fn no_way_between(&self, change: &VersionChange<'_>) -> Option<String> {
        no_way_between(change.runs, change.wanted)
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review_control_planes(expected, answers)
    }

    fn admission(&self, expected: &Expected, answers: &Answers) -> Review {
        review_voters(expected, answers, |host, said| {
            let etcd = etcd::healthy(said).err().map(|reason| Problem::of(host, reason));
            etcd.or_else(|| not_serving(host, said))
        })
    }

    fn cluster_state(&self, expected: &Expected, answers: &Answers) -> ClusterState {
        etcd::cluster_state(expected, answers)
    }

    fn describe(&self, answer: &Answer) -> Option<String> {
        describe(answer)
    }

    fn listed(&self, said: &Responses) -> Result<Vec<Member>, String> {
        nodes(said)
    }

    fn roster(&self) -> &dyn Roster {
        &Nodes { has_etcd: true }
    }

    fn forget_command(&self, member: &str) -> Option<String> {
        Some(format!("kubectl delete node {member}"))
    }

    fn credentials(&self) -> Option<&'static str> {
        Some(ADMIN_CONF)
    }

    fn watches(&self, state: &str) -> Option<Watching> {
        (state == self.name()).then_some(Watching {
            pause: Some(PAUSE),
            resume: Some(RESUME),
            look_again: LOOK_AGAIN,
        })
    }

    fn drills(&self) -> Vec<&dyn Drills> {
        vec![&DRILL, &ApiServerDrill]
    }

    fn raft(&self) -> Option<&dyn Raft> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn leaving(&self) -> &dyn Leaving {
        &LeavingNode { part: "kube-control-planes", governs: true }
    }
}

/// The members of etcd beside the API servers.
impl Raft for ControlPlanes {
    fn peers(&self, answer: &Answer) -> Result<Vec<Peer>, String> {
        etcd::peers(answer)
    }

    fn places(&self) -> PlacesIn {
        etcd::PLACES
    }

    fn label(&self) -> &'static str {
        "etcd"
    }

    fn members_command(&self) -> &'static str {
        "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes"
    }

    fn stale_command(&self) -> String {
        etcd::STALE_COMMAND.to_owned()
    }

    /// The kubelet runs what is among its manifests.
    fn start_command(&self, unit: &str) -> String {
        format!("{STATIC_PODS} up; systemctl --no-block start {unit}")
    }

    /// A node has more than that, and keeps it where joining was cut short.
    fn is_told_by_data(&self) -> bool {
        false
    }

    fn recovery(&self) -> Recovers {
        Recovers::OneGoesOn { script: ETCD_RECOVER }
    }
}

impl Snapshots for ControlPlanes {
    fn transfer(&self) -> Transfer {
        etcd::transfer(etcd::BESIDE_API_SERVER, ETCD_RESTORE, None)
    }

    fn position(&self, answer: &Answer) -> Option<Snapshot> {
        etcd::position(answer)
    }
}

impl Part for ApiServers {
    fn name(&self) -> &'static str {
        "kube-api-servers"
    }

    fn product(&self) -> &'static dyn Product {
        &Kubernetes
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        Questions::Tls(api_questions(agent.endpoint))
    }

    fn data_probe(&self, _: &Endpoint) -> Result<Call, NulInArgument> {
        node_probe(None)
    }

    fn has_claims(&self) -> bool {
        true
    }

    fn no_way_between(&self, change: &VersionChange<'_>) -> Option<String> {
        no_way_between(change.runs, change.wanted)
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review_api_servers(expected, answers)
    }

    fn admission(&self, expected: &Expected, answers: &Answers) -> Review {
        review::of_each(expected, answers, "control planes ready", not_serving)
    }

    fn cluster_state(&self, _: &Expected, answers: &Answers) -> ClusterState {
        api_state(answers)
    }

    fn describe(&self, answer: &Answer) -> Option<String> {
        describe(answer)
    }

    fn listed(&self, said: &Responses) -> Result<Vec<Member>, String> {
        nodes(said)
    }

    fn roster(&self) -> &dyn Roster {
        &Nodes { has_etcd: false }
    }

    fn forget_command(&self, member: &str) -> Option<String> {
        Some(format!("kubectl delete node {member}"))
    }

    fn credentials(&self) -> Option<&'static str> {
        Some(ADMIN_CONF)
    }

    fn drills(&self) -> Vec<&dyn Drills> {
        vec![&ApiServerDrill]
    }

    fn watches(&self, state: &str) -> Option<Watching> {
        (state == etcd::MEMBERS.name()).then_some(Watching {
            pause: Some(PAUSE),
            resume: Some(RESUME),
            look_again: LOOK_AGAIN,
        })
    }

    fn leaving(&self) -> &dyn Leaving {
        &LeavingNode { part: "kube-api-servers", governs: true }
    }
}

impl Part for Workers {
    fn name(&self) -> &'static str {
        "kube-workers"
    }

    fn product(&self) -> &'static dyn Product {
        &Kubernetes
    }

    fn questions(&self, agent: &Agent<'_>) -> Questions {
        Questions::Tls(worker_questions(agent.host, agent.endpoint))
    }

    fn data_probe(&self, _: &Endpoint) -> Result<Call, NulInArgument> {
        node_probe(None)
    }

    fn has_claims(&self) -> bool {
        true
    }

    fn no_way_between(&self, change: &VersionChange<'_>) -> Option<String> {
        no_way_back(change.runs, change.wanted)
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review_workers(expected, answers)
    }

    fn cluster_state(&self, _: &Expected, answers: &Answers) -> ClusterState {
        those(answers, is_ready_worker)
    }

    fn version(&self, answer: &Answer) -> Option<String> {
        worker_version(answer)
    }

    /// A control plane is asked: a worker may see no node but its own.
    fn roster(&self) -> &dyn Roster {
        &Nodes { has_etcd: false }
    }

    fn watches(&self, state: &str) -> Option<Watching> {
        let states = [CONTROL_PLANES.name(), etcd::MEMBERS.name()];
        states.contains(&state).then_some(Watching { pause: None, resume: None, look_again: LOOK_AGAIN })
    }

    fn leaving(&self) -> &dyn Leaving {
        &LeavingNode { part: "kube-workers", governs: false }
    }
}

/// How a node leaves, whatever its part; a control plane takes its own member of etcd out where it can.
struct LeavingNode {
    /// Its part's name.
    part: &'static str,
    /// Whether it may tell the cluster that another goes.
    governs: bool,
}

impl Leaving for LeavingNode {
    fn before(&self, host: &HostName, answers: bool) -> Vec<Task> {
        // Pods of a node that is dead never say that they have ended.
        if !answers {
            return Vec::new();
        }
        let timeout = format!("--timeout={DRAIN_DEADLINE}");
        let drain =
            ["drain", host.as_str(), "--ignore-daemonsets", "--delete-emptydir-data", "--force", &timeout];
        let words = [&KUBECTL[..], &drain].concat();
        vec![Task::run(format!("drain node {host}"), "its pods move to other nodes", &words)]
    }

    fn on_host(&self, _: &str, _: bool) -> Vec<Task> {
        let id = format!("reset kubeadm ({})", self.part);
        vec![Task::run(id, "what kubeadm made of it goes", &["kubeadm", "reset", "--force"])]
    }

    fn after_stop(&self) -> Vec<Task> {
        let id = format!("forget the network of pods ({})", self.part);
        // Another program's node has no such script.
        let words = ["sh", "-c", "[ ! -x \"$1\" ] || exec \"$@\"", "network", KUBE_RUN, "forget-network"];
        vec![Task::run(id, "no file has it, and it would stay until the next boot", &words)]
    }

    fn told(&self, told: &DepartureNotice<'_>) -> Vec<Task> {
        let host = told.host;
        let remove = |(id, _): &(String, String)| {
            let words = etcd::removal(etcd::BESIDE_API_SERVER, id);
            Task::remove(
                format!("remove member {host} from etcd"),
                "it does not answer",
                &etcd::words(&words),
            )
        };
        let member = told.peer.filter(|_| !told.said_itself()).map(remove);
        let words = [&KUBECTL[..], &["delete", "node", host.as_str(), "--ignore-not-found"]].concat();
        let node =
            Task::remove(format!("forget node {host}"), "the cluster keeps nodes until it is told", &words);
        member.into_iter().chain([node]).collect()
    }

    fn can_tell(&self) -> bool {
        self.governs
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Response;
    use super::*;
    use crate::model::Verdict;

    fn host(number: u8) -> HostName {
        HostName::parse(format!("node-{number}")).unwrap()
    }

    fn response(status: u16, body: &Value) -> Response {
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        Response { status, body: body.into_bytes() }
    }

    fn expected() -> Expected {
        Expected {
            members: (1..=3).map(|n| (host(n), IpAddr::from([10, 0, 0, n]))).collect(),
            asked: (1..=3).map(host).collect(),
            missing: 0,
            versions: (1..=3).map(|n| (host(n), "1.20.2".to_owned())).collect(),
        }
    }

    fn member(number: u8) -> Value {
        json!({"ID": format!("98765432100{number}"), "name": format!("node-{number}"),
               "peerURLs": [format!("https://10.0.0.{number}:2380")],
               "clientURLs": [format!("https://10.0.0.{number}:2379")]})
    }

    /// As API server 1.20.2 and etcd 3.4 say it; the second leads. `statuses` are those of the nodes.
    fn said(statuses: [&str; 3]) -> Responses {
        let row = |n: u8| {
            json!([
                format!("node-{n}"),
                statuses[usize::from(n) - 1],
                "control-plane,master",
                "5m",
                "v1.20.2",
                format!("10.0.0.{n}")
            ])
        };
        let nodes =
            table(&["Name", "Status", "Roles", "Age", "Version", "Internal-IP"], &[row(1), row(2), row(3)]);
        Responses::from([
            (READY, response(200, &json!("[+]ping ok\nreadyz check passed\n"))),
            (VERSION, response(200, &json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2"}))),
            (NODES, response(200, &nodes)),
            (etcd::LIST, response(200, &json!({"header": {}, "members": [member(1), member(2), member(3)]}))),
            (
                etcd::STATUS,
                response(200, &json!({"header": {}, "version": "3.4.23", "leader": "987654321002"})),
            ),
            (etcd::HEALTH, response(200, &json!({"health": "true"}))),
            (PODS, response(200, &pods("Running"))),
            (DNS, response(200, &coredns("2/2"))),
            (ENDPOINT, response(200, &json!("ok"))),
        ])
    }

    fn table(columns: &[&str], rows: &[Value]) -> Value {
        let columns: Vec<Value> =
            columns.iter().map(|name| json!({"name": name, "type": "string"})).collect();
        let rows: Vec<Value> = rows.iter().map(|cells| json!({"cells": cells, "object": null})).collect();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": columns, "rows": rows})
    }

    /// The scheduler of the first has this status.
    fn pods(status: &str) -> Value {
        let pod = |name: String, status: &str| json!([name, "1/1", status, 0, "5m"]);
        let of_node = |n: u8| {
            let status = if n == 1 { status } else { "Running" };
            [
                pod(format!("kube-controller-manager-node-{n}"), "Running"),
                pod(format!("kube-scheduler-node-{n}"), status),
            ]
        };
        let rows: Vec<Value> = (1..=3).flat_map(of_node).collect();
        table(&["Name", "Ready", "Status", "Restarts", "Age"], &rows)
    }

    fn coredns(ready: &str) -> Value {
        table(&["Name", "Ready", "Up-to-date", "Available", "Age"], &[json!(["coredns", ready, 2, 2, "5m"])])
    }

    const ALL: [&str; 3] = ["Ready"; 3];

    /// The verdict when node-1 answers otherwise at one path.
    fn judged(path: &'static str, other: Response) -> Verdict {
        let mut answers: Answers = (1..=3).map(|n| (host(n), Ok(said(ALL)))).collect();
        answers.get_mut(&host(1)).unwrap().as_mut().unwrap().insert(path, other);
        CONTROL_PLANES.judge(&expected(), &answers)
    }

    #[test]
    fn one_minor_version_at_a_time_and_never_back() {
        let says = |runs, wanted| no_way_between(runs, wanted).unwrap_or_default();
        assert_eq!(
            (says("1.20.2", "1.20.9"), says("1.20.9", "1.21.0"), says("1.20.2", "1.20.2")),
            Default::default()
        );
        assert!(says("1.20.2", "1.22.1").ends_with("set `kube.version` to a release of 1.21 first"));
        assert!(says("1.20.2", "1.20.1").ends_with("set `kube.version` to 1.20.2 or later"));
        assert_eq!(no_way_back("1.18.0", "1.20.2"), None);
        assert!(no_way_back("1.21.0", "1.20.2").is_some());
    }

    #[test]
    fn control_planes_and_every_way_they_are_not_there_yet() {
        let met = Verdict::Met { detail: "3 of 3 voters, leader node-2".to_owned() };
        assert_eq!(judged(ENDPOINT, response(200, &json!("ok"))), met);
        let learner = {
            let mut third = member(3);
            third["isLearner"] = json!(true);
            json!({"members": [member(1), member(2), third]})
        };
        for (path, other, reason) in [
            (
                READY,
                response(0, &json!("curl: (7) Failed to connect to 127.0.0.1 port 6443")),
                "node-1: its API server does not answer: curl: (7) Failed to connect to 127.0.0.1 port 6443",
            ),
            (
                READY,
                response(500, &json!("[+]ping ok\n[-]etcd failed: reason withheld\n[-]shutdown failed\n")),
                "node-1: its API server is not ready: etcd, shutdown",
            ),
            (
                etcd::HEALTH,
                response(503, &json!({"health": "false"})),
                "node-1: its etcd member is not healthy",
            ),
            (
                ENDPOINT,
                response(0, &json!("curl: (28) timed out")),
                "node-1: the endpoint does not answer: curl: (28) timed out",
            ),
            (
                NODES,
                said(["NotReady", "Ready", "Ready"]).remove(NODES).unwrap(),
                "node-1: its node is NotReady",
            ),
            (
                NODES,
                said(["Ready,SchedulingDisabled", "Ready", "Ready"]).remove(NODES).unwrap(),
                "node-1: its node takes no pods; `kubectl uncordon node-1` ends that",
            ),
            (
                PODS,
                response(200, &pods("CrashLoopBackOff")),
                "node-1: its kube-scheduler is not running: CrashLoopBackOff",
            ),
            (
                PODS,
                response(200, &table(&["Name", "Status"], &[])),
                "node-1: its kube-controller-manager is not there",
            ),
            (DNS, response(200, &coredns("0/2")), "node-1: none of CoreDNS' pods is ready (0/2)"),
            (
                DNS,
                response(404, &json!({"reason": "NotFound"})),
                "node-1: its API server, asked for CoreDNS, says 404: {\"reason\":\"NotFound\"}",
            ),
            (
                VERSION,
                response(200, &json!({"gitVersion": "v1.19.9"})),
                "3 of 3 voters, leader node-2; node-1: its API server is v1.19.9, wanted v1.20.2",
            ),
            (
                etcd::STATUS,
                response(200, &json!({"leader": "987654321003"})),
                "node-1 and node-2 disagree on the leader: 10.0.0.3:2380 and 10.0.0.2:2380",
            ),
            (
                etcd::LIST,
                response(200, &json!({"members": [member(1), member(2)]})),
                "node-1 and node-2 see different peers: 10.0.0.1:2380 10.0.0.2:2380 and 10.0.0.1:2380 10.0.0.2:2380 10.0.0.3:2380",
            ),
        ] {
            assert_eq!(judged(path, other), Verdict::NotYet { reason: reason.to_owned() }, "{path}");
        }
        let answers: Answers = (1..=3)
            .map(|n| {
                let mut said = said(ALL);
                said.insert(etcd::LIST, response(200, &learner));
                (host(n), Ok(said))
            })
            .collect();
        let judged = CONTROL_PLANES.judge(&expected(), &answers);
        assert_eq!(judged, Verdict::NotYet { reason: "2 of 3 voters".to_owned() });
    }

    #[test]
    fn the_next_joins_what_serves_and_need_not_be_all_that_it_will_be() {
        let admits = |path: &'static str, other: Response| {
            let mut answers: Answers = (1..=3).map(|n| (host(n), Ok(said(ALL)))).collect();
            answers.get_mut(&host(1)).unwrap().as_mut().unwrap().insert(path, other);
            matches!(CONTROL_PLANES.admits(&expected(), &answers), Verdict::Met { .. })
        };
        let not_ready = || said(["NotReady", "Ready", "Ready"]).remove(NODES).unwrap();
        for (path, other, right) in [
            (DNS, response(200, &coredns("0/2")), true),
            (NODES, not_ready(), true),
            (PODS, response(200, &table(&["Name", "Status"], &[])), true),
            (READY, response(500, &json!("[-]etcd failed: reason withheld\n")), false),
            (ENDPOINT, response(0, &json!("curl: (28) timed out")), false),
            (etcd::HEALTH, response(503, &json!({"health": "false"})), false),
            (etcd::LIST, response(200, &json!({"members": [member(1), member(2)]})), false),
        ] {
            assert_eq!(admits(path, other), right, "{path}");
        }
    }

    #[test]
    fn what_stands_is_told_by_the_members_of_etcd() {
        let mut answers: Answers = (1..=3).map(|n| (host(n), Ok(said(ALL)))).collect();
        let cluster_state = |answers: &Answers| CONTROL_PLANES.cluster_state(&expected(), answers);
        let all = cluster_state(&answers);
        assert_eq!((all.members.len(), all.leader, all.failure_tolerance), (3, Some(host(2)), 1));
        answers.insert(host(3), Err("no certificate".to_owned()));
        assert_eq!(cluster_state(&answers).failure_tolerance, 0);
        let bare: Answers = (1..=3).map(|n| (host(n), Err("no certificate".to_owned()))).collect();
        assert_eq!(cluster_state(&bare), ClusterState::default());
    }

    #[test]
    fn control_planes_without_etcd_of_their_own() {
        let api = |statuses| {
            let mut said = said(statuses);
            said.retain(|path, _| ![etcd::LIST, etcd::STATUS, etcd::HEALTH].contains(path));
            said
        };
        let mut answers: Answers = (1..=3).map(|n| (host(n), Ok(api(ALL)))).collect();
        let judge = |answers: &Answers| API_SERVERS.judge(&expected(), answers);
        assert_eq!(judge(&answers), Verdict::Met { detail: "3 of 3 control planes ready".to_owned() });
        let tolerance = |answers: &Answers| API_SERVERS.cluster_state(&expected(), answers).failure_tolerance;
        assert_eq!(tolerance(&answers), 2);
        let refused = response(0, &json!("curl: (7) refused"));
        answers.get_mut(&host(3)).unwrap().as_mut().unwrap().insert(READY, refused);
        let reason = "2 of 3 control planes ready; node-3: its API server does not answer: curl: (7) refused";
        assert_eq!(judge(&answers), Verdict::NotYet { reason: reason.to_owned() });
        assert_eq!(tolerance(&answers), 1);
    }

    #[test]
    fn workers_are_ready_at_their_version() {
        let judge = |status: u16, node: &Value| {
            let said = Responses::from([(NODE, response(status, node))]);
            let answers: Answers = [(host(1), Ok(said))].into();
            let expected = Expected { asked: [host(1)].into(), ..expected() };
            WORKERS.judge(&expected, &answers)
        };
        let node = |ready: &str, version: &str, cordoned: bool| {
            let mut spec = json!({});
            if cordoned {
                spec["unschedulable"] = json!(true);
            }
            json!({"spec": spec, "status": {"nodeInfo": {"kubeletVersion": version},
                   "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "node-1"}],
                   "conditions": [{"type": "MemoryPressure", "status": "False"},
                                  {"type": "Ready", "status": ready, "message": "cni plugin not initialized"}]}})
        };
        assert_eq!(
            judge(200, &node("True", "v1.20.2", false)),
            Verdict::Met { detail: "1 of 1 workers ready".to_owned() }
        );
        let lost = |address: &str| {
            let mut node = node("True", "v1.20.2", false);
            node["status"]["addresses"][0]["address"] = json!(address);
            judge(200, &node)
        };
        let Verdict::NotYet { reason } = lost("127.0.0.1") else { panic!("a node that nobody finds") };
        assert!(
            reason
                .contains("node-1: its node has the address 127.0.0.1 inside the cluster, wanted 10.0.0.1:"),
            "{reason}"
        );
        for (status, said, reason) in [
            (404, json!({"reason": "NotFound"}), "its node is not registered yet"),
            (0, json!("curl: (7) refused"), "the endpoint does not answer: curl: (7) refused"),
            (200, node("False", "v1.20.2", false), "its node is not Ready: cni plugin not initialized"),
            (
                200,
                node("True", "v1.20.2", true),
                "its node takes no pods; `kubectl uncordon node-1` ends that",
            ),
        ] {
            let reason = format!("0 of 1 workers ready; node-1: {reason}");
            assert_eq!(judge(status, &said), Verdict::NotYet { reason });
        }
        let reason = "1 of 1 workers ready; node-1: its kubelet is v1.19.0, wanted v1.20.2".to_owned();
        assert_eq!(judge(200, &node("True", "v1.19.0", false)), Verdict::NotYet { reason });
    }

    #[test]
    fn each_is_asked_by_what_lies_on_it() {
        let at = |settings: Value| -> Endpoint {
            let said = json!({
                "product": "kube", "port": 7443, "scheme": "https", "unit": "kubelet.service", "data": "/var/lib/etcd",
                "settings": settings,
            });
            serde_json::from_value(said).unwrap()
        };
        let endpoint = at(json!({"endpoint": "[fd00::1]:8443"}));
        let asked = control_plane_questions(&endpoint);
        let urls: Vec<&str> = asked.iter().map(|question| question.url.as_str()).collect();
        assert_eq!(urls[0], "https://127.0.0.1:7443/readyz?verbose");
        assert_eq!(urls[4], "https://[fd00::1]:8443/readyz");
        assert!(urls[5].ends_with("/deployments/coredns?includeObject=None"), "{urls:?}");
        assert_eq!(urls[6], "https://127.0.0.1:2379/v3/cluster/member/list");
        let without = control_plane_questions(&at(json!({"dns": false, "endpoint": "10.0.0.9:6443"})));
        assert!(!without.iter().any(|question| question.path == DNS));
        let asked = worker_questions(&host(4), &endpoint);
        assert_eq!(asked[0].url, "https://[fd00::1]:8443/api/v1/nodes/node-4");
    }

    #[test]
    fn a_node_is_alive_by_its_kubelet_or_by_its_member_of_etcd() {
        let alive = |has_etcd: bool, said: Responses| {
            let told = Nodes { has_etcd }.members(&Ok(said))?;
            let alive = told.into_iter().filter(|member| member.status == "alive");
            Ok::<_, String>(alive.map(|member| member.address.unwrap().to_string()).collect::<BTreeSet<_>>())
        };
        let statuses = ["Ready", "Ready,SchedulingDisabled", "NotReady"];
        assert_eq!(alive(false, said(statuses)).unwrap(), ["10.0.0.1", "10.0.0.2"].map(str::to_owned).into());
        let mut connected = said(statuses);
        let metrics = "etcd_network_active_peers{Local=\"e5f4c8f369\",Remote=\"e5f4c8f36b\"} 1\n";
        connected.insert("/metrics", Response { status: 200, body: metrics.as_bytes().to_vec() });
        assert_eq!(alive(true, connected.clone()).unwrap().len(), 3);
        // Without a quorum of etcd the API server has no list, and the members of etcd still know each other.
        connected.insert(NODES, response(0, &json!("curl: (28) timed out")));
        assert_eq!(
            alive(true, connected.clone()).unwrap(),
            ["10.0.0.1", "10.0.0.3"].map(str::to_owned).into()
        );
        assert!(alive(false, connected).is_err());
    }
}
