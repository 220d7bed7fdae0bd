//! Files, folders and links, as probes see them and steps write them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use crate::shells::{Host, account, call, holder, shells, step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::model::{Arg, Call};
use bootstrap::script::{Nonce, Record, Script};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A write over what has the digest `seen`.
fn write(path: &str, mode: &str, seen: &str, content: &[u8], validate: &[&str]) -> Call {
    let (user, group) = account();
    let args =
        [path, mode, &user, &group, seen, &digest(content), &STANDARD.encode(content)].map(str::to_owned);
    let validate = validate.iter().map(|word| (*word).to_owned());
    Call::new("file_write", args.into_iter().chain(validate).map(|arg| Arg::new(arg).unwrap()))
}

fn mode(host: &Host, path: &str) -> u32 {
    std::fs::metadata(host.at(path)).unwrap().mode() & 0o7777
}

#[test]
fn a_new_file_has_its_content_and_mode() {
    for shell in shells() {
        let host = Host::new();
        host.write("etc/other", "");
        let path = host.at("etc/it's a $(file)");
        let (status, output) = host.apply(shell, vec![write(&path, "0640", "absent", b"one\ntwo", &[])]);
        assert_eq!((status, output.as_str()), (0, ""), "{shell:?}");
        assert_eq!(host.read("etc/it's a $(file)"), b"one\ntwo", "{shell:?}");
        assert_eq!(mode(&host, "etc/it's a $(file)"), 0o640, "{shell:?}");
        assert_eq!(host.names("etc"), ["it's a $(file)", "other"], "{shell:?}");
    }
}

#[test]
fn a_file_that_changed_since_it_was_observed_is_left_alone() {
    for shell in shells() {
        let host = Host::new();
        let path = host.write("etc/file", "theirs");
        for seen in [digest(b"before"), "absent".to_owned()] {
            let (status, output) = host.apply(shell, vec![write(&path, "0644", &seen, b"ours", &[])]);
            assert_eq!(status, 1, "{shell:?}");
            assert!(output.contains("file changed on the host since it was observed"), "{shell:?}: {output}");
            assert_eq!(host.read("etc/file"), b"theirs", "{shell:?}");
            assert_eq!(host.names("etc"), ["file"], "{shell:?}: nothing is left behind");
        }
        let (status, _) = host.apply(shell, vec![write(&path, "0644", &digest(b"theirs"), b"ours", &[])]);
        assert_eq!((status, host.read("etc/file")), (0, b"ours".to_vec()), "{shell:?}");
    }
}

#[test]
fn a_validator_sees_the_final_name_and_mode_and_may_refuse() {
    for shell in shells() {
        let host = Host::new();
        let path = host.write("etc/agent.json", "old");
        let check = "case $1 in --file=*/agent.json) cat \"${1#--file=}\"; stat -c %a \"${1#--file=}\"; exit 3;; esac";
        let validate = ["sh", "-c", check, "sh", "--file=%s"];
        let (status, output) =
            host.apply(shell, vec![write(&path, "0640", &digest(b"old"), b"new\n", &validate)]);
        assert_eq!(status, 1, "{shell:?}");
        assert_eq!(
            output,
            format!("new\n640\n{path} is unchanged: the new content was refused by sh\n"),
            "{shell:?}"
        );
        assert_eq!(
            (host.read("etc/agent.json"), host.names("etc")),
            (b"old".to_vec(), vec!["agent.json".into()])
        );
        let (status, output) =
            host.apply(shell, vec![write(&path, "0640", &digest(b"old"), b"new\n", &["test", "-s", "%s"])]);
        assert_eq!((status, host.read("etc/agent.json")), (0, b"new\n".to_vec()), "{shell:?}: {output}");
    }
}

