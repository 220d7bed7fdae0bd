//! How the members of a product know who calls their API, and what they are told about it.

use std::net::SocketAddr;

use super::{Method, Request, Response, Responses};
use crate::model::{AccessToken, Secret};

/// A line at the head of a request by which an agent knows who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `X-Consul-Token`
    pub name: &'static str,
    pub value: Secret,
}

/// One token, or one list of rights, that is not as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    /// In the operator's words: ``token `agent of node-1` ``.
    pub what: String,
    /// Why: `absent`, `other rules`.
    pub reason: &'static str,
    pub request: Request,
}

impl AccessChange {
    /// Whether somebody could miss it.
    pub fn revokes(&self) -> bool {
        self.request.method == Method::Delete
    }
}

/// What came of asking for the first token of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstToken {
    /// It may do everything. `id` is how it is called where it is removed.
    Made { secret: Secret, id: String },
    /// The servers are not ready to make it.
    NotYet(String),
    /// Somebody has made it already; with the number that lets another one be made.
    Taken { reset: Option<u64> },
}

/// What a product's API has for those who may call it.
pub trait Access: Sync {
    /// Where a server tells of the tokens and rights that there are.
    fn paths(&self) -> &'static [&'static str];

    /// What is to be made, changed and removed, one list after the other and all of a list at the same time, so that there is what is `wanted`, and nothing else of what was made
    /// in this way before. `manage` is the token by which that is done.
    ///
    /// # Errors
    /// The server did not tell what there is.
    fn changes(
        &self,
        wanted: &[AccessToken],
        manage: &Secret,
        said: &Responses,
    ) -> Result<Vec<Vec<AccessChange>>, String>;

    /// Asks for the first token; those versions that can make the one that they are told.
    fn bootstrap(&self, manage: &Secret) -> Request;

    /// What was answered.
    fn first_token(&self, answer: &Response) -> FirstToken;

    /// Asks a server who leads, which it tells everybody.
    fn leader(&self) -> Request;

    /// The address at which the leader is in raft.
    fn read_leader(&self, body: &str) -> Option<SocketAddr>;

    /// The file below the folder of the leader's data that lets a first token be made once more: it has the number that was told.
    fn reset_file(&self) -> &'static str;

    /// What the first token is for: it makes the one by which all else is done.
    fn manager(&self, manage: &Secret) -> Request;

    /// Removes a token.
    fn removal(&self, id: &str) -> Request;
}
