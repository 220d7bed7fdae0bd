//! Each way out that a message names leads out, on real hosts: the command is taken from the message and run as it stands there.
//! `tests/checks/remedies.rs` holds that every such message is walked, here or where its situation is at hand anyway.

use std::fs;
use std::time::Duration;

use crate::support::{Lab, consul, poll};

/// The inventory has these servers and clients, and no other host.
fn has(lab: &Lab, servers: &[&str], clients: &[&str]) {
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let (head, _) = text.split_once("hosts:\n").unwrap();
    let (_, vars) = text.split_once("\nvars:\n").unwrap();
    let of = |name: &str| name.trim_start_matches("node-").parse::<u8>().unwrap() + 10;
    let hosts: String = servers
        .iter()
        .chain(clients)
        .map(|name| format!("  {name}: {{ address: 10.77.0.{} }}\n", of(name)))
        .collect();
    let group = |name: &str, hosts: &[&str], role: &str| match hosts {
        [] => String::new(),
        hosts => format!("  {name}: {{ hosts: [{}], roles: [{role}] }}\n", hosts.join(", ")),
    };
    let groups = group("servers", servers, "consul-server") + &group("clients", clients, "consul-client");
    fs::write(lab.inventory(), format!("{head}hosts:\n{hosts}groups:\n{groups}vars:\n{vars}")).unwrap();
}

/// Autopilot makes a server a voter after 1 s instead of 10.
fn hasten(lab: &Lab) {
    lab.sets_consul("extra_config: { autopilot: { server_stabilization_time: 1s } }");
}

/// Asks until nothing is wrong any more: agents look in their own time. What waits for the next `up` is no fault.
#[track_caller]
fn is_well(lab: &Lab) {
    poll("all is well", Duration::from_secs(60), || {
        let said = lab.run("health", &[]);
        (said.status == 0 && !said.stderr.contains("gossip of") && !said.stderr.contains("may fail, "))
            .then_some(())
    });
}

/// What `health` says once it says this.
#[track_caller]
fn finds(lab: &Lab, text: &str) -> crate::support::Ran {
    poll(text, Duration::from_secs(60), || {
        let said = lab.run("health", &["--timeout", "5s"]);
        said.stderr.contains(text).then_some(said)
    })
}

