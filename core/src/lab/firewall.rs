//! The lab's rules: NAT for the hosts, and partitions. All in chains of its own, so that they can
//! be replaced at once and removed exactly.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;

use super::Error;
use super::command::{run, run_with_input, succeeds};
use super::delay::Delay;
use super::layout::{BRIDGE, CONTROLLER, LabHost, SUBNET};
use super::partition::Fault;
use super::record::Record;

/// Table, the kernel's chain that is hooked, and the lab's own chain.
const CHAINS: [(&str, &str, &str); 5] = [
    ("filter", "FORWARD", "BSLAB-FORWARD"),
    ("filter", "INPUT", "BSLAB-INPUT"),
    ("filter", "OUTPUT", "BSLAB-OUTPUT"),
    ("nat", "POSTROUTING", "BSLAB-NAT"),
    ("raw", "PREROUTING", "BSLAB-RAW"),
];

/// Puts the record's rules in force, in place of those that were.
///
/// The hosts reach one another, this machine, and of the world only `record.outside`. Everything else is refused at once: on some
/// networks a proxy answers for any address, and would be taken for a host or a service of the lab that is not there.
pub fn apply(record: &Record, delay: Delay) -> Result<(), Error> {
    if !record.faults.is_empty() {
        let switch = format!("/sys/class/net/{BRIDGE}/bridge/nf_call_iptables");
        fs::write(switch, "1").map_err(|_| Error::NoBridgeFilter)?;
    }
    let faults = record
        .faults
        .iter()
        .filter_map(|(name, fault)| Some((LabHost::named(name, record.hosts)?.address(), *fault)))
        .collect();
    run_with_input("iptables-restore", &["--noflush", "--wait"], &rules(delay, &record.outside, &faults))?;
    for (table, hook, chain) in CHAINS {
        if !succeeds("iptables", &["-w", "-t", table, "-C", hook, "-j", chain]) {
            // First in line: the machine's own rules may drop what is forwarded.
            run("iptables", &["-w", "-t", table, "-I", hook, "1", "-j", chain])?;
        }
    }
    Ok(())
}

