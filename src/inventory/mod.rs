//! YAML -> [`Inventory`]: who the hosts are, how SSH reaches them, which roles and values each has.
//!
//! It knows nothing of what a role does; the cross checks that need roles take a `RoleSet`.

mod model;
mod names;

pub use model::{Become, Host, HostKeys, Inventory, SshSettings};
pub use names::{ClusterName, GroupName, HostName, NameError, RoleName};
