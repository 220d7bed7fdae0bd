//! The variables of a host: what its roles default to, under what the inventory says.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Role, RoleSet, VariableType};
use crate::inventory::Host;
use crate::model::RoleName;

impl RoleSet {
    /// A host's roles with those they include, each once, the included ones first. Unknown ones are left out.
    pub fn closure<'s>(&'s self, roles: impl IntoIterator<Item = &'s RoleName>) -> Vec<&'s Role> {
        let mut found = Vec::new();
        for name in roles {
            self.include(name, &mut Vec::new(), &mut found);
        }
        found
    }

    /// Variables whose value may be a map, but one value all the same.
    pub fn whole(&self) -> HashSet<String> {
        let variables = self.roles.values().flat_map(|role| &role.variables);
        let sources = variables.filter(|(_, variable)| variable.r#type == VariableType::Source);
        sources.map(|(name, _)| name.clone()).collect()
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
    merge(&mut values, &host.vars, "", &roles.whole());
    for (name, variable) in roles.closure(&host.roles).into_iter().flat_map(|role| &role.variables) {
        let Some((first, rest)) = name.split_once('.') else { continue };
        let found = values.get_mut(first);
        if let Some(value) =
            rest.split('.').try_fold(found, |value, step| Some(value?.get_mut(step))).flatten()
        {
            fill(&variable.r#type, value);
        }
    }
    values
}

/// Gives the records in a value the fields that are not written, so that templates can name all of them.
fn fill(r#type: &VariableType, value: &mut Value) {
    match (r#type, value) {
        (VariableType::List(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|item| fill(inner, item));
        }
        (VariableType::Record(fields), Value::Object(written)) => {
            for (name, field) in fields {
                let value = written.entry(name).or_insert(Value::Null);
                if value.is_null() {
                    *value = field.default.clone().unwrap_or(Value::Null);
                }
                fill(&field.r#type, value);
            }
        }
        _ => {}
    }
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

/// As between the levels of an inventory: maps are merged key by key, everything else replaces, and
/// a map of which nothing is written changes nothing.
fn merge(under: &mut Map<String, Value>, over: &Map<String, Value>, prefix: &str, whole: &HashSet<String>) {
    for (key, value) in over {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) if !whole.contains(&name) => {
                merge(under, over, &name, whole);
            }
            (Some(Value::Object(_)), Value::Null) => {}
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_inventory_lies_over_the_defaults() {
        for (default, written, merged) in [
            (json!({ "a": 1 }), json!({ "b": 2 }), json!({ "a": 1, "b": 2 })),
            (
                json!({ "a": { "x": 1, "y": 1 } }),
                json!({ "a": { "y": 2 } }),
                json!({ "a": { "x": 1, "y": 2 } }),
            ),
            (json!({ "a": [1, 2] }), json!({ "a": [3] }), json!({ "a": [3] })),
            (json!({ "a": { "x": 1 } }), json!({ "a": null }), json!({ "a": { "x": 1 } })),
            (json!({ "a": 1 }), json!({ "a": null }), json!({ "a": null })),
            (json!({ "a": "release" }), json!({ "a": { "file": "x" } }), json!({ "a": { "file": "x" } })),
            (
                json!({ "s": { "source": { "mirror": "x" }, "a": 1 } }),
                json!({ "s": { "source": { "file": "x" } } }),
                json!({ "s": { "source": { "file": "x" }, "a": 1 } }),
            ),
        ] {
            let (Value::Object(mut under), Value::Object(over)) = (default, written) else { unreachable!() };
            merge(&mut under, &over, "", &HashSet::from(["s.source".to_owned()]));
            assert_eq!(Value::Object(under), merged);
        }
    }
}
