//! etcd on hosts of its own, without Kubernetes: what becomes of its state when members are lost.

use std::time::Duration;

use crate::support::{ETCDCTL, Lab, poll};

/// The members as one of them has them: name and whether it has a vote.
fn voters(lab: &Lab, host: &str) -> Vec<String> {
    let list = lab.etcdctl(host, "member list --write-out simple");
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(", ").collect();
        (fields[5] == "false").then(|| fields[2].to_owned())
    };
    let mut voters: Vec<String> = list.lines().filter_map(of).collect();
    voters.sort();
    voters
}

/// Runs: etcd: one way between two followers is closed, and both are named; a drill of the leader under a writer; quorum lost for good, recovered on what is left; a snapshot that does not serve is put back
/// Walks: bring servers back, or start their agents; if they are lost for good
/// Walks: {reason}; {lost}: bring the others back, or where they are lost for good
/// Walks: start the servers that are down; if they are lost, `bootstrap recover`
/// Walks: bring it back, or take it out with `bootstrap remove-node`, and restore then
/// Walks: `bootstrap up` starts what is stopped; where quorum is lost for good, `bootstrap recover`
/// Walks: if nothing of it is needed, stop its agent and set the data aside on that host
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_etcd_quorum_that_is_lost_for_good() {
    let lab = Lab::of_etcd(5);
    lab.run("up", &[]).exits(0).says("5 of 5 voters");
    lab.etcdctl("node-1", "put first 1");

    // One way between two followers is closed: both are named, though all members are well. Who tries is no stranger to
    // their peers.
    let status = lab.etcdctl("node-1", "endpoint status --cluster --write-out simple");
    let follows = |host: &String| {
        let own = format!("//{}:", lab.address(host));
        status.lines().any(|line| line.contains(&own) && !line.contains(", true"))
    };
    let followers: Vec<String> = (1..=5).map(|number| format!("node-{number}")).filter(follows).collect();
    assert_eq!(followers.len(), 4, "{status}");
    let (from, to) = (&followers[0], &followers[1]);
    lab.lab(&["partition", from, "--to", to, "--port", "2380"]);
    let closed = format!("{from} cannot reach {to} at {}:2380", lab.address(to));
    lab.run("health", &[]).exits(4).says(&closed);
    lab.lab(&["heal", from]);
    lab.run("health", &[]).exits(0);
    for host in &followers {
        let rejected = lab.asks(host, "journalctl -u etcd | grep -F 'rejected connection on peer' || true");
        assert_eq!(rejected, "", "{host}");
    }
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let snapshot = saved.split_whitespace().last().unwrap().to_owned();
    lab.etcdctl("node-1", "put second 2");

    // A member that only SSH does not reach is not dead: its peers are connected to it.
    lab.without_ssh("node-5", 35);
    lab.run(
        "replace-node",
        &["node-5", "--name", "node-7", "--address", "10.77.0.17", "--yes", "--timeout", "4s"],
    )
    .exits(1)
    .says("raft of etcd on node-1 has node-5 as alive")
    .says("only a dead host is replaced");
    assert_eq!(voters(&lab, "node-1").len(), 5);
    poll("SSH reaches it again", Duration::from_secs(90), || {
        (lab.ssh("node-5", "true").status == 0).then_some(())
    });

    // Its leader is killed under a writer: another one leads, and nothing that was acknowledged is lost.
    let drilled = lab.run("drill", &["leader", "--yes"]).exits(0).stdout;
    let row = |name: &str| drilled.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("killed").ends_with(", the leader: its member of etcd"), "{drilled}");
    assert!(row("new leader").ends_with(" s") && row("lost").ends_with(" 0"), "{drilled}");
    let acknowledged = row("writes").split_whitespace().rev().nth(1).unwrap().parse::<u32>().unwrap();
    assert!(acknowledged > 40, "{drilled}");
    assert_eq!(lab.etcdctl("node-1", "get --prefix bootstrap-drill --keys-only"), "");

    // While quorum stands there is nothing to recover.
    let refused = lab.run("recover", &["--yes"]);
    assert_ne!(refused.status, 0);
    assert!(refused.stderr.contains("quorum stands"), "{}", refused.stderr);

    for host in ["node-3", "node-4", "node-5"] {
        lab.lab(&["kill", host]);
    }
    poll("the survivors have no leader", Duration::from_secs(30), || {
        (lab.ssh("node-1", &format!("{ETCDCTL} endpoint health")).status != 0).then_some(())
    });
    // Each way that is named leads to the one that leads out.
    // The dead are waited for that long each time.
    let brief = ["--timeout", "4s"];
    let health = lab.run("health", &brief).exits(4);
    assert!((health.stdout + &health.stderr).contains("bootstrap recover"), "health names the way out");
    for (command, options) in [
        ("remove-node", &["node-3", "--yes"][..]),
        ("remove-node", &["node-3", "--yes", "--force"]),
        ("replace-node", &["node-3", "--yes"]),
        ("snapshot restore", &[&snapshot, "--yes"]),
        ("snapshot save", &[]),
        ("up", &[]),
    ] {
        let refused = lab.run(command, &[options, &brief].concat());
        assert_ne!(refused.status, 0, "{command}: {}", refused.stderr);
        assert!(refused.stderr.contains("bootstrap recover"), "{command}: {}", refused.stderr);
    }
    lab.run("recover", &brief).exits(2).says("--yes");
    lab.run("recover", &["--yes"]).exits(0).says("2 of 2 voters").says("replace-node");
    for host in ["node-1", "node-2"] {
        assert_eq!(voters(&lab, host), ["node-1", "node-2"]);
        assert_eq!(lab.etcdctl(host, "get --print-value-only second"), "2");
    }
    lab.etcdctl("node-2", "put third 3");
    assert_eq!(
        lab.asks("node-2", "ls -d /var/lib/etcd/member.left-* | wc -l").trim().parse::<u32>().unwrap()
            + lab
                .asks("node-1", "ls -d /var/lib/etcd/member.left-* 2>/dev/null | wc -l")
                .trim()
                .parse::<u32>()
                .unwrap(),
        1
    );

    // One of the lost comes back with its old data: it is told, and harms nobody.
    lab.lab(&["start", "node-3"]);
    let refused = lab.run("up", &[]);
    assert_ne!(refused.status, 0);
    for text in ["node-3", "has the data of a member in /var/lib/etcd", "mv /var/lib/etcd/member"] {
        assert!(refused.stderr.contains(text), "`{text}` is not in\n{}", refused.stderr);
    }
    assert_eq!(voters(&lab, "node-1"), ["node-1", "node-2"]);
    lab.asks("node-3", "systemctl stop etcd; mv /var/lib/etcd/member /var/lib/etcd/member.left");
    // The first of the two is out, and the inventory still names the other; who waits to join still does.
    lab.run("remove-node", &["node-4", "--yes", "--timeout", "10s"])
        .exits(3)
        .says("2 of 2 voters")
        .says("pending on node-3: ");
    lab.run("remove-node", &["node-5", "--yes"]).exits(0).says("2 of 2 voters").says("pending on node-3: ");
    assert_eq!(voters(&lab, "node-1"), ["node-1", "node-2"]);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert_eq!(voters(&lab, "node-1"), ["node-1", "node-2", "node-3"]);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(lab.etcdctl("node-3", "get --print-value-only third"), "3");

    // What was brought there is of another inventory than the script on the hosts was: the members are three now.
    for host in ["node-1", "node-2", "node-3"] {
        lab.asks(host, "sed -i s/node-3=/node-9=/ /etc/etcd/bootstrap/etcd-restore");
    }
    lab.run("snapshot restore", &[&snapshot, "--yes"]).exits(0).says("3 of 3 voters");
    assert_eq!(lab.etcdctl("node-2", "get --print-value-only --prefix ''"), "1");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A snapshot that cannot serve, because no member can start: the state from before is back.
    lab.etcdctl("node-1", "put fourth 4");
    let hosts = ["node-1", "node-2", "node-3"];
    for host in hosts {
        lab.asks(
            host,
            "mkdir -p /etc/systemd/system/etcd.service.d && printf '[Service]\\nExecStartPre=+/usr/bin/test ! -d %s\\n' \
             /var/lib/etcd.before/member >/etc/systemd/system/etcd.service.d/x.conf && systemctl daemon-reload && \
             rm -r /var/lib/etcd.before",
        );
    }
    lab.run("snapshot restore", &[&snapshot, "--yes", "--timeout", "15s"])
        .exits(4)
        .says("the state that they had is back, and the members stand");
    assert_eq!(lab.etcdctl("node-3", "get --print-value-only fourth"), "4");
    for host in hosts {
        lab.asks(host, "rm -r /etc/systemd/system/etcd.service.d && systemctl daemon-reload");
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: etcd: the distribution's package with data of its own is refused, and taken over once that is set aside
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_somebody_elses_etcd_is_not_taken_over() {
    let lab = Lab::of_etcd(1);
    lab.asks(
        "node-1",
        "apt-get -q update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends \
         etcd-server etcd-client && systemctl start etcd && ETCDCTL_API=3 etcdctl put theirs 1",
    );
    let state = || {
        let look = "systemctl show -p FragmentPath -p MainPID -p ActiveState etcd; stat -c '%a %U %n' /var/lib/etcd /var/lib/etcd/*; \
                    ls -a /etc/systemd/system /etc/etcd 2>&1 || true; ETCDCTL_API=3 etcdctl get theirs";
        lab.asks("node-1", look)
    };
    let before = state();
    for command in ["up", "plan"] {
        lab.run(command, &[])
            .exits(1)
            .says("etcd.service (/lib/systemd/system/etcd.service) runs there")
            .says("/member, last written")
            .says("is not of cluster")
            .says("To leave it as it is, take the role");
    }
    let said = lab.run("check", &["--connect"]).exits(1).stderr;
    assert_eq!(state(), before);
    // What the message says leads on.
    let commands = said.split("on that host: `").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    lab.asks("node-1", &commands.split_whitespace().collect::<Vec<_>>().join(" "));
    lab.run("up", &[]).exits(0).says("1 of 1 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
