//! Roles that share a host: each pair of them comes up by defaults alone, or the inventory is refused without a host. What is
//! found is `docs/role-matrix.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::rendered::{addresses, facts, files_of, wanted, wanted_by, with_secrets};
use indoc::formatdoc;

use bootstrap::preflight;
use bootstrap::roles::{Formed, RoleSet, load_inventory};

/// Those that an inventory gives to hosts; all others are parts of them.
pub const ROLES: [&str; 29] = [
    "consul-server",
    "consul-client",
    "nomad-server",
    "nomad-client",
    "dns",
    "docker",
    "docker-services",
    "nfs-server",
    "nfs-client",
    "container-runtime",
    "registry",
    "registry-client",
    "kube-control-plane",
    "kube-worker",
    "kube-endpoint",
    "kube-manifests",
    "kube-metrics-server",
    "kube-dashboard",
    "kube-nfs-volumes",
    "kube-consul",
    "kube-web",
    "kube-mariadb",
    "kube-shards",
    "etcd",
    "edge-nginx",
    "edge-fabio",
    "edge-haproxy",
    "edge-address",
    "mariadb",
];

/// Roles with what they need on the same host, where nothing of it is there yet.
fn completed<'r>(pair: &[&'r str]) -> Vec<&'r str> {
    let mut roles = pair.to_vec();
    let has = |roles: &[&str], prefix: &str| roles.iter().any(|role| role.starts_with(prefix));
    if ["nomad-", "edge-", "mariadb"].iter().any(|prefix| has(&roles, prefix)) && !has(&roles, "consul-") {
        roles.push("consul-client");
    }
    if roles.contains(&"docker-services") {
        let more = [("docker", roles.contains(&"docker")), ("consul-client", has(&roles, "consul-"))];
        roles.extend(more.into_iter().filter(|(_, is_there)| !is_there).map(|(role, _)| role));
    }
    // All others of Kubernetes are what a control plane applies to its cluster.
    let hosts = ["kube-control-plane", "kube-worker", "kube-endpoint"];
    let applies = |role: &&str| role.starts_with("kube-") && !hosts.contains(role);
    if roles.iter().any(applies) && !has(&roles, "kube-control-plane") {
        roles.push("kube-control-plane");
    }
    let is_node = has(&roles, "kube-control-plane") || has(&roles, "kube-worker");
    if is_node && !has(&roles, "container-runtime") {
        roles.push("container-runtime");
    }
    // Somebody must pull.
    if roles.contains(&"registry-client")
        && !roles.iter().any(|role| ["docker", "container-runtime"].contains(role))
    {
        roles.push("docker");
    }
    roles
}

