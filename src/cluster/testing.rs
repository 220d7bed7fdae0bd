//! Three servers for the tests of what their answers mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use super::{Answer, Answers, Expected, Response, raft};
use crate::model::HostName;

pub(super) fn host(number: u8) -> HostName {
    HostName::parse(format!("n{number}")).unwrap()
}

pub(super) fn expected() -> Expected {
    Expected {
        members: (1..=3).map(|n| (host(n), IpAddr::from([10, 0, 0, n]))).collect(),
        asked: (1..=3).map(host).collect(),
        ..Expected::default()
    }
}

/// What a server says whose raft configuration has `peers`, of which `leader` leads.
pub(super) fn said(peers: &[u8], leader: u8, id: impl Fn(u8) -> String) -> Answer {
    let peer = |n: &u8| {
        json!({"ID": id(*n), "Node": format!("n{n}"), "Address": format!("10.0.0.{n}:8300"),
               "Leader": *n == leader, "Voter": true})
    };
    let body = json!({"Servers": peers.iter().map(peer).collect::<Vec<_>>()}).to_string().into_bytes();
    Ok(BTreeMap::from([(raft::CONFIGURATION, Response { status: 200, body })]))
}

pub(super) fn uuid(n: u8) -> String {
    format!("id-{n}")
}

pub(super) fn dead() -> Answer {
    Err("its agent does not answer".to_owned())
}

pub(super) fn answers(said: [Answer; 3]) -> Answers {
    (1..=3).map(host).zip(said).collect()
}
