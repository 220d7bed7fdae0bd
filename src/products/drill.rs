//! What a drill asks the API of a server while another one is killed, and how that one is killed.

use super::{Request, TlsFiles};
use crate::model::Endpoint;

/// How an API is reached from a server that is not killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// At the port of its endpoint, on its own loopback.
    Plain,
    /// At an address that it reaches, by certificates that lie on its host; `name` is one that the API's own certificate has.
    Tls { address: String, port: u16, name: &'static str, files: TlsFiles },
}

/// What is measured while one of a part's members is killed, or a program of it.
pub trait Drills: Sync {
    fn way(&self, _endpoint: &Endpoint) -> Way {
        Way::Plain
    }

    /// The program that is killed, by the word for it on the command line; `None`: the member itself.
    fn program(&self) -> Option<&'static str> {
        None
    }

    /// Asks who leads.
    fn leader(&self) -> Request;

    /// Who leads, in the API's own words; `None`: nobody, or it is not understood.
    fn read_leader(&self, body: &str) -> Option<String>;

    /// Where keys are written meanwhile, of products that keep keys for others.
    fn keys(&self) -> Option<&dyn Keys> {
        None
    }

    /// What of a host is killed, in the operator's words.
    fn victim(&self) -> &'static str {
        "its agent"
    }

    /// The commands that kill the member which runs as `unit`, and keep it from being started at once.
    fn kill(&self, unit: &str) -> Vec<Vec<String>> {
        kill_unit(unit)
    }

    /// The command that starts it again.
    fn revive(&self, unit: &str) -> Vec<String> {
        start_unit(unit)
    }
}

pub(super) fn kill_unit(unit: &str) -> Vec<Vec<String>> {
    vec![
        ["systemctl", "kill", "-s", "KILL", unit].map(str::to_owned).into(),
        ["systemctl", "stop", unit].map(str::to_owned).into(),
    ]
}

/// Whether it is well again a gate says.
pub(super) fn start_unit(unit: &str) -> Vec<String> {
    ["systemctl", "--no-block", "start", unit].map(str::to_owned).into()
}

/// Keys that a product keeps for others.
pub trait Keys: Sync {
    fn put(&self, key: &str, value: &str) -> Request;

    /// Whether an answer with success acknowledges it.
    fn is_acknowledged(&self, body: &str) -> bool;

    /// Asks for all keys that begin so, as the leader has them.
    fn list(&self, prefix: &str) -> Request;

    /// Their names; `None`: the answer is not understood.
    fn read_list(&self, body: &str) -> Option<Vec<String>>;

    /// Removes all keys that begin so.
    fn remove(&self, prefix: &str) -> Request;
}
