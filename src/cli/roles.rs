//! `bootstrap roles`: what hosts can become, and what each role can be told.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{Global, output, problems};
use crate::inventory::reader::{list, nearest};
use crate::model::{Diagnostic, RoleName};
use crate::roles::{Port, Role, RoleSet, Scope, Variable, merge, renderer, shown};

/// List the roles, or one role's variables.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: bootstrap roles consul-server\n          bootstrap roles my-role --roles ./my-roles"
)]
pub struct RolesArgs {
    /// Show this role: what it does, what it needs, its variables.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub fn run(args: RolesArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let role_set = problems::role_set(global)?;
    let text = match (&args.name, global.json()) {
        (None, false) => table(&role_set),
        (None, true) => {
            let roles: Vec<Value> = role_set.roles.values().map(|role| as_json(&role_set, role)).collect();
            format!("{}\n", Value::Array(roles))
        }
        (Some(name), json) => {
            let Some(role) = role_set.roles.get(name.as_str()) else {
                return Err(problems::refuse(unknown(&role_set, name), global));
            };
            if json { format!("{}\n", as_json(&role_set, role)) } else { describe(&role_set, role) }
        }
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn unknown(roles: &RoleSet, name: &str) -> Diagnostic {
    let names: Vec<&str> = roles.roles.keys().map(RoleName::as_str).collect();
    let help = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the roles are {}; `--roles DIR` adds your own", list(&names)),
    };
    Diagnostic::error(format!("there is no role `{name}`")).help(help)
}

fn table(roles: &RoleSet) -> String {
    let width = roles.roles.keys().map(|name| name.as_str().len()).max().unwrap_or_default();
    let mut text = String::new();
    for role in roles.roles.values() {
        let doc = wrap(&role.doc, width + 2);
        text += &format!("{:width$}  {doc}\n", role.name);
    }
    text + "\n`bootstrap roles NAME` shows the variables of one.\n"
}

/// The variables of a role and of those it includes, with the role that declares each.
fn variables<'r>(roles: &'r RoleSet, role: &'r Role) -> Vec<(&'r str, &'r Variable, &'r Role)> {
    let all = roles.closure([&role.name]).into_iter();
    all.flat_map(|role| role.variables.iter().map(move |(name, variable)| (name.as_str(), variable, role)))
        .collect()
}

/// The ports of a role and of those it includes, with the role that declares each.
fn ports<'r>(roles: &'r RoleSet, role: &'r Role) -> Vec<(&'r Port, &'r Role)> {
    let all = roles.closure([&role.name]).into_iter();
    all.flat_map(|role| role.ports.iter().map(move |port| (port, role))).collect()
}

/// The defaults of a role's variables and what it defines by them: for what is shown without an inventory.
fn usual_values(roles: &RoleSet, role: &Role) -> Map<String, Value> {
    let mut usual = Map::new();
    let host = json!({ "name": "host", "roles": [role.name] });
    for (name, variable, _) in variables(roles, role) {
        let value = variable.default.clone().unwrap_or_default();
        let value = name.rsplit('.').fold(value, |inner, step| json!({ step: inner }));
        let mut merged = Value::Object(std::mem::take(&mut usual));
        merge(&mut merged, value);
        usual = merged.as_object().cloned().unwrap_or_default();
    }
    usual.insert("host".to_owned(), host);
    for (name, source) in roles.closure([&role.name]).into_iter().flat_map(|role| &role.define) {
        let source = Value::String(source.clone());
        if let Ok(value) = renderer().value(name, &source, &Scope::from(&usual), &[]) {
            usual.insert(name.clone(), value);
        }
    }
    usual
}

/// Where it listens by these values, or where that is written.
fn usual_numbers(port: &Port, usual: &Map<String, Value>) -> Vec<Value> {
    let number = |scope: &Scope| {
        let number = renderer().value("a port", &port.port, scope, &[]);
        number.unwrap_or_else(|_| port.port.clone())
    };
    let scope = Scope::from(usual);
    let Some(each) = port.for_each.as_deref() else { return vec![number(&scope)] };
    let Ok(Value::Array(items)) = renderer().expression("a port", each, &scope) else {
        return vec![json!(format!("each of {each}"))];
    };
    let of_item = |item: &Value| {
        let mut scope = scope.clone();
        scope.insert("item", item);
        number(&scope)
    };
    items.iter().map(of_item).collect()
}

