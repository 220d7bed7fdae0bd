//! What a member of a running cluster reads at its next start changes in its own turn, and is put back where that fails: plan
//! and prelude together, without systemd, as in `script_undo`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::script_undo::{Site, steps};
use crate::shells::{call, holder, shells, step};
use bootstrap::model::{Keep, Step};
use bootstrap::script::{Nonce, Record, Script};

/// `TEXT` is what its files say, and `VERSION` where its link leads.
const AGENT: &str = r#"
doc: A program with a file, a secret one, a link and a unit.
resources:
  - file: { path: "@/etc/agent", content: "TEXT\n", mode: "0640", @owner }
  - file: { path: "@/etc/key", content: "TEXT", mode: "0600", secret: true, @owner }
  - unit: { name: agent.service, restart_on: ["@/etc/agent", "@/etc/key", "@/bin/agent"] }
"#;

fn role(site: &Site, text: &str) {
    site.role("agent", &AGENT.replace("TEXT", text));
}

fn running(shell: &'static [&'static str]) -> Site {
    let site = Site::new(shell);
    std::fs::create_dir(site.host.at("etc")).unwrap();
    role(&site, "good");
    site.unit("agent.service", "enabled", "inactive", "dead");
    site.up("agent");
    site.orders();
    site
}

fn run(site: &Site, keep: Keep, steps: &[Step]) {
    let records = site.run(&Script::keeping(Some(keep), &Nonce::random(), &holder(), steps), "run_steps() {");
    for record in &records {
        assert!(!matches!(record, Record::End { status: 1.., .. }), "{:?}: {record:?}", site.shell);
    }
}

/// What the step that puts back printed, and the orders that it gave.
fn put_back(site: &Site) -> (String, Vec<String>) {
    let steps = [step("put back", vec![call("keep_back", &[])])];
    let records = site.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
    let Some(Record::End { status: 0, output, .. }) = records.get(1) else { panic!("{records:?}") };
    (output.replace(&site.host.at(""), "@/"), site.orders())
}

