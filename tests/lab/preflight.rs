//! What `check --connect` finds on real hosts, and that it stops `up` before the first change.
//!
//! The hosts share one kernel and so one clock: skew is tested by table, in `src/preflight/clock.rs`
//! and `core/src/facts.rs`.

use crate::support::{Lab, Ran};
use serde_json::Value;

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Every file and link below the places that roles write to, with its digest.
fn snapshot(lab: &Lab) -> Vec<String> {
    let look = "find /etc /opt /usr/local /var/lib/bootstrap -xdev -type f -print0 2>/dev/null | sort -z \
                | xargs -0r sha256sum; dpkg-query -W | sha256sum";
    THREE.iter().map(|host| lab.asks(host, look)).collect()
}

fn check(lab: &Lab) -> Ran {
    lab.run("check", &["--connect"])
}

/// The JSON events of a check: findings, and the marks of all hosts.
fn events(lab: &Lab) -> (Vec<Value>, Value) {
    let ran = lab.run("check", &["--connect", "--output", "json"]);
    let mut events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.pop().unwrap_or_else(|| panic!("no events: {}", ran.stderr));
    assert_eq!(last["event"], "checked");
    (events, last)
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_fresh_hosts_are_fit_and_stay_so() {
    let lab = Lab::up(&[]);
    let bare = snapshot(&lab);
    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    let ran = check(&lab).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.stdout);
    for (line, host) in lines[1..4].iter().zip(THREE) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], host);
        assert_eq!(words[1..], ["ok"; 11], "{}", ran.stdout);
    }
    assert_eq!(lines[4], "3 hosts: ready");
    assert!(lines.iter().all(|line| line.len() <= 80), "{}", ran.stdout);
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 2), "{host}");
    }
    assert_eq!(snapshot(&lab), bare, "check changed something");
    assert!(!lab.folder.path().join(".bootstrap").exists(), "check wrote secrets");

    // The agents that run now have the ports themselves.
    lab.run("up", &[]).exits(0);
    let ran = check(&lab).exits(0);
    assert!(ran.stdout.contains("3 hosts: ready"), "{}\n{}", ran.stdout, ran.stderr);
    let (findings, checked) = events(&lab);
    assert!(findings.is_empty(), "{findings:?}");
    for host in THREE {
        let marks = checked["checks"][host].as_object().unwrap();
        assert!(marks.len() == 11 && marks.values().all(|mark| mark == "ok"), "{marks:?}");
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// What is wrong on one host, how it came and how it goes.
struct Fault {
    name: &'static str,
    host: &'static str,
    make: &'static str,
    end: &'static str,
    check: &'static str,
    /// Words of the reason and the remedy.
    says: &'static [&'static str],
    /// Whether `up` refuses.
    fails: bool,
}

