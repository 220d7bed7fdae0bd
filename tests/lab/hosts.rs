//! The lab's own promises, on real hosts. Needs root and takes the one lab of this machine, so it
//! runs only when asked for: `cargo test --test lab -- --ignored hosts::`.

use std::fs;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

const STATE: &str = "/var/lib/bootstrap-lab";

/// A machine has one lab: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Takes the lab away when the test ends, also when it fails.
struct Lab;

impl Drop for Lab {
    fn drop(&mut self) {
        lab(&["down"]);
    }
}

fn lab(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    command.arg("lab").args(args).output().expect("the program under test starts")
}

#[track_caller]
fn lab_ok(args: &[&str]) -> String {
    let output = lab(args);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "lab {args:?}: {text}");
    text
}

/// Runs `script` on host `number`, as the lab's inventory says to log in.
fn ssh(number: u8, script: &str) -> Output {
    Command::new("ssh")
        .args(["-F", "none", "-i", &format!("{STATE}/id_ed25519")])
        .args(["-o", &format!("UserKnownHostsFile={STATE}/known_hosts"), "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=3"])
        .arg(format!("root@10.77.0.{}", 10 + number))
        .arg(script)
        .output()
        .expect("ssh is installed")
}

fn reaches(from: u8, to: u8) -> bool {
    ssh(from, &format!("ping -c 1 -W 1 10.77.0.{}", 10 + to)).status.success()
}

/// What the lab must leave as it was: interfaces, rules, mounts, cgroups and forwarding.
fn machine() -> Vec<String> {
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.join(" ")
    };
    let rules = |table: &str| {
        let output =
            Command::new("iptables-save").args(["-t", table]).output().expect("iptables is installed");
        // Counters and dates change by themselves.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.starts_with('-')).collect::<Vec<_>>().join("\n")
    };
    let cgroups = Command::new("find").args(["/sys/fs/cgroup", "-name", "bootstrap-lab"]).output();
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is mounted");
    vec![
        names("/sys/class/net"),
        ["filter", "nat", "raw"].map(rules).join("\n"),
        mounts.lines().filter(|line| line.contains("bootstrap-lab")).collect::<Vec<_>>().join("\n"),
        String::from_utf8_lossy(&cgroups.expect("find is there").stdout).into_owned(),
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("/proc is mounted"),
        format!("state: {}", fs::exists(STATE).unwrap_or(true)),
    ]
}

#[test]
#[ignore = "needs root and the machine's one lab"]
fn lab_hosts_come_up_fail_heal_and_go_without_a_trace() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    lab_ok(&["down"]);
    let before = machine();
    let guard = Lab;
    lab_ok(&["up", "--hosts", "3"]);

    // Bare, reachable, able to install, and served by the mirror.
    let bare = ssh(1, "hostname; command -v curl unzip; systemctl is-system-running");
    assert_eq!(String::from_utf8_lossy(&bare.stdout), "node-1\nrunning\n");
    let install = ssh(
        1,
        "export DEBIAN_FRONTEND=noninteractive; apt-get -q -y install curl >/dev/null && cd /root && \
        curl -fsS -O http://10.77.0.1:7780/consul/1.8.7/consul_1.8.7_SHA256SUMS \
        -O http://10.77.0.1:7780/consul/1.8.7/consul_1.8.7_linux_amd64.zip && sha256sum -c consul_1.8.7_SHA256SUMS",
    );
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));

    assert!(lab_ok(&["up"]).contains("all 3 hosts were running already"));
    let other = lab(&["up", "--suite", "trixie"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("--fresh"));

    lab_ok(&["partition", "node-2"]);
    assert!(!reaches(1, 2) && !reaches(2, 3) && reaches(1, 3));
    assert!(ssh(2, "true").status.success(), "ssh from here must go on");
    lab_ok(&["partition", "node-2", "--one-way"]);
    let echoes = |host| ssh(host, "awk '/^Icmp:/ { n = $10 } END { print n }' /proc/net/snmp").stdout;
    let heard = echoes(2);
    assert!(!reaches(1, 2));
    assert_ne!(echoes(2), heard, "it still hears the others");
    lab_ok(&["partition", "node-2", "--from-controller"]);
    assert!(!ssh(2, "true").status.success());
    assert!(lab_ok(&["status"]).contains("cut off from everything"));
    lab_ok(&["heal", "node-2"]);
    assert!(reaches(1, 2) && reaches(2, 3));

    let boot = "cat /proc/sys/kernel/random/boot_id";
    let boot_before = ssh(3, &format!("echo kept > /root/file; {boot}")).stdout;
    lab_ok(&["kill", "node-3"]);
    assert!(!ssh(3, "true").status.success());
    lab_ok(&["start", "node-3"]);
    assert_eq!(ssh(3, "cat /root/file").stdout, b"kept\n");
    assert_ne!(ssh(3, boot).stdout, boot_before);

    drop(guard);
    assert_eq!(machine(), before);
}

#[test]
#[ignore = "needs root and the machine's one lab"]
fn lab_distance_is_what_was_asked_for() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    lab_ok(&["down"]);
    let _guard = Lab;
    lab_ok(&["up", "--hosts", "1", "--rtt", "40"]);
    let said =
        String::from_utf8_lossy(&ssh(1, "ping -q -c 5 -i 0.2 10.77.0.1 | tail -n 1").stdout).into_owned();
    // rtt min/avg/max/mdev = 40.1/40.3/40.6/0.1 ms
    let least = said.split(" = ").nth(1).and_then(|times| times.split('/').next()?.parse::<f64>().ok());
    assert!(least.is_some_and(|ms| (40.0..48.0).contains(&ms)), "{said}");
}
