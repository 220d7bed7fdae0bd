//! The round-trip time between this machine and the hosts.

use super::layout::{BRIDGE, RELAY_NEAR};

/// How the delay between this machine and the hosts is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    None,
    /// By the kernel (`tc … netem`).
    Netem,
    /// By a process of the lab that passes frames between two TAP devices.
    Relay,
}

impl Delay {
    /// The interface that carries this machine's address.
    pub fn uplink(self) -> &'static str {
        if self == Self::Relay { RELAY_NEAR } else { BRIDGE }
    }
}
