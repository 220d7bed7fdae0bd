//! The inventories that come with the program, on real hosts: as they are but for addresses, the lab's own SSH and its releases.
//! `lab` is what nearly all tests here run, `starter` comes up in `undo`, those of Kubernetes in `kubernetes`; `vagrant` is brought up by
//! `tests/vagrant-boot`, and nothing outside a lab serves what `air-gapped` needs.

use std::fs;
use std::path::Path;

use crate::support::{Lab, consul};

/// Where the lab's releases are.
const MIRROR: &str = "{ mirror: 'http://10.77.0.1:7780' }";

/// `init --template NAME`, with this replaced in it, comes up by itself, and there is nothing to do then.
fn comes_up(name: &str, hosts: u8, replaced: &[(&str, &str)]) {
    up(&written(name, hosts, replaced));
}

/// Bare hosts, and the inventory of this name for them.
pub fn written(name: &str, hosts: u8, replaced: &[(&str, &str)]) -> Lab {
    let lab = Lab::up(&["--hosts", &hosts.to_string()]);
    let own = fs::read_to_string(lab.inventory()).unwrap();
    // The name server that hosts of a lab have.
    let server = lab.asks("node-1", "sed -n 's/^nameserver *//p' /etc/resolv.conf | head -n 1");
    let ssh = &own[own.find("ssh:").unwrap()..own.find("\nhosts:").unwrap() + 1];
    lab.run("init", &["--force", "--template", name]).exits(0);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), with_releases(&with_ssh(&text, ssh))).unwrap();
    for (from, to) in replaced {
        lab.edit(from, &to.replace("SERVER", server.trim()));
    }
    lab
}

fn up(lab: &Lab) {
    lab.run("check", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("done");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("health", &[]).exits(0);
}

/// An inventory with another block `ssh:`.
fn with_ssh(text: &str, ssh: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut written = String::new();
    while let Some(line) = lines.next() {
        if line.starts_with("ssh:") {
            while lines.next_if(|line| line.starts_with(' ')).is_some() {}
            continue;
        }
        written.push_str(line);
        written.push('\n');
        if line.starts_with("cluster:") {
            written.push_str(ssh);
        }
    }
    written
}

/// The same with releases of the lab's mirror, and without jobs: no registry has their images here.
fn with_releases(text: &str) -> String {
    let text = text.split("\njobs:").next().unwrap().to_owned() + "\n";
    let releases = [("1.21.4", Some(consul())), ("1.10.5", nomad())];
    releases.into_iter().fold(text, |text, (version, ours)| {
        let Some(ours) = ours else { return text };
        let line = |line: &str| match line.contains('{') {
            true => {
                line.replace(&format!("version: {version}"), &format!("version: {ours}, source: {MIRROR}"))
            }
            false => line
                .replace(&format!("version: {version}"), &format!("version: {ours}\n    source: {MIRROR}")),
        };
        text.lines().map(|text| line(text) + "\n").collect()
    })
}

/// The release of Nomad that somebody has put into the lab's mirror.
fn nomad() -> Option<String> {
    let mut versions = fs::read_dir(Path::new("/var/cache/bootstrap-lab/mirror/nomad")).ok()?;
    versions.next()?.ok()?.file_name().into_string().ok()
}

/// Whether there is one; if not, that is said.
fn has_nomad(name: &str) -> bool {
    let is_there = nomad().is_some();
    if !is_there {
        println!("skipped: the inventory {name}: no release of Nomad is in the lab's mirror");
    }
    is_there
}

/// Runs: Consul: the inventories that come with the program, on hosts of a lab
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_docker_comes_up() {
    comes_up(
        "consul-docker",
        5,
        &[("192.168.56.1[1-3]", "10.77.0.1[1-3]"), ("192.168.56.2[1-2]", "10.77.0.1[4-5]")],
    );
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_with_names_comes_up() {
    let hosts = [
        ("10.40.0.1[1-3]", "10.77.0.1[1-3]"),
        ("web-[1-4]: { address: \"10.40.0.2[1-4]\" }", "web-1: { address: 10.77.0.14 }"),
        ("10.40.0.31", "10.77.0.15"),
    ];
    comes_up("consul-with-names", 5, &hosts);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_names_on_port_53_comes_up() {
    comes_up("consul-names-on-port-53", 3, &[("10.50.0.2]", "SERVER]"), ("10.50.0.", "10.77.0.")]);
}

/// Fewer clients than it has, and no host to jump through.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_servers_and_clients_comes_up() {
    let hosts = [
        ("10.30.0.1[1-5]", "10.77.0.1[1-5]"),
        (
            "web-[01-16]: { address: \"web-[01-16].internal\", cluster_interface: eth0 }",
            "web-01: { address: 10.77.0.16, cluster_interface: host0 }",
        ),
        ("db-[1-4]", "db-[1-1]"),
        ("10.30.0.4[1-4]", "10.77.0.1[7-7]"),
    ];
    comes_up("consul-servers-and-clients", 7, &hosts);
}

/// In one network with SSH: a lab has no other.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_three_servers_comes_up() {
    comes_up(
        "consul-three-servers",
        3,
        &[("consul-[1-3].example.org", "10.77.0.1[1-3]"), ("10.20.0.1[1-3]", "10.77.0.1[1-3]")],
    );
}

/// Served and mounted in user space: the lab's kernel has no NFS.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nfs_shared_data_comes_up() {
    let replaced = [
        ("files-1.example.org, cluster_address: 10.0.0.10", "10.77.0.11"),
        (
            "web-[1-3]: { address: \"web-[1-3].example.org\", cluster_address: \"10.0.0.2[1-3]\" }",
            "web-[1-3]: { address: \"10.77.0.1[2-4]\" }",
        ),
        ("# implementation: ganesha ", "client: libnfs\n    grace_seconds: 0\n    implementation: ganesha "),
        ("10.0.0.0/24", "10.77.0.0/24"),
    ];
    comes_up("nfs-shared-data", 4, &replaced);
}

