//! What a partition cuts off.

use serde::{Deserialize, Serialize};

/// How a host is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No other host reaches it, it reaches no other host; this machine still does.
    Hosts,
    /// What it sends reaches no other host; it still hears them.
    OneWay,
    /// Nothing gets in or out, this machine and the world included.
    Everything,
}

impl Fault {
    pub fn description(self) -> &'static str {
        match self {
            Self::Hosts => "cut off from the other hosts",
            Self::OneWay => "cannot send to the other hosts",
            Self::Everything => "cut off from everything",
        }
    }
}
