//! What stands in the way of a run, or is not well.

use serde::Serialize;

use super::{HostName, Severity};

/// What is looked at: a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// It is reached, its host key is the known one, it lets us in.
    Ssh,
    /// Scripts run as root.
    Root,
    /// Operating system, architecture, process 1.
    System,
    /// The cluster address is one of its own.
    Address,
    /// Its ports are reached by those that need them.
    Peers,
    Clock,
    /// Free space and inodes.
    Disk,
    /// What is written to can be written, and programs may run where they go.
    Paths,
    /// Machine-id, host name and node id are its own.
    Ids,
    /// Nobody else has the ports.
    Ports,
    /// It belongs to no other cluster.
    Data,
    /// What is to run runs.
    Units,
    /// Its agents answer, and are members that their clusters count on.
    Agent,
    /// Its cluster has a quorum, and keeps it.
    Quorum,
    /// Its certificates are good for some weeks.
    Certificates,
    /// Real uses of what its roles set up: names resolve, containers find them, exports are there.
    Uses,
    /// It is as the inventory says.
    Drift,
}

impl Check {
    /// Before a run: is the host fit for it?
    pub const FITNESS: &'static [Self] = &[
        Self::Ssh,
        Self::Root,
        Self::System,
        Self::Address,
        Self::Peers,
        Self::Clock,
        Self::Disk,
        Self::Paths,
        Self::Ids,
        Self::Ports,
        Self::Data,
    ];

    /// Of a host that was set up: is it well?
    pub const HEALTH: &'static [Self] = &[
        Self::Ssh,
        Self::Root,
        Self::System,
        Self::Address,
        Self::Clock,
        Self::Disk,
        Self::Data,
        Self::Units,
        Self::Agent,
        Self::Certificates,
        Self::Uses,
        Self::Drift,
    ];

    /// One short word.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Root => "root",
            Self::System => "os",
            Self::Address => "addr",
            Self::Peers => "peers",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Paths => "paths",
            Self::Ids => "ids",
            Self::Ports => "ports",
            Self::Data => "data",
            Self::Units => "units",
            Self::Agent => "agent",
            // Where the words on quorum are.
            Self::Quorum => "gate",
            Self::Certificates => "certs",
            Self::Uses => "uses",
            Self::Drift => "drift",
        }
    }
}

/// One thing that is not as it must be, with what the operator can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: Check,
    pub severity: Severity,
    /// The hosts that it is about; all of them are marked in the table.
    pub hosts: Vec<HostName>,
    pub reason: String,
    pub remedy: String,
}

impl Finding {
    pub fn error(check: Check, hosts: Vec<HostName>, reason: String, remedy: String) -> Self {
        Self { check, severity: Severity::Error, hosts, reason, remedy }
    }

    pub fn warning(check: Check, hosts: Vec<HostName>, reason: String, remedy: String) -> Self {
        Self { severity: Severity::Warning, ..Self::error(check, hosts, reason, remedy) }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<&str> = self.hosts.iter().map(HostName::as_str).collect();
        let about = if hosts.is_empty() { String::new() } else { hosts.join(", ") + ": " };
        write!(f, "{about}{}; {}", self.reason, self.remedy)
    }
}
