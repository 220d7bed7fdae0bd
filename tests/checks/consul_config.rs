//! What the Consul roles render for each line of versions, as snapshots, and against the keys that
//! the product documents for that version.

use crate::rendered;
use indoc::formatdoc;
use std::collections::{BTreeMap, BTreeSet};

use crate::rendered::{shown, snapshots};

/// Top-level keys of the agent's configuration that the roles write, with the first version that has
/// them and the first that has them no more. Source: Consul's agent configuration reference.
const DOCUMENTED: [(&str, &str, Option<&str>); 31] = [
    ("acl", "1.4.0", None),
    ("addresses", "0.0.0", None),
    ("advertise_addr", "0.0.0", None),
    ("autopilot", "0.8.0", None),
    ("bind_addr", "0.0.0", None),
    ("bootstrap_expect", "0.0.0", None),
    ("client_addr", "0.0.0", None),
    ("data_dir", "0.0.0", None),
    ("ca_file", "0.0.0", Some("1.12.0")),
    ("cert_file", "0.0.0", Some("1.12.0")),
    ("datacenter", "0.0.0", None),
    ("disable_update_check", "0.0.0", None),
    ("encrypt", "0.0.0", None),
    ("key_file", "0.0.0", Some("1.12.0")),
    ("leave_on_terminate", "0.0.0", None),
    ("log_level", "0.0.0", None),
    ("node_name", "0.0.0", None),
    ("performance", "0.7.0", None),
    ("ports", "0.0.0", None),
    ("retry_interval", "0.0.0", None),
    ("retry_join", "0.0.0", None),
    ("server", "0.0.0", None),
    ("services", "0.0.0", None),
    ("skip_leave_on_interrupt", "0.0.0", None),
    ("telemetry", "0.0.0", None),
    ("tls", "1.12.0", None),
    ("tls_min_version", "0.7.4", Some("1.12.0")),
    ("verify_incoming_rpc", "0.9.3", Some("1.12.0")),
    ("verify_outgoing", "0.0.0", Some("1.12.0")),
    ("verify_server_hostname", "0.5.1", Some("1.12.0")),
    // `ui` is deprecated since 1.9 in favour of `ui_config`.
    ("ui", "0.0.0", Some("1.9.0")),
];
const SINCE_1_9: [&str; 1] = ["ui_config"];

fn inventory(version: &str, extra: &str) -> String {
    formatdoc!(
        r#"
            cluster: dc1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              web-1: {{ address: 10.0.0.21 }}
            groups:
              servers: {{ hosts: [node-1, node-2, node-3], roles: [consul-server] }}
              clients: {{ hosts: [web-1], roles: [consul-client] }}
            vars:
              consul:
                version: {version}
            {extra}"#
    )
}

fn files(version: &str, extra: &str, host: &str) -> BTreeMap<String, String> {
    rendered::files(&inventory(version, extra), host)
}

#[test]
fn domain_and_recursors_are_written_where_they_are_set() {
    let usual = &files("1.21.4", "", "node-1")["/etc/consul.d/consul.json"];
    assert!(!usual.contains("\"domain\"") && !usual.contains("recursors"), "{usual}");
    let set = &files("1.8.7", "    domain: corp\n    recursors: [192.0.2.53]\n", "node-1")["/etc/consul.d/consul.json"];
    let set: serde_json::Value = serde_json::from_str(set).unwrap();
    assert_eq!((&set["domain"], &set["recursors"]), (&"corp".into(), &serde_json::json!(["192.0.2.53"])));
}

#[test]
fn a_server_of_1_8() {
    snapshots("consul")
        .bind(|| insta::assert_snapshot!("server-1.8.7", shown(&files("1.8.7", "", "node-1"))));
}

#[test]
fn a_server_of_1_21() {
    snapshots("consul")
        .bind(|| insta::assert_snapshot!("server-1.21.4", shown(&files("1.21.4", "", "node-1"))));
}

#[test]
fn a_client_with_everything_set() {
    let extra = "    ui: false\n    dns_port: 53\n    client_addr: [10.0.0.21]\n    \
                 telemetry: { prometheus_retention_time: 60s }\n    extra_config: { ports: { grpc: 8502 } }\n    \
                 services: [ { name: web, port: 80, tags: [http], check: { http: \"http://127.0.0.1/\", interval: 5s } } ]\n";
    snapshots("consul")
        .bind(|| insta::assert_snapshot!("client-1.21.4", shown(&files("1.21.4", extra, "web-1"))));
}

