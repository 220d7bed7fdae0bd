//! A cluster that lives: hosts come, and the others are left as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::{Lab, Writer, assert_no_deprecation, poll};
use bootstrap::operations::COMMANDS;

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Which start of the agent this is, and what each file of it holds and when it was written.
const UNTOUCHED: &str = "systemctl show -p InvocationID consul; \
    find /etc/consul.d /opt/bootstrap /etc/systemd/system/consul.service /var/lib/bootstrap -type f \
    -exec stat -c '%n %Y' {} + -exec sha256sum {} + | sort";

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

/// Autopilot makes a server a voter after 1 s instead of 10: for tests that wait for many.
fn hasten(lab: &Lab) {
    let quick = "    extra_config: { autopilot: { server_stabilization_time: 1s } }";
    lab.edit("    datacenter: dc1", &format!("    datacenter: dc1\n{quick}"));
}

/// Another release, of a site that is gone: what is for bad days needs neither.
const NO_SITE: [&str; 2] =
    ["    source: { mirror: \"http://10.77.0.1:1\" }\n    signature: required", "    version: 1.99.0"];

/// An inventory that asks for it; the lines that it had before.
fn without_a_site(lab: &Lab) -> [String; 2] {
    let before = fs::read_to_string(lab.inventory()).unwrap();
    let line = |key: &str| before.lines().find(|line| line.trim_start().starts_with(key)).unwrap().to_owned();
    let lines = ["source:", "version:"].map(line);
    for (line, other) in lines.iter().zip(NO_SITE) {
        lab.edit(line, other);
    }
    lab.run("plan", &[]).exits(1).says("http://10.77.0.1:1");
    lines
}

fn with_its_site(lab: &Lab, lines: &[String; 2]) {
    for (line, other) in lines.iter().zip(NO_SITE) {
        lab.edit(other, line);
    }
}

#[track_caller]
fn assert_voters(lab: &Lab, count: usize) {
    let said = lab.asks("node-1", "consul operator raft list-peers");
    assert_eq!(said.matches(" true ").count(), count, "{said}");
    assert_eq!(said.matches(" leader ").count(), 1, "{said}");
}

/// Runs: Consul: servers join
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
    // Whom to join by they learn with the next `up`, and none restarts for that.
    lab.run("up", &[]).exits(0);
    let started = |lab: &Lab| THREE.map(|host| lab.asks(host, "systemctl show -p InvocationID consul"));
    let before = started(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(started(&lab), before);
}

