//! One HTTP answer of an agent's API, from wherever it was asked.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::inventory::HostName;

/// One thing to ask of an agent on a host's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub port: u16,
    pub path: &'static str,
}

/// Status and body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON. The error says what came instead, shortened.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("status {}, {} (`{}`)", self.status, error, self.start()))
    }

    /// How the body begins, for a message.
    pub fn start(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
        text.trim().to_owned()
    }
}

/// What the agents of one host said, by path; or why they said nothing at all. A path is missing where an agent did not
/// answer in time, as Consul and Nomad do not where they would have to ask a leader and there is none.
pub type Answer = Result<BTreeMap<&'static str, Response>, String>;

/// What the agents of every asked host said.
pub type Answers = BTreeMap<HostName, Answer>;
