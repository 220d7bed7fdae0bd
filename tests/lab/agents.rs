//! The main path and its faults on real hosts with a real Consul. Needs root; `tests/run` installs
//! the rest and runs these one after another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use indoc::indoc;

use crate::support::{Lab, assert_no_deprecation, bootstrap, consul, consul_release, poll};

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Lines of `consul operator raft list-peers` as (node, state, voter).
#[track_caller]
fn peers(lab: &Lab, host: &str) -> Vec<(String, String, String)> {
    let table = lab.asks(host, "consul operator raft list-peers");
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), words[3].to_owned(), words[4].to_owned())
    };
    table.lines().skip(1).map(row).collect()
}

/// Three voters and one leader, the same seen from every host.
#[track_caller]
fn assert_quorum(lab: &Lab) {
    let first = peers(lab, "node-1");
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(first.iter().all(|(_, _, voter)| voter == "true"), "{first:?}");
    assert_eq!(first.iter().filter(|(_, state, _)| state == "leader").count(), 1, "{first:?}");
    for host in &THREE[1..] {
        assert_eq!(peers(lab, host), first, "{host} sees something else");
    }
}

/// Every file and link below the places that roles write to, with its digest.
fn snapshot(lab: &Lab, host: &str) -> String {
    lab.asks(
        host,
        "find /etc/consul.d /etc/systemd/system /usr/local/bin /opt /var/lib/bootstrap -type f -print0 \
         2>/dev/null | sort -z | xargs -0r sha256sum; dpkg-query -W | sha256sum; getent passwd consul || true",
    )
}

/// How many processes a look starts on a host, beside its own shell.
fn processes_of_a_look(lab: &Lab, host: &str) -> u32 {
    // In a namespace of their own they are numbered from 1 on: the shell that counts, the look's shell, and what that starts.
    let count = indoc! {r#"
        cat >/root/counting <<'END'
        #!/bin/sh
        exec unshare --pid --fork /root/counted
        END
        cat >/root/counted <<'END'
        #!/bin/sh
        eval "$SSH_ORIGINAL_COMMAND"
        read -r last </proc/sys/kernel/ns_last_pid
        echo "$((last - 2))" >>/root/processes
        END
        chmod 755 /root/counting /root/counted
        sed -i.all 's|^ssh-|command="/root/counting" ssh-|' /root/.ssh/authorized_keys"#};
    lab.asks(host, count);
    // systemctl takes such a namespace for a chroot and sees other units, so what the plan says is not looked at.
    lab.run("plan", &[]);
    let said = lab.asks(
        host,
        "mv /root/.ssh/authorized_keys.all /root/.ssh/authorized_keys; head -n 1 /root/processes",
    );
    said.trim().parse().unwrap()
}

/// Runs: Consul: bare hosts to a quorum, and nothing to do after
/// Walks: next: bootstrap up {inventory}
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_bare_hosts_to_a_quorum_and_then_nothing_to_do() {
    let lab = Lab::up(&[]);
    let bare: Vec<String> = THREE.iter().map(|host| snapshot(&lab, host)).collect();
    let planned = lab.run("plan", &["--exit-code"]).exits(5);
    assert!(planned.stdout.contains("consul.service"), "{}", planned.stdout);
    let after: Vec<String> = THREE.iter().map(|host| snapshot(&lab, host)).collect();
    assert_eq!(bare, after, "plan changed something");
    assert!(!lab.folder.path().join(".bootstrap/dc1/secrets.json").exists(), "plan wrote secrets");

    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    lab.run("up", &[]).exits(0).says("leader");
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!(made.handshakes, 1, "{host}: first up");
        // Three before the first gate, and one that tries the ways between servers when all is done.
        assert!(made.sessions <= 4, "{host}: first up took {} sessions", made.sessions);
    }
    assert_quorum(&lab);
    assert_no_deprecation(&lab, "node-1");

    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
    }
    let planned = lab.run("plan", &["--exit-code"]).exits(0);
    assert!(planned.stdout.contains("Nothing to do"), "{}", planned.stdout);

    let started = processes_of_a_look(&lab, "node-1");
    assert!(started <= 25, "a look has started {started} processes on its host");

    // What an operator would look for on a host.
    let modes = lab.asks("node-1", "stat -c '%n %a %U:%G' /etc/consul.d /etc/consul.d/* /opt/consul");
    for line in [
        "/etc/consul.d 750 root:consul",
        "/etc/consul.d/consul.json 640 root:consul",
        "/etc/consul.d/secrets.json 640 root:consul",
        "/opt/consul 700 consul:consul",
    ] {
        assert!(modes.contains(line), "{line} is not in\n{modes}");
    }
    assert_eq!(lab.asks("node-1", "systemctl is-enabled consul").trim(), "enabled");
    assert!(lab.asks("node-1", "consul info").contains("encrypted = true"), "gossip is in clear");

    // The gossip key: private here, and in nothing that is printed or logged.
    let secrets = lab.folder.path().join(".bootstrap/dc1/secrets.json");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets: serde_json::Value = serde_json::from_str(&fs::read_to_string(secrets).unwrap()).unwrap();
    let key = secrets["values"]["consul.gossip_key"].as_str().unwrap();
    assert!(lab.asks("node-2", "cat /etc/consul.d/secrets.json").contains(key));
    for log in fs::read_dir(lab.folder.path().join(".bootstrap/dc1/logs")).unwrap() {
        let log = log.unwrap();
        assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            !fs::read_to_string(log.path()).unwrap().contains(key),
            "{:?} has the gossip key",
            log.path()
        );
    }
}

