//! The operator API that Consul and Nomad share: what their servers say of raft.
//!
//! Shapes of the answers: `/v1/operator/raft/configuration` and `/v1/operator/autopilot/health` of either HTTP API;
//! the same in Consul from 1.8 and in Nomad from 1.1. A server is known by its address, for the products give it
//! different names.

use std::net::SocketAddr;

use semver::Version;
use serde::Deserialize;

use super::{Answer, Answers, Drills, Keys, Method, PlacesIn, Request, Responses, views};
use crate::model::{ClusterState, Expected, HostName, Problem, Review};
use crate::raft::{self, Agreement, Peer, RaftState};

/// `stale`: each server answers from its own state instead of passing the question to the leader.
pub(super) const CONFIGURATION: &str = "/v1/operator/raft/configuration?stale";
/// Of the peers in it.
pub(super) const PLACES: PlacesIn = PlacesIn { path: CONFIGURATION, key: "Address" };
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
    /// Null until autopilot of this leader has looked for the first time.
    servers: Option<Vec<AutopilotServer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AutopilotServer {
    address: String,
    serf_status: String,
    healthy: bool,
}

/// Asks any server who leads; it tells everybody.
pub(super) fn leader() -> Request {
    Request::new(Method::Get, "/v1/status/leader", "")
}

