//! SSH where it is unusual: terminals sudo insists on, talkative hosts, full servers, long distances,
//! links that die, connections that are kept, key exchanges that are chosen.

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/sshd.rs"]
mod sshd;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bootstrap::inventory::SshSettings;
use bootstrap::model::{Arg, Call, HostName, StepId};
use bootstrap::script::{Nonce, Observation, Record, Script};
use bootstrap::ssh::{BecomePassword, Cause, ConnectOptions, Connection, Deadline, Error, Target};
use sessions::Sessions;
use sshd::{LOGIN_FILES, PATIENCE, Sshd, TestUser, have, is_root, options, wait_for};

/// Runs shell text and returns what it said under `key`.
async fn said(connection: &Connection, text: &str, key: &str) -> Result<String, Error> {
    let call = Call::new("eval", [Arg::new(text).unwrap()]);
    let script = Script::ask(&Nonce::random(), &[(StepId("seen".into()), call)]);
    let records = connection.run(&script, PATIENCE, |_| {}).await?;
    assert_eq!(records.last(), Some(&Record::Finished));
    let seen = Observation::new(&records);
    Ok(seen.of("seen").text(key).unwrap_or_else(|| panic!("no {key} in {records:?}")).to_owned())
}

async fn open(target: &Target) -> Connection {
    Connection::open(target, &options(), None).await.unwrap()
}

fn named(name: &str, target: Target) -> Target {
    Target { host: HostName::parse(name).unwrap(), ..target }
}

fn password(text: &str) -> BecomePassword {
    BecomePassword::new(text.to_owned()).unwrap()
}

// ---- kept connections ----

/// Options whose kept connections end with the test.
struct SnapshotSource {
    home: tempfile::TempDir,
}

impl SnapshotSource {
    fn new() -> Self {
        Self { home: tempfile::tempdir_in("/tmp").unwrap() }
    }

    fn options(&self) -> ConnectOptions {
        ConnectOptions { control_dir: self.home.path().to_owned(), ..options() }
    }

    fn base(&self) -> PathBuf {
        self.home.path().join(format!("bootstrap-ssh-{}", nix::unistd::geteuid()))
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.base()).map(|entries| entries.flatten().map(|entry| entry.path()));
        entries.map(Iterator::collect).unwrap_or_default()
    }

    /// The directories of connections, without the links to them.
    fn directories(&self) -> Vec<PathBuf> {
        self.entries().into_iter().filter(|path| !path.is_symlink()).collect()
    }

    /// The ssh that holds the only connection.
    fn master(&self) -> u32 {
        let directories = self.directories();
        let [directory] = directories.as_slice() else { panic!("{directories:?}") };
        let flag = directory.join("master");
        let is_it = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|text| text.contains(flag.to_str().unwrap()))
        };
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(is_it).expect("a running ssh")
    }

    async fn open(&self, target: &Target) -> Connection {
        Connection::open(target, &self.options(), None).await.unwrap()
    }
}

fn keeping(sshd: &Sshd) -> Target {
    sshd.target_with(SshSettings { persist: Some(Duration::from_secs(600)), ..sshd.settings() })
}

#[tokio::test]
async fn the_next_command_needs_no_handshake() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    for extra in [&[][..], &["MaxSessions 1"]] {
        let (sshd, kept) = (Sshd::start(extra), SnapshotSource::new());
        let target = keeping(&sshd);
        for run in 1..=3 {
            let connection = kept.open(&target).await;
            assert!(connection.is_kept());
            assert_eq!(said(&connection, "say run here", "run").await.unwrap(), "here");
            let forward = connection.forward(1).await.unwrap();
            assert!(forward.path().exists());
            connection.close().await.unwrap();
            assert_eq!((sshd.handshakes(), sshd.sessions()), (1, run), "{extra:?}");
        }
        let mode = fs::metadata(kept.base()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // No forwarded socket stays, and all names are short enough for one.
        let directories = kept.directories();
        let files = fs::read_dir(&directories[0]).unwrap().flatten().map(|entry| entry.path());
        let sockets: Vec<PathBuf> =
            files.filter(|path| fs::metadata(path).unwrap().file_type().is_socket()).collect();
        assert_eq!(sockets, [directories[0].join("master")]);
        assert!(sockets[0].as_os_str().len() < 91, "{sockets:?}");
        let fresh = SnapshotSource::new();
        assert!(!fresh.base().exists());
    }
}

