//! Names, paths and addresses of the lab: one lab a machine, so they are constants.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What lives only as long as the lab: overlays, keys, inventory.
pub const STATE: &str = "/var/lib/bootstrap-lab";
/// What is worth keeping from lab to lab: base roots, packages, releases.
pub const CACHE: &str = "/var/cache/bootstrap-lab";
/// Outside of [`STATE`], because `down` removes that while it holds the lock.
pub const LOCK: &str = "/run/bootstrap-lab.lock";

/// The bridge every host hangs on.
pub const BRIDGE: &str = "bslab0";
/// With a relay: this machine's own end, which then carries [`CONTROLLER`] instead of the bridge.
pub const RELAY_NEAR: &str = "bslabc";
/// With a relay: its end in the bridge.
pub const RELAY_FAR: &str = "bslabn";
/// Written as `ifalias` on the bridge, so that it is known as the lab's own.
pub const LINK_ALIAS: &str = "bootstrap-lab";

pub const SUBNET: &str = "10.77.0.0/24";
pub const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
pub const PREFIX: u8 = 24;
/// This machine as the hosts see it: gateway, mirror, controller.
pub const CONTROLLER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where the releases are served.
pub const MIRROR_PORT: u16 = 7780;

/// More than a /24 with room for its fixed addresses holds, fewer than the last byte allows.
pub const MAX_HOSTS: u8 = 200;
/// `node-1` gets the address that ends in 11.
const FIRST_ADDRESS: u8 = 10;

pub fn state(path: &str) -> PathBuf {
    Path::new(STATE).join(path)
}

pub fn cache(path: &str) -> PathBuf {
    Path::new(CACHE).join(path)
}

/// Where the releases that are served lie.
pub fn mirror_folder() -> PathBuf {
    cache("mirror")
}

pub fn mirror_url() -> String {
    format!("http://{CONTROLLER}:{MIRROR_PORT}")
}

/// One bare host, known by its number from 1 on; everything else follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabHost(u8);

impl LabHost {
    pub fn all(count: u8) -> impl Iterator<Item = Self> {
        (1..=count.min(MAX_HOSTS)).map(Self)
    }

    /// The host called `name`, if a lab of `count` hosts has it.
    pub fn named(name: &str, count: u8) -> Option<Self> {
        Self::all(count).find(|host| host.name() == name)
    }

    pub fn name(self) -> String {
        format!("node-{}", self.0)
    }

    pub fn address(self) -> Ipv4Addr {
        let [a, b, c, _] = NETWORK.octets();
        Ipv4Addr::new(a, b, c, FIRST_ADDRESS + self.0)
    }

    /// Its name for nspawn, which makes an interface `vb-NAME` of it: at most 15 characters.
    pub fn machine(self) -> String {
        format!("bslab{}", self.0)
    }

    pub fn folder(self) -> PathBuf {
        state("hosts").join(self.name())
    }

    /// Where its overlay is mounted.
    pub fn root(self) -> PathBuf {
        self.folder().join("root")
    }

    /// Its end on the bridge, as nspawn calls it too.
    pub fn interface(self) -> String {
        format!("vb-{}", self.machine())
    }

    /// What it boots from, if it has a kernel of its own.
    pub fn disk(self) -> PathBuf {
        self.folder().join("disk.img")
    }

    /// The argument that tells this host's nspawn from every other process.
    pub fn marker(self) -> String {
        format!("--directory={}", self.root().display())
    }

    /// The start of the argument that tells this host's qemu from every other process.
    pub fn disk_argument(self) -> String {
        format!("file={}", self.disk().display())
    }

    /// Whether a process with these arguments runs this host.
    pub fn is_run_by(self, args: &[String]) -> bool {
        let (marker, disk) = (self.marker(), self.disk_argument() + ",");
        args.iter().any(|arg| *arg == marker || arg.starts_with(&disk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_inside_the_subnet() {
        let addresses: Vec<_> = LabHost::all(MAX_HOSTS).map(LabHost::address).collect();
        assert_eq!(addresses.len(), usize::from(MAX_HOSTS));
        assert_eq!(addresses[0].to_string(), "10.77.0.11");
        assert_eq!(addresses[199].to_string(), "10.77.0.210");
        assert!(addresses.is_sorted_by(|a, b| a < b));
        assert!(addresses.iter().all(|a| a.octets()[..3] == NETWORK.octets()[..3] && *a != CONTROLLER));
        assert_eq!(SUBNET, format!("{NETWORK}/{PREFIX}"));
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        let longest = LabHost::all(MAX_HOSTS).map(|host| host.interface().len()).max();
        assert!(longest <= Some(15), "{longest:?}");
    }

    #[test]
    fn hosts_are_found_by_name_only_if_the_lab_has_them() {
        assert_eq!(LabHost::named("node-3", 3).map(LabHost::name).as_deref(), Some("node-3"));
        assert_eq!(LabHost::named("node-4", 3), None);
        assert_eq!(LabHost::named("node-03", 3), None);
    }
}
