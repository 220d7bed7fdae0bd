//! How a script is framed: it runs whole or not at all, arguments arrive as they are, steps stop at the first failure.

use crate::shells;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::shells::{Host, call, holder, shells, step};
use bootstrap::model::StepId;
use bootstrap::script::{LockHolder, Nonce, Record, Script};
use proptest::prelude::*;

/// `exec_run touch FILE`
fn touch(path: &str) -> bootstrap::model::Call {
    call("exec_run", &["touch", path])
}

#[test]
fn a_script_that_was_cut_short_runs_nothing() {
    for shell in shells() {
        let host = Host::new();
        let steps =
            [step("exec a", vec![touch(&host.at("touched"))]), step("exec b", vec![touch(&host.at("b"))])];
        let text = host.text(&Script::apply(&Nonce::random(), &holder(), &steps));
        let prelude = text.find("run_steps() {").unwrap();
        // Every byte of what is new in each script, and every 97th of the prelude.
        let cuts = (0..prelude).step_by(97).chain(prelude..text.len() - 1);
        for cut in cuts.filter(|cut| text.is_char_boundary(*cut)) {
            host.run_text(shell, &text[..cut]);
            assert_eq!(
                host.names(""),
                [] as [&str; 0],
                "{shell:?}, cut at {cut}: …{}",
                &text[cut.saturating_sub(40)..cut]
            );
        }
        host.run_text(shell, &text);
        assert_eq!(host.names(""), ["b", "lock", "touched"], "{shell:?}");
    }
}

#[test]
fn steps_stop_at_the_first_that_fails() {
    for shell in shells() {
        let host = Host::new();
        let fails = call("exec_run", &["sh", "-c", "seq 1 30; echo out of cheese >&2; exit 7"]);
        let steps = [
            step("exec first", vec![touch(&host.at("first"))]),
            step("exec it's \"second\" 100%", vec![fails, touch(&host.at("never"))]),
            step("exec third", vec![touch(&host.at("third"))]),
        ];
        let records = host.run(shell, &Script::apply(&Nonce::random(), &holder(), &steps));
        let lines: String = (12..=30).map(|line| format!("{line}\n")).collect();
        let second = "exec it's \"second\" 100%";
        assert_eq!(
            records,
            [
                Record::Begin { id: "exec first".into() },
                Record::End { id: "exec first".into(), status: 0, output: String::new() },
                Record::Begin { id: second.into() },
                Record::End { id: second.into(), status: 7, output: lines + "out of cheese\n" },
                Record::Finished,
            ],
            "{shell:?}"
        );
        assert_eq!(host.names(""), ["first", "lock"], "{shell:?}");
    }
}

#[test]
fn a_command_is_tried_until_it_succeeds_or_its_seconds_are_over() {
    for shell in shells() {
        let host = Host::new();
        // It succeeds at its third try.
        let third = "[ -e \"$1/two\" ] && echo third && exit 0; echo early; [ -e \"$1/one\" ] && touch \"$1/two\"; touch \"$1/one\"; exit 3";
        let folder = host.at("");
        let (status, output) =
            host.apply(shell, vec![call("exec_until", &["9", "sh", "-c", third, "sh", &folder])]);
        assert_eq!((status, output.as_str()), (0, "third\n"), "{shell:?}");
        let (status, output) =
            host.apply(shell, vec![call("exec_until", &["2", "sh", "-c", "echo no; exit 3"])]);
        assert_eq!((status, output.as_str()), (1, "no\n"), "{shell:?}");
    }
}

#[test]
fn who_is_not_known_is_forgotten_already() {
    for shell in shells() {
        let host = Host::new();
        let forget = |says: &str| {
            let words = ["1", "sh", "-c", "echo \"$1\" >&2; exit \"$2\"", "sh", says, "4"];
            host.apply(shell, vec![call("forget_until", &words)])
        };
        assert_eq!(forget("Error: No node found with name 'n2'"), (0, String::new()), "{shell:?}");
        assert_eq!(
            forget("address \"10.0.0.2:8300\" was not found in the Raft configuration"),
            (0, String::new()),
            "{shell:?}"
        );
        assert_eq!(forget("No cluster leader"), (1, "No cluster leader\n".to_owned()), "{shell:?}");
        // It has no leader at first.
        let second = "[ -e \"$1\" ] || { touch \"$1\"; echo no leader; exit 1; }; echo removed";
        let words = ["9", "sh", "-c", second, "sh", &host.at("asked")];
        assert_eq!(host.apply(shell, vec![call("forget_until", &words)]), (0, String::new()), "{shell:?}");
    }
}

