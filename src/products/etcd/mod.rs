//! etcd: what its members are asked and what the answers mean, be they pods of Kubernetes' control planes or units on hosts of
//! their own.
//!
//! Shapes of the answers: its gRPC gateway below `/v3/` (since etcd 3.4), where numbers are texts and what is false or empty
//! is left out.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::drill::{kill_unit, start_unit};
use super::snapshot::Snapshot;
use super::{
    Agent, Answer, Answers, Client, DepartureNotice, Drills, Gate, Keys, Leaving, Method, Part, PlacesIn,
    Product, Questions, Raft, Recovers, Request, Responses, Roster, Snapshots, Task, TlsFiles, TlsQuestion,
    Traces, Transfer, Way, answered, gossip, views,
};
use crate::model::{
    Arg, Call, ClusterState, Endpoint, Expected, LOOPBACK, NulInArgument, PrefetchOf, Problem, Review,
};
use crate::raft::{self, Agreement, Peer, majority};

/// Every member of etcd on a host of its own is healthy and sees the same, expected members, one of which leads.
pub const MEMBERS: Gate = Gate::new(&Members);

struct Members;

const UNIT: &str = "etcd.service";

pub(super) const LIST: &str = "/v3/cluster/member/list";
pub(super) const STATUS: &str = "/v3/maintenance/status";
/// Of the members in their list.
pub(super) const PLACES: PlacesIn = PlacesIn { path: LIST, key: "peerURLs" };
const SNAPSHOT: &str = "/v3/maintenance/snapshot";
pub(super) const HEALTH: &str = "/health";
const METRICS: &str = "/metrics";
/// Of each other member: whether a connection to it is open.
const ACTIVE_PEERS: &str = "etcd_network_active_peers{";

/// Shows on each member of a split cluster what that member thinks.
pub(super) const STALE_COMMAND: &str = "etcdctl member list";

/// Where members listen for clients.
pub(super) const PORT: u16 = 2379;

/// What a control plane shows to the member beside it.
pub(super) const BESIDE_API_SERVER: TlsFiles = TlsFiles {
    authority: "/etc/kubernetes/pki/etcd/ca.crt",
    certificate: "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    key: "/etc/kubernetes/pki/apiserver-etcd-client.key",
};
/// What a member on a host of its own has.
const ALONE: TlsFiles = TlsFiles {
    authority: "/etc/etcd/pki/ca.crt",
    certificate: "/etc/etcd/pki/client.pem",
    key: "/etc/etcd/pki/client.pem",
};

/// The role's script for members on hosts of their own.
const MEMBER: &str = "/etc/etcd/bootstrap/member";
const RESTORE: &str = "/etc/etcd/bootstrap/etcd-restore";

/// The questions to the member on the host itself.
pub(super) fn questions(files: TlsFiles) -> Vec<TlsQuestion> {
    [(LIST, "{}"), (STATUS, "{}"), (HEALTH, "")].map(|(path, body)| ask(files, path, body)).into()
}

fn ask(files: TlsFiles, path: &'static str, body: &'static str) -> TlsQuestion {
    TlsQuestion { path, url: format!("https://{LOOPBACK}:{PORT}{path}"), files, accept: "", body }
}

/// What a member is asked of the others.
pub(super) fn roster_questions(files: TlsFiles) -> Vec<TlsQuestion> {
    vec![ask(files, LIST, "{}"), ask(files, METRICS, "")]
}

/// The members, alive where the one that was asked has a connection to them: it ends some seconds after the other one's last word.
pub(super) fn roster(said: &Responses) -> Result<Vec<gossip::Member>, String> {
    let list: MemberList = answered(said, LIST, "etcd")?.json()?;
    let metrics = answered(said, METRICS, "etcd")?;
    let metrics = String::from_utf8_lossy(&metrics.body);
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(ACTIVE_PEERS)?.split_once("} "));
    let active: Vec<(&str, &str)> = lines.collect();
    let member = |member: Member| {
        // Numbers in the gateway's answers, hexadecimal in metrics.
        let id = member.id.parse::<u64>().map(|id| format!("{id:x}")).unwrap_or_default();
        let is = |label: &str, labels: &str| labels.contains(&format!("{label}=\"{id}\""));
        let is_alive =
            active.iter().any(|(labels, count)| is("Local", labels) || is("Remote", labels) && *count != "0");
        gossip::Member {
            address: member.place().map(|place| place.ip()),
            name: member.name,
            status: if is_alive { "alive".to_owned() } else { "not connected".to_owned() },
        }
    };
    Ok(list.members.into_iter().map(member).collect())
}

