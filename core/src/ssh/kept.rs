//! Connections that outlive a command, for the next one to go on with.
//!
//! Under a private directory each has a directory of its own, and a link named after everything that
//! makes it different leads there:
//!
//! ```text
//! /tmp/bootstrap-ssh-1000/           0700, ours or not used at all
//!   bs-Xy12Ab/{config,log,master}    ssh holds a lock on its log as long as it lives
//!   3f9c5d0e8a71b264 -> bs-Xy12Ab
//! ```
//!
//! The name is a digest of what `ssh -G` says, so a changed user, port, key, jump host or line of the
//! user's own configuration leads to a new connection. That configuration may also forbid it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::{ConnectOptions, Target};
use crate::model::hex;

/// Where the connection to one target is kept.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The private directory.
    pub base: PathBuf,
    /// How long it is kept when nobody uses it.
    pub seconds: u64,
    name: String,
}

/// Where to keep the connection; nowhere unless the inventory says so and the user's configuration
/// agrees.
pub(super) async fn place(
    target: &Target,
    options: &ConnectOptions,
    config: &str,
    arguments: &[OsString],
) -> Option<Place> {
    let wished = target.settings.persist.map(|persist| persist.as_secs()).filter(|seconds| *seconds > 0)?;
    let host = &target.host;
    let base = options.base().join(format!("bootstrap-ssh-{}", nix::unistd::geteuid()));
    if let Err(reason) = make_private(&base) {
        tracing::warn!(%host, base = %base.display(), reason, "the connection is not kept");
        return None;
    }
    // Ours stand last, so what comes out differently is what the user wrote.
    let asked = format!("{config}ControlMaster auto\nControlPersist {wished}\nControlPath /ours\n");
    let effective = resolve(&asked, arguments).await?;
    let Some(seconds) = agreed(&effective, wished) else {
        tracing::info!(%host, "the connection is not kept: the ssh configuration says no");
        return None;
    };
    let name = hex(&Sha256::digest(format!("{seconds}\n{effective}"))[..8]);
    Some(Place { base, seconds, name })
}

impl Place {
    /// The connection that is kept here, if its ssh lives: its directory and a stream that holds it.
    /// `dead` is one that the caller knows not to answer.
    pub async fn find(&self, dead: Option<&Path>) -> Option<(PathBuf, UnixStream)> {
        let dir = self.leads_to()?;
        if dead == Some(&dir) {
            return None;
        }
        if let Ok(lifeline) = UnixStream::connect(dir.join("master")).await {
            return Some((dir, lifeline));
        }
        // A dead ssh's socket and log, or a link to nowhere, unless somebody has replaced it meanwhile.
        let _turn = self.turn().ok()?;
        if self.leads_to() == Some(dir) {
            let _ = fs::remove_file(self.link());
        }
        None
    }

    /// Lets the next command find this directory's connection, unless it finds another one already:
    /// that one may be in use, and one that nobody finds any more takes no new session. `dead` is in
    /// nobody's way. Says whether it is found from now on.
    pub fn publish(&self, dir: &Path, dead: Option<&Path>) -> std::io::Result<bool> {
        let _turn = self.turn()?;
        let before = self.leads_to();
        if before.is_some() && before.as_deref() != dead {
            return Ok(false);
        }
        let name = dir.file_name().unwrap_or_default();
        let fresh = self.base.join(format!("{}.{}", self.name, name.to_string_lossy()));
        symlink(name, &fresh)?;
        fs::rename(fresh, self.link())?;
        Ok(true)
    }

    /// The directory that the next command would find.
    pub fn leads_to(&self) -> Option<PathBuf> {
        fs::read_link(self.link()).ok().map(|name| self.base.join(name))
    }

    /// One command at a time changes where links lead. Dropping it ends the turn.
    fn turn(&self) -> std::io::Result<File> {
        let turn = File::open(&self.base)?;
        turn.lock()?;
        Ok(turn)
    }

    fn link(&self) -> PathBuf {
        self.base.join(&self.name)
    }
}

/// Makes the directory, or sees that nobody else can put anything into it.
fn make_private(base: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(base) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    let found = fs::symlink_metadata(base).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("it is no directory".to_owned());
    }
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err("it belongs to somebody else".to_owned());
    }
    if found.mode() & 0o077 != 0 {
        return Err("others may enter it".to_owned());
    }
    Ok(())
}

/// What ssh would do for these arguments, as `ssh -G` prints it.
async fn resolve(config: &str, arguments: &[OsString]) -> Option<String> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-G", "-F", "/dev/stdin"]).args(arguments).kill_on_drop(true);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    stdin.write_all(config.as_bytes()).await.ok()?;
    drop(stdin);
    let said = child.wait_with_output().await.ok()?;
    // Where this fails, connecting fails as well and says why.
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}

/// How long the connection may be kept: the user's `ControlMaster no`, `ControlPersist no` and
/// `ControlPath none` forbid it, a shorter `ControlPersist` shortens it. A `ControlPath` of the user's
/// own does not matter: that socket is never touched.
fn agreed(effective: &str, wished: u64) -> Option<u64> {
    let value = |key: &str| effective.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    if !matches!(value("controlmaster")?, "auto" | "yes" | "true") {
        return None;
    }
    value("controlpath").filter(|path| *path != "none")?;
    match value("controlpersist")? {
        "yes" | "true" => Some(wished),
        number => number.parse::<u64>().ok().filter(|seconds| *seconds > 0).map(|own| own.min(wished)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_configuration_has_the_last_word() {
        let table = [
            ("controlmaster auto\ncontrolpath /ours\ncontrolpersist 600\n", Some(600)),
            ("controlmaster auto\ncontrolpath ~/.ssh/cm-%C\ncontrolpersist 600\n", Some(600)),
            ("controlmaster true\ncontrolpath /ours\ncontrolpersist yes\n", Some(600)),
            ("controlmaster auto\ncontrolpath /ours\ncontrolpersist 30\n", Some(30)),
            ("controlmaster false\ncontrolpath /ours\ncontrolpersist 600\n", None),
            ("controlmaster ask\ncontrolpath /ours\ncontrolpersist 600\n", None),
            ("controlmaster auto\ncontrolpath /ours\ncontrolpersist no\n", None),
            ("controlmaster auto\ncontrolpersist 600\n", None),
            ("", None),
        ];
        for (effective, expected) in table {
            assert_eq!(agreed(effective, 600), expected, "{effective}");
        }
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let base = home.path().join("base");
        make_private(&base).unwrap();
        assert_eq!(fs::metadata(&base).unwrap().mode() & 0o777, 0o700);
        make_private(&base).unwrap();
        fs::set_permissions(&base, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
        assert!(make_private(&base).is_err());
        let link = home.path().join("link");
        symlink(home.path(), &link).unwrap();
        assert!(make_private(&link).is_err());
    }
}
