//! The address on which each host's agents are reached.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Check, Finding};
use crate::facts::Facts;
use crate::inventory::{Host, HostName};
use crate::roles::{ClusterAddresses, declared_address};

/// The address of every host's agents: as the inventory says, or as the host itself says.
pub fn addresses<'a>(
    hosts: impl IntoIterator<Item = &'a Host>,
    facts: &BTreeMap<HostName, &Facts>,
) -> (ClusterAddresses, Vec<Finding>) {
    let mut found = ClusterAddresses::new();
    let mut findings = Vec::new();
    for host in hosts {
        let address = match facts.get(&host.name) {
            Some(facts) => of_host(host, facts),
            // Not asked: what the inventory says must do.
            None => {
                found.extend(declared_address(host).map(|address| (host.name.clone(), address)));
                continue;
            }
        };
        match address {
            Ok(address) => drop(found.insert(host.name.clone(), address)),
            Err(finding) => findings.push(*finding),
        }
    }
    (found, findings)
}

fn of_host(host: &Host, facts: &Facts) -> Result<IpAddr, Box<Finding>> {
    let refuse = |reason: String, remedy: &str| {
        Box::new(Finding::error(Check::Address, vec![host.name.clone()], reason, remedy.to_owned()))
    };
    let absent = |what: String| {
        let own = facts.addresses.iter().filter(|(_, ip)| !ip.is_loopback());
        let own: Vec<_> = own.map(|(interface, ip)| format!("{ip} on {interface}")).collect();
        let own = if own.is_empty() { "none but the loopback's".to_owned() } else { own.join(", ") };
        refuse(
            format!("it has no address {what} (it has {own})"),
            "set its `cluster_address` or `cluster_interface` to what it has",
        )
    };
    if let Some(interface) = &host.cluster_interface {
        let on_it = facts.addresses.iter().filter(|(name, _)| name == interface);
        // IPv4 first: that is what an interface's name means to most who write it.
        return on_it
            .map(|(_, ip)| *ip)
            .min_by_key(IpAddr::is_ipv6)
            .ok_or_else(|| absent(format!("on interface `{interface}`")));
    }
    let Some(wanted) = declared_address(host).or(facts.ssh_server_address) else {
        return Err(refuse(
            format!("the address of its agents is not known, because `{}` is a name", host.address),
            "set its `cluster_address` or `cluster_interface`",
        ));
    };
    if facts.addresses.iter().any(|(_, ip)| *ip == wanted) {
        Ok(wanted)
    } else {
        Err(absent(wanted.to_string()))
    }
}
