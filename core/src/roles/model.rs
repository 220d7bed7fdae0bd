//! A role as its folder describes it.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use crate::inventory::node::Document;
use crate::model::{HostName, RoleName};

/// All roles of a run: the embedded ones, with those of `--roles DIR` over them.
#[derive(Clone, Debug, Default)]
pub struct RoleSet {
    pub roles: IndexMap<RoleName, Role>,
    /// What each was read from, for messages that show a line of it.
    pub documents: IndexMap<RoleName, Document>,
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
    /// What its variables must be beyond their types.
    pub rules: Vec<Rule>,
    /// Names for expressions that the role's resources and templates use more than once.
    pub define: IndexMap<String, String>,
    /// As written: `{file: {path: "{{ consul.data_dir }}", template: consul.json}}`. Rendered for each host.
    ///
    /// Beside its kind a resource may have `when`, an expression that must hold and may use facts, and `for_each`, an expression that
    /// gives a list: then it is made once for each element, which its other expressions and its content call `item`. With
    /// `removable` it is put back once no role of the host makes it any more, also where the role itself is not.
    pub resources: Vec<Value>,
    /// Ports on which its programs listen.
    pub ports: Vec<Port>,
    /// What must hold on every host that has it, beyond what the types of variables say.
    pub require: Vec<Require>,
    /// File systems that the host's kernel must have.
    pub filesystems: Vec<Filesystem>,
    /// Ports at which its programs ask others of their host.
    pub asks: Vec<Ask>,
    /// What it cannot be set up on.
    pub refuse: Vec<Refusal>,
    /// Who may call the API of a product, with which token.
    pub tokens: Vec<Token>,
    /// What else configures its programs, as written: `{files: […], sets: […], why: …}`. Rendered for each host.
    pub others: Vec<Value>,
    /// Real uses of what it sets up, as written: `{name: …, lookup: {…}}`. Rendered for each host.
    pub verify: Vec<Value>,
    /// How its application is drilled, as written: [`super::AppDrill`] once it is rendered.
    pub drill: Option<Value>,
    /// Where its agent is on a host, as written: [`crate::model::Endpoint`] once it is rendered. That of a role it includes, where
    /// it has none itself.
    pub endpoint: Option<Value>,
    /// The gate that closes its activation, by name; an expression may choose it, the same on all hosts.
    pub gate: Option<String>,
    /// Files with a list of hosts which must have a new one for it to do its work: `add-node` changes them on the others too.
    pub lists_hosts: Vec<String>,
    /// A host that has the role no more, and one whose role makes a thing no more, gets back what was changed there: files, folders,
    /// links, releases, units, accounts, and by `undo` what commands did. Packages stay. It is so unless the role says `false`.
    pub removable: bool,
    /// Members of a quorum: an even or single count of hosts is warned about.
    pub quorum: bool,
    /// Hosts of other roles depend on it: a run that sets up a part of the hosts takes it with the servers.
    pub serves: bool,
    /// How a first quorum of them comes to be.
    pub forms: Forms,
    /// By file name under `templates/`.
    pub templates: IndexMap<String, String>,
}

/// A rule that a role names under `rules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Paths, clients and options of NFS exports.
    NfsExports,
    /// NFS mounts: somebody exports what is mounted.
    NfsMounts,
    /// Accounts that own shared files: one number each, the same everywhere.
    NfsUsers,
}

impl Rule {
    /// As roles write them.
    pub const WORDS: [(&str, Self); 3] =
        [("nfs-exports", Self::NfsExports), ("nfs-mounts", Self::NfsMounts), ("nfs-users", Self::NfsUsers)];
}

/// How the members of a new quorum find each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forms {
    /// All at the same time: none is ready before it has seen the others.
    #[default]
    Together,
    /// The first in the inventory by itself, and then one after the other joins.
    OneByOne,
}

/// A file system that the kernel must know or be able to load, as a role writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// As /proc/filesystems has it; also the name of its module.
    pub name: String,
    /// An expression that must hold for it to be needed.
    pub when: Option<String>,
    /// What to do on a host without it.
    pub remedy: String,
}

/// A host that a role cannot be set up on, told before anything is changed. All three may use facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// An expression.
    pub when: String,
    pub reason: String,
    pub remedy: String,
    /// It is only warned about, in each run.
    pub warns: bool,
}