/// Runs: Nomad: the inventories that come with the program, without their jobs
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_nomad_docker_comes_up() {
    if has_nomad("consul-nomad-docker") {
        comes_up("consul-nomad-docker", 3, &[("10.0.0.1[1-3]", "10.77.0.1[1-3]")]);
    }
}

/// Its job is run in `fabio`.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_nomad_fabio_comes_up() {
    if has_nomad("consul-nomad-fabio") {
        comes_up("consul-nomad-fabio", 3, &[("10.0.0.1[1-3]", "10.77.0.1[1-3]")]);
    }
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nfs_applications_comes_up() {
    let replaced = [
        ("10.0.0.10 ", "10.77.0.11 "),
        ("10.0.0.2[1-3]", "10.77.0.1[2-4]"),
        ("# implementation: ganesha ", "client: libnfs\n    grace_seconds: 0\n    implementation: ganesha "),
        // Nothing is mounted there, and the folder is made.
        ("path: /data/app1 }\n  nfs:", "path: /data/app1, create: { owner: root, mode: '0755' } }\n  nfs:"),
    ];
    if has_nomad("nfs-applications") {
        comes_up("nfs-applications", 4, &replaced);
    }
}

/// Docker is on the hosts already, as it says.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_on_consul_comes_up() {
    if !has_nomad("nomad-on-consul") {
        return;
    }
    let replaced = [("10.0.0.1[1-3]", "10.77.0.1[1-3]"), ("10.0.0.2[1-2]", "10.77.0.1[4-5]")];
    let lab = written("nomad-on-consul", 5, &replaced);
    for host in ["node-1", "node-2", "node-3", "node-4", "node-5"] {
        lab.asks(host, "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends docker.io");
    }
    up(&lab);
}
