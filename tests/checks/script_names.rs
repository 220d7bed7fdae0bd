//! How a host resolves names, and what it is told when asked: under every shell.

use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::thread;

use crate::shells::{Host, call, have, shells};
use bootstrap::roles::{Proof, UseResult};
use serde_json::json;

#[test]
fn what_resolves_names_is_said() {
    for shell in shells() {
        let host = Host::new();
        let root = host.at("root");
        let ask = || host.ask(shell, call("resolver_facts", &[&root]));
        host.write("root/etc/nsswitch.conf", "hosts: files dns\n");
        let seen = ask();
        assert_eq!(seen.of("probe").text("resolver-writers"), Some(""), "{shell:?}: {seen:?}");
        assert!(!seen.of("probe").has("resolv-conf"), "{shell:?}: {seen:?}");

        host.write("root/etc/resolv.conf", "nameserver 10.0.0.1\nsearch a.b");
        host.write("root/etc/dhcpcd.conf", "");
        host.write("root/etc/dhcp/dhclient-enter-hooks.d/x", "");
        let seen = ask();
        assert_eq!(seen.of("probe").text("resolv-conf"), Some("nameserver 10.0.0.1\nsearch a.b"));
        assert_eq!(seen.of("probe").text("resolver-writers"), Some("dhclient dhcpcd"));
        assert!(!seen.of("probe").has("resolver-link"), "{shell:?}: {seen:?}");
        assert!(!seen.of("probe").has("resolver-fixed"), "{shell:?}: {seen:?}");

        // A link, also one that leads nowhere, and what systemd-resolved knows.
        std::fs::remove_file(host.at("root/etc/resolv.conf")).unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", host.at("root/etc/resolv.conf")).unwrap();
        host.write("root/run/systemd/resolve/resolv.conf", "nameserver 10.0.0.2\n");
        host.write("root/etc/systemd/resolved.conf", "[Resolve]\n#DNS=10.0.0.8\nDNS=\n");
        host.write(
            "root/etc/systemd/resolved.conf.d/a.conf",
            "[Resolve]\n DNS = 10.0.0.9   10.0.0.10 \nDNSOverTLS=opportunistic",
        );
        host.write("root/etc/nsswitch.conf", "hosts: files resolve [!UNAVAIL=return] dns");
        let seen = ask();
        let seen = seen.of("probe");
        let link = seen.text("resolver-link").unwrap();
        assert!(link.ends_with("/run/systemd/resolve/stub-resolv.conf"), "{shell:?}: {link}");
        assert!(seen.text("resolved-version").unwrap().parse::<u32>().is_ok(), "{shell:?}: {seen:?}");
        assert_eq!(seen.text("resolved-servers"), Some("nameserver 10.0.0.2\n"));
        assert_eq!(seen.all("resolved-global").collect::<Vec<_>>(), ["", "10.0.0.9 10.0.0.10"], "{shell:?}");
        assert_eq!(seen.text("resolved-tls"), Some("opportunistic"), "{shell:?}");
        assert!(seen.has("resolved-nss"), "{shell:?}: {seen:?}");
        assert!(!seen.has("error"), "{shell:?}: {seen:?}");
    }
}

/// Answers every query with two service records, or with the code it is given; returns its port.
fn name_server(code: u8) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            let mut reply = query[..length].to_vec();
            reply[2..4].copy_from_slice(&[0x85, 0x80 | code]);
            if code == 0 {
                reply[7] = 2;
                for port in [8300_u16, 80] {
                    // Its owner is the name that was asked for, and its target ends in it too.
                    reply.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0, 0, 11, 0, 1, 0, 1]);
                    reply.extend(port.to_be_bytes());
                    reply.extend([2, b'n', b'1', 0xc0, 12]);
                }
            }
            socket.send_to(&reply, asker).unwrap();
        }
    });
    format!("127.0.0.1#{port}")
}

#[test]
fn service_records_are_asked_for_with_what_is_there() {
    let (good, none, broken) = (name_server(0), name_server(3), name_server(5));
    // Nobody listens there.
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        format!("127.0.0.1#{}", socket.local_addr().unwrap().port())
    };
    for shell in shells() {
        for missing in [&["python3"][..], &["perl"]] {
            let host = Host::new().without(missing);
            let ask = |servers: &[&str]| {
                let words: Vec<&str> = ["a.b.consul", "SRV"].iter().chain(servers).copied().collect();
                host.ask(shell, call("lookup_ask", &words))
            };
            let seen = ask(&[&closed, &broken, &good, &none]);
            let answers: Vec<_> = seen.of("probe").all("answer").collect();
            assert_eq!(
                answers,
                ["8300 n1.a.b.consul", "80 n1.a.b.consul"],
                "{shell:?} {missing:?}: {seen:?}"
            );
            let seen = ask(&[&none, &good]);
            let trouble = seen.of("probe").text("trouble").map(str::to_owned);
            assert_eq!(
                trouble.as_deref(),
                Some("127.0.0.1 says NXDOMAIN"),
                "{shell:?} {missing:?}: {seen:?}"
            );
            let seen = ask(&[&broken]);
            assert_eq!(
                seen.of("probe").text("trouble"),
                Some("127.0.0.1 says REFUSED"),
                "{shell:?} {missing:?}"
            );
            let seen = ask(&[&closed]);
            assert_eq!(
                seen.of("probe").text("trouble"),
                Some("no answer from 127.0.0.1"),
                "{shell:?} {missing:?}"
            );
        }
        let host = Host::new().without(&["perl", "python3", "dig"]);
        let seen = host.ask(shell, call("lookup_ask", &["a.b.consul", "SRV"]));
        let error = seen.of("probe").text("error").unwrap_or_default().to_owned();
        assert!(error.contains("install perl, python3 or dig"), "{shell:?}: {seen:?}");
    }
}

#[test]
fn a_use_is_asked_and_judged() {
    have("getent");
    for shell in shells() {
        let host = Host::new();
        let marker = host.at("marker");
        let proof = |value| serde_json::from_value::<Proof>(value).unwrap();
        let localhost = proof(json!({
            "name": "n", "lookup": {"name": "localhost", "type": "A", "answer": "127.0.0.1"}, "if_exists": marker,
        }));
        let judged = |proof: &Proof, is_set_up| {
            let seen = host.ask(shell, proof.probe(is_set_up).unwrap());
            proof.judge(&seen.of("probe"))
        };
        assert_eq!(judged(&localhost, false), UseResult::NotAsked, "{shell:?}");
        assert_eq!(judged(&localhost, true), UseResult::Right, "{shell:?}");
        host.write("marker", "");
        assert_eq!(judged(&localhost, false), UseResult::Right, "{shell:?}");
        let none = proof(json!({"name": "n", "lookup": {"name": "no-such.invalid", "type": "A"}}));
        let reason = "`no-such.invalid` has no address here".to_owned();
        assert_eq!(judged(&none, true), UseResult::Wrong(reason), "{shell:?}");
        let good = proof(json!({"name": "n", "command": ["test", "-e", marker]}));
        assert_eq!(judged(&good, false), UseResult::Right, "{shell:?}");
        let bad = proof(json!({"name": "it is there", "command": ["ls", "/no/such"]}));
        let UseResult::Wrong(reason) = judged(&bad, false) else { panic!("{shell:?}") };
        assert!(reason.starts_with("it is there is not so, says `ls`: "), "{shell:?}: {reason}");
        assert!(reason.contains("/no/such"), "{shell:?}: {reason}");
    }
}
