//! A way out when quorum is lost for good: the survivors are told that they are all there is.
//!
//! Consul and Nomad read `raft/peers.json` in the data directory at their start and take it for their raft
//! configuration (the vendor's "outage recovery"): a list of id, address and `non_voter` with raft protocol 3, of
//! addresses alone with protocol 2, which Nomad below 1.3 speaks; there a peer's id is its address.

use serde_json::json;
use std::collections::BTreeMap;

use super::quorum::{Peer, majority};
use super::{View, Views};
use crate::model::{Expected, HostName};

/// What recovery comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Servers that answer: from now on they are the cluster.
    pub survivors: Vec<HostName>,
    /// Servers that are given up. With their old data they must not come back.
    pub lost: Vec<HostName>,
    /// The text of `raft/peers.json`.
    pub peers: String,
}

/// What can be saved of a cluster of servers of `product`, which run as `unit`.
///
/// # Errors
/// Why there is nothing to recover, or nothing to recover from.
pub fn recovery(product: &str, unit: &str, expected: &Expected, views: &Views) -> Result<Recovery, String> {
    // One that does not tell is not lost.
    let refused = views.iter().find_map(|(host, view)| match view {
        View::Refused(reason) => Some(format!("{host}: {reason}")),
        _ => None,
    });
    if let Some(reason) = refused {
        return Err(format!("{reason}; {product} may have a leader for all that is told"));
    }
    let told = views.iter().filter_map(|(host, view)| Some((host, View::peers(view)?)));
    let views: BTreeMap<&HostName, &[Peer]> = told.filter(|(_, peers)| !peers.is_empty()).collect();
    if let Some((host, leader)) =
        views.iter().find_map(|(host, peers)| Some((host, peers.iter().find(|peer| peer.leader)?)))
    {
        return Err(format!(
            "{product} has a leader, {}, says {host}: quorum stands; `bootstrap replace-node` replaces a dead server",
            leader.node
        ));
    }
    let Some(known) = views.values().max_by_key(|peers| peers.len()) else {
        return Err(format!(
            "no {product} server answers that has been in a cluster: start one first (`systemctl start {unit}`)"
        ));
    };
    let address = |host: &HostName| expected.members.get(host).copied();
    let survivors: Vec<(&HostName, &Peer)> = views
        .keys()
        .filter_map(|host| Some((*host, known.iter().find(|peer| Some(peer.address.ip()) == address(host))?)))
        .collect();
    let voters = known.iter().filter(|peer| peer.voter).count();
    if survivors.len() >= majority(voters) {
        return Err(format!(
            "{} of {voters} {product} servers answer, which is a quorum: they elect a leader by themselves as soon as they \
             reach each other",
            survivors.len()
        ));
    }
    let lost = expected.members.keys().filter(|host| !survivors.iter().any(|(name, _)| name == host));
    Ok(Recovery {
        lost: lost.cloned().collect(),
        peers: peers_json(survivors.iter().map(|(_, peer)| *peer)),
        survivors: survivors.into_iter().map(|(host, _)| host.clone()).collect(),
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
    fn only_what_has_no_quorum_is_recovered() {
        let judge = |said: [View; 3]| recovery("consul", "consul.service", &expected(), &views(said));
        let recovered = judge([said(0, uuid), dead(), dead()]).unwrap();
        assert_eq!(recovered.survivors, [host(1)]);
        assert_eq!(recovered.lost, [host(2), host(3)]);
        assert_eq!(recovered.peers, r#"[{"id":"id-1","address":"10.0.0.1:8300","non_voter":false}]"#);
        let protocol_2 = judge([said(0, |n| format!("10.0.0.{n}:8300")), dead(), dead()]).unwrap();
        assert_eq!(protocol_2.peers, r#"["10.0.0.1:8300"]"#);
        for (answers, reason) in [
            ([said(2, uuid), said(2, uuid), dead()], "quorum stands"),
            ([said(0, uuid), said(0, uuid), dead()], "2 of 3 consul servers answer, which is a quorum"),
            ([dead(), dead(), dead()], "start one first"),
            ([said(0, uuid), dead(), refuses()], "n3: its API refuses to tell"),
        ] {
            let said = judge(answers).unwrap_err();
            assert!(said.contains(reason), "`{reason}` is not in `{said}`");
        }
    }
}
