//! An inventory and its roles -> what every host should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::drill::AppDrill;
use super::proof::{Asked, Proof};
use super::scope::{ClusterAddresses, Everyone, Scope};
use super::{
    Ask, Forms, From, Port, Protocol, Refusal, RenderError, Require, Role, RoleSet, Token, renderer,
    variables,
};
use crate::facts::Facts;
use crate::inventory::{Host, Inventory, Job};
use crate::model::{AccessToken, ClusterName, Endpoint, HostName, RoleName, Secret, StepId};
use crate::resource::Resource;

/// Keys of a resource that may use facts; they are rendered when the hosts have answered.
const LATE: [&str; 2] = ["content", "alternative_names"];

/// What a verification expects may use facts too.
const ANSWER: &str = "answer";

/// What a host says of itself, in expressions.
const FACTS: &str = "facts";

/// The agents of the host, by product: where templates find the others.
const ENDPOINTS: &str = "endpoints";

/// The gates whose clusters there are, if only as data on a host; known with the facts.
const FORMED: &str = "formed";

/// The products whose agents speak TLS with each other already, and those whose agents do not.
const WITH_TLS: &str = "with_tls";
const WITHOUT_TLS: &str = "without_tls";

/// The products whose agents know who asks already, and those whose agents do not.
const WITH_ACL: &str = "with_acl";
const WITHOUT_ACL: &str = "without_acl";

/// The element of `for_each` in a resource's expressions.
const ITEM: &str = "item";

/// The clusters that there are already, if only as data on a host, by their gates.
#[derive(Clone, Debug, Default)]
pub struct Formed {
    pub gates: BTreeSet<String>,
    /// The products whose agents speak TLS among themselves.
    pub with_tls: BTreeSet<String>,
    /// Those whose agents do not.
    pub without_tls: BTreeSet<String>,
    /// The products whose agents answer by what the token of who asks may do, as this program has set them up.
    pub with_acl: BTreeSet<String>,
    /// Those whose agents were set up in another way.
    pub without_acl: BTreeSet<String>,
}

/// What the cluster should be, before anything was observed.
pub struct Wanted {
    pub cluster: ClusterName,
    pub hosts: Vec<WantedHost>,
    /// Every role that some host has, those that others wait for first.
    pub order: Vec<RoleName>,
    /// What Nomad is to run, in order of submission.
    pub jobs: Vec<Job>,
}

/// One host with its roles in order of activation.
#[derive(Clone)]
pub struct WantedHost {
    pub host: Host,
    /// Role defaults under what the inventory says, by namespace; secrets included.
    pub variables: Map<String, Value>,
    pub roles: Vec<WantedRole>,
}

/// A role on one host, with what it includes.
#[derive(Clone)]
pub struct WantedRole {
    pub name: RoleName,
    pub gate: Option<String>,
    /// Where its agent is.
    pub endpoint: Option<Endpoint>,
    /// Files that must list a new host for it to do its work.
    pub lists_hosts: Vec<String>,
    /// What it changes is put back when the host has the role no more.
    pub removable: bool,
    /// Where only some of it is put back: those.
    removables: BTreeSet<StepId>,
    /// Its members form a quorum.
    pub quorum: bool,
    /// Hosts of other roles depend on it.
    pub serves: bool,
    pub forms: Forms,
    /// Identity is rendered; `content` still is a template.
    pub resources: Vec<Resource>,
    pub ports: Vec<WantedPort>,
    pub filesystems: Vec<WantedFilesystem>,
    pub asks: Vec<WantedAsk>,
    /// What else configures its programs.
    pub others: Vec<WantedOther>,
    /// Who may call the API of a product.
    pub tokens: Vec<WantedToken>,
    /// Real uses of what it sets up.
    pub proofs: Vec<WantedProof>,
    /// How its application is drilled.
    pub drill: Option<AppDrill>,
    /// Why it cannot be set up here; known once the host is [`Wanted::with_facts`].
    pub refused: Vec<Refused>,
    refusals: Vec<(String, Refusal)>,
    /// This role and those it includes.
    pub parts: Vec<RoleName>,
    defined: Map<String, Value>,
    /// What `item` is in the content of a resource that was made by `for_each`.
    items: BTreeMap<StepId, Value>,
    /// Conditions that only the host's facts decide. [`Wanted::with_facts`] leaves none.
    conditions: BTreeMap<StepId, Condition>,
    /// Every `define`, with its place, for the time when facts are known.
    define: Vec<(String, String, String)>,
}

/// A real use on one host.
#[derive(Clone, Debug)]
pub struct WantedProof {
    pub proof: Proof,
    when: Option<Condition>,
    place: String,
}

/// Why a role cannot be set up on a host, and what the operator can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: String,
    pub remedy: String,
    /// It can, and should not be: told in each run.
    pub warns: bool,
}

/// A token for the API of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedToken {
    /// By its name in the registry.
    pub product: String,
    pub token: AccessToken,
    /// What waits for facts.
    when: Option<Condition>,
}

/// An expression of a role that waits for facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    place: String,
    expression: String,
}

/// A file system that the kernel of one host must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedFilesystem {
    pub name: String,
    /// The role that needs it.
    pub role: RoleName,
    pub remedy: String,
}

/// A port on which a role's program listens on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPort {
    pub number: u16,
    pub protocols: Vec<Protocol>,
    pub from: From,
    /// Addresses besides the loopback or the cluster address; `None`: the cluster address.
    pub on: Vec<Option<IpAddr>>,
    /// Addresses instead of these.
    pub at: Vec<Option<IpAddr>>,
    /// The role that declares it.
    pub declared: RoleName,
    /// Who listens there besides the role's units.
    pub program: Option<String>,
    pub doc: String,
    /// Whether it listens at all, where only facts decide that.
    pub when: Option<Condition>,
}

