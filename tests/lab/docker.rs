//! Docker on real hosts: containers that resolve Consul names, and an engine that somebody else set up before.

use std::time::Duration;

use crate::support::{Lab, poll};

const DAEMON: &str = "/etc/docker/daemon.json";

/// Laid out by hand, with keys that no role knows of.
const OWN: &str = "{ \"log-opts\": {\"max-size\":\"10m\",   \"max-file\":\"3\"},\n   \"storage-driver\" : \"vfs\",\n\t\"max-concurrent-uploads\":2 }\n";

/// Gives the servers the role.
fn with_docker(lab: &Lab) {
    lab.edit("[consul-server]", "[consul-server, docker]");
    lab.edit("    datacenter: dc1\n", "    datacenter: dc1\n  docker: { daemon: { storage-driver: vfs } }\n");
}

/// Lets every agent answer DNS on the address of its host, and the API on the loopback alone.
fn with_dns(lab: &Lab, hosts: &[&str]) {
    // Containers lose nothing that the hosts have.
    let own = lab.asks(hosts[0], "sed -n 's/^nameserver *//p' /etc/resolv.conf | head -n 1");
    let own = own.trim();
    lab.edit(
        "    datacenter: dc1\n",
        &format!("    datacenter: dc1\n    dns_port: 53\n    recursors: [{own}]\n"),
    );
    for host in hosts {
        let address = lab.address(host);
        let line = format!("{{ address: {address} }}");
        lab.edit(
            &line,
            &format!("{{ address: {address}, vars: {{ consul: {{ dns_addr: [{address}] }} }} }}"),
        );
    }
}

/// An image without any registry, and containers of it that do nothing.
fn start_containers(lab: &Lab, host: &str, names: &[&str]) {
    lab.asks(
        host,
        "DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends busybox-static && \
         cd /bin && tar c busybox | docker import - probe",
    );
    for name in names {
        lab.asks(
            host,
            &format!(
                "docker run -d --restart=always --stop-signal=KILL --name {name} probe /busybox sleep 100000"
            ),
        );
    }
}

/// What a program in a container is told about a name.
#[track_caller]
fn asked_in_a_container(lab: &Lab, host: &str, name: &str) -> String {
    lab.asks(host, &format!("docker run --rm probe /busybox nslookup {name}"))
}

fn daemon(lab: &Lab, host: &str) -> String {
    lab.asks(host, "systemctl show -p MainPID docker.service")
}

