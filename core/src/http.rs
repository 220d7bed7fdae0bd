//! The HTTP clients: one for sites, one for agents behind a socket. The only place that chooses how TLS is
//! done.

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;

/// A site that has not answered by then is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// A transfer that stands still for so long is broken.
const SILENCE: Duration = Duration::from_secs(30);

/// For sites: the machine's own certificates and proxies, and no way from https back to http.
pub fn site() -> reqwest::Result<reqwest::Client> {
    let redirects = Policy::custom(|attempt| {
        let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if was_safe && attempt.url().scheme() != "https" {
            attempt.error("it redirects from https to plain http")
        } else if attempt.previous().len() > 10 {
            attempt.error("it redirects in a circle")
        } else {
            attempt.follow()
        }
    });
    let agent = concat!("bootstrap/", env!("CARGO_PKG_VERSION"));
    builder().redirect(redirects).user_agent(agent).connect_timeout(CONNECT).read_timeout(SILENCE).build()
}

/// For the API of an agent behind a Unix socket. It needs no certificates, and reading the machine's would cost
/// more than the request.
pub fn socket(path: &Path) -> reqwest::ClientBuilder {
    builder().tls_certs_only([]).unix_socket(path)
}

/// The same for one that speaks TLS and wants to be shown a certificate: `authority` and `identity`, a certificate and its
/// key, in PEM.
///
/// # Errors
/// One of them is not what it should be.
pub fn tls_socket(path: &Path, authority: &str, identity: &str) -> reqwest::Result<reqwest::ClientBuilder> {
    let authority = reqwest::Certificate::from_pem(authority.as_bytes())?;
    let identity = reqwest::Identity::from_pem(identity.as_bytes())?;
    Ok(builder().tls_certs_only([authority]).identity(identity).unix_socket(path))
}

#[allow(clippy::disallowed_methods, reason = "here the provider is chosen that `builder` panics without")]
fn builder() -> reqwest::ClientBuilder {
    // A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
