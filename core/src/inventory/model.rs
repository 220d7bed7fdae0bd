//! The inventory after expansion and merging: what the rest of the program reads.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{ClusterName, GroupName, HostName, RoleName};

/// A whole inventory: ranges expanded, groups and variables merged into each host.
#[derive(Clone, Debug)]
pub struct Inventory {
    pub cluster: ClusterName,
    /// In the order of the file; ranges in their own order.
    pub hosts: Vec<Host>,
    /// In the order of the file, which is the order of submission.
    pub jobs: Vec<Job>,
    /// Where it was read from, for messages and for the run log beside it.
    pub path: PathBuf,
}

/// A job as the inventory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its file as written, or the name of a ready one: how messages name it.
    pub source: String,
    pub body: Body,
}

/// What Nomad is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// To be parsed by Nomad itself; the inventory's variables are in it.
    Hcl(String),
    Json(Value),
}

/// One host with everything that the groups and `vars` say of it.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: HostName,
    /// Where SSH goes: an IP address or a name.
    pub address: String,
    /// The address its agents bind and advertise, when it is not `address`.
    pub cluster_address: Option<IpAddr>,
    /// The interface whose first address its agents bind and advertise.
    pub cluster_interface: Option<String>,
    pub ssh: SshSettings,
    pub groups: Vec<GroupName>,
    /// Without repetition, in the order of the groups.
    pub roles: Vec<RoleName>,
    /// `vars` < group < host, by namespace (`consul`, `docker`, …); role defaults are not in it.
    pub vars: Map<String, Value>,
}

/// How to reach a host. `None` leaves the choice to the user's own ssh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SshSettings {
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_file: Option<PathBuf>,
    /// Jump hosts in the order they are passed, each `[user@]host[:port]`.
    pub jump: Vec<String>,
    pub host_keys: HostKeys,
    /// Where host keys are looked up and written, instead of the user's own known_hosts.
    pub known_hosts: Option<PathBuf>,
    /// Read instead of `~/.ssh/config` and `/etc/ssh/ssh_config`, as `ssh -F` does; `none` reads neither.
    pub config: Option<PathBuf>,
    pub r#become: Become,
    /// Key exchange algorithms to propose before all others, best first. Empty: a post-quantum one.
    pub kex: Vec<String>,
    /// How long a connection may be kept for the next command.
    pub persist: Option<Duration>,
}

/// What to do about a host key that is not in known_hosts yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeys {
    /// Refuse it.
    #[default]
    Strict,
    /// Write it down and go on; a changed key is still refused.
    AcceptNew,
}

/// How scripts get root's rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Become {
    /// `sudo`, unless the login user is root already.
    #[default]
    Auto,
    Sudo,
    None,
}
