//! A connection to one host.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use openssh::{ForwardType, Session, Socket};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, OnceCell};

use super::master::{self, Link};
use super::{BecomePassword, ConnectOptions, Error, Target};
use crate::inventory::SshSettings;
use crate::model::HostName;

/// An open connection: sessions run one after another, so it works with `MaxSessions 1`.
///
/// When it is dropped the link is closed as well, but a worker thread waits for that: prefer
/// [`Connection::close`]. If this program is killed, ssh notices and leaves within seconds.
#[derive(Debug)]
pub struct Connection {
    pub(super) host: HostName,
    pub(super) address: String,
    pub(super) settings: SshSettings,
    pub(super) password: Option<BecomePassword>,
    options: ConnectOptions,
    first: Link,
    /// Instead of one that an earlier command has left and that is dead.
    second: OnceCell<Link>,
    /// The host has answered.
    proven: AtomicBool,
    one_at_a_time: AsyncMutex<()>,
    password_refused: AtomicBool,
    /// The sockets so far, with the ports they lead to.
    pub(super) forwards: Mutex<Vec<(PathBuf, Socket<'static>)>>,
    pub(super) forwarding: OnceCell<bool>,
}

impl Connection {
    /// Removes what runs that were killed have left on this machine.
    pub fn sweep(options: &ConnectOptions) {
        master::sweep(options.base());
    }

    /// Connects and authenticates: one handshake, no session yet; no handshake either where an earlier
    /// command has left its connection (`persist` in the settings).
    pub async fn open(
        target: &Target,
        options: &ConnectOptions,
        password: Option<&BecomePassword>,
    ) -> Result<Self, Error> {
        let first = master::open(target, options, None).await?;
        tracing::debug!(host = %target.host, reused = first.found, "connected");
        Ok(Self {
            host: target.host.clone(),
            address: target.address.clone(),
            settings: target.settings.clone(),
            password: password.cloned(),
            options: options.clone(),
            proven: AtomicBool::new(!first.found),
            first,
            second: OnceCell::new(),
            one_at_a_time: AsyncMutex::default(),
            password_refused: AtomicBool::new(false),
            forwards: Mutex::default(),
            forwarding: OnceCell::new(),
        })
    }

    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Whether the connection outlives this command: what on the host goes with it does not go yet.
    pub fn is_kept(&self) -> bool {
        self.link().is_kept()
    }

    /// Ends the connection and waits until ssh has let go of its socket; one that is kept is left to
    /// the next command.
    pub async fn close(self) -> Result<(), Error> {
        if self.is_kept() {
            self.forget_forwards().await;
        }
        let mut ended = self.first.close().await;
        if let Some(second) = self.second.into_inner() {
            ended = second.close().await;
        }
        match ended {
            // Gone already: so it is closed.
            Ok(()) | Err(openssh::Error::Disconnected | openssh::Error::Connect(_)) => Ok(()),
            Err(source) => Err(Error::Local {
                host: self.host,
                what: "cannot close the connection",
                source: source.into(),
            }),
        }
    }

    /// Lets a connection that is kept forget the ports of this command.
    async fn forget_forwards(&self) {
        let forwards = std::mem::take(&mut *self.forwards.lock().unwrap_or_else(PoisonError::into_inner));
        for (path, to) in forwards {
            // A listener that stays is only a file descriptor of an ssh that ends before long.
            let _ = self.session().close_port_forward(ForwardType::Local, path.as_path(), to).await;
            let _ = fs::remove_file(path);
        }
    }

    fn link(&self) -> &Link {
        self.second.get().unwrap_or(&self.first)
    }

    pub(super) fn session(&self) -> &Session {
        &self.link().session
    }

    /// Whether the host has answered over this connection, which may be an old one.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    pub(super) fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    /// Connects anew where ssh has lost the connection, once in a run: whether there is a new one.
    pub async fn reconnect(&self) -> bool {
        !self.second.initialized() && !self.is_alive().await && self.renew().await.is_ok()
    }

    /// Connects anew, in place of a connection that an earlier command has left, or that is lost.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let target = Target {
            host: self.host.clone(),
            address: self.address.clone(),
            settings: self.settings.clone(),
        };
        self.second.get_or_try_init(|| master::open(&target, &self.options, Some(&self.first.dir))).await?;
        self.prove();
        Ok(())
    }

    /// Waits for the session before, and refuses to ask sudo again after a refusal.
    pub(super) async fn turn(&self) -> Result<MutexGuard<'_, ()>, Error> {
        let turn = self.one_at_a_time.lock().await;
        if self.password_refused.load(Ordering::Relaxed) {
            return Err(Error::SudoPasswordWrong { host: self.host.clone(), first: None });
        }
        Ok(turn)
    }

    pub(super) fn refuse_password(&self) {
        self.password_refused.store(true, Ordering::Relaxed);
    }

    /// Whether ssh still holds the connection, as far as it knows.
    pub(super) async fn is_alive(&self) -> bool {
        self.session().check().await.is_ok()
    }

    pub(super) async fn cut(&self) -> Error {
        Error::LinkCut { host: self.host.clone(), last: master::last_words(self.directory()).await }
    }

    pub(super) async fn lost(&self) -> Error {
        Error::ConnectionLost { host: self.host.clone(), last: master::last_words(self.directory()).await }
    }

    /// The private directory: ssh's socket and log, forwarded sockets.
    pub(super) fn directory(&self) -> &Path {
        &self.link().dir
    }

    /// A name for another forwarded socket. Other commands may use the same directory.
    pub(super) fn new_forward(&self, to: Socket<'static>) -> PathBuf {
        let mut forwards = self.forwards.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory().join(format!("f{}-{}", std::process::id(), forwards.len()));
        forwards.push((path.clone(), to));
        path
    }
}
