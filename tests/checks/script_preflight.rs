//! What hosts are asked before a run, under every shell: room and mounts, ports and their owners, and
//! ports between hosts.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::thread;

use crate::shells::{Host, call, have, records, shells};
use bootstrap::model::{Arg, Call, StepId};
use bootstrap::script::{Nonce, Observation, Script};

const PERL: &str = include_str!("../../src/preflight/peers/peers.pl");
const PYTHON: &str = include_str!("../../src/preflight/peers/peers.py");

/// The hosts to ask: one with all tools, one with those of busybox.
fn hosts() -> impl Iterator<Item = (&'static [&'static str], Host)> {
    let plain = shells().map(|shell| (shell, Host::new()));
    let busybox: &[&str] = &["busybox", "sh"];
    plain.chain(have("busybox").then(|| (busybox, Host::new().without(&["find"]).with_busybox_tools())))
}

#[test]
fn places_that_are_there_and_those_that_are_not() {
    for (shell, host) in hosts() {
        host.write("there/file", "");
        let real = std::fs::canonicalize(host.folder.path()).unwrap();
        std::os::unix::fs::symlink(host.at("there"), host.at("link")).unwrap();
        let paths = [host.at("there"), host.at("link/not/yet"), host.at("there/file/below"), "/".to_owned()];
        let words: Vec<&str> = paths.iter().map(String::as_str).collect();
        let seen = host.ask(shell, call("places_probe", &words));
        let seen = seen.of("probe");
        let there = format!("w {}", real.join("there").display());
        let folders: Vec<&str> = seen.all("folder").collect();
        // A file is no folder: what is above it counts.
        assert_eq!(folders[..3], [&there, &there, &there], "{shell:?}: {seen:?}");
        assert!(folders[3].ends_with(" /"), "{shell:?}: {seen:?}");
        let rooms: Vec<&str> = seen.all("room").collect();
        assert_eq!(rooms.len(), 4, "{shell:?}: {seen:?}");
        for room in rooms {
            let numbers = room.split(' ').skip(1).filter(|word| word.parse::<u64>().is_ok()).count();
            assert_eq!(numbers, 4, "{shell:?}: {room}");
        }
        let mounts = seen.text("mounts").unwrap();
        assert!(mounts.lines().any(|line| line.starts_with("/ ")), "{shell:?}: {mounts}");
        assert!(mounts.lines().all(|line| line.split(' ').count() == 2), "{shell:?}: {mounts}");
        // The words of the probe do not spoil what comes after it.
        assert!(!seen.has("error"), "{shell:?}: {seen:?}");
    }
}