/// Runs: Consul: clients join, services register
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_clients_join_and_services_register() {
    let lab = Lab::up(&["--hosts", "4"]);
    // Everything that a shell could take for its own: it must arrive byte for byte.
    let hostile = r#"it's "quoted" $(touch /tmp/pwned) `touch /tmp/pwned` \n %s ${HOME} ; & | ' ü"#;
    let service = serde_json::json!([{
        "name": "web", "port": 8080, "tags": ["a b", "$(touch /tmp/pwned)"],
        "meta": {"note": format!("{hostile}\nsecond line")},
        "check": {"ttl": "10m", "status": "passing"},
    }]);
    lab.sets_consul(&format!("services: {service}"));
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    let members = lab.asks("node-4", "consul members");
    assert_eq!(members.matches("alive").count(), 4, "{members}");
    assert_eq!(members.matches("client").count(), 1, "{members}");
    // An agent tells the catalog of its services in its own time, after it has joined.
    let catalog = poll("four instances in the catalog", Duration::from_secs(30), || {
        let said = lab.asks("node-1", "curl -s http://127.0.0.1:8500/v1/catalog/service/web");
        let catalog: serde_json::Value = serde_json::from_str(&said).unwrap();
        (catalog.as_array().unwrap().len() == 4).then_some(catalog)
    });
    assert_eq!(catalog[0]["ServiceMeta"]["note"].as_str().unwrap(), format!("{hostile}\nsecond line"));
    for host in ["node-1", "node-4"] {
        lab.ssh(host, "test ! -e /tmp/pwned").exits(0);
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A changed service reloads the agent; nothing restarts.
    let started = lab.asks("node-4", "systemctl show -p ExecMainStartTimestampMonotonic consul");
    lab.edit("\"port\":8080", "\"port\":8081");
    lab.run("up", &[]).exits(0);
    assert_eq!(lab.asks("node-4", "systemctl show -p ExecMainStartTimestampMonotonic consul"), started);
    poll("the new port in the catalog", Duration::from_secs(20), || {
        let said = lab.asks("node-1", "curl -s http://127.0.0.1:8500/v1/catalog/service/web");
        (said.matches("\"ServicePort\":8081").count() == 4).then_some(())
    });

    // A host that loses the role leaves, and what the role made goes; not without a yes.
    let text = fs::read_to_string(lab.inventory()).unwrap();
    lab.edit("roles: [consul-client]", "roles: []");
    let plan = lab.run("plan", &[]).exits(0).stdout;
    for said in [
        "leave consul-client",
        "leave consul",
        "remove consul-client",
        "remove file /etc/consul.d/consul.json",
    ] {
        assert!(plan.contains(said), "`{said}` is not in\n{plan}");
    }
    lab.run("up", &[]).exits(2).says("node-4 from consul-clients").says("--yes");
    assert_eq!(lab.asks("node-1", "consul members").matches("alive").count(), 4);
    let servers = lab.asks("node-1", "systemctl show -p InvocationID --value consul");
    lab.run("up", &["--yes"]).exits(0);
    let members = lab.asks("node-1", "consul members");
    assert!(!members.lines().any(|line| line.contains("node-4") && line.contains("alive")), "{members}");
    lab.ssh(
        "node-4",
        "test ! -e /etc/consul.d && test ! -e /etc/systemd/system/consul.service && ! pgrep -x consul",
    )
    .exits(0);
    assert_eq!(lab.asks("node-1", "systemctl show -p InvocationID --value consul"), servers);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    // Servers do not go by a line that is missing.
    lab.edit("roles: [consul-server]", "roles: []");
    lab.run("up", &["--yes"])
        .exits(4)
        .says("node-1")
        .says("its own marker")
        .says("bootstrap down INVENTORY --purge");
    fs::write(lab.inventory(), text).unwrap();
    lab.run("up", &[]).exits(0);
    assert_eq!(lab.asks("node-4", "consul members").matches("alive").count(), 4);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_one_of_three_is_unreachable_from_the_start() {
    let lab = Lab::up(&[]);
    lab.lab(&["kill", "node-3"]);
    lab.run("up", &["--timeout", "5s"]).exits(3).says("node-3").says("held back");
    // The others are prepared, and no server waits alone for a quorum that cannot come.
    for host in &THREE[..2] {
        lab.ssh(host, "test -x /usr/local/bin/consul && ! systemctl is-active --quiet consul").exits(0);
    }
    lab.lab(&["start", "node-3"]);
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);

    // Later, a dead follower is named and the others are left as they are.
    lab.lab(&["kill", "node-3"]);
    lab.run("up", &["--timeout", "5s"]).exits(3).says("node-3");
    lab.lab(&["start", "node-3"]);
    poll("node-3 is back", Duration::from_secs(60), || (lab.run("up", &[]).status == 0).then_some(()));
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_sudo_asks_for_a_password() {
    let lab = Lab::up(&["--user", "ops", "--sudo-password", "right horse"]);
    lab.run("up", &[]).exits(1).says("sudo asks for a password").says("--ask-become-pass");
    let wrong = [("BOOTSTRAP_BECOME_PASSWORD", "wrong horse")];
    let refused = lab.run_with("up", &[], &wrong).exits(1).says("sudo refuses the password");
    assert!(!refused.stderr.contains("wrong horse"));
    let right = [("BOOTSTRAP_BECOME_PASSWORD", "right horse")];
    lab.run_with("up", &[], &right).exits(0);
    lab.run_with("up", &[], &right).exits(0).says("Nothing to do");
    // A refused password is never tried again: one failure on at most one attempt per host.
    for host in THREE {
        let command = "echo 'right horse' | sudo -S journalctl -t sudo -o cat --no-pager 2>/dev/null";
        let log = lab.asks(host, command);
        let tries = log.matches("incorrect password attempt").count();
        assert!(tries <= 1 && !log.contains("incorrect password attempts"), "{host}:\n{log}");
    }
    for log in fs::read_dir(lab.folder.path().join(".bootstrap/dc1/logs")).unwrap() {
        let text = fs::read_to_string(log.unwrap().path()).unwrap();
        assert!(!text.contains(" horse"), "a password is in a log:\n{text}");
    }
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_sudo_without_password_and_ports_by_the_products_own_settings() {
    let lab = Lab::up(&["--user", "ops"]);
    lab.sets_consul("extra_config: { ports: { http: 9500, dns: 53 } }");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let said =
        lab.asks("node-1", "curl -sf --noproxy '*' http://127.0.0.1:9500/v1/status/leader && sudo ss -Hlun");
    assert!(said.contains(":8300") && said.contains("127.0.0.1:53 "), "{said}");
    lab.run("snapshot save", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_changed_host_key_is_refused() {
    let lab = Lab::up(&[]);
    let renew = "rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key";
    lab.ssh("node-2", &format!("cp -a /etc/ssh /root/ssh-before && {renew} && systemctl restart ssh"))
        .exits(0);
    lab.run("up", &["--timeout", "10s"]).exits(3).says("node-2").says("host key").says("has changed");
    for host in ["node-1", "node-3"] {
        lab.ssh(host, "! systemctl is-active --quiet consul").exits(0);
    }
    // Somebody at the console puts the known key back.
    lab.ssh_to_anybody(
        "node-2",
        "cp -a /root/ssh-before/ssh_host_ed25519_key* /etc/ssh/ && systemctl restart ssh",
    )
    .exits(0);
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
}

/// Runs: Consul: a release that was changed on its way is refused
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_broken_release_is_never_installed() {
    let lab = Lab::up(&[]);
    let mirror = lab.folder.path().join("mirror/consul").join(consul());
    fs::create_dir_all(&mirror).unwrap();
    let [zip, sums] = consul_release().map(|file| {
        let copy = mirror.join(file.file_name().unwrap());
        fs::copy(&file, &copy).unwrap();
        copy
    });
    assert!(sums.exists());
    let whole = fs::read(&zip).unwrap();
    let mut server = std::process::Command::new("python3")
        .args(["-m", "http.server", "--bind", "10.77.0.1", "8099", "--directory"])
        .arg(lab.folder.path().join("mirror"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    poll("the mirror listens", Duration::from_secs(10), || {
        std::net::TcpStream::connect("10.77.0.1:8099").ok()
    });
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let start = text.find("mirror:").unwrap();
    let end = start + text[start..].find('}').unwrap();
    lab.edit(&text[start..end], "mirror: \"http://10.77.0.1:8099\" ");

    let mut other = whole.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    for (broken, what) in [(other, "wrong digest"), (whole[..middle].to_vec(), "truncated")] {
        fs::write(&zip, broken).unwrap();
        let refused = lab.run("up", &[]).exits(1);
        assert!(refused.stderr.contains("_linux_amd64.zip"), "{what}:\n{}", refused.stderr);
        for host in THREE {
            let none =
                format!("test ! -e /usr/local/bin/consul && test ! -e /opt/bootstrap/consul/{}", consul());
            lab.ssh(host, &none).exits(0);
        }
    }
    fs::write(&zip, whole).unwrap();
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_stale_raft_data_and_foreign_hosts_are_refused() {
    let lab = Lab::up(&[]);
    lab.ssh("node-2", "mkdir -p /opt/consul/raft && echo old >/opt/consul/raft/raft.db && echo some-id >/opt/consul/node-id")
        .exits(0);
    let before: Vec<String> = THREE.iter().map(|host| snapshot(&lab, host)).collect();
    lab.run("up", &[]).exits(1).says("node-2").says("/opt/consul/raft/raft.db").says("some-id");
    let after: Vec<String> = THREE.iter().map(|host| snapshot(&lab, host)).collect();
    assert_eq!(before, after, "something was changed");
    lab.ssh("node-2", "rm -r /opt/consul").exits(0);

    lab.ssh("node-3", r#"mkdir -p /var/lib/bootstrap && echo '{"cluster":"other","id":"0123"}' >/var/lib/bootstrap/cluster"#)
        .exits(0);
    lab.run("up", &[]).exits(1).says("node-3").says("cluster `other` (id 0123)");
    lab.ssh("node-3", "rm /var/lib/bootstrap/cluster").exits(0);

    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    // Without the secrets the same name is another cluster.
    fs::remove_dir_all(lab.folder.path().join(".bootstrap")).unwrap();
    lab.run("up", &[]).exits(1).says("belongs to cluster");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_configuration_that_consul_refuses() {
    let lab = Lab::up(&[]);
    lab.sets_consul("extra_config: { no_such_key: 1 }");
    lab.run("up", &[]).exits(1).says("file /etc/consul.d/consul.json").says("no_such_key");
    for host in THREE {
        let left = lab.asks(host, "ls -A /etc/consul.d");
        assert_eq!(left.trim(), "tls", "{host}: something that the agent would read was left behind");
    }
    lab.edit("extra_config: { no_such_key: 1 }", "extra_config: {}");
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_unit_that_never_starts_shows_its_journal() {
    let lab = Lab::up(&[]);
    // Nobody has that address: the configuration is valid and the agent cannot run with it.
    lab.sets_consul("extra_config: { bind_addr: 192.0.2.1 }");
    lab.run("up", &["--timeout", "20s"]).exits(1).says("unit consul.service").says("bind");
    lab.edit("extra_config: { bind_addr: 192.0.2.1 }", "extra_config: {}");
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Consul: a living cluster changes one member at a time
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_living_cluster_changes_one_member_at_a_time() {
    let lab = Lab::up(&[]);
    lab.run("up", &[]).exits(0);
    let leader = peers(&lab, "node-1").into_iter().find(|(_, state, _)| state == "leader").unwrap().0;
    lab.sets_consul("log_level: debug");
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    // The hosts share one kernel, so their monotonic clocks are one.
    let moment = |host: &str, what: &str| -> u64 {
        let said = lab.asks(host, &format!("systemctl show -p {what}TimestampMonotonic --value consul"));
        said.trim().parse().unwrap()
    };
    let mut restarts: Vec<(u64, u64, &str)> =
        THREE.iter().map(|host| (moment(host, "InactiveExit"), moment(host, "ActiveEnter"), *host)).collect();
    restarts.sort_unstable();
    assert_eq!(restarts[2].2, leader, "the leader restarts last: {restarts:?}");
    for pair in restarts.windows(2) {
        assert!(pair[0].1 < pair[1].0, "one began before the one before was back: {restarts:?}");
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_sshd_that_forbids_forwarding_and_allows_one_session() {
    let lab = Lab::up(&[]);
    // The hosts themselves ask, and make the tokens.
    lab.sets_consul("acl: auto");
    let config = "printf 'AllowTcpForwarding no\\nAllowStreamLocalForwarding no\\nMaxSessions 1\\n' \
                  >/etc/ssh/sshd_config.d/00-narrow.conf && systemctl restart ssh";
    for host in THREE {
        lab.ssh(host, config).exits(0);
    }
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Walks: `bootstrap up {}`
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_ctrl_c_finishes_the_step_and_says_how_to_go_on() {
    let lab = Lab::up(&[]);
    let log = lab.folder.path().join("up.log");
    let mut running =
        bootstrap().arg("up").arg(lab.inventory()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    poll("the first step has ended", Duration::from_secs(60), || {
        fs::read_to_string(&log).unwrap().contains("package").then_some(())
    });
    // SAFETY-free: `kill` by the pid of our own child.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    let status = running.wait().unwrap();
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("carries on from there"), "{said}");
    for host in THREE {
        lab.ssh(host, "! systemctl is-active --quiet consul").exits(0);
    }
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
}

/// Runs: Consul: `up` is killed, the next one carries on
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_killed_in_the_middle_it_carries_on() {
    let lab = Lab::up(&[]);
    let log = lab.folder.path().join("up.log");
    let mut running =
        bootstrap().arg("up").arg(lab.inventory()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    poll("the release is on its way", Duration::from_secs(60), || {
        fs::read_to_string(&log).unwrap().contains("directory").then_some(())
    });
    running.kill().unwrap();
    running.wait().unwrap();
    // The scripts on the hosts may still hold their locks for a moment.
    poll("up carries on", Duration::from_secs(60), || {
        let ran = lab.run("up", &[]);
        assert!(ran.status == 0 || ran.stderr.contains("locked by"), "{}", ran.stderr);
        (ran.status == 0).then_some(())
    });
    assert_quorum(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_local_zip_is_pushed_and_debian_s_package_works() {
    let lab = Lab::up(&[]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let start = text.find("source:").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    let [zip, _] = consul_release();
    lab.edit(&text[start..end], &format!("source: {{ file: {} }}", zip.display()));
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    drop(lab);

    let lab = Lab::up(&["--suite", "bullseye"]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let start = text.find("source:").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    lab.edit(&text[start..end], "source: package");
    lab.edit(&format!("version: {}", consul()), "version: 1.8.7");
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// A role of the test's own, outside the repository, with one resource of each kind but `kernel-module`:
/// a container sees neither modules to load nor those that are loaded.
const EVERY_KIND: &str = r#"
doc: One resource of each kind.
variables:
  kinds.greeting: { type: string, default: hello, doc: What the file says. }
resources:
  - package: { names: [figlet] }
  - user: { name: www, uid: 2020, home: /srv/www }
  - directory: { path: /srv/www, mode: "0750", owner: www, group: www }
  - file:
      path: /srv/www/greeting
      content: "{{ kinds.greeting }} from {{ facts.hostname }} at {{ host.cluster_address }}\n"
      owner: www
      group: www
      mode: "0640"
  - json-merge: { path: /etc/kinds.json, content: "{{ {'dns': [host.cluster_address], 'old': none} | json }}" }
  - block-in-file: { path: /etc/kinds.conf, marker: kinds, content: "greeting = {{ kinds.greeting }}" }
  - exec: { name: first run, command: [touch, /srv/www/first-run], creates: /srv/www/first-run }
  - sysctl: { key: net.ipv4.conf.all.log_martians, value: "1" }
  - mount: { what: tmpfs, where: /srv/scratch, type: tmpfs, options: "size=1m" }
  - file:
      path: /etc/systemd/system/kinds.service
      content: "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
  - unit: { name: kinds.service, restart_on: [/srv/www/greeting] }
"#;

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_role_from_outside_with_every_kind_of_resource() {
    let lab = Lab::up(&["--hosts", "1"]);
    let roles = lab.folder.path().join("roles");
    fs::create_dir_all(roles.join("kinds")).unwrap();
    fs::write(roles.join("kinds/role.yaml"), EVERY_KIND).unwrap();
    let with_roles = ["--roles", roles.to_str().unwrap()];
    lab.edit("roles: [consul-server]", "roles: [kinds]");
    lab.edit("address: 10.77.0.11", "address: 10.77.0.11, cluster_interface: host0");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), text.split("vars:").next().unwrap()).unwrap();

    lab.ssh(
        "node-1",
        r#"printf '{"log": 1, "old": true, "dns": []}\n' >/etc/kinds.json; echo before >/etc/kinds.conf"#,
    )
    .exits(0);
    lab.run("up", &with_roles).exits(0);
    lab.run("up", &with_roles).exits(0).says("Nothing to do");
    assert_eq!(lab.asks("node-1", "cat /srv/www/greeting"), "hello from node-1 at 10.77.0.11\n");
    assert_eq!(lab.asks("node-1", "stat -c '%a %u:%G' /srv/www/greeting").trim(), "640 2020:www");
    let merged: serde_json::Value = serde_json::from_str(&lab.asks("node-1", "cat /etc/kinds.json")).unwrap();
    assert_eq!(merged, serde_json::json!({"log": 1, "dns": ["10.77.0.11"]}));
    let conf = lab.asks("node-1", "cat /etc/kinds.conf");
    assert!(conf.starts_with("before\n") && conf.contains("\ngreeting = hello\n"), "{conf}");
    assert_eq!(lab.asks("node-1", "cat /proc/sys/net/ipv4/conf/all/log_martians").trim(), "1");
    assert_eq!(lab.asks("node-1", "findmnt -no FSTYPE /srv/scratch").trim(), "tmpfs");
    lab.ssh("node-1", "test -e /srv/www/first-run && command -v figlet").exits(0);

    // What the unit watches changes: it restarts, in this run and once.
    let pid = || lab.asks("node-1", "systemctl show -p MainPID --value kinds");
    let first = pid();
    fs::write(roles.join("kinds/role.yaml"), EVERY_KIND.replace("default: hello", "default: goodbye"))
        .unwrap();
    lab.run("up", &with_roles).exits(0);
    assert_ne!(pid(), first, "the unit was not restarted");
    lab.run("up", &with_roles).exits(0).says("Nothing to do");

    // A file that somebody edits drifts, shows as a diff, and is put right.
    lab.ssh("node-1", "echo edited >/srv/www/greeting").exits(0);
    let planned = lab.run("plan", &["--exit-code", with_roles[0], with_roles[1]]).exits(5);
    assert!(planned.stdout.contains("-edited"), "{}", planned.stdout);
    lab.run("up", &with_roles).exits(0);
    assert_eq!(lab.asks("node-1", "cat /srv/www/greeting"), "goodbye from node-1 at 10.77.0.11\n");

    lab.edit("cluster_interface: host0", "cluster_interface: eth7");
    lab.run("up", &with_roles).exits(1).says("node-1").says("eth7");
}