/// What the roles of one host need of others, and nothing else that anybody would have to say.
pub fn inventory(roles: &[&str]) -> String {
    let roles = completed(roles);
    let has = |prefix: &str| roles.iter().any(|role| role.starts_with(prefix));
    let mut others = vec!["consul-server"];
    if has("nomad") {
        others.push("nomad-server");
    }
    if has("kube") {
        others.extend(["container-runtime", "kube-control-plane"]);
    }
    let files = if has("nfs-client") { "nfs-server" } else { "" };
    // A cluster has one.
    let registry_host = if roles.contains(&"registry") { "x" } else { "base-1" };
    let registry = if has("registry") { "registry" } else { "" };
    let export = |path: &str| format!("exports: [ {{ path: {path}, clients: [x, y] }} ]");
    let mounts = "mounts: [ { server: base-1, export: /data/b, path: /data/b } ]";
    let mut text = formatdoc!(
        r#"
        cluster: dc1
        hosts:
          base-[1-3]: {{ address: "10.0.0.1[1-3]" }}
          x: {{ address: 10.0.0.21 }}
          y: {{ address: 10.0.0.22 }}
        groups:
          others: {{ hosts: ["base-*"], roles: [{others}] }}
          files: {{ hosts: [base-1], roles: [{files}]{files_vars} }}
          images: {{ hosts: [{registry_host}], roles: [{registry}] }}
          shared: {{ hosts: [x, y], roles: [{roles}]{shared_vars} }}
        vars:
          consul: {{}}
        "#,
        others = others.join(", "),
        files_vars = if files.is_empty() {
            String::new()
        } else {
            format!(", vars: {{ nfs: {{ {} }} }}", export("/data/b"))
        },
        roles = roles.iter().filter(|role| **role != "registry").copied().collect::<Vec<_>>().join(", "),
        shared_vars = if has("nfs") {
            format!(", vars: {{ nfs: {{ {}, {mounts} }} }}", export("/data/a"))
        } else {
            String::new()
        },
    );
    if has("edge") {
        text += "  nginx: { domain: example.org }\n";
        text += "  haproxy: { services: [ { name: web, port: 18080, consul: web } ] }\n";
        text += "  edge: { address: 10.0.0.200, check: [ { port: 22 } ] }\n";
    }
    if has("mariadb") {
        text += "  mariadb: { data: /data/b }\n";
    }
    if has("kube") || has("etcd") {
        let external = if has("etcd") { ", external_etcd: true" } else { "" };
        let given = [
            ("kube-shards", ", shards: { image: registry.example.org/ssh }"),
            ("kube-web", ", web: { folder: /data/b }"),
            // It takes a second node that takes pods.
            (
                "kube-mariadb",
                ", mariadb: { folder: /data/b, image: registry.example.org/mariadb }, taints: []",
            ),
        ];
        let given: String = given.iter().filter(|(role, _)| has(role)).map(|(_, line)| *line).collect();
        let _ =
            writeln!(text, "  kube: {{ endpoint: {{ address: 10.0.0.11 }}, cni: bridge{external}{given} }}");
    }
    text
}

/// `None`: all is well; else what is said against it.
fn refusal(set: &RoleSet, roles: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    fs::write(&path, inventory(roles)).unwrap();
    let inventory = match load_inventory(&path, set, None) {
        Ok((inventory, _)) => inventory,
        Err(problems) => {
            return Some(problems.iter().find(|problem| problem.is_error()).unwrap().message.clone());
        }
    };
    let wanted = match with_secrets(&inventory, set) {
        Ok(wanted) => wanted,
        Err(error) => return Some(format!("{:#}", anyhow::Error::from(error))),
    };
    if let Some(finding) = preflight::of_inventory(&wanted).first() {
        return Some(finding.reason.clone());
    }
    // What is written is written for every host, also once facts are known.
    let (addresses, facts) = (addresses(&wanted), facts());
    let wanted = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).unwrap();
    for host in &wanted.hosts {
        assert!(!files_of(&wanted, host.host.name.as_str(), &addresses).is_empty(), "{roles:?}");
    }
    None
}

#[test]
fn each_pair_of_roles_comes_up_or_is_refused() {
    let mut text = String::from(
        "# Which roles share a host\n\nMade by a test from the roles themselves: each pair, with what it needs on the same host, on two hosts beside \
         three others, by defaults alone.\nEvery pair that is not listed is fine.\n\n| roles of one host | why not |\n|---|---|\n",
    );
    let (mut pairs, set) = (0, RoleSet::embedded().unwrap());
    for (number, first) in ROLES.iter().enumerate() {
        for second in &ROLES[number + 1..] {
            pairs += 1;
            if let Some(reason) = refusal(&set, &[first, second]) {
                let _ = writeln!(text, "| `{first}`, `{second}` | {} |", reason.replace('|', "\\|"));
            }
        }
    }
    let _ = writeln!(text, "\n{pairs} pairs.");
    let path = "docs/role-matrix.md";
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        fs::write(path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap_or_default(), text, "INSTA_UPDATE=always writes it");
}

