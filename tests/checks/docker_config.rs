//! What the role `docker` merges into daemon.json.

use crate::rendered;
use bootstrap::facts::{Facts, PackageManager};
use bootstrap::roles::ClusterAddresses;
use indoc::formatdoc;
use serde_json::{Value, json};

/// What it wants in the file, for a host with these roles beside it and these variables.
fn daemon(roles: &str, variables: &str) -> Value {
    let text = formatdoc!(
        "
            cluster: dc1
            hosts:
              node-1: {{ address: node-1.example.org, cluster_interface: eth0, roles: [{roles}docker] }}
            vars: {{ {variables} }}
        "
    );
    let wanted = rendered::wanted(&text);
    let host = &wanted.hosts[0];
    let addresses = ClusterAddresses::from([(host.host.name.clone(), "10.0.0.11".parse().unwrap())]);
    let role = host.roles.iter().find(|role| role.name.as_str() == "docker").unwrap();
    let merge = role.resources.iter().find(|resource| resource.path() == Some("/etc/docker/daemon.json"));
    let facts = Facts { package_manager: Some(PackageManager::Apt), ..rendered::facts() };
    let resolved = wanted
        .resolved(host, role, merge.unwrap(), &host.late(&facts, &wanted.everyone(&addresses)))
        .unwrap();
    serde_json::from_str(resolved.content().unwrap()).unwrap()
}

#[test]
fn containers_ask_the_host_first() {
    let consul = "consul-server, dns, ";
    for (roles, variables, wanted) in [
        (consul, "", json!({"dns": ["10.0.0.11"]})),
        (consul, "docker: { fallback_dns: [9.9.9.9, 10.0.0.11] }", json!({"dns": ["10.0.0.11", "9.9.9.9"]})),
        (
            consul,
            "docker: { dns: [10.1.1.1], fallback_dns: [9.9.9.9] }",
            json!({"dns": ["10.1.1.1", "9.9.9.9"]}),
        ),
        (
            consul,
            "docker: { dns_search: [service.consul], dns_opts: [\"ndots:1\"] }",
            json!({"dns": ["10.0.0.11"], "dns-search": ["service.consul"], "dns-opts": ["ndots:1"]}),
        ),
        (
            consul,
            "docker: { daemon: { live-restore: true, log-opts: { max-size: 10m }, dns: [10.2.2.2], labels: null } }",
            json!({"dns": ["10.2.2.2"], "live-restore": true, "log-opts": {"max-size": "10m"}, "labels": null}),
        ),
        // Nobody answers containers there.
        ("consul-server, ", "", json!({})),
        ("consul-server, ", "consul: { dns_port: 53, dns_addr: [10.0.0.11] }", json!({"dns": ["10.0.0.11"]})),
        // Nobody knows Consul's names: the file is the user's, but for what was asked for.
        ("", "", json!({})),
        ("", "docker: { daemon: { debug: true } }", json!({"debug": true})),
        ("", "docker: { dns: [10.1.1.1] }", json!({"dns": ["10.1.1.1"]})),
    ] {
        assert_eq!(daemon(roles, variables), wanted, "{roles}{variables}");
    }
}
