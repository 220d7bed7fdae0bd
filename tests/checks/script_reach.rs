//! Whether a server's peers can be reached, tried by a host's own shell.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::shells::server::{Page, Server};
use crate::shells::{Host, call, have, shells};
use bootstrap::model::StepId;
use bootstrap::script::{Nonce, Observation, Script};

/// Somebody who listens, and a place where nobody does.
fn places() -> (TcpListener, String, String) {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let place = open.local_addr().unwrap().to_string();
    (open, place, closed)
}

fn lost(host: &Host, shell: &[&str], words: &[&str]) -> Vec<String> {
    let seen = host.ask(shell, call("peers_reach", words));
    let seen = seen.of("probe");
    assert_eq!(seen.text("error"), None, "{shell:?}");
    seen.all("lost").map(str::to_owned).collect()
}

#[test]
fn who_does_not_listen_is_told_by_the_servers_own_word_of_its_peers() {
    let (_listener, open, closed) = places();
    let server = Server::start();
    let peer = |node: &str, address: &str| {
        format!(r#"{{"ID":"1-{node}","Node":"{node}","Address": "{address}","Leader":false,"Voter":true}}"#)
    };
    let body = |peers: &[String]| format!(r#"{{"Servers":[{}],"Index":0}}"#, peers.join(","));
    server.serve("/all", Page::new(body(&[peer("a", &open), peer("*", &closed), peer("c", "[::1]:1")])));
    server.serve("/well", Page::new(body(&[peer("a", &open)])));
    server.serve("/none", Page::new(r#"{"Servers":null,"Index":0}"#));
    server.serve("/denied", Page { status: 403, ..Page::new("Permission denied: \"Address\"") });
    for shell in shells() {
        for without in [&[][..], &["curl"], &["perl"]] {
            let host = Host::new().without(without);
            let ask = |path: &str| {
                let url = format!("{}{path}", server.url);
                let mut lost = lost(&host, shell, &["Address", "http_get", &url]);
                lost.sort();
                lost
            };
            assert_eq!(ask("/all"), [closed.as_str(), "[::1]:1"], "{shell:?} without {without:?}");
            for path in ["/well", "/none", "/denied"] {
                assert_eq!(ask(path), [""; 0], "{shell:?} without {without:?}: {path}");
            }
        }
        // No agent, no peers.
        let url = format!("http://{closed}/");
        assert_eq!(lost(&Host::new(), shell, &["Address", "http_get", &url]), [""; 0], "{shell:?}");
    }
}

/// Without TLS on the way to the server itself, which is curl's own.
#[test]
fn who_is_asked_over_tls_is_visited_over_tls() {
    if !have("curl") {
        return;
    }
    let (listener, open, closed) = places();
    // Whoever says anything has been reached.
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let server = Server::start();
    let member = |id: &str, place: &str| {
        format!(
            r#"{{"ID":"{id}","name":"a","peerURLs":["https://{place}"],"clientURLs":["https://{closed}"]}}"#
        )
    };
    let body = format!(r#"{{"header":{{}},"members":[{},{}]}}"#, member("1", &open), member("2", &closed));
    server.serve("/v3/cluster/member/list", Page::new(body));
    let url = format!("{}/v3/cluster/member/list", server.url);
    for shell in shells() {
        let host = Host::new();
        let file = host.write("own.pem", "");
        let words =
            ["peerURLs", "tls_get", &url, "/etc/ssl/certs/ca-certificates.crt", &file, &file, "", "{}"];
        assert_eq!(lost(&host, shell, &words), [closed.as_str()], "{shell:?}");
    }
}

#[test]
fn who_says_nothing_is_waited_for_two_seconds_all_at_once() {
    let server = Server::start();
    let peers: Vec<String> = (1..=9).map(|port| format!(r#""Address":"127.0.0.1:{port}""#)).collect();
    server.serve("/peers", Page::new(peers.join(",")));
    let url = format!("{}/peers", server.url);
    for shell in shells().filter(|shell| shell[0] != "bash") {
        let host = Host::new().without(&["bash", "perl"]);
        // It connects for ever, as behind a firewall that drops.
        let program = host.write("tools/bash", "#!/bin/sh\nexec sleep 60\n");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let began = Instant::now();
        assert_eq!(lost(&host, shell, &["Address", "http_get", &url]).len(), 9, "{shell:?}");
        assert!(began.elapsed() < Duration::from_secs(6), "{shell:?}: {:?}", began.elapsed());
    }
}

#[test]
fn a_server_that_has_answered_this_script_is_not_asked_again() {
    let (_listener, open, closed) = places();
    for shell in shells() {
        for without in [&[][..], &["perl"], &["perl", "curl"]] {
            let server = Server::start();
            let peers = format!(r#"[{{"Address":"{open}"}},{{"Address":"{closed}"}}]"#);
            server.serve("/peers", Page::new(peers));
            server.serve("/other", Page::new("{}"));
            let [other, peers] = ["other", "peers"].map(|path| format!("{}/{path}", server.url));
            let probes = [
                ("answers", call("http_get", &[&other, &peers])),
                ("reach", call("peers_reach", &["Address", "http_get", &peers])),
            ];
            let probes = probes.map(|(id, call)| (StepId(id.to_owned()), call));
            let host = Host::new().without(without);
            let script = Script::observe(&Nonce::random(), &[], &[], &probes);
            let seen = Observation::new(&host.run(shell, &script));
            let lost: Vec<&str> = seen.of("reach").all("lost").collect();
            assert_eq!(lost, [closed.as_str()], "{shell:?} without {without:?}");
            let asked = server.requests().iter().filter(|(path, _)| path == "/peers").count();
            assert_eq!(asked, 1, "{shell:?} without {without:?}");
        }
    }
}
