//! What the roles `edge-haproxy` and `edge-address` write, and what they refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indoc::{formatdoc, indoc};

use crate::rendered::{self, refused, shell_faults, shown, snapshots};
use bootstrap::facts::Facts;
use bootstrap::model::HostName;
use bootstrap::preflight;
use bootstrap::roles::{Formed, Protocol};

/// Two ways in before three hosts; `services` are a list, `vars` more lines of variables.
fn inventory(services: &str, vars: &str) -> String {
    formatdoc!(
        r#"
            cluster: dc1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
            groups:
              servers: {{ hosts: ["node-*"], roles: [consul-server] }}
              ways-in: {{ hosts: [node-1, node-2], roles: [edge-haproxy, edge-address] }}
            vars:
              edge: {{ address: 10.0.0.200 }}
              haproxy: {{ services: {services} }}
            {vars}"#
    )
}

const SERVICES: &str = r#"[
    { name: web, port: 80, mode: http, consul: web, check: "/ready?deep=1" },
    { name: canary, port: 81, mode: http, consul: web, tag: v2, instances: 3, check: none },
    { name: orders, port: 9999, consul: orders, balance: leastconn },
    { name: catalog, port: 9998, role: consul-server, to_port: 8500, check: /v1/status/leader },
    { name: old, port: 9997, servers: ["192.0.2.7:8081", "[fd00::1]:8081"] }]"#;

fn files_of(inventory: &str, host: &str, of: &str) -> BTreeMap<String, String> {
    let mut files = rendered::files(inventory, host);
    files.retain(|path, _| path.contains(of));
    files
}

#[test]
fn haproxy_leads_to_services_by_name_by_role_and_by_address() {
    let files = files_of(&inventory(SERVICES, ""), "node-1", "haproxy");
    snapshots("edge").bind(|| insta::assert_snapshot!("haproxy", shown(&files)));
    assert_eq!(shell_faults(&files), "");
}