/// A token of a product, and what whoever shows it may do; as written: name, secret and rules may be expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// By its name in the registry: `consul`.
    pub product: String,
    /// For people, and to know it again; two that have the same are one.
    pub name: String,
    /// `None`: these are the rights of whoever shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// In the product's own language.
    pub rules: String,
    /// An expression that must hold; it may use facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// A condition on the variables and roles of a host, checked before any host is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Require {
    /// An expression that must hold.
    pub that: String,
    /// What is wrong where it does not; follows the names of role and host.
    pub message: String,
    pub help: String,
    /// It is about all hosts with the role, and asked once: `hosts` are all of the inventory.
    pub together: bool,
}

/// A port on which a program of a role listens, as written: number and addresses may be expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// A number or `{{ … }}`; what renders to less than 1 is switched off.
    pub port: Value,
    pub protocols: Vec<Protocol>,
    pub from: From,
    /// More addresses on which it listens: a list or an expression.
    pub on: Option<Value>,
    /// The only addresses on which it listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Value>,
    /// The program that listens there for the role though none of its units runs it, as in a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// An expression that must hold for it to listen at all; it may use facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// An expression that gives a list: it listens once for each element, which number and addresses call `item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<String>,
    pub doc: String,
}

/// A port at which somebody must answer programs of a role that have a loopback of their own, as containers do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ask {
    pub port: u16,
    pub protocol: Protocol,
    /// A list of addresses or an expression; null among them is the host's cluster address.
    pub at: Value,
    /// What is asked there.
    pub doc: String,
    /// What an operator can do when nobody answers.
    pub help: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Who must be able to reach a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// Programs of its own host: it listens on the loopback.
    Host,
    /// Hosts whose roles are or include the one that declares it. It listens on the cluster address.
    Role,
    /// Every host of the cluster that has a role. It listens on the cluster address.
    Cluster,
}

impl From {
    pub fn describe(self) -> &'static str {
        match self {
            Self::Host => "its own host",
            Self::Role => "hosts of the same role",
            Self::Cluster => "every host of the cluster",
        }
    }
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A value an inventory may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

impl Variable {
    /// Whether there is nothing else that it could be.
    pub fn is_required(&self) -> bool {
        self.default.is_none() && !self.optional && self.generate.is_none()
    }
}

/// Between a variable and its host in the name of a secret: no name of either has a blank.
const OF_HOST: &str = " of ";

/// A secret that is made on the operator's side and kept in the cluster's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generate {
    /// 32 random bytes in base64: a gossip key of Consul or Nomad.
    #[serde(rename = "base64-32")]
    Base64Bytes32,
    /// Six letters or digits, a dot, sixteen more: a token that lets a node join.
    JoinToken,
    /// The certificate and the key of an authority, in PEM, one after the other.
    Authority,
    /// A private key and its public one, in PEM, one after the other.
    KeyPair,
    /// A random UUID: a token of Consul.
    Uuid,
    /// The same, another one for each host.
    HostUuid,
}

impl Generate {
    /// Under which name the secrets of a cluster have what is made of a variable for a host.
    pub fn key(self, variable: &str, host: &HostName) -> String {
        match self {
            Self::HostUuid => format!("{variable}{OF_HOST}{host}"),
            _ => variable.to_owned(),
        }
    }

    /// Whether what has this name among the secrets is one host's.
    pub fn is_of_a_host(key: &str) -> bool {
        key.contains(OF_HOST)
    }

    /// Whether it is this host's.
    pub fn is_of_host(key: &str, host: &HostName) -> bool {
        key.split_once(OF_HOST).is_some_and(|(_, name)| name == host.as_str())
    }

    /// As role files write them.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("base64-32", Self::Base64Bytes32),
        ("join-token", Self::JoinToken),
        ("authority", Self::Authority),
        ("key-pair", Self::KeyPair),
        ("uuid", Self::Uuid),
        ("host-uuid", Self::HostUuid),
    ];
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
    /// An absolute path, of letters, digits and what no format that it is written in takes for its own.
    Path,
    /// A name or an address of a host, or a domain: `api.example.org`.
    HostName,
    /// One word of letters, digits and `._+-`.
    Word,
    /// One or more networks with their prefix lengths, separated by commas: `10.244.0.0/16`.
    Networks,
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
    /// The name of a user or group, or its number.
    Account,
    /// `"0755"`.
    Mode,
    /// An `https://`, `http://` or `file:///` address of a file.
    Url,
    /// 64 hex digits.
    Sha256,
    /// An image of containers with its tag: `team/app:1.2`, or with a registry in front.
    Image,
    /// A list of the inner type.
    List(Box<VariableType>),
    /// Keys to values of any kind.
    Map,
    /// A map with these keys: what is not written is the field's default, or null when it is optional.
    Record(IndexMap<String, Variable>),
    Any,
}
