//! Starts the `ssh` that holds a connection: a private directory, one attempt after another, and why
//! none succeeded.
//!
//! The openssh crate can start it too, but then nobody ends an ssh that hangs, jump hosts fail without
//! a word, and Ctrl-C takes the jump hosts' processes down with it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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

/// Between two attempts, on average.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long an ssh may take to let go of its socket.
const CLOSING: Duration = Duration::from_secs(2);

/// What the names of private directories start with.
const PREFIX: &str = "bs-";

/// The age from which a directory without a living ssh is nobody's: no attempt takes that long.
const LEFT_BEHIND: Duration = Duration::from_secs(300);

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
        self.place.as_ref().is_some_and(|place| place.leads_to().as_ref() == Some(&self.dir))
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
            // It did not answer, and another took its place.
            let _ = fs::remove_dir_all(&self.dir);
        }
        ended
    }
}

/// Takes the connection that an earlier command has left, unless it is the `dead` one, or connects.
pub(super) async fn open(
    target: &Target,
    options: &ConnectOptions,
    dead: Option<&Path>,
) -> Result<Link, Error> {
    let kex = kex::first(target).await?;
    let text = config::text(target, &kex)?;
    let arguments = config::arguments(target)?;
    let place = kept::place(target, options, &text, &arguments).await;
    if let Some(place) = &place
        && let Some((dir, lifeline)) = place.find(dead).await
    {
        let session = Session::resume_mux(dir.join("master").into(), None);
        return Ok(Link { session, dir, found: true, place: Some(place.clone()), lifeline });
    }
    let (dir, lifeline) = launch(target, options, &text, &arguments, place.as_ref()).await?;
    let path = dir.path().to_owned();
    let mut published = None;
    if let Some(place) = place {
        match place.publish(&path, dead) {
            Ok(true) => {
                if let Some(dead) = dead {
                    retire(dead).await;
                }
                sweep(&place.base);
                published = Some(place);
            }
            // Another command was faster: ours ends with us.
            Ok(false) => {}
            Err(error) => tracing::warn!(host = %target.host, %error, "the connection is not kept"),
        }
    }
    let session = match published {
        // From now on it is not ours to remove.
        Some(_) => Session::resume_mux(dir.keep().join("master").into(), None),
        None => Session::new_native_mux(dir),
    };
    Ok(Link { session, dir: path, found: false, place: published, lifeline })
}

/// Lets a connection that did not answer end, if its ssh still listens.
async fn retire(dir: &Path) {
    let session = Session::resume_mux(dir.join("master").into(), None);
    let _ = timeout(CLOSING, session.close()).await;
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
    let dir = private_directory(target, place.map_or_else(|| options.base(), |place| &place.base))?;
    fs::write(dir.path().join("config"), config).map_err(local(target, "cannot write a file"))?;
    let life = place.map_or(LIFE_WITHOUT_US, |place| place.seconds);
    let mut pause = Duration::from_millis(200);
    let mut attempt = 1;
    loop {
        let error = match connect(target, dir.path(), arguments, life, deadline).await {
            Ok(()) => match UnixStream::connect(dir.path().join("master")).await {
                Ok(lifeline) => return Ok((dir, lifeline)),
                // On a machine that is busy with many of them it may have waited for us in vain.
                Err(_) => {
                    Error::ConnectionLost { host: target.host.clone(), last: last_words(dir.path()).await }
                }
            },
            Err(error) => error,
        };
        let wait = jittered(pause);
        // A server that is full lets everybody in some time.
        let most = if error.is_full() { options.attempts.saturating_mul(4) } else { options.attempts };
        if !error.may_pass() || attempt >= most || Instant::now() + wait >= deadline {
            return Err(error);
        }
        tracing::debug!(host = %target.host, attempt, %error, "not connected yet");
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        attempt += 1;
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

/// A directory that only we can enter.
fn private_directory(target: &Target, base: &Path) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(base)
        .map_err(local(target, "cannot make a private directory"))
}

/// Removes what programs that were killed, and connections that have ended, have left: directories of
/// ours whose ssh is gone.
pub(super) fn sweep(base: &Path) {
    let stale = |entry: &fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        let ours = metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw();
        let named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let old = metadata.modified().ok()?.elapsed().ok()? > LEFT_BEHIND;
        Some(ours && named && old && !is_alive(&entry.path()))
    };
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if stale(&entry) == Some(true) {
            // Another run may sweep as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the ssh of this directory lives: it holds the lock on its log. To ask it at its socket would
/// make one that is kept stay longer.
fn is_alive(dir: &Path) -> bool {
    File::open(dir.join("log")).is_ok_and(|log| matches!(log.try_lock(), Err(fs::TryLockError::WouldBlock)))
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_dead_directories_of_ours_are_swept() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let yesterday = SystemTime::now() - Duration::from_secs(86400);
        for name in ["bs-dead", "bs-alive", "bs-young", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        File::create(dir.path().join("bs-dead/log")).unwrap();
        let alive = File::create(dir.path().join("bs-alive/log")).unwrap();
        alive.lock().unwrap();
        for name in ["bs-dead", "bs-alive", "other"] {
            File::open(dir.path().join(name)).unwrap().set_modified(yesterday).unwrap();
        }
        sweep(dir.path());
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["bs-alive", "bs-young", "other"]);
    }

    #[test]
    fn a_directory_that_does_not_suit_sockets_is_not_used() {
        let at = |path: &str| ConnectOptions { control_dir: path.into(), ..ConnectOptions::default() };
        for path in ["/run/user/with space", "relative", "/nowhere", &format!("/{}", "x".repeat(80))] {
            assert_eq!(at(path).base(), Path::new("/tmp"), "{path}");
        }
        assert_eq!(at("/usr").base(), Path::new("/usr"));
    }
}
