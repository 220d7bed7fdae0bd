//! What the living members and the hosts themselves say against a change, beside whose the hosts are: found before anything
//! is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::members::{Members, data};
use crate::model::{Check, ClusterState, Expected, Finding, HostName, StepId};
use crate::plan::HostSeen;
use crate::products::{Answers, Gate, Member, typed};
use crate::raft::{Peer, strangers};
use crate::roles::{ClusterAddresses, Wanted, WantedHost, WantedRole};

/// All of it, of the members behind one gate.
pub(super) fn contradictions(
    members: &Members<'_>,
    expected: &Expected,
    state: &ClusterState,
    answers: &Answers,
    hosts: &BTreeMap<HostName, HostSeen>,
) -> Vec<Finding> {
    let mut findings = former_members(members, state, answers);
    findings.extend(unnamed(members, expected, answers, hosts));
    findings.extend(moved_data(members, hosts));
    findings.extend(other_keys(members, state, hosts));
    findings.extend(left_keys(members, state, hosts));
    findings
}

/// Members of the living cluster that the inventory does not name: whatever is changed, they have their vote.
fn unnamed(
    members: &Members<'_>,
    expected: &Expected,
    answers: &Answers,
    hosts: &BTreeMap<HostName, HostSeen>,
) -> Vec<Finding> {
    let gate = members.gate;
    if expected.members.len() < members.names().len() {
        // Of some that it names the address is not known: it could be theirs.
        return Vec::new();
    }
    let strangers = strangers(expected, &gate.views(answers));
    let finding = |peer: Peer| {
        let name = peer.node.split('.').next().unwrap_or_default();
        let is_member = format!("{name} ({}) is a member of {}", peer.address.ip(), gate.name());
        let has_no_role = |host: &&HostName| host.as_str() == name && !members.names().contains(*host);
        if let Some(host) = hosts.keys().find(has_no_role) {
            let remedy = format!(
                "give it its role again, to keep it; or give it the role and take it out with `bootstrap remove-node INVENTORY {name}`, \
                 then add it with its other roles"
            );
            let reason = format!("{is_member}, and its role for that is not in the inventory");
            return Finding::error(Check::Agent, vec![host.clone()], reason, remedy);
        }
        let reason = format!("{is_member} and not in the inventory");
        let remedy = format!(
            "write {name} into the inventory again, to keep it or to take it out with `bootstrap remove-node`; where the host is \
             gone for good, `bootstrap forget INVENTORY {name}`"
        );
        Finding::error(Check::Agent, Vec::new(), reason, remedy)
    };
    strangers.into_iter().map(finding).collect()
}

/// How many nodes are named in one message.
const NAMED_AT_MOST: usize = 5;

