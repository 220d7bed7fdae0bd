//! A run leaves no cluster worse than it found it: what a change does to one member it does to no second one, and takes back.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Lab, bootstrap, consul, poll};

const SERVERS: [&str; 3] = ["node-1", "node-2", "node-3"];

/// When its agent started, and what each of its files holds.
const AS_IT_IS: &str = "systemctl show -p ExecMainStartTimestampMonotonic consul; \
    find /etc/consul.d /etc/systemd/system/consul.service /var/lib/bootstrap -type f ! -path '*/undo/*' \
    -exec sha256sum {} + | sort; readlink /usr/local/bin/consul";

/// The same without the start. What a ledger says of who wrote a file last is none of it.
const FILES: &str =
    "find /etc/consul.d /var/lib/bootstrap -type f ! -path '*/undo/*' -exec sha256sum {} + | sort";

fn all<'h>(lab: &Lab, hosts: &[&'h str], command: &str) -> Vec<(&'h str, String)> {
    hosts.iter().map(|host| (*host, lab.asks(host, command))).collect()
}

fn follower(lab: &Lab) -> &'static str {
    let peers = lab.asks("node-1", "consul operator raft list-peers");
    let leads = |host: &str| peers.lines().any(|line| line.starts_with(host) && line.contains(" leader "));
    SERVERS.into_iter().find(|host| !leads(host)).unwrap()
}

