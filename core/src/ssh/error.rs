//! What can go wrong between here and a host, and what to do about it.

use std::time::Duration;
use std::{fmt, io};

use crate::model::HostName;

/// Why a connection, a script, an upload or a forwarded port failed. The text leaves out the host, which whoever prints
/// it has named already: see [`Error::host`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot be reached: {cause}")]
    Unreachable { host: HostName, cause: Cause },
    #[error("the host key of {at} is not known{}", shown(" (", fingerprint, ")"))]
    HostKeyUnknown { host: HostName, at: String, fingerprint: Option<String> },
    #[error("the host key of {at} has changed{}", shown(", against ", known_hosts, ""))]
    HostKeyChanged {
        host: HostName,
        at: String,
        /// `FILE:LINE` of the key that was expected.
        known_hosts: Option<String>,
        fingerprint: Option<String>,
    },
    #[error("{at} does not let `{user}` in ({methods}); {}", tried(keys))]
    AuthenticationDenied { host: HostName, at: String, user: String, methods: String, keys: Vec<String> },
    #[error("the connection is lost: {last}")]
    ConnectionLost { host: HostName, last: String },
    #[error("the link was cut before the script ended: {last}")]
    LinkCut { host: HostName, last: String },
    #[error("the script stopped before its end{}: {last}", shown(" with status ", status, ""))]
    ScriptStopped {
        host: HostName,
        /// Absent when a signal ended it.
        status: Option<i32>,
        last: String,
    },
    #[error("sshd at {at} forbids forwarding")]
    ForwardingForbidden { host: HostName, at: String },
    #[error("sshd refuses another session: {reason}")]
    SessionRefused { host: HostName, reason: String },
    #[error("sudo asks for a password")]
    SudoPasswordNeeded { host: HostName },
    #[error("{}", refused_by(first))]
    SudoPasswordWrong {
        host: HostName,
        /// The host that refused it, when it was not even sent to this one.
        first: Option<HostName>,
    },
    #[error("sudo is not installed")]
    SudoMissing { host: HostName },
    #[error("sudo does not let the user become root: {reason}")]
    SudoDenied { host: HostName, reason: String },
    #[error("sudo lets `{user}` in only from a terminal (requiretty)")]
    SudoNeedsTerminal { host: HostName, user: String },
    #[error("no end of {what} after {}", seconds(*after))]
    TimedOut { host: HostName, what: &'static str, after: Duration },
    #[error("it lets us in, and then its shell says nothing for {}", seconds(*after))]
    Silent { host: HostName, after: Duration },
    #[error("`{file}` was not taken: {reason}")]
    UploadFailed { host: HostName, file: String, reason: String },
    #[error("{what} {value:?} cannot be given to ssh: {reason}")]
    Setting { host: HostName, what: &'static str, value: String, reason: &'static str },
    #[error("the program ssh cannot be started")]
    SshMissing { host: HostName, source: io::Error },
    #[error("{what}")]
    Local { host: HostName, what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

/// Why a host cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("{at} refuses the connection")]
    Refused { at: String },
    #[error("{at} does not answer")]
    NoAnswer { at: String },
    #[error("no way to {at}: {reason}")]
    NoRoute { at: String, reason: String },
    #[error("the name `{name}` does not resolve: {reason}")]
    NameNotFound { name: String, reason: String },
    #[error("{at} closes the connection before it says anything")]
    Dropped { at: String },
    #[error("{at} accepts the connection and then says nothing")]
    Silent { at: String },
    #[error("{0}")]
    Other(String),
}

impl Cause {
    /// Whether another attempt may do better: a host that boots, a sshd at its `MaxStartups`.
    fn may_pass(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::NoAnswer { .. } | Self::NoRoute { .. } => true,
            Self::Dropped { .. } | Self::Silent { .. } => true,
            Self::NameNotFound { reason, .. } => reason.contains("Temporary failure"),
            Self::Other(_) => false,
        }
    }
}

impl Error {
    /// The host that failed.
    pub fn host(&self) -> &HostName {
        match self {
            Self::Unreachable { host, .. }
            | Self::HostKeyUnknown { host, .. }
            | Self::HostKeyChanged { host, .. }
            | Self::AuthenticationDenied { host, .. }
            | Self::ConnectionLost { host, .. }
            | Self::LinkCut { host, .. }
            | Self::ScriptStopped { host, .. }
            | Self::ForwardingForbidden { host, .. }
            | Self::SessionRefused { host, .. }
            | Self::SudoPasswordNeeded { host }
            | Self::SudoPasswordWrong { host, .. }
            | Self::SudoMissing { host }
            | Self::SudoDenied { host, .. }
            | Self::SudoNeedsTerminal { host, .. }
            | Self::TimedOut { host, .. }
            | Self::Silent { host, .. }
            | Self::UploadFailed { host, .. }
            | Self::Setting { host, .. }
            | Self::SshMissing { host, .. }
            | Self::Local { host, .. } => host,
        }
    }

