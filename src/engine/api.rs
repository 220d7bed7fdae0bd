//! Asks a host's agent through its SSH connection: over a forwarded socket, or, where sshd forbids
//! forwarding, by a script on the host.

use std::collections::BTreeMap;
use std::time::Duration;

use super::observe::{answer, http_get, question};
use crate::cluster::{Answer, Gate, Response};
use crate::script::{Nonce, Observation, Script};
use crate::ssh::{Connection, Forward};

/// How long one request may take. Agents answer from memory; a slower one is not well.
const REQUEST: Duration = Duration::from_secs(5);

/// A way to one agent's API.
pub(super) struct Api<'a> {
    connection: &'a Connection,
    gate: Gate,
    port: u16,
    route: Route,
}

enum Route {
    /// Not tried yet.
    Unknown,
    Socket {
        http: reqwest::Client,
        /// Held: dropping it ends the forwarding.
        _forward: Forward,
    },
    /// A session of its own for each round of questions.
    Script,
}

impl<'a> Api<'a> {
    pub(super) fn new(connection: &'a Connection, gate: Gate, port: u16) -> Self {
        Self { connection, gate, port, route: Route::Unknown }
    }

    /// One round of the gate's questions.
    pub(super) async fn ask(&mut self) -> Answer {
        if matches!(self.route, Route::Unknown) {
            self.route = self.open().await;
        }
        match &self.route {
            Route::Socket { http, .. } => ask_socket(http, self.gate).await,
            Route::Unknown | Route::Script => self.ask_script().await,
        }
    }

    async fn open(&self) -> Route {
        let Ok(forward) = self.connection.forward(self.port).await else { return Route::Script };
        match crate::http::socket(forward.path()).timeout(REQUEST).build() {
            Ok(http) => Route::Socket { http, _forward: forward },
            Err(_) => Route::Script,
        }
    }

    async fn ask_script(&self) -> Answer {
        let probe = (question(self.gate), http_get(self.port, self.gate));
        let script = Script::ask(&Nonce::random(), &[probe]);
        let records =
            self.connection.run(&script, REQUEST * 4, |_| ()).await.map_err(|error| error.to_string())?;
        answer(&Observation::new(&records), self.gate)
    }
}

async fn ask_socket(http: &reqwest::Client, gate: Gate) -> Answer {
    let mut said = BTreeMap::new();
    for &path in gate.paths() {
        // The name is not looked up: the socket decides where this goes.
        let response = http.get(format!("http://localhost{path}")).send().await.map_err(said_nothing)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(said_nothing)?.to_vec();
        said.insert(path, Response { status, body });
    }
    Ok(said)
}

fn said_nothing(error: reqwest::Error) -> String {
    if error.is_timeout() {
        "its agent accepts connections but does not answer".to_owned()
    } else {
        "its agent does not answer".to_owned()
    }
}
