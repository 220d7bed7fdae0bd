//! Asks a host's agent through its SSH connection: over a forwarded socket, or, where sshd forbids
//! forwarding, by a script on the host.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::questions::{answer, ask, question};
use crate::products::{Answer, Gate, Header, Method, Question, Questions, Request, Response, by_path};
use crate::script::{Nonce, Observation, Script};
use crate::ssh::{Connection, Forward};

/// What a program demands that speaks TLS: the authority of its own certificate, and ours with its key, all in PEM.
pub(crate) struct Tls {
    pub authority: String,
    pub identity: String,
}

/// An agent on the loopback of its host.
pub(crate) const AGENT: &str = "http://localhost";

/// How long one request may take. Agents answer from memory; a slower one is not well.
const REQUEST: Duration = Duration::from_secs(5);

/// A way to the APIs of one host's agents.
pub(crate) struct Api<'a> {
    connection: &'a Connection,
    gate: Gate,
    questions: Questions,
    route: Route,
}

enum Route {
    /// Not tried yet.
    Unknown,
    /// One for each port.
    Sockets(BTreeMap<u16, Socket>),
    /// A session of its own for each round of questions: sshd forbids forwarding, or only the host can ask.
    Script,
}

/// A port of a host, to be spoken to from here.
pub(crate) struct Socket {
    pub http: reqwest::Client,
    /// Held: dropping it ends the forwarding.
    _forward: Forward,
}

impl Socket {
    /// `None` where sshd forbids forwarding.
    pub(crate) async fn open(connection: &Connection, port: u16, request: Duration) -> Option<Self> {
        Self::signed(connection, port, request, None).await
    }

    /// The same with a token at the head of each request.
    pub(crate) async fn signed(
        connection: &Connection,
        port: u16,
        request: Duration,
        header: Option<Header>,
    ) -> Option<Self> {
        let forward = connection.forward(port).await.ok()?;
        let http = crate::http::socket(forward.path()).timeout(request).default_headers(headers(header));
        Some(Self { http: http.build().ok()?, _forward: forward })
    }

    /// Has it do something. The name in `site` is looked up nowhere: the socket decides where it leads.
    pub(crate) async fn send(&self, site: &str, request: &Request) -> reqwest::Result<reqwest::Response> {
        let address = format!("{site}{}", request.path);
        let asked = match request.method {
            Method::Get => self.http.get(address),
            Method::Put => self.http.put(address),
            Method::Post => self.http.post(address),
            Method::Delete => self.http.delete(address),
        };
        asked.body(request.body.clone()).send().await
    }

    /// The same where TLS is spoken, at an address that the host reaches.
    pub(crate) async fn open_tls(
        connection: &Connection,
        (address, port): (&str, u16),
        request: Duration,
        tls: &Tls,
    ) -> Option<Self> {
        let forward = connection.forward_to(address, port).await.ok()?;
        let http = crate::http::tls_socket(forward.path(), &tls.authority, &tls.identity).ok()?;
        Some(Self { http: http.timeout(request).build().ok()?, _forward: forward })
    }
}

impl<'a> Api<'a> {
    pub(crate) fn new(connection: &'a Connection, gate: Gate, questions: Questions) -> Self {
        Self { connection, gate, questions, route: Route::Unknown }
    }

    /// One round of the gate's questions.
    pub(crate) async fn ask(&mut self) -> Answer {
        if matches!(self.route, Route::Unknown) {
            self.route = self.open().await;
        }
        let answer = match (&self.route, &self.questions) {
            (Route::Sockets(sockets), Questions::Plain(questions)) => ask_sockets(sockets, questions).await,
            _ => self.ask_script().await,
        };
        // A host that lost its power and is back: the next round asks it over a connection of its own.
        if answer.is_err() && self.connection.reconnect().await {
            self.route = Route::Unknown;
        }
        answer
    }

    async fn open(&self) -> Route {
        let Questions::Plain(questions) = &self.questions else { return Route::Script };
        let mut sockets = BTreeMap::new();
        for question in questions {
            if sockets.contains_key(&question.port) {
                continue;
            }
            match Socket::signed(self.connection, question.port, REQUEST, question.header.clone()).await {
                Some(socket) => sockets.insert(question.port, socket),
                None => return Route::Script,
            };
        }
        Route::Sockets(sockets)
    }

    async fn ask_script(&self) -> Answer {
        let call = ask(&self.questions).map_err(|error| error.to_string())?;
        let probe = (question(self.gate), call);
        let script = Script::ask(&Nonce::random(), &[probe]);
        let records =
            self.connection.run(&script, REQUEST * 4, |_| ()).await.map_err(|error| error.to_string())?;
        answer(&Observation::new(&records), self.gate, &self.questions)
    }
}

/// What is at the head of each request.
pub(crate) fn headers(header: Option<Header>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // What no request may have was refused as a value of the inventory.
    let named = header.and_then(|Header { name, value }| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value.reveal()).ok()?))
    });
    if let Some((name, mut value)) = named {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

async fn ask_sockets(sockets: &BTreeMap<u16, Socket>, questions: &[Question]) -> Answer {
    let mut said = Vec::new();
    for Question { port, target, .. } in questions {
        // Each port of the questions has its socket.
        let Some(Socket { http, .. }) = sockets.get(port) else { break };
        match get(http, target).await {
            Ok(response) => said.push(response),
            Err(error) if said.is_empty() => return Err(said_nothing(&error)),
            // As a script does: what comes after needs a leader as well.
            Err(_) => break,
        }
    }
    by_path(questions.iter().map(|question| question.path), said)
        .ok_or_else(|| "nothing was asked".to_owned())
}

async fn get(http: &reqwest::Client, path: &str) -> reqwest::Result<Response> {
    response(http.get(format!("{AGENT}{path}")).send().await?).await
}

/// Status and body of an answer.
pub(crate) async fn response(response: reqwest::Response) -> reqwest::Result<Response> {
    let status = response.status().as_u16();
    Ok(Response { status, body: response.bytes().await?.to_vec() })
}

fn said_nothing(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "its agent accepts connections but does not answer".to_owned()
    } else {
        "its agent does not answer".to_owned()
    }
}
