//! What the hosts said of themselves -> what stands in the way of a run, before anything is changed.
//!
//! Pure: facts of all hosts in, findings out. The same findings stop `up` and `plan` and fill the table
//! of `check --connect`. Everything but [`peers`] is told by the one observe script.

mod address;
mod asks;
mod clock;
mod configuration;
mod duplicate_ids;
mod identity;
mod kernel;
pub mod peers;
mod places;
mod ports;
mod predecessor;
mod survey;
mod system;

use std::collections::BTreeSet;

pub use address::addresses;
pub use identity::{Claim, HostMarker, HostPart, IdentityError, Marker, age, check_identity};
pub use places::low as low_on_space;
pub use survey::{Mark, Survey};

use crate::facts::{ClockOffset, Facts};
use crate::model::{Call, Check, Finding, HostName, StepId};
use crate::products::Gate;
use crate::roles::{ClusterAddresses, Wanted, WantedHost, declared_address};
use crate::script::Observation;

/// What one host said, with what it is to become.
pub struct Subject<'a> {
    pub wanted: &'a WantedHost,
    pub facts: &'a Facts,
    pub observation: &'a Observation,
    pub clock: ClockOffset,
    pub claim: Claim,
    /// The id its agent gave itself.
    pub node_id: Option<String>,
    /// What the plan changes. `None`: there is no plan yet, so it may be everything.
    pub changes: Option<BTreeSet<StepId>>,
}

impl Subject<'_> {
    fn name(&self) -> HostName {
        self.wanted.host.name.clone()
    }
}