#[derive(Deserialize)]
struct MemberList {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "ID")]
    id: String,
    /// Empty until it has started for the first time.
    #[serde(default)]
    name: String,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
}

impl Member {
    fn url(&self) -> &str {
        self.peer_urls.first().map(String::as_str).unwrap_or_default()
    }

    /// Where its peers find it.
    fn place(&self) -> Option<SocketAddr> {
        self.url().split_once("://")?.1.parse().ok()
    }
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    version: String,
    /// The id of the member that leads; left out without one.
    #[serde(default)]
    leader: String,
}

#[derive(Default, Deserialize)]
struct Header {
    #[serde(default)]
    revision: String,
    #[serde(default)]
    raft_term: String,
}

#[derive(Deserialize)]
struct MemberHealth {
    health: String,
}

/// The members of etcd as one of them knows them, the leader by the same one's word.
pub(super) fn peers(answer: &Answer) -> Result<Vec<Peer>, String> {
    let said = answer.as_ref().map_err(Clone::clone)?;
    let list =
        answered(said, LIST, "etcd").map_err(|reason| match reason.contains("not supported for learner") {
            true => "its etcd member is a learner and has no vote yet".to_owned(),
            false => reason,
        });
    let members: MemberList = list?.json()?;
    let status: Status = answered(said, STATUS, "etcd")?.json()?;
    let peer = |member: Member| {
        let address = member.place();
        let address =
            address.ok_or_else(|| format!("etcd's member {} is at `{}`", member.id, member.url()))?;
        Ok(Peer {
            leader: member.id == status.leader,
            // One that was added and has not started yet counts for quorum all the same.
            voter: !member.is_learner,
            node: if member.name.is_empty() { format!("{address}, not started") } else { member.name },
            id: member.id,
            address,
        })
    };
    members.members.into_iter().map(peer).collect()
}

pub(super) fn position(answer: &Answer) -> Option<Snapshot> {
    let status: Status = answer.as_ref().ok()?.get(STATUS)?.json().ok()?;
    Some(Snapshot {
        index: status.header.revision.parse().ok()?,
        term: status.header.raft_term.parse().ok()?,
    })
}

/// Whether the member takes part and knows a leader.
pub(super) fn healthy(said: &Responses) -> Result<(), String> {
    // Unhealthy it says 503, with the same shape.
    let response = said.get(HEALTH).ok_or("etcd was not asked")?;
    if response.status == 0 {
        return Err(format!("its etcd member does not answer: {}", response.start()));
    }
    let health: MemberHealth = response.json()?;
    if health.health == "true" { Ok(()) } else { Err("its etcd member is not healthy".to_owned()) }
}

pub(super) fn cluster_state(expected: &Expected, answers: &Answers) -> ClusterState {
    let healthy =
        answers.values().filter(|answer| answer.as_ref().is_ok_and(|said| healthy(said).is_ok())).count();
    raft::cluster_state(expected, &views(answers, LIST, peers), |_, peers| {
        let voters = peers.iter().filter(|peer| peer.voter).count();
        healthy.saturating_sub(majority(voters))
    })
}

/// The members of hosts of their own.
fn review(expected: &Expected, answers: &Answers) -> Review {
    let Agreement { detail, mut problems, told } = raft::agreement(expected, &views(answers, LIST, peers));
    for host in &told {
        let Ok(said) = &answers[host] else { continue };
        problems.extend(healthy(said).err().map(|reason| Problem::of(host, reason)));
    }
    Review { detail: if problems.is_empty() { detail } else { String::new() }, problems }
}

fn version(answer: &Answer) -> Option<String> {
    let status: Status = answer.as_ref().ok()?.get(STATUS)?.json().ok()?;
    (!status.version.is_empty()).then_some(status.version)
}

