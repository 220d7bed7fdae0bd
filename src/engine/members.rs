//! Which hosts stand behind each gate, and what is expected of them.

use std::collections::BTreeSet;

use crate::model::{Expected, HostName};
use crate::products::Gate;
use crate::roles::{ClusterAddresses, Wanted, WantedError, WantedHost, WantedRole};

/// A gate of the inventory with the hosts whose roles name it.
pub(crate) struct Members<'a> {
    pub gate: Gate,
    pub hosts: Vec<(&'a WantedHost, &'a WantedRole)>,
}

impl<'a> Members<'a> {
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &'a WantedHost> {
        self.hosts.iter().map(|(host, _)| *host)
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
                .filter_map(|(host, _)| {
                    Some((host.host.name.clone(), self.gate.product().demanded_version(&host.variables)?))
                })
                .collect(),
        }
    }
}

/// Every gate that a role names is one that this program has.
///
/// # Errors
/// The first that is not.
pub fn check_gates(wanted: &Wanted) -> Result<(), WantedError> {
    for host in &wanted.hosts {
        for role in &host.roles {
            let Some(gate) = role.gate.as_ref().filter(|gate| Gate::parse(gate).is_none()) else { continue };
            return Err(WantedError::Gate {
                host: host.host.name.clone(),
                role: role.name.clone(),
                gate: gate.clone(),
                known: Gate::ALL.map(|gate| gate.name()).join(", "),
            });
        }
    }
    Ok(())
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
