//! Starts the `ssh` that holds a connection: a private directory, one attempt after another, and why
//! none succeeded.
//!
//! The openssh crate can start it too, but then nobody ends an ssh that hangs, jump hosts fail without
//! a word, and Ctrl-C takes the jump hosts' processes down with it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout_at};

use super::{ConnectOptions, Error, Target, config, log};

/// How long ssh outlives us when we are killed, and may wait for us after it has connected.
const LIFE_WITHOUT_US: &str = "ControlPersist=5";

/// What the names of private directories start with.
const PREFIX: &str = "bs-";

/// The age from which a directory without a living ssh is nobody's: no connection takes that long.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// A connected ssh, waiting at the socket `master` in its directory.
pub(super) struct Master {
    pub dir: TempDir,
    /// Kept open as long as the connection is wanted: ssh sees it close even when we are killed, and
    /// leaves by itself.
    pub lifeline: UnixStream,
}

/// Connects, trying again while the reason may pass.
pub(super) async fn launch(target: &Target, options: &ConnectOptions) -> Result<Master, Error> {
    let deadline = Instant::now() + options.deadline;
    let dir = private_directory(target, options)?;
    fs::write(dir.path().join("config"), config::text(target, options)?)
        .map_err(local(target, "cannot write a file"))?;
    let arguments = config::arguments(target)?;
    let mut pause = Duration::from_millis(200);
    let mut attempt = 1;
    loop {
        let error = match connect(target, dir.path(), &arguments, deadline).await {
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
        Ok(lifeline) => Ok(Master { dir, lifeline }),
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
    arguments: &[std::ffi::OsString],
    deadline: Instant,
) -> Result<(), Error> {
    let log = dir.join("log");
    // A new file: what an attempt before this one has started may still write to the old.
    let _ = fs::remove_file(&log);
    let log = File::create(log).map_err(local(target, "cannot write a file"))?;
    let mut ssh = Command::new("ssh");
    // Only a verbose ssh that logs to its stderr keeps it in the background, and leaves it to the jump
    // hosts' processes: their last words are what an error needs.
    ssh.arg("-v").arg("-F").arg(dir.join("config"));
    ssh.arg("-S").arg(dir.join("master")).args(["-M", "-N", "-f", "-o", LIFE_WITHOUT_US]);
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
fn private_directory(target: &Target, options: &ConnectOptions) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(base(options))
        .map_err(local(target, "cannot make a private directory"))
}

/// Where private directories go, with a path short enough for sockets in them: ssh needs 17 of a
/// socket's 107 characters for itself. It starts jump hosts through a shell and gives them our file's
/// path as it stands, so only plain characters do.
fn base(options: &ConnectOptions) -> &Path {
    let wanted = options.control_dir.as_path();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = wanted.to_str().is_some_and(|path| path.len() <= 60 && path.chars().all(plain));
    if fits && wanted.is_absolute() && wanted.is_dir() { wanted } else { Path::new("/tmp") }
}

/// Removes what programs that were killed have left: directories of ours whose ssh is long gone.
pub(super) fn sweep(options: &ConnectOptions) {
    let stale = |entry: &fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        let ours = metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw();
        let named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let old = metadata.modified().ok()?.elapsed().ok()? > LEFT_BEHIND;
        let dead = || std::os::unix::net::UnixStream::connect(entry.path().join("master")).is_err();
        Some(ours && named && old && dead())
    };
    for entry in fs::read_dir(base(options)).into_iter().flatten().flatten() {
        if stale(&entry) == Some(true) {
            // Another run may sweep as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
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
        let options = ConnectOptions { control_dir: dir.path().to_owned(), ..ConnectOptions::default() };
        let yesterday = SystemTime::now() - Duration::from_secs(86400);
        for name in ["bs-dead", "bs-alive", "bs-young", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let _alive = std::os::unix::net::UnixListener::bind(dir.path().join("bs-alive/master")).unwrap();
        for name in ["bs-dead", "bs-alive", "other"] {
            File::open(dir.path().join(name)).unwrap().set_modified(yesterday).unwrap();
        }
        sweep(&options);
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["bs-alive", "bs-young", "other"]);
    }

    #[test]
    fn a_directory_that_does_not_suit_sockets_is_not_used() {
        let at = |path: &str| ConnectOptions { control_dir: path.into(), ..ConnectOptions::default() };
        for path in ["/run/user/with space", "relative", "/nowhere", &format!("/{}", "x".repeat(80))] {
            assert_eq!(base(&at(path)), Path::new("/tmp"), "{path}");
        }
        assert_eq!(base(&at("/usr")), Path::new("/usr"));
    }
}