/// Walks: where there was none yet, `bootstrap up` makes the first cluster
/// Walks: `systemctl disable --now {unit}`
/// Walks: say in the inventory what is wanted of it
/// Walks: to end its cluster: `bootstrap down {file}`
/// Walks: set the folder back; or move the data while all is stopped
/// Walks: set `gossip_encryption: false`; or take all agents down
/// Walks: `bootstrap plan --limit {host}` shows it, `bootstrap up` mends it
/// Walks: `bootstrap up` rolls it out, one server at a time
/// Walks: an older release need not read what this one has written
/// Walks: `bootstrap down` takes a whole cluster down
/// Walks: with three servers one may fail; `bootstrap add-node` adds some
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_ways_out_for_a_cluster_of_one_server() {
    let lab = Lab::up(&["--hosts", "4", "--consul", "1.8.7"]);
    has(&lab, &["node-1"], &[]);
    hasten(&lab);
    lab.sets_consul("gossip_encryption: false");

    // Bare hosts: there is nothing to recover, and nothing of that sort is said beside it.
    let said = lab.run("recover", &["--yes"]).exits(4).says("no consul server answers");
    assert!(!(said.stdout.clone() + &said.stderr).contains("Nothing to do"), "{}", said.stderr);

    // Somebody listens there, and somebody's file configures the agent.
    let squat = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8301, Listen => 1) or die; sleep 9000";
    lab.asks(
        "node-1",
        &format!(
            "echo '{squat}' >/root/squat.pl; printf '[Service]\\nExecStart=perl /root/squat.pl\\n' >/etc/systemd/system/squat.service; \
             systemctl daemon-reload && systemctl start squat"
        ),
    );
    poll("the port is taken", Duration::from_secs(10), || {
        (lab.ssh("node-1", "ss -Hltn sport = :8301 | grep -q .").status == 0).then_some(())
    });
    let refused = lab.run("up", &[]).exits(1).says("8301/tcp");
    lab.follow_on("node-1", &refused, "systemctl disable --now");
    lab.asks("node-1", "rm /etc/systemd/system/squat.service; systemctl daemon-reload");
    lab.asks("node-1", "mkdir -p /etc/consul.d && echo 'server = true' >/etc/consul.d/server.hcl");
    let refused = lab.run("up", &[]).exits(1).says("/etc/consul.d/server.hcl:1");
    lab.follow_on("node-1", &refused, "mv /etc/consul.d");
    lab.run("up", &[]).exits(0).says("1 of 1 voters");

    // The only host is not taken out of its own inventory.
    let refused = lab.run("remove-node", &["node-1", "--yes"]).exits(2);
    lab.follow(&refused, "down", &["--yes"]).exits(0);
    has(&lab, &["node-1"], &["node-2"]);
    lab.run("up", &[]).exits(0).says("1 of 1 clients joined");
    lab.asks("node-1", "consul kv put kept yes");
    let is_kept = || assert_eq!(lab.asks("node-1", "consul kv get kept"), "yes\n");

    // Its data goes elsewhere.
    lab.sets_consul("data_dir: /srv/consul");
    let refused = lab.run("up", &[]).exits(1).says("its data is in /opt/consul");
    lab.follow(&refused, "down", &["--yes"]).exits(0);
    for host in ["node-1", "node-2"] {
        lab.follow_on(host, &refused, "mv /opt/consul");
        lab.asks(host, "sed -i s#/opt/consul#/srv/consul# /etc/consul.d/consul.json");
    }
    lab.run("up", &[]).exits(0).says("1 of 1 voters");
    is_kept();

    // Its gossip was in clear.
    lab.edit("gossip_encryption: false", "gossip_encryption: true");
    let refused = lab.run("up", &[]).exits(1).says("gossip is not encrypted");
    lab.follow(&refused, "down", &["--yes"]).exits(0);
    lab.run("up", &[]).exits(0).says("1 of 1 voters");
    assert!(lab.asks("node-1", "consul info").contains("encrypted = true"), "gossip is in clear");
    is_kept();

    // What somebody changed.
    lab.asks("node-1", "echo >>/etc/consul.d/consul.json");
    let said = lab.run("health", &[]).exits(0).says("differs");
    assert!(said.stderr.contains("`bootstrap plan --limit node-1` shows it"), "{}", said.stderr);
    lab.run("plan", &["--limit", "node-1", "--exit-code"]).exits(5);
    lab.follow(&said, "up", &[]).exits(0);
    is_well(&lab);

    // A newer release, and back.
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let snapshot = saved.trim().rsplit(' ').next().unwrap().to_owned();
    let newer = format!("version: {}", consul());
    lab.edit("version: 1.8.7", &newer);
    let said = lab.run("health", &[]).exits(0).says("the inventory says");
    assert!(said.stderr.contains("`bootstrap up` rolls it out"), "{}", said.stderr);
    lab.follow(&said, "up", &[]).exits(0);
    is_well(&lab);
    lab.edit(&newer, "version: 1.8.7");
    let refused = lab.run("up", &[]).exits(1).says("an older release");
    lab.follow(&refused, "down", &["--yes"]).exits(0);
    lab.follow(&refused, "up", &[]).exits(0).says("1 of 1 voters");
    assert_eq!(lab.ssh("node-1", "consul kv get kept").stdout, "", "it is made anew");
    lab.follow(&refused, "snapshot restore", &[&snapshot, "--yes"]).exits(0);
    is_kept();

    // The only server neither leaves nor is killed for a trial.
    has(&lab, &["node-1"], &[]);
    lab.edit("10.77.0.11 }\n", "10.77.0.11 }\n  node-2: { address: 10.77.0.12 }\n");
    let refused = lab.run("remove-node", &["node-1", "--yes"]).exits(4).says("the only consul server");
    lab.follow(&refused, "down", &["--yes"]).exits(0);
    has(&lab, &["node-1"], &["node-2"]);
    lab.run("up", &[]).exits(0).says("1 of 1 voters");
    let refused = lab.run("drill", &["leader", "--yes"]).exits(4).says("quorum would be lost");
    for (name, address) in [("node-3", "10.77.0.13"), ("node-4", "10.77.0.14")] {
        lab.follow(&refused, "add-node", &[name, "--address", address, "--role", "consul-server"]).exits(0);
    }
    is_well(&lab);
    lab.run("drill", &["leader", "--yes"]).exits(0);
    is_well(&lab);
    is_kept();
}