#[tokio::test]
async fn whatever_differs_gets_a_connection_of_its_own() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let (sshd, kept) = (Sshd::start(&[]), SnapshotSource::new());
    let target = keeping(&sshd);
    kept.open(&target).await.close().await.unwrap();
    let other_key = sshd.path("other_key");
    fs::copy(sshd.path("login_key"), &other_key).unwrap();
    let settings = target.settings.clone();
    let changed = [
        SshSettings { identity_file: Some(other_key), ..settings.clone() },
        SshSettings { persist: Some(Duration::from_secs(300)), ..settings.clone() },
        SshSettings { kex: vec!["curve25519-sha256".into()], ..settings.clone() },
        SshSettings { host_keys: bootstrap::inventory::HostKeys::AcceptNew, ..settings.clone() },
    ];
    for (before, settings) in changed.into_iter().enumerate() {
        kept.open(&sshd.target_with(settings)).await.close().await.unwrap();
        assert_eq!(sshd.handshakes(), before + 2);
    }
    // An address that leads to the same place need not be the same host.
    let local = Target { address: "localhost".into(), ..target.clone() };
    let known = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    fs::write(sshd.path("known_hosts"), format!("{known}{}", known.replace("127.0.0.1", "localhost")))
        .unwrap();
    kept.open(&local).await.close().await.unwrap();
    assert_eq!(sshd.handshakes(), 6);
    kept.open(&target).await.close().await.unwrap();
    assert_eq!(sshd.handshakes(), 6);
}

#[tokio::test]
async fn the_users_configuration_may_forbid_to_keep_a_connection() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let (sshd, kept) = (Sshd::start(&[]), SnapshotSource::new());
    let config = sshd.path("ssh_config");
    let target = keeping(&sshd);
    let target = sshd.target_with(SshSettings { config: Some(config.clone()), ..target.settings });
    let table = [
        ("ControlMaster no", false),
        ("ControlPersist no", false),
        ("ControlPath none", false),
        ("ControlMaster auto\n ControlPath /nowhere/%C", true),
        ("Compression no", true),
    ];
    for (line, expected) in table {
        fs::write(&config, format!("Host 127.0.0.1\n {line}\n")).unwrap();
        let connection = Connection::open(&target, &kept.options(), None).await.unwrap();
        assert_eq!(connection.is_kept(), expected, "{line}");
        assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
        connection.close().await.unwrap();
    }
    wait_for("end of what is not kept", || (sshd.children().len() == 2).then_some(()));
    assert!(!Path::new("/nowhere").exists());
}

#[tokio::test]
async fn a_dead_connection_is_replaced() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let (sshd, kept) = (Sshd::start(&[]), SnapshotSource::new());
    let target = keeping(&sshd);
    let works = async |within: Duration| {
        let began = Instant::now();
        let connection = kept.open(&target).await;
        assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
        connection.close().await.unwrap();
        assert!(began.elapsed() < within, "{:?}", began.elapsed());
        sshd.handshakes()
    };
    assert_eq!(works(PATIENCE).await, 1);
    // Its ssh was killed: the socket is still there and nobody listens.
    let dead = kept.master();
    sshd::kill(dead);
    wait_for("its end", || (!Path::new(&format!("/proc/{dead}/fd/0")).exists()).then_some(()));
    assert_eq!(works(Duration::from_secs(3)).await, 2);
    assert_eq!(works(Duration::from_secs(3)).await, 2);
    // The host went away with a good-bye of its kernel.
    sshd.cut_all();
    assert_eq!(works(Duration::from_secs(3)).await, 3);
    // It went away without a word: its processes stand still.
    let stopped = sshd.children();
    for pid in &stopped {
        signal(*pid, nix::sys::signal::Signal::SIGSTOP);
    }
    let handshakes = works(Duration::from_secs(10)).await;
    for pid in stopped {
        signal(pid, nix::sys::signal::Signal::SIGCONT);
    }
    assert_eq!(handshakes, 4);
    assert_eq!(works(Duration::from_secs(3)).await, 4);
}

fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

#[tokio::test]
async fn two_commands_at_once_share_or_end_their_connections() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let (sshd, kept) = (Sshd::start(&[]), SnapshotSource::new());
    let target = keeping(&sshd);
    let work = async |connection: Connection| {
        assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
        connection.close().await.unwrap();
    };
    let open = async || tokio::join!(kept.open(&target), kept.open(&target), kept.open(&target));
    // Each works on, whatever the others have connected and closed meanwhile.
    let (first, second, third) = open().await;
    work(first).await;
    tokio::join!(work(second), work(third));
    // Whoever came first is found from now on; the others have ended theirs.
    wait_for("a single connection", || (sshd.children().len() == 1).then_some(()));
    let before = sshd.handshakes();
    let (first, second, third) = open().await;
    tokio::join!(work(first), work(second), work(third));
    assert_eq!(sshd.handshakes(), before);
}

#[tokio::test]
async fn a_machine_too_busy_to_take_its_connection_in_time_connects_again() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let busy = async {
        // ssh is on its way by then, and waits 3 s for us once it has connected.
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::thread::sleep(Duration::from_secs(5));
    };
    let target = sshd.target();
    let options = ConnectOptions::default();
    let (connection, ()) = tokio::join!(Connection::open(&target, &options, None), busy);
    let connection = connection.unwrap();
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    connection.close().await.unwrap();
    assert_eq!(sshd.handshakes(), 2);
}

#[tokio::test]
async fn a_kept_connection_ends_by_itself_and_leaves_sudo_as_it_was() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    let (sshd, kept) = (Sshd::start(&[]), SnapshotSource::new());
    let user = TestUser::new("/bin/sh", Some("right")).sudoers("ALL=(ALL) ALL");
    let mut target = sshd.target_of(&user);
    target.settings.persist = Some(Duration::from_secs(1));
    let right = password("right");
    for password in [Some(&right), None, Some(&right)] {
        let connection = Connection::open(&target, &kept.options(), password).await.unwrap();
        let answer = said(&connection, "say uid \"$(id -u)\"", "uid").await;
        match password {
            Some(_) => assert_eq!(answer.unwrap(), "0"),
            None => assert!(matches!(answer, Err(Error::SudoPasswordNeeded { .. })), "{answer:?}"),
        }
        connection.close().await.unwrap();
    }
    assert_eq!(sshd.handshakes(), 1);
    // The host sees the end before the client has taken its socket away.
    let master = kept.directories()[0].join("master");
    wait_for("its end", || (sshd.children().is_empty() && !master.exists()).then_some(()));
}

// ---- key exchange ----

/// The algorithm that ssh and this sshd agree on.
async fn exchanged(sshd: &Sshd, target: &Target, options: &ConnectOptions) -> String {
    let before = sshd.log().len();
    Connection::open(target, options, None).await.unwrap().close().await.unwrap();
    let log = sshd.log()[before..].to_owned();
    let line = log.lines().find_map(|line| line.split_once("kex: algorithm: "));
    line.unwrap_or_else(|| panic!("no key exchange in\n{log}")).1.trim_end_matches(" [preauth]").to_owned()
}

