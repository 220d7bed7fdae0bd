//! Inventory and roles from their files, with everything wrong about them on stderr.

use std::path::Path;

use anyhow::Context;

use super::Global;
use super::exit::Rejected;
use crate::inventory::{self, Inventory};
use crate::report::{Diagnostic, Severity};
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
    let (draft, mut problems) = inventory::load(path);
    if let Some(draft) = &draft {
        problems.extend(roles::check(draft, &roles));
    }
    print(&problems, global);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(Rejected.into());
    }
    let home = std::env::home_dir();
    let inventory = draft.and_then(|draft| draft.inventory(home.as_deref()));
    Ok(Loaded { inventory: inventory.context("the inventory holds nothing")?, roles })
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
