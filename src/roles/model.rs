//! A role as its folder describes it.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use crate::inventory::RoleName;

/// All roles of a run: the embedded ones, with those of `--roles DIR` over them.
#[derive(Clone, Debug, Default)]
pub struct RoleSet {
    pub roles: IndexMap<RoleName, Role>,
}

/// One folder under `roles/`.
#[derive(Clone, Debug, Serialize)]
pub struct Role {
    pub name: RoleName,
    pub doc: String,
    /// Roles whose variables and resources come first, as if written in this one.
    pub includes: Vec<RoleName>,
    /// Roles that some host of the cluster must have.
    pub needs: Vec<RoleName>,
    /// Roles that the same host must not have.
    pub conflicts: Vec<RoleName>,
    /// Roles that are activated before this one, where the cluster has them.
    pub after: Vec<RoleName>,
    /// By dotted name: `consul.version`.
    pub variables: IndexMap<String, Variable>,
    /// Names for expressions that the role's resources and templates use more than once.
    pub define: IndexMap<String, String>,
    /// As written: `{file: {path: "{{ consul.data_dir }}", template: consul.json}}`. Rendered for each host.
    pub resources: Vec<Value>,
    /// The gate that closes its activation, by name.
    pub gate: Option<String>,
    /// Members of a quorum: an even or single count of hosts is warned about.
    pub quorum: bool,
    /// By file name under `templates/`.
    pub templates: IndexMap<String, String>,
}

/// A value an inventory may set.
#[derive(Clone, Debug, Serialize)]
pub struct Variable {
    pub r#type: VariableType,
    /// `None`: the inventory must set it, or it is null when `optional`.
    pub default: Option<Value>,
    pub optional: bool,
    /// Never shown in a plan, a log or an event.
    pub secret: bool,
    /// How the value is made, once per cluster, where the inventory does not set it.
    pub generate: Option<Generate>,
    pub doc: String,
}

/// A secret that is made on the operator's side and kept in the cluster's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generate {
    /// 32 random bytes in base64: a gossip key of Consul or Nomad.
    #[serde(rename = "base64-32")]
    Base64Bytes32,
}

/// What a variable takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VariableType {
    String,
    Bool,
    Integer,
    /// 1-65535.
    Port,
    /// An absolute path.
    Path,
    /// An IP address.
    Address,
    /// `10s`, `5m`, `1h`.
    Duration,
    /// `1.21.4`.
    Version,
    /// One of these words.
    Choice(Vec<String>),
    /// `release`, `package`, `{ mirror: URL }` or `{ file: PATH }`.
    Source,
    /// A list of the inner type.
    List(Box<VariableType>),
    /// Keys to values of any kind.
    Map,
    Any,
}
