//! Ports at which a role's programs ask, and nobody would answer.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ports::{Owner, Socket, collides};
use crate::facts::Facts;
use crate::model::{Check, Finding};
use crate::roles::{WantedAsk, WantedHost};

/// Only the host's own addresses are judged: who answers elsewhere is not known here.
pub(super) fn judge(
    wanted: &WantedHost,
    facts: &Facts,
    cluster: Option<IpAddr>,
    sockets: &[Socket],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut judged = BTreeSet::new();
    for ask in wanted.roles.iter().flat_map(|role| &role.asks) {
        for address in ask.at.iter().filter_map(|at| at.or(cluster)) {
            if !judged.insert((ask.number, ask.protocol, address)) {
                continue;
            }
            let reason = if address.is_loopback() {
                "is a loopback address, and who asks there has a loopback of its own".to_owned()
            } else if is_answered(wanted, facts, cluster, sockets, ask, address) {
                continue;
            } else {
                "would be answered by nobody: no role of the host listens there, and nothing else does now"
                    .to_owned()
            };
            let reason = format!("{} at {address} port {}/{} {reason}", ask.doc, ask.number, ask.protocol);
            findings.push(Finding::error(
                Check::Ports,
                vec![wanted.host.name.clone()],
                reason,
                ask.help.clone(),
            ));
        }
    }
    findings
}

fn is_answered(
    wanted: &WantedHost,
    facts: &Facts,
    cluster: Option<IpAddr>,
    sockets: &[Socket],
    ask: &WantedAsk,
    address: IpAddr,
) -> bool {
    let is_own = Some(address) == cluster || facts.addresses.iter().any(|(_, own)| *own == address);
    let asked = Socket { protocol: ask.protocol, address, port: ask.number, owner: Owner::Unknown };
    let mut ports = wanted.roles.iter().flat_map(|role| &role.ports);
    let mut listening = sockets.iter().filter(|socket| {
        socket.port == ask.number
            && socket.protocol == ask.protocol
            && (socket.address == address || socket.address.is_unspecified())
    });
    !is_own || ports.any(|port| collides(port, cluster, &asked)) || listening.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Protocol;
    use crate::roles::testing::wanted;
    use indoc::formatdoc;

    /// What is found for three servers with Docker, on the first one, which somebody else serves at these addresses.
    fn found(variables: &str, listening: &[&str]) -> Vec<String> {
        let wanted = wanted(&formatdoc!(
            r#"
                cluster: dc1
                hosts:
                  n[1-3]: {{ address: "10.0.0.1[1-3]" }}
                groups:
                  servers: {{ hosts: [n1, n2, n3], roles: [consul-server, docker] }}
                vars: {{ {variables} }}
            "#
        ));
        let socket = |address: &&str| Socket {
            protocol: Protocol::Udp,
            address: address.parse().unwrap(),
            port: 53,
            owner: Owner::Unknown,
        };
        let sockets: Vec<_> = listening.iter().map(socket).collect();
        let facts = Facts::example();
        let findings = judge(&wanted.hosts[0], &facts, Some("10.0.0.11".parse().unwrap()), &sockets);
        findings.into_iter().map(|finding| finding.reason).collect()
    }

    #[test]
    fn somebody_must_answer_containers() {
        let nobody = "DNS for containers at 10.0.0.11 port 53/udp would be answered by nobody: no role of the host \
                      listens there, and nothing else does now";
        let loopback = |address: &str| {
            format!(
                "DNS for containers at {address} port 53/udp is a loopback address, and who asks there has a \
                 loopback of its own"
            )
        };
        for (variables, listening, reasons) in [
            // Without anybody who would, they are not told to ask there.
            ("", &[][..], vec![]),
            ("consul: { dns_port: 53 }", &[], vec![]),
            ("docker: { dns: [10.0.0.11] }", &["127.0.0.53"], vec![nobody.to_owned()]),
            ("docker: { dns: [10.0.0.11] }", &["10.0.0.11"], vec![]),
            ("docker: { dns: [10.0.0.11] }", &["0.0.0.0"], vec![]),
            ("docker: { dns: [10.0.0.11] }", &["::"], vec![]),
            ("consul: { dns_port: 53, client_addr: [10.0.0.11] }", &[], vec![]),
            ("consul: { dns_port: 53, client_addr: [0.0.0.0] }", &[], vec![]),
            ("consul: { dns_port: 53, dns_addr: [10.0.0.11] }", &[], vec![]),
            ("consul: { dns_addr: [10.0.0.11] }", &[], vec![]),
            ("consul: { client_addr: [0.0.0.0] }", &[], vec![]),
            // Who answers on another machine is not known here.
            ("docker: { dns: [192.0.2.53] }", &[], vec![]),
            ("docker: { dns: [10.0.0.11, 192.0.2.53] }", &[], vec![nobody.to_owned()]),
            ("docker: { dns: [127.0.0.53] }", &[], vec![loopback("127.0.0.53")]),
            ("docker: { daemon: { dns: [127.0.0.1] } }", &[], vec![loopback("127.0.0.1")]),
            ("docker: { fallback_dns: [\"::1\"] }", &["10.0.0.11"], vec![loopback("::1")]),
        ] {
            assert_eq!(found(variables, listening), reasons, "{variables} {listening:?}");
        }
    }
}
