//! The variables of the roles as JSON Schema.

use serde_json::{Map, Value, json};

use super::{RoleSet, Variable, VariableType};
use crate::inventory;
use crate::inventory::schema::DURATION;

/// The JSON Schema of inventories that use these roles.
pub fn schema(roles: &RoleSet) -> Value {
    let mut vars = object();
    for (name, variable) in roles.roles.values().flat_map(|role| &role.variables) {
        insert(&mut vars, name, of_variable(variable));
    }
    let names = roles.roles.values().map(|role| json!({ "const": role.name, "description": role.doc }));
    inventory::schema::schema(json!({ "oneOf": names.collect::<Vec<_>>() }), Value::Object(vars))
}

fn object() -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!(["object", "null"]));
    object.insert("properties".to_owned(), json!({}));
    object.insert("additionalProperties".to_owned(), json!(false));
    object
}

fn insert(into: &mut Map<String, Value>, dotted: &str, schema: Value) {
    // Every object made by `object` has properties.
    let Some(properties) = into.get_mut("properties").and_then(Value::as_object_mut) else { return };
    match dotted.split_once('.') {
        None => drop(properties.insert(dotted.to_owned(), schema)),
        Some((first, rest)) => {
            let inner = properties.entry(first).or_insert_with(|| Value::Object(object()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, schema);
            }
        }
    }
}

fn of_variable(variable: &Variable) -> Value {
    let mut schema = of_type(&variable.r#type);
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(variable.doc));
        if let Some(default) = variable.default.as_ref().filter(|_| !variable.secret) {
            object.insert("default".to_owned(), default.clone());
        }
        if variable.optional
            && let Some(Value::String(kind)) = object.get("type")
        {
            let kind = kind.clone();
            object.insert("type".to_owned(), json!([kind, "null"]));
        }
    }
    schema
}

fn of_type(r#type: &VariableType) -> Value {
    match r#type {
        VariableType::String => json!({ "type": "string" }),
        VariableType::Bool => json!({ "type": "boolean" }),
        VariableType::Integer => json!({ "type": "integer" }),
        VariableType::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        VariableType::Path => json!({ "type": "string", "pattern": "^/[A-Za-z0-9/._+@:,~=-]*$" }),
        VariableType::HostName => json!({ "type": "string", "pattern": "^[A-Za-z0-9_.:-]+$" }),
        VariableType::Word => json!({ "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._+-]*$" }),
        VariableType::Networks => json!({ "type": "string", "pattern": "^[0-9a-fA-F.:/, ]+$" }),
        VariableType::Address => {
            json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
        }
        VariableType::Duration => json!({ "type": "string", "pattern": DURATION }),
        VariableType::Version => json!({ "type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+([-+].+)?$" }),
        VariableType::Choice(words) => json!({ "type": "string", "enum": words }),
        VariableType::Source => json!({
            "oneOf": [
                { "enum": ["release", "package"] },
                {
                    "type": "object",
                    "properties": { "mirror": { "type": "string", "pattern": "^https?://" } },
                    "required": ["mirror"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "properties": { "file": { "type": "string", "minLength": 1 } },
                    "required": ["file"],
                    "additionalProperties": false
                }
            ]
        }),
        VariableType::List(inner) => json!({ "type": "array", "items": of_type(inner) }),
        VariableType::Account => json!({ "type": ["string", "integer"] }),
        VariableType::Mode => json!({ "type": "string", "pattern": "^[0-7]{4}$" }),
        VariableType::Url => json!({ "type": "string", "pattern": "^(https?://|file:///)[!-~]+$" }),
        VariableType::Sha256 => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        VariableType::Image => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9_./:-]+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$" })
        }
        VariableType::Map => json!({ "type": ["object", "null"] }),
        VariableType::Record(fields) => {
            let properties: Map<String, Value> =
                fields.iter().map(|(name, field)| (name.clone(), of_variable(field))).collect();
            let required = fields.iter().filter(|(_, field)| field.is_required()).map(|(name, _)| name);
            json!({
                "type": "object", "properties": properties, "required": required.collect::<Vec<_>>(),
                "additionalProperties": false
            })
        }
        VariableType::Any => json!({}),
    }
}
