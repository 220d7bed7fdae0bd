//! Operating system, architecture, process 1, and who scripts run as.

use crate::facts::{Facts, Init};
use crate::model::{Check, Finding, HostName};

/// Architectures, as releases name them, for which the products are released.
const RELEASED: [&str; 4] = ["amd64", "arm64", "arm", "386"];

pub(super) fn judge(host: &HostName, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let hosts = || vec![host.clone()];
    if facts.user != "root" {
        findings.push(Finding::error(
            Check::Root,
            hosts(),
            format!("scripts run as `{}`, not as root", facts.user),
            "connect as root, or let it become root: `ssh: { become: sudo }`".to_owned(),
        ));
    }
    if facts.init != Init::Systemd {
        findings.push(Finding::error(
            Check::System,
            hosts(),
            "systemd is not its process 1, and agents run as its units".to_owned(),
            "boot it with systemd, or take the host out of the inventory".to_owned(),
        ));
    }
    if facts.package_manager.is_none() {
        findings.push(Finding::warning(
            Check::System,
            hosts(),
            format!("{} has none of apt, dnf and apk: packages cannot be installed", name(facts)),
            "install what the plan names by hand".to_owned(),
        ));
    }
    if !RELEASED.contains(&facts.release_arch()) {
        findings.push(Finding::warning(
            Check::System,
            hosts(),
            format!("its architecture is {}: there may be no release for it", facts.arch),
            "give a program for it: `source: { file: PATH }`".to_owned(),
        ));
    }
    findings
}

fn name(facts: &Facts) -> &str {
    if facts.os_name.is_empty() { "its system" } else { &facts.os_name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kind_of_host_will_do() {
        let tell = |facts: &Facts| -> Vec<String> {
            let host = HostName::parse("n1").unwrap();
            let tell =
                |finding: Finding| format!("{:?} {:?}: {}", finding.severity, finding.check, finding.reason);
            judge(&host, facts).into_iter().map(tell).collect()
        };
        let usual = Facts::example();
        for (facts, found) in [
            (usual.clone(), vec![]),
            (Facts { arch: "aarch64".into(), os_id: "alpine".into(), ..usual.clone() }, vec![]),
            (
                Facts { user: "ops".into(), ..usual.clone() },
                vec!["Error Root: scripts run as `ops`, not as root"],
            ),
            (
                Facts { init: Init::Other, ..usual.clone() },
                vec!["Error System: systemd is not its process 1, and agents run as its units"],
            ),
            (
                Facts { package_manager: None, arch: "s390x".into(), ..usual.clone() },
                vec![
                    "Warning System: Debian GNU/Linux 12 (bookworm) has none of apt, dnf and apk: packages cannot \
                     be installed",
                    "Warning System: its architecture is s390x: there may be no release for it",
                ],
            ),
        ] {
            assert_eq!(tell(&facts), found);
        }
    }
}