/// The members, for a message about a cluster that somebody else has made.
pub(super) fn describe(answer: &Answer) -> Option<String> {
    let peers = peers(answer).ok()?;
    let members: Vec<String> = peers.iter().map(|peer| format!("{} ({})", peer.node, peer.address)).collect();
    Some(format!("etcd, members: {}", members.join(", ")))
}

/// On hosts of its own.
struct Etcd;

impl Product for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn client(&self, endpoint: &Endpoint) -> Option<Client> {
        let variables = vec![
            ("ETCDCTL_API", "3".to_owned()),
            ("ETCDCTL_ENDPOINTS", endpoint.url()),
            ("ETCDCTL_CACERT", ALONE.authority.to_owned()),
            ("ETCDCTL_CERT", ALONE.certificate.to_owned()),
            ("ETCDCTL_KEY", ALONE.key.to_owned()),
        ];
        Some(Client { program: "etcdctl", variables })
    }

    fn version(&self, answer: &Answer) -> Option<String> {
        version(answer)
    }

    /// Its role writes all settings as variables of the environment.
    fn data_in(&self, configuration: &str) -> Option<String> {
        let line = configuration.lines().find_map(|line| line.strip_prefix("ETCD_DATA_DIR="))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    }

    /// Debian's package has a folder for each name of a member, `default` where nobody has given one.
    fn traces(&self) -> Traces {
        Traces { state: &["member"], folders: &["*", "/var/lib/etcd", "/var/lib/etcd/*"] }
    }

    fn state(&self, data: &str) -> Vec<String> {
        vec![format!("{data}/member")]
    }

    fn purge_command(&self) -> Option<Vec<&'static str>> {
        Some(vec![MEMBER, "forget"])
    }
}

impl Part for Members {
    fn name(&self) -> &'static str {
        "etcd-members"
    }

    fn product(&self) -> &'static dyn Product {
        &Etcd
    }

    fn questions(&self, _: &Agent<'_>) -> Questions {
        Questions::Tls(questions(ALONE))
    }

    fn data_probe(&self, endpoint: &Endpoint) -> Result<Call, NulInArgument> {
        let member = format!("{}/member", endpoint.data);
        let probe = Call::new("state_data", [Arg::lossy(""), Arg::new(member.clone())?]);
        Ok(probe.with_prefetch([PrefetchOf::Path.named(member)]))
    }

    fn review(&self, expected: &Expected, answers: &Answers) -> Review {
        review(expected, answers)
    }

    fn cluster_state(&self, expected: &Expected, answers: &Answers) -> ClusterState {
        cluster_state(expected, answers)
    }

    fn describe(&self, answer: &Answer) -> Option<String> {
        describe(answer)
    }

    fn drills(&self) -> Vec<&dyn Drills> {
        vec![&DRILL]
    }

    fn roster(&self) -> &dyn Roster {
        self
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

impl Roster for Members {
    fn source(&self) -> &'static str {
        "raft"
    }

    fn questions(&self, _: &Endpoint) -> Questions {
        Questions::Tls(roster_questions(ALONE))
    }

    fn members(&self, answer: &Answer) -> Result<Vec<gossip::Member>, String> {
        roster(answer.as_ref().map_err(Clone::clone)?)
    }

    /// Without a word for 5 s a connection ends (`ConnReadTimeout` of rafthttp).
    fn lag(&self) -> Duration {
        Duration::from_secs(20)
    }
}

impl Raft for Members {
    fn peers(&self, answer: &Answer) -> Result<Vec<Peer>, String> {
        peers(answer)
    }

    fn places(&self) -> PlacesIn {
        PLACES
    }

    fn label(&self) -> &'static str {
        "etcd"
    }

    fn members_command(&self) -> &'static str {
        "/etc/etcd/bootstrap/member list"
    }

    fn stale_command(&self) -> String {
        STALE_COMMAND.to_owned()
    }

    fn recovery(&self) -> Recovers {
        Recovers::OneGoesOn { script: MEMBER }
    }
}

/// Through the gateway of a member that is not killed.
pub(super) struct Drill {
    pub files: TlsFiles,
    /// What is killed, in the operator's words.
    pub victim: &'static str,
    /// The commands that kill and revive where it is no unit: `SCRIPT kill`, `SCRIPT up`.
    pub script: Option<&'static str>,
}

const DRILL: Drill = Drill { files: ALONE, victim: "its member of etcd", script: None };