/// A port at which somebody on the host must answer a role's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedAsk {
    pub number: u16,
    pub protocol: Protocol,
    /// `None`: the host's cluster address.
    pub at: Vec<Option<IpAddr>>,
    pub doc: String,
    pub help: String,
}

/// Where somebody else may have configured a program of a role, so that one of the two would not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WantedOther {
    /// Its drop-ins are looked at, its own file where no role writes that, and the files of variables that these name.
    pub unit: Option<String>,
    /// Files of variables that a unit reads which is not there yet.
    pub variables: Vec<String>,
    /// `*` stands for any name. Without `sets` and `options` it counts that one of them is there.
    pub files: Vec<String>,
    /// What a line begins with: a key, a section. In drop-ins also the names of variables.
    pub sets: Vec<String>,
    /// Words anywhere in a line: `--dns`.
    pub options: Vec<String>,
    /// A unit; nothing counts any more once this program has started it.
    pub until: Option<String>,
    /// It is only warned about.
    pub warns: bool,
    /// What would become of it.
    pub why: String,
    /// How it is taken over; `{file}` and `{line}` are where it was found.
    pub take: Option<String>,
    /// How it is left as it is.
    pub leave: Option<String>,
    /// What waits for facts.
    #[serde(skip)]
    pub when: Option<Condition>,
    /// Among those of its role.
    #[serde(skip)]
    pub number: usize,
}

/// Why an inventory cannot be turned into wanted states.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    #[error("host `{host}`: cannot render what its role wants")]
    Render { host: HostName, source: RenderError },
    #[error("host `{host}`: {place} is not a usable resource")]
    Resource { host: HostName, place: String, source: crate::resource::Error },
    #[error("host `{host}`: {place}: `for_each` must give a list, got {value}")]
    NoList { host: HostName, place: String, value: Value },
    #[error("host `{host}`: {place} and {other} both make `{id}`, but not the same; name each of them once")]
    Twice { host: HostName, place: String, other: String, id: StepId },
    #[error("host `{host}`: {place} is not a usable port: {value}")]
    Port { host: HostName, place: String, value: Value },
    #[error("host `{host}`: {place} is not a usable verification: {reason}")]
    Proof { host: HostName, place: String, reason: String },
    #[error("host `{host}`: role `{role}`, gate: there is no gate `{gate}`; the program has {known}")]
    Gate { host: HostName, role: RoleName, gate: String, known: String },
    #[error("host `{host}`: {place} is not usable: {reason}")]
    Endpoint { host: HostName, place: String, reason: String },
    #[error("host `{host}`: role `{role}` has the gate `{gate}` and no `endpoint`, so nobody can be asked")]
    NoEndpoint { host: HostName, role: RoleName, gate: String },
    #[error("the roles {} wait for each other (`after`)", .roles.join(", "))]
    Circle { roles: Vec<String> },
}

impl WantedHost {
    /// What templates may name once the host has said its facts, but for what the role defines.
    pub fn late(&self, facts: &Facts, everyone: &Everyone) -> Scope {
        let mut scope = self.early(everyone);
        scope.insert(FACTS, facts);
        scope
    }

    /// The same but for its facts.
    fn early(&self, everyone: &Everyone) -> Scope {
        let mut scope = everyone.scope(&self.host.name, &self.variables);
        let endpoints = self.endpoints().into_iter();
        let endpoints: Map<String, Value> =
            endpoints.map(|endpoint| (endpoint.product.clone(), json!(endpoint))).collect();
        scope.insert(ENDPOINTS, &endpoints);
        scope
    }

    /// Where the agent of a gate is.
    pub fn endpoint(&self, gate: &str) -> Option<&Endpoint> {
        self.roles.iter().find(|role| role.gate.as_deref() == Some(gate))?.endpoint.as_ref()
    }

    /// Where all its agents are, each once.
    pub fn endpoints(&self) -> Vec<&Endpoint> {
        let mut found: Vec<&Endpoint> = Vec::new();
        for endpoint in self.roles.iter().filter_map(|role| role.endpoint.as_ref()) {
            if !found.contains(&endpoint) {
                found.push(endpoint);
            }
        }
        found
    }
}

impl Wanted {
    /// `generated` holds the values of variables that are made once per cluster, by dotted name.
    pub fn new(
        inventory: &Inventory,
        roles: &RoleSet,
        generated: &BTreeMap<String, String>,
    ) -> Result<Self, WantedError> {
        let order = activation_order(inventory, roles)?;
        let everyone = Everyone::new(&inventory.cluster, &inventory.hosts, &ClusterAddresses::new());
        let mut hosts = Vec::with_capacity(inventory.hosts.len());
        for host in &inventory.hosts {
            let mut variables = variables(roles, host);
            fill_generated(&mut variables, roles, host, generated);
            let scope = everyone.scope(&host.name, &variables);
            let mut of_host = Vec::new();
            for name in order.iter().filter(|name| host.roles.contains(name)) {
                let Some(role) = roles.roles.get(name) else { continue };
                of_host.push(wanted_role(scope.clone(), roles, host, role)?);
            }
            join_early_packages(&mut of_host);
            hosts.push(WantedHost { host: host.clone(), variables, roles: of_host });
        }
        Ok(Self { cluster: inventory.cluster.clone(), hosts, order, jobs: inventory.jobs.clone() })
    }

    /// Gives every resource that is pushed from this machine the digest of its file, which `digest` reads for it.
    pub fn fill_artifact_digests<E>(
        &mut self,
        mut digest: impl FnMut(&Resource, &std::path::Path) -> Result<String, E>,
    ) -> Result<(), E> {
        let mut known: BTreeMap<std::path::PathBuf, String> = BTreeMap::new();
        for resource in
            self.hosts.iter_mut().flat_map(|host| &mut host.roles).flat_map(|role| &mut role.resources)
        {
            let Some(path) = resource.artifact().map(std::path::Path::to_owned) else { continue };
            let sum = match known.get(&path) {
                Some(sum) => sum.clone(),
                None => known.entry(path.clone()).or_insert(digest(resource, &path)?).clone(),
            };
            *resource = resource.clone().with_artifact_digest(sum);
        }
        Ok(())
    }

