//! The pages of an agent for one browser on this machine: a port of the loopback that leads to the agent's own, through SSH.
//!
//! Whoever else is on this machine reaches the port too, and so does every page that the browser has open. So nobody is let in but by a
//! cookie, which a link gives once, and no request that names another host than this one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::api::{AGENT, headers};
use crate::model::hex;
use crate::products::{Header, Ui};
use crate::secrets::{SecretsError, random};
use crate::ssh::{Connection, Forward};

/// Browsers wait at an agent for its next change, for minutes.
const WAITS: Duration = Duration::from_secs(15 * 60);
/// A request of a browser, job files included.
const LARGEST: usize = 16 * 1024 * 1024;
const COOKIE: &str = "bootstrap-ui";

/// Of a connection, not of what is said over it.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::CONTENT_LENGTH,
];

type Body = BoxBody<Bytes, reqwest::Error>;

/// A port of this machine that is an agent's.
pub struct UiPort {
    listener: TcpListener,
    doorway: Arc<Doorway>,
    /// The ways go with it.
    _connection: Connection,
}

struct Doorway {
    http: reqwest::Client,
    _forward: Forward,
    /// By which the agent knows who asks.
    token: Option<&'static str>,
    ui: Ui,
    /// What the link and the cookie have.
    key: String,
    used: AtomicBool,
    /// As a browser names this port.
    names: [String; 2],
    writes: bool,
}

/// Why an agent's pages cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    #[error("sshd forbids forwarding")]
    Forwarding(#[source] crate::ssh::Error),
    #[error("its agent does not answer")]
    Silent(#[source] reqwest::Error),
    #[error("its agent has no UI: it says {0}; `ui: false` in the inventory switches it off")]
    None(StatusCode),
    #[error("port {port} of this machine cannot be listened on")]
    Port { port: u16, source: std::io::Error },
    #[error(transparent)]
    Random(#[from] SecretsError),
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

impl UiPort {
    /// Of the agent at a port of a host, which is shown a token, on `own` of this machine's loopback (0: any that is free).
    ///
    /// # Errors
    /// The agent does not answer, has no pages, or there is no way to it.
    pub async fn open(
        connection: Connection,
        (port, header): (u16, Option<Header>),
        ui: Ui,
        own: u16,
        writes: bool,
    ) -> Result<Self, UiError> {
        let token = header.as_ref().map(|header| header.name);
        let forward = connection.forward(port).await.map_err(UiError::Forwarding)?;
        let http = crate::http::socket(forward.path()).redirect(reqwest::redirect::Policy::none());
        let http = http.timeout(WAITS).default_headers(headers(header)).build().map_err(UiError::Client)?;
        let first = http.get(format!("{AGENT}{}", ui.page)).timeout(Duration::from_secs(10)).send();
        let status = first.await.map_err(UiError::Silent)?.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(UiError::None(status));
        }
        let listener = TcpListener::bind(("127.0.0.1", own))
            .await
            .map_err(|source| UiError::Port { port: own, source })?;
        let own = listener.local_addr().map_err(|source| UiError::Port { port: own, source })?.port();
        let doorway = Doorway {
            http,
            _forward: forward,
            token,
            ui,
            key: hex(random::<16>()?),
            used: AtomicBool::new(false),
            names: [format!("127.0.0.1:{own}"), format!("localhost:{own}")],
            writes,
        };
        Ok(Self { listener, doorway: Arc::new(doorway), _connection: connection })
    }

    /// What a browser is to open, once.
    pub fn link(&self) -> String {
        format!("http://{}/{}", self.doorway.names[0], self.doorway.key)
    }

    /// Serves until it is dropped.
    pub async fn serve(&self) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Of open files there may be more in a moment.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let doorway = Arc::clone(&self.doorway);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let doorway = Arc::clone(&doorway);
                    async move { Ok::<_, Infallible>(doorway.answer(request).await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a browser's connection ended");
                }
            });
        }
    }
}

