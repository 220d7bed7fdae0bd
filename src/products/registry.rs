//! Every product that there is.

use super::{Gate, consul, etcd, kubernetes, nomad};

impl Gate {
    /// Every part of every product.
    pub const ALL: [Self; 8] = [
        consul::SERVERS,
        consul::CLIENTS,
        nomad::SERVERS,
        nomad::CLIENTS,
        etcd::MEMBERS,
        kubernetes::CONTROL_PLANES,
        kubernetes::API_SERVERS,
        kubernetes::WORKERS,
    ];

    /// The part of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| gate.name() == name)
    }
}
