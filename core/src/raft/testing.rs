//! Three servers for the tests of what they say of each other.

use std::net::{IpAddr, SocketAddr};

use super::{Peer, View, Views};
use crate::model::{Expected, HostName};

pub fn host(number: u8) -> HostName {
    HostName::parse(format!("n{number}")).unwrap()
}

pub fn expected() -> Expected {
    Expected {
        members: (1..=3).map(|n| (host(n), IpAddr::from([10, 0, 0, n]))).collect(),
        asked: (1..=3).map(host).collect(),
        ..Expected::default()
    }
}

/// What a server says that has `peers`, of which `leader` leads.
pub fn said(peers: &[u8], leader: u8) -> View {
    with_ids(peers, leader, |n| format!("id-{n}"))
}

pub fn with_ids(peers: &[u8], leader: u8, id: impl Fn(u8) -> String) -> View {
    let peer = |n: &u8| Peer {
        id: id(*n),
        node: format!("n{n}"),
        address: SocketAddr::from(([10, 0, 0, *n], 8300)),
        leader: *n == leader,
        voter: true,
    };
    View::Peers(peers.iter().map(peer).collect())
}

pub fn dead() -> View {
    View::Silent("its agent does not answer".to_owned())
}

pub fn refuses() -> View {
    View::Refused("its API refuses to tell (status 403: ACLs?)".to_owned())
}

pub fn views(said: [View; 3]) -> Views {
    (1..=3).map(host).zip(said).collect()
}
