//! Inventory and roles from their files, with everything wrong about them on stderr.

use std::path::Path;

use super::exit::Rejected;
use super::explain::{Section, point_to};
use super::{Global, problems};
use crate::inventory::{Inventory, yaml};
use crate::roles::{self, RoleSet};

/// What a command works on.
pub struct Loaded {
    pub inventory: Inventory,
    pub roles: RoleSet,
}

/// Reads and checks an inventory. Warnings are shown and do not stop; errors are shown, all of them,
/// and end in [`Rejected`].
pub fn load(path: &Path, global: &Global) -> anyhow::Result<Loaded> {
    let text = match yaml::read(path) {
        Ok(text) => text,
        Err(problem) => return Err(problems::refuse(*problem, global)),
    };
    parse(&text, path, global)
}

/// The same of an inventory's text that is not in its file yet.
pub fn parse(text: &str, path: &Path, global: &Global) -> anyhow::Result<Loaded> {
    let roles = problems::role_set(global)?;
    let home = std::env::home_dir();
    match roles::parse_inventory(text, path, &roles, home.as_deref()) {
        Ok((inventory, warnings)) => {
            problems::show(&warnings, global)?;
            Ok(Loaded { inventory, roles })
        }
        Err(found) => {
            problems::show(&found, global)?;
            point_to([Section::Inventory], global);
            Err(Rejected.into())
        }
    }
}
