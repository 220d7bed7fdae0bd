//! What templates and expressions may name. Values are shared: what is the same for all hosts is made once, and a scope of one more name
//! costs one name more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::inventory::Host;
use crate::model::{ClusterName, HostName, RoleName};

/// Names and their values.
#[derive(Clone, Debug, Default)]
pub struct Scope(Arc<Names>);

#[derive(Clone, Debug, Default)]
struct Names(BTreeMap<String, Jinja>);

impl Object for Names {
    fn get_value(self: &Arc<Self>, name: &Jinja) -> Option<Jinja> {
        self.0.get(name.as_str()?).cloned()
    }
}

impl Scope {
    pub fn insert(&mut self, name: impl Into<String>, value: &impl Serialize) {
        self.share(name, Jinja::from(Serde(value)));
    }

    fn share(&mut self, name: impl Into<String>, value: Jinja) {
        Arc::make_mut(&mut self.0).0.insert(name.into(), value);
    }

    pub fn extend<'a>(&mut self, values: impl IntoIterator<Item = (&'a String, &'a Value)>) {
        for (name, value) in values {
            self.insert(name, value);
        }
    }

    /// What an expression finds its names in.
    pub(super) fn context(&self) -> Jinja {
        Jinja::from_dyn_object(self.0.clone())
    }
}

impl From<&Map<String, Value>> for Scope {
    fn from(values: &Map<String, Value>) -> Self {
        let mut scope = Self::default();
        scope.extend(values);
        scope
    }
}

/// The address that a host's agents use, for each host that has one.
pub type ClusterAddresses = BTreeMap<HostName, IpAddr>;

/// All hosts as templates see them.
pub struct Everyone {
    cluster: Jinja,
    all: Jinja,
    each: BTreeMap<HostName, Jinja>,
}

/// The list of all hosts. Which of them have a role is known before a template of each host asks for it.
#[derive(Debug)]
struct Hosts {
    all: Vec<Jinja>,
    by_role: BTreeMap<RoleName, Jinja>,
}

impl Object for Hosts {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, index: &Jinja) -> Option<Jinja> {
        self.all.get(index.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.all.len())
    }
}

/// Those of a list of hosts that have a role; `None` where it is no list of hosts.
pub(super) fn with_role(hosts: &Jinja, role: &str) -> Option<Jinja> {
    if let Some(hosts) = hosts.downcast_object_ref::<Hosts>() {
        return Some(hosts.by_role.get(role).cloned().unwrap_or_else(|| Jinja::from_iter::<[Jinja; 0]>([])));
    }
    let has = |host: &Jinja| {
        let roles = host.get_attr("roles").ok().and_then(|roles| roles.try_iter().ok());
        roles.is_some_and(|mut roles| roles.any(|own| own.as_str() == Some(role)))
    };
    Some(hosts.try_iter().ok()?.filter(has).collect())
}

impl Everyone {
    /// `addresses` are those for agents, as far as hosts have said them.
    pub fn new<'a>(
        cluster: &ClusterName,
        hosts: impl IntoIterator<Item = &'a Host>,
        addresses: &ClusterAddresses,
    ) -> Self {
        let describe = |host: &'a Host| {
            let address = addresses.get(&host.name).copied().or_else(|| declared_address(host));
            let described = json!({
                "name": host.name,
                "address": host.address,
                "cluster_address": address,
                "roles": host.roles,
                "groups": host.groups,
            });
            Jinja::from(Serde(described))
        };
        let described: Vec<_> = hosts.into_iter().map(|host| (host, describe(host))).collect();
        let mut by_role: BTreeMap<RoleName, Vec<Jinja>> = BTreeMap::new();
        for (host, described) in &described {
            for role in &host.roles {
                by_role.entry(role.clone()).or_default().push(described.clone());
            }
        }
        let all = Hosts {
            all: described.iter().map(|(_, described)| described.clone()).collect(),
            by_role: by_role.into_iter().map(|(role, hosts)| (role, hosts.into_iter().collect())).collect(),
        };
        Self {
            cluster: Jinja::from(Serde(cluster)),
            all: Jinja::from_object(all),
            each: described.into_iter().map(|(host, described)| (host.name.clone(), described)).collect(),
        }
    }

    /// What is there on one of them.
    pub fn scope(&self, host: &HostName, variables: &Map<String, Value>) -> Scope {
        let mut scope = Scope::from(variables);
        scope.share("cluster", self.cluster.clone());
        scope.share("host", self.each.get(host).cloned().unwrap_or_default());
        scope.share("hosts", self.all.clone());
        scope
    }
}

/// The address the inventory names for agents, if it names one.
pub fn declared_address(host: &Host) -> Option<IpAddr> {
    if host.cluster_interface.is_some() {
        return None;
    }
    host.cluster_address.or_else(|| host.address.parse().ok())
}