impl Drills for Drill {
    fn way(&self, _: &Endpoint) -> Way {
        Way::Tls { address: LOOPBACK.to_owned(), port: PORT, name: "localhost", files: self.files }
    }

    fn leader(&self) -> Request {
        Request::new(Method::Post, STATUS, "{}")
    }

    /// By its id.
    fn read_leader(&self, body: &str) -> Option<String> {
        let status: Status = serde_json::from_str(body).ok()?;
        Some(status.leader).filter(|leader| !leader.is_empty() && leader != "0")
    }

    fn keys(&self) -> Option<&dyn Keys> {
        Some(self)
    }

    fn victim(&self) -> &'static str {
        self.victim
    }

    fn kill(&self, unit: &str) -> Vec<Vec<String>> {
        self.script.map_or_else(|| kill_unit(unit), |script| vec![[script, "kill"].map(str::to_owned).into()])
    }

    fn revive(&self, unit: &str) -> Vec<String> {
        self.script.map_or_else(|| start_unit(unit), |script| [script, "up"].map(str::to_owned).into())
    }
}

/// The gateway has keys and values in base64, and all keys with a prefix as the range up to the next that has it not.
impl Keys for Drill {
    fn put(&self, key: &str, value: &str) -> Request {
        let body = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        Request::new(Method::Post, "/v3/kv/put", body.to_string())
    }

    fn is_acknowledged(&self, _: &str) -> bool {
        true
    }

    fn list(&self, prefix: &str) -> Request {
        let mut range = range(prefix);
        range["keys_only"] = json!(true);
        Request::new(Method::Post, "/v3/kv/range", range.to_string())
    }

    fn read_list(&self, body: &str) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Range {
            #[serde(default)]
            kvs: Vec<Pair>,
        }
        #[derive(Deserialize)]
        struct Pair {
            key: String,
        }
        let range: Range = serde_json::from_str(body).ok()?;
        let name = |pair: Pair| String::from_utf8(STANDARD.decode(pair.key).ok()?).ok();
        range.kvs.into_iter().map(name).collect()
    }

    fn remove(&self, prefix: &str) -> Request {
        Request::new(Method::Post, "/v3/kv/deleterange", range(prefix).to_string())
    }
}

/// All keys that begin with an ASCII text.
fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) })
}

impl Snapshots for Members {
    fn transfer(&self) -> Transfer {
        transfer(ALONE, RESTORE, Some(UNIT))
    }

    fn position(&self, answer: &Answer) -> Option<Snapshot> {
        position(answer)
    }
}

impl Leaving for Members {
    fn after_stop(&self) -> Vec<Task> {
        let reason = "a member that was taken out never comes back with what it kept";
        vec![Task::run("forget etcd", reason, &[MEMBER, "forget"])]
    }

    fn told(&self, told: &DepartureNotice<'_>) -> Vec<Task> {
        let remove = |(id, _): &(String, String)| {
            let id_on_host = format!("remove member {} from etcd", told.host);
            Task::remove(id_on_host, "its quorum is that of the others", &words(&removal(ALONE, id)))
        };
        told.peer.map(remove).into_iter().collect()
    }
}

/// How a snapshot travels, between whoever shows these files and the gateway of a member.
pub(super) fn transfer(files: TlsFiles, script: &'static str, unit: Option<&'static str>) -> Transfer {
    Transfer::Stream { path: SNAPSHOT, port: PORT, files, script, unit }
}

/// What takes the member with this id out, on a host with these files. There may be no client of etcd, as on a host of
/// kubeadm's, but the gateway takes what curl sends.
pub(super) fn removal(files: TlsFiles, id: &str) -> Vec<String> {
    let body = format!("{{\"ID\":\"{id}\"}}");
    let url = format!("https://127.0.0.1:{PORT}/v3/cluster/member/remove");
    let shown = ["--cacert", files.authority, "--cert", files.certificate, "--key", files.key];
    let words = ["curl", "-q", "--silent", "--show-error", "--fail"].iter().chain(&shown).chain(&[
        "--noproxy",
        "*",
        "-d",
    ]);
    words.map(|word| (*word).to_owned()).chain([body, url]).collect()
}

