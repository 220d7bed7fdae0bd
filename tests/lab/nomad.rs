//! Nomad on Consul on real hosts: servers, clients, jobs, and their faults. Needs root, and a real Nomad in the lab's
//! mirror, for no package registry has one: without it every test says that it is skipped.

use indoc::indoc;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::{Lab, poll};
use crate::tls::{NOMAD, answers_at, assert_who_is_answered, certificates, open_ports};
use semver::Version;
use serde_json::Value;

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];
const MIRROR: &str = "/var/cache/bootstrap-lab/mirror/nomad";

/// The newest release in the lab's mirror.
fn version() -> Option<Version> {
    let folders = fs::read_dir(MIRROR).ok()?.flatten();
    let versions = folders.filter_map(|folder| Version::parse(folder.file_name().to_str()?).ok());
    versions
        .filter(|version| Path::new(&format!("{MIRROR}/{version}/nomad_{version}_linux_amd64.zip")).exists())
        .max()
}

/// Bare hosts whose inventory has Nomad's roles too; `None` says why there are none.
fn lab(test: &str, hosts: &str, extra: &str) -> Option<Lab> {
    let Some(version) = version() else {
        // Not `eprintln!`: of a test that passes nobody would see it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: the lab's mirror has no release of Nomad, {MIRROR}/VERSION/nomad_VERSION_linux_amd64.zip"
        );
        return None;
    };
    let lab = Lab::up(&["--hosts", hosts]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let source = text.lines().find_map(|line| line.trim().strip_prefix("source: ")).unwrap().to_owned();
    lab.edit("roles: [consul-server]", "roles: [consul-server, nomad-server, nomad-client]");
    if hosts == "4" {
        lab.edit("roles: [consul-client]", "roles: [consul-client, nomad-client]");
    }
    let text = fs::read_to_string(lab.inventory()).unwrap();
    // The disk is the machine's: where it is four fifths full, clients throw away the logs of what has ended.
    let nomad = format!(
        "  nomad:\n    version: {version}\n    source: {source}\n    \
         extra_config: {{ client: {{ gc_disk_usage_threshold: 100 }} }}\n    drivers: [exec, raw_exec]\n"
    );
    fs::write(lab.inventory(), format!("{text}{nomad}{extra}")).unwrap();
    Some(lab)
}

fn api(lab: &Lab, host: &str, path: &str) -> Value {
    let said = lab.asks(host, &format!("curl -sf 'http://127.0.0.1:4646/v1/{path}'"));
    serde_json::from_str(&said).unwrap()
}

/// The raft peers as one server sees them: address, leader, voter.
fn peers(lab: &Lab, host: &str) -> Vec<(String, bool, bool)> {
    let said = api(lab, host, "operator/raft/configuration?stale");
    let servers = said["Servers"].as_array().unwrap().iter();
    let mut peers: Vec<_> = servers
        .map(|peer| {
            let address = peer["Address"].as_str().unwrap().to_owned();
            (address, peer["Leader"] == true, peer["Voter"] == true)
        })
        .collect();
    peers.sort();
    peers
}

/// Three voters and one leader, the same seen from every host; the leader's name.
#[track_caller]
fn assert_quorum(lab: &Lab) -> &'static str {
    let first = peers(lab, "node-1");
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(first.iter().all(|(_, _, voter)| *voter), "{first:?}");
    assert_eq!(first.iter().filter(|(_, leader, _)| *leader).count(), 1, "{first:?}");
    for host in &THREE[1..] {
        assert_eq!(peers(lab, host), first, "{host} sees something else");
    }
    THREE[first.iter().position(|(_, leader, _)| *leader).unwrap()]
}

fn allocations(lab: &Lab, job: &str) -> Vec<String> {
    let said = api(lab, "node-1", &format!("job/{job}/allocations"));
    let ids = said.as_array().unwrap().iter().map(|one| one["ID"].as_str().unwrap().to_owned());
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    ids
}