#[test]
fn what_runs_is_changed_in_its_turn_and_what_does_not_run_before() {
    let shell = shells().next().unwrap();
    let site = Site::new(shell);
    std::fs::create_dir(site.host.at("etc")).unwrap();
    role(&site, "good");
    let names = || -> Vec<String> {
        let plan = site.plan("agent");
        let names = |stage: &bootstrap::model::Stage| {
            let steps = stage.batches.iter().flat_map(|batch| batch.steps.values().flatten());
            let ids: Vec<&str> = steps.map(|step| step.id.0.split_once(' ').unwrap().0).collect();
            format!("{}: {}", stage.name, ids.join(" "))
        };
        plan.stages.iter().map(names).collect()
    };
    site.unit("agent.service", "enabled", "inactive", "dead");
    assert_eq!(names(), ["prepare: file file", "agent: unit"]);
    site.up("agent");
    role(&site, "other");
    assert_eq!(names(), ["agent: file file unit"]);
    // What is built on something that waits for its turn waits too.
    site.role("beside", r#"{ doc: Reads it., resources: [file: { path: "@/etc/beside", content: a, @owner }, file: { path: "@/etc/agent", content: "other\n", mode: "0640", @owner }, file: { path: "@/etc/after", content: a, @owner }] }"#);
    let plan = site.plan("agent, beside");
    let ids: Vec<String> =
        steps(&plan).iter().map(|step| step.id.0.replace(&site.host.at(""), "@/")).collect();
    assert_eq!(
        ids,
        ["file @/etc/beside", "file @/etc/agent", "file @/etc/key", "unit agent.service", "file @/etc/after"]
    );
}

#[test]
fn a_command_of_the_preparation_comes_first_unless_it_runs_what_waits() {
    let shell = shells().next().unwrap();
    let site = running(shell);
    let role = AGENT.replace("TEXT", "other")
        + r#"  - exec: { name: apart, command: [touch, "@/apart"], creates: "@/apart" }
  - exec: { name: by it, command: ["@/etc/agent"], creates: "@/by-it" }
"#;
    site.role("agent", &role);
    let plan = site.plan("agent");
    let names: Vec<String> = plan.stages.iter().map(|stage| stage.name.to_string()).collect();
    assert_eq!(names, ["prepare", "agent"]);
    let ids: Vec<&str> = plan.steps().map(|(_, step)| step.id.0.split('/').next().unwrap().trim()).collect();
    assert_eq!(ids, ["exec apart", "file", "file", "unit agent.service", "exec by it"]);
}

#[test]
fn what_a_batch_changed_is_put_back_with_what_ran() {
    for shell in shells() {
        let site = running(shell);
        let host = &site.host;
        std::fs::create_dir(host.at("bin")).unwrap();
        symlink("/opt/1/agent", host.at("bin/agent")).unwrap();
        let mark = host.read("state/units/agent.service");
        role(&site, "bad");
        let mut bad = steps(&site.plan("agent"));
        bad.insert(0, step("link", vec![call("link_place", &[&host.at("bin/agent"), "/opt/2/agent"])]));
        bad.insert(0, step("new", vec![call("link_place", &[&host.at("bin/new"), "/opt/2/new"])]));
        run(&site, Keep::Now, &bad);
        assert_eq!(host.read("etc/agent"), b"bad\n");
        assert_eq!(site.orders(), ["--no-block restart -- agent.service"], "{shell:?}");
        for entry in host.names("state/kept") {
            let mode =
                std::fs::metadata(host.at(&format!("state/kept/{entry}"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o77, 0, "{shell:?}: somebody else can read what is kept");
        }

        let (output, orders) = put_back(&site);
        for told in ["@/etc/agent is as it was", "@/bin/new is as it was", "agent.service runs with it"] {
            assert!(output.contains(told), "{shell:?}: {output}");
        }
        assert_eq!(orders, ["--no-block restart -- agent.service"], "{shell:?}");
        assert_eq!(host.read("etc/agent"), b"good\n", "{shell:?}");
        assert_eq!(host.read("etc/key"), b"good", "{shell:?}");
        assert_eq!(std::fs::metadata(host.at("etc/agent")).unwrap().mode() & 0o777, 0o640, "{shell:?}");
        assert_eq!(std::fs::read_link(host.at("bin/agent")).unwrap().to_str(), Some("/opt/1/agent"));
        assert!(std::fs::symlink_metadata(host.at("bin/new")).is_err(), "{shell:?}");
        assert_eq!(host.read("state/units/agent.service"), mark, "{shell:?}");
        assert!(!std::path::Path::new(&host.at("state/kept")).exists(), "{shell:?}");
    }
}

#[test]
fn what_was_last_well_outlives_a_run_that_was_killed() {
    for shell in shells() {
        let site = running(shell);
        role(&site, "bad");
        run(&site, Keep::Now, &steps(&site.plan("agent")));
        // Nobody saw whether it proved itself, and it is ill.
        role(&site, "worse");
        run(&site, Keep::LastWell, &steps(&site.plan("agent")));
        put_back(&site);
        assert_eq!(site.host.read("etc/agent"), b"good\n", "{shell:?}");

        role(&site, "better");
        run(&site, Keep::Now, &steps(&site.plan("agent")));
        // It is well.
        role(&site, "worse");
        run(&site, Keep::Now, &steps(&site.plan("agent")));
        put_back(&site);
        assert_eq!(site.host.read("etc/agent"), b"better\n", "{shell:?}");
    }
}

#[test]
fn a_unit_that_nobody_touched_is_left_running() {
    for shell in shells() {
        let site = running(shell);
        role(&site, "bad");
        let files: Vec<Step> =
            steps(&site.plan("agent")).into_iter().filter(|step| step.id.0.starts_with("file")).collect();
        run(&site, Keep::Now, &files);
        let (_, orders) = put_back(&site);
        assert_eq!(orders, Vec::<String>::new(), "{shell:?}");
        assert_eq!(site.host.read("etc/agent"), b"good\n", "{shell:?}");
    }
}

#[test]
fn a_unit_that_the_batch_made_ends_with_its_file() {
    for shell in shells() {
        let site = running(shell);
        std::fs::create_dir_all(site.host.at("systemd/system")).unwrap();
        let more = r#"  - file: { path: "@/systemd/system/new.service", content: "[Service]\n", @owner }
  - unit: { name: new.service, restart_on: ["@/systemd/system/new.service"] }
"#;
        site.role("agent", &(AGENT.replace("TEXT", "bad") + more));
        site.unit("new.service", "disabled", "inactive", "dead");
        run(&site, Keep::Now, &steps(&site.plan("agent")));
        site.orders();
        let (output, orders) = put_back(&site);
        assert_eq!(
            orders,
            ["disable --now new.service", "daemon-reload", "--no-block restart -- agent.service"],
            "{shell:?}"
        );
        assert!(!output.contains("new.service runs"), "{shell:?}: {output}");
        assert!(!std::path::Path::new(&site.host.at("systemd/system/new.service")).exists(), "{shell:?}");
        assert!(!std::path::Path::new(&site.host.at("state/units/new.service")).exists(), "{shell:?}");
    }
}

#[test]
fn a_key_that_is_wanted_no_more_goes_and_what_stood_there_before_comes_back() {
    for shell in shells() {
        let site = Site::new(shell);
        let wants = |content: &str| {
            let merge =
                format!(r#"json-merge: {{ path: "@/etc/daemon.json", content: '{content}', @owner }}"#);
            site.role("engine", &format!("{{ doc: Merges., resources: [{merge}] }}"));
            site.up("engine")
        };
        let says =
            || -> serde_json::Value { serde_json::from_slice(&site.host.read("etc/daemon.json")).unwrap() };
        let own = serde_json::json!({"own": true, "x": 5, "a": {"c": 2}});
        site.host.write("etc/daemon.json", own.to_string());
        wants(r#"{"x": 6, "hosts": ["h"], "a": {"b": 1}, "log": {"size": "1m"}}"#);
        assert_eq!(says()["hosts"], serde_json::json!(["h"]), "{shell:?}");
        // What was ours a moment ago was not there before.
        wants(r#"{"x": 7, "a": {"b": 3}, "log": {"size": "1m"}}"#);
        assert_eq!(
            says(),
            serde_json::json!({"own": true, "x": 7, "a": {"c": 2, "b": 3}, "log": {"size": "1m"}}),
            "{shell:?}"
        );
        assert_eq!(wants(r#"{"x": 7, "a": {"b": 3}, "log": {"size": "1m"}}"#), Vec::<String>::new());
        // Somebody else has changed one of them since: that one is his.
        site.host.write("etc/daemon.json", says().to_string().replace("\"b\":3", "\"b\":4"));
        wants("{}");
        assert_eq!(says(), serde_json::json!({"own": true, "x": 5, "a": {"c": 2, "b": 4}}), "{shell:?}");
        assert_eq!(wants("{}"), Vec::<String>::new(), "{shell:?}");
    }
}
