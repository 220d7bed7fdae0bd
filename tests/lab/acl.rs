//! Agents of Consul that know who asks, on lab hosts: what a token may do, and what nobody may without one. Needs root.

use std::fs;

use crate::support::Lab;

const ALL: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];

/// Asks the host's own agent by DNS for a service: how many addresses it has.
const LOOKUP: &str = r#"perl -e '
use IO::Socket::INET;
my $agent = IO::Socket::INET->new(PeerAddr => "127.0.0.1:8600", Proto => "udp") or die;
$agent->send(pack("n6", 1, 256, 1, 0, 0, 0) . join("", map { chr(length) . $_ } qw(web service consul)) . "\0" . pack("n2", 1, 1));
alarm 5;
$agent->recv(my $answer, 512);
print unpack("x6n", $answer)'"#;

/// The status of a request to the host's own agent, with a token on the standard input of who sends it.
fn status(lab: &Lab, host: &str, token: Option<&str>, words: &str) -> String {
    let header = token.map(|token| format!("header = \\\"X-Consul-Token: {token}\\\"")).unwrap_or_default();
    let call = format!(
        "echo \"{header}\" | command curl -q -K - -sS --max-time 5 --noproxy '*' -o /dev/null -w '%{{http_code}}' {words}"
    );
    lab.asks(host, &call)
}

/// What the store of the cluster's secrets has under a name.
fn secret(lab: &Lab, name: &str) -> String {
    let text = fs::read_to_string(lab.folder.path().join(".bootstrap/dc1/secrets.json")).unwrap();
    let secrets: serde_json::Value = serde_json::from_str(&text).unwrap();
    secrets["values"][name].as_str().unwrap_or_else(|| panic!("no secret {name}")).to_owned()
}

fn exec(lab: &Lab, host: &str, words: &[&str]) -> String {
    lab.run("exec", &[&[host, "--"], words].concat()).exits(0).stdout
}