#[test]
fn a_failing_command_inside_a_function_ends_its_step() {
    for shell in shells() {
        let host = Host::new();
        // chown of a name that does not exist fails in the middle of the function.
        let (status, output) =
            host.apply(shell, vec![call("directory_ensure", &[&host.at("d"), "0700", "no-such", "0"])]);
        assert_ne!(status, 0, "{shell:?}");
        assert!(output.contains("no-such"), "{shell:?}: {output}");
    }
}

#[test]
fn a_held_lock_names_its_holder_and_nothing_runs() {
    for shell in shells() {
        let host = Host::new();
        let lock = host.write("lock", "grace@desk 12 since 2026-01-01T00:00:00Z\n");
        // Holds the lock until its stdin is closed, and says when it has it.
        let mut other = Command::new("flock")
            .args([&lock, "sh", "-c", "echo locked; read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.take().unwrap()), &mut said)
            .unwrap();
        let script =
            Script::apply(&Nonce::random(), &holder(), &[step("exec a", vec![touch(&host.at("a"))])]);
        let holder = "grace@desk 12 since 2026-01-01T00:00:00Z".to_owned();
        assert_eq!(host.run(shell, &script), [Record::LockHeld { holder }, Record::Finished], "{shell:?}");
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!(host.run(shell, &script).len(), 3, "{shell:?}: free again");
        assert_eq!(host.read("lock"), b"ada@laptop 4711 since 2026-01-02T03:04:05Z\n \n");
    }
}

#[test]
fn the_lock_stays_between_the_scripts_of_a_run_as_long_as_its_connection_lives() {
    for shell in shells() {
        let mut host = Host::new();
        // Stands for the process of sshd that serves a connection.
        let mut connection = Command::new("sleep").arg("60").stderr(Stdio::null()).spawn().unwrap();
        host.connection = connection.id();
        let script =
            |holder| Script::apply(&Nonce::random(), &holder, &[step("exec a", vec![touch(&host.at("a"))])]);
        let run = |holder| {
            let script = script(holder);
            let text = host.text(&script).replacen("sshd* | dropbear*", "sleep", 1);
            shells::records(script.nonce(), &host.run_text(shell, &text).stdout)
        };
        let other = || LockHolder { who: "grace@desk 12".into(), ..holder() };
        let held = [
            Record::LockHeld { holder: "ada@laptop 4711 since 2026-01-02T03:04:05Z".into() },
            Record::Finished,
        ];
        // A run's own lock is not in its way, and is in that of all others.
        for _ in 0..3 {
            assert_eq!(run(holder()).len(), 3, "{shell:?}");
            assert_eq!(run(other()), held, "{shell:?}");
        }
        let seen = host.ask(shell, call("lock_probe", &[]));
        assert_eq!(seen.of("probe").text("holder"), Some("ada@laptop 4711 since 2026-01-02T03:04:05Z"));
        // The connection ends, and with it the lock: at once, not when what keeps it looks again, which this one never does.
        let lock = String::from_utf8(host.read("lock")).unwrap();
        let keeper = lock.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap();
        assert!(Command::new("kill").args(["-STOP", keeper]).status().unwrap().success());
        connection.kill().unwrap();
        connection.wait().unwrap();
        assert_eq!(run(other()).len(), 3, "{shell:?}");
        assert_eq!(host.ask(shell, call("lock_probe", &[])).of("probe").text("holder"), None, "{shell:?}");

        // A host that does not notice is free after a while.
        let mut connection = Command::new("sleep").arg("60").stderr(Stdio::null()).spawn().unwrap();
        host.connection = connection.id();
        let brief = LockHolder { between: std::time::Duration::from_secs(1), ..other() };
        let script = Script::apply(&Nonce::random(), &brief, &[step("exec a", vec![touch(&host.at("a"))])]);
        let text = host.text(&script).replacen("sshd* | dropbear*", "sleep", 1);
        host.run_text(shell, &text);
        let began = std::time::Instant::now();
        while host.ask(shell, call("lock_probe", &[])).of("probe").text("holder").is_some() {
            assert!(began.elapsed().as_secs() < 20, "{shell:?}: locked for ever");
        }
        // Or when its run says so.
        host.run_text(
            shell,
            &host.text(&Script::apply(&Nonce::random(), &holder(), &[])).replacen(
                "sshd* | dropbear*",
                "sleep",
                1,
            ),
        );
        let drop = Script::ask(&Nonce::random(), &[(StepId("drop".into()), call("lock_drop", &[]))]);
        host.run_text(shell, &host.text(&drop));
        assert!(host.ask(shell, call("lock_probe", &[])).of("probe").text("holder").is_some(), "{shell:?}");
        host.run_text(shell, &host.text(&drop).replacen("sshd* | dropbear*", "sleep", 1));
        assert_eq!(host.ask(shell, call("lock_probe", &[])).of("probe").text("holder"), None, "{shell:?}");
        connection.kill().unwrap();
        connection.wait().unwrap();
    }
}

#[test]
fn a_host_that_cannot_begin_says_why() {
    for shell in shells() {
        for (from, to, message) in [
            ("/lock'\n", "/none/lock'\n", "the lock cannot be made"),
            ("${TMPDIR:-/tmp}", "/nonexistent", "no temporary folder can be made"),
            ("flock", "no-such-flock", "flock is not installed"),
        ] {
            let host = Host::new();
            let script =
                Script::apply(&Nonce::random(), &holder(), &[step("exec a", vec![touch(&host.at("a"))])]);
            let text = host.text(&script).replacen(from, to, 1);
            let records = shells::records(script.nonce(), &host.run_text(shell, &text).stdout);
            let [Record::Begin { .. }, Record::End { id, status: 1, output }, Record::Finished] =
                &records[..]
            else {
                panic!("{shell:?}: {records:?}");
            };
            assert!(id == "exec a" && output.contains(message), "{shell:?}: {output}");
            assert!(!host.names("").contains(&"a".to_owned()), "{shell:?}");
        }
    }
}

#[test]
fn a_step_cannot_pass_the_lock_on_to_a_child_that_outlives_it() {
    for shell in shells() {
        let host = Host::new();
        let child = call("exec_run", &["sh", "-c", "sleep 30 & echo $!"]);
        let (status, output) = host.apply(shell, vec![child]);
        assert_eq!(status, 0, "{shell:?}: {output}");
        let free = Command::new("flock").args(["-n", &host.at("lock"), "true"]).status().unwrap();
        Command::new("kill").arg(output.trim()).status().unwrap();
        assert!(free.success(), "{shell:?}");
    }
}

/// Whether some process holds the end of a pipe from which it is read.
fn is_read(pipe: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("fd"));
    let mut files = processes.filter_map(|folder| fs::read_dir(folder).ok()).flat_map(Iterator::flatten);
    files.any(|file| {
        let reads = |meta: fs::Metadata| meta.mode() & 0o600 == 0o400;
        fs::read_link(file.path()).is_ok_and(|target| target == pipe) && file.metadata().is_ok_and(reads)
    })
}

#[test]
fn a_broken_pipe_ends_the_script_before_the_next_step_and_leaves_no_folder() {
    for shell in shells() {
        let host = Host::new();
        // The reader is gone after the first record, as when the link breaks.
        let wait =
            call("exec_run", &["sh", "-c", "until [ -e \"$1\" ]; do sleep 0.02; done", "sh", &host.at("go")]);
        let steps = [step("exec wait", vec![wait]), step("exec next", vec![touch(&host.at("next"))])];
        let text = host.text(&Script::apply(&Nonce::random(), &holder(), &steps));
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .arg("-s")
            .env("TMPDIR", host.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let stdout = child.stdout.take().unwrap();
        let pipe = fs::read_link(format!("/proc/self/fd/{}", stdout.as_raw_fd())).unwrap();
        let mut replies = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        replies
            .find(|line| line.as_ref().unwrap().contains(" begin "))
            .expect("the first step begins")
            .unwrap();
        drop(replies);
        // Other tests start programs meanwhile: each is born with our end of the pipe, and lets go of it a moment later.
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_read(&pipe) {
            assert!(Instant::now() < deadline, "somebody still reads {}", pipe.display());
            thread::sleep(Duration::from_millis(5));
        }
        host.write("go", "");
        child.wait().unwrap();
        let left: Vec<_> = host.names("").into_iter().filter(|name| name != "lock").collect();
        assert_eq!(left, ["go"], "{shell:?}");
    }
}

#[test]
fn noise_of_login_files_is_left_out() {
    for shell in shells() {
        let host = Host::new();
        let script = Script::ask(&Nonce::random(), &[(StepId("x".into()), call("exec_creates", &["/"]))]);
        let text = format!("printf 'Welcome!\\nno line end'\n{}", host.text(&script));
        let records = shells::records(script.nonce(), &host.run_text(shell, &text).stdout);
        assert_eq!(records.len(), 2, "{shell:?}: {records:?}");
    }
}

#[test]
fn a_failing_probe_says_why_and_the_next_one_answers() {
    for shell in shells() {
        let host = Host::new();
        let file = host.write("file", "text");
        let probes = [
            (StepId("broken".into()), call("file_probe", &[&format!("{file}/below"), "read"])),
            (StepId("fine".into()), call("file_probe", &[&file, "read"])),
        ];
        let records = host.run(shell, &Script::ask(&Nonce::random(), &probes));
        let seen = bootstrap::script::Observation::new(&records);
        assert!(
            seen.of("broken").text("error").unwrap().contains("cannot look below"),
            "{shell:?}: {records:?}"
        );
        assert_eq!(seen.of("fine").text("body"), Some("text"), "{shell:?}");
    }
}

#[test]
fn what_runs_beside_the_probes_holds_none_of_them_up_and_spoils_no_line() {
    for shell in shells() {
        let host = Host::new();
        // Longer than what a pipe takes at once.
        let long = "x".repeat(100_000);
        let file = host.write("file", &long);
        let (started, goes_on) = (host.at("started"), host.at("goes-on"));
        // Each waits for the other: one after the other they would wait for ever.
        let wait = "i=0; until [ -e \"$1\" ]; do i=$((i + 1)); [ $i -lt 500 ] || exit 1; sleep 0.01; done";
        let beside = format!(": >\"$2\"; {wait}; echo beside");
        let beside =
            [(StepId("beside".into()), call("command_ask", &["sh", "-c", &beside, "", &goes_on, &started]))];
        let in_turn = format!("{wait}; : >\"$2\"");
        let in_turn = [
            (StepId("waits".into()), call("command_ask", &["sh", "-c", &in_turn, "", &started, &goes_on])),
            (StepId("file".into()), call("file_probe", &[&file, "read"])),
        ];
        let records = host.run(shell, &Script::observe(&Nonce::random(), &[], &in_turn, &beside));
        let seen = bootstrap::script::Observation::new(&records);
        for id in ["waits", "beside"] {
            assert_eq!(seen.of(id).text("right"), Some("yes"), "{shell:?}: {:?}", seen.of(id));
        }
        assert_eq!(seen.of("file").text("body"), Some(long.as_str()), "{shell:?}");
    }
}

/// Text that shells trip over, mixed with any other.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        4 => any::<String>(),
        1 => Just("'".to_owned()),
        1 => Just("$(touch PWNED)".to_owned()),
        1 => Just("`touch PWNED`".to_owned()),
        1 => Just("\n; touch PWNED\n".to_owned()),
        1 => Just("'; touch PWNED; '".to_owned()),
        1 => Just("\\".to_owned()),
        1 => Just("-n -e --".to_owned()),
        1 => Just("%s%d\\n".to_owned()),
        1 => Just("ü€😀".to_owned()),
        1 => Just("\nEOF\n}\n".to_owned()),
    ];
    prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat().replace('\0', ""))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arguments_and_ids_arrive_unchanged_and_execute_nothing(
        texts in prop::collection::vec(hostile(), 1..5),
        id in hostile(),
    ) {
        for shell in shells() {
            let host = Host::new();
            let args: Vec<&str> = ["said"].into_iter().chain(texts.iter().map(String::as_str)).collect();
            let probes = args[1..].iter().map(|text| (StepId(id.clone()), call("say", &["said", text])));
            let script = Script::ask(&Nonce::random(), &probes.collect::<Vec<_>>());
            // In a folder of its own: whatever were executed would leave a file.
            let text = format!("cd '{}'\n{}", host.folder.path().display(), host.text(&script));
            let records = shells::records(script.nonce(), &host.run_text(shell, &text).stdout);
            let seen = bootstrap::script::Observation::new(&records);
            prop_assert_eq!(seen.of(&id).all("said").collect::<Vec<_>>(), &args[1..], "{:?}", shell);
            prop_assert_eq!(host.names(""), [] as [&str; 0], "{:?}", shell);
        }
    }
}