/// Runs: Consul: a bad setting of clients and of servers is put back, an ill voter is mended first
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_bad_setting_harms_one_member_and_is_put_back() {
    let lab = Lab::up(&["--hosts", "6"]);
    lab.run("up", &[]).exits(0);

    // It validates, and no agent can start with it.
    let clients = ["node-4", "node-5", "node-6"];
    let (untouched, first_files) = (all(&lab, &clients[1..], AS_IT_IS), lab.asks("node-4", FILES));
    let of_clients = "roles: [consul-client]";
    let bad = format!("{of_clients}, vars: {{ consul: {{ extra_config: {{ bind_addr: 10.99.0.250 }} }} }}");
    lab.edit(of_clients, &bad);
    let ran = lab.run("up", &["--batch", "1"]);
    assert_ne!(ran.status, 0, "{}", ran.stderr);
    for text in ["stopped after node-4 failed", "put back as it was before", "bind"] {
        assert!(ran.stderr.contains(text), "`{text}` is not in\n{}", ran.stderr);
    }
    assert_eq!(all(&lab, &clients[1..], AS_IT_IS), untouched);
    assert_eq!(lab.asks("node-4", FILES), first_files);
    poll("all six are members", Duration::from_secs(20), || {
        let members = lab.asks("node-1", "consul members");
        (members.matches(" alive ").count() == 6).then_some(())
    });
    lab.edit(&bad, of_clients);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A voter that starts, and that the others do not find.
    let of_servers = "roles: [consul-server]";
    let extra = "{ ports: { server: 8399 }, advertise_addr: 10.97.0.250 }";
    let bad = format!("{of_servers}, vars: {{ consul: {{ extra_config: {extra} }} }}");
    let first = follower(&lab);
    let others: Vec<&str> = SERVERS.into_iter().filter(|host| *host != first).collect();
    let (untouched, first_files) = (all(&lab, &others, AS_IT_IS), lab.asks(first, FILES));
    lab.edit(of_servers, &bad);
    let ran = lab.run("up", &["--timeout", "20s"]);
    assert_eq!(ran.status, 4, "{}", ran.stderr);
    for text in [format!("put back   {first}"), "put back as before, and well again".to_owned()] {
        assert!(ran.stderr.contains(&text), "`{text}` is not in\n{}", ran.stderr);
    }
    assert_eq!(all(&lab, &others, AS_IT_IS), untouched);
    assert_eq!(lab.asks(first, FILES), first_files);
    lab.edit(&bad, of_servers);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Nobody puts it back where the run is killed: the one that is ill comes first, and no gate waits for it to be well before.
    let ill = follower(&lab);
    let others: Vec<&str> = SERVERS.into_iter().filter(|host| *host != ill).collect();
    let untouched = all(&lab, &others, AS_IT_IS);
    lab.edit(of_servers, &bad);
    let mut up = bootstrap();
    up.arg("up").arg(lab.inventory()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = up.spawn().unwrap();
    poll("the voter has lost its leader", Duration::from_secs(60), || {
        let ask = "grep -q 8399 /etc/consul.d/consul.json && curl -s http://127.0.0.1:8500/v1/status/leader";
        (lab.ssh(ill, ask).stdout == "\"\"").then_some(())
    });
    running.kill().unwrap();
    running.wait().unwrap();
    lab.edit(&bad, of_servers);
    lab.run("up", &["--timeout", "60s"]).exits(0).says("3 of 3 voters");
    assert_eq!(all(&lab, &others, AS_IT_IS), untouched);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Between two leaders: the next one is waited for, and the voters go one after the other.
    let leader = SERVERS.into_iter().find(|host| {
        let peers = lab.asks("node-1", "consul operator raft list-peers");
        peers.lines().any(|line| line.starts_with(host) && line.contains(" leader "))
    });
    lab.sets_consul("log_level: debug");
    lab.asks(leader.unwrap(), "systemctl kill -s KILL consul");
    let ran = lab.run("up", &["--limit", &SERVERS.join(",")]).exits(0).says("3 of 3 voters");
    let words = |line: &str| match (line.contains("unit consul.service"), line.contains(" met: ")) {
        (true, _) => Some("restart"),
        (_, true) => Some("gate"),
        _ => None,
    };
    let mut order: Vec<&str> = ran.stderr.lines().filter_map(words).collect();
    order.dedup_by(|one, other| *one == "gate" && *other == "gate");
    assert_eq!(order.iter().filter(|word| **word == "restart").count(), 3, "{}", ran.stderr);
    assert!(!order.windows(2).any(|pair| pair == ["restart", "restart"]), "{order:?}\n{}", ran.stderr);

    // A host that only SSH does not reach is not dead, be it a server or a client.
    let inventory = std::fs::read_to_string(lab.inventory()).unwrap();
    for (host, says) in [("node-2", "node-1"), ("node-5", "node-4")] {
        lab.without_ssh(host, 600);
        let new = [host, "--name", "node-7", "--address", "10.77.0.17", "--yes", "--timeout", "5s"];
        lab.run("replace-node", &new)
            .exits(1)
            .says(&format!("gossip of consul on {says} has {host} as alive"))
            .says("only a dead host is replaced");
    }
    lab.run("remove-node", &["node-5", "--yes", "--timeout", "5s"]).exits(1).says("it would join again");
    assert_eq!(std::fs::read_to_string(lab.inventory()).unwrap(), inventory);
    let peers = lab.asks("node-1", "consul operator raft list-peers");
    assert_eq!(peers.matches(" true ").count(), 3, "{peers}");
}

/// Runs: Consul: a restart that the plan names happens, beside a unit of the same name in /lib
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_what_the_plan_restarts_is_restarted() {
    let lab = Lab::up(&["--hosts", "3"]);
    // Somebody's unit of the same name, of which systemd knows.
    let theirs = "[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n";
    let unit = "/lib/systemd/system/consul.service";
    lab.asks(
        "node-1",
        &format!("printf '{theirs}' >{unit} && systemctl daemon-reload && systemctl enable -q consul && systemctl start consul"),
    );
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let fragment = lab.asks("node-1", "systemctl show -p FragmentPath --value consul");
    assert_eq!(fragment.trim(), "/etc/systemd/system/consul.service");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // An agent with a stranger's setting: once the file is ours again, so is what the agent runs with.
    let level = "curl -s http://127.0.0.1:8500/v1/agent/self | tr , '\\n' | grep '\"LogLevel\"\\|\"Level\"'; \
        systemctl show -p InvocationID --value consul";
    let ours = lab.asks("node-2", level);
    lab.asks(
        "node-2",
        "sed -i 's/\"log_level\": *\"[a-zA-Z]*\"/\"log_level\": \"TRACE\"/' /etc/consul.d/consul.json",
    );
    lab.asks("node-2", "grep -q TRACE /etc/consul.d/consul.json && systemctl restart consul");
    poll("the agent is back", Duration::from_secs(30), || (lab.run("health", &[]).status == 0).then_some(()));
    let theirs = lab.asks("node-2", level);
    assert!(theirs.to_lowercase().contains("trace"), "{theirs}");
    let plan = lab.run("plan", &[]).exits(0).stdout;
    assert!(plan.contains("restart: /etc/consul.d/consul.json changes"), "{plan}");
    lab.run("up", &[]).exits(0);
    let now = lab.asks("node-2", level);
    let settings = |said: &str| {
        said.lines().filter(|line| line.contains("Level")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(settings(&now), settings(&ours));
    assert_ne!(now.lines().last(), theirs.lines().last(), "it runs on");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A release that need not read what this one has written: refused before anything is asked for or touched.
    let wanted = format!("version: {}", consul());
    let untouched = all(&lab, &SERVERS, AS_IT_IS);
    lab.edit(&wanted, "version: 1.7.0");
    lab.run("up", &[])
        .exits(1)
        .says(&format!("consul-servers runs {} there, and the inventory says 1.7.0", consul()))
        .says("set `consul.version` to");
    assert_eq!(all(&lab, &SERVERS, AS_IT_IS), untouched);
    lab.edit("version: 1.7.0", &wanted);

    // Who only looks, saves or stops needs no site that has the release which the inventory wants.
    lab.edit(&wanted, "version: 1.14.99");
    lab.run("plan", &[]).exits(1).says("1.14.99");
    lab.run("health", &[]).exits(0).says("version 1.14.99 not installed");
    lab.run("snapshot save", &[]).exits(0);
    lab.run("down", &["--yes"]).exits(0);
}

/// Runs: Consul: a member that left comes back bare, and old data of an ended cluster is refused
/// Walks: set the key back; or first bring the new one into the keyring
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_old_data_never_comes_back() {
    let lab = Lab::up(&["--hosts", "5"]);
    lab.run("up", &[]).exits(0).says("5 of 5 voters");
    lab.asks("node-1", "consul kv put of-the-first yes && mkdir -p /opt/consul/theirs");

    // What an agent has left that is stopped is not given to an older release.
    lab.run("down", &["--yes"]).exits(0);
    let version = format!("version: {}", consul());
    lab.edit(&version, "version: 1.8.7");
    let refused = format!("consul-servers ran {} there, and the inventory says 1.8.7", consul());
    lab.run("up", &[]).exits(1).says(&refused).says("`consul.version`");
    lab.edit("version: 1.8.7", &version);
    lab.run("up", &[]).exits(0).says("5 of 5 voters");

    // A folder that changes its place would be a member without a past.
    let untouched = all(&lab, &SERVERS, AS_IT_IS);
    lab.sets_consul("data_dir: /srv/consul");
    lab.run("up", &[]).exits(1).says("its data is in /opt/consul").says("`mv /opt/consul /srv/consul`");
    assert_eq!(all(&lab, &SERVERS, AS_IT_IS), untouched);
    lab.edit("\n    data_dir: /srv/consul", "");
    // Nor does another key of gossip cut a member off, and no word of either is shown.
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    lab.sets_consul(&format!("gossip_key: {key}"));
    let ran = lab.run("up", &[]).exits(1).says("another key than the inventory's").says("consul keyring");
    assert!(!ran.stderr.contains(key), "{}", ran.stderr);
    assert_eq!(all(&lab, &SERVERS, AS_IT_IS), untouched);
    // The way out that it names.
    lab.asks("node-1", &format!("consul keyring -install {key} && consul keyring -use {key}"));
    lab.run("up", &[]).exits(0).says("5 of 5 voters");

    // Who leaves keeps nothing that could bring the past back, and no key.
    let before = std::fs::read_to_string(lab.inventory()).unwrap();
    let asks = lab.run("remove-node", &["node-5"]).exits(2);
    assert!(asks.stderr.contains("node-5 leaves") && asks.stderr.contains("with --yes"), "{}", asks.stderr);
    assert_eq!(std::fs::read_to_string(lab.inventory()).unwrap(), before);
    lab.run("remove-node", &["node-5", "--yes"]).exits(0).says("4 of 4 voters");
    lab.ssh("node-5", "test -e /opt/consul/raft || test -e /etc/consul.d/secrets.json").exits(1);
    lab.asks("node-5", "ls -d /opt/consul/raft.left-* && ls /opt/consul/raft.left-*/raft.db");

    // One that is no member of the living cluster, with the data of one: nothing is touched.
    std::fs::write(lab.inventory(), &before).unwrap();
    lab.asks("node-5", "cp -a /opt/consul/raft.left-* /opt/consul/raft");
    let started = all(&lab, &SERVERS, AS_IT_IS);
    lab.run("up", &[])
        .exits(1)
        .says("node-5")
        .says("does not count it among its members")
        .says("mv /opt/consul/raft");
    assert_eq!(all(&lab, &SERVERS, AS_IT_IS), started);
    lab.asks("node-5", "rm -r /opt/consul/raft");
    lab.run("up", &[]).exits(0).says("5 of 5 voters");

    // The next cluster of this name is another one: a host that missed the end of the last is refused.
    lab.lab(&["kill", "node-5"]);
    let others = before.lines().filter(|line| !line.starts_with("  node-5:"));
    let others: String = others.map(|line| line.replace(", node-5]", "]") + "\n").collect();
    std::fs::write(lab.inventory(), others).unwrap();
    lab.run("down", &["--purge", "--yes"]).exits(0);
    let left = lab.asks("node-1", "ls -A /opt/consul; test ! -e /etc/consul.d/secrets.json");
    assert_eq!(left, "theirs\n", "what is not Consul's was removed too, or not all of Consul's");
    lab.run("up", &[]).exits(0).says("4 of 4 voters");
    assert_eq!(lab.ssh("node-1", "consul kv get of-the-first").stdout, "");
    lab.asks("node-1", "consul kv put of-the-second yes");
    lab.lab(&["start", "node-5"]);
    std::fs::write(lab.inventory(), &before).unwrap();
    let started = all(&lab, &SERVERS, AS_IT_IS);
    lab.run("up", &[]).exits(1).says("node-5").says("it belongs to cluster `dc1`");
    assert_eq!(all(&lab, &SERVERS, AS_IT_IS), started);
    for host in SERVERS {
        assert_eq!(lab.asks(host, "consul kv get -stale of-the-second"), "yes\n", "{host}");
    }
}

/// Runs: Consul: a member that the inventory does not name is told before any change, and forgotten once it is gone
/// Walks: where the host is gone for good, `bootstrap forget INVENTORY {name}`
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_member_that_nobody_names() {
    let lab = Lab::up(&["--hosts", "5"]);
    lab.run("up", &[]).exits(0).says("5 of 5 voters");
    let inventory = std::fs::read_to_string(lab.inventory()).unwrap();
    // Named, and no server any more.
    std::fs::write(lab.inventory(), inventory.replace(", node-5]", "]")).unwrap();
    lab.run("up", &[]).exits(1).says(
        "node-5 (10.77.0.15) is a member of consul-servers, and its role for that is not in the inventory",
    );
    let lines = inventory.lines().filter(|line| !line.starts_with("  node-5:"));
    let without: String = lines.map(|line| line.replace(", node-5]", "]") + "\n").collect();
    std::fs::write(lab.inventory(), &without).unwrap();
    lab.sets_consul("log_level: debug");
    let hosts = ["node-1", "node-2", "node-3", "node-4", "node-5"];
    let untouched = all(&lab, &hosts, AS_IT_IS);
    lab.run("up", &[])
        .exits(1)
        .says("node-5 (10.77.0.15) is a member of consul-servers and not in the inventory")
        .says("bootstrap forget INVENTORY node-5");
    assert_eq!(all(&lab, &hosts, AS_IT_IS), untouched);

    // The way out that it names: refused for who lives, and for who is named.
    lab.run("forget", &["node-5", "--yes"]).exits(1).says("as alive").says("bootstrap remove-node");
    lab.run("forget", &["node-4", "--yes"]).exits(1).says("node-4 is in the inventory");
    lab.run("forget", &["node-9", "--yes"]).exits(1).says("knows a member node-9");
    assert_eq!(all(&lab, &hosts, AS_IT_IS), untouched);
    lab.lab(&["kill", "node-5"]);
    lab.run("forget", &["node-5"]).exits(2).says("node-5 is taken out of consul-servers").says("with --yes");
    lab.run("forget", &["node-5", "--yes"]).exits(0);
    let peers = lab.asks("node-1", "consul operator raft list-peers");
    assert!(peers.matches(" true ").count() == 4 && !peers.contains("node-5"), "{peers}");
    lab.run("up", &[]).exits(0).says("4 of 4 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Consul: servers whose ACLs deny are never restarted together
/// Walks: the API of {} refuses to tell of the cluster
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_servers_that_refuse_to_tell_are_not_restarted_together() {
    let lab = Lab::up(&["--hosts", "3"]);
    lab.sets_consul("acl: off");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let refuses = "its API refuses to tell (status 403: ACLs?)";

    // The first that has them is put back, and the others never get them.
    let first = follower(&lab);
    let others: Vec<&str> = SERVERS.into_iter().filter(|host| *host != first).collect();
    let (untouched, files) = (all(&lab, &others, AS_IT_IS), lab.asks(first, FILES));
    let acl = "extra_config: { acl: { enabled: true, default_policy: deny } }";
    lab.sets_consul(acl);
    // It is not waited for as long as for somebody who is slow.
    let began = Instant::now();
    let ran = lab.run("up", &["--timeout", "3m"]).exits(4).says(refuses);
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}: {}", began.elapsed(), ran.stderr);
    assert!(!ran.stderr.contains("line 1 column 1"), "{}", ran.stderr);
    assert_eq!((all(&lab, &others, AS_IT_IS), lab.asks(first, FILES)), (untouched, files));
    lab.edit(&format!("\n    {acl}"), "");

    // By somebody's hand all have them: whoever leads, nobody tells.
    for host in SERVERS {
        lab.asks(
            host,
            "sed -i '0,/{/s//{\"acl\": {\"enabled\": true, \"default_policy\": \"deny\"},/' /etc/consul.d/consul.json \
             && systemctl restart consul",
        );
    }
    for host in SERVERS {
        poll("it refuses", Duration::from_secs(30), || {
            let ask = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8500/v1/operator/raft/configuration?stale";
            (lab.ssh(host, ask).stdout == "403").then_some(())
        });
    }
    let theirs = all(&lab, &SERVERS, AS_IT_IS);
    let health = lab.run("health", &[]).exits(4);
    assert!(
        health.stderr.contains(refuses) && !health.stderr.contains("no server answers"),
        "{}",
        health.stderr
    );
    lab.run("up", &["--timeout", "20s"])
        .exits(4)
        .says("refuses to tell of the cluster")
        .says("`bootstrap down`");
    assert_eq!(all(&lab, &SERVERS, AS_IT_IS), theirs);
    // The way out that it names.
    lab.run("down", &["--yes"]).exits(0);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
}
