//! What many probes ask for is asked once: they say the same as each would by itself, and a look starts few processes.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::shells::{Host, call, have, shells};
use bootstrap::model::{Call, PrefetchOf, StepId};
use bootstrap::script::{Nonce, Observation, Record, Script};

/// Paths of every kind, with names that a list of paths could get wrong.
fn paths(host: &Host) -> Vec<String> {
    for name in ["a file", "it's", "b  c", "c", "*", "é", "back\\slash", "two\nlines", "-n", "empty", "sub/c"]
    {
        host.write(&format!("etc/{name}"), format!("what is in {name}\n\n"));
    }
    host.write("etc/empty", "");
    host.write("etc/no end", "a\nb");
    host.write("etc/binary", b"\x00\xff\r\n\x00");
    host.write("etc/large", "x".repeat(300_000));
    let no_access = host.write("etc/private", "hunter2");
    std::fs::set_permissions(no_access, std::fs::Permissions::from_mode(0o000)).unwrap();
    for (link, target) in [
        ("to c", "c"),
        ("dangling", "nowhere"),
        ("to folder", "sub"),
        ("far", "/etc/passwd"),
        ("odd", "two\nlines"),
    ] {
        symlink(target, host.at(&format!("etc/{link}"))).unwrap();
    }
    let names = [
        "a file",
        "it's",
        "b  c",
        "c",
        "*",
        "é",
        "back\\slash",
        "two\nlines",
        "-n",
        "empty",
        "sub/c",
        "no end",
        "binary",
        "large",
        "private",
        "to c",
        "dangling",
        "to folder",
        "far",
        "odd",
        "sub",
        "absent",
        "c/below a file",
        "absent/too",
    ];
    names.iter().map(|name| host.at(&format!("etc/{name}"))).collect()
}

/// Probes of all kinds that know of a prefetch.
fn probes(host: &Host) -> Vec<(StepId, Call)> {
    let mut probes: Vec<Call> = Vec::new();
    for path in paths(host) {
        probes.extend([
            call("file_probe", &[&path, "read"]).with_prefetch([PrefetchOf::Content.named(&path)]),
            call("file_probe", &[&path, "digest"]).with_prefetch([PrefetchOf::Digest.named(&path)]),
            call("directory_probe", &[&path]).with_prefetch([PrefetchOf::Path.named(&path)]),
            call("merged_probe", &[&path]).with_prefetch([PrefetchOf::Content.named(&path)]),
        ]);
    }
    let users = [
        ("root", "root", "", ""),
        ("root", "nogroup", "0", "0"),
        ("nobody", "wheel", "65534", "4711"),
        ("ada", "ada", "", ""),
    ];
    for (user, group, uid, gid) in users {
        let numbers = [PrefetchOf::User.named(uid), PrefetchOf::Group.named(gid)];
        probes.push(
            call("user_probe", &[user, group, uid, gid])
                .with_prefetch([PrefetchOf::User.named(user), PrefetchOf::Group.named(group)])
                .with_prefetch(numbers.into_iter().filter(|number| !number.name.is_empty())),
        );
    }
    let names = ["base-files", "no-such-package", "libc6"];
    probes
        .push(call("package_probe", &names).with_prefetch(names.map(|name| PrefetchOf::Package.named(name))));
    probes.push(call("package_probe", &["dpkg", "base-files"]));
    probes.into_iter().enumerate().map(|(number, call)| (StepId(format!("{number} {call}")), call)).collect()
}

/// What differs from one moment to the next.
const PASSING: [&str; 2] = ["epoch", "addresses"];

/// What the records say, without that.
fn said(records: &[Record]) -> Vec<(String, String, Vec<u8>)> {
    let seen = |record: &Record| match record {
        Record::Seen { id, key, value } if !PASSING.contains(&key.as_str()) => {
            Some((id.clone(), key.clone(), value.clone()))
        }
        _ => None,
    };
    records.iter().filter_map(seen).collect()
}