/// Walks: `bootstrap health` says why; `bootstrap up` starts what is stopped
/// Walks: `journalctl -u {unit} -e` on it; `bootstrap up` starts what is stopped
/// Walks: `journalctl -u {unit} -e` on it; `bootstrap up` starts it
/// Walks: give it its role again, to keep it
/// Walks: {name} is in the inventory: `bootstrap remove-node` takes it out
/// Walks: write {name} into the inventory again, to keep it
/// Walks: {alive}: it would join again. Switch it off or stop its agent
/// Walks: to bring in a host as the inventory has it, written there by hand
/// Walks: name a host of {file}; a member that {file} does not name
/// Walks: if it is gone for good: `{forget}`
/// Walks: start its agent, or take the host out of the cluster
/// Walks: `bootstrap remove-node` takes a living host out
/// Walks: begin with `bootstrap up {} --shard 1/{}`, which makes them
/// Walks: to keep them or to take them out with
/// Walks: only a dead host is replaced: switch {host} off
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_ways_out_for_members_that_come_and_go() {
    let lab = Lab::up(&["--hosts", "6"]);
    has(&lab, &["node-1", "node-2", "node-3"], &["node-4", "node-6"]);
    hasten(&lab);
    // A part of the hosts before the servers, which are in the first.
    let early = lab.run("up", &["--shard", "2/2"]).exits(2).says("the keys of `dc1` are not in");
    lab.follow(&early, "up", &[]).exits(0).says("3 of 3 voters").says("1 of 1 clients joined");
    lab.run("up", &["--shard", "2/2"]).exits(0).says("1 of 1 clients joined");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let add = |name: &str, role: &str| {
        let address = format!("10.77.0.{}", name.trim_start_matches("node-").parse::<u8>().unwrap() + 10);
        lab.run("add-node", &[name, "--address", &address, "--role", role])
    };
    let inventory = || fs::read_to_string(lab.inventory()).unwrap();

    // A server's agent is stopped.
    lab.asks("node-2", "systemctl stop consul");
    let said = finds(&lab, "`bootstrap up` starts what is stopped");
    assert!(said.stderr.contains("`bootstrap up` starts it"), "{}", said.stderr);
    let drill = lab.run("drill", &["leader", "--yes"]).exits(4).says("`bootstrap up` starts what is stopped");
    lab.follow(&drill, "up", &[]).exits(0).says("3 of 3 voters");
    is_well(&lab);
    lab.run("drill", &["leader", "--yes"]).exits(0);
    is_well(&lab);

    // A server has lost its role, and goes on as a client.
    let before = inventory();
    lab.edit("[node-1, node-2, node-3]", "[node-1, node-2]");
    let refused = lab.run("up", &[]).exits(1).says("and its role for that is not in the inventory");
    fs::write(lab.inventory(), before).unwrap();
    lab.follow(&refused, "remove-node", &["--yes"]).exits(0).says("2 of 2 voters");
    add("node-3", "consul-client").exits(0);
    add("node-5", "consul-server").exits(0).says("3 of 3 voters");
    is_well(&lab);

    // Whom the inventory names is not forgotten.
    let refused = lab.run("forget", &["node-3", "--yes"]).exits(1).says("node-3 is in the inventory");
    lab.follow(&refused, "remove-node", &["node-3", "--yes"]).exits(0);
    add("node-3", "consul-client").exits(0);

    // It lives, and its line is gone.
    let before = inventory();
    has(&lab, &["node-1", "node-2"], &["node-3", "node-4", "node-6"]);
    let unnamed = lab.run("up", &[]).exits(1).says("a member of consul-servers and not in the inventory");
    let alive = lab.follow(&unnamed, "forget", &["--yes"]).exits(1).says("as alive");
    fs::write(lab.inventory(), before).unwrap();
    lab.follow(&alive, "remove-node", &["node-5", "--yes"]).exits(0).says("2 of 2 voters");
    add("node-5", "consul-server").exits(0).says("3 of 3 voters");

    // It is there already, with another address.
    let known =
        lab.run("add-node", &["node-5", "--address", "10.77.0.99", "--role", "consul-server"]).exits(2);
    lab.follow(&known, "add-node", &[]).exits(0).says("node-5 is a member already");
    is_well(&lab);

    // The same of a client, which stops nobody.
    let before = inventory();
    has(&lab, &["node-1", "node-2", "node-5"], &["node-4", "node-6"]);
    let unnamed = lab
        .run("up", &[])
        .exits(0)
        .says("consul has nodes that the inventory does not name: node-3 (10.77.0.13)");
    fs::write(lab.inventory(), before).unwrap();
    lab.follow(&unnamed, "remove-node", &["--yes"]).exits(0);
    add("node-3", "consul-client").exits(0);
    is_well(&lab);

    // Two clients are gone, with their lines: one by the product's own command, one by ours.
    for host in ["node-4", "node-6"] {
        lab.lab(&["kill", host]);
    }
    has(&lab, &["node-1", "node-2", "node-5"], &["node-3"]);
    finds(&lab, "gossip of node-1 has `node-6` (10.77.0.16) as failed");
    let said = finds(&lab, "`consul force-leave node-4`");
    lab.follow_on("node-1", &said, "consul force-leave node-4");
    let unknown = lab.run("remove-node", &["node-6", "--yes"]).exits(2).says("is not in the inventory");
    lab.follow(&unknown, "forget", &["--yes"]).exits(0);
    is_well(&lab);

    // A server's agent is stopped for good.
    lab.asks("node-5", "systemctl disable -q --now consul");
    let said = finds(&lab, "or take the host out of the cluster with `bootstrap remove-node`");
    lab.follow(&said, "remove-node", &["node-5", "--yes"]).exits(0);
    add("node-5", "consul-server").exits(0).says("3 of 3 voters");
    is_well(&lab);

    // Who answers is not replaced, nor who is only out of reach.
    let new = ["--name", "node-9", "--address", "10.77.0.19", "--yes"];
    let refused = lab.run("replace-node", &[&["node-5"][..], &new].concat()).exits(1).says("it answers");
    lab.follow(&refused, "remove-node", &["node-5", "--yes"]).exits(0);
    add("node-5", "consul-server").exits(0).says("3 of 3 voters");
    lab.without_ssh("node-5", 25);
    let refused =
        lab.run("replace-node", &[&["node-5"][..], &new].concat()).exits(1).says("has node-5 as alive");
    poll("SSH reaches it again", Duration::from_secs(60), || {
        (lab.ssh("node-5", "true").status == 0).then_some(())
    });
    lab.follow(&refused, "remove-node", &["node-5", "--yes"]).exits(0);
    lab.run("up", &[]).exits(0);
    is_well(&lab);
}

