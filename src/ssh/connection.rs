//! A connection to one host.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use openssh::Session;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell};

use super::session::{converse, last_line, refusal};
use super::{BecomePassword, ConnectOptions, Error, Forward, Target, forward, master, sudo, upload};
use crate::inventory::{HostName, SshSettings};
use crate::script::{Parser, Record, Script};

/// An open connection: sessions run one after another, so it works with `MaxSessions 1`.
///
/// When it is dropped the link is closed as well, but a worker thread waits for that: prefer
/// [`Connection::close`]. If this program is killed, ssh notices and leaves within ten seconds.
#[derive(Debug)]
pub struct Connection {
    pub(super) host: HostName,
    pub(super) settings: SshSettings,
    pub(super) password: Option<BecomePassword>,
    pub(super) session: Session,
    /// See [`master::Master`].
    lifeline: UnixStream,
    one_at_a_time: Mutex<()>,
    password_refused: AtomicBool,
    pub(super) forwards: AtomicU32,
    pub(super) forwarding: OnceCell<bool>,
}

impl Connection {
    /// Connects and authenticates: one handshake, no session yet.
    pub async fn open(
        target: &Target,
        options: &ConnectOptions,
        password: Option<&BecomePassword>,
    ) -> Result<Self, Error> {
        let master = master::launch(target, options).await?;
        tracing::debug!(host = %target.host, "connected");
        Ok(Self {
            host: target.host.clone(),
            settings: target.settings.clone(),
            password: password.cloned(),
            session: Session::new_native_mux(master.dir),
            lifeline: master.lifeline,
            one_at_a_time: Mutex::default(),
            password_refused: AtomicBool::new(false),
            forwards: AtomicU32::new(0),
            forwarding: OnceCell::new(),
        })
    }

    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Runs a script with root's rights as the settings' `become` says: one session. `on_line` gets its
    /// output line by line until it breaks, which it does at the script's end record.
    ///
    /// A script that has run out of time is no longer heard, but nobody stops it on the host: it holds
    /// its lock and, with `MaxSessions 1`, the only session until it ends.
    pub async fn stream(
        &self,
        script: &str,
        limit: Duration,
        mut on_line: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let _turn = self.turn().await?;
        let write = async |mut stdin: openssh::ChildStdin| {
            // When the host stops reading, what it says or does not say tells why.
            let _ = stdin.write_all(script.as_bytes()).await;
            Ok(())
        };
        let read = |line: &[u8]| on_line(&String::from_utf8_lossy(line));
        let ended = match tokio::time::timeout(limit, converse(self, sudo::SHELL, write, read)).await {
            Ok(ended) => ended?,
            Err(_) => {
                return Err(Error::TimedOut { host: self.host.clone(), what: "the script", after: limit });
            }
        };
        if ended.complete {
            return Ok(());
        }
        if let Some(error) = refusal(self, &ended) {
            return Err(error);
        }
        let host = self.host.clone();
        match ended.status {
            Some(status) => {
                Err(Error::ScriptStopped { host, status, last: last_line(&ended.stderr).to_owned() })
            }
            None => Err(Error::LinkCut { host, last: master::last_words(self.directory()) }),
        }
    }

    /// Runs a script and returns what it said; `on_record` hears each record as it arrives.
    pub async fn run(
        &self,
        script: &Script,
        limit: Duration,
        mut on_record: impl FnMut(&Record),
    ) -> Result<Vec<Record>, Error> {
        let mut parser = Parser::new(script.nonce());
        let mut records = Vec::new();
        self.stream(&script.for_host(), limit, |line| {
            let Some(record) = parser.line(line) else { return ControlFlow::Continue(()) };
            on_record(&record);
            let finished = record == Record::Finished;
            records.push(record);
            if finished { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
        Ok(records)
    }

    /// Puts a local file to `/var/lib/bootstrap/incoming/SHA256` on the host: one session. `on_bytes`
    /// gets how much of it is there so far. A file that is there already is not sent again.
    pub async fn upload(&self, file: &Path, sha256: &str, on_bytes: impl FnMut(u64)) -> Result<(), Error> {
        let _turn = self.turn().await?;
        upload::upload(self, file, sha256, on_bytes).await
    }

    /// A unix socket on this machine that leads to `port` on the host's loopback, without a session.
    /// Whether sshd allows it is tried once per connection; whether anything listens is not.
    pub async fn forward(&self, port: u16) -> Result<Forward, Error> {
        forward::open(self, port).await
    }

    /// Ends the connection and waits until ssh has let go of its socket.
    pub async fn close(self) -> Result<(), Error> {
        // ssh leaves when the last client has.
        drop(self.lifeline);
        match self.session.close().await {
            // Gone already: so it is closed.
            Ok(()) | Err(openssh::Error::Disconnected) => Ok(()),
            Err(source) => Err(Error::Local {
                host: self.host,
                what: "cannot close the connection",
                source: source.into(),
            }),
        }
    }

    /// Waits for the session before, and refuses to ask sudo again after a refusal.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        let turn = self.one_at_a_time.lock().await;
        if self.password_refused.load(Ordering::Relaxed) {
            return Err(Error::SudoPasswordWrong { host: self.host.clone(), first: None });
        }
        Ok(turn)
    }

    pub(super) fn refuse_password(&self) {
        self.password_refused.store(true, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> Error {
        Error::ConnectionLost { host: self.host.clone(), last: master::last_words(self.directory()) }
    }

    /// The private directory: ssh's socket and log, forwarded sockets.
    pub(super) fn directory(&self) -> &Path {
        // The socket is always a file in that directory.
        self.session.control_socket().parent().unwrap_or(Path::new("/"))
    }
}