#[test]
fn links_folders_and_missing_folders_are_errors() {
    for shell in shells() {
        let host = Host::new();
        let target = host.write("target", "theirs");
        symlink(&target, host.at("link")).unwrap();
        std::fs::create_dir(host.at("folder")).unwrap();
        for (path, message) in [
            ("link", "is a symbolic link"),
            ("folder", "is a folder"),
            ("missing/file", "missing does not exist"),
        ] {
            let (status, output) =
                host.apply(shell, vec![write(&host.at(path), "0644", "absent", b"x", &[])]);
            assert_eq!(status, 1, "{shell:?} {path}");
            assert!(output.contains(message), "{shell:?}: {output}");
        }
        assert_eq!(host.read("target"), b"theirs");
    }
}

#[test]
fn a_link_is_replaced_only_by_who_has_seen_it() {
    for shell in shells() {
        let host = Host::new();
        let target = host.write("target", "theirs");
        symlink(&target, host.at("link")).unwrap();
        for (path, seen) in [("link", "link /other"), ("target", "link /other"), ("absent", "link /other")] {
            let (status, output) = host.apply(shell, vec![write(&host.at(path), "0644", seen, b"x", &[])]);
            assert!(status == 1 && output.contains("changed on the host"), "{shell:?} {path}: {output}");
        }
        let seen = format!("link {target}");
        let (status, output) = host.apply(shell, vec![write(&host.at("link"), "0644", &seen, b"ours", &[])]);
        assert_eq!((status, host.read("link")), (0, b"ours".to_vec()), "{shell:?}: {output}");
        assert_eq!(host.read("target"), b"theirs", "{shell:?}");
        assert!(!std::fs::symlink_metadata(host.at("link")).unwrap().is_symlink(), "{shell:?}");
    }
}

#[test]
fn damaged_content_never_lands() {
    for shell in shells() {
        let host = Host::new();
        let (user, group) = account();
        let args =
            [&host.at("file"), "0644", &user, &group, "absent", &digest(b"whole"), &STANDARD.encode("who")];
        let (status, output) = host.apply(shell, vec![call("file_write", &args.map(|arg| arg))]);
        assert_eq!(status, 1, "{shell:?}");
        assert!(output.contains("arrived damaged"), "{shell:?}: {output}");
        assert_eq!(host.names(""), ["lock"], "{shell:?}");
    }
}

#[test]
fn what_a_killed_run_left_is_cleared_away() {
    for shell in shells() {
        let host = Host::new();
        host.write("etc/.file.bootstrap/file", "half");
        let (status, output) =
            host.apply(shell, vec![write(&host.at("etc/file"), "0644", "absent", b"whole", &[])]);
        assert_eq!(status, 0, "{shell:?}: {output}");
        assert_eq!((host.names("etc"), host.read("etc/file")), (vec!["file".into()], b"whole".to_vec()));
    }
}

#[test]
fn large_content_passes_and_is_seen_by_its_digest() {
    for shell in shells() {
        let host = Host::new();
        // More than one argument of a program may hold (128 KiB), more than is read back (256 KiB).
        let content: Vec<u8> = (0..700_000_u32).flat_map(|n| n.to_le_bytes()).take(700_000).collect();
        let path = host.at("large");
        let (status, output) = host.apply(shell, vec![write(&path, "0600", "absent", &content, &[])]);
        assert_eq!(status, 0, "{shell:?}: {output}");
        let seen = host.ask(shell, call("file_probe", &[&path, "read"]));
        assert_eq!(seen.of("probe").text("sha256"), Some(digest(&content).as_str()), "{shell:?}");
        assert!(!seen.of("probe").has("body"));
    }
}

#[test]
fn a_secret_file_is_never_read_back() {
    for shell in shells() {
        let host = Host::new();
        let path = host.write("key", "hunter2");
        let seen = host.ask(shell, call("file_probe", &[&path, "digest"]));
        assert!(!seen.of("probe").has("body"), "{shell:?}");
        assert_eq!(seen.of("probe").text("sha256"), Some(digest(b"hunter2").as_str()), "{shell:?}");
    }
}

