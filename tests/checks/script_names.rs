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

#[test]
fn whom_the_host_asks_by_itself_and_where_its_packages_are_from() {
    for shell in shells() {
        let host = Host::new();
        let root = host.at("root");
        let prints =
            |function: &'static str| host.apply(shell, vec![call(function, &[&root])]).1.trim().to_owned();
        assert_eq!(prints("own_servers"), "", "{shell:?}");
        assert_eq!(prints("package_site"), "", "{shell:?}");
        host.write(
            "root/etc/resolv.conf",
            "search a.b\nnameserver 127.0.0.1\n nameserver 10.0.0.1\nnameserver fe80::1\nnameserver 10.0.0.2",
        );
        assert_eq!(prints("own_servers"), "10.0.0.1 10.0.0.2", "{shell:?}");
        host.write("root/etc/resolv.conf", "nameserver 127.0.0.53\n");
        host.write("root/run/systemd/resolve/resolv.conf", "nameserver 10.0.0.3\nnameserver 127.0.0.1\n");
        assert_eq!(prints("own_servers"), "10.0.0.3", "{shell:?}");

        // What was there before anything of ours counts more.
        for before in [
            "{\"nameservers\": [\"10.0.0.4\", \"127.0.0.1\"], \"search\": [\"a\"]}",
            "{\n  \"nameservers\": [\n    \"10.0.0.4\"\n  ]\n}\n",
        ] {
            host.write("state/resolver", before);
            assert_eq!(prints("own_servers"), "10.0.0.4", "{shell:?}: {before}");
        }
        host.write("state/resolver", "{\"nameservers\": []}");
        assert_eq!(prints("own_servers"), "", "{shell:?}");

        for (file, text, site) in [
            (
                "apt/sources.list",
                "# deb http://not.example.org/\ndeb http://10.77.0.1:7780/gone gone main\n",
                "",
            ),
            (
                "apt/sources.list",
                "deb [signed-by=/k.asc] http://deb.example.org/debian sid main # https://x.org/\n",
                "deb.example.org",
            ),
            ("apt/sources.list", "", ""),
            (
                "apt/sources.list.d/a.sources",
                "Types: deb\nURIs: https://a.example.org:8443/debian\n",
                "a.example.org",
            ),
        ] {
            host.write(&format!("root/etc/{file}"), text);
            assert_eq!(prints("package_site"), site, "{shell:?}: {text}");
        }
    }
}

#[test]
fn a_name_outside_is_found_as_before() {
    let known = address_server(0);
    let refuses = address_server(5);
    let server = |servers: &[&str]| -> Proof {
        serde_json::from_value(
            json!({"name": "they know it", "outside": {"name": "", "servers": servers, "help": "help"}}),
        )
        .unwrap()
    };
    for shell in shells() {
        for missing in [&["python3"][..], &["perl"]] {
            let host = Host::new().without(missing);
            let judged = |proof: &Proof, set_up: bool| {
                let seen = host.ask(shell, proof.probe(set_up, Some("a.example.org")).unwrap());
                proof.judge(&seen.of("probe"))
            };
            assert_eq!(judged(&server(&[&known]), true), UseResult::Right, "{shell:?}");
            assert_eq!(judged(&server(&[&refuses, &known]), true), UseResult::Right, "{shell:?}");
            let UseResult::Wrong(why) = judged(&server(&[&refuses]), true) else { panic!("{shell:?}") };
            assert!(why.starts_with("they know it: `a.example.org` is found by the host"), "{why}");
            assert!(why.ends_with(&format!(", and not by {refuses}: 127.0.0.1 says REFUSED; help")), "{why}");
            // Not set up yet: what is known is said, and nobody is asked.
            let mut later = server(&[&refuses]);
            later.if_exists = Some(serde_json::from_value(json!("/no/such")).unwrap());
            let seen = host.ask(shell, later.probe(false, Some("a.example.org")).unwrap());
            assert_eq!(seen.of("probe").text("outside"), Some("a.example.org"), "{shell:?}: {seen:?}");
            assert_eq!(later.judge(&seen.of("probe")), UseResult::NotAsked);

            let command = |words: &[&str]| -> Proof {
                let outside = json!({"name": "", "command": words, "help": "help"});
                serde_json::from_value(json!({"name": "it finds it", "outside": outside})).unwrap()
            };
            assert_eq!(
                judged(&command(&["sh", "-c", "[ \"$1\" = a.example.org ]", "x"]), true),
                UseResult::Right,
                "{shell:?}"
            );
            let UseResult::Wrong(why) = judged(&command(&["sh", "-c", "[ \"$1\" = b ]", "x"]), true) else {
                panic!("{shell:?}")
            };
            assert!(why.contains("and not so; help"), "{why}");
        }
    }
}

/// Answers every query with `count` records, or with the code it is given; returns its port.
fn server(code: u8, count: u8, records: fn(&mut Vec<u8>)) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            let mut reply = query[..length].to_vec();
            reply[2..4].copy_from_slice(&[0x85, 0x80 | code]);
            if code == 0 {
                reply[7] = count;
                records(&mut reply);
            }
            socket.send_to(&reply, asker).unwrap();
        }
    });
    format!("127.0.0.1#{port}")
}

/// The same with an address.
fn address_server(code: u8) -> String {
    server(code, 1, |reply| reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 7]))
}

/// The same with two service records.
fn name_server(code: u8) -> String {
    server(code, 2, |reply| {
        for port in [8300_u16, 80] {
            // Its owner is the name that was asked for, and its target ends in it too.
            reply.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0, 0, 11, 0, 1, 0, 1]);
            reply.extend(port.to_be_bytes());
            reply.extend([2, b'n', b'1', 0xc0, 12]);
        }
    })
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
            let seen = host.ask(shell, proof.probe(is_set_up, None).unwrap());
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