#[tokio::test]
async fn the_key_exchange_is_the_users_unless_the_inventory_says_otherwise() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["LogLevel DEBUG1"]);
    let wishing = |names: &[&str]| {
        let kex = names.iter().map(ToString::to_string).collect();
        sshd.target_with(SshSettings { kex, ..sshd.settings() })
    };
    let known = Command::new("ssh").args(["-Q", "kex"]).output().unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    let default = exchanged(&sshd, &sshd.target(), &options()).await;
    if known.contains("mlkem768x25519-sha256") {
        assert_eq!(default, "mlkem768x25519-sha256");
    } else if known.contains("sntrup761x25519") {
        assert!(default.starts_with("sntrup761x25519"), "{default}");
    }
    let named = wishing(&["of-the-future", "ecdh-sha2-nistp256", "curve25519-sha256"]);
    assert_eq!(exchanged(&sshd, &named, &options()).await, "ecdh-sha2-nistp256");

    let config = sshd.path("ssh_config");
    fs::write(&config, "KexAlgorithms ecdh-sha2-nistp384\n").unwrap();
    let users =
        |target: Target| sshd.target_with(SshSettings { config: Some(config.clone()), ..target.settings });
    assert_eq!(exchanged(&sshd, &users(sshd.target()), &options()).await, "ecdh-sha2-nistp384");
    assert_eq!(exchanged(&sshd, &users(named), &options()).await, "ecdh-sha2-nistp256");

    let error = Connection::open(&wishing(&["of-the-future"]), &options(), None).await.map(|_| ());
    assert!(matches!(&error, Err(Error::Setting { what: "kex", .. })), "{error:?}");
}

#[tokio::test]
async fn a_host_that_has_none_of_the_wished_exchanges_is_still_reached() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["LogLevel DEBUG1", "KexAlgorithms ecdh-sha2-nistp521"]);
    let target = sshd.target_with(SshSettings { kex: vec!["curve25519-sha256".into()], ..sshd.settings() });
    assert_eq!(exchanged(&sshd, &target, &options()).await, "ecdh-sha2-nistp521");
}

// ---- sudo, login files and login shells ----

#[tokio::test]
async fn sudo_that_asks_in_any_language() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    // The host's own wishes for language and prompt, all at once.
    let sshd =
        Sshd::start(&["SetEnv LANG=de_DE.UTF-8 LC_ALL=fr_FR.UTF-8 LANGUAGE=ja SUDO_PROMPT=Mot-de-passe:"]);
    let user = TestUser::new("/bin/sh", Some("right")).sudoers_with(
        "passprompt=\"Contraseña para %p: \", passprompt_override, badpass_message=\"Falsch!\", lecture=always",
        "ALL=(ALL) ALL",
    );
    let right = password("right");
    let connection = Connection::open(&sshd.target_of(&user), &options(), Some(&right)).await.unwrap();
    let answer = said(&connection, "say uid \"$(id -u)\"", "uid").await;
    connection.close().await.unwrap();
    assert_eq!(answer.unwrap(), "0");
    let wrong = password("wrong");
    let connection = Connection::open(&sshd.target_of(&user), &options(), Some(&wrong)).await.unwrap();
    let answer = said(&connection, "say a 1", "a").await;
    connection.close().await.unwrap();
    assert!(matches!(&answer, Err(Error::SudoPasswordWrong { .. })), "{answer:?}");
}

#[tokio::test]
async fn sudo_that_wants_a_terminal_says_what_to_do() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[]);
    for rule in ["ALL=(ALL) NOPASSWD: ALL", "ALL=(ALL) ALL"] {
        let user = TestUser::new("/bin/sh", Some("right")).sudoers_with("requiretty", rule);
        let right = password("right");
        let connection = Connection::open(&sshd.target_of(&user), &options(), Some(&right)).await.unwrap();
        let error = said(&connection, "say a 1", "a").await.unwrap_err();
        connection.close().await.unwrap();
        assert!(matches!(&error, Error::SudoNeedsTerminal { .. }), "{rule}: {error:?}");
        assert!(error.remedy().unwrap().contains(&format!("Defaults:{} !requiretty", user.name)));
    }
}