    pub fn host(&self, name: &HostName) -> Option<&WantedHost> {
        self.hosts.iter().find(|wanted| wanted.host.name == *name)
    }

    /// All hosts as templates see them, with these addresses: for [`WantedHost::late`].
    pub fn everyone(&self, addresses: &ClusterAddresses) -> Everyone {
        Everyone::new(&self.cluster, self.hosts.iter().map(|wanted| &wanted.host), addresses)
    }

    /// A resource with its content rendered, by what its host may name ([`WantedHost::late`]).
    pub fn resolved(
        &self,
        wanted: &WantedHost,
        role: &WantedRole,
        resource: &Resource,
        late: &Scope,
    ) -> Result<Resource, WantedError> {
        let Some(template) = resource.content() else { return Ok(resource.clone()) };
        let mut scope = late.clone();
        scope.extend(&role.defined);
        if let Some(item) = role.items.get(&resource.id()) {
            scope.insert(ITEM, item);
        }
        let place = format!("role `{}`, {}", role.name, resource.id());
        let text = renderer()
            .text(&place, template, &scope)
            .map_err(|source| WantedError::Render { host: wanted.host.name.clone(), source })?;
        Ok(resource.clone().with_content(text))
    }
}

impl Wanted {
    /// The same for the hosts that have said their facts: what these do not let a role want is gone. Other hosts
    /// stay as they are.
    ///
    /// # Errors
    /// Every expression that cannot be evaluated.
    pub fn with_facts<'f>(
        &self,
        facts: impl Fn(&HostName) -> Option<&'f Facts>,
        formed: &Formed,
        addresses: &ClusterAddresses,
    ) -> Result<Self, Vec<WantedError>> {
        let mut errors = Vec::new();
        let everyone = self.everyone(addresses);
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for wanted in &self.hosts {
            let mut wanted = wanted.clone();
            let mut scope = wanted.early(&everyone);
            scope.insert(FORMED, &formed.gates);
            scope.insert(WITH_TLS, &formed.with_tls);
            scope.insert(WITHOUT_TLS, &formed.without_tls);
            scope.insert(WITH_ACL, &formed.with_acl);
            scope.insert(WITHOUT_ACL, &formed.without_acl);
            match facts(&wanted.host.name) {
                None => wanted.roles.iter_mut().for_each(|role| decide_tokens(role, &scope)),
                Some(facts) => {
                    scope.insert(FACTS, facts);
                    for role in &mut wanted.roles {
                        let decided = decide_with_facts(role, &scope);
                        errors.extend(
                            decided
                                .err()
                                .map(|source| WantedError::Render { host: wanted.host.name.clone(), source }),
                        );
                    }
                }
            }
            hosts.push(wanted);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let (cluster, order, jobs) = (self.cluster.clone(), self.order.clone(), self.jobs.clone());
        Ok(Self { cluster, hosts, order, jobs })
    }
}

impl WantedRole {
    /// Whether a resource is put back once the host's roles make it no more.
    pub fn puts_back(&self, resource: &Resource) -> bool {
        self.removable || self.removables.contains(&resource.id())
    }
}

/// Decides which tokens a host has that does not take part: its servers know them all the same. What only its facts would tell is taken
/// to be so.
fn decide_tokens(role: &mut WantedRole, scope: &Scope) {
    let mut scope = scope.clone();
    for (place, name, source) in &role.define {
        if let Ok(value) = renderer().value(place, &Value::String(source.clone()), &scope, &[]) {
            scope.insert(name, &value);
        }
    }
    role.tokens.retain(|token| {
        let Some(Condition { place, expression }) = &token.when else { return true };
        renderer().expression(place, expression, &scope).map_or(true, |value| is_true(&value))
    });
}

/// Decides what waited for facts.
fn decide_with_facts(role: &mut WantedRole, scope: &Scope) -> Result<(), RenderError> {
    let mut scope = scope.clone();
    for (place, name, source) in &role.define {
        let value = renderer().value(place, &Value::String(source.clone()), &scope, &[])?;
        scope.insert(name, &value);
        role.defined.insert(name.clone(), value);
    }
    let holds = |condition: &Condition, item: Option<&Value>| {
        let mut scope = scope.clone();
        if let Some(item) = item {
            scope.insert(ITEM, item);
        }
        renderer().expression(&condition.place, &condition.expression, &scope).map(|value| is_true(&value))
    };
    let mut left_out = BTreeSet::new();
    for (id, condition) in std::mem::take(&mut role.conditions) {
        if !holds(&condition, role.items.get(&id))? {
            left_out.insert(id);
        }
    }
    role.resources.retain(|resource| !left_out.contains(&resource.id()));
    let mut proofs = Vec::new();
    for mut wanted in std::mem::take(&mut role.proofs) {
        if !wanted.when.take().map_or(Ok(true), |condition| holds(&condition, None))? {
            continue;
        }
        if let Asked::Lookup(lookup) = &mut wanted.proof.asked
            && let Some(answer) = &mut lookup.answer
        {
            *answer = renderer().text(&wanted.place, answer, &scope)?;
        }
        proofs.push(wanted);
    }
    role.proofs = proofs;
    for (place, refusal) in &role.refusals {
        if is_true(&renderer().expression(place, &refusal.when, &scope)?) {
            let reason = renderer().text(place, &refusal.reason, &scope)?;
            let remedy = renderer().text(place, &refusal.remedy, &scope)?;
            role.refused.push(Refused { reason, remedy, warns: refusal.warns });
        }
    }
    let mut tokens = Vec::new();
    for mut token in std::mem::take(&mut role.tokens) {
        let is_known = token.when.take().map_or(Ok(true), |condition| holds(&condition, None))?;
        tokens.extend(is_known.then_some(token));
    }
    role.tokens = tokens;
    let mut ports = Vec::new();
    for mut port in std::mem::take(&mut role.ports) {
        let listens = port.when.take().map_or(Ok(true), |condition| holds(&condition, None))?;
        ports.extend(listens.then_some(port));
    }
    role.ports = ports;
    let mut others = Vec::new();
    for mut other in std::mem::take(&mut role.others) {
        let counts = other.when.take().map_or(Ok(true), |condition| holds(&condition, None))?;
        others.extend(counts.then_some(other));
    }
    role.others = others;
    Ok(())
}