/// A job's page, found by nothing but its name in Consul, as a program on that host would.
#[track_caller]
fn page(lab: &Lab, host: &str, service: &str) -> String {
    let catalog = lab.asks(host, &format!("curl -sf http://127.0.0.1:8500/v1/catalog/service/{service}"));
    let catalog: Value = serde_json::from_str(&catalog).unwrap();
    lab.asks(host, &format!("curl -sf http://{service}.service.consul:{}/", catalog[0]["ServicePort"]))
}

const CONTAINED: &str = r#"
job "contained" {
  datacenters = ["dc1"]
  group "web" {
    network {
      port "http" {}
    }
    service {
      name = "contained"
      port = "http"
      check {
        type     = "http"
        path     = "/index.html"
        interval = "2s"
        timeout  = "1s"
      }
    }
    task "httpd" {
      driver = "docker"
      config {
        image        = "probe:1"
        network_mode = "host"
        command      = "/busybox"
        args         = ["httpd", "-f", "-p", "${NOMAD_PORT_http}", "-h", "/local"]
      }
      template {
        data        = "in a container"
        destination = "local/index.html"
      }
    }
  }
}
"#;

/// Runs: Nomad: bare hosts to jobs that answer, and are stopped when the inventory has them no more
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_bare_hosts_to_jobs_that_answer() {
    let jobs = indoc! {r#"
        jobs:
          - { ready: demo-http, variables: { driver: raw_exec, count: 2, text: "it's $HOME ${x}" } }
          - { ready: demo-tcp, variables: { driver: raw_exec } }
    "#};
    let Some(lab) = lab("lab_nomad_bare_hosts_to_jobs_that_answer", "3", jobs) else { return };
    lab.sets_consul("acl: auto");
    // The whole platform; Consul answers the forwarders on the hosts and the containers.
    lab.edit(
        "[consul-server, nomad-server, nomad-client]",
        "[consul-server, nomad-server, nomad-client, dns, docker]",
    );
    lab.edit(
        "drivers: [exec, raw_exec]",
        "drivers: [docker, exec, raw_exec]\n  docker: { daemon: { storage-driver: vfs } }",
    );
    let own = lab.asks("node-1", "sed -n 's/^nameserver *//p' /etc/resolv.conf | head -n 1");
    lab.sets_consul(&format!("dns_port: 53\n    recursors: [{}]", own.trim()));
    for host in THREE {
        let line = format!("{{ address: {} }}", lab.address(host));
        lab.edit(
            &line,
            &line.replace(" }", &format!(", vars: {{ consul: {{ dns_addr: [{}] }} }} }}", lab.address(host))),
        );
    }
    let planned = lab.run("plan", &["--exit-code"]).exits(5);
    assert!(
        planned.stdout.contains("demo-http: planned and submitted when Nomad stands"),
        "{}",
        planned.stdout
    );

    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    lab.run("up", &[]).exits(0).says("3 of 3 voters").says("3 of 3 clients ready").says("job demo-http");
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        // One to look, one to prepare, then one for each role that starts something and for each real use it is proved by; one for
        // the servers of each product to try their ways, and one to remember the jobs.
        assert_eq!(made.handshakes, 1, "{host}: first up");
        assert!(made.sessions <= 11, "{host}: first up took {} sessions", made.sessions);
    }
    assert_quorum(&lab);
    let nodes = api(&lab, "node-2", "nodes");
    assert_eq!(nodes.as_array().unwrap().len(), 3, "{nodes}");
    assert!(nodes.as_array().unwrap().iter().all(|node| node["Status"] == "ready"), "{nodes}");

    // By its name in Consul, from any host.
    for host in THREE {
        let page = page(&lab, host, "demo-http");
        assert!(page.starts_with("it's $HOME ${x}\nnode-"), "{page}");
    }

    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    let running = allocations(&lab, "demo-http");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(allocations(&lab, "demo-http"), running);
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        // `allocations` is a login of its own on one host.
        let own = if *host == "node-1" { 2 } else { 0 };
        assert_eq!((made.handshakes - own, made.sessions - own), (1, 1), "{host}: up with nothing to do");
    }
    lab.run("plan", &["--exit-code"]).exits(0);

    // A changed job is planned by Nomad and replaced.
    lab.edit("it's $HOME ${x}", "second");
    let planned = lab.run("plan", &["--exit-code"]).exits(5);
    assert!(planned.stdout.contains("~ job demo-http"), "{}", planned.stdout);
    assert!(planned.stdout.contains("EmbeddedTmpl"), "{}", planned.stdout);
    assert!(!planned.stdout.contains("job demo-tcp"), "{}", planned.stdout);
    lab.run("up", &[]).exits(0).says("1 job");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // In containers, of an image that needs no registry.
    for host in THREE {
        lab.asks(
            host,
            "DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends busybox-static && \
             cd /bin && tar c busybox | docker import - probe:1",
        );
    }
    fs::write(lab.folder.path().join("contained.nomad.hcl"), CONTAINED).unwrap();
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), format!("{text}  - file: contained.nomad.hcl\n")).unwrap();
    lab.run("up", &[]).exits(0).says("1 job");
    assert_eq!(page(&lab, "node-1", "contained"), "in a container");

    // What the client of the API listens for is what Nomad says of an index that moved.
    let moved = "{\"Job\": {\"ID\": \"demo-tcp\", \"Name\": \"demo-tcp\", \"Datacenters\": [\"dc1\"], \"TaskGroups\": \
                 [{\"Name\": \"a\", \"Tasks\": [{\"Name\": \"a\", \"Driver\": \"raw_exec\", \"Config\": {\"command\": \
                 \"true\"}}]}]}, \"EnforceIndex\": true, \"JobModifyIndex\": 1}";
    let said = lab.asks("node-1", &format!("curl -s -X POST -d '{moved}' http://127.0.0.1:4646/v1/jobs"));
    assert!(said.contains("Enforcing job modify index"), "{said}");

    // What the inventory has no more is stopped, unless somebody else has changed it since.
    let group = api(&lab, "node-1", "job/demo-http")["TaskGroups"][0]["Name"].clone();
    let scaled = format!("{{\"Count\": 1, \"Target\": {{\"Group\": {group}}}}}");
    lab.asks(
        "node-1",
        &format!("curl -sf -X POST -d '{scaled}' http://127.0.0.1:4646/v1/job/demo-http/scale"),
    );
    lab.asks("node-1", "curl -sf -X POST -d '{\"Job\": {\"ID\": \"theirs\", \"Name\": \"theirs\", \"Type\": \"batch\", \
        \"Datacenters\": [\"dc1\"], \"TaskGroups\": [{\"Name\": \"a\", \"Tasks\": [{\"Name\": \"a\", \"Driver\": \"raw_exec\", \
        \"Config\": {\"command\": \"sleep\", \"args\": [\"600\"]}}]}]}}' http://127.0.0.1:4646/v1/jobs");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("ready: demo-")).collect();
    fs::write(lab.inventory(), kept.join("\n") + "\n").unwrap();
    let planned = lab.run("plan", &["--exit-code"]).exits(5).stdout;
    let of = |job: &str| {
        planned.split(&format!("job {job}:")).nth(1).unwrap_or_default().lines().nth(1).unwrap_or_default()
    };
    assert!(of("demo-tcp").contains("it is stopped"), "{planned}");
    assert!(of("demo-http").contains("somebody has changed it") && !planned.contains("theirs"), "{planned}");
    lab.run("up", &[]).exits(0).says("job demo-tcp").says("stopped");
    assert_eq!(api(&lab, "node-2", "job/demo-tcp")["Stop"], true);
    assert!(runs_on(&lab, "demo-tcp").is_empty());
    assert!(!runs_on(&lab, "demo-http").is_empty() && !runs_on(&lab, "theirs").is_empty());
    assert_eq!(page(&lab, "node-1", "contained"), "in a container");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_jobs_that_cannot_run() {
    let Some(lab) = lab("lab_nomad_jobs_that_cannot_run", "4", "") else { return };
    // The fourth host is a client only.
    lab.run("up", &[]).exits(0).says("4 of 4 clients ready");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let with = |jobs: &str| fs::write(lab.inventory(), format!("{text}jobs:\n{jobs}")).unwrap();

    fs::write(lab.folder.path().join("broken.nomad.hcl"), "job \"broken\" {\n  datacentres = [\"dc1\"]\n}\n")
        .unwrap();
    with("  - file: broken.nomad.hcl\n");
    lab.run("plan", &[]).exits(2).says("broken.nomad.hcl").says(":2,").says("datacentres");
    lab.run("up", &[]).exits(2).says("datacentres");

    with("  - { ready: demo-http, variables: { driver: qemu } }\n");
    let planned = lab.run("plan", &[]).exits(0);
    assert!(planned.stdout.contains("missing drivers"), "{}", planned.stdout);
    lab.run("up", &["--timeout", "3s"]).exits(4).says("group `http` has no place").says("missing drivers");

    let job = |script: &str| {
        format!(
            "job \"failing\" {{\n  datacenters = [\"dc1\"]\n  group \"a\" {{\n    update {{\n      progress_deadline = \
             \"0s\"\n      healthy_deadline = \"10s\"\n      min_healthy_time = \"2s\"\n    }}\n    restart {{\n      attempts = 0\n    }}\n    task \"a\" {{\n      driver = \"raw_exec\"\n      config {{\n        \
             command = \"/bin/sh\"\n        args = [\"-c\", \"{script}\"]\n      }}\n    }}\n  }}\n}}\n"
        )
    };
    let file = lab.folder.path().join("failing.nomad.hcl");
    fs::write(&file, job("echo the disk is on fire >&2; exit 3")).unwrap();
    with("  - { ready: demo-http, variables: { driver: raw_exec } }\n  - file: failing.nomad.hcl\n");
    let failed = lab.run("up", &["--timeout", "10s"]).exits(4);
    for text in ["job failing", "Exit Code: 3", "the disk is on fire", "node-"] {
        assert!(failed.stderr.contains(text), "`{text}` is not in\n{}", failed.stderr);
    }
    // Not submitted again, and still not well.
    lab.run("up", &["--timeout", "3s"]).exits(4).says("the disk is on fire");
    fs::write(&file, job("sleep 1000")).unwrap();
    lab.run("up", &["--timeout", "60s"]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Nomad: servers change one at a time
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_servers_change_one_at_a_time_and_survive_their_leader() {
    let Some(lab) = lab("lab_nomad_servers_change_one_at_a_time_and_survive_their_leader", "3", "") else {
        return;
    };
    let raft = "/opt/nomad/data/server/raft";
    lab.asks("node-2", &format!("mkdir -p {raft} && echo old >{raft}/raft.db"));
    lab.run("up", &[]).exits(1).says("node-2").says("/opt/nomad/data/server/raft/raft.db");
    lab.asks("node-2", "rm -r /opt/nomad");
    // systemd would take `$s` for a variable of its own.
    let squat = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 4647, Listen => 1) or die; sleep 600";
    lab.asks(
        "node-3",
        &format!("echo '{squat}' >/root/squat.pl; systemd-run -q --unit taken perl /root/squat.pl"),
    );
    poll("the port is taken", Duration::from_secs(10), || {
        (lab.ssh("node-3", "ss -Hltn sport = :4647 | grep -q .").status == 0).then_some(())
    });
    lab.run("up", &[]).exits(1).says("node-3").says("4647");
    lab.asks("node-3", "systemctl stop taken");

    lab.run("up", &[]).exits(0);
    let leader = assert_quorum(&lab);
    lab.edit("drivers: [exec, raw_exec]", "drivers: [exec, raw_exec]\n    log_level: debug");
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    // The hosts share one kernel, so their monotonic clocks are one.
    let started = |host: &&str| -> u64 {
        let said = lab.asks(host, "systemctl show -p ExecMainStartTimestampMonotonic --value nomad");
        said.trim().parse().unwrap()
    };
    let last = THREE.iter().max_by_key(|host| started(host)).unwrap();
    assert_eq!(*last, leader, "the leader was not the last to restart");

    let leader = assert_quorum(&lab);
    lab.lab(&["kill", leader]);
    let degraded = lab.run("up", &["--timeout", "20s"]).exits(3).says(leader);
    // Whoever is looked at while nobody leads says so by a gate, and otherwise by the peers at the end.
    let voters = |place: &str| degraded.stderr.contains(&format!("{place}:4647        leader    voter"));
    let others = THREE.iter().filter(|host| **host != leader);
    let leads = others.map(|host| lab.address(host)).any(|address| voters(&address));
    assert!(leads && degraded.stderr.matches(":4647").count() >= 3, "{}", degraded.stderr);
    lab.lab(&["start", leader]);
    poll("the host is back", Duration::from_secs(60), || {
        (lab.run("up", &["--timeout", "20s"]).status == 0).then_some(())
    });
    assert_quorum(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_without_consul() {
    let Some(lab) = lab("lab_nomad_without_consul", "4", "") else { return };
    lab.edit("roles: [consul-server, nomad-server, nomad-client]", "roles: [nomad-server]");
    lab.edit("roles: [consul-client, nomad-client]", "roles: [nomad-client]");
    lab.run("up", &[]).exits(2).says("no Consul agent runs there");
    lab.edit("drivers: [exec, raw_exec]", "drivers: [raw_exec]\n    consul: false");
    let jobs = "jobs:\n  - { ready: demo-http, variables: { driver: raw_exec } }\n";
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), format!("{text}{jobs}")).unwrap();
    // Its checks are Consul's, so the job is never called healthy; the servers and the client are.
    lab.run("up", &["--timeout", "20s"]).says("3 of 3 voters").says("1 of 1 clients ready");
    assert_quorum(&lab);
    assert_eq!(lab.asks("node-1", "ps -o user= -C nomad").trim(), "nomad");
    assert_eq!(lab.asks("node-4", "ps -o user= -C nomad").trim().lines().next(), Some("root"));
    lab.ssh("node-1", "test ! -e /usr/local/bin/consul").exits(0);
    lab.edit(jobs, "");
    lab.run("up", &[]).exits(0).says("stopped");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Nodes on which the job's tasks run.
fn runs_on(lab: &Lab, job: &str) -> Vec<String> {
    let said = api(lab, "node-1", &format!("job/{job}/allocations"));
    let running = said.as_array().unwrap().iter().filter(|one| one["ClientStatus"] == "running");
    let mut nodes: Vec<String> = running.map(|one| one["NodeName"].as_str().unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}

/// Runs: Nomad: hosts leave and join, snapshots
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_shrinks_grows_and_is_saved() {
    let jobs = "jobs:\n  - { ready: demo-http, variables: { driver: raw_exec, count: 4 } }\n";
    let Some(lab) = lab("lab_nomad_shrinks_grows_and_is_saved", "4", jobs) else { return };
    lab.run("up", &[]).exits(0);
    assert_quorum(&lab);
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let of = |product: &str| saved.lines().filter(|line| line.starts_with(product)).count();
    assert_eq!((of("consul "), of("nomad ")), (1, 1), "{saved}");
    assert_eq!(lab.run("snapshot list", &[]).exits(0).stdout, saved);

    // What runs on a client moves to others first: where the host loses the role, and where it goes.
    let without = |lab: &Lab, host: &str| {
        poll("all tasks run elsewhere", Duration::from_secs(60), || {
            let nodes = runs_on(lab, "demo-http");
            (nodes.len() == 4 && !nodes.iter().any(|node| node == host)).then_some(())
        });
    };
    assert!(runs_on(&lab, "demo-http").contains(&"node-4".to_owned()));
    let text = fs::read_to_string(lab.inventory()).unwrap();
    lab.edit("[consul-client, nomad-client]", "[consul-client]");
    lab.run("up", &["--yes"]).exits(0).says("drain nomad");
    without(&lab, "node-4");
    lab.ssh(
        "node-4",
        "test ! -e /etc/nomad.d && test ! -e /etc/systemd/system/nomad.service && ! pgrep -x nomad",
    )
    .exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    // Its agent goes on as a server.
    lab.edit("  node-1: {", "  node-1: { roles: [consul-server, nomad-server],");
    lab.edit("servers: { hosts: [node-1, ", "servers: { hosts: [");
    lab.run("up", &["--yes"]).exits(0).says("drain nomad").says("3 of 3 voters");
    without(&lab, "node-1");
    assert_quorum(&lab);
    fs::write(lab.inventory(), text).unwrap();
    lab.run("up", &[]).exits(0).says("4 of 4");
    lab.run("remove-node", &["node-4", "--yes"]).exits(0).says("drain nomad");
    assert!(!fs::read_to_string(lab.inventory()).unwrap().contains("node-4"));
    without(&lab, "node-4");
    let unit =
        "systemctl is-active nomad consul; ls /usr/local/bin/nomad /usr/local/bin/consul 2>/dev/null; true";
    assert_eq!(lab.asks("node-4", unit), "inactive\ninactive\n");

    // The same host comes back in the place of a dead server: of the leader, whose own node its heir counts as ready for minutes.
    let dead = assert_quorum(&lab);
    let asked = THREE.iter().find(|host| **host != dead).unwrap();
    lab.lab(&["kill", dead]);
    let new = [dead, "--name", "node-4", "--address", &lab.address("node-4"), "--timeout", "90s", "--yes"];
    lab.run("replace-node", &new).exits(0);
    let peers = peers(&lab, asked);
    assert!(peers.iter().all(|(_, _, voter)| *voter), "{peers:?}");
    let addresses: Vec<String> = peers.into_iter().map(|(address, _, _)| address).collect();
    let mut expected: Vec<String> =
        THREE.iter().filter(|host| **host != dead).map(|host| lab.address(host)).collect();
    expected.push(lab.address("node-4"));
    assert_eq!(addresses, expected.iter().map(|address| format!("{address}:4647")).collect::<Vec<_>>());
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Nomad: sets up the hosts of a larger inventory in three parts
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_clients_set_up_the_parts_of_a_larger_inventory() {
    let Some(lab) = lab("lab_nomad_clients_set_up_the_parts_of_a_larger_inventory", "6", "") else { return };
    let folder = lab.folder.path();
    let all = fs::read_to_string(lab.inventory()).unwrap();
    let is_of_a_client = |line: &&str| {
        ["node-4:", "node-5:", "node-6:", "clients:"].iter().any(|start| line.trim_start().starts_with(start))
    };
    let small: Vec<&str> = all.lines().filter(|line| !is_of_a_client(line)).collect();
    let small = small.join("\n") + "\n";
    fs::write(lab.inventory(), &small).unwrap();
    lab.run("up", &[]).exits(0).says("3 of 3 voters");

    // All that a part needs.
    fs::write(folder.join("all.yaml"), all.replace("/var/lib/bootstrap-lab/", "/srv/bootstrap/")).unwrap();
    let program = env!("CARGO_BIN_EXE_bootstrap");
    for host in THREE {
        let copy = format!(
            "tar -C {} -cf - all.yaml .bootstrap -C /var/lib/bootstrap-lab id_ed25519 known_hosts -C {} bootstrap |
             ssh -o UserKnownHostsFile=/var/lib/bootstrap-lab/known_hosts -i /var/lib/bootstrap-lab/id_ed25519 root@{} \\
               'mkdir -p /srv/bootstrap && tar -C /srv/bootstrap --no-same-owner -xf -'",
            folder.display(),
            Path::new(program).parent().unwrap().display(),
            lab.address(host),
        );
        assert!(std::process::Command::new("sh").args(["-ec", &copy]).status().unwrap().success(), "{host}");
    }
    let jobs = "jobs:\n  - { ready: bootstrap-shards, variables: { inventory: all.yaml, timeout: 3m } }\n";
    fs::write(lab.inventory(), small + jobs).unwrap();
    lab.run("up", &[]).exits(0).says("bootstrap-shards");
    let ended = poll("every part has ended", Duration::from_secs(180), || {
        let said = api(&lab, "node-1", "job/bootstrap-shards/allocations");
        let all = said.as_array().unwrap().clone();
        let ended = |one: &Value| matches!(one["ClientStatus"].as_str(), Some("complete" | "failed"));
        (all.len() == 3 && all.iter().all(ended)).then_some(all)
    });
    let mut ran: Vec<(&str, &str)> = ended
        .iter()
        .map(|one| (one["NodeName"].as_str().unwrap(), one["ClientStatus"].as_str().unwrap()))
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, THREE.map(|host| (host, "complete")), "each client had its part");
    let members = lab.asks("node-1", "consul members");
    assert_eq!(members.matches(" alive ").count(), 6, "{members}");

    // Seen from here it is as the larger inventory says.
    fs::write(lab.inventory(), all).unwrap();
    for part in ["1/3", "2/3", "3/3"] {
        lab.run("up", &["--shard", part]).exits(0).says("Nothing to do");
    }
    // The servers take part in the first alone.
    let plan = lab.run("plan", &["--shard", "3/3"]).exits(0);
    assert!((plan.stdout.clone() + &plan.stderr).contains("1 host"), "{}{}", plan.stdout, plan.stderr);
}

/// Runs: Nomad: agents speak TLS from the first start: plaintext, foreign certificates and a client's vote are refused; certificates are renewed without a restart
/// Walks: set `nomad: { tls: auto }`; servers without TLS are made anew, after `bootstrap down --purge`
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_nomad_agents_speak_tls() {
    let Some(lab) = lab("lab_nomad_agents_speak_tls", "4", "") else { return };
    // Servers that are clients too have a server's name.
    lab.edit("  nomad:\n", "  nomad:\n    tls: off\n");
    lab.run("up", &[]).exits(0).says("4 of 4 clients ready");
    assert!(answers_at(&NOMAD, &lab, "plain", "rpc"));
    lab.edit("tls: off", "tls: on");
    lab.run("up", &[]).exits(1).says("speak with each other without TLS").says("tls: auto");
    lab.edit("tls: on", "tls: auto");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("down", &["--purge", "--yes"]).exits(0);
    lab.run("up", &[]).exits(0).says("4 of 4 clients ready");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.edit("tls: auto", "tls: off");
    lab.run("up", &[]).exits(1).says("speak TLS with each other").says("tls: auto");
    lab.edit("tls: off", "tls: auto");

    let files = certificates(&lab, "/etc/nomad.d/tls", "server.global.nomad");
    assert_who_is_answered(&NOMAD, &lab, &files, false);
    for host in THREE {
        assert_eq!(open_ports(&lab, host, &[4646, 4647]), [4647], "{host}");
    }

    let process = || THREE.map(|host| lab.asks(host, "systemctl show -p MainPID --value nomad"));
    let serial =
        || THREE.map(|host| lab.asks(host, "openssl x509 -noout -serial -in /etc/nomad.d/tls/agent.pem"));
    let before = (process(), serial());
    lab.run("certs renew", &["--within", "400"]).exits(0);
    assert_eq!(process(), before.0, "an agent was started again");
    assert!(serial().iter().zip(&before.1).all(|(now, before)| now != before));
    lab.run("certs renew", &[]).exits(0).says("Nothing to do");
    assert_quorum(&lab);
    lab.run("health", &[]).exits(0);
}
