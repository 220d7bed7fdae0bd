//! Operating system, architecture, process 1, who scripts run as, and whether packages can be had.

use crate::facts::{Facts, Init, PackageManager};
use crate::model::{Check, Finding, HostName};
use crate::resource::Resource;
use crate::roles::WantedHost;
use crate::script::Observation;

/// Architectures, as releases name them, for which the products are released.
const RELEASED: [&str; 4] = ["amd64", "arm64", "arm", "386"];

/// What roles are tried on; the same page of the README says so.
const TRIED: &str = "Debian 11, 12 and 13, and Ubuntu, which has the same packages";

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
    if let Some(manager) = facts.package_manager.and_then(untried) {
        findings.push(Finding::warning(
            Check::System,
            hosts(),
            format!("{} installs packages by {manager}, and roles are tried on {TRIED}", name(facts)),
            "try it first on a host that nobody needs".to_owned(),
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

/// The name of a package manager that no test runs.
fn untried(manager: PackageManager) -> Option<&'static str> {
    match manager {
        PackageManager::Apt => None,
        PackageManager::Dnf => Some("dnf"),
        PackageManager::Apk => Some("apk"),
    }
}

/// Packages of roles that are lacking and that the host has no way to get: a step would fail in the middle.
pub(super) fn packages(wanted: &WantedHost, facts: &Facts, observation: &Observation) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_role = |role| move |resource| (role, resource);
    let all = wanted.roles.iter().flat_map(|role| role.resources.iter().map(of_role(&role.name)));
    for (role, resource) in all {
        let Resource::Package(package) = resource else { continue };
        let said = observation.of(&package.id().0);
        let is_lost = |name: &&str| match facts.package_manager {
            None => true,
            Some(PackageManager::Apt) => false,
            Some(_) => package.apt_only.iter().any(|only| only.as_str() == *name),
        };
        let lost: Vec<&str> = said.all("missing").filter(is_lost).collect();
        if lost.is_empty() {
            continue;
        }
        let names = lost.join("`, `");
        let (reason, remedy) = match facts.package_manager.and_then(untried) {
            Some(manager) => (
                format!(
                    "{} installs packages by {manager}, and role `{role}` needs `{names}`, which only systems with apt have",
                    name(facts)
                ),
                format!(
                    "say what they are called there (`bootstrap roles {role}` lists the variables); or take a host with a system on \
                     which roles are tried: {TRIED}"
                ),
            ),
            None => (
                format!("{} has none of apt, dnf and apk, and role `{role}` needs `{names}`", name(facts)),
                format!("take a host with a system on which roles are tried: {TRIED}"),
            ),
        };
        findings.push(Finding::error(Check::System, vec![wanted.host.name.clone()], reason, remedy));
    }
    findings
}

fn name(facts: &Facts) -> &str {
    if facts.os_name.is_empty() { "its system" } else { &facts.os_name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Record;

    fn rocky() -> Facts {
        Facts {
            os_id: "rocky".into(),
            os_version: "9.4".into(),
            os_name: "Rocky Linux 9.4 (Blue Onyx)".into(),
            package_manager: Some(PackageManager::Dnf),
            ..Facts::example()
        }
    }

    #[test]
    fn packages_that_a_system_does_not_have_are_told_before_any_change() {
        let text = "cluster: dc1\nhosts:\n  n1: { address: 10.0.0.11, roles: [consul-server, docker] }\n";
        let found = |text: &str, facts: &Facts, missing: &[&str]| -> Vec<String> {
            let wanted = crate::roles::testing::wanted(text);
            let wanted = &wanted.hosts[0];
            let packages =
                wanted.roles.iter().flat_map(|role| &role.resources).filter_map(|resource| match resource {
                    Resource::Package(package) => Some(package),
                    _ => None,
                });
            let lacking = |package: &crate::resource::Package| {
                let names: Vec<String> = package.names.iter().map(|name| name.as_str().to_owned()).collect();
                let id = package.id().0;
                let said = move |name: String| Record::Seen {
                    id: id.clone(),
                    key: "missing".into(),
                    value: name.into_bytes(),
                };
                names
                    .into_iter()
                    .filter(|name| missing.contains(&name.as_str()))
                    .map(said)
                    .collect::<Vec<_>>()
            };
            let records: Vec<Record> = packages.flat_map(lacking).collect();
            let found = super::packages(wanted, facts, &Observation::new(&records));
            found.into_iter().map(|found| format!("{}\n{}", found.reason, found.remedy)).collect()
        };
        // What every system has by that name is none of it.
        assert!(found(text, &rocky(), &["curl", "unzip"]).is_empty());
        assert!(found(text, &Facts::example(), &["curl", "docker.io"]).is_empty());
        assert!(found(text, &rocky(), &[]).is_empty());
        let refused = found(text, &rocky(), &["unzip", "docker.io"]);
        assert_eq!(
            refused,
            [
                "Rocky Linux 9.4 (Blue Onyx) installs packages by dnf, and role `docker` needs `docker.io`, which only systems with apt have\n\
              say what they are called there (`bootstrap roles docker` lists the variables); or take a host with a system on which roles are \
              tried: Debian 11, 12 and 13, and Ubuntu, which has the same packages"
            ]
        );
        // As somebody names it there.
        assert!(
            found(
                &format!("{text}vars: {{ docker: {{ package: moby-engine }} }}\n"),
                &rocky(),
                &["moby-engine"]
            )
            .is_empty()
        );
        let suse = Facts { package_manager: None, os_name: "openSUSE Leap 15.6".into(), ..Facts::example() };
        let refused = found(text, &suse, &["unzip"]);
        assert!(refused[0].starts_with("openSUSE Leap 15.6 has none of apt, dnf and apk, and role `consul-server` needs `unzip`\ntake a host"), "{refused:?}");
    }

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
                vec!["Warning System: its architecture is s390x: there may be no release for it"],
            ),
            (
                rocky(),
                vec![
                    "Warning System: Rocky Linux 9.4 (Blue Onyx) installs packages by dnf, and roles are tried on Debian 11, 12 and 13, \
                     and Ubuntu, which has the same packages",
                ],
            ),
        ] {
            assert_eq!(tell(&facts), found);
        }
    }
}
