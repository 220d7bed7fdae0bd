//! The address on which each host's agents are reached.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::facts::Facts;
use crate::inventory::Host;
use crate::model::{Check, Finding, HostName};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::SshSettings;

    #[test]
    fn where_agents_are_reached() {
        let name = HostName::parse("n1").unwrap();
        let usual = Facts::example();
        let other = Facts { ssh_server_address: None, ..usual.clone() };
        let own = "(it has fe80::1 on eth0, 10.0.0.11 on eth0)";
        for (address, cluster_address, interface, facts, found) in [
            ("10.0.0.11", None, None, &usual, Ok("10.0.0.11")),
            ("10.0.0.99", Some("10.0.0.11"), None, &usual, Ok("10.0.0.11")),
            // IPv4 first, whatever the kernel's order.
            ("10.0.0.99", None, Some("eth0"), &usual, Ok("10.0.0.11")),
            ("n1.example.org", None, None, &usual, Ok("10.0.0.11")),
            ("10.0.0.99", None, None, &usual, Err(format!("it has no address 10.0.0.99 {own}"))),
            ("10.0.0.11", Some("10.1.0.1"), None, &usual, Err(format!("it has no address 10.1.0.1 {own}"))),
            (
                "10.0.0.11",
                None,
                Some("eth1"),
                &usual,
                Err(format!("it has no address on interface `eth1` {own}")),
            ),
            (
                "n1.example.org",
                None,
                None,
                &other,
                Err("the address of its agents is not known, because `n1.example.org` is a name".to_owned()),
            ),
        ] {
            let host = Host {
                name: name.clone(),
                address: address.to_owned(),
                cluster_address: cluster_address.map(|address| address.parse().unwrap()),
                cluster_interface: interface.map(str::to_owned),
                ssh: SshSettings::default(),
                groups: Vec::new(),
                roles: Vec::new(),
                vars: serde_json::Map::new(),
            };
            let (addresses, findings) = addresses([&host], &BTreeMap::from([(name.clone(), facts)]));
            match found {
                Ok(found) => {
                    assert_eq!(addresses[&name].to_string(), found);
                    assert!(findings.is_empty(), "{findings:?}");
                }
                Err(reason) => {
                    assert!(addresses.is_empty());
                    assert_eq!(findings.iter().map(|f| f.reason.clone()).collect::<Vec<_>>(), [reason]);
                }
            }
        }
    }
}