/// Runs: Docker: containers resolve Consul's names
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_containers_resolve_consul_names_beside_an_engine_that_was_there() {
    let lab = Lab::up(&["--hosts", "2"]);
    with_docker(&lab);
    lab.edit("[consul-client]", "[consul-client, docker]");
    with_dns(&lab, &["node-1", "node-2"]);

    // node-2 has an engine, a file and containers of its own.
    lab.asks(
        "node-2",
        "apt-get -q update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -q -y install \
         --no-install-recommends docker.io && systemctl is-active docker",
    );
    lab.asks("node-2", &format!("cat >{DAEMON} <<'E'\n{OWN}E\nsystemctl restart docker"));
    start_containers(&lab, "node-2", &["one", "two"]);
    let own = || lab.asks("node-2", &format!("stat -c '%a %U %G' {DAEMON}; cat {DAEMON}"));
    let bare = own();
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("restarts Docker: 2 containers stop"), "{planned}");
    assert!(!planned.contains("1 container "), "{planned}");

    lab.run("up", &[]).exits(0).says("restarts Docker: 2 containers stop").says("uses on");
    let merged = lab.asks("node-2", &format!("cat {DAEMON}"));
    let (kept, _) = OWN.rsplit_once(' ').expect("its last brace stands apart");
    assert!(merged.starts_with(kept), "{merged}");
    assert!(merged.contains(&format!("\"dns\": [\"{}\"]", lab.address("node-2"))), "{merged}");
    start_containers(&lab, "node-1", &[]);
    for host in ["node-1", "node-2"] {
        let said = asked_in_a_container(&lab, host, "consul.service.consul");
        assert!(said.contains(&lab.address("node-1")), "{host}: {said}");
        assert_eq!(lab.asks(host, "docker images -q | wc -l"), "1\n", "{host}: an image of ours was left");
    }

    let before = ["node-1", "node-2"].map(|host| (host, lab.logins(host)));
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in before {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
    }

    // What the daemon takes over while it runs does not stop a container.
    let running = daemon(&lab, "node-2");
    lab.edit("storage-driver: vfs", "storage-driver: vfs, debug: true, live-restore: true");
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("reload: /etc/docker/daemon.json changes"), "{planned}");
    lab.run("up", &[]).exits(0);
    assert_eq!(daemon(&lab, "node-2"), running, "the daemon was restarted");
    poll("live-restore is on", Duration::from_secs(10), || {
        (lab.asks("node-2", "docker info -f '{{.LiveRestoreEnabled}}'") == "true\n").then_some(())
    });

    // Nor does a restart from then on.
    let started = lab.asks("node-2", "docker inspect -f '{{.State.StartedAt}}' one two");
    lab.edit("live-restore: true", "live-restore: true, log-level: warn");
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("restart: /etc/docker/daemon.json changes"), "{planned}");
    assert!(!planned.contains("restarts Docker"), "{planned}");
    lab.run("up", &[]).exits(0);
    assert_ne!(daemon(&lab, "node-2"), running, "the daemon was not restarted");
    assert_eq!(lab.asks("node-2", "docker inspect -f '{{.State.StartedAt}}' one two"), started);

    // Without our memory of it: what runs is younger than its file.
    lab.asks("node-2", "sleep 1; systemctl restart docker; rm /var/lib/bootstrap/units/docker.service");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // What the first host does not start with, the next one does not get.
    let second = || (lab.asks("node-2", &format!("cat {DAEMON}")), daemon(&lab, "node-2"));
    let untouched = second();
    lab.edit("storage-driver: vfs", "storage-driver: none-such");
    let first = || lab.asks("node-1", &format!("sha256sum {DAEMON}; systemctl is-active docker"));
    let well = first();
    let failed = lab.run("up", &[]).exits(1).says("none-such").says("stopped after node-1 failed");
    assert!(failed.stderr.contains("put back as it was before"), "{}", failed.stderr);
    assert_eq!(second(), untouched);
    // Nor is the first one left without an engine, with a file that no daemon starts with.
    assert_eq!(first(), well);
    lab.edit("storage-driver: none-such", "storage-driver: vfs");
    lab.run("up", &[]).exits(0);
    assert_eq!(second(), untouched);

    // Without the role all is as it was: on node-2 an engine that runs, on node-1 none.
    lab.edit(", docker]", "]");
    lab.asks("node-2", "sed -i.true s/true/false/ /etc/docker/daemon.json && systemctl reload docker");
    poll("live-restore is off", Duration::from_secs(10), || {
        (lab.asks("node-2", "docker info -f '{{.LiveRestoreEnabled}}'") == "false\n").then_some(())
    });
    lab.asks("node-2", "mv /etc/docker/daemon.json.true /etc/docker/daemon.json");
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("restarts Docker: 2 containers stop"), "{planned}");
    lab.run("up", &[]).exits(0).says("restarts Docker: 2 containers stop");
    assert_eq!(own(), bare);
    lab.asks("node-2", "systemctl is-active docker && systemctl is-enabled docker");
    lab.ssh("node-1", &format!("test ! -e {DAEMON}")).exits(0);
    assert_eq!(lab.ssh("node-1", "systemctl is-active docker").stdout, "inactive\n");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Docker: a container that would lose the world outside is told, in each run, and not where the host has none
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_containers_find_what_their_host_finds() {
    let lab = Lab::up(&["--hosts", "1"]);
    with_docker(&lab);
    with_dns(&lab, &["node-1"]);
    let text = std::fs::read_to_string(lab.inventory()).unwrap();
    let recursors = text.lines().find(|line| line.contains("recursors:")).unwrap();
    let recursors = format!("{recursors}\n");
    // Nobody names it: it is where packages are from.
    let list = lab.asks("node-1", "cat /etc/apt/sources.list");
    let site = list.split_once("://").map(|(_, rest)| rest.split(['/', ':', ' ']).next().unwrap()).unwrap();
    lab.asks("node-1", &format!("getent ahostsv4 {site}"));

    lab.edit(&recursors, "");
    let said =
        format!("whom containers ask knows names outside: `{site}` is found by the host's own name servers");
    for _ in 0..2 {
        let lost =
            lab.run("up", &["--timeout", "20s"]).exits(4).says(&said).says("REFUSED").says("recursors");
        assert!(!lost.stderr.contains("Nothing to do"), "{}", lost.stderr);
    }
    lab.run("health", &[]).exits(1).says(&said);

    // The way out that it names.
    lab.edit("    dns_port: 53\n", &format!("    dns_port: 53\n{recursors}"));
    lab.run("up", &[]).exits(0).says("uses on");
    start_containers(&lab, "node-1", &[]);
    let answer = asked_in_a_container(&lab, "node-1", site);
    assert!(answer.contains("Address"), "{answer}");
    let before = lab.logins("node-1");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let made = lab.logins("node-1").since(before);
    assert_eq!((made.handshakes, made.sessions), (1, 1), "up with nothing to do");
    lab.run("health", &[]).exits(0);

    // A host without a way out: nobody need find what it does not find itself.
    lab.asks("node-1", "cp /etc/resolv.conf /root/; echo nameserver 192.0.2.1 >/etc/resolv.conf");
    lab.edit(&recursors, "");
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("health", &[]).exits(0);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_daemon_json_that_cannot_be_merged_is_left_alone() {
    let lab = Lab::up(&["--hosts", "1"]);
    with_docker(&lab);
    with_dns(&lab, &["node-1"]);
    lab.run("up", &[]).exits(0).says("uses on");
    let running = daemon(&lab, "node-1");
    let right = lab.asks("node-1", &format!("cat {DAEMON}"));
    let state =
        || lab.asks("node-1", &format!("ls -ld --time-style=full-iso {DAEMON}; cat {DAEMON} 2>&1 || true"));

    // One key too many: an engine before 23.0 cannot be asked, and yet does not get it.
    lab.edit("storage-driver: vfs", "storage-driver: vfs, none-such: 1");
    let before = state();
    lab.run("up", &[]).exits(1).says("don't match any configuration option: none-such").says("is unchanged");
    assert_eq!((state(), daemon(&lab, "node-1")), (before, running.clone()));
    lab.edit(", none-such: 1", "");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    for (make, says) in [
        ("printf '{\\n  \"dns\": [,]\\n}' >F", &["daemon.json is not a JSON object", "line 2 column 11"][..]),
        ("echo '[1]' >F", &["daemon.json is not a JSON object"]),
        ("mv F /etc/daemon.json; ln -s ../daemon.json F", &["a symbolic link to ../daemon.json"]),
        ("rm F; mkdir F", &["daemon.json is a folder"]),
        (
            "rm -r F; echo '{}' >F; cd /etc; mount --bind docker docker; mount -o remount,bind,ro docker",
            &["/etc/docker"],
        ),
    ] {
        lab.asks("node-1", &make.replace('F', DAEMON));
        let before = state();
        for command in ["plan", "up"] {
            let mut ran = lab.run(command, &[]).exits(1);
            for text in says {
                ran = ran.says(text);
            }
            assert!(ran.stderr.contains("node-1"), "{}", ran.stderr);
        }
        assert_eq!((state(), daemon(&lab, "node-1")), (before, running.clone()), "{make}");
    }
    lab.asks("node-1", &format!("umount /etc/docker; cat >{DAEMON} <<'E'\n{right}E"));
    lab.run("plan", &[]).exits(0);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_an_engine_that_validates_is_asked_first() {
    let lab = Lab::up(&["--hosts", "1", "--suite", "trixie"]);
    with_docker(&lab);
    // Beside the host's own names; nothing says where containers ask. Consul is told to answer everywhere, on the port of names.
    lab.edit("[consul-server, docker]", "[consul-server, dns, docker]");
    let everywhere = "    dns_port: 53\n    dns_addr: [0.0.0.0]\n";
    lab.edit("    datacenter: dc1\n", &format!("    datacenter: dc1\n{everywhere}"));
    // In the first run nothing runs yet that could be harmed, but the file is tried all the same.
    lab.edit("storage-driver: vfs", "storage-driver: vfs, none-such: 1");
    lab.run("up", &[]).exits(1).says("don't match any configuration option: none-such").says("is unchanged");
    lab.ssh("node-1", &format!("test ! -e {DAEMON}")).exits(0);
    lab.edit(", none-such: 1", "");
    lab.run("up", &[]).exits(0).says("uses on");
    start_containers(&lab, "node-1", &[]);
    let names_are_known = || {
        let said = asked_in_a_container(&lab, "node-1", "consul.service.consul");
        assert!(said.contains(&lab.address("node-1")), "{said}");
        let here = lab.asks("node-1", "getent hosts consul.service.consul");
        assert!(here.starts_with(&lab.address("node-1")), "{here}");
        lab.run("up", &[]).exits(0).says("Nothing to do");
    };
    names_are_known();
    // And by defaults alone.
    lab.edit(everywhere, "");
    lab.run("up", &[]).exits(0);
    names_are_known();
}