/// Walks: {}: nobody answered; its servers are started, and the same `bootstrap recover`
/// Walks: the same `bootstrap {command}` again
/// Walks: bring the missing servers back, or `bootstrap replace-node`
/// Walks: there is nothing to recover: `bootstrap replace-node` replaces a dead server
/// Walks: `bootstrap up` makes the first one, and then it can join
/// Walks: where quorum is lost for good, first `bootstrap recover`, and forget then
/// Walks: give it its role again, and bring the cluster back
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_ways_out_for_a_quorum_that_is_lost() {
    let lab = Lab::up(&["--hosts", "5"]);
    has(&lab, &["node-1", "node-2", "node-3"], &[]);
    hasten(&lab);
    // There is none yet that it could join.
    let refused = lab
        .run("add-node", &["node-4", "--address", "10.77.0.14", "--role", "consul-server"])
        .exits(4)
        .says("no cluster of consul-servers with a leader");
    lab.follow(&refused, "up", &[]).exits(0).says("3 of 3 voters");
    lab.asks("node-1", "consul kv put kept yes");
    let nothing_beside = |said: &crate::support::Ran| {
        let text = said.stdout.clone() + &said.stderr;
        assert!(!text.contains("Nothing to do"), "{text}");
    };

    // All are stopped: they are started, and asked again.
    for host in ["node-1", "node-2", "node-3"] {
        lab.asks(host, "systemctl stop consul");
    }
    let started = lab.run("recover", &["--yes"]).exits(4).says("nobody answered");
    started.says("  the same `bootstrap recover` again");
    is_well(&lab);
    let stands = lab.run("recover", &["--yes"]).exits(1).says("quorum stands");
    nothing_beside(&stands);

    // One is lost.
    lab.lab(&["kill", "node-3"]);
    finds(&lab, "bring the missing servers back, or `bootstrap replace-node`");
    let stands = lab.run("recover", &["--yes", "--timeout", "10s"]).exits(1).says("quorum stands");
    nothing_beside(&stands);
    let new = ["node-3", "--name", "node-4", "--address", "10.77.0.14", "--yes"];
    lab.follow(&stands, "replace-node", &new).exits(0).says("3 of 3 voters");
    is_well(&lab);

    // Two are lost, and one of them is in no inventory.
    for host in ["node-2", "node-4"] {
        lab.lab(&["kill", host]);
    }
    poll("nobody leads", Duration::from_secs(30), || {
        (lab.ssh("node-1", "consul kv get kept").status != 0).then_some(())
    });
    let brief = ["--yes", "--timeout", "5s"];
    let named = fs::read_to_string(lab.inventory()).unwrap();
    has(&lab, &["node-1", "node-2"], &[]);
    let refused = lab.run("forget", &[&["node-4"][..], &brief].concat()).exits(4).says("nobody leads");
    // Whether it lives nobody asks whom the inventory does not name.
    let unnamed = lab.follow(&refused, "recover", &brief).exits(4).says("node-4 (10.77.0.14) is a voter");
    unnamed.says("write it in again");
    fs::write(lab.inventory(), &named).unwrap();
    let add = ["node-5", "--address", "10.77.0.15", "--role", "consul-server"];
    let refused = lab.run("add-node", &[&add[..], &["--timeout", "5s"]].concat()).exits(4);
    lab.follow(&refused, "recover", &["--yes", "--timeout", "20s"]).exits(0);
    assert_eq!(lab.asks("node-1", "consul kv get kept"), "yes\n");
    has(&lab, &["node-1", "node-2"], &[]);
    lab.run("remove-node", &["node-2", "--yes"]).exits(0);
    lab.run("add-node", &add).exits(0).says("2 of 2 voters");
    is_well(&lab);

    // All servers have lost their role.
    let named = fs::read_to_string(lab.inventory()).unwrap();
    lab.edit("roles: [consul-server]", "roles: []");
    let refused = lab.run("up", &["--yes"]).exits(4).says("its own marker");
    nothing_beside(&refused);
    fs::write(lab.inventory(), &named).unwrap();
    lab.run("up", &[]).exits(0);
    lab.run("remove-node", &["node-5", "--yes"]).exits(0);
    lab.follow(&refused, "down", &["--yes"]).exits(0);
    assert_ne!(lab.ssh("node-1", "test -e /opt/consul || test -e /var/lib/bootstrap").status, 0);
}

/// Walks: on all but one: `rm -f /etc/machine-id /var/lib/dbus/machine-id`, `systemd-machine-id-setup`
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_way_out_for_twins() {
    let lab = Lab::up(&["--hosts", "2"]);
    let twin = lab.asks("node-1", "cat /etc/machine-id");
    lab.asks("node-2", &format!("echo {} >/etc/machine-id", twin.trim()));
    let refused = lab.run("up", &[]).exits(1).says("they have the same machine-id");
    lab.follow_on("node-2", &refused, "rm -f /etc/machine-id");
    lab.follow_on("node-2", &refused, "systemd-machine-id-setup");
    lab.lab(&["kill", "node-2"]);
    lab.lab(&["start", "node-2"]);
    lab.run("up", &[]).exits(0).says("1 of 1 clients joined");
}
