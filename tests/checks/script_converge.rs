//! Probe, decision and step of each kind agree: what is absent is planned, applied once, and then as wanted.

use std::collections::{BTreeMap, BTreeSet};

use crate::shells::{Host, account, holder, shells, step};
use bootstrap::facts::Facts;
use bootstrap::model::{Change, StepId};
use bootstrap::resource::{Planned, Resource};
use bootstrap::script::{Nonce, Observation, Record, Script};
use serde_json::{Value, json};

fn resources(host: &Host) -> Vec<Value> {
    let (user, group) = account();
    let owned = |kind: &str, mut fields: Value| {
        fields["owner"] = json!(user);
        fields["group"] = json!(group);
        json!({ kind: fields })
    };
    vec![
        owned("directory", json!({"path": host.at("etc/it's"), "mode": "0750"})),
        owned("file", json!({"path": host.at("etc/it's/a file"), "content": "a\n$(b)\n", "mode": "0640"})),
        owned("file", json!({"path": host.at("key"), "content": "hunter2", "mode": "0600", "secret": true})),
        owned("file", json!({"path": host.at("large"), "content": "x".repeat(300_000)})),
        owned("file", json!({"path": host.at("empty"), "content": "", "validate": ["test", "-f", "%s"]})),
        owned("json-merge", json!({"path": host.at("daemon.json"), "content": "{\"dns\": [\"10.0.0.1\"]}"})),
        owned("block-in-file", json!({"path": host.at("hosts"), "content": "10.0.0.1 a", "marker": "dc1"})),
        json!({"exec": {"name": "make it", "command": ["touch", host.at("made")], "creates": host.at("made")}}),
        json!({"exec": {
            "name": "make more",
            "command": ["touch", host.at("more")],
            "unless": ["test", "-e", host.at("more")],
        }}),
        json!({"download": {"release": {
            "product": "tool",
            "version": "1.2.3",
            "source": {"file": "tool"},
            "install_dir": host.at("opt"),
            "bin_dir": host.at("bin"),
        }}}),
    ]
}

const PROGRAM: &[u8] = b"#!/bin/sh\necho tool\n";
const PROGRAM_DIGEST: &str = "bf664cf84f00f6ed76164c8457fdeaf8e4dee547226e9ffcf8274e2d2246fed9";

/// One observe script, and what it makes of each resource.
fn decide(host: &Host, shell: &[&str], resources: &[Resource]) -> Vec<(StepId, Option<Change>)> {
    let probes: Vec<_> =
        resources.iter().map(|resource| (resource.id(), resource.probe().unwrap())).collect();
    let seen = Observation::new(&host.run(shell, &Script::observe(&Nonce::random(), &[], &probes, &[])));
    let facts = Facts::parse(&seen.of("facts")).unwrap();
    let planned = BTreeSet::new();
    let decide = |resource: &Resource| {
        resource
            .decide(&seen.of(&resource.id().0), &facts, &Planned { steps: &planned, keys: &BTreeMap::new() })
            .unwrap()
    };
    resources.iter().map(|resource| (resource.id(), decide(resource))).collect()
}

#[test]
fn what_was_applied_is_as_wanted_and_what_drifted_is_planned_again() {
    for shell in shells() {
        let host = Host::new();
        host.write("daemon.json", "{\"log-level\": \"warn\"}\n");
        host.write("hosts", "127.0.0.1 localhost\n");
        host.write(&format!("state/incoming/{PROGRAM_DIGEST}"), PROGRAM);
        let resources: Vec<_> = resources(&host)
            .into_iter()
            .map(|value| Resource::from_value(value).unwrap().with_artifact_digest(PROGRAM_DIGEST.into()))
            .collect();

        let changes = decide(&host, shell, &resources);
        let steps: Vec<_> = changes
            .into_iter()
            .map(|(id, change)| step(&id.0, change.unwrap_or_else(|| panic!("{id} is planned")).calls))
            .collect();
        let records = host.run(shell, &Script::apply(&Nonce::random(), &holder(), &steps));
        for record in &records {
            assert!(!matches!(record, Record::End { status: 1.., .. }), "{shell:?}: {record:?}");
        }
        for (id, change) in decide(&host, shell, &resources) {
            assert!(change.is_none(), "{shell:?}: {id} is planned again: {change:?}");
        }
        assert_eq!(host.read("hosts").iter().filter(|byte| **byte == b'\n').count(), 4, "{shell:?}");
        let merged: Value = serde_json::from_slice(&host.read("daemon.json")).unwrap();
        assert_eq!(merged, json!({"log-level": "warn", "dns": ["10.0.0.1"]}), "{shell:?}");

        host.write("etc/it's/a file", "a\nhand-made\n");
        host.write("key", "hunter3");
        std::fs::remove_file(host.at("bin/tool")).unwrap();
        let reasons: Vec<_> = decide(&host, shell, &resources)
            .into_iter()
            .filter_map(|(id, change)| Some(format!("{id}: {}", change?.reason.replace(&host.at(""), ""))))
            .collect();
        assert_eq!(
            reasons,
            [
                format!("file {}: content differs", host.at("etc/it's/a file")),
                format!("file {}: content differs (secret)", host.at("key")),
                format!("release tool 1.2.3 {}: bin/tool absent", host.at("bin/tool")),
            ],
            "{shell:?}"
        );
    }
}
