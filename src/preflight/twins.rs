//! Hosts that are copies of one another: their agents would take each other's place.

use std::collections::BTreeMap;

use super::{Check, Finding};
use crate::inventory::HostName;

/// What must be a host's own; empty where there is none.
pub(super) struct Ids<'a> {
    pub host: HostName,
    pub machine_id: &'a str,
    pub hostname: &'a str,
    pub node_id: &'a str,
}

pub(super) fn judge(hosts: &[Ids<'_>]) -> Vec<Finding> {
    let machine = "on all but one: `rm -f /etc/machine-id /var/lib/dbus/machine-id`, \
                   `systemd-machine-id-setup`, and boot it anew";
    let hostname = "on all but one: `hostnamectl set-hostname NAME`";
    let node = "on all but one: stop the agent and remove `node-id` from its data directory";
    [
        shared(hosts, "machine-id", machine, |ids| ids.machine_id),
        shared(hosts, "host name", hostname, |ids| ids.hostname),
        shared(hosts, "node id", node, |ids| ids.node_id),
    ]
    .concat()
}

fn shared<'a>(
    hosts: &'a [Ids<'a>],
    what: &str,
    remedy: &str,
    id: impl Fn(&'a Ids<'a>) -> &'a str,
) -> Vec<Finding> {
    let mut by_id: BTreeMap<&str, Vec<HostName>> = BTreeMap::new();
    for ids in hosts.iter().filter(|ids| !id(ids).is_empty()) {
        by_id.entry(id(ids)).or_default().push(ids.host.clone());
    }
    by_id
        .into_iter()
        .filter(|(_, hosts)| hosts.len() > 1)
        .map(|(id, hosts)| {
            let reason = format!("they have the same {what} `{id}`, as copies of one another have");
            Finding::error(Check::Ids, hosts, reason, remedy.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shared_is_named() {
        let ids = |number: usize, machine_id, hostname, node_id| Ids {
            host: HostName::parse(format!("n{number}")).unwrap(),
            machine_id,
            hostname,
            node_id,
        };
        let found = |hosts: &[Ids]| -> Vec<String> {
            let tell = |finding: &Finding| {
                let hosts: Vec<_> = finding.hosts.iter().map(HostName::as_str).collect();
                format!("{} {}", hosts.join("+"), finding.reason.split(',').next().unwrap())
            };
            judge(hosts).iter().map(tell).collect()
        };
        assert!(found(&[ids(1, "a", "x", "i"), ids(2, "b", "y", "j"), ids(3, "c", "z", "")]).is_empty());
        // What is not there is not the same.
        assert!(found(&[ids(1, "", "x", ""), ids(2, "", "y", "")]).is_empty());
        assert_eq!(
            found(&[ids(1, "a", "x", "i"), ids(2, "a", "x", "j"), ids(3, "a", "z", "i")]),
            [
                "n1+n2+n3 they have the same machine-id `a`",
                "n1+n2 they have the same host name `x`",
                "n1+n3 they have the same node id `i`",
            ]
        );
    }
}
