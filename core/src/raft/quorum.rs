//! Quorum arithmetic and the comparison of peer sets: the same for every raft cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::model::HostName;

/// Voters that a decision needs.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Voters that may fail while a majority is left.
pub fn tolerance(voters: usize) -> usize {
    voters.saturating_sub(majority(voters))
}

/// One member of a raft configuration, as one server sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub id: String,
    pub node: String,
    /// Raft address.
    pub address: SocketAddr,
    pub leader: bool,
    pub voter: bool,
}

/// Why the servers' views are not one, or not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    pub reason: String,
    /// They follow different leaders, or have different peers: two clusters, or on their way to be.
    pub split: bool,
}

impl From<String> for Disagreement {
    fn from(reason: String) -> Self {
        Self { reason, split: false }
    }
}

/// Compares the raft configuration as every asked server sees it with the expected members.
///
/// `Ok` is the agreed configuration; `Err` says in one line what is missing still.
pub fn agree(
    expected: &BTreeMap<HostName, IpAddr>,
    views: &BTreeMap<HostName, Vec<Peer>>,
) -> Result<Vec<Peer>, Disagreement> {
    let Some((first_host, first)) = views.iter().next() else {
        return Err("no server answers".to_owned().into());
    };
    for (host, view) in views {
        if leaders(view).len() > 1 {
            let reason = format!("{host} sees {} leaders", leaders(view).len());
            return Err(Disagreement { reason, split: true });
        }
        if identities(view) != identities(first) {
            let (one, other) = (addresses(first), addresses(view));
            return Err(Disagreement {
                reason: format!("{first_host} and {host} see different peers: {one} and {other}"),
                // One that has no peers yet is only late.
                split: !first.is_empty() && !view.is_empty(),
            });
        }
        if leaders(view) != leaders(first) {
            let name = |view| leaders(view).first().map_or("no leader".to_owned(), ToString::to_string);
            let (one, other) = (name(first), name(view));
            return Err(Disagreement {
                reason: format!("{first_host} and {host} disagree on the leader: {one} and {other}"),
                // One that follows nobody is only cut off.
                split: !leaders(first).is_empty() && !leaders(view).is_empty(),
            });
        }
    }
    let present: BTreeSet<IpAddr> = first.iter().map(|peer| peer.address.ip()).collect();
    let missing: Vec<&str> =
        expected.iter().filter(|(_, ip)| !present.contains(ip)).map(|(host, _)| host.as_str()).collect();
    if first.is_empty() {
        return Err(format!("no peers yet, {} expected", expected.len()).into());
    }
    if !missing.is_empty() {
        return Err(format!(
            "{} of {} peers, {} not among them",
            expected.len() - missing.len(),
            expected.len(),
            missing.join(", ")
        )
        .into());
    }
    let strangers: Vec<String> = first
        .iter()
        .filter(|peer| !expected.values().any(|ip| *ip == peer.address.ip()))
        .map(|peer| format!("{} ({})", peer.node, peer.address))
        .collect();
    if !strangers.is_empty() {
        return Err(format!("{} in the peer set but not in the inventory", strangers.join(", ")).into());
    }
    let voters = first.iter().filter(|peer| peer.voter).count();
    if voters < expected.len() {
        return Err(format!("{voters} of {} voters", expected.len()).into());
    }
    if leaders(first).is_empty() {
        return Err(format!("{voters} of {} voters, no leader", expected.len()).into());
    }
    Ok(first.clone())
}

fn leaders(view: &[Peer]) -> Vec<SocketAddr> {
    view.iter().filter(|peer| peer.leader).map(|peer| peer.address).collect()
}

fn identities(view: &[Peer]) -> BTreeSet<(&str, SocketAddr)> {
    view.iter().map(|peer| (peer.id.as_str(), peer.address)).collect()
}

fn addresses(view: &[Peer]) -> String {
    let list: BTreeSet<String> = view.iter().map(|peer| peer.address.to_string()).collect();
    if list.is_empty() { "none".to_owned() } else { list.into_iter().collect::<Vec<_>>().join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities() {
        let table = [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (7, 4, 3)];
        for (voters, needed, spare) in table {
            assert_eq!((majority(voters), tolerance(voters)), (needed, spare), "{voters} voters");
        }
        assert_eq!(tolerance(0), 0);
    }

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    fn peer(number: u8, leader: bool, voter: bool) -> Peer {
        Peer {
            id: format!("id-{number}"),
            node: format!("node-{number}"),
            address: SocketAddr::from(([10, 0, 0, number], 8300)),
            leader,
            voter,
        }
    }

    fn expected(count: u8) -> BTreeMap<HostName, IpAddr> {
        (1..=count).map(|n| (host(&format!("node-{n}")), IpAddr::from([10, 0, 0, n]))).collect()
    }

    fn said(views: &[(&str, Vec<Peer>)]) -> Result<usize, String> {
        let views = views.iter().map(|(name, view)| (host(name), view.clone())).collect();
        agree(&expected(3), &views).map(|peers| peers.len()).map_err(|discord| discord.reason)
    }

    #[test]
    fn agreement_and_every_way_it_fails() {
        let whole = || vec![peer(1, true, true), peer(2, false, true), peer(3, false, true)];
        assert_eq!(said(&[("node-1", whole()), ("node-2", whole()), ("node-3", whole())]), Ok(3));

        type Views = Vec<(&'static str, Vec<Peer>)>;
        let cases: Vec<(Views, &str)> = vec![
            (vec![], "no server answers"),
            (vec![("node-1", vec![])], "no peers yet, 3 expected"),
            (vec![("node-1", whole()[..2].to_vec())], "2 of 3 peers, node-3 not among them"),
            (
                vec![("node-1", vec![peer(1, true, true), peer(2, false, true), peer(3, false, false)])],
                "2 of 3 voters",
            ),
            (
                vec![("node-1", vec![peer(1, false, true), peer(2, false, true), peer(3, false, true)])],
                "3 of 3 voters, no leader",
            ),
            (
                vec![
                    ("node-1", whole()),
                    ("node-2", vec![peer(1, false, true), peer(2, true, true), peer(3, false, true)]),
                ],
                "node-1 and node-2 disagree on the leader: 10.0.0.1:8300 and 10.0.0.2:8300",
            ),
            (
                vec![("node-1", whole()), ("node-2", vec![peer(2, true, true)])],
                "node-1 and node-2 see different peers: 10.0.0.1:8300 10.0.0.2:8300 10.0.0.3:8300 and 10.0.0.2:8300",
            ),
            (
                vec![("node-1", vec![peer(1, true, true), peer(2, true, true), peer(3, false, true)])],
                "node-1 sees 2 leaders",
            ),
            (
                vec![("node-1", [whole(), vec![peer(9, false, true)]].concat())],
                "node-9 (10.0.0.9:8300) in the peer set but not in the inventory",
            ),
        ];
        for (views, reason) in cases {
            assert_eq!(said(&views), Err(reason.to_owned()));
        }
    }
}