/// Sets that an operator gives one host.
#[test]
fn usual_sets_come_up_by_defaults_alone() {
    let all = RoleSet::embedded().unwrap();
    for set in [
        &["consul-server", "nomad-server", "nomad-client", "dns", "docker"][..],
        &["consul-client", "nomad-client", "dns", "docker", "nfs-client"],
        &["consul-client", "docker"],
        &["consul-server", "dns", "nfs-server"],
        &["kube-control-plane", "consul-client", "dns"],
        &["kube-worker", "nfs-client"],
    ] {
        assert_eq!(refusal(&all, set), None, "{set:?}");
    }
}

/// An agent that is server and client has the folders of its volumes when it starts first, as a server.
#[test]
fn mounts_are_there_before_who_uses_them() {
    let wanted = wanted_by(Path::new("inventories/nfs-applications.yaml"), &RoleSet::embedded().unwrap());
    let at = |name: &str| wanted.order.iter().position(|role| role.as_str() == name).unwrap();
    assert!(
        at("nfs-server") < at("nfs-client") && at("nfs-client") < at("nomad-server"),
        "{:?}",
        wanted.order
    );
}

/// The inventory that the documentation begins with, and what a help once led to.
#[test]
fn docker_beside_names_needs_no_word_of_addresses() {
    let text = |variables: &str| {
        formatdoc!(
            r#"
            cluster: dc1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              web-1: {{ address: 10.0.1.11 }}
            groups:
              servers: {{ hosts: ["node-*"], roles: [consul-server] }}
              workers: {{ hosts: [web-1], roles: [consul-client, docker, dns] }}
            vars: {{ consul: {{ {variables} }} }}
            "#
        )
    };
    for (variables, consul, forwarder) in [
        // The forwarder answers containers, and Consul the forwarder.
        ("", None, &["listen-address=127.0.0.1\n", "listen-address=10.0.1.11\n", "/127.0.0.1#8600\n"][..]),
        (
            "dns_port: 53",
            None,
            &["listen-address=127.0.0.2\n", "listen-address=10.0.1.11\n", "/127.0.0.1#53\n"],
        ),
        (
            "dns_port: 53, dns_addr: [0.0.0.0]",
            Some("127.0.0.1"),
            &["listen-address=127.0.0.2\n", "listen-address=10.0.1.11\n"],
        ),
        // Consul itself, where it is told to.
        (
            "dns_port: 53, dns_addr: [10.0.1.11]",
            Some("127.0.0.1 10.0.1.11"),
            &["listen-address=127.0.0.2\nbind-interfaces\n"],
        ),
    ] {
        let wanted = wanted(&text(variables));
        assert!(preflight::of_inventory(&wanted).is_empty(), "{variables}");
        let (addresses, facts) = (addresses(&wanted), facts());
        let wanted = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).unwrap();
        let files = files_of(&wanted, "web-1", &addresses);
        let config: serde_json::Value = serde_json::from_str(&files["/etc/consul.d/consul.json"]).unwrap();
        assert_eq!(config["addresses"]["dns"].as_str(), consul, "{variables}");
        for line in forwarder {
            let file = &files["/etc/bootstrap-dns/dnsmasq.conf"];
            assert!(file.contains(line), "{variables}: `{line}` is not in\n{file}");
        }
        let asks = wanted.hosts[3].roles.iter().flat_map(|role| &role.asks).flat_map(|ask| &ask.at);
        assert_eq!(asks.collect::<Vec<_>>(), [&Some("10.0.1.11".parse().unwrap())], "{variables}");
    }
}

#[test]
fn every_role_stands_in_the_matrix() {
    let set = RoleSet::embedded().unwrap();
    let parts: Vec<&str> =
        set.roles.values().flat_map(|role| &role.includes).map(|name| name.as_str()).collect();
    let usable = set.roles.keys().map(|name| name.as_str()).filter(|name| !parts.contains(name));
    let mut usable: Vec<&str> = usable.collect();
    usable.sort_unstable();
    let mut known = ROLES.to_vec();
    known.sort_unstable();
    assert_eq!(usable, known);
}
