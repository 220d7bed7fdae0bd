//! Two operators, hosts that change under the plan, full disks, links that are cut: on real hosts.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{Lab, bootstrap, consul_release, poll};

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Nothing that a run makes on its way: partial files, staging folders, temporary folders.
#[track_caller]
fn assert_nothing_left(lab: &Lab) {
    for host in THREE {
        let left = lab.asks(
            host,
            "find /etc /opt /usr/local /var/lib/bootstrap /tmp -xdev \
             \\( -name '*.partial' -o -name '.*.bootstrap' -o -name '*.part.*' -o -name 'bootstrap.*' -o -name '.*.new' \\)",
        );
        assert_eq!(left, "", "{host}: left over");
        let incoming = lab.asks(host, "ls -A /var/lib/bootstrap/incoming 2>/dev/null || true");
        assert_eq!(incoming, "", "{host}: left over");
    }
}

#[track_caller]
fn assert_converged(lab: &Lab) {
    lab.run("up", &[]).exits(0).says("leader");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_nothing_left(lab);
}

/// Starts `up` and returns while it runs; what it says is in `up.log` of the lab's folder.
fn start_up(lab: &Lab, options: &[&str]) -> Child {
    let log = fs::File::create(lab.folder.path().join("up.log")).unwrap();
    bootstrap()
        .arg("up")
        .arg(lab.inventory())
        .args(options)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_the_second_of_two_operators_is_told_who_is_first() {
    let lab = Lab::up(&[]);
    lab.edit("ssh:\n", "ssh:\n  persist: 1m\n");
    // The first is slow: package managers take their time.
    let slow = "printf '#!/bin/sh\\nwhile [ -e /run/slow ]; do sleep 0.1; done\\nexec /usr/bin/apt-get \"$@\"\\n' \
                >/usr/local/sbin/apt-get && chmod 755 /usr/local/sbin/apt-get && touch /run/slow";
    for host in THREE {
        lab.ssh(host, slow).exits(0);
    }
    let mut first = start_up(&lab, &[]);
    let is_locked = || THREE.iter().all(|host| lab.ssh(host, "pgrep -x apt-get").status == 0);
    poll("the first is at work", Duration::from_secs(60), || is_locked().then_some(()));
    let before: Vec<String> =
        THREE.iter().map(|host| lab.asks(host, "find /etc /opt | sort | sha256sum")).collect();
    let refused = lab.run("up", &[]).exits(1).says("is locked by").says(&format!("pid {}", first.id()));
    assert!(refused.stderr.contains(" since 20"), "{}", refused.stderr);
    let after: Vec<String> =
        THREE.iter().map(|host| lab.asks(host, "find /etc /opt | sort | sha256sum")).collect();
    assert_eq!(before, after, "the second has changed something");
    // A look is no change, so it needs no lock.
    lab.run("plan", &["--exit-code"]).exits(5);

    // The first dies: its lock is free by itself, when its last step has ended.
    first.kill().unwrap();
    first.wait().unwrap();
    for host in THREE {
        lab.ssh(host, "rm /run/slow").exits(0);
    }
    assert_converged(&lab);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_file_that_changed_since_the_plan_is_not_overwritten() {
    let lab = Lab::up(&[]);
    // Somebody writes the file after it was looked at: the first lock is the sign of the first change.
    let intruder = "until [ -d /etc/consul.d ] && [ -s /run/bootstrap.lock ]; do sleep 0.01; done; \
                    echo '{ \"theirs\": true }' >/etc/consul.d/consul.json";
    lab.ssh("node-2", &format!("nohup sh -c '{}' >/dev/null 2>&1 &", intruder.replace('\'', "'\\''")))
        .exits(0);
    lab.run("up", &[])
        .exits(1)
        .says("/etc/consul.d/consul.json changed on the host since it was observed")
        .says("node-2");
    assert_eq!(lab.asks("node-2", "cat /etc/consul.d/consul.json"), "{ \"theirs\": true }\n");
    assert_eq!(lab.asks("node-2", "ls -A /etc/consul.d | grep bootstrap || true"), "");
    // Now it is part of what the plan shows.
    let planned = lab.run("plan", &[]).exits(0);
    assert!(planned.stdout.contains("theirs"), "{}", planned.stdout);
    assert_converged(&lab);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_full_disks_and_read_only_folders_do_no_damage() {
    let lab = Lab::up(&[]);
    lab.ssh("node-1", "mount -t tmpfs -o size=6m none /opt").exits(0);
    lab.ssh("node-3", "mkdir -p /etc/consul.d && mount --bind /etc/consul.d /etc/consul.d && mount -o remount,bind,ro /etc/consul.d")
        .exits(0);
    let refused = lab.run("up", &[]).exits(1);
    refused.says("node-1: 6 MiB free").says("node-3: /etc/consul.d, /etc/consul.d/tls cannot be written");
    for host in THREE {
        lab.ssh(host, "test ! -e /var/lib/bootstrap && test ! -e /opt/bootstrap").exits(0);
    }
    lab.ssh("node-1", "umount /opt").exits(0);
    lab.ssh("node-3", "umount /etc/consul.d && rmdir /etc/consul.d").exits(0);

    // There was room when it was looked at, and a moment later there is none.
    lab.ssh("node-1", "mount -t tmpfs -o size=320m none /opt").exits(0);
    let later = |what: &str| format!("nohup setsid sh -c '{what}' >/dev/null 2>&1 &");
    let fill = "until [ -d /opt/bootstrap ]; do sleep 0.005; done; head -c 400m /dev/zero >/opt/filler";
    lab.ssh("node-1", &later(fill)).exits(0);
    let freeze = "until [ -d /etc/consul.d ]; do sleep 0.005; done; mount --bind /etc/consul.d /etc/consul.d; \
                  mount -o remount,bind,ro /etc/consul.d";
    lab.ssh("node-3", &later(freeze)).exits(0);
    let failed = lab.run("up", &[]).exits(1).says("node-1").says("node-3");
    // curl and unzip each have their own words, and either may be the one that finds the disk full.
    let full = ["No space left on device", "disk full?"];
    assert!(full.iter().any(|words| failed.stderr.contains(words)), "{}", failed.stderr);
    assert!(failed.stderr.contains("Read-only file system"), "{}", failed.stderr);
    for host in ["node-1", "node-3"] {
        lab.ssh(host, "! systemctl is-active --quiet consul").exits(0);
    }
    lab.ssh("node-1", "test ! -e /usr/local/bin/consul && test -z \"$(find /opt -name consul -type f)\"")
        .exits(0);
    lab.ssh("node-1", "umount /opt").exits(0);
    lab.ssh("node-3", "umount /etc/consul.d").exits(0);
    assert_converged(&lab);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_link_cut_in_the_middle_of_a_transfer() {
    let lab = Lab::up(&[]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let start = text.find("source:").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    let [zip, _] = consul_release();
    lab.edit(&text[start..end], &format!("source: {{ file: {} }}", zip.display()));
    // Kills what serves the connection as soon as a part of the file is there.
    let cut = "until ls /var/lib/bootstrap/incoming/*.part.* >/dev/null 2>&1; do sleep 0.005; done; \
               for pid in $(pgrep -x sshd); do [ $pid = $(systemctl show -p MainPID --value ssh) ] || kill -9 $pid; done";
    lab.ssh("node-2", &format!("nohup setsid sh -c '{cut}' >/dev/null 2>&1 &")).exits(0);
    let failed = lab.run("up", &[]);
    assert_ne!(failed.status, 0, "{}", failed.stderr);
    let failed = failed.says("node-2").says("pushing").says("the link was cut");
    assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
    lab.ssh("node-2", "test ! -e /usr/local/bin/consul").exits(0);
    // The others were prepared all the same.
    for host in ["node-1", "node-3"] {
        lab.ssh(host, "test -x /usr/local/bin/consul").exits(0);
    }
    assert_converged(&lab);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_link_cut_in_the_middle_of_a_step_names_host_and_step() {
    let lab = Lab::up(&[]);
    let cut = "until [ -e /run/bootstrap.lock ]; do sleep 0.005; done; sleep 0.3; \
               for pid in $(pgrep -x sshd); do [ $pid = $(systemctl show -p MainPID --value ssh) ] || kill -9 $pid; done";
    lab.ssh("node-3", &format!("nohup setsid sh -c '{cut}' >/dev/null 2>&1 &")).exits(0);
    let failed = lab.run("up", &[]);
    assert_ne!(failed.status, 0, "{}", failed.stderr);
    failed.says("node-3").says("in stage prepare, step").says("held back");
    for host in ["node-1", "node-2"] {
        lab.ssh(host, "test -x /usr/local/bin/consul").exits(0);
    }
    assert_converged(&lab);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_kept_connection_saves_the_next_run_its_handshake() {
    let lab = Lab::up(&[]);
    lab.edit("ssh:\n", "ssh:\n  persist: 1m\n");
    lab.run("up", &[]).exits(0);
    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (0, 1), "{host}");
    }
    // A run that is over holds no lock, although its connection lives.
    lab.sets_consul("log_level: debug");
    lab.run("up", &[]).exits(0);
    for host in THREE {
        lab.ssh(host, "flock -n /run/bootstrap.lock true").exits(0);
    }
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_host_that_loses_power_while_it_installs() {
    let lab = Lab::up(&[]);
    let mut running = start_up(&lab, &["--timeout", "10s"]);
    // The download has begun: the release is half-way on the host.
    poll("node-2 installs", Duration::from_secs(60), || {
        (lab.ssh("node-2", "ls -d /opt/bootstrap/consul/*").status == 0).then_some(())
    });
    lab.lab(&["kill", "node-2"]);
    let ended = poll("up ends by itself", Duration::from_secs(90), || running.try_wait().unwrap());
    let log = fs::read_to_string(lab.folder.path().join("up.log")).unwrap();
    assert_ne!(ended.code(), Some(0), "{log}");
    assert!(log.contains("node-2: in stage prepare, step") && log.contains("held back"), "{log}");
    for host in ["node-1", "node-3"] {
        lab.ssh(host, "test -x /usr/local/bin/consul && ! systemctl is-active --quiet consul").exits(0);
    }
    lab.lab(&["start", "node-2"]);
    assert_converged(&lab);
}

/// Runs: Consul: one way between two followers is closed, and both are named
/// Walks: `bootstrap lab heal {host}` ends it
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_way_between_two_followers_that_is_closed_is_named() {
    let lab = Lab::up(&[]);
    lab.run("up", &[]).exits(0);
    let leader = lab.asks("node-1", "curl -sf http://127.0.0.1:8500/v1/status/leader");
    let followers: Vec<&str> =
        THREE.into_iter().filter(|host| !leader.contains(&format!("{}:", lab.address(host)))).collect();
    let [from, to] = followers[..] else { panic!("{leader} leads, and {followers:?} follow") };
    lab.lab(&["partition", from, "--to", to, "--port", "8300"]);
    let said = format!("{from} cannot reach {to} at {}:8300", lab.address(to));
    // All agents are well, and only the two of them know.
    lab.run("health", &[]).exits(4).says(&said);
    lab.run("up", &["--timeout", "20s"]).exits(4).says(&said);
    // The leader reaches both, so it goes on to lead: whoever came after it would be out of reach of one.
    let runs = |host: &str| lab.asks(host, "systemctl show --property InvocationID consul");
    let led = THREE.into_iter().find(|host| !followers.contains(host)).unwrap();
    let before = runs(led);
    lab.sets_consul("log_level: debug");
    lab.run("up", &["--timeout", "20s"]).exits(4).says(&said);
    assert_eq!(runs(led), before);
    assert!(lab.asks(from, "consul operator raft list-peers").contains("leader"));
    lab.lab(&["heal", from]);
    lab.run("health", &[]).exits(0);
    assert_converged(&lab);
}

/// Holds the lock of apt's lists, as a first boot's own update does; apt takes locks of POSIX alone.
const FIRST_BOOT: &str = r#"setsid perl -e '
use Fcntl;
open(my $lock, ">", "/var/lib/apt/lists/lock") or die;
fcntl($lock, F_SETLK, pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0)) or die;
sleep 8' >/dev/null 2>&1 </dev/null &"#;

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_curl_and_apt_as_they_are_found() {
    let lab = Lab::up(&["--hosts", "1"]);
    let roles = lab.folder.path().join("roles");
    std::fs::create_dir_all(roles.join("tool")).unwrap();
    let tool = |packages: &str| {
        let text = format!("doc: Packages.\nresources:\n  - package: {{ names: [{packages}] }}\n");
        std::fs::write(roles.join("tool/role.yaml"), text).unwrap();
    };
    let with_roles = ["--roles", roles.to_str().unwrap()];
    lab.edit("[consul-server]", "[tool, consul-server]");
    // A power cut in the middle of dpkg, a source that is gone, somebody at the lists, and root's own file for curl.
    lab.asks(
        "node-1",
        "touch /var/lib/dpkg/updates/0001; rm -rf /var/lib/apt/lists/*; mkdir -p /var/lib/apt/lists/partial
         echo 'deb http://10.77.0.1:7780/gone gone main' >/etc/apt/sources.list.d/gone.list
         printf 'include\\nfail-with-body\\nproxy = \"http://127.0.0.1:1\"\\n' >/root/.curlrc",
    );
    lab.asks("node-1", FIRST_BOOT);
    tool("figlet");
    lab.run("up", &with_roles).exits(0).says("1 of 1 voters");
    lab.ssh("node-1", "command -v figlet && test ! -e /var/lib/dpkg/updates/0001").exits(0);

    // What would cost the host another package is not done, and says so.
    lab.asks("node-1", "DEBIAN_FRONTEND=noninteractive apt-get -q -y install systemd-timesyncd >/dev/null 2>&1; dpkg -s systemd-timesyncd");
    tool("figlet, chrony");
    lab.run("up", &with_roles).exits(1).says("would be removed for it").says("apt-get install");
    lab.ssh("node-1", "dpkg -s systemd-timesyncd >/dev/null && ! command -v chronyd").exits(0);
    tool("figlet");
    lab.run("up", &with_roles).exits(0).says("Nothing to do");

    // The proxy that the host itself is set to is asked, and named.
    lab.asks(
        "node-1",
        "echo 'http_proxy=\"http://somebody:secret@10.77.0.1:9\"' >>/etc/environment; systemctl stop consul
         rm -rf /usr/local/bin/consul /opt/bootstrap /var/lib/bootstrap/releases; find / -xdev -name consul -type f -size +1M -delete",
    );
    let failed =
        lab.run("up", &with_roles).exits(1).says("by the proxy http://10.77.0.1:9, as this host is set");
    assert!(!failed.stderr.contains("secret"), "{}", failed.stderr);
}
