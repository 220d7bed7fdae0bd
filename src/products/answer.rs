//! One HTTP answer of an agent's API, from wherever it was asked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::Header;
use crate::model::HostName;

/// What the programs of a host are asked, in the way in which they answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Questions {
    /// Over plain HTTP on the host's own loopback.
    Plain(Vec<Question>),
    /// Over TLS by what lies on the host: only the host itself can ask.
    Tls(Vec<TlsQuestion>),
}

impl Questions {
    /// By which the answers are known, in order.
    pub fn paths(&self) -> Vec<&'static str> {
        match self {
            Self::Plain(questions) => questions.iter().map(|question| question.path).collect(),
            Self::Tls(questions) => questions.iter().map(|question| question.path).collect(),
        }
    }
}

/// One thing to ask of an agent on a host's loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub port: u16,
    /// By which the answer is known.
    pub path: &'static str,
    /// What is asked for: the path, with the host's name in the place of `NAME`.
    pub target: Cow<'static, str>,
    /// By which the agent knows who asks; whoever asks puts it there.
    pub header: Option<Header>,
}

impl Question {
    pub fn new(port: u16, path: &'static str) -> Self {
        Self { port, path, target: Cow::Borrowed(path), header: None }
    }

    /// One about the host alone: where each of many hosts asked for all of them, the answers would grow with the square.
    pub fn about(host: &HostName, port: u16, path: &'static str) -> Self {
        let target =
            if path.contains("NAME") { path.replace("NAME", host.as_str()).into() } else { path.into() };
        Self { port, path, target, header: None }
    }
}

/// One thing that a host asks, showing its certificate. What does not answer has the status 0, and the reason for a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsQuestion {
    /// By which the answer is known.
    pub path: &'static str,
    pub url: String,
    pub files: TlsFiles,
    /// The kind of answer that is wanted; empty: any.
    pub accept: &'static str,
    /// Sent with the question; empty: nothing is.
    pub body: &'static str,
}

/// Where on a host lies what it trusts and what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub authority: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
}

/// Status and body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 0: there was no answer in time.
    pub status: u16,
    pub body: Vec<u8>,
}

/// What one host was asked and answered, by the paths of the questions.
pub(super) type Responses = BTreeMap<&'static str, Response>;

/// What was answered with success; `what` answered otherwise, or did not.
pub(super) fn answered<'s>(
    said: &'s Responses,
    path: &'static str,
    what: &str,
) -> Result<&'s Response, String> {
    let response = said.get(path).ok_or_else(|| format!("{what} was not asked"))?;
    match response.status {
        200 => Ok(response),
        401 | 403 => Err(response.refusal()),
        0 => Err(format!("{what} does not answer: {}", response.start())),
        status => Err(format!("{what} says {status}: {}", response.start())),
    }
}

impl Response {
    /// Consul and Nomad are silent where they would have to ask a leader and there is none.
    fn none() -> Self {
        Self { status: 0, body: b"no answer in time, as without a leader".to_vec() }
    }

    /// Whether whoever asks is not to know it, by the word of the API or of a proxy before it.
    pub fn is_refused(&self) -> bool {
        // What a server refuses an agent passes on as a failure of its own, of some requests.
        let is_passed_on = || {
            let text = String::from_utf8_lossy(&self.body);
            ["Permission denied", "ACL not found"].iter().any(|words| text.contains(words))
        };
        matches!(self.status, 401 | 403) || (self.status == 500 && is_passed_on())
    }

    fn refusal(&self) -> String {
        format!("its API refuses to tell (status {}: ACLs?)", self.status)
    }

    /// The body as JSON. The error says what came instead, shortened.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.status == 0 {
            return Err(self.start());
        }
        if self.is_refused() {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|error| match self.status {
            200 => format!("its answer is not understood: {error} (`{}`)", self.start()),
            status => format!("status {status} (`{}`)", self.start()),
        })
    }

    /// Whether its JSON says `true` at the first of these places, `/a/b`, where it says one of the two; `None`: nowhere.
    pub(super) fn flag_at(&self, places: &[&str]) -> Option<bool> {
        let said = self.json::<serde_json::Value>().ok()?;
        places.iter().find_map(|place| said.pointer(place)?.as_bool())
    }

    /// How the body begins, for a message.
    pub fn start(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
        text.trim().to_owned()
    }
}

/// What was said to the questions of these paths, in their order as far as it goes; `None` if nothing was.
pub fn by_path(
    paths: impl IntoIterator<Item = &'static str>,
    said: impl IntoIterator<Item = Response>,
) -> Option<Responses> {
    let mut said = said.into_iter().peekable();
    said.peek()?;
    Some(paths.into_iter().map(|path| (path, said.next().unwrap_or_else(Response::none))).collect())
}

/// What the agents of one host said, by path; or why they said nothing at all.
pub type Answer = Result<Responses, String>;

/// What the agents of every asked host said.
pub type Answers = BTreeMap<HostName, Answer>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_said_in_plain_words() {
        for (status, body, says) in [
            (200, "[]", None),
            (0, "connection refused", Some("connection refused")),
            (403, "Permission denied", Some("its API refuses to tell (status 403: ACLs?)")),
            (403, "", Some("its API refuses to tell (status 403: ACLs?)")),
            (401, "[]", Some("its API refuses to tell (status 401: ACLs?)")),
            (
                500,
                "rpc error making call: Permission denied",
                Some("its API refuses to tell (status 500: ACLs?)"),
            ),
            (502, "<html>Bad Gateway", Some("status 502 (`<html>Bad Gateway`)")),
            (500, "No cluster leader", Some("status 500 (`No cluster leader`)")),
            // Autopilot's own words about a cluster that is not well.
            (429, "[]", None),
        ] {
            let response = Response { status, body: body.as_bytes().to_vec() };
            let said = response.json::<Vec<u8>>().err();
            assert_eq!(said.as_deref(), says, "{status} {body}");
        }
        let html = Response { status: 200, body: b"<html>".to_vec() };
        assert!(html.json::<Vec<u8>>().unwrap_err().starts_with("its answer is not understood: "));
    }
}
