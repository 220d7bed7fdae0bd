//! How an application of a role is drilled: who serves, what a client of it does, and what can be killed.

use serde::Deserialize;

/// A role's `drill`, for one host. Every command is an argument list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppDrill {
    /// Prints the names of the hosts that serve, one a line. It can be asked on any host of the role.
    pub serves: Vec<String>,
    /// The hosts that may serve, where they are not those of the role: nodes of a cluster, by their names in the inventory.
    pub hosts: Option<Vec<String>>,
    /// A client: it writes until it is ended, and prints a line for each try, `MILLISECONDS ID` when a write was acknowledged and
    /// `MILLISECONDS - REASON` when it was not, of its host's clock.
    pub client: Vec<String>,
    /// Prints the id of each write that is there, one a line.
    pub kept: Vec<String>,
    /// What of it can be killed on a host that serves.
    #[serde(default)]
    pub kills: Vec<Kill>,
    /// The unit of the agent that it depends on, on its own host.
    pub agent: Option<String>,
}

/// Something that is killed where it serves, and comes back by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// As the report calls it: `task killed`.
    pub name: String,
    pub command: Vec<String>,
    /// Which host runs the command.
    #[serde(default)]
    pub by: KilledBy,
}

/// Which host runs the command that kills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KilledBy {
    /// The one that serves.
    #[default]
    Server,
    /// The one where the client is, which asks the cluster to do it.
    Client,
}
