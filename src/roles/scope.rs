//! What templates and expressions may name. Values are shared: what is the same for all hosts is made once, and a scope of one more name
//! costs one name more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::{Object, Serde};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::inventory::Host;
use crate::model::{ClusterName, HostName};

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
            (&host.name, Jinja::from(Serde(described)))
        };
        let described: Vec<_> = hosts.into_iter().map(describe).collect();
        Self {
            cluster: Jinja::from(Serde(cluster)),
            all: described.iter().map(|(_, host)| host.clone()).collect(),
            each: described.into_iter().map(|(name, host)| (name.clone(), host)).collect(),
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
