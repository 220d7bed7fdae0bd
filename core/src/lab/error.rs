//! What can go wrong with the lab, each with what to do about it.

use std::io;
use std::path::PathBuf;

use semver::Version;

use super::layout::{BRIDGE, LOCK, SUBNET};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the lab needs root: it makes containers, a bridge and mounts; run `sudo bootstrap lab …`, or as root"
    )]
    NotRoot,
    #[error("another `bootstrap lab` is at work ({holder}); wait until it is done (lock: {LOCK})")]
    Locked { holder: String },
    #[error(
        "the lab needs {}, which this machine lacks and which cannot be installed here for want of apt-get; install \
         the Debian packages {} or what your distribution calls them",
        programs.join(", "), packages.join(", ")
    )]
    Lacking { programs: Vec<String>, packages: Vec<String> },
    #[error("`{command}` failed ({status}){}", indent(output))]
    Command { command: String, status: String, output: String },
    #[error("cannot start `{program}`; is it installed?")]
    Start { program: String, source: io::Error },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {action}: {errno}")]
    System { action: String, errno: nix::errno::Errno },
    #[error(
        "the network {SUBNET} that the lab uses is taken on this machine: {by}; take that away, or use another \
         machine for the lab"
    )]
    SubnetTaken { by: String },
    #[error(
        "there is an interface `{BRIDGE}` that the lab did not make; rename or remove it (`ip link del {BRIDGE}`)"
    )]
    BridgeTaken,
    #[error(
        "the running lab has {what} {running}, asked for is {asked}; `bootstrap lab up --fresh` with the same \
         options starts it anew (its hosts are lost)"
    )]
    Different { what: String, running: String, asked: String },
    #[error("there is no lab; `bootstrap lab up` makes one")]
    NoLab,
    #[error("the lab has no host `{name}`; it has {hosts}")]
    NoHost { name: String, hosts: String },
    #[error("{} is no lab record any more ({reason}); `bootstrap lab down` clears everything away", path.display())]
    Record { path: PathBuf, reason: String },
    #[error("host {host} ended while it booted; {} says at its end:{}", console.display(), indent(tail))]
    HostDied { host: String, console: PathBuf, tail: String },
    #[error(
        "host {host} cannot be reached by ssh after {seconds} s: {reason}; its console is {}",
        console.display()
    )]
    HostSilent { host: String, seconds: u64, reason: String, console: PathBuf },
    #[error("the {what} ended at once:{}", indent(tail))]
    ServiceDied { what: &'static str, tail: String },
    #[error("the {what} is not ready after {seconds} s; its log is {}", log.display())]
    ServiceSilent { what: &'static str, seconds: u64, log: PathBuf },
    #[error(
        "the mirror has no consul {version} for this machine: {reason}; put {file} and its SHA256SUMS there by hand"
    )]
    NoRelease { version: Version, reason: String, file: String },
    #[error(
        "the lab's mirror has no consul {version}: {file} is not there. Of consul it can have {there}. \
         `tests/products/build consul` in the project's sources builds the release that the tests use"
    )]
    NoConsul { version: Version, file: String, there: String },
    #[error(
        "the mirror has no Kubernetes {version}: {file} is not there. `tests/products/build` in the project's sources \
         makes it, in twenty minutes"
    )]
    NoKubernetes { version: &'static str, file: String },
    #[error(
        "this kernel cannot filter bridged traffic (no br_netfilter), so hosts cannot be parted; try `modprobe \
         br_netfilter`"
    )]
    NoBridgeFilter,
    #[error("`{text}` is no usable user name: a-z, 0-9, `-` and `_`, a letter first, 32 at most")]
    UserName { text: String },
    #[error("{what} still uses {} after {seconds} s; see `{look}`, then run `bootstrap lab down` again", path.display())]
    Busy { what: String, path: PathBuf, seconds: u64, look: &'static str },
}

impl Error {
    /// For `map_err`: an I/O error with what was tried on which path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub fn system(action: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let action = action.into();
        move |errno| Self::System { action, errno }
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("\n    {line}")).collect()
}
