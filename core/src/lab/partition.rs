//! What a partition cuts off.

use std::net::Ipv4Addr;

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
    /// What it sends to one other host is lost, all of it or what is for one port, of TCP and UDP.
    Way { to: Ipv4Addr, port: Option<u16> },
}

impl Fault {
    pub fn description(self) -> String {
        match self {
            Self::Hosts => "cut off from the other hosts".to_owned(),
            Self::OneWay => "cannot send to the other hosts".to_owned(),
            Self::Everything => "cut off from everything".to_owned(),
            Self::Way { to, port: None } => format!("cannot send to {to}"),
            Self::Way { to, port: Some(port) } => format!("cannot send to {to} port {port}"),
        }
    }
}
