//! Inventories in, inventories or messages out. Every mistake an operator can make is a file in
//! tests/cases/inventory with the message it gets beside it.

use indoc::indoc;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bootstrap::inventory::{self, Become, HostKeys, Inventory};
use bootstrap::model::Diagnostic;
use bootstrap::report;
use bootstrap::roles::{self, RoleSet};
use serde_json::json;

const CASES: &str = "tests/cases/inventory";

fn small_roles() -> RoleSet {
    RoleSet::from_dir(Path::new("tests/cases/inventory/roles"))
        .unwrap_or_else(|problems| panic!("{}", text(&problems)))
}

fn text(problems: &[Diagnostic]) -> String {
    problems.iter().map(|problem| report::problem(problem, false)).collect::<Vec<_>>().join("\n")
}

fn load(path: &Path, roles: &RoleSet) -> Result<(Inventory, Vec<Diagnostic>), Vec<Diagnostic>> {
    roles::load_inventory(path, roles, Some(Path::new("/home/operator")))
}

fn files(folder: &str, extension: &str) -> BTreeSet<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// Snapshots lie beside their cases, under the name of the case.
fn beside(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn every_mistake_has_its_message() {
    let roles = small_roles();
    let settings = beside("../cases/inventory");
    settings.bind(|| {
        for path in files(CASES, "yaml") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let found = match load(&path, &roles) {
                Ok((_, warnings)) => format!("accepted\n\n{}", text(&warnings)),
                Err(problems) => text(&problems),
            };
            insta::assert_snapshot!(name, found);
        }
    });
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_owned();
    let cases: BTreeSet<_> = files(CASES, "yaml").iter().map(stem).collect();
    let snapshots: BTreeSet<_> = files(CASES, "snap").iter().map(stem).collect();
    assert_eq!(cases, snapshots, "a snapshot without its case, or the other way round");
}

#[test]
fn a_file_that_cannot_be_read_has_its_message() {
    for (path, message) in [
        (
            "tests/cases/inventory/nowhere.yaml",
            "error: there is no file tests/cases/inventory/nowhere.yaml\n help: check the path, or write a \
             commented starter with `bootstrap init tests/cases/inventory/nowhere.yaml`\n",
        ),
        (
            "tests/cases/inventory",
            "error: tests/cases/inventory is a directory, not a YAML file\n help: name the file inside it\n",
        ),
    ] {
        assert_eq!(text(&load(Path::new(path), &small_roles()).unwrap_err()), message);
    }
}

#[test]
fn every_mistake_in_a_role_has_its_message() {
    beside("../cases/inventory/wrong-roles").bind(|| {
        for entry in std::fs::read_dir("tests/cases/inventory/wrong-roles").unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let problems = RoleSet::from_dir(&path).expect_err(&name);
                insta::assert_snapshot!(name, text(&problems));
            }
        }
    });
}

