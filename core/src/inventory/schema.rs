//! The JSON Schema of an inventory, for editors: completion, descriptions, red lines while typing.
//!
//! These types are never filled; `shape` reads the file. A test holds their keys together.
#![allow(dead_code, reason = "only the schema is derived from them")]

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

use super::{Become, HostKeys};

/// The hosts of one cluster, how SSH reaches them, and what they become.
#[derive(JsonSchema)]
#[schemars(title = "bootstrap inventory", deny_unknown_fields)]
struct File {
    /// Names the cluster in messages, and the folder of its logs and secrets.
    #[schemars(regex(pattern = NAME))]
    cluster: String,
    /// How SSH reaches the hosts; groups and hosts may override it key by key.
    ssh: Option<Ssh>,
    /// Host names, each with its settings. `node-[1-3]` is three hosts.
    #[schemars(extend("minProperties" = 1))]
    hosts: IndexMap<String, Option<Host>>,
    /// Groups of hosts, to give them roles and variables together.
    groups: Option<IndexMap<String, Group>>,
    /// Values for all hosts; groups win over them, hosts over groups.
    #[schemars(schema_with = "vars")]
    vars: Value,
    /// Nomad jobs, submitted in this order when the cluster stands.
    jobs: Option<Vec<Job>>,
}

/// A job file, or a job that comes with the program.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Job {
    /// A job specification in HCL, or in JSON if its name ends so; relative to the inventory's folder.
    file: Option<String>,
    /// `fabio`, `bootstrap-shards`, `demo-http` or `demo-tcp`.
    ready: Option<String>,
    /// Values of variables that the file declares.
    variables: Option<IndexMap<String, Value>>,
}

const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// What is not set comes from the user's ~/.ssh/config and agent.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Ssh {
    /// The account on the hosts.
    user: Option<String>,
    #[schemars(range(min = 1, max = 65535))]
    port: Option<u16>,
    /// The private key. `~` is the home directory; relative paths start at the inventory's folder.
    identity_file: Option<String>,
    /// Read and written instead of the user's own known_hosts.
    known_hosts: Option<String>,
    /// Read instead of ~/.ssh/config and /etc/ssh/ssh_config, as `ssh -F` does; `none` reads neither.
    config: Option<String>,
    /// Hosts to pass through, in this order, each `[user@]host[:port]`.
    jump: Option<Vec<String>>,
    /// What to do about a host key that is not known yet. Default: strict.
    host_keys: Option<HostKeys>,
    /// How to get root's rights. Default: auto.
    r#become: Option<Become>,
    /// Key exchange algorithms to propose before all others, best first; those that the local ssh does
    /// not know are left out. Default: the user's KexAlgorithms, else a post-quantum one.
    kex: Option<Vec<String>>,
    /// How long a connection is kept for the next command: `10m`. The user's own `ControlMaster no`,
    /// `ControlPersist no` or `ControlPath none` for the host forbids it.
    #[schemars(regex(pattern = DURATION))]
    persist: Option<String>,
}

/// The pattern of a duration such as `10s` or `1m30s`.
pub const DURATION: &str = "^([0-9]+(ms|s|m|h))+$";

/// One host, or one for each number of the range in its name.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Host {
    /// Where SSH goes: an IP address, a DNS name or a `Host` of ~/.ssh/config. Default: the host's name.
    address: Option<String>,
    /// The IP address at which its agents talk to the others. Default: `address`.
    cluster_address: Option<String>,
    /// The network interface whose address its agents use.
    cluster_interface: Option<String>,
    ssh: Option<Ssh>,
    /// Roles besides those of its groups.
    roles: Option<Vec<String>>,
    /// Values for this host; they win over all others.
    #[schemars(schema_with = "vars")]
    vars: Value,
}

/// Hosts that have something in common.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Group {
    /// Host names, ranges such as `node-[1-3]` and globs such as `web-*`.
    #[schemars(length(min = 1))]
    hosts: Vec<String>,
    /// What the hosts of this group become.
    #[schemars(schema_with = "roles")]
    roles: Option<Vec<String>>,
    ssh: Option<Ssh>,
    /// Values for the hosts of this group.
    #[schemars(schema_with = "vars")]
    vars: Value,
}

fn vars(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "$ref": "#/$defs/Vars" })
}

fn roles(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["array", "null"], "items": { "$ref": "#/$defs/Role" } })
}

/// The schema of an inventory whose roles and variables are described by `role` and `vars`.
pub fn schema(role: Value, vars: Value) -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>().to_value();
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.insert("Role".to_owned(), role);
        definitions.insert("Vars".to_owned(), vars);
    }
    // `schema_with` counts as required; only these are.
    for (pointer, required) in
        [("", &["cluster", "hosts"][..]), ("/$defs/Group", &["hosts"]), ("/$defs/Host", &[])]
    {
        if let Some(object) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
            object.insert("required".to_owned(), required.into());
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::super::shape;
    use super::*;

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let schema = schema(Value::Bool(true), Value::Bool(true));
        for (pointer, keys) in [
            ("", shape::TOP),
            ("/$defs/Ssh", super::super::reader::SSH),
            ("/$defs/Host", shape::HOST),
            ("/$defs/Group", shape::GROUP),
            ("/$defs/Job", shape::JOB),
        ] {
            let properties =
                schema.pointer(&format!("{pointer}/properties")).and_then(Value::as_object).unwrap();
            let mut described: Vec<&str> = properties.keys().map(String::as_str).collect();
            let mut read = keys.to_vec();
            described.sort_unstable();
            read.sort_unstable();
            assert_eq!(described, read, "{pointer}");
        }
    }
}
