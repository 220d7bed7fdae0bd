//! Where to connect, and how long to try.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::inventory::{Host, SshSettings};
use crate::model::HostName;

/// A host as ssh sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: HostName,
    /// An IP address, a name, or an alias from the user's ssh configuration.
    pub address: String,
    pub settings: SshSettings,
}

impl From<&Host> for Target {
    fn from(host: &Host) -> Self {
        Self { host: host.name.clone(), address: host.address.clone(), settings: host.ssh.clone() }
    }
}

/// How connections are opened; the same for every host of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// For all attempts together.
    pub deadline: Duration,
    /// How often to try when the reason may pass: refused, no answer, connection dropped.
    pub attempts: u32,
    /// Where the private directory with the control socket is made: `$XDG_RUNTIME_DIR` when there is one.
    /// `/tmp` is taken instead when the path is too long for a socket.
    pub control_dir: PathBuf,
}

impl ConnectOptions {
    /// Where private directories go, with a path short enough for sockets in them: ssh needs 17 of a
    /// socket's 107 characters for itself. It starts jump hosts through a shell and gives them our file's
    /// path as it stands, so only plain characters do.
    pub(super) fn base(&self) -> &Path {
        let wanted = self.control_dir.as_path();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let fits = wanted.to_str().is_some_and(|path| path.len() <= 50 && path.chars().all(plain));
        if fits && wanted.is_absolute() && wanted.is_dir() { wanted } else { Path::new("/tmp") }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(30), attempts: 5, control_dir: PathBuf::from("/tmp") }
    }
}