#[tokio::test]
async fn banners_and_noisy_login_files_are_no_answer() {
    if !have(&["ssh", "sshd"]) || !is_root() {
        return;
    }
    let banner = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(banner.path(), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(
        banner.path(),
        "Authorized use only!\n%s $(id)\nopen failed: Permission denied (x).\n".repeat(50),
    )
    .unwrap();
    let line = format!("Banner {}", banner.path().display());
    let sshd = Sshd::start(&[LOGIN_FILES, &line, "PrintMotd yes", "PrintLastLog yes"]);
    let user = TestUser::new("/bin/bash", None).sudoers("ALL=(ALL) NOPASSWD: ALL");
    let noise = "echo out; echo err >&2; head -c 300000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero >&2; \
                 printf 'no line end'; cat /dev/zero | head -c 10 >/dev/null; export LC_ALL=xx\n";
    for file in [".bashrc", ".profile", ".bash_profile"] {
        fs::write(user.home.join(file), noise).unwrap();
    }
    let connection = open(&sshd.target_of(&user)).await;
    assert_eq!(said(&connection, "say uid \"$(id -u)\"", "uid").await.unwrap(), "0");
    connection.close().await.unwrap();

    // The banner is not the reason when the login fails.
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    let error = Connection::open(&sshd.target_of(&user), &options(), None).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, Error::AuthenticationDenied { user: name, .. } if *name == user.name),
        "{error:?}"
    );
}

#[tokio::test]
async fn tcsh_is_a_login_shell_too() {
    if have(&["ssh", "sshd", "sudo", "tcsh"]) && is_root() {
        works_under("tcsh", &[".tcshrc", ".cshrc", ".login"]).await;
    }
}

