//! Starts the `ssh` that holds a connection: a private directory, one attempt after another, and why
//! none succeeded.
//!
//! The openssh crate can start it too, but then nobody ends an ssh that hangs, jump hosts fail without
//! a word, and Ctrl-C takes the jump hosts' processes down with it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openssh::Session;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::kept::{self, Place};
use super::{ConnectOptions, Error, Target, config, kex, log};

/// How many seconds ssh outlives us when we are killed, and may wait for us after it has connected. A
/// run after that finds the hosts' locks free.
const LIFE_WITHOUT_US: u64 = 3;

/// How long an ssh may take to let go of its socket.
const CLOSING: Duration = Duration::from_secs(5);

/// A connected ssh, waiting at the socket `master` in its directory.
#[derive(Debug)]
pub(super) struct Link {
    pub session: Session,
    pub dir: PathBuf,
    /// Left by an earlier command: nobody knows yet whether the host still answers.
    pub found: bool,
    /// Where it stays for the next command.
    place: Option<Place>,
    /// Kept open as long as the connection is wanted: ssh sees it close even when we are killed, and
    /// leaves by itself.
    lifeline: UnixStream,
}

impl Link {
    pub fn is_kept(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.leads_to(&self.dir))
    }

    /// Ends the connection, or leaves it to the next command.
    pub async fn close(self) -> Result<(), openssh::Error> {
        let kept = self.is_kept();
        // ssh leaves when the last client has, and its time is over.
        drop(self.lifeline);
        if kept {
            return Ok(());
        }
        // An ssh that somebody has stopped never answers.
        let ended = timeout(CLOSING, self.session.close()).await.unwrap_or(Ok(()));
        if self.place.is_some() {
            // Another command's connection took its place meanwhile.
            let _ = fs::remove_dir_all(&self.dir);
        }
        ended
    }
}

/// Takes the connection that an earlier command has left, or connects.
pub(super) async fn open(target: &Target, options: &ConnectOptions, reuse: bool) -> Result<Link, Error> {
    let kex = kex::first(target).await?;
    let text = config::text(target, options, &kex)?;
    let arguments = config::arguments(target)?;
    let place = kept::place(target, options, &text, &arguments).await;
    if let (Some(place), true) = (&place, reuse)
        && let Some((dir, lifeline)) = place.find().await
    {
        let session = Session::resume_mux(dir.join("master").into(), None);
        return Ok(Link { session, dir, found: true, place: Some(place.clone()), lifeline });
    }
    let (dir, lifeline) = launch(target, options, &text, &arguments, place.as_ref()).await?;
    let path = dir.path().to_owned();
    let published = place.filter(|place| {
        let published = place.publish(&path);
        if let Err(error) = &published {
            tracing::warn!(host = %target.host, %error, "the connection is not kept");
        }
        published.is_ok()
    });
    let session = match published {
        // From now on it is not ours to remove.
        Some(_) => Session::resume_mux(dir.keep().join("master").into(), None),
        None => Session::new_native_mux(dir),
    };
    Ok(Link { session, dir: path, found: false, place: published, lifeline })
}

/// Connects, trying again while the reason may pass.
async fn launch(
    target: &Target,
    options: &ConnectOptions,
    config: &str,
    arguments: &[OsString],
    place: Option<&Place>,
) -> Result<(TempDir, UnixStream), Error> {
    let deadline = Instant::now() + options.deadline;
    let dir = private_directory(target, place.map_or(&options.control_dir, |place| &place.base))?;
    fs::write(dir.path().join("config"), config).map_err(local(target, "cannot write a file"))?;
    let life = place.map_or(LIFE_WITHOUT_US, |place| place.seconds);
    let mut pause = Duration::from_millis(200);
    let mut attempt = 1;
    loop {
        let error = match connect(target, dir.path(), arguments, life, deadline).await {
            Ok(()) => break,
            Err(error) => error,
        };
        let wait = jittered(pause);
        if !error.may_pass() || attempt >= options.attempts || Instant::now() + wait >= deadline {
            return Err(error);
        }
        tracing::debug!(host = %target.host, attempt, %error, "not connected yet");
        sleep(wait).await;
        pause *= 2;
        attempt += 1;
    }
    let lifeline = UnixStream::connect(dir.path().join("master")).await;
    match lifeline {
        Ok(lifeline) => Ok((dir, lifeline)),
        Err(_) => {
            Err(Error::ConnectionLost { host: target.host.clone(), last: last_words(dir.path()).await })
        }
    }
}