    /// Whether nothing ran on the host because it was never reached or did not let us in.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::HostKeyUnknown { .. }
                | Self::HostKeyChanged { .. }
                | Self::AuthenticationDenied { .. }
                | Self::ConnectionLost { .. }
        )
    }

    /// Whether another attempt to connect may do better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.may_pass(),
            Self::ConnectionLost { .. } => true,
            _ => false,
        }
    }

    /// Whether the host may have turned us away because too many came at once.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Unreachable { cause: Cause::Dropped { .. }, .. })
    }

    /// What the operator can do, as the `help` line of a report.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { cause, .. } => match cause {
                Cause::Refused { .. } => "is sshd running there, and is `ssh: { port: … }` right?".to_owned(),
                Cause::NoAnswer { .. } | Cause::NoRoute { .. } => {
                    "is the host up, the address right, and does a firewall or a jump host stand between?"
                        .to_owned()
                }
                Cause::NameNotFound { .. } => "correct `address`, or use an IP address".to_owned(),
                Cause::Dropped { .. } => {
                    "sshd may be at its MaxStartups, or a tcp wrapper refuses this machine".to_owned()
                }
                Cause::Silent { .. } => {
                    "is it sshd that listens there? a host without memory or disk also hangs so".to_owned()
                }
                Cause::Other(_) => return None,
            },
            Self::HostKeyUnknown { .. } => {
                "compare the fingerprint on the host's console, then connect once with `ssh`, or set \
                 `ssh: { host_keys: accept-new }`"
                    .to_owned()
            }
            Self::HostKeyChanged { at, .. } => format!(
                "if the host was installed anew: `ssh-keygen -R '{at}'` and connect once with `ssh`; if not, \
                 something else answers at that address"
            ),
            Self::AuthenticationDenied { methods, .. } if methods.starts_with("too many keys") => {
                "the agent has more keys than are tried there: name the right one by `ssh: { identity_file: … }`; for a jump host write \
                 it into ~/.ssh/config, `Host JUMP` with `IdentityFile` and `IdentitiesOnly yes`, or into a file that `ssh: { config: \
                 FILE }` names"
                    .to_owned()
            }
            Self::AuthenticationDenied { user, .. } => format!(
                "try `ssh -l {user}` by hand; set `ssh: {{ user: …, identity_file: … }}`, or load the key into the \
                 agent if it has a passphrase"
            ),
            Self::ConnectionLost { .. } | Self::LinkCut { .. } => {
                "run the same command again: what is done on the host stays done".to_owned()
            }
            Self::ForwardingForbidden { .. } => {
                "set `AllowTcpForwarding local` in its sshd_config".to_owned()
            }
            Self::SessionRefused { .. } => "set `MaxSessions 1` or more in its sshd_config".to_owned(),
            Self::SudoPasswordNeeded { .. } => {
                "give --ask-become-pass, or allow the user NOPASSWD in sudoers".to_owned()
            }
            Self::SudoPasswordWrong { .. } => {
                "the password was sent once and not again, so no account is locked".to_owned()
            }
            Self::SudoMissing { .. } => "install sudo there, or connect as root".to_owned(),
            Self::SudoDenied { .. } => "add the user to sudoers there, or connect as root".to_owned(),
            // A terminal would mangle scripts and files on their way, so none is asked for.
            Self::SudoNeedsTerminal { user, .. } => {
                format!(
                    "write `Defaults:{user} !requiretty` to a file in /etc/sudoers.d there, or connect as root"
                )
            }
            Self::Silent { host, .. } => format!(
                "try `ssh {host} true`: look at its login shell and what that reads, and whether a disk or a name server hangs"
            ),
            Self::SshMissing { .. } => "install the OpenSSH client on this machine".to_owned(),
            Self::ScriptStopped { .. }
            | Self::TimedOut { .. }
            | Self::UploadFailed { .. }
            | Self::Setting { .. }
            | Self::Local { .. } => return None,
        })
    }
}

fn shown(before: &str, value: &Option<impl fmt::Display>, after: &str) -> String {
    value.as_ref().map(|value| format!("{before}{value}{after}")).unwrap_or_default()
}

fn tried(keys: &[String]) -> String {
    if keys.is_empty() { "no key was offered".to_owned() } else { format!("tried {}", keys.join(", ")) }
}

fn refused_by(first: &Option<HostName>) -> String {
    match first {
        None => "sudo refuses the password".to_owned(),
        Some(first) => format!("the sudo password is not tried here, as host `{first}` has refused it"),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
