//! Hosts that are copies of one another: their agents would take each other's place.

use std::collections::BTreeMap;

use crate::model::{Check, Finding, HostName, Severity};

/// What must be a host's own; empty where there is none.
pub(super) struct Ids<'a> {
    pub host: HostName,
    pub machine_id: &'a str,
    pub hostname: &'a str,
    pub node_id: &'a str,
    /// Only of nodes of Kubernetes, which takes those for one that have the same.
    pub product_uuid: &'a str,
    /// Of the same hosts.
    pub macs: &'a [String],
}

pub(super) fn judge(hosts: &[Ids<'_>]) -> Vec<Finding> {
    let machine = "on all but one: `rm -f /etc/machine-id /var/lib/dbus/machine-id`, \
                   `systemd-machine-id-setup`, and boot it anew";
    let hostname = "on all but one: `hostnamectl set-hostname NAME`";
    let node = "on all but one: stop the agent and remove `node-id` from its data directory";
    let hardware = "give each virtual machine its own when it is made: <https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/>";
    let warning = |finding: Finding| Finding { severity: Severity::Warning, ..finding };
    let uuids = shared(hosts, "product_uuid", hardware, |ids| vec![ids.product_uuid]);
    let macs =
        shared(hosts, "hardware address", hardware, |ids| ids.macs.iter().map(String::as_str).collect());
    [
        shared(hosts, "machine-id", machine, |ids| vec![ids.machine_id]),
        shared(hosts, "host name", hostname, |ids| vec![ids.hostname]),
        shared(hosts, "node id", node, |ids| vec![ids.node_id]),
        // Two networks may have the same, and some firmware gives all machines one number.
        uuids.into_iter().chain(macs).map(warning).collect(),
    ]
    .concat()
}

fn shared<'a>(
    hosts: &'a [Ids<'a>],
    what: &str,
    remedy: &str,
    own: impl Fn(&'a Ids<'a>) -> Vec<&'a str>,
) -> Vec<Finding> {
    let mut by_id: BTreeMap<&str, Vec<HostName>> = BTreeMap::new();
    for ids in hosts {
        for id in own(ids).into_iter().filter(|id| !id.is_empty()) {
            by_id.entry(id).or_default().push(ids.host.clone());
        }
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
            product_uuid: "",
            macs: &[],
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

    #[test]
    fn shared_hardware_is_only_warned_about() {
        let macs = ["02:00:00:00:00:01".to_owned(), "02:00:00:00:00:02".to_owned()];
        let ids = |name: &str, product_uuid, macs| Ids {
            host: HostName::parse(name).unwrap(),
            machine_id: "",
            hostname: "",
            node_id: "",
            product_uuid,
            macs,
        };
        let found = judge(&[ids("a", "u", &macs[..]), ids("b", "u", &macs[1..]), ids("c", "v", &[])]);
        let told: Vec<_> =
            found.iter().map(|finding| (finding.is_error(), finding.reason.as_str())).collect();
        assert_eq!(
            told,
            [
                (false, "they have the same product_uuid `u`, as copies of one another have"),
                (
                    false,
                    "they have the same hardware address `02:00:00:00:00:02`, as copies of one another have"
                ),
            ]
        );
    }
}
