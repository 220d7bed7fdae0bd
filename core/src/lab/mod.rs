//! Local bare hosts to try a cluster on: systemd-nspawn containers on a private bridge, or virtual
//! machines where they need a kernel of their own, and the faults of real ones. An inventory comes out that `bootstrap up` takes.
//!
//! ```text
//! debootstrap ──► base root ─┐
//!                 overlay ───┴► nspawn: systemd, sshd, one address ──► bridge ──► NAT, mirror
//! ```
//!
//! It knows nothing of roles, plans or clusters: what it makes is as bare as a new machine. What is
//! on disk says what there is: the record in `lab.json`, and the processes by their arguments.

mod apt;
mod base;
mod cgroup;
mod command;
mod delay;
mod down;
mod error;
mod fault;
mod firewall;
mod host;
mod inventory;
mod kubernetes;
mod layout;
mod machine;
mod mirror;
mod mounts;
mod needs;
mod network;
mod parallel;
mod partition;
mod process;
mod record;
mod relay;
mod service;
mod status;
mod up;

pub use base::Suite;
pub use down::{DownReport, down};
pub use error::Error;
pub use fault::{heal, kill, partition, start, way};
pub use layout::MAX_HOSTS;
pub use partition::Fault;
pub use record::{Purpose, Settings};
pub use service::{launch, serve_mirror, serve_relay};
pub use status::{HostStatus, Status, status};
pub use up::{UpOptions, UpReport, up};

/// Where a long-running command tells what it is at.
pub type OnProgress<'a> = &'a (dyn Fn(&str) + Sync);

/// The lab is root's own.
fn require_root() -> Result<(), Error> {
    if nix::unistd::Uid::effective().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}