/// Everything but addresses and peers, which have functions of their own.
pub fn judge(subjects: &[Subject<'_>], addresses: &ClusterAddresses, marker: &Marker) -> Vec<Finding> {
    let mut findings = Vec::new();
    for subject in subjects {
        findings.extend(system::judge(&subject.name(), subject.facts));
        findings.extend(system::packages(subject.wanted, subject.facts, subject.observation));
        findings.extend(kernel::judge(subject.wanted, subject.observation, &subject.facts.kernel));
        findings.extend(refused(subject));
        findings.extend(places::judge(subject));
        let address = addresses.get(&subject.wanted.host.name).copied();
        let sockets = ports::sockets(subject.observation);
        findings.extend(ports::judge(subject, address, &sockets));
        findings.extend(asks::judge(subject.wanted, subject.facts, address, &sockets));
        findings.extend(configuration::judge(subject));
        let predecessors = predecessor::judge(subject, marker);
        // What it keeps is told with it, once.
        findings.extend(identity(subject, marker).filter(|_| predecessors.is_empty()));
        findings.extend(predecessors);
    }
    findings.extend(warned(subjects));
    let clocks = subjects.iter().map(|subject| (subject.name(), subject.clock));
    findings.extend(clock::judge(&clocks.collect::<Vec<_>>()));
    let ids = subjects.iter().map(|subject| {
        let mut gates = subject.wanted.roles.iter().filter_map(|role| Gate::parse(role.gate.as_deref()?));
        let looks_at_hardware = gates.any(|gate| gate.product().looks_at_hardware());
        duplicate_ids::Ids {
            host: subject.name(),
            machine_id: &subject.facts.machine_id,
            hostname: &subject.facts.hostname,
            node_id: subject.node_id.as_deref().unwrap_or_default(),
            product_uuid: if looks_at_hardware { &subject.facts.product_uuid } else { "" },
            macs: if looks_at_hardware { &subject.facts.macs } else { &[] },
        }
    });
    findings.extend(duplicate_ids::judge(&ids.collect::<Vec<_>>()));
    findings.sort_by_key(|finding| finding.check);
    findings
}

/// What is wrong by the inventory alone, whatever the hosts are.
pub fn of_inventory(wanted: &Wanted) -> Vec<Finding> {
    let of_host = |wanted: &WantedHost| ports::of_inventory(wanted, declared_address(&wanted.host));
    wanted.hosts.iter().flat_map(of_host).collect()
}

/// What a host is asked for these checks, besides its facts. Depends on the inventory alone.
pub fn probes(wanted: &WantedHost) -> Vec<(StepId, Call)> {
    let of_host = [places::probe(wanted), kernel::probe(wanted), ports::probe(wanted)].into_iter().flatten();
    of_host.chain(configuration::probes(wanted)).chain(predecessor::probes(wanted)).collect()
}

/// What the host's roles themselves say against it.
fn refused(subject: &Subject<'_>) -> Vec<Finding> {
    let roles = subject.wanted.roles.iter();
    let refused = roles.flat_map(|role| role.refused.iter().map(move |refused| (role, refused)));
    refused
        .filter(|(_, refused)| !refused.warns)
        .map(|(role, refused)| {
            let reason = format!("role `{}`: {}", role.name, refused.reason);
            Finding::error(Check::System, vec![subject.name()], reason, refused.remedy.clone())
        })
        .collect()
}

/// What roles only warn about, the same of many hosts once.
fn warned(subjects: &[Subject<'_>]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let roles =
        subjects.iter().flat_map(|subject| subject.wanted.roles.iter().map(move |role| (subject, role)));
    let warned = roles.flat_map(|(subject, role)| role.refused.iter().map(move |one| (subject, role, one)));
    for (subject, role, one) in warned.filter(|(_, _, one)| one.warns) {
        // A role that another includes is named by what it says.
        match found.iter_mut().find(|known| known.reason == one.reason) {
            Some(known) if known.hosts.contains(&subject.name()) => {}
            Some(known) => known.hosts.push(subject.name()),
            None => {
                let check = if role.gate.is_some() { Check::Agent } else { Check::System };
                let (reason, remedy) = (one.reason.clone(), one.remedy.clone());
                found.push(Finding::warning(check, vec![subject.name()], reason, remedy));
            }
        }
    }
    found
}

fn identity(subject: &Subject<'_>, ours: &Marker) -> Option<Finding> {
    let error = check_identity(ours, &subject.claim).err()?;
    Some(Finding::error(Check::Data, vec![subject.name()], error.to_string(), error.remedy()))
}

#[cfg(test)]
mod tests {
    use indoc::formatdoc;

    use super::*;

    /// Three servers and a client of the embedded roles.
    fn cluster(extra: &str) -> crate::roles::Wanted {
        crate::roles::testing::wanted(&formatdoc!(
            r#"
                cluster: dc1
                hosts:
                  n[1-4]: {{ address: "10.0.0.1[1-4]" }}
                groups:
                  servers: {{ hosts: [n1, n2, n3], roles: [consul-server] }}
                  clients: {{ hosts: [n4], roles: [consul-client] }}
                vars:
                  consul:
                    version: 1.21.4
                {extra}"#
        ))
    }

    fn ports(wanted: &WantedHost) -> Vec<String> {
        let ports = wanted.roles.iter().flat_map(|role| &role.ports);
        ports
            .map(|port| format!("{} {:?} {:?} {:?}", port.number, port.protocols, port.from, port.on))
            .collect()
    }

    #[test]
    fn ports_of_the_embedded_roles() {
        let usual = cluster("");
        assert_eq!(
            ports(&usual.hosts[0]),
            [
                "8301 [Tcp, Udp] Role []",
                "8500 [Tcp] Host []",
                "8600 [Tcp, Udp] Host []",
                "8300 [Tcp] Cluster []",
                "8302 [Tcp, Udp] Role []",
            ]
        );
        assert_eq!(ports(&usual.hosts[3]).len(), 3);
        // What the product is told wins over what the role says; -1 switches a port off.
        let told = cluster(
            "    http_port: 9500\n    client_addr: [10.0.0.11]\n    \
             extra_config: { ports: { dns: -1, serf_wan: -1, server: 18300 } }\n",
        );
        assert_eq!(
            ports(&told.hosts[0]),
            [
                "8301 [Tcp, Udp] Role []",
                "9500 [Tcp] Host []",
                // For others: by HTTP or by HTTPS, as the cluster has TLS or not.
                "9500 [Tcp] Host []",
                "8501 [Tcp] Host []",
                "18300 [Tcp] Cluster []",
            ]
        );
    }

    #[test]
    fn hosts_visit_the_ports_that_their_roles_need() {
        let wanted = cluster("");
        let facts = Facts::example();
        let observation = Observation::default();
        let subjects: Vec<Subject> = wanted
            .hosts
            .iter()
            .map(|wanted| Subject {
                wanted,
                facts: &facts,
                observation: &observation,
                clock: ClockOffset { ms: 0, error_ms: 0 },
                claim: Claim::default(),
                node_id: None,
                changes: None,
            })
            .collect();
        let addresses = wanted.hosts.iter().zip(11..);
        let addresses: ClusterAddresses = addresses
            .map(|(wanted, last)| (wanted.host.name.clone(), std::net::IpAddr::from([10, 0, 0, last])))
            .collect();
        let calls = peers::PortProbes::new(&subjects, &addresses).calls("t0");
        let words = |host: usize| {
            let text = calls[&wanted.hosts[host].host.name].to_string();
            let words = text.rsplit_once("'t0' ").unwrap().1.trim_matches('\'').to_owned();
            words.split("' '").map(str::to_owned).collect::<Vec<_>>()
        };
        // A client needs the servers' calls, everyone's gossip, and nobody's WAN; none needs its calls.
        let of_client = words(3);
        assert_eq!(
            of_client[..3],
            ["echo tcp 10.0.0.11 8300", "echo tcp 10.0.0.11 8301", "echo udp 10.0.0.11 8301"]
        );
        assert_eq!(of_client.len(), 9 + 2, "{of_client:?}");
        assert_eq!(of_client[9..], ["listen tcp 10.0.0.14 8301 3", "listen udp 10.0.0.14 8301 3"]);
        let of_server = words(0);
        assert!(of_server.contains(&"listen tcp 10.0.0.11 8300 3".to_owned()), "{of_server:?}");
        assert!(of_server.contains(&"listen udp 10.0.0.11 8302 2".to_owned()), "{of_server:?}");
        assert!(!of_server.iter().any(|word| word.contains("8500")), "{of_server:?}");
    }
}
