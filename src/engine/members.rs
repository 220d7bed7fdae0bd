//! Which hosts stand behind each gate, and what is expected of them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::inventory::node::Kind;
use crate::model::{Diagnostic, Endpoint, Expected, HostName, StepId};
use crate::products::Gate;
use crate::roles::{ClusterAddresses, RoleSet, Wanted, WantedError, WantedHost, WantedRole};

/// A gate of the inventory with the hosts whose roles name it.
pub(crate) struct Members<'a> {
    pub gate: Gate,
    pub hosts: Vec<(&'a WantedHost, &'a WantedRole)>,
}

impl<'a> Members<'a> {
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &'a WantedHost> {
        self.hosts.iter().map(|(host, _)| *host)
    }

    /// The unit of its agents: the same on all hosts but where somebody replaced a role on some.
    pub(crate) fn unit(&self) -> Option<&'a str> {
        Some(self.endpoint()?.unit.as_str())
    }

    /// Of one of its agents: all are alike but in what is each one's own.
    pub(crate) fn endpoint(&self) -> Option<&'a Endpoint> {
        self.hosts.iter().find_map(|(_, role)| role.endpoint.as_ref())
    }

    pub(crate) fn names(&self) -> BTreeSet<HostName> {
        self.hosts.iter().map(|(host, _)| host.host.name.clone()).collect()
    }

    /// All members, those in `asked` answering for the others.
    pub(crate) fn expected(
        &self,
        addresses: &ClusterAddresses,
        asked: &BTreeSet<HostName>,
        missing: &BTreeSet<HostName>,
    ) -> Expected {
        let names = self.names();
        let members = names.iter().filter_map(|name| Some((name.clone(), *addresses.get(name)?))).collect();
        Expected {
            members,
            asked: names.intersection(asked).cloned().collect(),
            missing: names.intersection(missing).count(),
            versions: self
                .hosts
                .iter()
                .filter(|_| self.gate.product().demands_version())
                .filter_map(|(host, role)| {
                    Some((host.host.name.clone(), role.endpoint.as_ref()?.version.clone()?))
                })
                .collect(),
        }
    }
}

/// Every gate that a role names is one that this program has, and somebody is there to be asked.
///
/// # Errors
/// The first that is not.
pub fn check_gates(wanted: &Wanted) -> Result<(), WantedError> {
    for host in &wanted.hosts {
        for role in &host.roles {
            let Some(gate) = role.gate.clone() else { continue };
            let (host, role_name) = (host.host.name.clone(), role.name.clone());
            if Gate::parse(&gate).is_none() {
                let known = Gate::ALL.map(|gate| gate.name()).join(", ");
                return Err(WantedError::Gate { host, role: role_name, gate, known });
            }
            if role.endpoint.is_none() {
                return Err(WantedError::NoEndpoint { host, role: role_name, gate });
            }
        }
    }
    Ok(())
}

/// Products and gates that roles name in so many words and that this program does not have, each where it stands.
pub fn check_roles(roles: &RoleSet) -> Vec<Diagnostic> {
    let products: BTreeSet<&str> = Gate::ALL.iter().map(|gate| gate.product().name()).collect();
    let gates: BTreeSet<&str> = Gate::ALL.iter().map(|gate| gate.name()).collect();
    let mut problems = Vec::new();
    for (name, document) in &roles.documents {
        let product = document.root.get("endpoint").and_then(|endpoint| endpoint.get("product"));
        let tokens = match document.root.get("tokens").map(|tokens| &tokens.kind) {
            Some(Kind::List(tokens)) => tokens.as_slice(),
            _ => &[],
        };
        let of_tokens = tokens.iter().map(|token| ("product", token.get("product"), &products));
        let own = [("product", product, &products), ("gate", document.root.get("gate"), &gates)];
        for (what, node, known) in own.into_iter().chain(of_tokens) {
            let Some((node, Value::String(word))) = node.map(|node| (node, node.to_json())) else { continue };
            if known.contains(word.as_str()) || word.contains("{{") {
                continue;
            }
            let list = known.iter().copied().collect::<Vec<_>>().join(", ");
            let message = format!("role `{name}` names the unknown {what} `{word}`");
            let help = format!("the program has {list}; another one is a folder of src/products/");
            problems
                .push(document.error(node.span, message).label(format!("no {what} of this name")).help(help));
        }
    }
    problems
}

pub(super) fn data(gate: Gate) -> StepId {
    StepId(format!("{} data", gate.name()))
}

/// The gates of the inventory in order of activation; all are known ([`check_gates`]).
pub(crate) fn members(wanted: &Wanted) -> Vec<Members<'_>> {
    let mut found: Vec<Members> = Vec::new();
    for name in &wanted.order {
        for host in &wanted.hosts {
            let Some(role) = host.roles.iter().find(|role| role.name == *name) else { continue };
            let Some(gate) = role.gate.as_deref().and_then(Gate::parse) else { continue };
            match found.iter_mut().find(|members| members.gate == gate) {
                Some(members) => members.hosts.push((host, role)),
                None => found.push(Members { gate, hosts: vec![(host, role)] }),
            }
        }
    }
    found
}