fn shown_port(port: &Value) -> String {
    port.as_str().map_or_else(|| port.to_string(), str::to_owned)
}

fn shown_protocols(port: &Port) -> String {
    port.protocols.iter().map(|protocol| protocol.as_str()).collect::<Vec<_>>().join("+")
}

fn describe(roles: &RoleSet, role: &Role) -> String {
    let mut text = format!("{}\n  {}\n\n", role.name, wrap(&role.doc, 2));
    let names = |names: &[RoleName]| names.iter().map(RoleName::as_str).collect::<Vec<_>>().join(", ");
    for (label, roles) in [
        ("includes", &role.includes),
        ("needs", &role.needs),
        ("conflicts", &role.conflicts),
        ("after", &role.after),
    ] {
        if !roles.is_empty() {
            text += &format!("{label:<10} {}\n", names(roles));
        }
    }
    if let Some(gate) = &role.gate {
        text += &format!("{:<10} {gate}\n", "gate");
    }
    if !role.removable {
        text += &format!("{:<10} what it changes stays when a host has it no more\n", "removable");
    }
    let ports = ports(roles, role);
    if !ports.is_empty() {
        text += "\nPorts:\n";
    }
    let usual = usual_values(roles, role);
    for (port, _) in ports {
        for number in usual_numbers(port, &usual) {
            let head = format!("{} {}", shown_port(&number), shown_protocols(port));
            text += &format!("  {head:<13} {} Reached from {}.\n", port.doc, port.from.describe());
        }
    }
    let variables = variables(roles, role);
    if variables.is_empty() {
        return text + "\nIt has no variables.\n";
    }
    text += "\nVariables, under `vars:` of the inventory, of a group or of a host:\n";
    for (name, variable, _) in variables {
        text += &format!("\n{}", described(name, variable, 2));
    }
    text
}

/// A variable with its fields, if it has any.
fn described(name: &str, variable: &Variable, indent: usize) -> String {
    let doc = wrap(&variable.doc, indent + 4);
    let (short, state) = (variable.r#type.short(), state(variable));
    let mut text = format!("{:indent$}{name}  ({short}; {state})\n{:indent$}    {doc}\n", "", "");
    for (name, field) in variable.r#type.fields().into_iter().flatten() {
        text += &described(name, field, indent + 4);
    }
    text
}

/// What a variable is when the inventory does not set it.
fn state(variable: &Variable) -> String {
    let mut state = match &variable.default {
        Some(_) if variable.secret => "has a default".to_owned(),
        Some(default) => format!("default {}", shown(default)),
        None if variable.generate.is_some() => "made once unless set".to_owned(),
        None if variable.optional => "optional".to_owned(),
        None => "must be set".to_owned(),
    };
    if variable.secret {
        state += "; secret";
    }
    state
}

fn as_json(roles: &RoleSet, role: &Role) -> Value {
    let variables = variables(roles, role).into_iter().map(|(name, variable, declared)| {
        json!({
            "name": name,
            "type": variable.r#type.short(),
            "default": if variable.secret { &Value::Null } else { variable.default.as_ref().unwrap_or(&Value::Null) },
            "required": variable.is_required(),
            "secret": variable.secret,
            "doc": variable.doc,
            "fields": variable.r#type.fields(),
            "role": declared.name,
        })
    });
    let ports = ports(roles, role).into_iter().map(|(port, declared)| {
        json!({
            "port": port.port, "protocols": port.protocols, "from": port.from, "on": port.on,
            "for_each": port.for_each, "doc": port.doc, "role": declared.name,
        })
    });
    json!({
        "name": role.name, "doc": role.doc, "includes": role.includes, "needs": role.needs,
        "conflicts": role.conflicts, "after": role.after, "gate": role.gate, "removable": role.removable, "quorum": role.quorum, "serves": role.serves, "forms": role.forms,
        "ports": ports.collect::<Vec<_>>(), "variables": variables.collect::<Vec<_>>(),
    })
}

/// Words in lines of at most 100 columns, those after the first indented.
fn wrap(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && indent + line + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}
