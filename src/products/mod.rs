//! The clustered products: what their members are asked, and what the answers mean. One folder each; pure.
//!
//! The same questions are asked in the observe script (by the host's own `http_get` or `tls_get`) and by a gate
//! (through a forwarded socket, or by the host again where only it has the certificates), and one reading serves both.
//!
//! A product that is added is a folder here, its parts in [`Gate::ALL`] (`registry.rs`), and a role that names them.

mod access;
mod answer;
pub mod consul;
mod drill;
pub mod etcd;
mod gossip;
pub mod kubernetes;
pub mod nomad;
mod operator;
mod part;
mod registry;
mod request;
mod review;
pub mod snapshot;
mod versions;

pub use access::{Access, AccessChange, FirstToken, Header};
pub use answer::{Answer, Answers, Question, Questions, Response, TlsFiles, TlsQuestion, by_path};
pub use drill::{Drills, Keys, Way};
pub use gossip::Member;
pub use part::{
    Agent, Client, Command, DepartureNotice, Gate, Leaving, Part, PlacesIn, Product, Raft, Recovers, Roster,
    Snapshots, Task, Traces, Transfer, Ui, Watching, typed,
};
pub use request::{Method, Request};

pub use versions::{VersionChange, oldest};

use answer::{Responses, answered};

use crate::model::ClusterState;
use crate::raft::{Peer, View, Views};

/// What each server that was asked says of its peers at `path`, as `peers` reads its answer.
fn views(
    answers: &Answers,
    path: &'static str,
    peers: impl Fn(&Answer) -> Result<Vec<Peer>, String>,
) -> Views {
    let view = |answer: &Answer| match (answer, peers(answer)) {
        (Err(reason), _) => View::Silent(reason.clone()),
        (Ok(_), Ok(peers)) => View::Peers(peers),
        // It was asked by a host that answers, and does not answer itself.
        (Ok(said), Err(reason)) if said.values().all(|response| response.status == 0) => View::Silent(reason),
        (Ok(said), Err(reason)) if said.get(path).is_some_and(Response::is_refused) => View::Refused(reason),
        (Ok(_), Err(reason)) => View::Unclear(reason),
    };
    answers.iter().map(|(host, answer)| (host.clone(), view(answer))).collect()
}

/// `data_dir` in a configuration in JSON, as Consul and Nomad read it.
fn data_dir(configuration: &str) -> Option<String> {
    let configuration: serde_json::Value = serde_json::from_str(configuration).ok()?;
    Some(configuration.get("data_dir")?.as_str()?.to_owned())
}

/// Members of a part without servers: those whose answer says that they stand.
fn those(answers: &Answers, stands: fn(&Answer) -> bool) -> ClusterState {
    let members = answers.iter().filter(|(_, answer)| stands(answer)).map(|(host, _)| host.clone()).collect();
    ClusterState { members, ..ClusterState::default() }
}
