//! Whom an agent's gossip knows, as Consul and Nomad tell it.
//!
//! Shapes of the answers: `/v1/agent/members`. Consul has a list with serf's status as a number (1 alive, 2 leaving,
//! 3 left, 4 failed), Nomad a map with `Members` and the status as a word.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Question, Questions, Response, Roster};
use crate::model::Endpoint;

const PATH: &str = "/v1/agent/members";

/// What an agent knows of all others.
pub(super) struct Gossip {
    /// Some probes must fail before a member that is gone is one that failed.
    pub lag: Duration,
}

impl Roster for Gossip {
    fn source(&self) -> &'static str {
        "gossip"
    }

    fn questions(&self, endpoint: &Endpoint) -> Questions {
        Questions::Plain(vec![Question::new(endpoint.port, PATH)])
    }

    fn members(&self, answer: &Answer) -> Result<Vec<Member>, String> {
        members(answer)
    }

    fn lag(&self) -> Duration {
        self.lag
    }
}

/// Somebody whom the others know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub address: Option<IpAddr>,
    /// `alive`, `leaving`, `left` or `failed`.
    pub status: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GossipAnswer {
    Consul(Vec<Written>),
    Nomad {
        #[serde(rename = "Members")]
        members: Option<Vec<Written>>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    name: String,
    addr: String,
    status: Status,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    Number(u8),
    Word(String),
}

/// The members in an answer; why there are none.
fn members(answer: &Answer) -> Result<Vec<Member>, String> {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    let response: &Response = answer.get(PATH).ok_or("its gossip was not asked")?;
    let members = match response.json()? {
        GossipAnswer::Consul(members) => members,
        GossipAnswer::Nomad { members } => members.unwrap_or_default(),
    };
    let member = |written: Written| Member {
        name: written.name,
        address: written.addr.parse().ok(),
        status: match written.status {
            Status::Word(word) => word,
            Status::Number(1) => "alive".to_owned(),
            Status::Number(2) => "leaving".to_owned(),
            Status::Number(3) => "left".to_owned(),
            Status::Number(4) => "failed".to_owned(),
            Status::Number(number) => format!("in state {number}"),
        },
    };
    Ok(members.into_iter().map(member).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn both_products_tell_it_in_their_way() {
        let said = |body: &str| {
            let answer =
                Ok(BTreeMap::from([(PATH, Response { status: 200, body: body.as_bytes().to_vec() })]));
            let members = members(&answer).unwrap();
            members.into_iter().map(|member| format!("{} {}", member.name, member.status)).collect::<Vec<_>>()
        };
        let consul = r#"[{"Name": "a", "Addr": "10.0.0.1", "Status": 1}, {"Name": "b", "Addr": "10.0.0.2", "Status": 4}]"#;
        assert_eq!(said(consul), ["a alive", "b failed"]);
        let nomad =
            r#"{"ServerName": "a", "Members": [{"Name": "a.global", "Addr": "10.0.0.1", "Status": "left"}]}"#;
        assert_eq!(said(nomad), ["a.global left"]);
        assert_eq!(said(r#"{"Members": null}"#), Vec::<String>::new());
    }
}