#[tokio::test]
async fn the_ash_of_busybox_is_a_login_shell_too() {
    if have(&["ssh", "sshd", "sudo", "busybox"]) && is_root() {
        // A login shell is called by its name: `ash` there is a link to busybox.
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        std::os::unix::fs::symlink(busybox.unwrap(), dir.path().join("ash")).unwrap();
        works_under(dir.path().join("ash").to_str().unwrap(), &[".profile"]).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_is_made_once_more() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await;
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    assert!(!connection.reconnect().await, "it is there");
    sshd.cut_all();
    // ssh notices in its own time.
    let started = Instant::now();
    while !connection.reconnect().await {
        assert!(started.elapsed() < PATIENCE, "ssh holds on to a connection that was cut");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(said(&connection, "say a 2", "a").await.unwrap(), "2");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_login_shell_that_hangs_is_named_soon() {
    if !have(&["ssh", "sshd"]) || !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let shell = dir.path().join("hangs");
    fs::write(&shell, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let sshd = Sshd::start(&[]);
    let user = TestUser::new(shell.to_str().unwrap(), None);
    let connection = open(&sshd.target_of(&user)).await;
    let script = Script::ask(&Nonce::random(), &[]);
    let deadline = Deadline { first: Some(Duration::from_secs(1)), whole: Duration::from_secs(600) };
    let error = connection.run(&script, deadline, |_| ()).await.unwrap_err();
    connection.close().await.unwrap();
    let text = error.to_string();
    assert!(text.contains("its shell says nothing for 1 s"), "{text}");
    assert!(error.remedy().unwrap().contains("login shell"), "{error:?}");
}

/// As a user with this login shell and talkative login files, with and without sudo's password.
async fn works_under(shell: &str, files: &[&str]) {
    let shell = if shell.contains('/') { shell.to_owned() } else { format!("/usr/bin/{shell}") };
    let sshd = Sshd::start(&[LOGIN_FILES]);
    for rule in ["ALL=(ALL) NOPASSWD: ALL", "ALL=(ALL) ALL"] {
        let user = TestUser::new(&shell, Some("right")).sudoers(rule);
        for file in files {
            fs::write(user.home.join(file), "echo Welcome\n").unwrap();
        }
        let right = password("right");
        let connection = Connection::open(&sshd.target_of(&user), &options(), Some(&right)).await.unwrap();
        let text = "say uid \"$(id -u)\"; say odd 'a!b\\c$d`e'";
        assert_eq!(said(&connection, text, "uid").await.unwrap(), "0", "{shell}");
        assert_eq!(said(&connection, text, "odd").await.unwrap(), "a!b\\c$d`e", "{shell}");
        connection.close().await.unwrap();
    }
}

// ---- servers at their limits ----

#[tokio::test]
async fn twenty_hosts_at_once_pass_a_narrow_door() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["MaxStartups 2:50:5"]);
    let targets: Vec<Target> =
        (1..=20).map(|number| named(&format!("node-{number}"), sshd.target())).collect();
    let options = ConnectOptions { deadline: Duration::from_secs(60), ..ConnectOptions::default() };
    let (sessions, failed) = Sessions::open(&targets, &options, None, 100, |_, _| {}).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(sessions.len(), 20);
    assert!(sshd.log().contains("MaxStartups"), "nobody was turned away, so this shows nothing");
    sessions.close().await;
}

#[tokio::test]
async fn a_host_that_hangs_after_its_greeting_is_named_in_time() {
    if !have(&["ssh"]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let held: Vec<TcpStream> = listener
            .incoming()
            .flatten()
            .map(|mut stream| {
                stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
                stream
            })
            .collect();
        drop(held);
    });
    let settings = SshSettings { port: Some(port), ..SshSettings::default() };
    let target = Target { host: HostName::parse("node-7").unwrap(), address: "127.0.0.1".into(), settings };
    let options = ConnectOptions { deadline: Duration::from_secs(2), ..options() };
    let began = Instant::now();
    let error = Connection::open(&target, &options, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { cause: Cause::Silent { .. }, .. }), "{error:?}");
    let expected =
        format!("cannot be reached: 127.0.0.1:{port} accepts the connection and then says nothing");
    assert_eq!(error.to_string(), expected);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

// ---- distance ----

/// A port that leads to `to`, half of `rtt` away in each direction.
fn far_away(to: u16, rtt: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // The first answer comes a round trip after the call.
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                carry(from.try_clone().unwrap(), to.try_clone().unwrap(), rtt / 2);
            }
        }
    });
    port
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

#[tokio::test]
async fn half_a_second_away_everything_works() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let (sshd, kept) = (Sshd::start(&[]), SnapshotSource::new());
    let port = far_away(sshd.port, Duration::from_millis(500));
    let known = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    fs::write(sshd.path("known_hosts"), known.replace(&sshd.port.to_string(), &port.to_string())).unwrap();
    let settings = SshSettings { persist: Some(Duration::from_secs(60)), ..sshd.settings() };
    let target = sshd.target_with(SshSettings { port: Some(port), ..settings });
    // The deadlines of a real run.
    let options = ConnectOptions { control_dir: kept.home.path().to_owned(), ..ConnectOptions::default() };
    let mut took = Vec::new();
    for _ in 0..2 {
        let began = Instant::now();
        let connection = Connection::open(&target, &options, None).await.unwrap();
        assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
        took.push(began.elapsed());
        // Forwarding is found out about over the same distance.
        connection.forward(1).await.unwrap();
        connection.close().await.unwrap();
    }
    assert_eq!(sshd.handshakes(), 1, "{took:?}");
    eprintln!("at 500 ms: cold {:?}, over a kept connection {:?}", took[0], took[1]);
    assert!(took[1] < Duration::from_millis(2500), "{took:?}");
}