impl Doorway {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.names.iter().any(|name| name == host)) {
            return said(StatusCode::MISDIRECTED_REQUEST, "this port is 127.0.0.1, and has no other name");
        }
        if request.uri().path().strip_prefix('/') == Some(self.key.as_str()) {
            return self.let_in();
        }
        if !has_cookie(request.headers(), &self.key) {
            return said(StatusCode::FORBIDDEN, "open the link that `bootstrap ui` has printed");
        }
        if !self.may(request.method(), request.uri().path()) {
            return said(
                StatusCode::FORBIDDEN,
                "nothing is changed from here; `bootstrap ui --write` lets it be",
            );
        }
        match self.pass(request).await {
            Ok(response) => response,
            Err(error) => {
                let reason = if error.is_timeout() { "answers too late" } else { "does not answer" };
                said(StatusCode::BAD_GATEWAY, &format!("the agent {reason}"))
            }
        }
    }

    /// Whoever has the link, once: it may be seen in a list of processes or a history.
    fn let_in(&self) -> Response<Body> {
        if self.used.swap(true, Ordering::Relaxed) {
            return said(
                StatusCode::GONE,
                "the link has been used; run `bootstrap ui` again for another one",
            );
        }
        let mut response = said(StatusCode::SEE_OTHER, "");
        let cookie = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", self.key);
        for (name, value) in [(header::SET_COOKIE, cookie.as_str()), (header::LOCATION, self.ui.page)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn may(&self, method: &Method, path: &str) -> bool {
        self.writes
            || matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            || (*method == Method::POST && self.ui.reads.contains(&path))
    }

    async fn pass(&self, request: Request<Incoming>) -> reqwest::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let body = match http_body_util::Limited::new(body, LARGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Ok(said(StatusCode::PAYLOAD_TOO_LARGE, "the request is larger than 16 MiB")),
        };
        let mut headers = of_content(&parts.headers);
        // The agent has no use for them, and the cookie is ours.
        for name in [header::HOST, header::COOKIE, header::ORIGIN, header::REFERER] {
            headers.remove(name);
        }
        // Pages of somebody who has not logged in send an empty one.
        if let Some(name) = self.token
            && headers.get(name).is_some_and(HeaderValue::is_empty)
        {
            headers.remove(name);
        }
        let asked = self.http.request(parts.method, format!("{AGENT}{target}"));
        let response = asked.headers(headers).body(body).send().await?;
        let mut passed = Response::builder().status(response.status());
        if let Some(headers) = passed.headers_mut() {
            *headers = of_content(response.headers());
        }
        let body = StreamBody::new(response.bytes_stream().map_ok(Frame::data)).boxed();
        Ok(passed.body(body).unwrap_or_else(|_| said(StatusCode::BAD_GATEWAY, "the agent's answer is none")))
    }
}

/// All that belongs to what is said.
fn of_content(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}

fn has_cookie(headers: &HeaderMap, key: &str) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .any(|cookie| cookie.trim().split_once('=') == Some((COOKIE, key)))
}

fn said(status: StatusCode, text: &str) -> Response<Body> {
    let text = if text.is_empty() { String::new() } else { format!("{text}\n") };
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_one_of_many() {
        let headers = |cookies: &[&'static str]| -> HeaderMap {
            cookies.iter().map(|cookie| (header::COOKIE, HeaderValue::from_static(cookie))).collect()
        };
        for (cookies, is_known) in [
            (&["bootstrap-ui=abc"][..], true),
            (&["a=b; bootstrap-ui=abc; c=d"], true),
            (&["a=b", "bootstrap-ui=abc"], true),
            (&["bootstrap-ui=abcd"], false),
            (&["x-bootstrap-ui=abc"], false),
            (&["bootstrap-ui"], false),
            (&[], false),
        ] {
            assert_eq!(has_cookie(&headers(cookies), "abc"), is_known, "{cookies:?}");
        }
    }
}
