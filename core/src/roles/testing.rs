//! For the tests of what roles want: from an inventory's text.

use std::collections::BTreeMap;
use std::path::Path;

use super::{RoleSet, Wanted, parse_inventory};

/// What the embedded roles want of the hosts of an inventory in which nothing is wrong.
pub fn wanted(text: &str) -> Wanted {
    let roles = RoleSet::embedded().unwrap();
    let (inventory, _) = parse_inventory(text, Path::new("inventory.yaml"), &roles, None).unwrap();
    Wanted::new(&inventory, &roles, &BTreeMap::new()).unwrap()
}
