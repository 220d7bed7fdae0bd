//! A cluster that lives: hosts come, and the others are left as they are.

#[path = "support/lab.rs"]
mod support;

use std::fs;

use support::Lab;

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];

/// When the agent started, and what each file of it but the list of servers holds and when it was written.
const UNTOUCHED: &str = "systemctl show -p ExecMainStartTimestampMonotonic consul; \
    find /etc/consul.d /opt/bootstrap /etc/systemd/system/consul.service -type f ! -name join.json \
    -exec stat -c '%n %Y %s' {} + | sort";

/// Three servers and two bare hosts that the inventory does not know.
fn three_of_five() -> Lab {
    let lab = Lab::up(&["--hosts", "5"]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let ours: String = text
        .replace(", node-4, node-5]", "]")
        .lines()
        .filter(|line| !["node-4", "node-5"].iter().any(|name| line.contains(name)))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(!ours.contains("consul-client"), "{ours}");
    fs::write(lab.inventory(), ours).unwrap();
    lab
}

#[track_caller]
fn assert_voters(lab: &Lab, count: usize) {
    let said = lab.asks("node-1", "consul operator raft list-peers");
    assert_eq!(said.matches(" true ").count(), count, "{said}");
    assert_eq!(said.matches(" leader ").count(), 1, "{said}");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_two_more_servers_join_and_nobody_else_notices() {
    let lab = three_of_five();
    lab.run("up", &[]).exits(0);
    let before: Vec<String> = THREE.iter().map(|host| lab.asks(host, UNTOUCHED)).collect();
    let text = fs::read_to_string(lab.inventory()).unwrap();

    // What is wrong is found before the inventory is touched.
    let roles = ["--role", "consul-server"];
    let add = |words: &[&str]| lab.run("add-node", &[words, &roles].concat());
    add(&["node-3", "--address", "10.77.0.14"]).exits(2).says("`node-3` is in the inventory already");
    add(&["node-4", "--address", &lab.address("node-2")]).exits(2).says("node-2");
    lab.run("add-node", &["node-4", "--address", "10.77.0.14"]).exits(2).says("would have no role");
    lab.run("add-node", &["node-4", "--role", "consul-sever"]).exits(2).says("did you mean `consul-server`");
    add(&["node-4", "--address", "10.77.0.99", "--timeout", "3s"]).exits(1).says("10.77.0.99");
    assert_eq!(fs::read_to_string(lab.inventory()).unwrap(), text);

    add(&["node-4", "--address", "10.77.0.14"]).exits(0).says("4 of 4 voters").says("an even number");
    add(&["node-5", "--address", "10.77.0.15"]).exits(0).says("5 of 5 voters");
    assert_voters(&lab, 5);
    for (host, before) in THREE.iter().zip(before) {
        assert_eq!(lab.asks(host, UNTOUCHED), before, "{host}");
    }
    let text = fs::read_to_string(lab.inventory()).unwrap();
    for line in [
        "  node-5: { address: 10.77.0.15 }",
        "  servers: { hosts: [node-1, node-2, node-3, node-4, node-5], roles: [consul-server] }",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