/// Runs: Consul: a server joins, leaves, or takes the place of a dead one while a change of the others is pending, which waits for `up`
/// Walks: `bootstrap up {}` does it
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_who_joins_brings_no_pending_change_to_the_others() {
    let lab = Lab::up(&["--hosts", "4"]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let three: String =
        text.lines().filter(|line| !line.contains("node-4")).map(|line| format!("{line}\n")).collect();
    fs::write(lab.inventory(), three).unwrap();
    hasten(&lab);
    let add = ["node-4", "--address", "10.77.0.14", "--role", "consul-server"];
    // Nobody is there to be joined.
    lab.run("add-node", &add)
        .exits(4)
        .says("no cluster of consul-servers with a leader")
        .says("`bootstrap up`");
    lab.ssh("node-4", "test -e /etc/consul.d").exits(1);
    assert!(
        !fs::read_to_string(lab.inventory()).unwrap().contains("node-4"),
        "refused, and written all the same"
    );
    lab.run("up", &[]).exits(0).says("3 of 3 voters");

    lab.sets_consul("log_level: debug");
    let untouched = || THREE.map(|host| lab.asks(host, UNTOUCHED));
    let before = untouched();
    let pending = "pending on node-1, node-2, node-3: 2 files, 1 unit";
    lab.run("add-node", &[&add[..], &["--limit", "node-4"]].concat()).exits(2).says("leave out --limit");
    let joined = lab.run("add-node", &add).exits(0).says("4 of 4 voters").says(pending);
    assert!(joined.stderr.contains("`bootstrap up "), "{}", joined.stderr);
    assert_eq!(untouched(), before);
    assert_voters(&lab, 4);
    assert!(lab.asks("node-4", "cat /etc/consul.d/consul.json").to_lowercase().contains("debug"));

    // By its name, and by the same command again; also while something of its own is pending.
    let own = lab.asks("node-4", UNTOUCHED);
    for options in [&add[..1], &add] {
        lab.run("add-node", options)
            .exits(0)
            .says("node-4 is a member already of consul-servers")
            .says(pending);
    }
    lab.edit("log_level: debug", "log_level: trace");
    let both = "pending on node-4: 1 file, 1 unit";
    lab.run("add-node", &["node-4"]).exits(0).says("node-4 is a member already").says(pending).says(both);
    assert_eq!((untouched(), lab.asks("node-4", UNTOUCHED)), (before.clone(), own));

    lab.run("up", &[]).exits(0).says("4 of 4 voters");
    let after = untouched();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{after:?}");
    lab.run("add-node", &["node-4"]).exits(0).says("is a member already");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Nor does who leaves, or takes the place of a dead one.
    lab.edit("log_level: trace", "log_level: debug");
    // But for whom to join by.
    let kept = |host: &str| -> String {
        let all = lab.asks(host, UNTOUCHED);
        all.lines().filter(|line| !line.contains("join.json")).map(|line| format!("{line}\n")).collect()
    };
    let before = THREE.map(kept);
    lab.run("remove-node", &["node-4", "--yes"])
        .exits(0)
        .says("3 of 3 voters")
        .says("pending on node-1, node-2, node-3: ");
    assert_eq!(THREE.map(kept), before);
    lab.lab(&["kill", "node-3"]);
    let replace = ["node-3", "--name", "node-4", "--address", "10.77.0.14", "--yes"];
    lab.run("replace-node", &replace).exits(0).says("3 of 3 voters").says("pending on node-1, node-2: ");
    assert_eq!(["node-1", "node-2"].map(kept), before[..2]);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_health_finds_what_is_wrong() {
    let lab = Lab::up(&["--hosts", "4"]);
    lab.edit("[consul-client]", "[consul-client, dns]");
    // A file system that can be filled without harm.
    lab.asks("node-4", "mkdir -p /opt/consul && mount -t tmpfs -o size=700m none /opt/consul");
    lab.run("up", &[]).exits(0);
    let well = lab.run("health", &[]).exits(0);
    assert!(well.stdout.contains("3 of 3 voters"), "{}", well.stdout);
    assert!(well.stdout.contains("1 may fail"), "{}", well.stdout);
    assert!(well.stdout.ends_with("4 hosts: well\n"), "{}\n{}", well.stdout, well.stderr);

    /// What is done to a host, how `health` ends, what it says, and what undoes it.
    struct Fault {
        host: &'static str,
        make: &'static str,
        exits: i32,
        says: &'static [&'static str],
        mend: &'static str,
    }
    for Fault { host, make, exits, says, mend } in [
        Fault {
            host: "node-2",
            make: "systemctl stop consul",
            exits: 4,
            says: &["node-2: consul.service: ", "node-2: consul-servers: "],
            mend: "systemctl start consul",
        },
        Fault {
            host: "node-1",
            make: "cp -p /etc/consul.d/consul.json /root/; echo >>/etc/consul.d/consul.json",
            exits: 0,
            says: &["warning: node-1: ", "file /etc/consul.d/consul.json"],
            mend: "cp -p /root/consul.json /etc/consul.d/",
        },
        Fault {
            host: "node-4",
            make: "cp /etc/resolv.conf /root/; echo nameserver 127.0.0.9 >/etc/resolv.conf",
            exits: 1,
            says: &["node-4: dns: `consul.service.consul` has no address here"],
            mend: "cat /root/resolv.conf >/etc/resolv.conf",
        },
        Fault {
            host: "node-4",
            make: "fallocate -l 650M /opt/consul/filler",
            exits: 1,
            says: &["error: node-4: ", " MiB free where /opt/consul"],
            mend: "rm /opt/consul/filler",
        },
        Fault {
            host: "node-3",
            make: "printf '#!/bin/sh\nexec /bin/date -d \"+60 seconds\" \"$@\"\n' >/usr/local/bin/date; chmod 755 /usr/local/bin/date",
            exits: 1,
            says: &["node-3: its clock is"],
            mend: "rm /usr/local/bin/date",
        },
    ] {
        lab.asks(host, make);
        let found = lab.run("health", &[]).exits(exits);
        for text in says {
            assert!(
                found.stderr.contains(text),
                "{make}: `{text}` is not in\n{}{}",
                found.stdout,
                found.stderr
            );
        }
        lab.asks(host, mend);
        // Autopilot looks every two seconds, and may notice the fault when it is over already.
        let settled = Duration::from_secs(if exits == 4 { 5 } else { 0 });
        let mut since = None;
        poll(mend, Duration::from_secs(60), || {
            let well = lab.run("health", &[]).stdout.ends_with("hosts: well\n");
            since = since.filter(|_| well).or(well.then(Instant::now));
            since.filter(|since| since.elapsed() >= settled).map(drop)
        });
    }

    lab.lab(&["partition", "node-3"]);
    poll("node-3 is missed", Duration::from_secs(60), || {
        let found = lab.run("health", &[]);
        (found.status == 4 && found.stderr.contains("node-3")).then_some(())
    });
    let nagios = lab.run("health", &["--output", "nagios"]).exits(2);
    assert!(nagios.stdout.starts_with("BOOTSTRAP CRITICAL - dc1: 4 hosts, "), "{}", nagios.stdout);
    let prometheus = lab.run("health", &["--output", "prometheus"]).exits(4).stdout;
    assert!(
        prometheus.contains("bootstrap_gate_met{cluster=\"dc1\",gate=\"consul-servers\"} 0"),
        "{prometheus}"
    );
    lab.run("plan", &["--output", "nagios"]).exits(2).says("only `bootstrap health`");
}

/// Runs: Consul: hosts leave, a dead one is replaced
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_hosts_leave_and_a_dead_one_is_replaced() {
    let lab = Lab::up(&["--hosts", "5"]);
    // Three servers, a client, and a bare host that the inventory does not know.
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let clients = "[node-1, node-2, node-3], roles: [consul-server] }\n  clients: { hosts: [node-4], roles: [consul-client] }";
    let text = text.replace("[node-1, node-2, node-3, node-4, node-5], roles: [consul-server] }", clients);
    let ours: String =
        text.lines().filter(|line| !line.contains("node-5")).map(|line| format!("{line}\n")).collect();
    fs::write(lab.inventory(), ours).unwrap();
    lab.sets_consul("acl: auto");
    hasten(&lab);
    lab.run("up", &[]).exits(0).says("3 of 3 voters").says("1 of 1 clients joined");
    lab.asks("node-1", "consul kv put kept yes");
    let members = || lab.asks("node-1", "consul members");
    let inventory = || fs::read_to_string(lab.inventory()).unwrap();

    let site = without_a_site(&lab);
    lab.run("remove-node", &["node-4", "--yes"]).exits(0);
    assert!(!inventory().contains("node-4"), "{}", inventory());
    with_its_site(&lab, &site);
    assert!(
        !members().lines().any(|line| line.starts_with("node-4") && line.contains("alive")),
        "{}",
        members()
    );
    let unit = "systemctl is-active consul; ls /etc/systemd/system/consul.service /usr/local/bin/consul 2>/dev/null; true";
    assert_eq!(lab.asks("node-4", unit), "inactive\n");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A client that is dead says nothing of itself: a server is told.
    lab.run("add-node", &["node-4", "--address", &lab.address("node-4"), "--role", "consul-client"]).exits(0);
    lab.lab(&["kill", "node-4"]);
    lab.run("remove-node", &["node-4", "--yes"]).exits(0).says("forget");
    let seen = members();
    assert!(!seen.contains("node-4"), "{seen}");

    let before = inventory();
    lab.run("replace-node", &["node-2", "--yes"]).exits(1).says("it answers: only a dead host is replaced");
    assert_eq!(inventory(), before);
    lab.lab(&["kill", "node-2"]);
    let new =
        ["node-2", "--name", "node-5", "--address", &lab.address("node-5"), "--timeout", "60s", "--yes"];
    lab.run("replace-node", &new).exits(0).says("3 of 3 voters");
    assert!(!inventory().contains("node-2"), "{}", inventory());
    assert_voters(&lab, 3);
    let peers = lab.asks("node-1", "consul operator raft list-peers");
    assert!(peers.contains("node-5") && !peers.contains("node-2"), "{peers}");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Two that are left cannot spare each other: none restarts because it is one of two now.
    let started = || {
        ["node-1", "node-3"]
            .map(|host| lab.asks(host, "systemctl show -p ExecMainStartTimestampMonotonic consul"))
    };
    let before = started();
    lab.run("remove-node", &["node-5", "--yes"])
        .exits(0)
        .says("an odd number is better")
        .says("2 of 2 voters");
    assert_eq!(started(), before);
    assert_eq!(lab.asks("node-1", "consul kv get kept"), "yes\n");
    // Two servers of which one is dead decide nothing.
    lab.lab(&["kill", "node-3"]);
    poll("quorum is lost", Duration::from_secs(30), || {
        (lab.ssh("node-1", "consul kv get kept").status != 0).then_some(())
    });
    let before = inventory();
    lab.run("remove-node", &["node-3", "--timeout", "5s", "--yes"])
        .exits(4)
        .says("no other consul server has a leader");
    assert_eq!(inventory(), before);
}

/// Runs: Consul: snapshots are saved and put back
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_snapshots_come_back() {
    let lab = Lab::up(&["--hosts", "3"]);
    lab.run("up", &[]).exits(0);
    lab.asks("node-1", "consul kv put kept first");
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    assert!(saved.starts_with("consul "), "{saved}");
    let file = saved.trim().rsplit(' ').next().unwrap().to_owned();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{file}");
    lab.asks("node-1", "consul kv put kept second");

    let restore = |options: &[&str]| lab.run("snapshot restore", &[&[file.as_str()], options].concat());
    restore(&[]).exits(2).says("run it in a terminal, or with --yes");
    assert_eq!(lab.asks("node-1", "consul kv get kept"), "second\n");
    restore(&["--yes"]).exits(0);
    for host in THREE {
        assert_eq!(lab.asks(host, "consul kv get kept"), "first\n");
    }
    assert_eq!(lab.run("snapshot list", &[]).exits(0).stdout.lines().count(), 1);

    // Of another cluster, and damaged.
    let label = format!("{file}.json");
    let text = fs::read_to_string(&label).unwrap();
    fs::write(&label, text.replace("\"cluster_id\": \"", "\"cluster_id\": \"0")).unwrap();
    restore(&["--yes"]).exits(2).says("--foreign");
    restore(&["--yes", "--foreign"]).exits(0);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    restore(&["--yes", "--foreign"]).exits(1).says("no whole snapshot");
    let listed = lab.run("snapshot list", &[]).exits(1).stdout;
    assert!(listed.contains("cut short"), "{listed}");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Consul: a quorum that is lost is recovered
/// Walks: next: bootstrap replace-node {} {host}, once a bare host is there
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_quorum_that_is_lost_comes_back() {
    let lab = three_of_five();
    hasten(&lab);
    lab.run("up", &[]).exits(0);
    lab.asks("node-1", "consul kv put kept yes");
    lab.run("recover", &["--yes"]).exits(1).says("quorum stands");
    let site = without_a_site(&lab);
    lab.run("snapshot save", &[]).exits(0);
    lab.run("health", &[]).exits(0);
    lab.lab(&["kill", "node-3"]);
    lab.run("recover", &["--yes", "--timeout", "10s"]).exits(1);
    lab.lab(&["kill", "node-2"]);
    poll("nobody leads", Duration::from_secs(30), || {
        (lab.ssh("node-1", "consul kv get kept").status != 0).then_some(())
    });
    // What stands in the way is that nobody leads, not that something took long.
    lab.run("health", &["--timeout", "5s"]).exits(4).says("no quorum: 1 of 3 servers answer, 2 are needed");
    lab.run("recover", &["--timeout", "10s"]).exits(2).says("are given up").says("with --yes");
    lab.run("recover", &["--yes", "--timeout", "20s"]).exits(0).says("bootstrap replace-node");
    assert_eq!(lab.asks("node-1", "consul kv get kept"), "yes\n");
    assert_voters(&lab, 1);
    with_its_site(&lab, &site);
    // What stood is whole again with new hosts.
    for (old, new) in [("node-2", "node-4"), ("node-3", "node-5")] {
        let address = lab.address(new);
        lab.run("replace-node", &[old, "--name", new, "--address", &address, "--timeout", "8s", "--yes"]);
    }
    lab.run("up", &["--timeout", "60s"]).exits(0);
    assert_voters(&lab, 3);
    assert_eq!(lab.asks("node-5", "consul kv get kept"), "yes\n");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_drill_measures_what_clients_notice() {
    let lab = Lab::up(&["--hosts", "3"]);
    lab.run("up", &[]).exits(0);
    lab.run("drill", &["leader"]).exits(2).says("run it in a terminal, or with --yes");
    for options in [&["leader", "--yes"][..], &["host", "node-2", "--yes", "--power"]] {
        let drilled = lab.run("drill", options).exits(0).stdout;
        eprintln!("{drilled}");
        assert!(drilled.contains("\nlost             0\n"), "{drilled}");
        lab.run("up", &[]).exits(0).says("Nothing to do");
    }
    assert_eq!(lab.asks("node-1", "consul kv get -keys bootstrap-drill/ | wc -l").trim(), "0");
    lab.lab(&["kill", "node-3"]);
    lab.run("drill", &["leader", "--yes"]).exits(4).says("node-3 cannot be reached, and one is enough");
}

/// Runs: Consul: five servers roll under a writer
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_five_servers_roll_under_a_writer_and_roll_back() {
    let lab = Lab::up(&["--hosts", "6"]);
    lab.edit("[node-1, node-2, node-3], roles", "[node-1, node-2, node-3, node-4, node-5], roles");
    lab.edit("[node-4, node-5, node-6], roles", "[node-6], roles");
    lab.run("up", &[]).exits(0).says("5 of 5 voters").says("1 of 1 clients joined");
    let writer = Writer::at(&lab, "node-6");
    let raft = "systemctl show -p ExecMainStartTimestampMonotonic --value consul";
    let before: Vec<String> = (1..=5).map(|n| lab.asks(&format!("node-{n}"), raft)).collect();
    lab.edit("datacenter: dc1", "datacenter: dc1\n    log_level: debug");
    lab.run("up", &[]).exits(0).says("5 of 5 voters");
    let after: Vec<String> = (1..=5).map(|n| lab.asks(&format!("node-{n}"), raft)).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    let back = lab.run("up", &["--rollback"]).exits(0);
    assert!(back.stderr.contains("-    log_level: debug"), "{}", back.stderr);
    assert!(!lab.asks("node-1", "cat /etc/consul.d/consul.json").contains("DEBUG"));
    writer.assert_kept();
}

/// A living cluster of Debian's release becomes one of today's.
/// Runs: Consul: a living 1.8.7 of three servers and two clients is rolled to it under a writer
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_living_cluster_of_2020_rolls_to_today_under_a_writer() {
    let lab = Lab::up(&["--hosts", "6", "--consul", "1.8.7"]);
    lab.edit("[node-4, node-5, node-6], roles", "[node-4, node-5], roles");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let known: Vec<&str> = text.lines().filter(|line| !line.contains("node-6:")).collect();
    fs::write(lab.inventory(), known.join("\n")).unwrap();
    lab.sets_consul("acl: auto");
    lab.run("up", &[]).exits(0).says("3 of 3 voters").says("2 of 2 clients joined");
    let writer = Writer::at(&lab, "node-5");
    lab.edit("version: 1.8.7", "version: 1.14.11");
    let plan = lab.run("plan", &["--exit-code"]).exits(5);
    assert!(plan.stdout.contains("1.14.11"), "{}", plan.stdout);
    lab.run("up", &[]).exits(0).says("3 of 3 voters").says("2 of 2 clients joined");
    for host in ["node-1", "node-2", "node-3", "node-4", "node-5"] {
        assert!(lab.asks(host, "consul version").starts_with("Consul v1.14.11\n"), "{host}");
        let runs = lab.asks(
            host,
            "curl -s http://127.0.0.1:8500/v1/agent/self | grep -o '\"Version\": *\"[^\"]*\"' | head -n 1",
        );
        assert!(runs.contains("1.14.11"), "{host} runs {runs}");
        assert_no_deprecation(&lab, host);
    }
    assert_voters(&lab, 3);
    writer.assert_kept();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("health", &[]).exits(0);
}

/// Whoever has lost `.bootstrap`, or has another inventory of the same hosts, changes nothing, and takes no copy.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_cluster_that_is_not_ours_is_left_alone_by_every_command() {
    let lab = three_of_five();
    lab.run("up", &[]).exits(0);
    lab.asks("node-1", "consul kv put kept yes");
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let name = saved.trim().rsplit('/').next().unwrap();
    let state = lab.folder.path().join(".bootstrap");
    let away = lab.folder.path().join("away");
    fs::rename(&state, &away).unwrap();
    let file = away.join("dc1/snapshots").join(name).display().to_string();
    let before = fs::read_to_string(lab.inventory()).unwrap();
    let marker = lab.asks("node-1", "cat /var/lib/bootstrap/cluster");
    let started = || THREE.map(|host| lab.asks(host, "systemctl show consul -p InvocationID"));
    let invocations = started();
    for command in COMMANDS {
        let words: &[&str] = match command {
            "up" | "recover" | "certs renew" | "down" => &[],
            "add-node" => &["node-4", "--address", "10.77.0.14", "--role", "consul-client"],
            "remove-node" => &["node-2"],
            "forget" => &["node-9", "--yes"],
            "replace-node" => &["node-2", "--address", "10.77.0.14"],
            "snapshot restore" => &[&file, "--foreign", "--yes"],
            "drill" => &["leader", "--yes"],
            other => panic!("what is said to {other}?"),
        };
        let asks = matches!(command, "recover" | "down");
        let went = lab.run(command, &[words, if asks { &["--yes"] } else { &[] }].concat());
        went.exits(1).says("it belongs to cluster `dc1` (id");
        assert_eq!(fs::read_to_string(lab.inventory()).unwrap(), before, "{command}");
    }
    lab.run("snapshot save", &[]).exits(1).says("it belongs to cluster `dc1` (id");
    assert_eq!(started(), invocations);
    assert_eq!(lab.asks("node-1", "cat /var/lib/bootstrap/cluster"), marker);
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&away, &state).unwrap();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(lab.asks("node-1", "consul kv get kept"), "yes\n");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_cluster_goes_down_and_comes_back() {
    let lab = Lab::up(&["--hosts", "4"]);
    lab.run("up", &[]).exits(0);
    lab.asks("node-1", "consul kv put kept yes");
    // One that is up alone says nothing of the others, and they are members all the same.
    for host in ["node-1", "node-2"] {
        lab.asks(host, "systemctl stop consul");
    }
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("down", &[]).exits(2).says("run it in a terminal, or with --yes");
    let site = without_a_site(&lab);
    lab.run("down", &["--yes"]).exits(0);
    with_its_site(&lab, &site);
    for host in ["node-1", "node-4"] {
        let unit = "systemctl is-active consul; systemctl is-enabled consul; true";
        assert_eq!(lab.asks(host, unit), "inactive\ndisabled\n", "{host}");
    }
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert_eq!(lab.asks("node-1", "consul kv get kept"), "yes\n");
    lab.run("down", &["--yes", "--purge"]).exits(0);
    for host in ["node-1", "node-4"] {
        assert_ne!(lab.ssh(host, "test -e /opt/consul || test -e /var/lib/bootstrap").status, 0, "{host}");
    }
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert_eq!(lab.ssh("node-1", "consul kv get kept").stdout, "");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_rolling_change_stops_at_the_first_that_does_not_come_back() {
    let lab = Lab::up(&["--hosts", "3"]);
    lab.run("up", &[]).exits(0);
    let peers = lab.asks("node-1", "consul operator raft list-peers");
    let leader = THREE
        .into_iter()
        .find(|host| peers.lines().any(|line| line.starts_with(host) && line.contains(" leader ")));
    let first = THREE.into_iter().find(|host| Some(*host) != leader).unwrap();
    let folder = "/etc/systemd/system/consul.service.d";
    let broken = "[Service]\\nExecStartPre=/bin/false\\n";
    lab.asks(
        first,
        &format!("mkdir {folder} && printf '{broken}' >{folder}/broken.conf && systemctl daemon-reload"),
    );
    let started = "systemctl show -p ExecMainStartTimestampMonotonic --value consul";
    let others = || -> Vec<String> {
        let others = THREE.into_iter().filter(|host| *host != first);
        others.map(|host| lab.asks(host, started)).collect()
    };
    let before = others();
    lab.edit("datacenter: dc1", "datacenter: dc1\n    log_level: debug");
    let stopped = lab.run("up", &["--timeout", "30s"]);
    assert_ne!(stopped.status, 0, "{}", stopped.stderr);
    for text in [format!("error: {first}"), "stopped after a voter failed".to_owned()] {
        assert!(stopped.stderr.contains(&text), "`{text}` is not in\n{}", stopped.stderr);
    }
    assert_eq!(others(), before);
    // What made it fail is gone: the change goes on where it stopped.
    lab.asks(first, &format!("rm -r {folder} && systemctl daemon-reload"));
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert!(others().iter().zip(&before).all(|(now, before)| now != before));
}
