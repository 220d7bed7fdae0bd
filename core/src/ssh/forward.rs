//! Ports of a host as unix sockets on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssh::{ForwardType, Socket};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Connection, Error, log, master};
use crate::model::LOOPBACK;

/// Nothing listens there (tcpmux): a port to learn from whether sshd forwards at all.
const CLOSED_PORT: u16 = 1;

/// A socket that leads to a port on a host's loopback, or to one that the host reaches; it goes with the connection or when dropped.
///
/// ssh opens the way anew for each connection to the socket. If nothing listens on the host yet, the
/// socket accepts and closes at once: an HTTP client reports an incomplete message, not a refusal.
#[derive(Debug)]
pub struct Forward {
    path: PathBuf,
}

impl Forward {
    /// For `reqwest::ClientBuilder::unix_socket`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Without its name nobody gets in; the listener itself ends with the connection.
        let _ = fs::remove_file(&self.path);
    }
}

impl Connection {
    /// A unix socket on this machine that leads to `port` on the host's loopback, without a session.
    /// Whether sshd allows it is tried once per connection; whether anything listens is not.
    pub async fn forward(&self, port: u16) -> Result<Forward, Error> {
        self.forward_to(LOOPBACK, port).await
    }

    /// The same to a port at an address, or a name, that the host reaches.
    pub async fn forward_to(&self, address: &str, port: u16) -> Result<Forward, Error> {
        let allowed = self.forwarding.get_or_try_init(|| is_allowed(self)).await?;
        if !allowed {
            return Err(Error::ForwardingForbidden { host: self.host.clone(), at: self.address.clone() });
        }
        listen(self, address, port).await
    }
}

async fn listen(connection: &Connection, address: &str, port: u16) -> Result<Forward, Error> {
    let to = || Socket::TcpSocket { host: address.to_owned().into(), port };
    let path = connection.new_forward(to());
    match connection.session().request_port_forward(ForwardType::Local, path.as_path(), to()).await {
        Ok(()) => Ok(Forward { path }),
        Err(openssh::Error::Disconnected) => Err(connection.lost().await),
        Err(source) => {
            let host = connection.host.clone();
            Err(Error::Local { host, what: "ssh cannot forward a port", source: source.into() })
        }
    }
}

/// ssh listens on this side whatever sshd thinks of it; only a connection shows, and only ssh's log
/// tells a forbidden way from a closed port. So one is made to a port that is closed anyway.
async fn is_allowed(connection: &Connection) -> Result<bool, Error> {
    let already = master::read_log(connection.directory()).len();
    let probe = listen(connection, LOOPBACK, CLOSED_PORT).await?;
    let answered = async {
        let mut stream = UnixStream::connect(probe.path()).await?;
        stream.read(&mut [0]).await
    };
    // No answer at all says nothing against it: a firewall on the loopback, say.
    let _ = timeout(Duration::from_secs(5), answered).await;
    let log = master::read_log(connection.directory());
    Ok(!log::forbids_forwarding(log.get(already..).unwrap_or(&log)))
}