#[test]
fn haproxy_alone_needs_no_consul() {
    let alone = indoc! {"
        cluster: dc1
        hosts:
          node-1: { address: 10.0.0.11, roles: [edge-haproxy] }
        vars:
          haproxy: { services: [{ name: old, port: 8081, servers: ['192.0.2.7:8081'] }], tcp_timeout: 60 }
    "};
    let files = files_of(alone, "node-1", "haproxy");
    let config = &files["/etc/bootstrap-edge-haproxy/haproxy.cfg"];
    assert!(!config.contains("resolvers"), "{config}");
    // Beside the load balancer of Kubernetes the distribution's unit is needed.
    let drop_in = "/etc/systemd/system/haproxy.service.d/edge-haproxy.conf";
    assert!(files.contains_key(drop_in), "{files:?}");
    let with = indoc! {"
        cluster: dc1
        hosts:
          node-1: { address: 10.0.0.11, roles: [container-runtime, kube-control-plane] }
          node-2: { address: 10.0.0.12, roles: [kube-endpoint, edge-haproxy] }
        vars:
          kube: { cni: bridge, endpoint: { address: 10.0.0.12 } }
          haproxy: { services: [{ name: old, port: 8081, servers: ['192.0.2.7:8081'] }] }
    "};
    assert!(!files_of(with, "node-2", "haproxy").contains_key(drop_in));
}

/// Who watches asks for what is written: another service is another answer, and the same ones are the same.
#[test]
fn the_answer_of_haproxy_says_by_which_configuration_it_serves() {
    let answer = |services: &str| {
        let files = files_of(&inventory(services, ""), "node-1", "haproxy.cfg");
        let config = files.into_values().next().unwrap();
        let line = config.lines().find(|line| line.contains("/edge-health")).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let one = "[{ name: web, port: 80, consul: web }]";
    assert_eq!(answer(one), answer(one));
    assert_ne!(answer(one), answer("[{ name: web, port: 81, consul: web }]"));
    assert!(answer(one).starts_with("ok ") && answer(one).len() == 19, "{}", answer(one));
}

#[test]
fn ports_of_services_are_those_of_the_role() {
    let wanted = rendered::wanted(&inventory(SERVICES, ""));
    let host = wanted.host(&HostName::parse("node-1").unwrap()).unwrap();
    let role = host.roles.iter().find(|role| role.name.as_str() == "edge-haproxy").unwrap();
    let ports: Vec<_> = role.ports.iter().map(|port| (port.number, &port.protocols[..])).collect();
    let tcp = &[Protocol::Tcp][..];
    assert_eq!(ports, [80, 81, 9999, 9998, 9997, 8404].map(|port| (port, tcp)));
    // Somebody else's is found before any host is asked.
    let taken =
        inventory("[{ name: web, port: 8500, consul: web }]", "  consul: { client_addr: [0.0.0.0] }\n");
    let said: Vec<String> = preflight::of_inventory(&rendered::wanted(&taken))
        .into_iter()
        .map(|finding| finding.reason)
        .collect();
    assert!(said.iter().all(|reason| reason.contains("both want port 8500/tcp")), "{said:?}");
    assert!(!said.is_empty());
}

#[test]
fn what_haproxy_cannot_serve_is_told_before_any_host_is_asked() {
    for (services, message) in [
        ("[]", "`haproxy.services` is empty"),
        (
            "[{ name: a, port: 80, consul: a }, { name: a, port: 81, consul: a }]",
            "two of `haproxy.services` have the same name",
        ),
        (
            "[{ name: a, port: 80, consul: a }, { name: b, port: 80, consul: a }]",
            "two of `haproxy.services` have the same `port`",
        ),
        ("[{ name: a+b, port: 80, consul: a }]", "a name that haproxy does not take"),
        ("[{ name: edge-health, port: 80, consul: a }]", "a name that haproxy does not take"),
        ("[{ name: a, port: 8404, consul: a }]", "where haproxy tells that it is well"),
        ("[{ name: a, port: 0, consul: a }]", "must be a port number from 1 to 65535"),
        ("[{ name: a, port: 65536, consul: a }]", "must be a port number from 1 to 65535"),
        ("[{ port: 80, consul: a }]", "one without `name`"),
        ("[{ name: a, port: 80 }]", "in no way, or in more than one, who serves it"),
        ("[{ name: a, port: 80, consul: a, servers: ['192.0.2.7:80'] }]", "in no way, or in more than one"),
        ("[{ name: a, port: 80, role: consul-server }]", "`role` without `to_port`"),
        ("[{ name: a, port: 80, consul: a, to_port: 81 }]", "nothing that they belong to"),
        ("[{ name: a, port: 80, tag: x, servers: ['192.0.2.7:80'] }]", "nothing that they belong to"),
        ("[{ name: a, port: 80, role: nfs-server, to_port: 2049 }]", "leads to a role that no host has"),
        ("[{ name: a, port: 80, consul: a_b }]", "cannot be part of a name of DNS"),
        ("[{ name: a, port: 80, consul: a.b }]", "cannot be part of a name of DNS"),
        ("[{ name: a, port: 80, consul: a- }]", "cannot be part of a name of DNS"),
        ("[{ name: a, port: 80, consul: a, tag: b_c }]", "cannot be part of a name of DNS"),
        ("[{ name: a, port: 80, consul: a, tag: tcp }]", "stands for any tag"),
        ("[{ name: a, port: 80, servers: [web] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, servers: ['web:80'] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, servers: ['192.0.2.7:0'] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, servers: ['192.0.2.7:65536'] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, servers: ['192.0.2.7:80 backup'] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, servers: ['fd00::1:80'] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, servers: [\"192.0.2.7:80\\n\"] }]", "is not ADDRESS:PORT"),
        ("[{ name: a, port: 80, consul: a, check: ready }]", "neither `tcp` nor `none` nor a path"),
        ("[{ name: a, port: 80, consul: a, check: '/a b' }]", "neither `tcp` nor `none` nor a path"),
        (
            "[{ name: a, port: 80, consul: a, check: \"/a\\nlisten x\" }]",
            "neither `tcp` nor `none` nor a path",
        ),
        ("[{ name: a, port: 80, consul: a, instances: 0 }]", "is not between 1 and 60"),
        ("[{ name: a, port: 80, consul: a, mode: udp }]", "must be `tcp` or `http`"),
    ] {
        let text = refused(&inventory(services, ""));
        assert!(text.contains(message), "`{message}` is not in\n{text}");
        assert!(text.contains("help: "), "{text}");
    }
    let no_agent = inventory(SERVICES, "")
        .replace("[\"node-*\"], roles: [consul-server]", "[node-3], roles: [consul-server]");
    let text = refused(&no_agent);
    assert!(text.contains("asks an agent of Consul on its own host"), "{text}");
    let no_dns = inventory(SERVICES, "  consul: { extra_config: { ports: { dns: -1 } } }\n");
    let text = refused(&no_dns);
    assert!(text.contains("which is switched off"), "{text}");
}

#[test]
fn the_address_that_moves() {
    let text = inventory(SERVICES, "");
    let of = |host: &str| {
        let mut files = rendered::files(&text, host);
        files.retain(|path, _| path.contains("keepalived") || path.contains("edge-address"));
        files
    };
    let files = of("node-1");
    snapshots("edge").bind(|| insta::assert_snapshot!("address", shown(&files)));
    assert_eq!(shell_faults(&files), "");
    let priority = |host: &str| {
        let files = of(host);
        let lines: Vec<&str> = files["/etc/keepalived/keepalived.conf"].lines().collect();
        lines.iter().find(|line| line.contains("priority")).unwrap().trim().to_owned()
    };
    assert_ne!(priority("node-1"), priority("node-2"));
}

/// What a host of these roles asks of itself.
fn asked(roles: &str, vars: &str) -> String {
    let text = formatdoc!(
        "
            cluster: dc1
            hosts:
              node-1: {{ address: 10.0.0.11, roles: [consul-server, {roles}edge-address] }}
            vars:
              edge: {{ address: 10.0.0.200{vars} }}
              nginx: {{ domain: example.org, http_port: 8080 }}
              haproxy: {{ services: [{{ name: web, port: 80, consul: web }}] }}
        "
    );
    let script = rendered::files(&text, "node-1").remove("/etc/bootstrap-edge-address/check").unwrap();
    let (_, own) = script.split_once("\n  exit 0\nfi\n").unwrap();
    own.replace('\n', " ").trim().to_owned()
}

#[test]
fn what_must_answer_follows_from_the_ways_in_of_the_host() {
    let (nginx, haproxy) =
        ("get 'http://127.0.0.1:8080/edge-health'", "get 'http://127.0.0.1:8404/edge-health'");
    assert_eq!(asked("edge-nginx, ", ""), nginx);
    assert_eq!(asked("edge-haproxy, ", ""), haproxy);
    assert_eq!(asked("edge-haproxy, edge-nginx, ", ""), format!("{nginx} {haproxy}"));
    let named = ", check: [{ port: 5432 }, { port: 81, path: /health }]";
    let own = "listens 5432 get 'http://127.0.0.1:81/health'";
    assert_eq!(asked("", named), own);
    assert_eq!(asked("edge-nginx, ", named), own);
}

#[test]
fn an_address_that_cannot_move_is_told_before_any_host_is_asked() {
    let with = |roles: &str, edge: &str, vars: &str| {
        refused(&formatdoc!(
            "
                cluster: k1
                hosts:
                  node-1: {{ address: 10.0.0.11, roles: [container-runtime, kube-control-plane] }}
                  node-2: {{ address: 10.0.0.12, roles: [{roles}] }}
                  node-3: {{ address: 10.0.0.13, roles: [{roles}] }}
                vars:
                  kube: {{ cni: bridge, endpoint: {{ address: 10.0.0.100{vars} }} }}
                  edge: {{ {edge} }}
            "
        ))
    };
    let check = "check: [{ port: 80 }]";
    for (roles, edge, vars, message) in [
        ("edge-address", "address: 10.0.0.200".to_owned(), "", "nothing says what must answer"),
        ("edge-address", check.to_owned(), "", "`edge.address` is not set"),
        ("edge-address", format!("address: web.example.org, {check}"), "", "must be an IP address"),
        ("edge-address", format!("address: 10.0.0.11, {check}"), "", "is the address of one of the hosts"),
        (
            "edge-address",
            format!("address: 10.0.0.200, router_id: 256, {check}"),
            "",
            "not between 1 and 255",
        ),
        (
            "edge-address",
            "address: 10.0.0.200, check: [{ port: 80, path: x }]".to_owned(),
            "",
            "an absolute path",
        ),
        (
            "edge-address, kube-endpoint",
            format!("address: 10.0.0.200, {check}"),
            ", vip: true",
            "`kube-endpoint` moves an address there too",
        ),
    ] {
        let text = with(roles, &edge, vars);
        assert!(text.contains(message), "`{message}` is not in\n{text}");
    }
}

#[test]
fn an_address_that_moves_is_of_the_hosts_network() {
    let reasons = |address: &str, facts: &Facts| -> Vec<String> {
        let text = inventory(SERVICES, "").replace("10.0.0.200", address);
        let wanted = rendered::wanted(&text);
        let addresses = rendered::addresses(&wanted);
        let settled = wanted.with_facts(|_| Some(facts), &Formed::default(), &addresses).ok().unwrap();
        let roles = settled.host(&HostName::parse("node-1").unwrap()).unwrap().roles.clone();
        roles.iter().flat_map(|role| &role.refused).map(|refused| refused.reason.clone()).collect()
    };
    let facts = rendered::facts();
    assert_eq!(reasons("10.0.0.200", &facts), [""; 0]);
    assert_eq!(
        reasons("10.0.1.9", &facts),
        ["the address 10.0.1.9 is in none of the host's networks, 10.0.0.11/24"]
    );
    let both = Facts {
        networks: vec!["10.0.0.11/24".parse().unwrap(), "fd00::11/64".parse().unwrap()],
        ..rendered::facts()
    };
    let said = reasons("fd00::200", &both);
    assert!(
        matches!(said.as_slice(), [reason] if reason.contains("not of the same version of IP")),
        "{said:?}"
    );
}

/// The network outside is often not that of the cluster.
#[test]
fn the_address_is_put_where_its_network_is() {
    let text = inventory(SERVICES, "").replace("10.0.0.200", "192.0.2.200");
    let wanted = rendered::wanted(&text);
    let addresses = rendered::addresses(&wanted);
    let host = wanted.host(&HostName::parse("node-1").unwrap()).unwrap();
    let config = |holds: bool| {
        let mut facts = Facts {
            addresses: vec![
                ("eth0".into(), "10.0.0.11".parse().unwrap()),
                ("eth1".into(), "192.0.2.11".parse().unwrap()),
            ],
            networks: vec!["10.0.0.11/24".parse().unwrap(), "192.0.2.11/24".parse().unwrap()],
            ..rendered::facts()
        };
        if holds {
            facts.addresses.push(("eth1".into(), "192.0.2.200".parse().unwrap()));
            facts.networks.push("192.0.2.200/32".parse().unwrap());
        }
        let role = host.roles.iter().find(|role| role.name.as_str() == "edge-address").unwrap();
        let path = Some("/etc/keepalived/keepalived.conf");
        let file = role.resources.iter().find(|one| one.path() == path).unwrap();
        let late = host.late(&facts, &wanted.everyone(&addresses));
        wanted.resolved(host, role, file, &late).unwrap().content().unwrap().to_owned()
    };
    let without = config(false);
    assert!(
        without.contains("\n    interface eth0\n    track_interface {\n        eth1\n    }\n"),
        "{without}"
    );
    assert!(without.contains("\n        192.0.2.200 dev eth1\n"), "{without}");
    // Who has it writes the same.
    assert_eq!(config(true), without);
}

/// What a stranger configured of the same programs is looked for, and nothing where Kubernetes' load balancer is that stranger.
#[test]
fn others_that_configure_the_programs_are_looked_for() {
    let wanted = rendered::wanted(&inventory(SERVICES, ""));
    let host = wanted.host(&HostName::parse("node-1").unwrap()).unwrap();
    let files = host.roles.iter().flat_map(|role| &role.others).flat_map(|other| &other.files);
    let files: BTreeSet<&Path> = files.map(Path::new).collect();
    for path in ["/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"] {
        assert!(files.contains(Path::new(path)), "{files:?}");
    }
}