/// Runs: Consul: agents know who asks from the first start: nobody without a token gets more than DNS, each token what it is for; changed rules and lost tokens are mended, those of a host that left are gone
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_agents_know_who_asks_from_the_first_start() {
    let lab = Lab::up(&["--hosts", "4"]);
    lab.sets_consul("acl: auto");
    lab.edit(
        "roles: [consul-client]",
        "roles: [consul-client], vars: { consul: { services: [{ name: web, port: 80, tags: [blue] }] } }",
    );
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("token `agent of node-4`: absent"), "{planned}");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let before = lab.logins("node-1");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let made = lab.logins("node-1").since(before);
    assert_eq!((made.handshakes, made.sessions), (1, 1));
    lab.run("health", &[]).exits(0);

    // Who shows nothing gets what DNS needs, on servers and clients; who shows what nobody has made, nothing.
    let api = "http://127.0.0.1:8500/v1";
    for host in ["node-1", "node-4"] {
        for (words, expected) in [
            (format!("{api}/catalog/nodes"), "200"),
            (format!("{api}/health/service/web"), "200"),
            (format!("{api}/agent/self"), "403"),
            (format!("{api}/kv/a"), "403"),
            (format!("-X PUT -d 1 {api}/kv/a"), "403"),
            (format!("{api}/operator/raft/configuration"), "403"),
            (format!("{api}/operator/keyring"), "403"),
            (format!("{api}/snapshot"), "403"),
            (format!("{api}/acl/tokens"), "403"),
            (format!("-X PUT {api}/agent/leave"), "403"),
            (format!("-X PUT -d '{{\"Name\":\"x\"}}' {api}/agent/service/register"), "403"),
        ] {
            // A server's refusal of a snapshot may come as a client's failure.
            let got = status(&lab, host, None, &words).replace("500", "403");
            assert_eq!(got, expected, "{words} on {host}");
        }
        let wrong = status(&lab, host, Some("00000000-1111-4222-8333-444444444444"), &format!("{api}/kv/a"));
        assert_eq!(wrong, "403");
    }
    assert_eq!(lab.asks("node-2", LOOKUP), "1", "the service that the client registers");

    // Each token is good for what it is for.
    let observe = secret(&lab, "consul.observe_token");
    let reads = |path: &str| status(&lab, "node-1", Some(&observe), &format!("{api}/{path}"));
    assert_eq!((reads("agent/self"), reads("operator/raft/configuration")), ("200".into(), "200".into()));
    assert_eq!(status(&lab, "node-1", Some(&observe), &format!("-X PUT -d 1 {api}/kv/a")), "403");
    assert_eq!(status(&lab, "node-1", Some(&observe), &format!("{api}/snapshot")), "403");
    let agent = secret(&lab, "consul.agent_token of node-4");
    let register =
        format!("-X PUT -d '{{\"Node\":\"node-1\",\"Address\":\"192.0.2.9\"}}' {api}/catalog/register");
    assert_eq!(status(&lab, "node-4", Some(&agent), &register), "403", "it may speak for its own host alone");

    // Whoever operates needs no token at hand.
    exec(&lab, "node-1", &["consul", "kv", "put", "a", "b"]);
    assert!(exec(&lab, "node-4", &["consul", "members"]).matches(" alive ").count() == 4);
    lab.run("snapshot save", &[]).exits(0);
    lab.run("drill", &["leader", "--yes"]).exits(0);

    // What may do everything is with the operator alone, and none is where others read.
    let all: Vec<String> = ["manage", "observe", "operate"]
        .iter()
        .map(|name| secret(&lab, &format!("consul.{name}_token")))
        .chain(ALL.map(|host| secret(&lab, &format!("consul.agent_token of {host}"))))
        .collect();
    let here = lab.folder.path();
    for host in ALL {
        for token in &all[..3] {
            let found =
                lab.ssh(host, &format!("grep -rlF '{token}' /etc /root /tmp /var/lib /var/log /run || true"));
            assert_eq!(found.stdout, "", "{host}");
        }
        for token in &all {
            let said = lab.asks(host, &format!("journalctl --no-pager | grep -cF '{token}' || true"));
            assert_eq!(said, "0\n", "in the journal of {host}");
            let reads = format!(
                "runuser -u nobody -- grep -rlF '{token}' /etc /var/lib /tmp /run /opt 2>/dev/null || true"
            );
            let open = lab.asks(host, &reads);
            assert_eq!(open, "", "{host}");
        }
    }
    for entry in fs::read_dir(here.join(".bootstrap/dc1/logs")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(all.iter().all(|token| !text.contains(token.as_str())));
    }

    // Somebody changes rules and takes a token away: both are told, and mended. (Clients count on what they were told for half a minute.)
    let update =
        ["consul", "acl", "policy", "update", "-name", "bootstrap-operate", "-rules", "operator = \"read\""];
    exec(&lab, "node-1", &update);
    let tokens = exec(&lab, "node-1", &["consul", "acl", "token", "list"]);
    let of_agent = tokens.split("AccessorID:").find(|token| token.contains("agent of node-1")).unwrap();
    exec(
        &lab,
        "node-1",
        &["consul", "acl", "token", "delete", "-id", of_agent.split_whitespace().next().unwrap()],
    );
    let own = secret(&lab, "consul.agent_token of node-1");
    let own = || status(&lab, "node-1", Some(&own), &format!("{api}/agent/self"));
    assert_eq!(own(), "403");
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("policy `bootstrap-operate`: other rules"), "{planned}");
    assert!(planned.contains("token `agent of node-1`: absent"), "{planned}");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(own(), "200");

    // A rolling change goes by the same tokens, and what was a host's goes with it.
    lab.edit("acl: auto", "acl: auto\n    log_level: debug");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("remove-node", &["node-4", "--yes"]).exits(0);
    lab.run("up", &[]).exits(0);
    let tokens = exec(&lab, "node-1", &["consul", "acl", "token", "list"]);
    assert!(tokens.contains("agent of node-3") && !tokens.contains("node-4"), "{tokens}");
    assert!(!fs::read_to_string(here.join(".bootstrap/dc1/secrets.json")).unwrap().contains("of node-4"));
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Walks: set `consul: { acl: auto }`; a cluster without ACLs is made anew, after `bootstrap down --purge`
/// Runs: Consul: servers that do not know the tokens of the secrets, since these were lost, take new ones by the file that their leader reads
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_tokens_that_were_lost_are_made_anew() {
    let lab = Lab::up(&[]);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.sets_consul("acl: on");
    lab.run("up", &[]).exits(1).says("set up without ACLs").says("acl: auto");
    lab.edit("acl: on", "acl: auto");
    lab.run("up", &[]).exits(0).says("Nothing to do").says("answer everybody");
    lab.run("down", &["--purge", "--yes"]).exits(0);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.edit("acl: auto", "acl: off");
    lab.run("up", &[]).exits(1).says("answer by who asks").says("acl: auto");
    lab.edit("acl: off", "acl: auto");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    exec(&lab, "node-1", &["consul", "kv", "put", "a", "b"]);
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let store = lab.folder.path().join(".bootstrap/dc1/secrets.json");
    let text = fs::read_to_string(&store).unwrap();
    let mut secrets: serde_json::Value = serde_json::from_str(&text).unwrap();
    let values = secrets["values"].as_object_mut().unwrap();
    values.retain(|name, _| !name.contains("_token"));
    fs::write(&store, serde_json::to_string(&secrets).unwrap()).unwrap();
    // What they know of others stays, so it is not done unasked.
    let said = lab.run("up", &[]);
    assert_ne!(said.status, 0);
    let text = said.stdout + &said.stderr;
    assert!(text.contains("know none of the tokens") && text.contains("--yes"), "{text}");
    lab.run("up", &["--yes"]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(exec(&lab, "node-1", &["consul", "kv", "get", "a"]), "b\n");
    let tokens = exec(&lab, "node-1", &["consul", "acl", "token", "list"]);
    assert_eq!(tokens.matches("bootstrap: observe").count(), 1, "{tokens}");
    lab.run("health", &[]).exits(0);

    // A state that knows the tokens of before, and not those of now.
    exec(&lab, "node-1", &["consul", "kv", "put", "a", "c"]);
    lab.run("snapshot restore", &[saved.trim().rsplit(' ').next().unwrap(), "--yes"])
        .exits(0)
        .says("3 of 3 voters");
    assert_eq!(exec(&lab, "node-1", &["consul", "kv", "get", "a"]), "b\n");
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
