//! The inventory of the lab's hosts, ready for `bootstrap up`.

use std::fmt::Write;

use super::kubernetes;
use super::layout::{LabHost, mirror_url, state};
use super::record::{Purpose, Record};

/// How many of `hosts` are servers: an odd number, for an even one tolerates no more failures.
fn server_count(hosts: u8) -> u8 {
    match hosts {
        0 => 0,
        1 | 2 => 1,
        3 | 4 => 3,
        // Exactly five hosts are asked for by who wants five voters; more hosts by who wants clients.
        5 => 5,
        _ => 3,
    }
}

/// The text of the inventory: the first hosts are servers, the rest clients.
pub fn text(record: &Record) -> String {
    let hosts = record.all_hosts();
    let (servers, clients) = hosts.split_at(usize::from(server_count(record.hosts)));
    let names = |hosts: &[LabHost]| hosts.iter().map(|host| host.name()).collect::<Vec<_>>().join(", ");

    let mut text =
        String::from("# Written by `bootstrap lab up`, and again by the next one.\ncluster: dc1\n");
    let _ = write!(
        text,
        "ssh:\n  user: {}\n  identity_file: {}\n  known_hosts: {}\n",
        record.settings.user,
        state("id_ed25519").display(),
        state("known_hosts").display(),
    );
    text.push_str("hosts:\n");
    for host in &hosts {
        let _ = writeln!(text, "  {}: {{ address: {} }}", host.name(), host.address());
    }
    if record.settings.purpose == Purpose::Kubernetes {
        // Three control planes and workers say more than five.
        let (control_planes, workers) = hosts.split_at(servers.len().min(3));
        text.push_str(&kubernetes::inventory(control_planes, workers));
        return text;
    }
    text.push_str("groups:\n");
    let _ = writeln!(text, "  servers: {{ hosts: [{}], roles: [consul-server] }}", names(servers));
    if !clients.is_empty() {
        let _ = writeln!(text, "  clients: {{ hosts: [{}], roles: [consul-client] }}", names(clients));
    }
    let _ = write!(
        text,
        "vars:\n  consul:\n    version: {}\n    source: {{ mirror: \"{}\" }}\n    datacenter: dc1\n",
        record.settings.consul,
        mirror_url()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Settings, Suite};

    fn record(hosts: u8) -> Record {
        Record {
            settings: Settings {
                suite: Suite::Bookworm,
                user: "root".into(),
                sudo_password: None,
                rtt_ms: 0,
                purpose: Purpose::default(),
                consul: crate::lab::mirror::default_consul(),
            },
            hosts,
            kernels: Default::default(),
            sysctls: Default::default(),
            faults: Default::default(),
            outside: Vec::new(),
        }
    }

    #[test]
    fn three_hosts_are_three_servers() {
        insta::assert_snapshot!(text(&record(3)), @r#"
        # Written by `bootstrap lab up`, and again by the next one.
        cluster: dc1
        ssh:
          user: root
          identity_file: /var/lib/bootstrap-lab/id_ed25519
          known_hosts: /var/lib/bootstrap-lab/known_hosts
        hosts:
          node-1: { address: 10.77.0.11 }
          node-2: { address: 10.77.0.12 }
          node-3: { address: 10.77.0.13 }
        groups:
          servers: { hosts: [node-1, node-2, node-3], roles: [consul-server] }
        vars:
          consul:
            version: 1.8.7
            source: { mirror: "http://10.77.0.1:7780" }
            datacenter: dc1
        "#);
    }

    #[test]
    fn the_rest_are_clients_and_servers_are_an_odd_number() {
        let odd: Vec<_> = (1..=7).map(server_count).collect();
        assert_eq!(odd, [1, 1, 3, 3, 5, 3, 3]);
        let text = text(&record(4));
        assert!(text.contains("clients: { hosts: [node-4], roles: [consul-client] }"), "{text}");
        assert!(text.contains("hosts: [node-1, node-2, node-3], roles: [consul-server]"), "{text}");
    }

    #[test]
    fn the_starter_for_the_lab_is_of_its_hosts() {
        let roles = crate::roles::RoleSet::embedded().unwrap();
        let parsed = |text: &str| {
            let path = std::path::Path::new("inventory.yaml");
            crate::roles::parse_inventory(text, path, &roles, None).unwrap().0
        };
        let (own, starter) =
            (parsed(&text(&record(3))), parsed(include_str!("../../../inventories/lab.yaml")));
        assert_eq!(own.hosts.len(), starter.hosts.len());
        for (own, starter) in own.hosts.iter().zip(&starter.hosts) {
            assert_eq!((&own.name, &own.address, &own.ssh), (&starter.name, &starter.address, &starter.ssh));
            for key in ["version", "source"] {
                assert_eq!(own.vars["consul"][key], starter.vars["consul"][key]);
            }
        }
    }
}
