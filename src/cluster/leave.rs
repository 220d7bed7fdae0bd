//! May a member leave? What its cluster is without it.

use super::quorum::{majority, tolerance};
use super::{Answers, Expected, Gate};
use crate::inventory::HostName;

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
pub struct Stays {
    pub reason: String,
    pub remedy: String,
    /// Whether the operator may have it done all the same.
    pub can_be_forced: bool,
}

/// What the cluster behind a gate would be without `host`.
///
/// # Errors
/// The others are no quorum, or it is unknown what they are.
pub fn departure(
    gate: Gate,
    expected: &Expected,
    answers: &Answers,
    host: &HostName,
) -> Result<Departure, Stays> {
    if !gate.has_raft() {
        return Ok(Departure::default());
    }
    let others = answers.iter().filter(|(name, _)| *name != host);
    let views = others.filter_map(|(name, answer)| Some((name, gate.peers(answer).ok()?)));
    let views: Vec<_> = views.filter(|(_, peers)| peers.iter().any(|peer| peer.leader)).collect();
    let (product, stays) = (gate.product(), |reason: String, remedy: &str, can_be_forced| Stays {
        reason,
        remedy: remedy.to_owned(),
        can_be_forced,
    });
    if expected.members.len() == 1 {
        let reason = format!("it is the only {product} server: the cluster would end with it");
        return Err(stays(reason, "`bootstrap down` takes a whole cluster down", false));
    }
    let Some((_, peers)) = views.first() else {
        let reason = format!("no other {product} server has a leader: there is no quorum to decide it");
        return Err(stays(
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
        return Err(stays(
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