/// What ssh said last, for an error about a connection that has ended. It closes its sockets before it
/// says so, and then soon writes the line that is waited for here.
pub(super) async fn last_words(dir: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(1);
    let mut log = read_log(dir);
    while !log.contains("debug1: Exit status") && Instant::now() < end {
        sleep(Duration::from_millis(10)).await;
        log = read_log(dir);
    }
    log::last(&log).unwrap_or_else(|| "ssh ended without a word".to_owned())
}

/// What ssh and the processes that lead through its jump hosts have written so far.
pub(super) fn read_log(dir: &Path) -> String {
    fs::read(dir.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// One attempt. `ssh -f` returns once it is authenticated and its socket listens.
async fn connect(
    target: &Target,
    dir: &Path,
    arguments: &[OsString],
    life: u64,
    deadline: Instant,
) -> Result<(), Error> {
    let log = dir.join("log");
    // A new file: what an attempt before this one has started may still write to the old.
    let _ = fs::remove_file(&log);
    let log = File::create(log).map_err(local(target, "cannot write a file"))?;
    // ssh inherits the lock and keeps it as long as it lives.
    let _ = log.try_lock();
    let mut ssh = Command::new("ssh");
    // Only a verbose ssh that logs to its stderr keeps it in the background, and leaves it to the jump
    // hosts' processes: their last words are what an error needs.
    ssh.arg("-v").arg("-F").arg(dir.join("config"));
    ssh.arg("-S").arg(dir.join("master")).args(["-M", "-N", "-f", "-o", &format!("ControlPersist={life}")]);
    ssh.args(arguments);
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // Its own process group: Ctrl-C ends the run after the step in hand, not the links to the hosts.
    ssh.process_group(0).kill_on_drop(true);
    let missing = |source| Error::SshMissing { host: target.host.clone(), source };
    let mut child = ssh.spawn().map_err(missing)?;
    match timeout_at(deadline, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err(log::explain(target, &read_log(dir))),
        Ok(Err(source)) => Err(missing(source)),
        Err(_) => {
            let cause = log::unfinished(target, &read_log(dir));
            Err(Error::Unreachable { host: target.host.clone(), cause })
        }
    }
}

/// A directory that only we can enter, with a path short enough for sockets in it: ssh needs 17 of a
/// socket's 107 characters for itself.
fn private_directory(target: &Target, wanted: &Path) -> Result<TempDir, Error> {
    // ssh starts jump hosts through a shell and gives them our file's path as it stands.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = wanted.to_str().is_some_and(|path| path.len() <= 60 && path.chars().all(plain));
    let base = if fits && wanted.is_absolute() && wanted.is_dir() {
        wanted.to_owned()
    } else {
        PathBuf::from("/tmp")
    };
    tempfile::Builder::new()
        .prefix("bs-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(base)
        .map_err(local(target, "cannot make a private directory"))
}

fn local<E>(target: &Target, what: &'static str) -> impl FnOnce(E) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| Error::Local { host: target.host.clone(), what, source: Box::new(source) }
}

/// Between half and one and a half times `pause`, so that a hundred hosts behind one jump host do not
/// come back all at once.
fn jittered(pause: Duration) -> Duration {
    // Without random numbers the pause is as good as any.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}