#[test]
fn only_documented_keys_are_written() {
    for version in ["1.8.7", "1.9.0", "1.11.11", "1.14.0", "1.21.4"] {
        let wanted = semver::Version::parse(version).unwrap();
        let at_least = |text: &str| wanted >= semver::Version::parse(text).unwrap();
        let mut known: BTreeSet<&str> = DOCUMENTED
            .iter()
            .filter(|(_, since, until)| at_least(since) && !until.is_some_and(at_least))
            .map(|(key, _, _)| *key)
            .collect();
        if at_least("1.9.0") {
            known.extend(SINCE_1_9);
        }
        for host in ["node-1", "web-1"] {
            let files = files(version, "    acl: on\n", host);
            let json = files.iter().filter(|(path, _)| path.ends_with(".json"));
            for (path, text) in json {
                let config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
                for key in config.keys() {
                    assert!(known.contains(key.as_str()), "{version} {path}: `{key}` is not documented");
                }
            }
        }
    }
}

/// Each host has tokens of its own, and no file has what may change everything.
#[test]
fn agents_that_know_who_asks() {
    let extra =
        "    acl: on\n    services: [{ name: web, port: 80 }, { name: db, port: 1, token: its-own }]\n";
    for (version, host) in [("1.8.7", "node-1"), ("1.21.4", "web-1")] {
        let files = files(version, extra, host);
        let json = |path: &str| -> serde_json::Value { serde_json::from_str(&files[path]).unwrap() };
        assert_eq!(
            json("/etc/consul.d/consul.json")["acl"],
            serde_json::json!({
                "enabled": true, "default_policy": "deny", "down_policy": "extend-cache", "enable_token_persistence": false
            })
        );
        let agent = format!("token-consul.agent_token-of-{host}");
        assert_eq!(json("/etc/consul.d/acl.json"), serde_json::json!({"acl": {"tokens": {"agent": agent}}}));
        let services = json("/etc/consul.d/services.json");
        assert_eq!(services["services"][0]["token"], format!("token-consul.services_token-of-{host}"));
        assert_eq!(services["services"][1]["token"], "its-own");
        for (path, text) in &files {
            for token in ["manage", "operate", "observe"] {
                assert!(!text.contains(&format!("consul.{token}_token")), "{path} of {host}: {text}");
            }
        }
    }
    assert!(!files("1.21.4", "", "web-1").contains_key("/etc/consul.d/acl.json"));
}

