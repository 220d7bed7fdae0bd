//! One HTTP answer of an agent's API, from wherever it was asked.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::inventory::HostName;

/// Status and body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON. The error says what came instead, shortened.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let text: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
            format!("status {}, {} (`{}`)", self.status, error, text.trim())
        })
    }
}

/// What one agent said, by path; or why it said nothing at all.
pub type Answer = Result<BTreeMap<&'static str, Response>, String>;

/// What every asked agent said.
pub type Answers = BTreeMap<HostName, Answer>;
