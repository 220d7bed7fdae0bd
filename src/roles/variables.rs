//! The variables of a host: what its roles default to, under what the inventory says.

use serde_json::{Map, Value};

use super::{Role, RoleSet};
use crate::inventory::{Host, RoleName};

impl RoleSet {
    /// A host's roles with those they include, each once, the included ones first. Unknown ones are left out.
    pub fn closure<'s>(&'s self, roles: impl IntoIterator<Item = &'s RoleName>) -> Vec<&'s Role> {
        let mut found = Vec::new();
        for name in roles {
            self.include(name, &mut Vec::new(), &mut found);
        }
        found
    }

    fn include<'s>(&'s self, name: &RoleName, above: &mut Vec<RoleName>, found: &mut Vec<&'s Role>) {
        let Some(role) = self.roles.get(name) else { return };
        // A cycle is an error of `load`; here it must only not recurse for ever.
        if found.iter().any(|known| known.name == *name) || above.contains(name) {
            return;
        }
        above.push(name.clone());
        for included in &role.includes {
            self.include(included, above, found);
        }
        above.pop();
        found.push(role);
    }
}

/// Every variable that the templates of a host may use, by namespace: role defaults, under the
/// inventory's values. Optional variables without a value are null, so that templates can ask.
pub fn variables(roles: &RoleSet, host: &Host) -> Map<String, Value> {
    let mut values = Map::new();
    for role in roles.closure(&host.roles) {
        for (name, variable) in &role.variables {
            set(&mut values, name, variable.default.clone().unwrap_or(Value::Null));
        }
    }
    merge(&mut values, &host.vars);
    values
}

fn set(values: &mut Map<String, Value>, dotted: &str, value: Value) {
    match dotted.split_once('.') {
        None => drop(values.entry(dotted).or_insert(value)),
        Some((first, rest)) => {
            let inner = values.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// Maps are merged key by key, everything else replaces; as between the levels of an inventory, a
/// map of which nothing is written changes nothing.
fn merge(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            (Some(Value::Object(_)), Value::Null) => {}
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}
