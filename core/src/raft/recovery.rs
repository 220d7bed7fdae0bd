//! A way out when quorum is lost for good: the survivors are told that they are all there is.
//!
//! Consul and Nomad read `raft/peers.json` in the data directory at their start and take it for their raft
//! configuration (the vendor's "outage recovery"): a list of id, address and `non_voter` with raft protocol 3, of
//! addresses alone with protocol 2, which Nomad below 1.3 speaks; there a peer's id is its address.

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

use super::quorum::{Peer, majority};
use super::view::refused;
use super::{View, Views};
use crate::model::{Check, Expected, Finding, HostName};

/// What recovery comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Servers that answer: from now on they are the cluster.
    pub survivors: Vec<HostName>,
    /// Servers that are given up. With their old data they must not come back.
    pub lost: Vec<HostName>,
    /// The text of `raft/peers.json`.
    pub peers: String,
    /// The first survivor leads already: the others only have to join it.
    pub is_led: bool,
}

/// Whether too few servers answer for any of them to lead: what to say of it.
pub fn lost_quorum(expected: &Expected, views: &Views) -> Option<String> {
    let servers = expected.members.len();
    let answering = views.values().filter(|view| !matches!(view, View::Silent(_))).count();
    let needed = majority(servers);
    let leads = views.values().filter_map(View::peers).flatten().any(|peer| peer.leader);
    let is_lost = !leads && answering > 0 && answering < needed;
    is_lost.then(|| format!("no quorum: {answering} of {servers} servers answer, {needed} are needed"))
}

/// What is left of a recovery that was cut short after its first survivor had gone on alone: hosts that answer, follow nobody, and
/// are none of its peers though they `kept` what a member has, or are peers without a vote. One that has its vote and is merely
/// stopped is none of them.
pub fn unfinished(expected: &Expected, views: &Views, kept: &BTreeSet<HostName>) -> Option<Recovery> {
    let leads = |peers: &[Peer]| peers.iter().any(|peer| peer.leader);
    let (first, peers) =
        views.iter().find_map(|(host, view)| Some((host, view.peers().filter(|peers| leads(peers))?)))?;
    let joins = |host: &HostName| {
        let follows = views.get(host).and_then(View::peers).is_some_and(leads);
        let address = expected.members.get(host);
        let peer = peers.iter().find(|peer| Some(&peer.address.ip()) == address);
        !follows && peer.map_or(kept.contains(host), |peer| !peer.voter)
    };
    let joining: Vec<HostName> = expected.asked.iter().filter(|host| joins(host)).cloned().collect();
    (!joining.is_empty()).then(|| Recovery {
        survivors: std::iter::once(first.clone()).chain(joining).collect(),
        lost: Vec::new(),
        peers: String::new(),
        is_led: true,
    })
}

/// What can be saved of a cluster of servers of `product`.
///
/// # Errors
/// Why there is nothing to recover, or nothing to recover from.
pub fn recovery(product: &str, expected: &Expected, views: &Views) -> Result<Recovery, Finding> {
    let refuse = |check: Check, hosts: Vec<HostName>, reason: String, remedy: &str| {
        Err(Finding::error(check, hosts, reason, remedy.to_owned()))
    };
    // One that does not tell is not lost.
    if let Some(reason) = refused(views) {
        let reason = format!("{reason}; {product} may have a leader for all that is told");
        return refuse(
            Check::Quorum,
            Vec::new(),
            reason,
            "let whoever asks without a token read, and run again",
        );
    }
    let told = views.iter().filter_map(|(host, view)| Some((host, View::peers(view)?)));
    let views: BTreeMap<&HostName, &[Peer]> = told.filter(|(_, peers)| !peers.is_empty()).collect();
    if let Some((host, leader)) =
        views.iter().find_map(|(host, peers)| Some((host, peers.iter().find(|peer| peer.leader)?)))
    {
        let reason = format!("{product} has a leader, {}, says {host}: quorum stands", leader.node);
        let remedy = "there is nothing to recover: `bootstrap replace-node` replaces a dead server";
        return refuse(Check::Agent, vec![(*host).clone()], reason, remedy);
    }
    let Some(known) = views.values().max_by_key(|peers| peers.len()) else {
        let reason = format!("no {product} server answers that has been in a cluster");
        let remedy =
            "bring one back that has; where there was none yet, `bootstrap up` makes the first cluster";
        return refuse(Check::Quorum, expected.asked.iter().cloned().collect(), reason, remedy);
    };
    let address = |host: &HostName| expected.members.get(host).copied();
    let survivors: Vec<(&HostName, &Peer)> = views
        .keys()
        .filter_map(|host| Some((*host, known.iter().find(|peer| Some(peer.address.ip()) == address(host))?)))
        .collect();
    let voters = known.iter().filter(|peer| peer.voter).count();
    if survivors.len() >= majority(voters) {
        let reason = format!("{} of {voters} {product} servers answer, which is a quorum", survivors.len());
        let remedy = "they elect a leader by themselves as soon as they reach each other: `bootstrap check --connect` tries the ways \
                      between them";
        let names = survivors.into_iter().map(|(host, _)| host.clone()).collect();
        return refuse(Check::Quorum, names, reason, remedy);
    }
    let is_named = |peer: &&Peer| expected.members.values().any(|ip| *ip == peer.address.ip());
    if let Some(stranger) = known.iter().find(|peer| peer.voter && !is_named(peer)) {
        // Whoever is not asked may live, and lead.
        let name = stranger.node.split('.').next().unwrap_or_default();
        let address = stranger.address.ip();
        let reason = format!(
            "{name} ({address}) is a voter of {product} and not in the inventory: nobody asks whether it lives"
        );
        let remedy = "write it in again, also where it is lost for good, and run again";
        return refuse(Check::Quorum, Vec::new(), reason, remedy);
    }
    let lost = expected.members.keys().filter(|host| !survivors.iter().any(|(name, _)| name == host));
    Ok(Recovery {
        lost: lost.cloned().collect(),
        peers: peers_json(survivors.iter().map(|(_, peer)| *peer)),
        survivors: survivors.into_iter().map(|(host, _)| host.clone()).collect(),
        is_led: false,
    })
}