const FAULTS: [Fault; 12] = [
    Fault {
        name: "port taken",
        host: "node-2",
        make: r#"printf '%s\n' 'use IO::Socket::INET;' \
                 'my $t = IO::Socket::INET->new(LocalPort => 8301, Listen => 1) or die;' \
                 'my $u = IO::Socket::INET->new(LocalPort => 8301, Proto => "udp") or die;' 'sleep 900;' >/root/squat.pl
                 systemd-run --quiet --unit=squat perl /root/squat.pl
                 for i in $(seq 50); do ss -Hlnu sport = :8301 | grep -q . && exit 0; sleep 0.1; done; exit 1"#,
        end: "systemctl stop squat; rm /root/squat.pl",
        check: "ports",
        says: &["8301/tcp, 8301/udp", "`perl`", "squat.service", "systemctl disable --now squat.service"],
        fails: true,
    },
    Fault {
        name: "noexec where links go",
        host: "node-2",
        make: "mount --bind /usr/local/bin /usr/local/bin && mount -o remount,bind,noexec /usr/local/bin",
        end: "umount /usr/local/bin",
        check: "paths",
        says: &["/usr/local/bin", "noexec", "mount -o remount,exec /usr/local/bin"],
        fails: false,
    },
    Fault {
        name: "noexec where programs go",
        host: "node-3",
        make: "mount --bind /opt /opt && mount -o remount,bind,noexec /opt",
        end: "umount /opt",
        check: "paths",
        says: &["/opt/bootstrap", "noexec", "mount -o remount,exec /opt"],
        fails: true,
    },
    Fault {
        name: "read-only target",
        host: "node-1",
        make: "mount --bind /etc/systemd/system /etc/systemd/system \
               && mount -o remount,bind,ro /etc/systemd/system",
        end: "umount /etc/systemd/system",
        check: "paths",
        says: &["/etc/systemd/system", "read-only", "mount -o remount,rw /etc/systemd/system"],
        fails: true,
    },
    Fault {
        name: "no room",
        host: "node-1",
        make: "mkdir -p /mnt/small /opt/bootstrap && mount -t tmpfs -o size=20m small /opt/bootstrap",
        end: "umount /opt/bootstrap && rmdir /opt/bootstrap /mnt/small",
        check: "disk",
        says: &["20 MiB free, 300 MiB needed", "/opt/bootstrap", "df -h /opt/bootstrap"],
        fails: true,
    },
    Fault {
        name: "same host name",
        host: "node-3",
        make: "hostname node-2",
        end: "hostname node-3",
        check: "ids",
        says: &["node-2, node-3", "host name `node-2`", "hostnamectl set-hostname"],
        fails: true,
    },
    Fault {
        name: "somebody else's configuration of the agent",
        host: "node-2",
        make: "mkdir -p /etc/consul.d && printf '# mine\\nserver = true\\nbootstrap_expect = 1\\n' >/etc/consul.d/server.hcl",
        end: "rm -r /etc/consul.d",
        check: "system",
        says: &[
            "/etc/consul.d/server.hcl:2 sets `server`",
            "role `consul-server`",
            "mv /etc/consul.d/server.hcl",
        ],
        fails: true,
    },
    Fault {
        name: "a drop-in that starts another program",
        host: "node-1",
        make: "mkdir -p /etc/systemd/system/consul.service.d && cd /etc/systemd/system/consul.service.d && \
               printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep infinity\\n' >mine.conf",
        end: "rm -r /etc/systemd/system/consul.service.d",
        check: "system",
        says: &[
            "consul.service.d/mine.conf:3 sets `ExecStart`",
            "a drop-in of consul.service",
            "take the role",
        ],
        fails: true,
    },
    Fault {
        name: "raft data of another cluster",
        host: "node-2",
        make: "mkdir -p /opt/consul/raft && echo old >/opt/consul/raft/raft.db && echo 0ld-1d >/opt/consul/node-id",
        end: "rm -r /opt/consul",
        check: "data",
        says: &["/opt/consul/raft/raft.db", "0ld-1d", "cluster `dc1`", "move it away"],
        fails: true,
    },
    Fault {
        name: "a host of another cluster",
        host: "node-3",
        make: r#"mkdir -p /var/lib/bootstrap && echo '{"cluster":"other","id":"0123"}' >/var/lib/bootstrap/cluster"#,
        end: "rm -r /var/lib/bootstrap",
        check: "data",
        says: &["cluster `other` (id 0123)", "cluster `dc1`", ".bootstrap/"],
        fails: true,
    },
    Fault {
        name: "a system like Red Hat's",
        host: "node-2",
        make: r#"rm /etc/os-release && mv /usr/bin/apt-get /root/
                 printf 'ID=rocky\nVERSION_ID=9.4\nPRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"\n' >/etc/os-release
                 printf '#!/bin/sh\n' >/usr/bin/dnf && chmod 755 /usr/bin/dnf"#,
        end: "ln -sf ../usr/lib/os-release /etc/os-release && rm /usr/bin/dnf && mv /root/apt-get /usr/bin/",
        check: "system",
        says: &["Rocky Linux 9.4 (Blue Onyx) installs packages by dnf", "Debian 11, 12 and 13"],
        fails: false,
    },
    Fault {
        name: "a system without a package manager that roles know",
        host: "node-3",
        make: "mv /usr/bin/apt-get /root/",
        end: "mv /root/apt-get /usr/bin/",
        check: "system",
        says: &["has none of apt, dnf and apk, and role `consul-server` needs `", "Debian 11, 12 and 13"],
        fails: true,
    },
];

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_each_fault_is_named_and_nothing_is_changed() {
    let lab = Lab::up(&[]);
    for Fault { name, host, make, end, check, says, fails } in FAULTS {
        lab.ssh(host, make).exits(0);
        let before = snapshot(&lab);
        let (findings, checked) = events(&lab);
        assert_eq!(
            checked["checks"][host][check],
            if fails { "error" } else { "warning" },
            "{name}: {checked}"
        );
        let about = |finding: &&Value| {
            finding["check"] == check && finding["hosts"].as_array().unwrap().iter().any(|name| name == host)
        };
        let found: Vec<&Value> = findings.iter().filter(about).collect();
        assert_eq!(found.len(), 1, "{name}: {findings:?}");
        let text = self::check(&lab).exits(i32::from(fails)).stderr;
        let refused = fails.then(|| lab.run("up", &[]).exits(1).stderr);
        for words in says {
            assert!(text.contains(words), "{name}: `{words}` is not in\n{text}");
            assert!(refused.as_ref().is_none_or(|said| said.contains(words)), "{name}: {refused:?}");
        }
        assert_eq!(snapshot(&lab), before, "{name}: something was changed");
        lab.ssh(host, end).exits(0);
    }
    check(&lab).exits(0);
}