pub(super) fn read_leader(body: &str) -> Option<String> {
    let address: String = serde_json::from_str(body).ok()?;
    Some(address).filter(|address| !address.is_empty())
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

/// How a product's agent tells of its own raft; `None`: it is no server.
pub(super) type OwnRaft = fn(&Responses) -> Result<Option<Stats>, String>;

/// Do all servers agree on the raft configuration, does each follow, and is every host that was asked content with it? `special` is
/// what a product asks of one server's answer besides.
pub(super) fn review(
    expected: &Expected,
    answers: &Answers,
    own_raft: OwnRaft,
    special: impl Fn(&HostName, &Responses) -> Result<(), String>,
) -> Review {
    let special = |host: &HostName, answer: &Responses| {
        follows(own_raft(answer)?.as_ref())?;
        special(host, answer)
    };
    let Agreement { detail, mut problems, told } =
        raft::agreement(expected, &views(answers, CONFIGURATION, peers));
    // Every server relays autopilot's question to the leader; asking all of them shows that each can.
    for host in &told {
        let Ok(answer) = &answers[host] else { continue };
        problems.extend(match autopilot_is_content(expected, answer) {
            Ok(()) => special(host, answer).err().map(|reason| Problem::of(host, reason)),
            Err((about, reason)) => {
                let problem = Problem::of(host, reason);
                Some(Problem { about: about.cloned().or(problem.about), ..problem })
            }
        });
    }
    // With a problem it is the problem that counts.
    Review { detail: if problems.is_empty() { detail } else { String::new() }, problems }
}

impl From<&Stats> for RaftState {
    fn from(stats: &Stats) -> Self {
        Self { state: stats.state.to_lowercase(), last_contact: stats.last_contact.clone() }
    }
}

/// The server itself takes part in raft and keeps up. Autopilot looks every two seconds only, so it
/// still praises a server that was restarted a moment ago.
fn follows(stats: Option<&Stats>) -> Result<(), String> {
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
    answer: &Responses,
) -> Result<(), (Option<&'e HostName>, String)> {
    let own = |reason: &str| (None, reason.to_owned());
    let response = answer.get(AUTOPILOT).ok_or_else(|| own("autopilot was not asked"))?;
    let autopilot: Autopilot = response.json().map_err(|error| (None, format!("autopilot: {error}")))?;
    // It looks every two seconds, a new leader's too. Where every server is asked they show by themselves what it would say: all
    // name the same voters and the same leader, and each follows and has the log.
    let is_all_asked =
        expected.missing == 0 && expected.members.keys().all(|host| expected.asked.contains(host));
    let servers = match autopilot.servers {
        None if is_all_asked => return Ok(()),
        servers => servers.ok_or_else(|| own("autopilot has not looked yet"))?,
    };
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
    let wanted = raft::tolerance(expected.members.len()).saturating_sub(expected.missing);
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
    let configuration: Configuration = response.json().map_err(|error| match response.is_refused() {
        true => error,
        false => format!("no raft configuration: {error}"),
    })?;
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

/// Of servers that this API tells the leader of.
pub(super) struct Drill {
    pub keys: Option<&'static dyn Keys>,
}

impl Drills for Drill {
    fn leader(&self) -> Request {
        leader()
    }

    /// By its address in raft, `"10.0.0.1:8300"`; empty where nobody leads.
    fn read_leader(&self, body: &str) -> Option<String> {
        read_leader(body)
    }

    fn keys(&self) -> Option<&dyn Keys> {
        self.keys
    }
}

/// What stands, and how many servers may fail as autopilot counts them, or as they tell by themselves.
pub(super) fn cluster_state(expected: &Expected, answers: &Answers, own_raft: OwnRaft) -> ClusterState {
    raft::cluster_state(expected, &views(answers, CONFIGURATION, peers), |host, peers| {
        let answer = answers[host].as_ref().ok();
        match answer.and_then(|answer| answer.get(AUTOPILOT)?.json::<Autopilot>().ok()) {
            Some(Autopilot { servers: Some(_), failure_tolerance, .. }) => failure_tolerance,
            Some(_) => own_tolerance(expected, answers, own_raft, peers),
            None => 0,
        }
    })
}

/// How many voters follow by their own word, beyond a majority: for autopilot that has not looked yet.
fn own_tolerance(expected: &Expected, answers: &Answers, own_raft: OwnRaft, peers: &[Peer]) -> usize {
    let follows = |peer: &Peer| {
        let (host, _) = expected.members.iter().find(|(_, ip)| **ip == peer.address.ip())?;
        let own = own_raft(answers.get(host)?.as_ref().ok()?).ok()?;
        follows(own.as_ref()).ok()
    };
    let voters = peers.iter().filter(|peer| peer.voter);
    let following = voters.clone().filter(|peer| follows(peer).is_some()).count();
    following.saturating_sub(raft::majority(voters.count()))
}

/// The peers in one line, for a message.
pub(super) fn list(answer: &Answer) -> String {
    let peers = peers(answer).unwrap_or_default();
    let list: Vec<String> = peers.iter().map(|peer| format!("{} ({})", peer.node, peer.address)).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

/// Whether a version, with or without its `v`, is that minor release or a later one.
pub(super) fn is_at_least(version: &str, major: u64, minor: u64) -> bool {
    Version::parse(version.trim_start_matches('v'))
        .is_ok_and(|version| version >= Version::new(major, minor, 0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::super::{Response, consul, nomad};
    use super::*;
    use crate::model::Verdict;
    use crate::raft::testing::{expected, host};

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
            (CONFIGURATION, body(json!({ "Servers": [peer(1), peer(2)] }))),
        ]))
    }

    fn said(answers: [(&'static str, u16, Value); 4]) -> Answer {
        let response = |(path, status, value): (&'static str, u16, Value)| {
            let body = value.as_str().map_or_else(|| value.to_string(), str::to_owned).into_bytes();
            (path, Response { status, body })
        };
        Ok(answers.into_iter().map(response).collect())
    }

    const CATALOG: &str = "/v1/catalog/nodes?consistent";

    /// As Consul 1.14 says it to whoever comes without a token, with `default_policy` deny.
    fn denies() -> Answer {
        let denied = || json!("Permission denied: anonymous token lacks permission 'operator:read'");
        let own = ("/v1/agent/self", 403, denied());
        said([own, (CONFIGURATION, 403, denied()), (AUTOPILOT, 403, denied()), (CATALOG, 200, json!([]))])
    }

    fn tells(host: u8) -> Answer {
        let peer = |n: u8| {
            json!({"ID": format!("id-{n}"), "Node": format!("n{n}"), "Address": format!("10.0.0.{n}:8300"),
                   "Leader": n == 1, "Voter": true, "Healthy": true, "SerfStatus": "alive"})
        };
        let peers: Vec<Value> = (1..=3).map(peer).collect();
        let config =
            json!({"Datacenter": "dc1", "NodeName": format!("n{host}"), "NodeID": "1", "Version": "1.14.11"});
        let raft =
            json!({"state": "Follower", "applied_index": "7", "commit_index": "7", "last_contact": "1ms"});
        let nodes: Vec<Value> = (1..=3).map(|n| json!({ "Node": format!("n{n}") })).collect();
        said([
            ("/v1/agent/self", 200, json!({"Config": config, "Stats": {"raft": raft}})),
            (CONFIGURATION, 200, json!({ "Servers": peers })),
            (AUTOPILOT, 200, json!({"Healthy": true, "FailureTolerance": 1, "Servers": peers})),
            (CATALOG, 200, json!(nodes)),
        ])
    }

    #[test]
    fn servers_that_refuse_to_tell_are_neither_silent_nor_gone() {
        let silent = || Err("its agent does not answer".to_owned());
        // What each says; the verdict; who are members, who refuses where nobody knows that, and who is ill.
        type Case = ([Answer; 3], &'static str, usize, &'static [u8], &'static [u8]);
        let cases: [Case; 4] = [
            ([tells(1), tells(2), tells(3)], "3 of 3 voters, leader n1", 3, &[], &[]),
            (
                [denies(), denies(), denies()],
                "n1: its API refuses to tell (status 403: ACLs?)",
                0,
                &[1, 2, 3],
                &[],
            ),
            ([tells(1), denies(), tells(3)], "n2: its API refuses to tell (status 403: ACLs?)", 3, &[], &[2]),
            ([silent(), denies(), silent()], "n1: its agent does not answer", 0, &[2], &[]),
        ];
        for (answers, says, members, untold, ill) in cases {
            let answers: Answers = (1..=3).map(host).zip(answers).collect();
            let review = consul::SERVERS.review(&expected(), &answers);
            let (reason, is_refused) = match review.clone().verdict() {
                Verdict::Met { detail } => (detail, false),
                Verdict::NotYet { reason } => (reason, false),
                Verdict::Refused { reason } => (reason, true),
            };
            assert_eq!((&*reason, is_refused), (says, says.contains("403")));
            let all: Vec<String> = review.problems.iter().map(ToString::to_string).collect();
            assert!(
                !all.iter().any(|problem| problem.contains("no server") || problem.contains("column")),
                "{all:?}"
            );
            let state = consul::SERVERS.cluster_state(&expected(), &answers).with_ill(&review);
            let hosts = |numbers: &[u8]| numbers.iter().map(|n| host(*n)).collect();
            assert_eq!((state.members.len(), state.untold, state.ill), (members, hosts(untold), hosts(ill)));
        }
        let client: Answers = BTreeMap::from([(host(1), denies())]);
        let Verdict::Refused { reason } = consul::CLIENTS.judge(&expected(), &client) else { panic!("met") };
        assert!(reason.ends_with("n1: its API refuses to tell (status 403: ACLs?)"), "{reason}");
    }

    /// Three servers under a leader whose autopilot has not looked yet; `change` makes something else of what the first says.
    fn young(change: impl Fn(&mut BTreeMap<&'static str, Response>)) -> Answers {
        let looked_not = || json!({"Healthy": false, "FailureTolerance": 0, "Servers": null});
        let answer = |n: u8| {
            let mut answer = tells(n).unwrap();
            let body = looked_not().to_string().into_bytes();
            answer.insert(AUTOPILOT, Response { status: 429, body });
            if n == 1 {
                change(&mut answer);
            }
            Ok(answer)
        };
        (1..=3).map(|n| (host(n), answer(n))).collect()
    }

    #[test]
    fn what_autopilot_would_see_the_servers_show_before_it_looks() {
        let well = young(|_| ());
        let verdict = consul::SERVERS.judge(&expected(), &well);
        assert_eq!(verdict, Verdict::Met { detail: "3 of 3 voters, leader n1".to_owned() });
        assert_eq!(consul::SERVERS.cluster_state(&expected(), &well).failure_tolerance, 1);

        let raft = |raft: Value| {
            young(move |answer| {
                let mut own: Value = serde_json::from_slice(&answer["/v1/agent/self"].body).unwrap();
                own["Stats"]["raft"] = raft.clone();
                let body = own.to_string().into_bytes();
                answer.insert("/v1/agent/self", Response { status: 200, body });
            })
        };
        let of = |state: &str, applied: &str, contact: &str| json!({"state": state, "applied_index": applied, "commit_index": "900", "last_contact": contact});
        for (own, reason) in [
            (of("Candidate", "900", "never"), "n1: it is a candidate"),
            (of("Follower", "900", "never"), "n1: it has not heard from the leader yet"),
            (of("Follower", "7", "1ms"), "n1: 893 log entries behind what it knows to be committed"),
        ] {
            let answers = raft(own);
            let verdict = consul::SERVERS.judge(&expected(), &answers);
            assert_eq!(verdict, Verdict::NotYet { reason: reason.to_owned() });
            assert_eq!(consul::SERVERS.cluster_state(&expected(), &answers).failure_tolerance, 0);
        }

        // Of who is not asked nobody but autopilot knows.
        for expected in [
            Expected { asked: [host(1), host(2)].into(), ..expected() },
            Expected { asked: [host(1), host(2)].into(), missing: 1, ..expected() },
        ] {
            let Verdict::NotYet { reason } = consul::SERVERS.judge(&expected, &well) else { panic!("met") };
            assert_eq!(reason, "n1: autopilot has not looked yet");
        }
    }

    #[test]
    fn a_leader_hands_over_where_its_version_can() {
        let consul = json!({ "Datacenter": "dc1", "NodeName": "n1", "NodeID": "1", "Server": true });
        let nomad = json!({ "Region": "global", "Datacenter": "dc1", "NodeName": "n1" });
        let consul = |version: &str| consul::SERVERS.raft().unwrap().step_down(&leader(&consul, version));
        assert_eq!(consul("1.14.11"), None);
        assert_eq!(consul("1.15.0+ent").as_deref(), Some("/v1/operator/raft/transfer-leader"));
        let nomad = |version: &str| nomad::SERVERS.raft().unwrap().step_down(&leader(&nomad, version));
        assert_eq!(nomad("v1.6.9"), None);
        assert_eq!(
            nomad("1.7.0").as_deref(),
            Some("/v1/operator/raft/transfer-leadership?address=10.0.0.2:4647")
        );
    }
}