#[test]
fn probes_say_the_same_with_and_without_it() {
    for shell in shells() {
        let host = Host::new();
        let probes = probes(&host);
        let [facts, clock] =
            ["facts", "clock_probe"].map(|function| (StepId("facts".into()), call(function, &[])));
        let alone: Vec<_> = [clock, facts].into_iter().chain(probes.iter().cloned()).collect();
        let alone = said(&host.run(shell, &Script::ask(&Nonce::random(), &alone)));
        let together = said(&host.run(shell, &Script::observe(&Nonce::random(), &[], &probes, &[])));
        assert!(alone.len() > 250, "{}", alone.len());
        for (alone, together) in alone.iter().zip(&together) {
            assert_eq!(alone, together, "{shell:?}");
        }
        assert_eq!(alone.len(), together.len(), "{shell:?}");
    }
}

#[test]
fn what_a_link_leads_to_is_not_read() {
    for shell in shells() {
        let host = Host::new();
        let program = host.write("program", "");
        // Without a byte on the disk, and half a minute to read.
        std::fs::File::options().write(true).open(&program).unwrap().set_len(16 << 30).unwrap();
        let link = host.at("link");
        symlink(&program, &link).unwrap();
        let probe = call("unit_probe", &["a.service", "1", &link])
            .with_prefetch([PrefetchOf::Digest.named(&link), PrefetchOf::Content.named(&link)]);
        let began = Instant::now();
        let script = Script::observe(&Nonce::random(), &[], &[(StepId("unit".into()), probe)], &[]);
        let records = host.run(shell, &script.clone());
        assert!(began.elapsed() < Duration::from_secs(5), "{shell:?}: {:?}", began.elapsed());
        assert!(records.len() > 5, "{records:?}");
    }
}

/// The number of processes that a text starts, the shell itself among them.
fn processes(shell: &[&str], text: &str) -> usize {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), text).unwrap();
    // In a name space of its own processes are numbered from 1; the last one says how far that went.
    let count = r#"script=$1; shift; "$@" <"$script" >/dev/null 2>&1; sh -c 'echo $$'"#;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", count, "sh"]).arg(script.path()).args(shell);
    let output = command.output().unwrap();
    let last: usize = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    last - 2
}

#[test]
fn a_look_starts_few_processes_however_many_files_there_are() {
    if !have("unshare") || crate::shells::account().0 != "0" {
        return;
    }
    let counted = |files: usize| {
        let host = Host::new();
        let probes: Vec<_> = (0..files)
            .flat_map(|number| {
                let path = host.write(&format!("etc/{number}"), format!("{number}\n"));
                let link = host.at(&format!("etc/link {number}"));
                symlink(&path, &link).unwrap();
                let folder = host.at("etc");
                [
                    call("file_probe", &[&path, "read"]).with_prefetch([PrefetchOf::Content.named(&path)]),
                    call("file_probe", &[&path, "digest"]).with_prefetch([PrefetchOf::Digest.named(&path)]),
                    call("file_probe", &[&link, "read"]).with_prefetch([PrefetchOf::Content.named(&link)]),
                    call("directory_probe", &[&folder]).with_prefetch([PrefetchOf::Path.named(&folder)]),
                    call("user_probe", &["root", "root", "", ""])
                        .with_prefetch([PrefetchOf::User.named("root"), PrefetchOf::Group.named("root")]),
                    call("package_probe", &["libc6"]).with_prefetch([PrefetchOf::Package.named("libc6")]),
                ]
                .map(|call| (StepId(format!("{number} {call}")), call))
            })
            .collect();
        let script = Script::observe(&Nonce::random(), &[], &probes, &[]);
        let seen = Observation::new(&host.run(&["dash"], &script));
        assert!(seen.of(&probes[0].0.0).has("body"));
        processes(&["dash", "-s"], &host.text(&script))
    };
    let (few, many) = (counted(1), counted(40));
    assert_eq!(few, many, "of 1 file and of 40");
    assert!(many <= 20, "{many} processes");
}