/// Nodes of a living cluster that nobody votes for and that the inventory does not name. They may be another inventory's, so they
/// stop nothing, unless a file is about to change without which others cannot reach them: `list` says which, by their addresses.
pub(super) fn unnamed_nodes(
    wanted: &Wanted,
    addresses: &ClusterAddresses,
    (gate, expected, answers): (Gate, &Expected, &Answers),
    list: impl Fn(&[IpAddr]) -> Option<StepId>,
) -> Option<Finding> {
    let nodes = answers.values().map(|answer| gate.nodes(answer)).find(|nodes| !nodes.is_empty())?;
    let names: BTreeSet<&str> = wanted.hosts.iter().map(|host| host.host.name.as_str()).collect();
    let known: BTreeSet<IpAddr> = addresses.values().copied().collect();
    let is_named = |node: &Member| {
        let name = node.name.split('.').next().unwrap_or_default();
        names.contains(name) || node.address.is_some_and(|address| known.contains(&address))
    };
    // Of a voter more is told, and more depends on it.
    let voters = strangers(expected, &gate.views(answers));
    let is_voter = |node: &Member| voters.iter().any(|peer| Some(peer.address.ip()) == node.address);
    let nodes: Vec<Member> = nodes.into_iter().filter(|node| !is_named(node) && !is_voter(node)).collect();
    let first = nodes.first()?;
    let told = nodes.iter().take(NAMED_AT_MOST).map(|node| match node.address {
        Some(address) => format!("{} ({address})", node.name),
        None => node.name.clone(),
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let more = match nodes.len().saturating_sub(NAMED_AT_MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let product = gate.product().name();
    let reason = format!("{product} has nodes that the inventory does not name: {told}{more}");
    let forget = match gate.keeps_nodes() {
        true => format!("; where a host is gone for good, `bootstrap forget INVENTORY {}`", first.name),
        false => String::new(),
    };
    let ways = format!(
        "to keep them or to take them out with `bootstrap remove-node INVENTORY {}`{forget}",
        first.name
    );
    let places: Vec<IpAddr> = nodes.iter().filter_map(|node| node.address).collect();
    Some(match list(&places) {
        Some(step) => {
            let reason =
                format!("{reason}; they are in {step} of the others, and without that they would be cut off");
            let remedy = format!("write them into the inventory, {ways}");
            Finding::error(Check::Agent, Vec::new(), reason, remedy)
        }
        None => {
            let remedy = format!(
                "where they are another inventory's, nothing is to be done; else write them into this one, {ways}"
            );
            Finding::warning(Check::Agent, Vec::new(), reason, remedy)
        }
    })
}

/// Hosts with the data of a member that are none of the living cluster: with it they would bring back a past that the cluster
/// has left. Whoever is just joining runs, and knows no peers yet or the present leader.
fn former_members(members: &Members<'_>, state: &ClusterState, answers: &Answers) -> Vec<Finding> {
    let gate = members.gate;
    let Some(raft) = gate.raft().filter(|raft| raft.is_told_by_data()) else {
        return Vec::new();
    };
    let Some(leader) = state.leader.as_ref() else { return Vec::new() };
    let peers = |host: &HostName| answers.get(host).map(|answer| raft.peers(answer));
    let leads: Option<SocketAddr> = match peers(leader) {
        Some(Ok(peers)) => peers.iter().find(|peer| peer.leader).map(|peer| peer.address),
        _ => None,
    };
    let joins = |host: &HostName| match peers(host) {
        Some(Ok(peers)) => {
            peers.is_empty() || peers.iter().any(|peer| peer.leader && Some(peer.address) == leads)
        }
        _ => false,
    };
    let finding = |host: &HostName| {
        let (wanted, _) = members.hosts.iter().find(|(wanted, _)| wanted.host.name == *host)?;
        let data = &wanted.endpoint(gate.name())?.data;
        let reason = format!(
            "it has the data of a member in {data}, and the living cluster of {} does not count it among its members",
            gate.name()
        );
        let moves: Vec<String> =
            gate.product().membership(data).iter().map(|path| format!("mv {path} {path}.left")).collect();
        let moves = moves.join("; ");
        let remedy = format!(
            "if nothing of it is needed, stop its agent and set the data aside on that host: `{moves}`; then run again"
        );
        Some(Finding::error(Check::Agent, vec![host.clone()], reason, remedy))
    };
    state.kept.difference(&state.members).filter(|host| !joins(host)).filter_map(finding).collect()
}

/// Members whose data is to be in another folder than it is: there they would begin anew, with nothing.
fn moved_data(members: &Members<'_>, hosts: &BTreeMap<HostName, HostSeen>) -> Vec<Finding> {
    let product = members.gate.product();
    let finding = |(wanted, role): &(&WantedHost, &WantedRole)| {
        let (name, now) = (&wanted.host.name, &role.endpoint.as_ref()?.data);
        let seen = hosts.get(name).filter(|seen| seen.marker.is_some())?;
        let configured = role.resources.iter().find_map(|resource| {
            let body = seen.observation.of(&resource.id().0).text("body")?;
            Some((resource.path()?, product.data_in(body)?))
        });
        let (file, before) = configured.filter(|(_, before)| before != now)?;
        let reason = format!("its data is in {before}, by {file}, and the inventory wants it in {now}");
        let remedy = format!(
            "set the folder back; or move the data while all is stopped: `bootstrap down`, on each host `mv {before} {now}` and the \
             new folder in {file}, then `bootstrap up`"
        );
        Some(Finding::error(Check::Agent, vec![name.clone()], reason, remedy))
    };
    members.hosts.iter().filter(|_| members.gate.has_claims()).filter_map(finding).collect()
}

/// Members of a living cluster that encrypt gossip with other keys than the inventory's, or not at all: the first that restarted
/// with it would be cut off, or, where the agent keeps its own, nobody could join any more.
fn other_keys(
    members: &Members<'_>,
    state: &ClusterState,
    hosts: &BTreeMap<HostName, HostSeen>,
) -> Option<Finding> {
    let others = members.hosts.iter().filter_map(|(host, role)| {
        let name = Some(&host.host.name).filter(|name| state.members.contains(*name))?;
        let (wanted, seen) = (gossip_key(role)?, hosts.get(name)?);
        let said = seen.observation.of(&data(members.gate).0);
        (!said.all("gossip").any(|key| key == wanted)).then(|| (name.clone(), said.has("gossip")))
    });
    let (names, encrypts): (Vec<HostName>, Vec<bool>) = others.unzip();
    let keyring = typed(members.gate.product().keyring_command()?, members.endpoint());
    let (reason, remedy) = match encrypts.first()? {
        true => (
            "gossip is encrypted with another key than the inventory's",
            format!(
                "set the key back; or first bring the new one into the keyring of the living cluster, by `{keyring}`: -install, \
                 then -use; and run again"
            ),
        ),
        false => (
            "gossip is not encrypted, and the inventory wants it to be",
            "set `gossip_encryption: false`; or take all agents down and up again with it: `bootstrap down`, then \
             `bootstrap up`"
                .to_owned(),
        ),
    };
    let reason = format!("{} are alive, and their {reason}", members.gate.name());
    Some(Finding::error(Check::Agent, names, reason, remedy))
}

/// The digest of the key with which a role has its agents encrypt gossip; `None` where they do not.
fn gossip_key(role: &WantedRole) -> Option<&str> {
    role.endpoint.as_ref()?.settings.get("gossip")?.as_str().filter(|digest| !digest.is_empty())
}

/// Hosts that are to join and whose agents keep the keys of a cluster that they were in before: an agent has these in mind, and not
/// what its configuration says, so nobody would understand it.
fn left_keys(
    members: &Members<'_>,
    state: &ClusterState,
    hosts: &BTreeMap<HostName, HostSeen>,
) -> Vec<Finding> {
    let finding = |(host, role): &(&WantedHost, &WantedRole)| {
        let name = Some(&host.host.name).filter(|name| !state.members.contains(*name))?;
        let (wanted, seen) = (gossip_key(role)?, hosts.get(name)?);
        let said = seen.observation.of(&data(members.gate).0);
        let is_other = said.has("gossip") && !said.all("gossip").any(|key| key == wanted);
        let keyrings = members.gate.product().keyrings(&role.endpoint.as_ref()?.data);
        let reason = format!(
            "its agent keeps keys of gossip that are not the inventory's, in {}: with them it joins nobody",
            keyrings.first()?
        );
        let remedy = format!(
            "if it was a member of a cluster that is no more, `rm -f {}` on it; then run again",
            keyrings.join(" ")
        );
        is_other.then(|| Finding::error(Check::Agent, vec![name.clone()], reason, remedy))
    };
    members.hosts.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::products::{Answer, Response, consul, kubernetes, nomad};
    use crate::roles::testing::wanted;

    const INVENTORY: &str = r#"
cluster: dc1
hosts:
  s-[1-3]: { address: "10.0.0.[1-3]" }
groups:
  servers: { hosts: ["s-*"], roles: [consul-server] }
"#;

    /// What is told of the nodes in this answer of s-1.
    fn told(gate: Gate, path: &'static str, body: &serde_json::Value) -> Vec<String> {
        told_beside(None, gate, path, body)
    }

    /// The same while this list of hosts is to change.
    fn told_beside(
        list: Option<&str>,
        gate: Gate,
        path: &'static str,
        body: &serde_json::Value,
    ) -> Vec<String> {
        let wanted = wanted(INVENTORY);
        let addresses: ClusterAddresses = (1..=3)
            .map(|n| (HostName::parse(format!("s-{n}")).unwrap(), IpAddr::from([10, 0, 0, n])))
            .collect();
        let response = Response { status: 200, body: body.to_string().into_bytes() };
        let answer: Answer = Ok([(path, response)].into());
        let answers = [(HostName::parse("s-1").unwrap(), answer)].into();
        let finding =
            unnamed_nodes(&wanted, &addresses, (gate, &Expected::default(), &answers), |addresses| {
                list.filter(|_| !addresses.is_empty()).map(|path| StepId(path.to_owned()))
            });
        finding.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn nodes_that_the_inventory_does_not_name_are_told_and_stop_nothing() {
        const CATALOG: &str = "/v1/catalog/nodes?consistent";
        let node = |name: &str, last: u8| json!({"Node": name, "Address": format!("10.0.0.{last}")});
        // By its name, or by its address under another name.
        let named = json!([node("s-1", 1), node("S-TWO", 2), node("s-3", 33)]);
        assert_eq!(told(consul::SERVERS, CATALOG, &named), Vec::<String>::new());
        let others = json!([node("s-1", 1), node("c-7", 7), node("c-8", 8)]);
        assert_eq!(
            told(consul::SERVERS, CATALOG, &others),
            [
                "consul has nodes that the inventory does not name: c-7 (10.0.0.7), c-8 (10.0.0.8); where they are another \
                 inventory's, nothing is to be done; else write them into this one, to keep them or to take them out with \
                 `bootstrap remove-node INVENTORY c-7`; where a host is gone for good, `bootstrap forget INVENTORY c-7`"
            ]
        );
        let many = (11..=18).map(|last| node(&format!("c-{last}"), last)).collect();
        let many = told(consul::SERVERS, CATALOG, &many);
        assert!(many[0].contains("c-15 (10.0.0.15) and 3 more;"), "{many:?}");

        // Nomad forgets by itself who is down.
        let node = |name: &str, status: &str| {
            json!({"ID": name, "Name": name, "Address": "10.0.0.9", "Status": status,
                   "SchedulingEligibility": "eligible", "Drain": false})
        };
        let nomad = told(nomad::SERVERS, "/v1/nodes", &json!([node("c-8", "down"), node("c-9", "ready")]));
        assert!(
            nomad[0].starts_with("nomad has nodes that the inventory does not name: c-9 (10.0.0.9); "),
            "{nomad:?}"
        );
        assert!(!nomad[0].contains("forget"), "{nomad:?}");

        let table = json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Status"}, {"name": "Internal-IP"}],
            "rows": [{"cells": ["s-1", "Ready", "10.0.0.1"]}, {"cells": ["w-9", "NotReady", "10.0.0.9"]}],
        });
        let kubernetes = told(kubernetes::API_SERVERS, "/api/v1/nodes?includeObject=None", &table);
        assert!(kubernetes[0].contains("name: w-9 (10.0.0.9); "), "{kubernetes:?}");
        let list = Some("file /etc/routes");
        let cut = told_beside(list, kubernetes::API_SERVERS, "/api/v1/nodes?includeObject=None", &table);
        assert!(
            cut[0].contains(
                "they are in file /etc/routes of the others, and without that they would be cut off; write them into the inventory, "
            ),
            "{cut:?}"
        );
    }
}