/// What somebody has configured of a program that a role sets up: file, and what is said of it.
const CONFIGURED: [(&str, &str, &[&str]); 5] = [
    (
        "/etc/default/haproxy",
        "# mine\nCONFIG=/etc/mine.cfg\n",
        &["/etc/default/haproxy:2 says `CONFIG`", "sed -i '2s/^/#/'"],
    ),
    (
        "/etc/haproxy/haproxy.cfg",
        "global\nfrontend web\n  bind *:80\n",
        &["/etc/haproxy/haproxy.cfg:2 says `frontend`", "mv /etc/haproxy/haproxy.cfg", "other hosts"],
    ),
    (
        "/etc/keepalived/keepalived.conf",
        "vrrp_instance mine {\n}\n",
        &["/etc/keepalived/keepalived.conf:1 says `vrrp_instance`", "vip: false"],
    ),
    (
        "/etc/systemd/system/docker.service.d/dns.conf",
        "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --log-level=debug\n",
        &["docker.service.d/dns.conf:3 says `--log-level`", "daemon.json"],
    ),
    ("/snap/bin/docker", "", &["/snap/bin/docker is there", "snap remove docker"]),
];

/// Walks: have another host or a unit of its own serve that, and move the file away
/// Walks: move its addresses to other hosts, and the file away
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_what_else_configures_a_program_is_named() {
    let lab = Lab::up(&[]);
    let text = std::fs::read_to_string(lab.inventory()).unwrap();
    let ours = format!(
        "{}groups:\n  all: {{ hosts: [node-1], roles: [kube-endpoint, docker] }}\nvars:\n  docker: {{ daemon: {{ log-level: warn }} }}\n  \
         kube: {{ endpoint: {{ address: 10.77.0.250, vip: true }} }}\n",
        &text[..text.find("groups:").unwrap()],
    );
    std::fs::write(lab.inventory(), ours).unwrap();
    lab.run("check", &["--connect"]).exits(0);
    for (file, content, says) in CONFIGURED {
        let folder = file.rsplit_once('/').unwrap().0;
        lab.asks("node-1", &format!("mkdir -p {folder} && printf '{content}' >{file}"));
        let before = snapshot(&lab);
        for (command, options) in [("check", &["--connect"][..]), ("up", &[])] {
            let said = lab.run(command, options).exits(1).stderr;
            for words in says {
                assert!(said.contains(words), "{file}: `{words}` is not in\n{said}");
            }
            assert_eq!(said.matches("to take it over").count(), 1, "{file}: {said}");
        }
        assert_eq!(snapshot(&lab), before, "{file}: something was changed");
        let said = lab.run("check", &["--connect"]);
        match ["`sed ", "`mv "].iter().find(|start| said.stderr.contains(**start)) {
            Some(start) => lab.follow_on("node-1", &said, &start[1..]),
            None => drop(lab.asks("node-1", &format!("rm {file}"))),
        }
        lab.run("check", &["--connect"]).exits(0);
        // What a package asks about is not what this is about.
        lab.asks("node-1", &format!("rm -f {file} {file}.off"));
    }
    // What a package brings is no finding.
    lab.asks(
        "node-1",
        "apt-get -q update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends haproxy docker.io",
    );
    lab.run("check", &["--connect"]).exits(0);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_twins_and_addresses_of_others_are_named() {
    let lab = Lab::up(&[]);
    let own = lab.asks("node-2", "cat /etc/machine-id");
    let twin = lab.asks("node-1", "cat /etc/machine-id");
    let set = |id: &str| {
        let id = id.trim();
        lab.ssh("node-2", &format!("echo {id} >/etc/machine-id.new && cat /etc/machine-id.new >/etc/machine-id; rm /etc/machine-id.new"))
            .exits(0);
    };
    set(&twin);
    check(&lab)
        .exits(1)
        .says("node-1, node-2")
        .says(&format!("machine-id `{}`", twin.trim()))
        .says("systemd-machine-id-setup");
    lab.run("up", &[]).exits(1).says("machine-id");
    set(&own);

    let line = format!("address: {}", lab.address("node-3"));
    lab.edit(&line, &format!("{line}, cluster_address: 192.0.2.3"));
    let (_, checked) = events(&lab);
    assert_eq!(checked["checks"]["node-3"]["address"], "error", "{checked}");
    check(&lab)
        .exits(1)
        .says("node-3: it has no address 192.0.2.3 (it has 10.77.0.13 on host0")
        .says("cluster_address");
    lab.run("up", &[]).exits(1).says("192.0.2.3");
    lab.edit(", cluster_address: 192.0.2.3", "");
    for host in THREE {
        lab.ssh(host, "test ! -e /usr/local/bin/consul && test ! -e /var/lib/bootstrap").exits(0);
    }
    check(&lab).exits(0);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_ports_between_hosts_and_hosts_that_are_gone() {
    let lab = Lab::up(&[]);
    lab.lab(&["partition", "node-3"]);
    let ran = check(&lab).exits(1);
    for words in [
        "node-3: node-1, node-2 cannot reach it on 8300/tcp, 8301/tcp, 8301/udp, 8302/tcp, 8302/udp (no answer)",
        "node-3: it cannot reach node-1, node-2 on 8300/tcp, 8301/tcp, 8301/udp, 8302/tcp, 8302/udp (no answer)",
        "iptables -S INPUT",
    ] {
        assert!(ran.stderr.contains(words), "`{words}` is not in\n{}", ran.stderr);
    }
    assert!(ran.stdout.contains("3 hosts: 2 failures"), "{}", ran.stdout);
    lab.lab(&["heal", "node-3"]);
    check(&lab).exits(0);

    lab.lab(&["kill", "node-3"]);
    let ran =
        lab.run("check", &["--connect", "--timeout", "5s"]).exits(3).says("node-3").says("is the host up");
    let line = ran.stdout.lines().find(|line| line.starts_with("node-3")).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert_eq!(words[0], "FAIL", "{}", ran.stdout);
    assert_eq!(words[1..], ["-"; 10], "{}", ran.stdout);
    // The others are looked at all the same.
    let line = ran.stdout.lines().find(|line| line.starts_with("node-1")).unwrap();
    assert_eq!(line.split_whitespace().skip(1).collect::<Vec<_>>(), ["ok"; 11], "{}", ran.stdout);
}
