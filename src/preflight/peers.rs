//! Ports between hosts: who visits whom, and what it means that somebody was not let in.
//!
//! All hosts run the same small program at the same time. On ports that are free it listens itself for
//! a moment, so that a firewall is found before anything is installed; a port that is in use is visited
//! as it is, where a connection tells something: what listens on UDP does not answer strangers.
//!
//! `check --connect` does this, `up` does not: it would be a fourth session before the first gate, and
//! in the apply scripts of a run, which need not all run at the same time, it could not stop the others
//! before their first change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Subject;
use super::ports::{self, Socket};
use crate::model::{Arg, Call, Check, Finding, HostName};
use crate::roles::{ClusterAddresses, From, Protocol};
use crate::script::Fields;

/// As long as hosts wait for one another: sessions begin within a second of each other, and the
/// kernel repeats a lost first packet after one second and after three.
const SECONDS: &str = "6";

const PERL: &str = include_str!("peers/peers.pl");
const PYTHON: &str = include_str!("peers/peers.py");

/// One port of one host that another one needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PortProbe {
    from: HostName,
    to: HostName,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    /// The port is in use: it is not ours to answer on.
    used: bool,
}

/// Who tries what.
#[derive(Debug, Default)]
pub struct PortProbes {
    visits: Vec<PortProbe>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct ProbeResult {
    pub findings: Vec<Finding>,
    /// Hosts that were part of it, visiting or visited.
    pub hosts: BTreeSet<HostName>,
}

impl PortProbes {
    /// Every port that a host's roles listen on for others, from each of those others.
    pub fn new(subjects: &[Subject<'_>], addresses: &ClusterAddresses) -> Self {
        let mut visits = BTreeSet::new();
        for target in subjects {
            let host = &target.wanted.host.name;
            let Some(address) = addresses.get(host).copied() else { continue };
            let sockets = ports::sockets(target.observation);
            for port in target.wanted.roles.iter().flat_map(|role| &role.ports) {
                let visitors = subjects.iter().filter(|visitor| {
                    let roles = &visitor.wanted.roles;
                    let needs = match port.from {
                        From::Host => false,
                        From::Role => roles.iter().any(|role| role.parts.contains(&port.declared)),
                        From::Cluster => !roles.is_empty(),
                    };
                    needs && visitor.wanted.host.name != *host
                });
                for visitor in visitors {
                    visits.extend(port.protocols.iter().filter_map(|protocol| {
                        let used = sockets.iter().any(|socket| uses(socket, address, port.number, *protocol));
                        (!used || *protocol == Protocol::Tcp).then(|| PortProbe {
                            from: visitor.wanted.host.name.clone(),
                            to: host.clone(),
                            address,
                            port: port.number,
                            protocol: *protocol,
                            used,
                        })
                    }));
                }
            }
        }
        Self { visits: visits.into_iter().collect() }
    }

    /// The call of each host that takes part. All are to run at the same time.
    pub fn calls(&self, token: &str) -> BTreeMap<HostName, Call> {
        let mut words: BTreeMap<&HostName, Vec<String>> = BTreeMap::new();
        // Visits first and in order: their numbers come back.
        for visit in &self.visits {
            let verb = if visit.used { "connect" } else { "echo" };
            let PortProbe { protocol, address, port, .. } = visit;
            words.entry(&visit.from).or_default().push(format!("{verb} {protocol} {address} {port}"));
        }
        let mut listening: BTreeMap<(&HostName, Protocol, IpAddr, u16), usize> = BTreeMap::new();
        for visit in self.visits.iter().filter(|visit| !visit.used) {
            *listening.entry((&visit.to, visit.protocol, visit.address, visit.port)).or_default() += 1;
        }
        for ((host, protocol, address, port), visitors) in listening {
            let listen = format!("listen {protocol} {address} {port} {visitors}");
            words.entry(host).or_default().push(listen);
        }
        let call = |(host, words): (&HostName, Vec<String>)| {
            let start = [PERL, PYTHON, SECONDS, host.as_str(), token].map(str::to_owned);
            let args = start.into_iter().chain(words);
            let args = args.map(|word| Arg::new(word).expect("programs, names and numbers without NUL"));
            (host.clone(), Call::new("peers_probe", args))
        };
        words.into_iter().map(call).collect()
    }

    /// `said` has what each host's call said, or why it said nothing.
    pub fn judge(&self, said: &BTreeMap<HostName, Result<Fields<'_>, String>>) -> ProbeResult {
        let mut findings = Vec::new();
        let mut failed: Vec<(&PortProbe, String)> = Vec::new();
        let mut hosts: BTreeSet<HostName> = BTreeSet::new();
        // One that could not listen cannot be visited, and one that did not visit tells nothing.
        let mut unable: BTreeSet<&HostName> = BTreeSet::new();
        for (host, said) in said {
            if let Some(finding) = unable_to_try(host, said) {
                findings.push(finding);
                unable.insert(host);
            }
        }
        for (host, said) in said {
            let Ok(fields) = said else { continue };
            let mut outcomes = outcomes(fields.text("results").unwrap_or_default());
            let own: Vec<&PortProbe> = self.visits.iter().filter(|visit| visit.from == *host).collect();
            for (index, visit) in own.iter().enumerate() {
                let Some(reason) = outcomes.remove(&index) else { continue };
                if unable.contains(&visit.to) {
                    continue;
                }
                hosts.extend([visit.from.clone(), visit.to.clone()]);
                if let Err(reason) = reason {
                    failed.push((visit, reason));
                }
            }
        }
        findings.extend(closed(failed));
        hosts.extend(unable.into_iter().cloned());
        ProbeResult { findings, hosts }
    }
}

fn uses(socket: &Socket, address: IpAddr, port: u16, protocol: Protocol) -> bool {
    socket.port == port
        && socket.protocol == protocol
        && (socket.address == address || socket.address.is_unspecified())
}

fn unable_to_try(host: &HostName, said: &Result<Fields<'_>, String>) -> Option<Finding> {
    let (reason, remedy) = match said {
        Ok(fields) if fields.has("missing") => {
            ("it has neither perl nor python3".to_owned(), "install one of them, or try the ports by hand")
        }
        Ok(fields) if fields.has("results") => return None,
        Ok(fields) => {
            let error = fields.text("error").unwrap_or("it said nothing").trim();
            (error.lines().last().unwrap_or_default().to_owned(), "try the ports by hand")
        }
        Err(reason) => (reason.clone(), "try again"),
    };
    let reason = format!("ports between it and the other hosts could not be tried: {reason}");
    Some(Finding::warning(Check::Peers, vec![host.clone()], reason, remedy.to_owned()))
}

/// Lines of `reached N` or `failed N REASON`, by number.
fn outcomes(results: &str) -> BTreeMap<usize, Result<(), String>> {
    let outcome = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (verb, number) = (words.next()?, words.next()?.parse().ok()?);
        match verb {
            "reached" => Some((number, Ok(()))),
            "failed" => Some((number, Err(words.next().unwrap_or("no answer").to_owned()))),
            _ => None,
        }
    };
    results.lines().filter_map(outcome).collect()
}

/// The ports that one host could not reach on another, with the reason.
type Closed = BTreeSet<(u16, Protocol)>;

/// Says it once for each host that has the same ports closed to, or from, several others: the host with
/// the most of them first.
fn closed(failed: Vec<(&PortProbe, String)>) -> Vec<Finding> {
    let mut pairs: BTreeMap<(&HostName, &HostName), (Closed, String, IpAddr)> = BTreeMap::new();
    for (visit, reason) in failed {
        let entry = pairs.entry((&visit.from, &visit.to));
        let (closed, ..) = entry.or_insert((Closed::new(), reason, visit.address));
        closed.insert((visit.port, visit.protocol));
    }
    let mut findings = Vec::new();
    while !pairs.is_empty() {
        let mut groups: BTreeMap<(bool, &HostName, &Closed, &str), BTreeSet<&HostName>> = BTreeMap::new();
        for ((from, to), (closed, reason, _)) in &pairs {
            groups.entry((true, to, closed, reason)).or_default().insert(from);
            groups.entry((false, from, closed, reason)).or_default().insert(to);
        }
        // The first of the greatest, so that equal inputs say the same; to a host before from it.
        let most = groups.values().map(BTreeSet::len).max().unwrap_or_default();
        let found = groups.into_iter().rev().find(|(_, others)| others.len() == most);
        let Some(((inward, host, closed, reason), others)) = found else { break };
        let ports: Vec<_> = closed.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
        let (ports, names) = (ports.join(", "), short_list(&others));
        let text = if inward {
            format!("{names} cannot reach it on {ports} ({reason})")
        } else {
            format!("it cannot reach {names} on {ports} ({reason})")
        };
        let remedy = if inward {
            format!(
                "open {ports} on it and on the way: `nft list ruleset`, `iptables -S INPUT`, a cloud's security groups"
            )
        } else {
            format!(
                "open {ports} on {names} and on the way from it: `iptables -S OUTPUT`, a cloud's security groups"
            )
        };
        findings.push(Finding::error(Check::Peers, vec![host.clone()], text, remedy));
        let (host, others): (HostName, BTreeSet<HostName>) =
            (host.clone(), others.into_iter().cloned().collect());
        pairs.retain(|(from, to), _| {
            let (own, other) = if inward { (to, from) } else { (from, to) };
            **own != host || !others.contains(*other)
        });
    }
    findings
}

/// The first few of many.
fn short_list(hosts: &BTreeSet<&HostName>) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    match names.len() {
        0..=5 => names.join(", "),
        more => format!("{} and {} more", names[..4].join(", "), more - 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: usize) -> HostName {
        HostName::parse(format!("n{number}")).unwrap()
    }

    /// All hosts need two ports of all others; n3 has one of them in use.
    fn visits(count: usize) -> PortProbes {
        let mut visits = BTreeSet::new();
        for (from, to) in (1..=count).flat_map(|from| (1..=count).map(move |to| (from, to))) {
            for (port, protocol) in [(8300, Protocol::Tcp), (8301, Protocol::Udp)] {
                if from != to {
                    let address = IpAddr::from([10, 0, 0, u8::try_from(to).unwrap()]);
                    let used = to == 3 && protocol == Protocol::Tcp;
                    visits.insert(PortProbe {
                        from: host(from),
                        to: host(to),
                        address,
                        port,
                        protocol,
                        used,
                    });
                }
            }
        }
        PortProbes { visits: visits.into_iter().collect() }
    }

    #[test]
    fn each_host_visits_the_others_and_waits_for_them() {
        let calls = visits(3).calls("t0");
        let words = |number: usize| {
            let text = calls[&host(number)].to_string();
            text.rsplit_once("'t0' ").unwrap().1.to_owned()
        };
        assert_eq!(
            words(1),
            "'echo tcp 10.0.0.2 8300' 'echo udp 10.0.0.2 8301' 'connect tcp 10.0.0.3 8300' 'echo udp 10.0.0.3 8301' \
             'listen tcp 10.0.0.1 8300 2' 'listen udp 10.0.0.1 8301 2'"
        );
        assert!(words(3).ends_with("'listen udp 10.0.0.3 8301 2'"), "{}", words(3));
        assert!(!words(3).contains("listen tcp"));
    }

    /// What all hosts say when these visits fail; hosts in `missing` have no program.
    fn judged(count: usize, missing: &[usize], fails: impl Fn(usize, usize, u16) -> bool) -> Vec<String> {
        let visits = visits(count);
        let number = |host: &HostName| host.as_str()[1..].parse::<usize>().unwrap();
        let values: BTreeMap<HostName, Vec<(String, Vec<u8>)>> = (1..=count)
            .map(|from| {
                let own = visits.visits.iter().filter(|visit| visit.from == host(from));
                let line =
                    |(index, visit): (usize, &PortProbe)| match fails(from, number(&visit.to), visit.port) {
                        true => format!("failed {index} no answer\n"),
                        false => format!("reached {index}\n"),
                    };
                let results = own.enumerate().map(line).collect::<String>().into_bytes();
                let value = match missing.contains(&from) {
                    true => ("missing".to_owned(), b"yes".to_vec()),
                    false => ("results".to_owned(), results),
                };
                (host(from), vec![value])
            })
            .collect();
        let said = values.iter().map(|(host, values)| (host.clone(), Ok(Fields::new(values)))).collect();
        let tried = visits.judge(&said);
        tried
            .findings
            .into_iter()
            .map(|finding| format!("{:?} {}: {}", finding.severity, finding.hosts[0], finding.reason))
            .collect()
    }

    #[test]
    fn what_is_closed_is_said_once() {
        assert!(judged(3, &[], |_, _, _| false).is_empty());
        // One host apart: both directions, and it alone is named.
        assert_eq!(
            judged(4, &[], |from, to, _| from == 4 || to == 4),
            [
                "Error n4: n1, n2, n3 cannot reach it on 8300/tcp, 8301/udp (no answer)",
                "Error n4: it cannot reach n1, n2, n3 on 8300/tcp, 8301/udp (no answer)",
            ]
        );
        // A firewall on one host that forgot UDP.
        assert_eq!(
            judged(3, &[], |_, to, port| to == 2 && port == 8301),
            ["Error n2: n1, n3 cannot reach it on 8301/udp (no answer)"]
        );
        // One pair.
        assert_eq!(
            judged(3, &[], |from, to, _| from.min(to) == 1 && from.max(to) == 2),
            [
                "Error n2: n1 cannot reach it on 8300/tcp, 8301/udp (no answer)",
                "Error n1: n2 cannot reach it on 8300/tcp, 8301/udp (no answer)",
            ]
        );
    }

    #[test]
    fn a_host_that_cannot_try_is_not_blamed_for_closed_ports() {
        assert_eq!(
            judged(3, &[2], |_, to, _| to == 2),
            [
                "Warning n2: ports between it and the other hosts could not be tried: it has neither perl nor python3"
            ]
        );
    }
}
