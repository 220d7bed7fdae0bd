//! The raft configuration as each server sees it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::quorum::{self, Peer};
use crate::model::{ClusterState, Expected, HostName, Problem, ProblemKind};

/// What one server says of its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// It does not answer, and why.
    Silent(String),
    /// It answers something else, and what.
    Unclear(String),
    /// It answers that it does not tell whoever asks, and in which words.
    Refused(String),
    Peers(Vec<Peer>),
}

impl View {
    /// The peers, where it tells them.
    pub fn peers(&self) -> Option<&[Peer]> {
        match self {
            Self::Peers(peers) => Some(peers),
            Self::Silent(_) | Self::Unclear(_) | Self::Refused(_) => None,
        }
    }

    /// The same with the reason why it does not.
    ///
    /// # Errors
    /// Why there are none.
    pub fn known(&self) -> Result<&[Peer], &str> {
        match self {
            Self::Peers(peers) => Ok(peers),
            Self::Silent(reason) | Self::Unclear(reason) | Self::Refused(reason) => Err(reason),
        }
    }
}

/// What the servers that were asked say, by their hosts.
pub type Views = BTreeMap<HostName, View>;

/// The peers that the first server tells which follows a leader; `None`: nobody does.
pub fn led(views: &Views) -> Option<&[Peer]> {
    views.values().filter_map(View::peers).find(|peers| peers.iter().any(|peer| peer.leader))
}

/// The first of some servers that refuses to tell, with its reason.
pub(super) fn refused<'v>(views: impl IntoIterator<Item = (&'v HostName, &'v View)>) -> Option<String> {
    views.into_iter().find_map(|(host, view)| match view {
        View::Refused(reason) => Some(format!("{host}: {reason}")),
        _ => None,
    })
}

/// One server's own part in raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RaftState {
    /// `leader`, `follower` or `candidate`.
    pub state: String,
    /// Since it last heard from the leader, in the product's words; `never`, or `0` on the leader.
    pub last_contact: String,
}

/// Whether the servers see the same peers, and those that are expected.
pub struct Agreement {
    /// `3 of 3 voters, leader node-2`; empty where they do not agree.
    pub detail: String,
    pub problems: Vec<Problem>,
    /// The servers that tell their peers.
    pub told: Vec<HostName>,
}

/// Compares what every server that was asked sees with what is expected.
pub fn agreement(expected: &Expected, views: &Views) -> Agreement {
    let mut problems = Vec::new();
    let mut told = BTreeMap::new();
    for host in &expected.asked {
        match views.get(host) {
            None => problems.push(Problem::silent(host, "was not asked".to_owned())),
            Some(View::Silent(reason)) => problems.push(Problem::silent(host, reason.clone())),
            Some(View::Unclear(reason)) => problems.push(Problem::of(host, reason.clone())),
            Some(View::Refused(reason)) => problems.push(Problem::refused(host, reason.clone())),
            Some(View::Peers(peers)) => drop(told.insert(host.clone(), peers.clone())),
        }
    }
    let detail = match quorum::agree(&expected.members, &told) {
        Ok(peers) => {
            let voters = peers.iter().filter(|peer| peer.voter).count();
            let leader = peers.iter().find(|peer| peer.leader).map_or("none", |peer| peer.node.as_str());
            // A voter that says nothing votes no more, whatever the others' configuration says of it.
            let answering = match told.len() {
                all if all >= voters => String::new(),
                some => format!(", {some} answer"),
            };
            format!("{voters} of {} voters{answering}, leader {leader}", expected.members.len())
        }
        // Some answer, and what they say is told already.
        Err(_) if told.is_empty() && problems.iter().any(|problem| problem.kind != ProblemKind::Silent) => {
            String::new()
        }
        Err(discord) => {
            let kind = if discord.split { ProblemKind::Split } else { ProblemKind::Other };
            problems.push(Problem { host: None, about: None, kind, reason: discord.reason });
            String::new()
        }
    };
    Agreement { detail, problems, told: told.into_keys().collect() }
}

/// What stands, by the word of a server that has a leader; `tolerance` is how many may fail, by the word of that server
/// and its peers.
pub fn cluster_state(
    expected: &Expected,
    views: &Views,
    tolerance: impl Fn(&HostName, &[Peer]) -> usize,
) -> ClusterState {
    let mut told = views.iter().filter_map(|(host, view)| Some((host, view.peers()?)));
    let Some((host, peers)) = told.find(|(_, peers)| peers.iter().any(|peer| peer.leader)) else {
        let refused = views.iter().filter(|(_, view)| matches!(view, View::Refused(_)));
        return ClusterState {
            untold: refused.map(|(host, _)| host.clone()).collect(),
            ..ClusterState::default()
        };
    };
    let named = |peer: &Peer| {
        expected.members.iter().find(|(_, ip)| **ip == peer.address.ip()).map(|(host, _)| host.clone())
    };
    ClusterState {
        members: peers.iter().filter_map(named).collect(),
        leader: peers.iter().find(|peer| peer.leader).and_then(named),
        failure_tolerance: tolerance(host, peers),
        ..ClusterState::default()
    }
}

/// The peers as a table under a label, and how an operator sees them; `see` is told of a host.
pub fn notes(
    label: &str,
    see: impl Fn(&HostName) -> String,
    expected: &Expected,
    views: &Views,
) -> Vec<String> {
    let found = views.values().filter_map(View::peers).find(|peers| !peers.is_empty());
    let Some(mut peers) = found.map(<[Peer]>::to_vec) else { return Vec::new() };
    peers.sort_by(|one, other| one.node.cmp(&other.node));
    let width = peers.iter().map(|peer| peer.node.len()).max().unwrap_or(0);
    let mut notes: Vec<String> = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let label = if index == 0 { format!("{label}: ") } else { String::new() };
            let state = if peer.leader { "leader" } else { "follower" };
            let voter = if peer.voter { "voter" } else { "non-voter" };
            format!("{label}{:width$}  {:21}  {state:8}  {voter}", peer.node, peer.address)
        })
        .collect();
    if let Some(host) = expected.members.keys().next() {
        notes.push(format!("see: {}", see(host)));
    }
    notes
}