#[test]
fn probes_say_what_is_at_a_path() {
    for shell in shells() {
        let host = Host::new();
        host.write("file", "");
        symlink("/nowhere", host.at("link")).unwrap();
        std::fs::create_dir(host.at("folder")).unwrap();
        symlink(host.at("folder"), host.at("link-to-folder")).unwrap();
        let kind = |function, path: &str| {
            let seen = host.ask(shell, call(function, &[&host.at(path), "read"]));
            seen.of("probe").text("type").map(str::to_owned)
        };
        assert_eq!(kind("file_probe", "file").as_deref(), Some("file"), "{shell:?}");
        assert_eq!(kind("file_probe", "link").as_deref(), Some("link"), "{shell:?}");
        assert_eq!(kind("file_probe", "folder").as_deref(), Some("directory"), "{shell:?}");
        assert_eq!(kind("file_probe", "none/at/all").as_deref(), Some("absent"), "{shell:?}");
        assert_eq!(kind("directory_probe", "link-to-folder").as_deref(), Some("directory"), "{shell:?}");
        assert_eq!(kind("directory_probe", "link").as_deref(), Some("link"), "{shell:?}");
    }
}

#[test]
fn a_folder_gets_its_mode_and_those_above_the_usual_one() {
    for shell in shells() {
        let host = Host::new();
        let (user, group) = account();
        let path = host.at("a/b/c");
        let ensure = call("directory_ensure", &[&path, "0750", &user, &group]);
        assert_eq!(host.apply(shell, vec![ensure.clone()]), (0, String::new()), "{shell:?}");
        assert_eq!(
            (mode(&host, "a"), mode(&host, "a/b"), mode(&host, "a/b/c")),
            (0o755, 0o755, 0o750),
            "{shell:?}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(host.apply(shell, vec![ensure]), (0, String::new()), "{shell:?}");
        assert_eq!(mode(&host, "a/b/c"), 0o750, "{shell:?}");
    }
}

#[test]
fn links_move_in_one_rename() {
    for shell in shells() {
        let host = Host::new();
        let link = host.at("bin/tool");
        for target in ["/opt/tool/1/tool", "/opt/tool/2/tool"] {
            assert_eq!(
                host.apply(shell, vec![call("link_place", &[&link, target])]),
                (0, String::new()),
                "{shell:?}"
            );
            assert_eq!(std::fs::read_link(&link).unwrap().to_str(), Some(target), "{shell:?}");
        }
        assert_eq!(host.names("bin"), ["tool"], "{shell:?}");
    }
}

#[test]
fn the_cluster_is_remembered() {
    for shell in shells() {
        let host = Host::new();
        let read = call("cluster_read", &[]);
        assert_eq!(host.ask(shell, read.clone()).of("probe").text("type"), Some("absent"), "{shell:?}");
        assert_eq!(
            host.apply(shell, vec![call("cluster_write", &["dc1 a-b-c"])]),
            (0, String::new()),
            "{shell:?}"
        );
        assert_eq!(host.ask(shell, read).of("probe").text("body"), Some("dc1 a-b-c\n"), "{shell:?}");
    }
}

#[test]
fn raft_data_is_found() {
    for shell in shells() {
        let host = Host::new();
        let probe = call("raft_data", &[&host.at("data")]);
        assert_eq!(host.ask(shell, probe.clone()).of("probe").text("raft"), Some("absent"), "{shell:?}");
        host.write("data/raft/raft.db", "");
        host.write("data/node-id", "1d1d-2e2e");
        let seen = host.ask(shell, probe);
        assert_eq!(seen.of("probe").text("raft"), Some(host.at("data/raft/raft.db").as_str()), "{shell:?}");
        assert_eq!(seen.of("probe").text("node-id"), Some("1d1d-2e2e"), "{shell:?}");
        assert!(seen.of("probe").text("mtime").unwrap().parse::<u64>().unwrap() > 0, "{shell:?}");
    }
}

#[test]
fn what_kubeadm_left_unfinished_is_no_members_data() {
    for shell in shells() {
        let host = Host::new();
        let probe =
            call("state_data", &[&host.at("began"), &host.at("etcd/member"), &host.at("kubelet.conf")]);
        let raft = || host.ask(shell, probe.clone()).of("probe").text("raft").map(str::to_owned);
        assert_eq!(raft().as_deref(), Some("absent"), "{shell:?}");
        host.write("etcd/member/snap/db", "");
        assert_eq!(raft(), Some(host.at("etcd/member")), "{shell:?}");
        host.write("began", "");
        assert_eq!(raft().as_deref(), Some("absent"), "{shell:?}");
        let probe = call(
            "state_data",
            &[
                "",
                &host.at("none"),
                "-",
                &host.at("pki"),
                &host.at("etcd"),
                &host.at("empty"),
                &host.at("conf"),
            ],
        );
        host.write("pki/ca.crt", "");
        host.write("conf", "");
        std::fs::create_dir(host.at("empty")).unwrap();
        let seen = host.ask(shell, probe);
        let remains: Vec<&str> = seen.of("probe").all("remains").collect();
        assert_eq!(remains, ["pki", "etcd", "conf"].map(|name| host.at(name)), "{shell:?}");
        assert_eq!(seen.of("probe").text("raft"), Some("absent"), "{shell:?}");
        let probe = call("state_data", &["", &host.at("etcd/member")]);
        assert_eq!(
            host.ask(shell, probe).of("probe").text("raft"),
            Some(host.at("etcd/member").as_str()),
            "{shell:?}"
        );
    }
}

#[test]
fn guards_are_asked_and_commands_run() {
    for shell in shells() {
        let host = Host::new();
        let satisfied = |probe| host.ask(shell, probe).of("probe").text("satisfied").map(str::to_owned);
        let file = host.at("made");
        assert_eq!(satisfied(call("exec_creates", &[&file])).as_deref(), Some("no"), "{shell:?}");
        assert_eq!(
            satisfied(call("exec_unless", &["test", "-e", &file])).as_deref(),
            Some("no"),
            "{shell:?}"
        );
        assert_eq!(satisfied(call("exec_unless", &["no-such-program"])).as_deref(), Some("no"), "{shell:?}");
        // Words that would end the shell itself, or make it another program.
        for (words, wanted) in [(["exit", "0"], "yes"), (["exit", "3"], "no"), (["exec", "true"], "yes")] {
            assert_eq!(
                satisfied(call("exec_unless", &words)).as_deref(),
                Some(wanted),
                "{shell:?}: {words:?}"
            );
        }
        let differs = call("exec_diff", &["sh", "-c", "echo '-a'; echo '+b'; echo noise >&2; exit 1"]);
        let said = host.ask(shell, differs);
        let said = said.of("probe");
        assert_eq!((said.text("satisfied"), said.text("diff")), (Some("no"), Some("-a\n+b")), "{shell:?}");
        assert_eq!(satisfied(call("exec_diff", &["echo", "same"])).as_deref(), Some("yes"), "{shell:?}");
        assert_eq!(
            host.apply(shell, vec![call("exec_run", &["touch", &file])]),
            (0, String::new()),
            "{shell:?}"
        );
        assert_eq!(mode(&host, "made"), 0o644, "{shell:?}: commands get the usual umask");
        assert_eq!(satisfied(call("exec_creates", &[&file])).as_deref(), Some("yes"), "{shell:?}");
        assert_eq!(
            satisfied(call("exec_unless", &["test", "-e", &file])).as_deref(),
            Some("yes"),
            "{shell:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_land_and_are_read_back_unchanged(content in prop::collection::vec(any::<u8>(), 0..2000)) {
        for shell in shells() {
            let host = Host::new();
            let path = host.at("file");
            let (status, output) = host.apply(shell, vec![write(&path, "0600", "absent", &content, &[])]);
            prop_assert_eq!(status, 0, "{:?}: {}", shell, output);
            prop_assert_eq!(&host.read("file"), &content, "{:?}", shell);
            let seen = host.ask(shell, call("file_read", &[&path]));
            prop_assert_eq!(seen.of("probe").bytes("body"), Some(content.as_slice()), "{:?}", shell);
        }
    }
}

#[test]
fn who_the_peers_are_is_written_whole_for_the_owner_of_the_folder() {
    for shell in shells() {
        let host = Host::new();
        let (folder, file) = (host.at("raft"), host.at("raft/peers.json"));
        let write =
            || host.apply(shell, vec![call("peers_write", &[&file, r#"[{"id": "a b", "s": "%s'"}]"#])]);
        let (status, output) = write();
        assert_ne!(status, 0, "{shell:?}: there is no such folder");
        assert!(output.contains("does not exist"), "{shell:?}: {output}");
        host.write("raft/raft.db", "");
        // As root the folder can be somebody else's.
        let is_root = account().0 == "0";
        if is_root {
            std::os::unix::fs::chown(&folder, Some(4711), Some(4712)).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(write(), (0, String::new()), "{shell:?}");
            assert_eq!(host.read("raft/peers.json"), br#"[{"id": "a b", "s": "%s'"}]"#, "{shell:?}");
            assert_eq!(host.names("raft"), ["peers.json", "raft.db"], "{shell:?}");
            let (file, folder) = (std::fs::metadata(&file).unwrap(), std::fs::metadata(&folder).unwrap());
            assert_eq!(file.mode() & 0o777, 0o600, "{shell:?}");
            assert_eq!((file.uid(), file.gid()), (folder.uid(), folder.gid()), "{shell:?}");
        }
    }
}

#[test]
fn files_that_one_program_reads_are_tried_together() {
    for shell in shells() {
        let host = Host::new();
        host.write("etc/other", "");
        let (asked, agent) = (host.at("asked"), host.at("agent"));
        // Takes what has no `wrong` in it, and counts how often it was asked.
        let program = format!("#!/bin/sh\nshift\necho \"$#\" >>'{asked}'\n! grep -l wrong \"$@\"\n");
        let (first, second) = (host.at("etc/a.json"), host.at("etc/b.json"));
        let steps = |content: &[u8]| {
            let one = write(&first, "0640", "absent", b"one", &[&agent, "validate", "%s"]);
            let two = write(&second, "0640", "absent", content, &[&agent, "validate", &first, "%s"]);
            let put = write(&agent, "0755", "absent", program.as_bytes(), &[]);
            [step("agent", vec![put]), step("a", vec![one]), step("b", vec![two])]
        };
        let run = |content: &[u8]| {
            let records = host.run(shell, &Script::apply(&Nonce::random(), &holder(), &steps(content)));
            let ended = |record: Record| match record {
                Record::End { status, output, .. } => Some((status, output)),
                _ => None,
            };
            let ended: Vec<_> = records.into_iter().filter_map(ended).collect();
            (ended, String::from_utf8(host.read("asked")).unwrap())
        };
        // Nothing is refused: once, by both. The program itself came by the step before.
        let (ended, asked) = run(b"two");
        assert_eq!(
            ended.iter().map(|(status, _)| *status).collect::<Vec<_>>(),
            [0, 0, 0],
            "{shell:?}: {ended:?}"
        );
        assert_eq!(asked, "2\n", "{shell:?}");
        assert_eq!((host.read("etc/a.json"), host.read("etc/b.json")), (b"one".to_vec(), b"two".to_vec()));
        assert_eq!(host.names("etc"), ["a.json", "b.json", "other"], "{shell:?}");

        // One is refused: that one stays as it was and is named, as if each were asked alone.
        for file in ["etc/a.json", "etc/b.json", "agent", "asked"] {
            std::fs::remove_file(host.at(file)).unwrap();
        }
        let (ended, asked) = run(b"wrong");
        let (status, said) = ended.last().unwrap();
        assert_eq!((ended.len(), *status), (3, 1), "{shell:?}: {ended:?}");
        assert!(said.contains("b.json is unchanged: the new content was refused by "), "{shell:?}: {said}");
        assert_eq!(asked, "2\n1\n2\n", "{shell:?}");
        assert_eq!(host.names("etc"), ["a.json", "other"], "{shell:?}");
    }
}
