//! May a member leave? What its cluster is without it.

use super::quorum::{majority, tolerance};
use super::view::{led, refused};
use super::{Peer, View, Views};
use crate::model::{Expected, HostName, Verdict};

/// A member that may leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// Its id and name in raft; `None` of clients, and of servers that are no peers any more.
    pub peer: Option<(String, String)>,
    /// What the operator should know about the cluster without it.
    pub warning: Option<String>,
}

/// Why a member must not leave, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub remedy: String,
    /// Whether the operator may have it done all the same.
    pub can_be_forced: bool,
}

/// Peers of a living cluster that nobody expects, by the word of a server that follows a leader.
pub fn strangers(expected: &Expected, views: &Views) -> Vec<Peer> {
    let peers = led(views).unwrap_or_default();
    let is_known = |peer: &&Peer| expected.members.values().any(|ip| *ip == peer.address.ip());
    peers.iter().filter(|peer| !is_known(peer)).cloned().collect()
}

/// What a cluster of servers of `product` would be without `host`.
///
/// # Errors
/// The others are no quorum, or it is unknown what they are.
pub fn departure(
    product: &str,
    expected: &Expected,
    views: &Views,
    host: &HostName,
) -> Result<Departure, Refusal> {
    let others = || views.iter().filter(|(name, _)| *name != host);
    let refused = refused(others());
    let views = others().filter_map(|(name, view)| Some((name, view.peers()?)));
    let views: Vec<(&HostName, &[Peer])> =
        views.filter(|(_, peers)| peers.iter().any(|peer| peer.leader)).collect();
    let refusal = |reason: String, remedy: &str, can_be_forced| Refusal {
        reason,
        remedy: remedy.to_owned(),
        can_be_forced,
    };
    if expected.members.len() == 1 {
        let reason = format!("it is the only {product} server: the cluster would end with it");
        return Err(refusal(reason, "`bootstrap down` takes a whole cluster down", false));
    }
    if let Some(reason) = refused.filter(|_| views.is_empty()) {
        let remedy = "without that nobody knows whether the others can spare one: let them tell whoever asks without a token";
        return Err(refusal(reason, remedy, false));
    }
    let Some((_, peers)) = views.first() else {
        let reason = format!("no other {product} server has a leader: there is no quorum to decide it");
        return Err(refusal(
            reason,
            "start the servers that are down; if they are lost, `bootstrap recover`",
            false,
        ));
    };
    let address = expected.members.get(host);
    let Some(peer) = peers.iter().find(|peer| Some(&peer.address.ip()) == address) else {
        return Ok(Departure::default());
    };
    let is_left = |ip: &std::net::IpAddr| peers.iter().any(|peer| peer.voter && peer.address.ip() == *ip);
    let standing =
        views.iter().filter_map(|(name, _)| expected.members.get(*name)).filter(|ip| is_left(ip)).count();
    let left = peers.iter().filter(|peer| peer.voter).count() - usize::from(peer.voter);
    if standing < majority(left) {
        let reason = format!(
            "quorum of {product} would be lost: of the {left} servers left {standing} follow a leader, and {} are needed",
            majority(left)
        );
        return Err(refusal(
            reason,
            "bring the others back first; with `--force` nothing can be written until they are back",
            true,
        ));
    }
    let warning = (left % 2 == 0).then(|| {
        let spare = tolerance(left);
        format!(
            "{left} {product} servers bear {spare} to fail, as {} would: an odd number is better",
            left - 1
        )
    });
    Ok(Departure { peer: Some((peer.id.clone(), peer.node.clone())), warning })
}

/// Whether every server that answers follows a leader and has no peer at the address of `host` any more.
pub fn without(expected: &Expected, views: &Views, host: &HostName) -> Verdict {
    let (mut left, address) = (0, expected.members.get(host));
    let not_yet = |reason: String| Verdict::NotYet { reason };
    let speaking = views.iter().filter(|(name, view)| *name != host && !matches!(view, View::Silent(_)));
    for (name, view) in speaking {
        let peers = match view.known() {
            Ok(peers) => peers,
            Err(reason) => return not_yet(format!("{name}: {reason}")),
        };
        if !peers.iter().any(|peer| peer.leader) {
            return not_yet(format!("{name} follows no leader"));
        }
        if peers.iter().any(|peer| Some(&peer.address.ip()) == address) {
            return not_yet(format!("{name} still has {host} among its peers"));
        }
        left = peers.len();
    }
    match left {
        0 => not_yet("no other server answers".to_owned()),
        left => Verdict::Met { detail: format!("{left} peers, {host} not among them") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::testing::{dead, expected, host, refuses, said, views};

    #[test]
    fn who_leaves_must_leave_a_quorum_behind() {
        let all = [1, 2, 3];
        let leaves = |said: [View; 3]| departure("consul", &expected(), &views(said), &host(3));
        let departs = leaves([said(&all, 1), said(&all, 1), said(&all, 1)]).unwrap();
        assert_eq!(departs.peer, Some(("id-3".to_owned(), "n3".to_owned())));
        assert_eq!(
            departs.warning.unwrap(),
            "2 consul servers bear 0 to fail, as 1 would: an odd number is better"
        );
        // Where nobody tells, nobody is to blame of having no leader.
        let untold = leaves([refuses(), refuses(), refuses()]).unwrap_err();
        assert!(
            untold.reason.starts_with("n1: its API refuses to tell") && !untold.can_be_forced,
            "{untold:?}"
        );
        assert!(leaves([said(&all, 1), said(&all, 1), refuses()]).is_ok());
        // A dead one goes by the word of the others.
        assert!(leaves([said(&all, 1), said(&all, 1), dead()]).is_ok());
        let refusal = leaves([said(&all, 1), dead(), said(&all, 1)]).unwrap_err();
        assert!(
            refusal.can_be_forced && refusal.reason.contains("1 follow a leader, and 2 are needed"),
            "{refusal:?}"
        );
        let refusal = leaves([said(&all, 0), dead(), dead()]).unwrap_err();
        assert!(!refusal.can_be_forced && refusal.reason.contains("no quorum to decide it"), "{refusal:?}");
        // It is no peer any more: nothing has to be told to raft.
        assert_eq!(leaves([said(&[1, 2], 1), said(&[1, 2], 1), dead()]), Ok(Departure::default()));
    }

    #[test]
    fn who_has_left_is_nobodys_peer() {
        let gone = |said: [View; 3]| without(&expected(), &views(said), &host(3));
        let not_yet = |reason: &str| Verdict::NotYet { reason: reason.to_owned() };
        let met = Verdict::Met { detail: "2 peers, n3 not among them".to_owned() };
        assert_eq!(gone([said(&[1, 2], 1), said(&[1, 2], 1), said(&[1, 2, 3], 3)]), met.clone());
        assert_eq!(
            gone([said(&[1, 2], 1), said(&[1, 2, 3], 1), dead()]),
            not_yet("n2 still has n3 among its peers")
        );
        assert_eq!(gone([said(&[1, 2], 0), said(&[1, 2], 0), dead()]), not_yet("n1 follows no leader"));
        assert_eq!(gone([dead(), said(&[1, 2], 1), dead()]), met);
        assert_eq!(gone([dead(), dead(), said(&[1, 2], 1)]), not_yet("no other server answers"));
    }
}
