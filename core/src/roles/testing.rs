//! For the tests of what roles want: from an inventory's text.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Generate, RoleSet, Wanted, parse_inventory, variables_to_generate};
use crate::certificate::new_authority;

/// What the embedded roles want of the hosts of an inventory in which nothing is wrong.
pub fn wanted(text: &str) -> Wanted {
    let roles = RoleSet::embedded().unwrap();
    let (inventory, _) = parse_inventory(text, Path::new("inventory.yaml"), &roles, None).unwrap();
    // Of the secrets that a run makes, those that others are signed by.
    let authorities = variables_to_generate(&inventory, &roles)
        .into_iter()
        .filter(|(_, kind)| *kind == Generate::Authority)
        .map(|(name, _)| (name.clone(), new_authority(&name, 0).unwrap()));
    Wanted::new(&inventory, &roles, &authorities.collect::<BTreeMap<_, _>>()).unwrap()
}