/// Names of the variables that must be made because no inventory value sets them, with how.
pub fn variables_to_generate(inventory: &Inventory, roles: &RoleSet) -> BTreeMap<String, super::Generate> {
    let of_host = |host: &Host| {
        let declared = roles.closure(&host.roles).into_iter().flat_map(|role| &role.variables);
        let made = declared.filter_map(|(name, variable)| {
            let kind = variable.generate?;
            Some((kind.key(name, &host.name), kind))
        });
        made.collect::<Vec<_>>()
    };
    inventory.hosts.iter().flat_map(of_host).collect()
}

/// A condition of a role that does not hold on a host. It sees that host alone, also in `hosts`; of the others it sees which
/// roles there are at all, as `cluster_roles`.
pub struct UnmetRequirement<'a> {
    pub host: &'a HostName,
    /// The role as the inventory writes it; the condition may be one of a role that it includes.
    pub role: &'a RoleName,
    pub require: &'a Require,
}

/// Every condition that does not hold, host by host.
pub fn unmet<'a>(
    inventory: &'a Inventory,
    roles: &'a RoleSet,
) -> Result<Vec<UnmetRequirement<'a>>, WantedError> {
    let mut found: Vec<UnmetRequirement> = Vec::new();
    let cluster_roles: BTreeSet<&RoleName> = inventory.hosts.iter().flat_map(|host| &host.roles).collect();
    let cluster_roles: Value = cluster_roles.iter().map(|role| role.as_str()).collect();
    let everyone = Everyone::new(&inventory.cluster, &inventory.hosts, &ClusterAddresses::new());
    let mut asked_together: BTreeSet<&RoleName> = BTreeSet::new();
    for host in &inventory.hosts {
        let conditioned =
            |role: &&RoleName| roles.closure([*role]).iter().any(|part| !part.require.is_empty());
        for role in host.roles.iter().filter(conditioned) {
            let variables = variables(roles, host);
            let parts = roles.closure([role]);
            let together = parts.iter().any(|part| part.require.iter().any(|one| one.together));
            let is_first = together && asked_together.insert(role);
            let alone;
            let seen = if is_first {
                &everyone
            } else {
                alone = Everyone::new(&inventory.cluster, [host], &ClusterAddresses::new());
                &alone
            };
            let mut scope = seen.scope(&host.name, &variables);
            scope.insert("cluster_roles", &cluster_roles);
            let mut late = late_names();
            for part in parts {
                let render = |source| WantedError::Render { host: host.name.clone(), source };
                define(part, &mut scope, &mut late).map_err(render)?;
                let judged = part.require.iter().enumerate().filter(|(_, one)| is_first || !one.together);
                for (index, require) in judged {
                    let place = format!("role `{}`, require[{index}]", part.name);
                    let raw = Value::String(require.that.clone());
                    let holds = is_true(&renderer().value(&place, &raw, &scope, &[]).map_err(render)?);
                    // Two roles may include the one that says so.
                    let told = found.iter().any(|known| *known.host == host.name && known.require == require);
                    if !holds && !told {
                        found.push(UnmetRequirement { host: &host.name, role, require });
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Names that mean nothing before the host has said its facts.
fn late_names() -> BTreeSet<String> {
    [FACTS, FORMED, WITH_TLS, WITHOUT_TLS, WITH_ACL, WITHOUT_ACL, ENDPOINTS].map(str::to_owned).into()
}

/// Adds what a role defines to the scope, but for what waits for facts, which `late` names.
fn define(part: &Role, scope: &mut Scope, late: &mut BTreeSet<String>) -> Result<(), RenderError> {
    for (name, source) in &part.define {
        if renderer().names(source).is_some_and(|names| !names.is_disjoint(late)) {
            late.insert(name.clone());
            continue;
        }
        let place = format!("role `{}`, define `{name}`", part.name);
        let value = renderer().value(&place, &Value::String(source.clone()), scope, &[])?;
        scope.insert(name, &value);
    }
    Ok(())
}

fn wanted_role(
    mut scope: Scope,
    roles: &RoleSet,
    host: &Host,
    role: &Role,
) -> Result<WantedRole, WantedError> {
    let (mut defined, mut define) = (Map::new(), Vec::new());
    let (mut proofs, mut refusals) = (Vec::new(), Vec::new());
    let mut late = late_names();
    let (mut made, mut ports, mut parts) = (RoleResources::default(), Vec::new(), Vec::new());
    let (mut filesystems, mut endpoint, mut drill) = (Vec::new(), None, None);
    let render = |source| WantedError::Render { host: host.name.clone(), source };
    let (mut asks, mut lists_hosts, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut tokens = Vec::new();
    for part in roles.closure([&role.name]) {
        for (name, source) in &part.define {
            let place = format!("role `{}`, define `{name}`", part.name);
            define.push((place.clone(), name.clone(), source.clone()));
            if renderer().names(source).is_some_and(|names| !names.is_disjoint(&late)) {
                late.insert(name.clone());
                continue;
            }
            let value =
                renderer().value(&place, &Value::String(source.clone()), &scope, &[]).map_err(render)?;
            scope.insert(name, &value);
            defined.insert(name.clone(), value);
        }
        for (index, raw) in part.resources.iter().enumerate() {
            let place = format!("role `{}`, resources[{index}]", part.name);
            made.add(&host.name, &place, raw, &scope, &late)?;
        }
        for (index, raw) in part.ports.iter().enumerate() {
            let place = format!("role `{}`, ports[{index}]", part.name);
            let Some(when) = condition(&place, raw.when.as_deref(), &scope, &late).map_err(render)? else {
                continue;
            };
            with_each_item(&place, &host.name, raw.for_each.as_deref(), &scope, |_, scope| {
                let port = wanted_port(&place, &host.name, &part.name, raw, scope)?;
                ports.extend(port.map(|port| WantedPort { when: when.clone(), ..port }));
                Ok(())
            })?;
        }
        for (index, raw) in part.verify.iter().enumerate() {
            let place = format!("role `{}`, verify[{index}]", part.name);
            let mut fields = raw.clone();
            let when = fields.as_object_mut().and_then(|fields| fields.shift_remove("when"));
            let when = when.as_ref().and_then(Value::as_str);
            let Some(when) = condition(&place, when, &scope, &late).map_err(render)? else {
                continue;
            };
            let value = renderer().value(&place, &fields, &scope, &[ANSWER]).map_err(render)?;
            let proof = serde_json::from_value(value).map_err(|error| WantedError::Proof {
                host: host.name.clone(),
                place: place.clone(),
                reason: error.to_string(),
            })?;
            proofs.push(WantedProof { proof, when, place });
        }
        for (index, raw) in part.others.iter().enumerate() {
            let place = format!("role `{}`, others[{index}]", part.name);
            let mut fields = raw.clone();
            let when = fields.as_object_mut().and_then(|fields| fields.shift_remove("when"));
            let when = when.as_ref().and_then(Value::as_str);
            let Some(when) = condition(&place, when, &scope, &late).map_err(render)? else {
                continue;
            };
            let value = renderer().value(&place, &fields, &scope, &[]).map_err(render)?;
            let other = serde_json::from_value(value).map_err(|error| WantedError::Endpoint {
                host: host.name.clone(),
                place,
                reason: error.to_string(),
            })?;
            others.push(WantedOther { when, number: others.len(), ..other });
        }
        for (index, token) in part.tokens.iter().enumerate() {
            let place = format!("role `{}`, tokens[{index}]", part.name);
            tokens.extend(wanted_token(&place, token, &scope, &late).map_err(render)?);
        }
        for (index, refusal) in part.refuse.iter().enumerate() {
            refusals.push((format!("role `{}`, refuse[{index}]", part.name), refusal.clone()));
        }
        for (index, filesystem) in part.filesystems.iter().enumerate() {
            let place = format!("role `{}`, filesystems[{index}]", part.name);
            let needed = match &filesystem.when {
                Some(when) => is_true(&renderer().expression(&place, when, &scope).map_err(render)?),
                None => true,
            };
            filesystems.extend(needed.then(|| WantedFilesystem {
                name: filesystem.name.clone(),
                role: part.name.clone(),
                remedy: filesystem.remedy.clone(),
            }));
        }
        for (index, raw) in part.asks.iter().enumerate() {
            let place = format!("role `{}`, asks[{index}]", part.name);
            asks.push(wanted_ask(place, &host.name, raw, &scope)?);
        }
        if let Some(raw) = &part.endpoint {
            let place = format!("role `{}`, endpoint", part.name);
            let value = renderer().value(&place, raw, &scope, &[]).map_err(render)?;
            endpoint = Some(serde_json::from_value(value).map_err(|error| WantedError::Endpoint {
                host: host.name.clone(),
                place,
                reason: error.to_string(),
            })?);
        }
        if let Some(raw) = &part.drill {
            let place = format!("role `{}`, drill", part.name);
            let value = renderer().value(&place, raw, &scope, &[]).map_err(render)?;
            drill = Some(serde_json::from_value(value).map_err(|error| WantedError::Endpoint {
                host: host.name.clone(),
                place,
                reason: error.to_string(),
            })?);
        }
        lists_hosts.extend(part.lists_hosts.iter().cloned());
        parts.push(part.name.clone());
    }
    let gate = role.gate.as_ref().map(|gate| {
        let place = format!("role `{}`, gate", role.name);
        renderer().value(&place, &Value::String(gate.clone()), &scope, &[]).map_err(render)
    });
    let gate = gate.transpose()?.as_ref().and_then(Value::as_str).map(str::to_owned);
    Ok(WantedRole {
        name: role.name.clone(),
        gate,
        endpoint,
        lists_hosts,
        removable: role.removable,
        removables: made.removables,
        quorum: role.quorum,
        serves: role.serves,
        forms: role.forms,
        resources: made.resources,
        ports,
        filesystems,
        asks,
        others,
        tokens,
        proofs,
        drill,
        refused: Vec::new(),
        refusals,
        parts,
        defined,
        items: made.items,
        conditions: made.conditions,
        define,
    })
}

/// Packages that may come early go to the first packages of the host: a package manager that is called once takes seconds less.
/// What waits for facts stays by itself.
fn join_early_packages(roles: &mut [WantedRole]) {
    let mut first: Option<(usize, usize)> = None;
    let mut early = Vec::new();
    for (number, role) in roles.iter_mut().enumerate() {
        let mut kept = Vec::with_capacity(role.resources.len());
        for resource in std::mem::take(&mut role.resources) {
            match resource {
                Resource::Package(package)
                    if package.unless_program.is_none()
                        && !role.conditions.contains_key(&Resource::Package(package.clone()).id()) =>
                {
                    if first.is_some() && package.early {
                        early.push(package);
                    } else {
                        first.get_or_insert((number, kept.len()));
                        kept.push(Resource::Package(package));
                    }
                }
                other => kept.push(other),
            }
        }
        role.resources = kept;
    }
    let Some((role, resource)) = first else { return };
    if let Resource::Package(package) = &mut roles[role].resources[resource] {
        early.into_iter().for_each(|more| package.extend(more));
    }
}

/// What is left of a `when`: nothing if it does not hold, the expression itself if it waits for facts.
fn condition(
    place: &str,
    when: Option<&str>,
    scope: &Scope,
    late: &BTreeSet<String>,
) -> Result<Option<Option<Condition>>, RenderError> {
    let Some(expression) = when else { return Ok(Some(None)) };
    if renderer().waits(expression, late) {
        let (place, expression) = (place.to_owned(), expression.to_owned());
        return Ok(Some(Some(Condition { place, expression })));
    }
    let holds = is_true(&renderer().expression(place, expression, scope)?);
    Ok(holds.then_some(None))
}

/// The resources of one role on one host, as they are made.
#[derive(Default)]
struct RoleResources {
    resources: Vec<Resource>,
    removables: BTreeSet<StepId>,
    items: BTreeMap<StepId, Value>,
    conditions: BTreeMap<StepId, Condition>,
    /// Where each was made, and from what.
    origins: BTreeMap<StepId, (String, Value)>,
}

impl RoleResources {
    /// Adds what a resource as written becomes: nothing, one, or with `for_each` any number.
    fn add(
        &mut self,
        host: &HostName,
        place: &str,
        raw: &Value,
        scope: &Scope,
        late: &BTreeSet<String>,
    ) -> Result<(), WantedError> {
        let Value::Object(fields) = raw else { return Ok(()) };
        let mut fields = fields.clone();
        let (when, each) = (fields.shift_remove("when"), fields.shift_remove("for_each"));
        let removable = fields.shift_remove("removable").is_some_and(|value| is_true(&value));
        let fields = Value::Object(fields);
        let before = self.resources.len();
        let each = each.as_ref().and_then(Value::as_str);
        with_each_item(place, host, each, scope, |item, scope| match item {
            Some((index, item)) => {
                let place = format!("{place}, for_each[{index}]");
                self.add_one(host, &place, &fields, when.as_ref(), Some(item), scope, late)
            }
            None => self.add_one(host, place, &fields, when.as_ref(), None, scope, late),
        })?;
        if removable {
            self.removables.extend(self.resources.iter().skip(before).map(Resource::id));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and one caller has them all")]
    fn add_one(
        &mut self,
        host: &HostName,
        place: &str,
        fields: &Value,
        when: Option<&Value>,
        item: Option<&Value>,
        scope: &Scope,
        late: &BTreeSet<String>,
    ) -> Result<(), WantedError> {
        let render = |source| WantedError::Render { host: host.clone(), source };
        let when = when.and_then(Value::as_str);
        let Some(waits) = condition(place, when, scope, late).map_err(render)? else {
            return Ok(());
        };
        let value = renderer().value(place, fields, scope, &LATE).map_err(render)?;
        let resource = Resource::from_value(value.clone()).map_err(|source| WantedError::Resource {
            host: host.clone(),
            place: place.to_owned(),
            source,
        })?;
        let id = resource.id();
        // Content is not rendered yet: it is the same if the item is. So it is with a condition that waits.
        let item = item.filter(|_| resource.content().is_some() || waits.is_some());
        if let Some((other, known)) = self.origins.get(&id) {
            if *known == value && self.items.get(&id) == item && self.conditions.get(&id) == waits.as_ref() {
                return Ok(());
            }
            let (host, place, other) = (host.clone(), place.to_owned(), other.clone());
            return Err(WantedError::Twice { host, place, other, id });
        }
        self.items.extend(item.map(|item| (id.clone(), item.clone())));
        self.conditions.extend(waits.map(|condition| (id.clone(), condition)));
        self.origins.insert(id, (place.to_owned(), value));
        self.resources.push(resource);
        Ok(())
    }
}

/// Calls `with` by the scope as it is, or with `for_each` for each element of its list, with its number, by a scope that has it.
fn with_each_item(
    place: &str,
    host: &HostName,
    each: Option<&str>,
    scope: &Scope,
    mut with: impl FnMut(Option<(usize, &Value)>, &Scope) -> Result<(), WantedError>,
) -> Result<(), WantedError> {
    let Some(each) = each else { return with(None, scope) };
    let list = renderer()
        .expression(&format!("{place}, for_each"), each, scope)
        .map_err(|source| WantedError::Render { host: host.clone(), source })?;
    let Value::Array(items) = list else {
        return Err(WantedError::NoList { host: host.clone(), place: place.to_owned(), value: list });
    };
    let mut scope = scope.clone();
    for (index, item) in items.iter().enumerate() {
        scope.insert(ITEM, item);
        with(Some((index, item)), &scope)?;
    }
    Ok(())
}

/// `None` for a port that is switched off.
fn wanted_port(
    place: &str,
    host: &HostName,
    declared: &RoleName,
    port: &Port,
    scope: &Scope,
) -> Result<Option<WantedPort>, WantedError> {
    let render = |raw: &Value| {
        renderer()
            .value(place, raw, scope, &[])
            .map_err(|source| WantedError::Render { host: host.clone(), source })
    };
    let unusable = |value: &Value| WantedError::Port {
        host: host.clone(),
        place: place.to_owned(),
        value: value.clone(),
    };
    let value = render(&port.port)?;
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    let number = number.ok_or_else(|| unusable(&value))?;
    if number < 1 {
        return Ok(None);
    }
    let number = u16::try_from(number).map_err(|_| unusable(&value))?;
    let addresses = |raw: Option<&Value>| match raw.map(render).transpose()? {
        None => Ok(Vec::new()),
        Some(value) => cluster_or_addresses(&value).ok_or_else(|| unusable(&value)),
    };
    let (on, at) = (addresses(port.on.as_ref())?, addresses(port.at.as_ref())?);
    Ok(Some(WantedPort {
        number,
        protocols: port.protocols.clone(),
        from: port.from,
        on,
        at,
        declared: declared.clone(),
        program: port.program.clone(),
        doc: port.doc.clone(),
        when: None,
    }))
}

/// `None`: it is not wanted on this host.
fn wanted_token(
    place: &str,
    token: &Token,
    scope: &Scope,
    late: &BTreeSet<String>,
) -> Result<Option<WantedToken>, RenderError> {
    let Some(when) = condition(place, token.when.as_deref(), scope, late)? else { return Ok(None) };
    let text = |raw: &str| renderer().text(place, raw, scope);
    let secret = token.secret.as_deref().map(text).transpose()?.map(Secret::new);
    let access = AccessToken { name: text(&token.name)?, secret, rules: text(&token.rules)? };
    Ok(Some(WantedToken { product: token.product.clone(), token: access, when }))
}

fn wanted_ask(place: String, host: &HostName, ask: &Ask, scope: &Scope) -> Result<WantedAsk, WantedError> {
    let at = renderer()
        .value(&place, &ask.at, scope, &[])
        .map_err(|source| WantedError::Render { host: host.clone(), source })?;
    let Some(at) = cluster_or_addresses(&at) else {
        return Err(WantedError::Port { host: host.clone(), place, value: at });
    };
    let (number, protocol) = (ask.port, ask.protocol);
    Ok(WantedAsk { number, protocol, at, doc: ask.doc.clone(), help: ask.help.clone() })
}

/// A list of addresses, in which null is the cluster address of the host: that may be known only there.
fn cluster_or_addresses(list: &Value) -> Option<Vec<Option<IpAddr>>> {
    let address = |item: &Value| match item {
        Value::Null => Some(None),
        item => item.as_str()?.parse().ok().map(Some),
    };
    list.as_array()?.iter().map(address).collect()
}

fn fill_generated(
    variables: &mut Map<String, Value>,
    roles: &RoleSet,
    host: &Host,
    generated: &BTreeMap<String, String>,
) {
    let declared = roles.closure(&host.roles).into_iter().flat_map(|role| &role.variables);
    for (name, variable) in declared {
        let made = variable.generate.and_then(|kind| generated.get(&kind.key(name, &host.name)));
        let (Some((namespace, key)), Some(value)) = (name.split_once('.'), made) else { continue };
        let space = variables.entry(namespace).or_insert_with(|| json!({}));
        if space.get(key).is_none_or(Value::is_null) {
            space[key] = json!(value);
        }
    }
}

/// Roles of the inventory such that each stands behind those it is `after`, otherwise in the order
/// in which the inventory names them.
fn activation_order(inventory: &Inventory, roles: &RoleSet) -> Result<Vec<RoleName>, WantedError> {
    let mut waiting: Vec<&RoleName> = Vec::new();
    for role in inventory.hosts.iter().flat_map(|host| &host.roles) {
        if !waiting.contains(&role) {
            waiting.push(role);
        }
    }
    let mut order: Vec<RoleName> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = waiting.iter().position(|name| {
            roles
                .closure([*name])
                .iter()
                .flat_map(|role| role.after.iter().chain(&role.needs))
                .all(|earlier| earlier == *name || !waiting.contains(&earlier))
        });
        match free {
            Some(index) => order.push(waiting.remove(index).clone()),
            None => {
                return Err(WantedError::Circle { roles: waiting.iter().map(ToString::to_string).collect() });
            }
        }
    }
    Ok(order)
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use indoc::{formatdoc, indoc};
    use std::path::Path;

    use super::super::{folder::Folder, parse::parse};
    use super::*;
    use crate::inventory;

    const INVENTORY: &str = indoc! {"
        cluster: c
        hosts:
          a: { address: 10.0.0.1, roles: [r] }
    "};

    /// What host `a` should be by a role with these resources.
    fn wanted(resources: &str) -> Result<Wanted, WantedError> {
        let role = formatdoc!(
            "
                doc: d
                variables:
                  n.exports:
                    type: list
                    of: map
                    doc: d
                    default:
                      - {{ path: /x, create: true, owner: www }}
                      - {{ path: /y, create: false, owner: www }}
                      - {{ path: /z, create: true, owner: root }}
                resources:
                {resources}"
        );
        let files = BTreeMap::from([("role.yaml".to_owned(), role.into_bytes().into())]);
        let folder = Folder { name: "r".to_owned(), path: "r".into(), files };
        let mut problems = Vec::new();
        let (role, _) = parse(&folder, &BTreeMap::new(), &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        let roles =
            RoleSet { roles: [(role.name.clone(), role)].into_iter().collect(), ..RoleSet::default() };
        let (draft, problems) = inventory::parse(INVENTORY, Path::new("i.yaml"));
        assert!(problems.is_empty(), "{problems:?}");
        Wanted::new(&draft.unwrap().inventory(None).unwrap(), &roles, &BTreeMap::new())
    }

    fn ids(wanted: &Wanted) -> Vec<String> {
        wanted.hosts[0].roles[0].resources.iter().map(|resource| resource.id().0).collect()
    }

    #[test]
    fn early_packages_come_with_the_first() {
        let made = |resources: &str| ids(&wanted(resources).unwrap()).join(", ");
        assert_eq!(
            made(
                r"
  - package: { names: [a] }
  - file: { path: /f, content: x }
  - package: { names: [b, a, c], where_known: [d], early: true }
  - package: { names: [e] }
  - package: { names: [g], unless_program: g, early: true }
  - package: { names: [h], early: true }
    when: facts.init == 'systemd'
"
            ),
            "package a b c, file /f, package e, package g, package h"
        );
        let alone = "  - file: { path: /f, content: x }\n  - package: { names: [a], early: true }\n";
        assert_eq!(made(alone), "file /f, package a");
    }

    #[test]
    fn a_resource_is_made_for_each_element_that_the_condition_lets_through() {
        let some = wanted(
            "  - directory: { path: \"{{ item.path }}\", owner: \"{{ item.owner }}\" }\n    for_each: n.exports\n    \
             when: item.create\n  - directory: { path: /after }\n",
        );
        assert_eq!(ids(&some.unwrap()), ["directory /x", "directory /z", "directory /after"]);
        let none = "  - directory: { path: \"{{ item }}\" }\n    for_each: n.exports | selectattr('never')\n";
        assert_eq!(ids(&wanted(none).unwrap()), [""; 0]);
    }

    #[test]
    fn content_knows_the_element_too() {
        let wanted = wanted(
            "  - file: { path: \"/e{{ item.path }}\", content: \"{{ item.path }} on {{ facts.hostname }}\" }\n    \
             for_each: n.exports\n",
        )
        .unwrap();
        let (host, facts) = (&wanted.hosts[0], crate::resource::testing::facts("x86_64"));
        let contents: Vec<_> = host.roles[0]
            .resources
            .iter()
            .map(|resource| {
                let resolved = wanted.resolved(
                    host,
                    &host.roles[0],
                    resource,
                    &host.late(&facts, &wanted.everyone(&ClusterAddresses::new())),
                );
                resolved.unwrap().content().unwrap().to_owned()
            })
            .collect();
        assert_eq!(contents, ["/x on node-1", "/y on node-1", "/z on node-1"]);
    }

    /// The same when host `a` has said its facts.
    fn decided(wanted: &Wanted) -> Result<Wanted, Vec<WantedError>> {
        let facts = crate::resource::testing::facts("x86_64");
        let formed = Formed { gates: BTreeSet::from(["g".to_owned()]), ..Formed::default() };
        wanted.with_facts(|_| Some(&facts), &formed, &ClusterAddresses::new())
    }

    #[test]
    fn what_facts_decide_is_asked_first_and_decided_later() {
        let wanted = wanted(indoc! {r#"
                  - directory: { path: /always }
                  - directory: { path: /amd }
                    when: facts.arch == 'x86_64'
                  - directory: { path: /arm }
                    when: is_arm
                  - directory: { path: "/each{{ item.path }}" }
                    for_each: n.exports
                    when: item.create and not is_arm
                define:
                  arch: "{{ facts.arch }}"
                  is_arm: "{{ arch == 'aarch64' }}"
                ports:
                  - { port: 1, from: host, when: is_arm, doc: d }
                  - { port: 2, from: host, when: not is_arm, doc: d }
                  - { port: "{{ 10 if item.create else 11 }}", from: host, for_each: n.exports, doc: d }
                verify:
                  - { name: "n", lookup: { name: x, type: A, answer: "{{ arch }}" } }
                  - { name: o, command: [y], when: is_arm }
                refuse:
                  - { when: is_arm, reason: r, remedy: s }
                  - { when: arch, reason: "is {{ arch }}", remedy: s }
            "#})
        .unwrap();
        let asked = ["/always", "/amd", "/arm", "/each/x", "/each/y", "/each/z"];
        assert_eq!(ids(&wanted), asked.map(|path| format!("directory {path}")));
        let decided = decided(&wanted).unwrap();
        let role = &decided.hosts[0].roles[0];
        assert_eq!(
            ids(&decided),
            ["/always", "/amd", "/each/x", "/each/z"].map(|path| format!("directory {path}"))
        );
        let ports: Vec<_> = role.ports.iter().map(|port| (port.number, &port.when)).collect();
        assert_eq!(ports, [2, 10, 11, 10].map(|number| (number, &None)));
        let refused = Refused { reason: "is x86_64".into(), remedy: "s".into(), warns: false };
        assert_eq!(role.refused, [refused]);
        let [WantedProof { proof, .. }] = role.proofs.as_slice() else { panic!("{:?}", role.proofs) };
        let Asked::Lookup(lookup) = &proof.asked else { panic!("{proof:?}") };
        assert_eq!(lookup.answer.as_deref(), Some("x86_64"));
        // Hosts that said nothing stay as they are.
        let silent = wanted.with_facts(|_| None, &Formed::default(), &ClusterAddresses::new()).unwrap();
        assert_eq!(ids(&silent), ids(&wanted));
    }

    #[test]
    fn a_mistake_that_only_facts_bring_out_is_told_with_its_place() {
        let wanted = wanted("  - directory: { path: /x }\n    when: facts.colour == 'red'\n").unwrap();
        let errors = decided(&wanted).err().unwrap();
        let [WantedError::Render { source, .. }] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(source.to_string().starts_with("in role `r`, resources[0]: undefined value"), "{source}");
    }

    #[test]
    fn what_is_made_twice_is_one_thing_or_a_mistake() {
        let users = "  - user: { name: \"{{ item.owner }}\" }\n    for_each: n.exports\n";
        assert_eq!(ids(&wanted(users).unwrap()), ["user www", "user root"]);
        for (resources, message) in [
            (
                "  - user: { name: \"{{ item.owner }}\", home: \"{{ item.path }}\" }\n    for_each: n.exports\n",
                "host `a`: role `r`, resources[0], for_each[1] and role `r`, resources[0], for_each[0] both make \
                 `user www`, but not the same; name each of them once",
            ),
            (
                "  - file: { path: /f, content: \"{{ item.path }}\" }\n    for_each: n.exports\n",
                "host `a`: role `r`, resources[0], for_each[1] and role `r`, resources[0], for_each[0] both make \
                 `file /f`, but not the same; name each of them once",
            ),
        ] {
            assert_eq!(wanted(resources).err().unwrap().to_string(), message);
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let error = wanted("  - user: { name: x }\n    for_each: n.exports[0]\n").err().unwrap().to_string();
        assert!(
            error.starts_with("host `a`: role `r`, resources[0]: `for_each` must give a list, got {"),
            "{error}"
        );
        let error = wanted("  - user: { name: x }\n    for_each: n.exprots\n").err().unwrap();
        let WantedError::Render { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().starts_with("in role `r`, resources[0], for_each: "), "{source}");
        let error =
            wanted("  - user: { name: \"{{ item.uid }}\" }\n    for_each: n.exports\n").err().unwrap();
        let WantedError::Render { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().starts_with("in role `r`, resources[0], for_each[0]: "), "{source}");
    }
}
