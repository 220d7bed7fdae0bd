//! What the Nomad roles render for each line of versions, as snapshots, and what differs between them.

use crate::rendered;
use indoc::{formatdoc, indoc};
use std::collections::BTreeMap;

use crate::rendered::{refused, shown, snapshots};
use serde_json::Value;

/// `extra` are more lines of `vars.nomad`; web-1 is a client without Docker.
fn inventory(version: &str, extra: &str) -> String {
    formatdoc!(
        r#"
            cluster: dc1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              web-1: {{ address: 10.0.0.21 }}
            groups:
              servers: {{ hosts: [node-1, node-2, node-3], roles: [consul-server, nomad-server] }}
              both: {{ hosts: [node-1], roles: [nomad-client] }}
              clients: {{ hosts: [web-1], roles: [consul-client, nomad-client] }}
            vars:
              nomad:
                version: {version}
            {extra}"#
    )
}

/// The files of Nomad alone.
fn files(version: &str, extra: &str, host: &str) -> BTreeMap<String, String> {
    let mut files = rendered::files(&inventory(version, extra), host);
    files.retain(|path, _| path.contains("nomad"));
    files
}

fn json(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[&format!("/etc/nomad.d/{name}.json")]).unwrap()
}

#[test]
fn a_server_of_each_line() {
    for version in ["1.1.2", "1.4.14", "1.7.7", "2.0.5"] {
        let name = format!("server-{version}");
        snapshots("nomad").bind(|| insta::assert_snapshot!(name, shown(&files(version, "", "node-2"))));
    }
}

#[test]
fn a_host_that_is_both() {
    snapshots("nomad").bind(|| insta::assert_snapshot!("both-1.10.5", shown(&files("1.10.5", "", "node-1"))));
}

#[test]
fn a_client_with_everything_set() {
    let extra = "    drivers: [docker, raw_exec]\n    docker: present\n    node_class: web\n    meta: { rack: a1 }\n    \
                 host_volumes: [ { name: data, path: /srv/data }, { name: certs, path: /srv/certs, read_only: true } ]\n    \
                 reserved: { cpu: 500, memory: 512, reserved_ports: \"22,8500\" }\n    bridge: true\n    \
                 client_addr: [10.0.0.21]\n    client_config: { max_kill_timeout: 2m }\n    \
                 telemetry: { prometheus_metrics: true }\n";
    snapshots("nomad")
        .bind(|| insta::assert_snapshot!("client-1.10.5", shown(&files("1.10.5", extra, "web-1"))));
}

#[test]
fn servers_are_found_through_consul_or_by_address() {
    let join = json(&files("1.10.5", "", "node-2"), "join");
    // Servers tell one another at once; a client comes when Consul knows them.
    let others = serde_json::json!(["10.0.0.11", "10.0.0.13"]);
    assert_eq!(join["server"]["server_join"]["retry_join"], others);
    assert_eq!(join["server"]["bootstrap_expect"], 3);
    assert_eq!(join["autopilot"], serde_json::json!({"min_quorum": 3}));
    let client = json(&files("1.10.5", "", "web-1"), "join");
    assert_eq!(client, serde_json::json!({"client": {}}));
    let moved = "  consul: { extra_config: { ports: { http: 9500 } } }\n";
    assert_eq!(json(&files("1.10.5", moved, "web-1"), "nomad")["consul"]["address"], "127.0.0.1:9500");

    let without = "    consul: false\n    retry_join: [far.example.org]\n";
    let others = serde_json::json!(["10.0.0.12", "10.0.0.13", "far.example.org"]);
    let all = serde_json::json!(["10.0.0.11", "10.0.0.12", "10.0.0.13", "far.example.org"]);
    let join = json(&files("1.10.5", without, "node-1"), "join");
    assert_eq!(join["server"]["server_join"]["retry_join"], others);
    assert_eq!(join["client"]["server_join"]["retry_join"], all);
    assert_eq!(json(&files("1.10.5", without, "node-1"), "nomad")["consul"]["server_auto_join"], false);
}

#[test]
fn the_api_is_opened_as_each_version_can() {
    let addresses = |version: &str, extra: &str| {
        json(&files(version, extra, "node-2"), "nomad")["addresses"]["http"].as_str().unwrap().to_owned()
    };
    let open = "    client_addr: [10.0.0.12]\n";
    assert_eq!(addresses("1.1.2", ""), "127.0.0.1");
    assert_eq!(addresses("1.10.5", open), "127.0.0.1 10.0.0.12");
    // One address only, and the loopback is needed.
    assert_eq!(addresses("1.1.2", open), "0.0.0.0");
    assert_eq!(addresses("1.10.5", "    client_addr: [\"0.0.0.0\"]\n"), "0.0.0.0");
}

#[test]
fn nomad_without_a_way_to_its_servers_or_to_docker() {
    let text = refused(indoc! {r#"
            cluster: dc1
            hosts:
              node-[1-3]: { address: "10.0.0.1[1-3]", roles: [nomad-server] }
              web-1:
                address: 10.0.0.21
                roles: [nomad-client]
                vars: { nomad: { retry_join: [10.0.0.11], drivers: [docker] } }
              web-2: { address: 10.0.0.22, roles: [nomad-client], vars: { nomad: { consul: false } } }
        "#});
    snapshots("nomad").bind(|| insta::assert_snapshot!("refused", text));
}

#[test]
fn jobs_that_cannot_be_read() {
    let text = refused(indoc! {r#"
            cluster: dc1
            hosts:
              node-[1-3]: { address: "10.0.0.1[1-3]", roles: [consul-server] }
            jobs:
              - file: jobs/not-there.nomad.hcl
              - { ready: fabbio }
              - { ready: demo-http, variables: { cuont: 2, text: fine } }
        "#});
    snapshots("nomad").bind(|| insta::assert_snapshot!("refused-jobs", text));
}