/// The same as texts that are lent.
pub(super) fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {

    use super::super::Response;
    use super::*;
    use crate::model::Verdict;
    use crate::raft::testing::{expected, host};

    fn body(status: u16, value: &Value) -> Response {
        Response { status, body: value.to_string().into_bytes() }
    }

    /// As etcd 3.4 says it, with three members of which the second leads.
    fn said(learns: bool, healthy: bool) -> Responses {
        let member = |n: u8| {
            let mut member = json!({"ID": format!("{n}"), "name": format!("node-{n}"),
                                    "peerURLs": [format!("https://10.0.0.{n}:2380")]});
            if n == 3 && learns {
                member["isLearner"] = json!(true);
            }
            member
        };
        let status = if healthy { 200 } else { 503 };
        Responses::from([
            (LIST, body(200, &json!({"members": [member(1), member(2), member(3)]}))),
            (
                STATUS,
                body(
                    200,
                    &json!({"header": {"revision": "7", "raft_term": "2"}, "version": "3.4.23", "leader": "2"}),
                ),
            ),
            (HEALTH, body(status, &json!({"health": healthy.to_string()}))),
        ])
    }

    #[test]
    fn members_on_hosts_of_their_own() {
        let judge = |learns, healthy| {
            let answers: Answers = (1..=3).map(|n| (host(n), Ok(said(learns, healthy || n != 2)))).collect();
            (MEMBERS.judge(&expected(), &answers), MEMBERS.cluster_state(&expected(), &answers))
        };
        let (verdict, cluster_state) = judge(false, true);
        assert_eq!(verdict, Verdict::Met { detail: "3 of 3 voters, leader node-2".to_owned() });
        assert_eq!(
            (cluster_state.members.len(), cluster_state.leader, cluster_state.failure_tolerance),
            (3, Some(host(2)), 1)
        );
        let (verdict, cluster_state) = judge(false, false);
        let reason = format!("{}: its etcd member is not healthy", host(2));
        assert_eq!(verdict, Verdict::NotYet { reason });
        assert_eq!(cluster_state.failure_tolerance, 0);
        assert_eq!(judge(true, true).0, Verdict::NotYet { reason: "2 of 3 voters".to_owned() });
        let answer = Ok(said(false, true));
        assert_eq!(position(&answer), Some(Snapshot { index: 7, term: 2 }));
        assert_eq!(version(&answer).as_deref(), Some("3.4.23"));
    }

    #[test]
    fn who_is_connected_is_alive_whether_ssh_reaches_it_or_not() {
        // As etcd 3.6 says it of 9372538179322589801 and others.
        let list = json!({"members": [
            {"ID": "9372538179322589801", "name": "node-1", "peerURLs": ["https://10.0.0.1:2380"]},
            {"ID": "10501334649042878790", "name": "node-2", "peerURLs": ["https://10.0.0.2:2380"]},
            {"ID": "18249187646912138824", "name": "node-3", "peerURLs": ["https://10.0.0.3:2380"]},
            {"ID": "1", "peerURLs": ["https://10.0.0.4:2380"]}
        ]});
        let metrics = "# TYPE etcd_network_active_peers gauge\n\
            etcd_network_active_peers{Local=\"8211f1d0f64f3269\",Remote=\"91bc3c398fb3c146\"} 1\n\
            etcd_network_active_peers{Local=\"8211f1d0f64f3269\",Remote=\"fd422379fda50e48\"} 0\n\
            etcd_network_client_grpc_received_bytes_total 7\n";
        let metrics = Response { status: 200, body: metrics.as_bytes().to_vec() };
        let answer = Ok(Responses::from([(LIST, body(200, &list)), (METRICS, metrics)]));
        let told = Roster::members(&Members, &answer).unwrap();
        let told: Vec<_> =
            told.iter().map(|member| (member.address.unwrap().to_string(), member.status.as_str())).collect();
        let (alive, gone) = ("alive", "not connected");
        let expected = [("10.0.0.1", alive), ("10.0.0.2", alive), ("10.0.0.3", gone), ("10.0.0.4", gone)];
        assert_eq!(told, expected.map(|(address, status)| (address.to_owned(), status)));
        assert!(Roster::members(&Members, &Ok(Responses::from([(LIST, body(200, &list))]))).is_err());
    }
}