#[test]
fn roles_of_a_folder_replace_the_embedded_ones() {
    let folder = tempfile::tempdir().unwrap();
    let role = folder.path().join("consul-client");
    std::fs::create_dir_all(role.join("templates")).unwrap();
    std::fs::write(role.join("templates/motd"), "{{ cluster }}\n").unwrap();
    std::fs::write(
        role.join("role.yaml"),
        indoc! {r#"
            doc: Mine.
            resources:
              - file: { path: /etc/motd, template: motd, mode: "0644" }
                when: x
        "#},
    )
    .unwrap();
    let roles = RoleSet::load(Some(folder.path())).unwrap_or_else(|problems| panic!("{}", text(&problems)));
    let mine = &roles.roles["consul-client"];
    assert_eq!(mine.doc, "Mine.");
    assert_eq!(
        mine.resources,
        [
            json!({ "file": { "path": "/etc/motd", "content": "{{ cluster }}\n", "mode": "0644" }, "when": "x" })
        ]
    );
    assert!(roles.roles.contains_key("consul-server"));
}

#[test]
fn hosts_have_what_ranges_groups_and_levels_give_them() {
    let roles = small_roles();
    let (inventory, warnings) = load(Path::new("tests/cases/inventory/correct.yaml"), &roles).unwrap();
    assert_eq!(text(&warnings), "");
    assert_eq!(inventory.cluster.as_str(), "c1");
    let names: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3", "web-08", "web-09", "web-10", "db"]);
    let host = |name: &str| inventory.hosts.iter().find(|host| host.name.as_str() == name).unwrap();
    let role_names = |name: &str| host(name).roles.iter().map(|role| role.as_str()).collect::<Vec<_>>();

    assert_eq!(host("node-2").address, "10.0.0.12");
    assert_eq!(host("node-2").cluster_address, Some("192.168.0.12".parse().unwrap()));
    assert_eq!(role_names("node-2"), ["store-server"]);
    assert_eq!(host("node-2").ssh.user.as_deref(), Some("admin"));
    assert_eq!(
        host("node-2").ssh.identity_file.as_deref(),
        Some(Path::new("/home/operator/.ssh/id_ed25519"))
    );
    assert_eq!(host("node-2").ssh.jump, ["bastion", "admin@10.0.0.1:2222"]);
    assert_eq!(host("node-2").ssh.persist, Some(std::time::Duration::from_secs(600)));
    assert_eq!(host("node-2").ssh.kex, ["mlkem768x25519-sha256", "curve25519-sha256"]);
    assert_eq!(host("node-2").ssh.host_keys, HostKeys::Strict);

    assert_eq!(host("web-09").address, "web09.example.org");
    assert_eq!(host("web-09").ssh.user.as_deref(), Some("web"));
    assert_eq!(host("web-09").ssh.port, Some(2222));
    assert_eq!(host("web-09").ssh.r#become, Become::Sudo);
    assert_eq!(host("web-09").ssh.host_keys, HostKeys::AcceptNew);
    assert_eq!(
        host("web-09").ssh.identity_file.as_deref(),
        Some(Path::new("tests/cases/inventory/keys/web")),
        "a relative path starts at the inventory"
    );

    assert_eq!(host("db").address, "db", "without an address SSH goes to the name");
    assert_eq!(host("db").cluster_interface.as_deref(), Some("eth1"));
    assert_eq!(role_names("db"), ["store-client", "edge"]);
    assert_eq!(
        json!(host("db").vars),
        json!({ "store": {
            "version": "1.2.3", "source": { "file": "./store.zip" },
            "labels": { "site": "x", "rack": "a" }, "listen": ["10.0.0.1"], "workers": 8,
        } }),
        "the host wins over its group, the group over all; maps are merged"
    );
    assert_eq!(
        json!(roles::variables(&roles, host("db"))),
        json!({
            "store": {
                "version": "1.2.3", "source": { "file": "./store.zip" }, "region": "r1",
                "data_dir": "/opt/store", "port": 7000, "workers": 8, "ui": true, "listen": ["10.0.0.1"],
                "interval": "1s", "log_level": "info", "token": null, "labels": { "site": "x", "rack": "a" },
                "services": [], "tls": { "cert": null },
            },
            "edge": { "domain": "example.org" },
        }),
        "defaults of the roles, included ones too, lie under what the inventory says"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever a slip of the keyboard makes of an inventory, it is answered with messages.
    #[test]
    fn no_typing_slip_ends_in_a_panic(
        slips in proptest::collection::vec((0_usize..2000, 0_usize..8, "[-{}\\[\\]:,#&*!|>'\"%@` \t\r\né東\u{1}0-9a-z~?<=.]{0,3}"), 1..5)
    ) {
        static ROLES: LazyLock<RoleSet> = LazyLock::new(small_roles);
        let mut text: Vec<char> = std::fs::read_to_string("tests/cases/inventory/correct.yaml").unwrap().chars().collect();
        for (at, removed, inserted) in slips {
            let at = at % text.len();
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        let (draft, mut problems) = inventory::parse(&text, Path::new("slip.yaml"));
        problems.extend(draft.iter().flat_map(|draft| roles::check(draft, &ROLES)));
        for problem in &problems {
            assert!(!report::problem(problem, true).is_empty());
            assert!(problem.help.as_deref() != Some(""), "{}", report::problem(problem, false));
        }
        if !problems.iter().any(Diagnostic::is_error) {
            assert!(draft.unwrap().inventory(None).is_some());
        }
    }
}

#[test]
fn large_inventories_are_fast() {
    let mut yaml = indoc! {r#"
        cluster: c1
        hosts:
          node-[1-3]: { address: "10.9.0.[1-3]" }
    "#}
    .to_owned();
    for rack in 0..20 {
        yaml += &format!("  rack{rack}-[1-100]: {{ address: \"10.{rack}.1.[1-100]\" }}\n");
    }
    yaml += "groups:\n  servers: { hosts: [\"node-*\"], roles: [store-server] }\n";
    yaml += "  racks: { hosts: [\"rack*\"], roles: [store-client], vars: { store: { workers: 2 } } }\n";
    yaml += "vars: { store: { version: 1.2.3 } }\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    std::fs::write(&path, yaml).unwrap();
    let started = std::time::Instant::now();
    let (inventory, _) = load(&path, &small_roles()).unwrap_or_else(|problems| panic!("{}", text(&problems)));
    assert_eq!(inventory.hosts.len(), 2003);
    // Unoptimised, on a busy machine; what this guards against takes minutes.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

fn bootstrap(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = assert_cmd::Command::cargo_bin("bootstrap").unwrap().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_tells_by_its_exit_code() {
    let roles = "tests/cases/inventory/roles";
    let (code, stdout, stderr) =
        bootstrap(&["check", "--roles", roles, "tests/cases/inventory/correct.yaml"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "7 hosts, 3 roles: ok\n", ""));

    let (code, stdout, stderr) =
        bootstrap(&["check", "--roles", roles, "tests/cases/inventory/two-servers.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "2 hosts, 1 role: ok, 1 warning\n"));
    assert!(stderr.starts_with("warning: 2 hosts have role"), "{stderr}");

    let (code, stdout, stderr) =
        bootstrap(&["check", "--roles", roles, "tests/cases/inventory/unknown-role.yaml"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.ends_with("error: 1 error in tests/cases/inventory/unknown-role.yaml\n"), "{stderr}");

    let (code, stdout, _) = bootstrap(&[
        "check",
        "--output",
        "json",
        "--roles",
        roles,
        "tests/cases/inventory/unknown-role.yaml",
    ]);
    let events: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(code, Some(2));
    assert_eq!(
        events[0]["place"],
        json!({
            "file": "tests/cases/inventory/unknown-role.yaml", "line": 5, "column": 41,
            "path": "groups.servers.roles[0]",
        })
    );
    assert_eq!(events[0]["excerpt"], "  servers: { hosts: [\"node-*\"], roles: [stor-server] }");
    assert_eq!(
        events[1],
        json!({ "event": "checked", "ok": false, "hosts": 0, "roles": 0, "errors": 1, "warnings": 0 })
    );
}

#[test]
fn init_writes_a_correct_inventory_and_overwrites_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.yaml");
    let file = file.to_str().unwrap();
    assert_eq!(bootstrap(&["init", file]).0, Some(0));
    assert_eq!(bootstrap(&["check", file]), (Some(0), "3 hosts, 1 role: ok\n".to_owned(), String::new()));
    std::fs::write(file, "mine").unwrap();
    let (code, _, stderr) = bootstrap(&["init", file]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("is there already") && stderr.contains("--force"), "{stderr}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
    assert_eq!(bootstrap(&["init", "--force", file]).0, Some(0));
    assert_eq!(bootstrap(&["check", file]).0, Some(0));
}

#[test]
fn roles_and_schema_describe_every_variable() {
    let (code, stdout, _) = bootstrap(&["roles", "consul-server"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("consul.version  (version; default "), "{stdout}");
    assert!(stdout.contains("consul.raft_multiplier  (integer; default 1)"), "{stdout}");
    let (code, _, stderr) = bootstrap(&["roles", "consul-sevrer"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        stderr.trim_end(),
        "error: there is no role `consul-sevrer`\n help: did you mean `consul-server`?"
    );
    let (_, stdout, _) = bootstrap(&["roles", "--output", "json"]);
    let roles: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(roles.as_array().unwrap().iter().any(|role| role["name"] == "consul-client"));

    let (code, stdout, _) = bootstrap(&["schema"]);
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let consul = &schema["$defs"]["Vars"]["properties"]["consul"]["properties"];
    assert_eq!(consul["dns_port"]["maximum"], 65535);
    assert_eq!(consul["log_level"]["enum"][0], "trace");
}