/// Each program has a token of its own on each host, in files that others do not read.
#[test]
fn who_calls_consul_shows_a_token_of_its_own() {
    let inventory = |acl: &str| {
        formatdoc!(
            "
                cluster: dc1
                hosts:
                  way-[1-2]: {{ address: \"10.0.0.2[1-2]\" }}
                groups:
                  all:
                    hosts: [\"way-*\"]
                    roles: [consul-server, nomad-client, nomad-server, docker, docker-services, edge-nginx, edge-fabio, mariadb]
                vars:
                  consul: {{ version: 1.21.4, acl: {acl} }}
                  mariadb: {{ data: /shared/mariadb }}
                  nginx: {{ domain: example.org }}
            "
        )
    };
    let with = rendered::files(&inventory("auto"), "way-2");
    for (path, owner) in [
        ("/etc/consul.d/acl.json", "consul.agent_token"),
        ("/etc/nomad.d/secrets.json", "nomad.consul_token"),
        ("/etc/bootstrap-docker/docker-services", "docker_services.consul_token"),
        ("/etc/bootstrap-edge/consul-token.hcl", "nginx.consul_token"),
        ("/etc/bootstrap-fabio/consul-token", "fabio.consul_token"),
        ("/etc/bootstrap-fabio/consul.curl", "fabio.consul_token"),
        ("/etc/bootstrap-mariadb/consul.curl", "mariadb.consul_token"),
    ] {
        assert!(with[path].contains(&format!("token-{owner}-of-way-2")), "{path}: {}", with[path]);
    }
    let token_files = with.values().filter(|text| text.contains("token-")).count();
    assert_eq!(token_files, 7, "no others");
    assert!(with.values().all(|text| !text.contains("of-way-1") && !text.contains("token-consul.manage")));
    let unit = &with["/etc/systemd/system/edge-consul-template.service"];
    assert!(unit.contains("-config=/etc/bootstrap-edge/consul-token.hcl"), "{unit}");
    let wanted = rendered::wanted(&inventory("auto"));
    let tokens = wanted.hosts[1].roles.iter().flat_map(|role| &role.tokens).map(|wanted| &wanted.token);
    let rules = |name: &str| tokens.clone().find(|token| token.name == name).unwrap().rules.clone();
    let reads = "node_prefix \"\" { policy = \"read\" }\nservice_prefix \"\" { policy = \"read\" }";
    assert_eq!(rules("nginx of way-2"), reads);
    for name in ["anonymous", "observe", "operate", "fabio of way-2", "mariadb of way-2"] {
        assert!(rules(name).starts_with(&format!("{reads}\n")), "{name}: {}", rules(name));
    }
    // A cluster without ACLs has no use for them.
    let without = rendered::files(&inventory("off"), "way-2");
    assert!(without.values().all(|text| !text.contains("token-")));
}

#[test]
fn servers_expect_each_other_and_clients_expect_nobody() {
    let server = &files("1.21.4", "", "node-2")["/etc/consul.d/join.json"];
    let server: serde_json::Value = serde_json::from_str(server).unwrap();
    assert_eq!(server["bootstrap_expect"], 3);
    assert_eq!(server["retry_join"], serde_json::json!(["10.0.0.11", "10.0.0.13"]), "others than itself");
    let client = &files("1.21.4", "", "web-1")["/etc/consul.d/join.json"];
    let client: serde_json::Value = serde_json::from_str(client).unwrap();
    assert!(client.get("bootstrap_expect").is_none());
    assert_eq!(client["retry_join"], serde_json::json!(["10.0.0.11", "10.0.0.12", "10.0.0.13"]));
}

/// `extra_config` wins over what the role says, and everybody asks there.
#[test]
fn a_port_by_the_products_own_settings_moves_the_endpoint() {
    let endpoint = |extra: &str| {
        let wanted = rendered::wanted(&inventory("1.14.11", extra));
        wanted.hosts[0].endpoint("consul-servers").unwrap().clone()
    };
    let usual = endpoint("");
    assert_eq!(
        (usual.port, usual.data.as_str(), usual.unit.as_str()),
        (8500, "/opt/consul", "consul.service")
    );
    assert_eq!(usual.version.as_deref(), Some("1.14.11"));
    assert_eq!(endpoint("    http_port: 9500\n").url(), "http://127.0.0.1:9500");
    let moved = "    http_port: 9500\n    extra_config: { ports: { http: 9600, dns: 53 } }\n";
    assert_eq!(endpoint(moved).port, 9600);
    let unit = &files("1.14.11", moved, "node-1")["/etc/systemd/system/consul.service"];
    assert!(unit.contains("CAP_NET_BIND_SERVICE"), "{unit}");
}

#[test]
fn dns_may_answer_where_the_api_does_not() {
    let addresses = |extra: &str| {
        let config = files("1.8.7", extra, "node-1")["/etc/consul.d/consul.json"].clone();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        [&config["client_addr"], &config["addresses"]["dns"]].map(|value| value.as_str().map(str::to_owned))
    };
    for (extra, client, dns) in [
        ("", "127.0.0.1", None),
        ("    dns_addr: [10.0.0.11]\n", "127.0.0.1", Some("127.0.0.1 10.0.0.11")),
        (
            "    client_addr: [10.0.0.11]\n    dns_addr: [10.0.0.11, 172.17.0.1]\n",
            "127.0.0.1 10.0.0.11",
            Some("127.0.0.1 10.0.0.11 172.17.0.1"),
        ),
        ("    dns_addr: [0.0.0.0]\n", "127.0.0.1", Some("0.0.0.0")),
    ] {
        assert_eq!(addresses(extra), [Some(client), dns].map(|text| text.map(str::to_owned)), "{extra}");
    }
}