fn peers_json<'p>(peers: impl Iterator<Item = &'p Peer>) -> String {
    let of = |peer: &Peer| match peer.id == peer.address.to_string() {
        true => json!(peer.id),
        false => json!({ "id": peer.id, "address": peer.address, "non_voter": !peer.voter }),
    };
    json!(peers.map(of).collect::<Vec<_>>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::testing::{dead, expected, host, refuses, views, with_ids};

    /// What a server says of three peers of which `leader` leads.
    fn said(leader: u8, id: impl Fn(u8) -> String) -> View {
        with_ids(&[1, 2, 3], leader, id)
    }

    fn uuid(n: u8) -> String {
        format!("id-{n}")
    }

    #[test]
    fn too_few_to_elect_anybody() {
        let lost = |said: [View; 3]| lost_quorum(&expected(), &views(said));
        let told = "no quorum: 1 of 3 servers answer, 2 are needed".to_owned();
        assert_eq!(lost([said(0, uuid), dead(), dead()]), Some(told));
        assert_eq!(lost([said(0, uuid), said(0, uuid), dead()]), None, "they elect one");
        assert_eq!(lost([said(1, uuid), dead(), dead()]), None, "it has a leader still");
        assert_eq!(lost([dead(), dead(), dead()]), None, "nothing is known");
    }

    #[test]
    fn who_has_not_joined_yet_is_what_is_left_of_it() {
        let alone = |peers: &[u8]| with_ids(peers, 1, uuid);
        let left = |said: [View; 3], kept: &[u8]| {
            let kept = kept.iter().map(|n| host(*n)).collect();
            unfinished(&expected(), &views(said), &kept).map(|recovery| recovery.survivors)
        };
        // The second still has its data, the third has none.
        assert_eq!(left([alone(&[1]), dead(), dead()], &[1, 2]), Some(vec![host(1), host(2)]));
        // It is a member with a vote, and its agent is stopped.
        assert_eq!(left([alone(&[1, 2]), dead(), dead()], &[1, 2]), None);
        // Nobody leads: the recovery has yet to begin.
        assert_eq!(left([with_ids(&[1, 2, 3], 0, uuid), dead(), dead()], &[1, 2]), None);
        let View::Peers(mut peers) = alone(&[1, 2]) else { unreachable!("it tells them") };
        peers[1].voter = false;
        assert_eq!(left([View::Peers(peers), dead(), dead()], &[1]), Some(vec![host(1), host(2)]));
    }

    #[test]
    fn only_what_has_no_quorum_is_recovered() {
        let judge = |said: [View; 3]| recovery("consul", &expected(), &views(said));
        let recovered = judge([said(0, uuid), dead(), dead()]).unwrap();
        assert_eq!(recovered.survivors, [host(1)]);
        assert_eq!(recovered.lost, [host(2), host(3)]);
        assert_eq!(recovered.peers, r#"[{"id":"id-1","address":"10.0.0.1:8300","non_voter":false}]"#);
        let protocol_2 = judge([said(0, |n| format!("10.0.0.{n}:8300")), dead(), dead()]).unwrap();
        assert_eq!(protocol_2.peers, r#"["10.0.0.1:8300"]"#);
        for (answers, reason) in [
            ([said(2, uuid), said(2, uuid), dead()], "quorum stands"),
            ([said(0, uuid), said(0, uuid), dead()], "2 of 3 consul servers answer, which is a quorum"),
            ([dead(), dead(), dead()], "no consul server answers"),
            ([said(0, uuid), dead(), refuses()], "n3: its API refuses to tell"),
        ] {
            let said = judge(answers).unwrap_err().reason;
            assert!(said.contains(reason), "`{reason}` is not in `{said}`");
        }
    }
}