#[test]
fn file_systems_that_the_kernel_lacks() {
    for (shell, host) in hosts() {
        let seen = host.ask(shell, call("filesystems_probe", &["tmpfs", "nosuchfs", "tmp"]));
        let seen = seen.of("probe");
        assert_eq!(seen.all("missing").collect::<Vec<_>>(), ["nosuchfs", "tmp"], "{shell:?}: {seen:?}");
        assert!(!seen.has("error"), "{shell:?}: {seen:?}");
    }
    // What is not loaded yet but can be is as good.
    for (shell, host) in shells().map(|shell| (shell, Host::new().without(&[]))) {
        let modprobe = host.write("tools/modprobe", "#!/bin/sh\n[ \"$*\" = '-n -q nosuchfs' ]\n");
        std::fs::set_permissions(modprobe, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let seen = host.ask(shell, call("filesystems_probe", &["nosuchfs", "other"]));
        assert_eq!(seen.of("probe").all("missing").collect::<Vec<_>>(), ["other"], "{shell:?}: {seen:?}");
    }
}

#[test]
fn ports_are_told_with_who_has_them() {
    // The kernel is asked by perl, or by the files of /proc.
    let hosts =
        shells().flat_map(|shell| [&[][..], &["perl"]].map(|without| (shell, Host::new().without(without))));
    for (shell, host) in hosts {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let other = udp.local_addr().unwrap().port();
        let pattern = format!("{port:04X}|{other:04X}");
        let seen = host.ask(shell, call("ports_probe", &[&pattern, "no-such-unit.service"]));
        let seen = seen.of("probe");
        // Another test may have the one's number for the other's protocol.
        let ours = [format!("tcp 0100007F:{port:04X} "), format!("udp 00000000:{other:04X} ")];
        let is_ours = |socket: &&str| ours.iter().any(|line| socket.starts_with(line));
        let sockets: BTreeSet<&str> = seen.all("socket").filter(is_ours).collect();
        let pid = std::process::id();
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        for line in [format!("tcp 0100007F:{port:04X} {pid} "), format!("udp 00000000:{other:04X} {pid} ")] {
            let found = sockets.iter().find(|socket| socket.starts_with(&line));
            let found = found.unwrap_or_else(|| panic!("{shell:?}: no `{line}` in {seen:?}"));
            assert!(found.ends_with(name.trim()), "{shell:?}: {found}");
        }
        assert_eq!(sockets.len(), 2, "{shell:?}: {seen:?}");
        // One that listens and talks is two sockets, of which one listens.
        let _talking = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let seen = host.ask(shell, call("ports_probe", &[&format!("{port:04X}")]));
        assert_eq!(seen.of("probe").all("socket").count(), 1, "{shell:?}: {seen:?}");
        let wide = TcpListener::bind("[::1]:0").unwrap();
        let pattern_of_wide = format!("{:04X}", wide.local_addr().unwrap().port());
        let seen = host.ask(shell, call("ports_probe", &[&pattern_of_wide]));
        let line = format!("tcp6 00000000000000000000000001000000:{pattern_of_wide} {pid} ");
        assert!(seen.of("probe").all("socket").any(|found| found.starts_with(&line)), "{shell:?}: {seen:?}");
        drop((tcp, udp));
        let seen = host.ask(shell, call("ports_probe", &[&pattern, "no-such-unit.service"]));
        // Somebody else may have the port by now.
        let ours = |socket: &str| socket.contains(&format!(" {pid} "));
        assert!(!seen.of("probe").all("socket").any(ours), "{shell:?}: {seen:?}");
    }
}

#[test]
fn an_agents_node_id_is_read_without_raft_data() {
    for (shell, host) in hosts() {
        let id = "0c1f4b4e-1111-2222-3333-444455556666";
        host.write("data/node-id", id);
        let seen = host.ask(shell, call("raft_data", &[&host.at("data")]));
        let seen = seen.of("probe");
        assert_eq!((seen.text("node-id"), seen.text("raft")), (Some(id), Some("absent")), "{shell:?}");
    }
}

#[test]
fn of_the_keys_of_gossip_digests_alone_are_told() {
    // As Serf writes them: a list, on one line or on several.
    let keys = ["MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="];
    // `printf %s KEY | sha256sum`
    let digests = [
        "7b95c91398cb469d55772d1d1c8e6dddb889d0ee13c9047620cb856ed421dbb5",
        "2cf5e6ec387461b4bf954f587ad4d957753fcbc48bf892b5e49996b90cf3b476",
    ];
    for (shell, host) in hosts() {
        host.write("data/serf/local.keyring", format!("[\n  \"{}\",\n  \"{}\"\n]\n", keys[0], keys[1]));
        let seen = host.ask(shell, call("raft_data", &[&host.at("data")]));
        assert_eq!(seen.of("probe").all("gossip").collect::<Vec<_>>(), digests, "{shell:?}");
    }
}

#[test]
fn what_a_system_with_other_packages_says() {
    for shell in shells() {
        let host = Host::new().without(&[]);
        for (tool, text) in [("dnf", "exit 1"), ("rpm", "case $3 in curl) ;; *) exit 1 ;; esac")] {
            let tool = host.write(&format!("tools/{tool}"), format!("#!/bin/sh\n{text}\n"));
            std::fs::set_permissions(tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let seen = host.ask(shell, call("package_program_probe", &["dockerd", "docker.io", "curl"]));
        let seen = seen.of("probe");
        assert_eq!((seen.text("program"), seen.text("manager")), (Some("absent"), Some("dnf")), "{shell:?}");
        assert_eq!(seen.all("missing").collect::<Vec<_>>(), ["docker.io"], "{shell:?}");
        assert_eq!(seen.all("installed").collect::<Vec<_>>(), ["curl"], "{shell:?}");
    }
}

/// A unit of somebody's, whose processes have open what `own` lists.
const SERVED: &str = r#"
systemd_runs() { true; }
ports_own() { own=$(cat "$pretended/own"); }
unit_state() { state=$nl$(cat "$pretended/state")$nl; }
"#;

#[test]
fn what_somebody_elses_agent_keeps_is_found_wherever_it_is() {
    for (shell, host) in hosts() {
        let ask = || {
            let folders = [host.at("data/*"), host.at("none")];
            let words = ["a.service", "member raft/raft.db", &folders[0], &folders[1]];
            let script =
                Script::ask(&Nonce::random(), &[(StepId("probe".into()), call("served_probe", &words))]);
            let start = "main() {";
            let pretended = format!("pretended='{}'\n{SERVED}\n{start}", host.at("pretended"));
            let text = host.text(&script);
            assert!(text.contains(start), "{text}");
            let output = host.run_text(shell, &text.replacen(start, &pretended, 1));
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
            let seen = Observation::new(&records(script.nonce(), &output.stdout));
            let seen = seen.of("probe");
            assert!(!seen.has("error"), "{shell:?}: {seen:?}");
            let place = |line: &str| {
                let (trace, rest) = line.split_once(' ').unwrap();
                let (written, folder) = rest.split_once(' ').unwrap();
                assert!(written.parse::<u64>().unwrap() > 1_700_000_000, "{shell:?}: {line}");
                format!("{trace} {}", folder.replace(host.folder.path().to_str().unwrap(), ""))
            };
            let of = |key| seen.all(key).map(place).collect::<Vec<_>>();
            (seen.text("ActiveState").map(str::to_owned), of("open"), of("kept"))
        };
        for file in [
            "data/one two/member/wal/0",
            "data/x/other",
            "srv/agent/raft/raft.db",
            "by-unit/member/snap/db",
            "by-env/member/x",
        ] {
            host.write(file, "");
        }
        host.write(
            "pretended/state",
            format!(
                "ActiveState=active\nUnitFileState=enabled\nFragmentPath=/lib/a\nExecStart={{ path=/bin/a ; argv[]=/bin/a --data-dir={} ; \
                 ignore_errors=no }}\nEnvironment=A=b C_DATA_DIR={} D=e\n",
                host.at("by-unit"),
                host.at("by-env")
            ),
        );
        let open = host.at("srv/agent/raft/raft.db");
        host.write(
            "pretended/own",
            format!("/proc/7/fd:\nlrwx 1 0 0 64 Nov 29 16:33 3 -> socket:[123]\nlrwx 1 0 0 64 Nov 29 16:33 4 -> {open}\nl 5 -> {open}\n"),
        );
        let kept = ["member /data/one two", "member /by-unit", "member /by-env"].map(str::to_owned).to_vec();
        assert_eq!(
            ask(),
            (Some("active".to_owned()), vec!["raft/raft.db /srv/agent".to_owned()], kept),
            "{shell:?}"
        );
        // Of what we have started nothing is asked.
        host.write("state/units/a.service", "1 1");
        assert_eq!(ask().2.len(), 3, "{shell:?}");
        host.write("state/cluster", "{}");
        assert_eq!(ask(), (None, Vec::new(), Vec::new()), "{shell:?}");
    }
}

#[test]
fn lines_of_others_are_found_in_all_that_a_unit_reads() {
    const FOLDERS: &str = "/etc/systemd/system /run/systemd/system /lib/systemd/system";
    for shell in shells() {
        let host = Host::new().without(&[]);
        for (tool, text) in [
            ("dpkg-query", "case $2 in *packaged*) echo \"agent: $2\" ;; *) exit 1 ;; esac"),
            ("dpkg", "echo \"??5?????? c $changed\""),
        ] {
            let tool = host.write(&format!("tools/{tool}"), format!("#!/bin/sh\n{text}\n"));
            std::fs::set_permissions(tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let ask = |words: &[&str]| {
            let script =
                Script::ask(&Nonce::random(), &[(StepId("probe".into()), call("others_probe", words))]);
            let text = host.text(&script);
            assert!(text.contains(FOLDERS), "{text}");
            let text = text.replace(FOLDERS, &format!("'{}' '{}'", host.at("etc"), host.at("lib")));
            let start = format!("export changed='{}'\nmain() {{", host.at("packaged/changed"));
            let output = host.run_text(shell, &text.replacen("main() {", &start, 1));
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
            let seen = Observation::new(&records(script.nonce(), &output.stdout));
            let fields = seen.of("probe");
            assert!(!fields.has("error"), "{shell:?}: {seen:?}");
            let folder = host.folder.path().to_str().unwrap();
            let of =
                |key| fields.all(key).map(|text| text.replace(folder, "")).collect::<Vec<_>>().join("\n");
            [of("lines"), of("there"), of("package"), of("untouched")]
        };
        host.write(
            "lib/a.service",
            format!("[Service]\nEnvironmentFile=-{}\nSET=1\n", host.at("etc-default/a b")),
        );
        host.write("lib/a.service.d/x.conf", "SET=2\n");
        host.write("etc/a.service.d/ours.conf", "# Written by bootstrap.\nSET=3\n");
        host.write("etc-default/a b", "# none\nSET=4");
        host.write("else", "SET=5\n");
        for file in ["packaged/changed", "packaged/same"] {
            host.write(file, "SET=6\n");
        }
        let (files, there, missing) =
            (host.at("packaged/*"), format!("+{}", host.at("else")), format!("+{}", host.at("none")));
        let variables = format!("?{}", host.at("else"));
        let pattern = "^# Written by bootstrap|^SET";
        let all = ask(&[pattern, "@a.service", &variables, &files, &there, &missing]);
        let lines = "/lib/a.service:3:SET=1\n/etc/a.service.d/ours.conf:1:# Written by bootstrap.\n/etc/a.service.d/ours.conf:2:SET=3\n\
                     /lib/a.service.d/x.conf:1:SET=2\n/etc-default/a b:2:SET=4\n/packaged/changed:1:SET=6\n/packaged/same:1:SET=6";
        let packages = "agent /packaged/changed\nagent /packaged/same";
        assert_eq!(all, [lines, "/else", packages, "/packaged/same"], "{shell:?}");
        // Of some it is enough that they are there.
        std::fs::create_dir(host.folder.path().join("enabled")).unwrap();
        std::os::unix::fs::symlink(host.at("packaged/same"), host.folder.path().join("enabled/default"))
            .unwrap();
        let linked = ask(&[pattern, &format!("+{}", host.at("enabled/*"))]);
        let one = "/enabled/default";
        assert_eq!(linked, ["", one, &format!("agent {one}"), one], "{shell:?}");
        let any = ask(&[pattern, &format!("+{files}")]);
        assert_eq!(any, ["", "/packaged/changed\n/packaged/same", packages, "/packaged/same"], "{shell:?}");
        // Drop-ins alone, and what a unit would read that is not there yet.
        assert_eq!(ask(&[pattern, "!a.service"])[0].lines().count(), 3, "{shell:?}");
        assert_eq!(ask(&[pattern, "@b.service", &variables])[0], "/else:1:SET=5", "{shell:?}");
        assert_eq!(ask(&[pattern, "!b.service", &host.at("*.none")]), [""; 4], "{shell:?}");
        // Until this program has started the unit.
        assert_ne!(ask(&[pattern, "~c.service", &files])[0], "", "{shell:?}");
        host.write("state/units/c.service", "1 1");
        assert_eq!(ask(&[pattern, "~c.service", &files]), [""; 4], "{shell:?}");
    }
}

fn peers(seconds: &str, name: &str, specs: &[String]) -> Call {
    let args = [PERL, PYTHON, seconds, name, "t0ken"].into_iter().chain(specs.iter().map(String::as_str));
    Call::new("peers_probe", args.map(|word| Arg::new(word).unwrap()))
}

/// A host that runs one of the two programs.
fn only(program: &str) -> Host {
    let other = if program == "perl" { "python3" } else { "perl" };
    Host::new().without(&[other])
}

/// Lines of the answer, those of a port that nobody has twice only once.
fn results(host: &Host, shell: &[&str], call: Call) -> Vec<String> {
    let seen = host.ask(shell, call);
    let seen = seen.of("probe");
    let mut lines: Vec<String> =
        seen.text("results").unwrap_or_else(|| panic!("{seen:?}")).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Ports that are free on all of 127.0.0.1 to 127.0.0.3: taken together, then given back.
fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let socket = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        if let Ok(udp) = UdpSocket::bind(("0.0.0.0", port)) {
            held.push((port, socket, udp));
        }
    }
    held.into_iter().map(|(port, ..)| port).collect()
}

#[test]
fn hosts_reach_each_other_whatever_they_run() {
    if !have("perl") || !have("python3") {
        return;
    }
    for shell in shells() {
        for programs in [["perl"; 3], ["python3"; 3], ["perl", "python3", "perl"]] {
            let port = free_ports(1)[0];
            let runs: Vec<_> = (1..=3)
                .map(|number| {
                    let visit = |protocol: &'static str| {
                        (1..=3)
                            .filter(move |other| *other != number)
                            .map(move |other| format!("echo {protocol} 127.0.0.{other} {port}"))
                    };
                    let listen =
                        ["tcp", "udp"].map(|protocol| format!("listen {protocol} 127.0.0.{number} {port} 2"));
                    let specs: Vec<String> = visit("tcp").chain(visit("udp")).chain(listen).collect();
                    let call = peers("20", &format!("n{number}"), &specs);
                    let host = only(programs[number - 1]);
                    thread::spawn(move || results(&host, shell, call))
                })
                .collect();
            for run in runs {
                let said = run.join().unwrap();
                assert_eq!(
                    said,
                    ["reached 0", "reached 1", "reached 2", "reached 3"],
                    "{shell:?} {programs:?}"
                );
            }
        }
    }
}

#[test]
fn a_port_that_is_closed_or_in_use_is_told() {
    for program in ["perl", "python3"].into_iter().filter(|program| have(program) && have("dash")) {
        let host = only(program);
        let used = TcpListener::bind("127.0.0.1:0").unwrap();
        let used = used.local_addr().map(|address| (used, address.port())).unwrap();
        let free = free_ports(1)[0];
        // An answer from somebody else is no answer.
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let strange = stranger.local_addr().unwrap().port();
        let answering = thread::spawn(move || {
            stranger.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            let (_, whence) = stranger.recv_from(&mut [0; 512]).unwrap();
            stranger.send_to(b"hello", whence).unwrap();
        });
        let specs = [
            format!("listen tcp 127.0.0.1 {} 0", used.1),
            format!("connect tcp 127.0.0.1 {}", used.1),
            format!("echo tcp 127.0.0.1 {free}"),
            format!("echo udp 127.0.0.1 {free}"),
            format!("echo udp 127.0.0.1 {strange}"),
        ];
        let said = results(&host, &["dash"], peers("1", "n1", &specs));
        answering.join().unwrap();
        assert_eq!(said[..2], ["busy 0", "failed 2 connection refused"], "{program}: {said:?}");
        assert!(said[2].starts_with("failed 3 "), "{program}: {said:?}");
        assert!(said[3].starts_with("failed 4 "), "{program}: {said:?}");
        assert_eq!(said[4], "reached 1", "{program}: {said:?}");
    }
}

#[test]
fn a_host_without_both_programs_says_so() {
    for shell in shells() {
        let host = Host::new().without(&["perl", "python3"]);
        let seen = host.ask(shell, peers("1", "n1", &[]));
        assert!(seen.of("probe").has("missing"), "{shell:?}: {seen:?}");
    }
}