/// The rules for `iptables-restore --noflush`, which empties a chain that is declared and leaves
/// the others alone.
fn rules(delay: Delay, outside: &[Ipv4Addr], faults: &BTreeMap<Ipv4Addr, Fault>) -> String {
    let uplink = delay.uplink();
    let mut filter = String::new();
    for (host, _) in faults.iter().filter(|(_, fault)| **fault == Fault::Everything) {
        for chain in ["BSLAB-FORWARD", "BSLAB-INPUT", "BSLAB-OUTPUT"] {
            let _ = writeln!(filter, "-A {chain} -s {host} -j DROP\n-A {chain} -d {host} -j DROP");
        }
    }
    // With a relay this machine is a neighbour in the bridge, and must not be cut off with them.
    let _ = writeln!(filter, "-A BSLAB-FORWARD -s {CONTROLLER} -d {SUBNET} -j ACCEPT");
    let _ = writeln!(filter, "-A BSLAB-FORWARD -s {SUBNET} -d {CONTROLLER} -j ACCEPT");
    for (host, fault) in faults {
        let all_it_sends = format!("-A BSLAB-FORWARD -s {host} -d {SUBNET} -j DROP");
        let _ = match fault {
            Fault::OneWay => writeln!(filter, "{all_it_sends}"),
            Fault::Hosts | Fault::Everything => {
                writeln!(filter, "{all_it_sends}\n-A BSLAB-FORWARD -s {SUBNET} -d {host} -j DROP")
            }
            Fault::Way { to, port: None } => writeln!(filter, "-A BSLAB-FORWARD -s {host} -d {to} -j DROP"),
            Fault::Way { to, port: Some(port) } => ["tcp", "udp"].iter().try_for_each(|protocol| {
                writeln!(filter, "-A BSLAB-FORWARD -s {host} -d {to} -p {protocol} --dport {port} -j DROP")
            }),
        };
    }
    let _ = writeln!(filter, "-A BSLAB-FORWARD -i {BRIDGE} -o {BRIDGE} -j ACCEPT");
    for address in outside {
        let _ = writeln!(filter, "-A BSLAB-FORWARD -i {uplink} -s {SUBNET} -d {address} -j ACCEPT");
    }
    let _ =
        writeln!(filter, "-A BSLAB-FORWARD -i {uplink} -s {SUBNET} -p tcp -j REJECT --reject-with tcp-reset");
    let _ = writeln!(filter, "-A BSLAB-FORWARD -i {uplink} -s {SUBNET} -j REJECT");
    let _ = writeln!(
        filter,
        "-A BSLAB-FORWARD -o {uplink} -d {SUBNET} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    );
    // A machine that drops by default still answers its own lab.
    let _ = writeln!(filter, "-A BSLAB-INPUT -i {uplink} -s {SUBNET} -j ACCEPT");

    // Not what goes from host to host, such as packets for pods, which have addresses of their own: the kernel shows bridged ones too.
    let nat = format!("-A BSLAB-NAT -s {SUBNET} ! -d {SUBNET} ! -o {BRIDGE} -j MASQUERADE\n");
    // With a relay a packet for the world passes here twice, bridged and then routed. Were the first
    // pass tracked, it would settle that the connection needs no NAT.
    let raw = match delay {
        Delay::Relay => format!("-A BSLAB-RAW -i {BRIDGE} -j CT --notrack\n"),
        Delay::None | Delay::Netem => String::new(),
    };
    let mut text = String::new();
    for (table, body) in [("filter", filter), ("nat", nat), ("raw", raw)] {
        let _ = writeln!(text, "*{table}");
        for (_, _, chain) in CHAINS.iter().filter(|(of, ..)| *of == table) {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        let _ = writeln!(text, "{body}COMMIT");
    }
    text
}

/// Removes the lab's chains and what leads to them; nothing else.
pub fn remove() -> Result<(), Error> {
    for (table, hook, chain) in CHAINS {
        if !succeeds("iptables", &["-w", "-t", table, "-n", "-L", chain]) {
            continue;
        }
        while succeeds("iptables", &["-w", "-t", table, "-D", hook, "-j", chain]) {}
        run("iptables", &["-w", "-t", table, "-F", chain])?;
        run("iptables", &["-w", "-t", table, "-X", chain])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, start: &str) -> Vec<String> {
        text.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }

    #[test]
    fn without_faults_nothing_is_dropped() {
        let text = rules(Delay::None, &[], &BTreeMap::new());
        assert!(!text.contains("DROP") && !text.contains("notrack"), "{text}");
        assert!(text.contains("-A BSLAB-NAT -s 10.77.0.0/24 ! -d 10.77.0.0/24 ! -o bslab0 -j MASQUERADE"));
        assert_eq!(lines(&text, "COMMIT").len(), 3);
    }

    #[test]
    fn a_partition_comes_before_the_rule_that_lets_hosts_talk() {
        let host = Ipv4Addr::new(10, 77, 0, 12);
        let text = rules(Delay::None, &[], &[(host, Fault::Hosts)].into());
        let drop = text.find("-d 10.77.0.12 -j DROP").unwrap();
        assert!(drop < text.find("-i bslab0 -o bslab0 -j ACCEPT").unwrap());
        // … and after the one that keeps this machine's ssh.
        assert!(text.find("-s 10.77.0.1 -d").unwrap() < drop);
        assert!(!text.contains("BSLAB-INPUT -s 10.77.0.12 -j DROP"));
    }

    #[test]
    fn of_the_world_only_package_sources_are_reached() {
        let text = rules(Delay::None, &[Ipv4Addr::new(192, 0, 2, 7)], &BTreeMap::new());
        let forwarded = lines(&text, "-A BSLAB-FORWARD -i bslab0 -s 10.77.0.0/24");
        assert_eq!(
            forwarded,
            [
                "-A BSLAB-FORWARD -i bslab0 -s 10.77.0.0/24 -d 192.0.2.7 -j ACCEPT",
                "-A BSLAB-FORWARD -i bslab0 -s 10.77.0.0/24 -p tcp -j REJECT --reject-with tcp-reset",
                "-A BSLAB-FORWARD -i bslab0 -s 10.77.0.0/24 -j REJECT",
            ]
        );
        // Hosts among themselves come before.
        assert!(text.find("-o bslab0 -j ACCEPT").unwrap() < text.find("REJECT").unwrap());
    }

    #[test]
    fn one_way_drops_only_what_the_host_sends() {
        let text = rules(Delay::None, &[], &[(Ipv4Addr::new(10, 77, 0, 12), Fault::OneWay)].into());
        assert!(text.contains("-s 10.77.0.12 -d 10.77.0.0/24 -j DROP"));
        assert!(!text.contains("-d 10.77.0.12 -j DROP"));
    }

    #[test]
    fn one_way_to_one_port_is_closed_and_no_other() {
        let way = |port| Fault::Way { to: Ipv4Addr::new(10, 77, 0, 13), port };
        let dropped = |port| {
            let text = rules(Delay::None, &[], &[(Ipv4Addr::new(10, 77, 0, 12), way(port))].into());
            text.lines().filter(|line| line.ends_with("DROP")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(dropped(None), ["-A BSLAB-FORWARD -s 10.77.0.12 -d 10.77.0.13 -j DROP"]);
        let to = "-A BSLAB-FORWARD -s 10.77.0.12 -d 10.77.0.13 -p";
        assert_eq!(
            dropped(Some(8300)),
            ["tcp", "udp"].map(|protocol| format!("{to} {protocol} --dport 8300 -j DROP"))
        );
    }

    #[test]
    fn everything_is_cut_before_anything_is_accepted() {
        let text = rules(Delay::Relay, &[], &[(Ipv4Addr::new(10, 77, 0, 12), Fault::Everything)].into());
        assert!(text.find("-A BSLAB-INPUT -s 10.77.0.12 -j DROP").unwrap() < text.find("ACCEPT").unwrap());
        assert!(text.contains("-A BSLAB-RAW -i bslab0 -j CT --notrack"));
        assert!(text.contains("-A BSLAB-INPUT -i bslabc"));
    }
}
