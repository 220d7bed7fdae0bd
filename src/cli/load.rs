//! Inventory and roles from their files, with everything wrong about them on stderr.

use std::path::Path;

use super::Global;
use super::exit::Rejected;
use crate::inventory::Inventory;
use crate::report::Diagnostic;
use crate::roles::{self, RoleSet};

/// What a command works on.
pub struct Loaded {
    pub inventory: Inventory,
    pub roles: RoleSet,
}

/// Reads and checks an inventory. Warnings are printed and do not stop; errors are printed, all of
/// them, and end in [`Rejected`].
pub fn load(path: &Path, global: &Global) -> anyhow::Result<Loaded> {
    let roles = load_roles(global)?;
    let home = std::env::home_dir();
    let (inventory, warnings) = roles::load_inventory(path, &roles, home.as_deref()).map_err(|problems| {
        print(&problems, global);
        Rejected
    })?;
    print(&warnings, global);
    Ok(Loaded { inventory, roles })
}

/// The built-in roles with those of `--roles DIR` over them.
pub fn load_roles(global: &Global) -> anyhow::Result<RoleSet> {
    RoleSet::load(global.roles.as_deref()).map_err(|problems| {
        print(&problems, global);
        Rejected.into()
    })
}

fn print(problems: &[Diagnostic], global: &Global) {
    for problem in problems {
        eprintln!("{}", problem.render(global.color_on_stderr()));
    }
}
