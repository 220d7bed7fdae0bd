//! prelude.sh under every shell that a host may have, for real, in a temporary folder.

use crate::shells;
use std::process::Command;

use crate::shells::{Host, call, have, shells};
use bootstrap::facts::Facts;
use bootstrap::script::{Nonce, Observation, Script};

#[test]
fn shellcheck_finds_nothing() {
    if !have("shellcheck") {
        return;
    }
    let prelude = concat!(env!("CARGO_MANIFEST_DIR"), "/core/src/script/prelude.sh");
    let output = Command::new("shellcheck").args(["-s", "sh", prelude]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn this_machine_says_its_facts() {
    for shell in shells() {
        let records = Host::new().run(shell, &Script::observe(&Nonce::random(), &[], &[], &[]));
        let facts = Facts::parse(&Observation::new(&records).of("facts")).unwrap();
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(
            facts.addresses.iter().any(|(interface, address)| interface == "lo" && address.is_loopback())
        );
        assert!(facts.epoch > 1_700_000_000, "{facts:?}");
    }
}

#[test]
fn users_and_groups_are_found_by_name_and_number() {
    for shell in shells() {
        let seen = Host::new().ask(shell, call("user_probe", &["root", "no-such-group", "0", "4294000000"]));
        let seen = seen.of("probe");
        assert!(seen.text("user").unwrap().starts_with("root:"), "{shell:?}: {seen:?}");
        assert_eq!(seen.text("primary-group"), Some("root"), "{shell:?}");
        assert_eq!(seen.text("group"), Some(""), "{shell:?}");
        assert!(seen.text("uid-owner").unwrap().starts_with("root:"), "{shell:?}");
        assert_eq!(seen.text("gid-owner"), Some(""), "{shell:?}");
        let seen = Host::new().ask(shell, call("user_probe", &["no-such-user", "root", "", ""]));
        let seen = seen.of("probe");
        assert_eq!((seen.text("user"), seen.has("uid-owner")), (Some(""), false), "{shell:?}");
        assert!(seen.text("group").unwrap().starts_with("root:"), "{shell:?}");
    }
}

#[test]
fn packages_are_found() {
    if !have("dpkg-query") {
        return;
    }
    for shell in shells() {
        let seen = Host::new().ask(shell, call("package_probe", &["dpkg", "no-such-package-here"]));
        let seen = seen.of("probe");
        assert_eq!(seen.text("manager"), Some("apt"), "{shell:?}");
        assert_eq!(seen.all("installed").collect::<Vec<_>>(), ["dpkg"], "{shell:?}");
        assert_eq!(seen.all("missing").collect::<Vec<_>>(), ["no-such-package-here"], "{shell:?}");
    }
}

#[test]
fn a_program_does_for_its_packages() {
    if !have("dpkg-query") {
        return;
    }
    for shell in shells() {
        let seen = Host::new().ask(shell, call("package_program_probe", &["sed", "no-such-package-here"]));
        let seen = seen.of("probe");
        assert!(seen.text("program").unwrap().ends_with("/sed"), "{shell:?}: {seen:?}");
        assert!(!seen.has("missing"), "{shell:?}: {seen:?}");
        let seen = Host::new()
            .ask(shell, call("package_program_probe", &["no-such-program", "no-such-package-here"]));
        let seen = seen.of("probe");
        assert_eq!(seen.text("program"), Some("absent"), "{shell:?}");
        assert_eq!(seen.text("missing"), Some("no-such-package-here"), "{shell:?}");
    }
}

#[test]
fn the_kernel_is_asked() {
    for shell in shells() {
        let host = Host::new();
        let seen = host.ask(shell, call("sysctl_probe", &["net.ipv4.ip_forward", &host.at("none")]));
        let live = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(seen.of("probe").text("live"), Some(live.trim()), "{shell:?}");
        assert_eq!(seen.of("probe").text("type"), Some("absent"), "{shell:?}");
        let seen = host.ask(shell, call("sysctl_probe", &["no.such.key", &host.at("none")]));
        assert_eq!(seen.of("probe").text("live-missing"), Some("/proc/sys/no/such/key"), "{shell:?}");
        let seen = host.ask(shell, call("module_probe", &["no-such-module", &host.at("none")]));
        assert_eq!(seen.of("probe").text("loaded"), Some("no"), "{shell:?}");
    }
}

/// The tools of busybox take fewer options than those of coreutils.
#[test]
fn the_tools_of_busybox_do_too() {
    if !have("busybox") {
        return;
    }
    let host = Host::new().without(&["find", "sort", "curl"]).with_busybox_tools();
    let shell = &["busybox", "sh"];
    let records = host.run(shell, &Script::observe(&Nonce::random(), &[], &[], &[]));
    Facts::parse(&Observation::new(&records).of("facts")).unwrap();
    let (user, group) = shells::account();
    let path = host.at("etc/file");
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let steps = vec![
        call("directory_ensure", &[&host.at("etc"), "0750", &user, &group]),
        call("file_write", &[&path, "0640", &user, &group, "absent", digest, "aGVsbG8=", "test", "-s", "%s"]),
        call("link_place", &[&host.at("link"), &path]),
    ];
    assert_eq!(host.apply(shell, steps), (0, String::new()));
    let seen = host.ask(shell, call("file_probe", &[&path, "read"]));
    assert_eq!(seen.of("probe").text("body"), Some("hello"));
    assert!(seen.of("probe").text("stat").unwrap().starts_with("640 "), "{seen:?}");
}

/// Where the rename is kept before the bytes are, a power cut leaves an empty file: neither the old nor the new.
#[test]
fn bytes_are_on_the_disk_before_they_are_in_place() {
    for shell in shells::shells() {
        let host = Host::new().without(&["sync"]);
        let (path, log) = (host.at("file"), host.at("synced"));
        // Says of each name what is to come, and what is in its place until then.
        let places = format!("\"{}\" \"{path}\"", host.at("state/cluster"));
        let sync = host.write(
            "tools/sync",
            format!("#!/bin/sh\n[ $# -gt 0 ] || exit 0\n{{ cat \"$@\"; echo ' for:'; cat {places}; echo; }} >>{log} 2>/dev/null\n"),
        );
        std::fs::set_permissions(sync, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (user, group) = shells::account();
        let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let steps = vec![
            call("cluster_write", &["one"]),
            call("cluster_write", &["two"]),
            call("file_write", &[&path, "0640", &user, &group, "absent", digest, "aGVsbG8="]),
        ];
        assert_eq!(host.apply(shell, steps), (0, String::new()), "{shell:?}");
        let said = String::from_utf8(host.read("synced")).unwrap();
        let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(said, ["one", " for:", "two", " for:", "one", "hello for:", "two"], "{shell:?}");
    }
}
