//! Connections, scripts, uploads and forwarded ports against a real sshd on the loopback.

#[path = "support/sshd.rs"]
mod sshd;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bootstrap::inventory::{Become, HostKeys, HostName, SshSettings};
use bootstrap::plan::StepId;
use bootstrap::script::{Arg, Call, Nonce, Observation, Record, Script};
use bootstrap::ssh::{BecomePassword, Cause, ConnectOptions, Connection, Error, Sessions, Target};
use sha2::{Digest, Sha256};
use sshd::{LOGIN_FILES, PATIENCE, Sshd, TestUser, have, is_root, options, wait_for};

/// A script with one probe, `seen`, that runs shell text.
fn script(text: &str) -> Script {
    let call = Call::new("eval", [Arg::new(text).unwrap()]);
    Script::ask(&Nonce::random(), &[(StepId("seen".into()), call)])
}

/// Runs shell text and returns what it said under `key`.
async fn said(connection: &Connection, text: &str, key: &str) -> Result<String, Error> {
    let records = connection.run(&script(text), PATIENCE, |_| {}).await?;
    assert_eq!(records.last(), Some(&Record::Finished));
    let seen = Observation::new(&records);
    Ok(seen.of("seen").text(key).unwrap_or_else(|| panic!("no {key} in {records:?}")).to_owned())
}

async fn open(target: &Target) -> Result<Connection, Error> {
    Connection::open(target, &options(), None).await
}

/// Why a connection cannot be opened, without the patience of a real run.
async fn refused(target: &Target) -> Error {
    let options = ConnectOptions { attempts: 2, ..options() };
    Connection::open(target, &options, None).await.map(|_| ()).unwrap_err()
}

fn password(text: &str) -> BecomePassword {
    BecomePassword::new(text.to_owned()).unwrap()
}

// ---- what a run costs, and what it carries ----

#[tokio::test]
async fn a_run_is_one_handshake_and_one_session() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    assert_eq!((sshd.handshakes(), sshd.sessions()), (1, 0));
    assert_eq!(said(&connection, "say answer 42", "answer").await.unwrap(), "42");
    connection.close().await.unwrap();
    assert_eq!((sshd.handshakes(), sshd.sessions()), (1, 1));
    wait_for("end of the connection", || sshd.children().is_empty().then_some(()));
}

#[tokio::test]
async fn large_scripts_and_large_replies_do_not_wait_for_each_other() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    let file = sshd.path("large");
    fs::write(&file, vec![b'x'; 4 << 20]).unwrap();
    let text =
        format!(": {}; say_file first '{1}'; say_file second '{1}'", "y".repeat(4 << 20), file.display());
    let records = connection.run(&script(&text), PATIENCE, |_| {}).await.unwrap();
    let seen = Observation::new(&records);
    for key in ["first", "second"] {
        assert_eq!(seen.of("seen").bytes(key).map(<[u8]>::len), Some(4 << 20));
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn records_arrive_while_the_script_runs() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    let go = sshd.path("go");
    // The script ends only if its first record is heard before its end.
    let text =
        format!("say step first; while [ ! -e '{}' ]; do sleep 0.01; done; say step second", go.display());
    let script = script(&text);
    let records = connection.run(&script, PATIENCE, |record| {
        if matches!(record, Record::Seen { value, .. } if value == b"first") {
            fs::write(&go, "").unwrap();
        }
    });
    assert_eq!(records.await.unwrap().len(), 3);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn one_session_at_a_time_is_enough() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["MaxSessions 1"]);
    let connection = open(&sshd.target()).await.unwrap();
    for _ in 0..10 {
        let (one, two) = tokio::join!(said(&connection, "say a 1", "a"), said(&connection, "say b 2", "b"));
        assert_eq!((one.unwrap().as_str(), two.unwrap().as_str()), ("1", "2"));
    }
    assert_eq!((sshd.handshakes(), sshd.sessions()), (1, 20));
    connection.close().await.unwrap();
}

#[tokio::test]
async fn many_hosts_connect_at_once() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let host = |number| HostName::parse(format!("node-{number}")).unwrap();
    let mut targets: Vec<Target> =
        (1..=20).map(|number| Target { host: host(number), ..sshd.target() }).collect();
    targets[6].settings.port = Some(closed_port());
    let mut heard = 0;
    let options = ConnectOptions { attempts: 1, ..options() };
    let (sessions, failed) = Sessions::open(&targets, &options, None, 20, |_, _| heard += 1).await;
    assert_eq!((sessions.len(), heard, sshd.handshakes()), (19, 20, 19));
    assert_eq!(failed.keys().collect::<Vec<_>>(), [&host(7)]);
    let answers = sessions.iter().map(|(host, connection)| async move {
        let text = format!("say me {host}");
        assert_eq!(said(connection, &text, "me").await.unwrap(), host.as_str());
    });
    futures_util::future::join_all(answers).await;
    assert!(sessions.of(&host(7)).is_none());
    sessions.close().await;
    wait_for("end of all connections", || sshd.children().is_empty().then_some(()));
}

#[tokio::test]
async fn nothing_of_ours_is_left_behind() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let base = tempfile::tempdir_in("/tmp").unwrap();
    let options = ConnectOptions { control_dir: base.path().to_owned(), ..options() };
    let entries =
        || fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>();
    let connection = Connection::open(&sshd.target(), &options, None).await.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&entries()[0]).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    connection.close().await.unwrap();
    assert_eq!(entries(), Vec::<PathBuf>::new());
    // Dropped instead of closed, and never opened.
    drop(Connection::open(&sshd.target(), &options, None).await.unwrap());
    let nowhere = sshd.target_with(SshSettings { port: Some(closed_port()), ..sshd.settings() });
    assert!(Connection::open(&nowhere, &options, None).await.is_err());
    assert_eq!(entries(), Vec::<PathBuf>::new());
    wait_for("end of the connections", || sshd.children().is_empty().then_some(()));
}

// ---- hosts that do not let us in ----

#[tokio::test]
async fn an_unknown_host_key_is_refused_unless_the_inventory_says_otherwise() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let known = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    fs::write(sshd.path("known_hosts"), "").unwrap();
    let error = refused(&sshd.target()).await;
    let Error::HostKeyUnknown { at, fingerprint: Some(fingerprint), .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(at, &format!("[127.0.0.1]:{}", sshd.port));
    assert!(fingerprint.starts_with("ssh-ed25519 SHA256:"), "{fingerprint}");
    assert_eq!(sshd.handshakes(), 0);

    let accepting = SshSettings { host_keys: HostKeys::AcceptNew, ..sshd.settings() };
    open(&sshd.target_with(accepting)).await.unwrap().close().await.unwrap();
    let written = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    let key = |line: &str| line.split(' ').nth(2).unwrap().trim().to_owned();
    assert_eq!(key(&written), key(&known));
}

#[tokio::test]
async fn a_changed_host_key_is_always_refused() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    sshd::keygen(&sshd.path("other"));
    let other = fs::read_to_string(sshd.path("other.pub")).unwrap();
    fs::write(sshd.path("known_hosts"), format!("# ours\n[127.0.0.1]:{} {other}", sshd.port)).unwrap();
    for host_keys in [HostKeys::Strict, HostKeys::AcceptNew] {
        let error = refused(&sshd.target_with(SshSettings { host_keys, ..sshd.settings() })).await;
        let Error::HostKeyChanged { known_hosts: Some(place), .. } = &error else { panic!("{error:?}") };
        assert_eq!(place, &format!("{}:2", sshd.path("known_hosts").display()));
        assert!(error.remedy().unwrap().contains(&format!("ssh-keygen -R '[127.0.0.1]:{}'", sshd.port)));
    }
    assert_eq!(sshd.handshakes(), 0);
}

#[tokio::test]
async fn a_refused_key_is_named_and_not_tried_again() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    let error = refused(&sshd.target()).await;
    let Error::AuthenticationDenied { user, keys, methods, .. } = &error else { panic!("{error:?}") };
    assert_eq!(Some(user), sshd.settings().user.as_ref());
    assert_eq!(keys, &[sshd.path("login_key").display().to_string()]);
    assert!(methods.contains("publickey"), "{methods}");
    let attempts = sshd.log().lines().filter(|line| line.starts_with("Failed publickey")).count();
    assert!(attempts <= 1, "{attempts} attempts");

    let missing = SshSettings { identity_file: Some("/nowhere/key".into()), ..sshd.settings() };
    let error = refused(&sshd.target_with(missing)).await;
    assert!(error.to_string().contains("/nowhere/key: No such file or directory"), "{error}");
}

#[tokio::test]
async fn hosts_that_are_not_there() {
    if !have(&["ssh"]) {
        return;
    }
    let port = closed_port();
    let settings = SshSettings { port: Some(port), ..SshSettings::default() };
    let at = |address: &str| Target {
        host: HostName::parse("node-1").unwrap(),
        address: address.into(),
        settings: settings.clone(),
    };
    let error = refused(&at("127.0.0.1")).await;
    assert_eq!(
        error.to_string(),
        format!("host `node-1` cannot be reached: 127.0.0.1:{port} refuses the connection")
    );
    let error = refused(&at("nowhere.invalid")).await;
    assert!(matches!(&error, Error::Unreachable { cause: Cause::NameNotFound { .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn a_host_that_accepts_and_hangs_costs_no_more_than_the_deadline() {
    if !have(&["ssh"]) {
        return;
    }
    // Connections wait in its queue; nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let settings = SshSettings { port: Some(port), ..SshSettings::default() };
    let target = Target { host: HostName::parse("node-1").unwrap(), address: "127.0.0.1".into(), settings };
    let began = Instant::now();
    let options = ConnectOptions { deadline: Duration::from_millis(800), ..options() };
    let error = Connection::open(&target, &options, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { cause: Cause::Silent { .. }, .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_is_tried_again() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["MaxStartups 1:100:1"]);
    // Takes the only place for those who have not logged in, once sshd has seen the harness go.
    wait_for("a free place", || sshd.children().is_empty().then_some(()));
    let in_the_way = TcpStream::connect(("127.0.0.1", sshd.port)).unwrap();
    wait_for("a taken place", || (sshd.children().len() == 1).then_some(()));
    let target = sshd.target();
    let opening = tokio::spawn(async move { open(&target).await });
    let drops = |log: String| log.lines().filter(|line| line.contains("MaxStartups")).count();
    let dropped = || wait_for("dropped connection", || (drops(sshd.log()) > 0).then_some(()));
    tokio::task::block_in_place(dropped);
    drop(in_the_way);
    opening.await.unwrap().unwrap().close().await.unwrap();
    assert_eq!(sshd.handshakes(), 1);
}

// ---- the user's own configuration, and jump hosts ----

#[tokio::test]
async fn the_users_configuration_is_honoured_but_does_not_weaken_the_inventory() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let config = sshd.path("ssh_config");
    let (key, known_hosts) = (sshd.path("login_key"), sshd.path("known_hosts"));
    let text = format!(
        "Host web\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n UserKnownHostsFile {}\n \
         StrictHostKeyChecking no\n LocalForward {} 127.0.0.1:80\n",
        sshd.port,
        key.display(),
        known_hosts.display(),
        closed_port(),
    );
    fs::write(&config, text).unwrap();
    let options = ConnectOptions { ssh_config: Some(config), ..options() };
    let settings = SshSettings { r#become: Become::None, ..SshSettings::default() };
    let target = Target { host: HostName::parse("node-1").unwrap(), address: "web".into(), settings };
    let connection = Connection::open(&target, &options, None).await.unwrap();
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    connection.close().await.unwrap();

    fs::write(&known_hosts, "").unwrap();
    let error = Connection::open(&target, &options, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::HostKeyUnknown { .. }), "{error:?}");
}

#[tokio::test]
async fn two_jump_hosts_lead_to_the_third() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let (one, two, three) = (Sshd::start(&[]), Sshd::start(&[]), Sshd::start(&[]));
    three.know(&[&one, &two, &three]);
    for jump in [&one, &two] {
        jump.authorize(&three);
    }
    let hop = |sshd: &Sshd| format!("127.0.0.1:{}", sshd.port);
    let through = |jump: Vec<String>| three.target_with(SshSettings { jump, ..three.settings() });
    let connection = open(&through(vec![hop(&one), hop(&two)])).await.unwrap();
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    connection.close().await.unwrap();
    assert_eq!([&one, &two, &three].map(Sshd::handshakes), [1, 1, 1]);
    assert_eq!([&one, &two, &three].map(Sshd::sessions), [0, 0, 1]);
    assert!(three.log().contains(&format!("port {}", three.port)));

    // The jump host that fails is the one that is named.
    let port = closed_port();
    let error = refused(&through(vec![hop(&one), format!("127.0.0.1:{port}")])).await;
    assert!(error.to_string().ends_with(&format!("127.0.0.1:{port} refuses the connection")), "{error}");
    fs::write(two.path("authorized_keys"), "").unwrap();
    let error = refused(&through(vec![hop(&one), hop(&two)])).await;
    assert!(matches!(&error, Error::AuthenticationDenied { at, .. } if *at == hop(&two)), "{error:?}");
}

// ---- links that break, scripts that do not end ----

#[tokio::test]
async fn a_link_cut_in_the_middle_is_no_answer() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    let error =
        connection.run(&script("say step first; sleep 2"), PATIENCE, |_| sshd.cut_all()).await.unwrap_err();
    assert!(
        matches!(&error, Error::LinkCut { last, .. } if last.contains("closed by remote host")),
        "{error:?}"
    );
    let error = connection.run(&script("say a 1"), PATIENCE, |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionLost { .. }), "{error:?}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_script_that_stops_early_says_how() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    let error = connection.run(&script("kill -9 $$"), PATIENCE, |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::ScriptStopped { .. }), "{error:?}");
    let error = connection.run(&script("sleep 2"), Duration::from_millis(300), |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "host `node-1`: no end of the script after 0.3 s");
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    connection.close().await.unwrap();
}

// ---- root's rights ----

#[tokio::test]
async fn sudo_without_password_under_every_login_shell() {
    if !have(&["ssh", "sshd", "sudo", "csh"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[LOGIN_FILES]);
    for shell in ["/bin/sh", "/bin/bash", "/bin/csh"] {
        let user = TestUser::new(shell, None).sudoers("ALL=(ALL) NOPASSWD: ALL");
        for file in [".bashrc", ".cshrc", ".profile"] {
            fs::write(user.home.join(file), "echo 'Welcome! bootstrap-is-ready?'\necho more\n").unwrap();
        }
        // A password that is not asked for is not sent, so a wrong one does no harm.
        for password in [None, Some(password("never asked for"))] {
            let target = sshd.target_of(&user);
            let connection = Connection::open(&target, &options(), password.as_ref()).await.unwrap();
            assert_eq!(said(&connection, "say uid \"$(id -u)\"", "uid").await.unwrap(), "0", "{shell}");
            connection.close().await.unwrap();
        }
        let log = fs::read_to_string(user.sudo_log()).unwrap();
        assert!(!log.contains("incorrect"), "{log}");
    }
}

#[tokio::test]
async fn the_sudo_password_is_sent_when_asked_for_and_shows_nowhere() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[LOGIN_FILES]);
    let text = "corréct horse 'battery' $(staple)";
    let user = TestUser::new("/bin/bash", Some(text)).sudoers("ALL=(ALL) ALL");
    fs::write(user.home.join(".bashrc"), "echo noise\n").unwrap();
    let connection =
        Connection::open(&sshd.target_of(&user), &options(), Some(&password(text))).await.unwrap();
    let uid = script("say uid \"$(id -u)\"");
    let records = connection.run(&uid, PATIENCE, |_| {
        assert!(!processes().contains("battery"), "the password is in `ps`");
    });
    let records = records.await.unwrap();
    let seen = Observation::new(&records);
    assert_eq!(seen.of("seen").text("uid"), Some("0"));
    assert!(!format!("{connection:?}").contains("battery"));

    // What goes through sudo arrives whole, both ways.
    let large = sshd.path("large");
    fs::write(&large, vec![b'x'; 2 << 20]).unwrap();
    let text = format!(": {}; say_file back '{}'", "y".repeat(2 << 20), large.display());
    let records = connection.run(&script(&text), PATIENCE, |_| {}).await.unwrap();
    assert_eq!(Observation::new(&records).of("seen").bytes("back").map(<[u8]>::len), Some(2 << 20));
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_wrong_sudo_password_is_sent_once() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[]);
    let first = TestUser::new("/bin/sh", Some("right")).sudoers("ALL=(ALL) ALL");
    let second = TestUser::new("/bin/sh", Some("right")).sudoers("ALL=(ALL) ALL");
    let wrong = password("wrong");
    let connection = Connection::open(&sshd.target_of(&first), &options(), Some(&wrong)).await.unwrap();
    for _ in 0..2 {
        let error = connection.run(&script("say a 1"), PATIENCE, |_| {}).await.unwrap_err();
        assert!(matches!(&error, Error::SudoPasswordWrong { first: None, .. }), "{error:?}");
    }
    assert_eq!(sshd.sessions(), 1, "sudo was asked again");
    let attempts = |user: &TestUser| {
        let log = fs::read_to_string(user.sudo_log()).unwrap_or_default().replace("\n    ", "");
        log.lines()
            .filter(|line| line.contains("incorrect password attempt"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let logged = wait_for("entry in sudo's log", || Some(attempts(&first)).filter(|lines| !lines.is_empty()));
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains("1 incorrect password attempt"), "{logged:?}");
    connection.close().await.unwrap();

    // Not even to another host: they may share the account.
    let other = Target { host: HostName::parse("node-2").unwrap(), ..sshd.target_of(&second) };
    let connection = Connection::open(&other, &options(), Some(&wrong)).await.unwrap();
    let error = connection.run(&script("say a 1"), PATIENCE, |_| {}).await.unwrap_err();
    assert!(
        matches!(&error, Error::SudoPasswordWrong { first: Some(host), .. } if host.as_str() == "node-1"),
        "{error:?}"
    );
    connection.close().await.unwrap();
    wait_for("end of sudo", || sshd.children().is_empty().then_some(()));
    assert_eq!(attempts(&second), Vec::<String>::new());
}

#[tokio::test]
async fn sudo_that_says_no() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[]);
    let fails = async |user: &TestUser, password: Option<&BecomePassword>| {
        let connection = Connection::open(&sshd.target_of(user), &options(), password).await.unwrap();
        let error = connection.run(&script("say a 1"), PATIENCE, |_| {}).await.unwrap_err();
        connection.close().await.unwrap();
        error
    };
    let asks = TestUser::new("/bin/sh", Some("right")).sudoers("ALL=(ALL) ALL");
    assert!(matches!(fails(&asks, None).await, Error::SudoPasswordNeeded { .. }));
    let stranger = TestUser::new("/bin/sh", Some("right"));
    let error = fails(&stranger, Some(&password("right"))).await;
    assert!(
        matches!(&error, Error::SudoDenied { reason, .. } if reason.contains("not in the sudoers file")),
        "{error:?}"
    );
    let limited = TestUser::new("/bin/sh", None).sudoers("ALL=(ALL) NOPASSWD: /bin/true");
    let error = fails(&limited, None).await;
    assert!(matches!(&error, Error::SudoPasswordNeeded { .. } | Error::SudoDenied { .. }), "{error:?}");
    let terminal = TestUser::new("/bin/sh", None).sudoers_with("requiretty", "ALL=(ALL) NOPASSWD: ALL");
    let error = fails(&terminal, None).await;
    assert!(matches!(&error, Error::SudoDenied { reason, .. } if reason.contains("tty")), "{error:?}");
}

// ---- files and ports ----

#[tokio::test]
async fn an_upload_arrives_whole_or_not_at_all() {
    if !have(&["ssh", "sshd", "sudo"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[LOGIN_FILES]);
    let user = TestUser::new("/bin/bash", Some("right")).sudoers("ALL=(ALL) ALL");
    fs::write(user.home.join(".bashrc"), "echo 'bootstrap-upload?'\n").unwrap();
    let sudo = sshd.target_of(&user);
    for (target, seed) in [(sshd.target(), 1_u8), (sudo, 2)] {
        let connection = Connection::open(&target, &options(), Some(&password("right"))).await.unwrap();
        let (file, digest) = random_file(&sshd.path("artifact"), seed);
        let there = Path::new("/var/lib/bootstrap/incoming").join(&digest);
        let _cleaned = Removed(there.clone());
        let sent = Cell::new(0);
        let upload = async |digest: &str| connection.upload(&file, digest, |bytes| sent.set(bytes)).await;
        upload(&digest).await.unwrap();
        assert_eq!(sent.get(), fs::metadata(&file).unwrap().len());
        assert_eq!(fs::read(&there).unwrap(), fs::read(&file).unwrap());

        // It is there, so it is not written again.
        let written = fs::metadata(&there).unwrap().modified().unwrap();
        upload(&digest).await.unwrap();
        assert_eq!(fs::metadata(&there).unwrap().modified().unwrap(), written);

        let other = hex(&Sha256::digest([seed]));
        let error = upload(&other).await.unwrap_err();
        assert!(error.to_string().contains(&digest), "{error}");
        assert!(matches!(upload("../x").await, Err(Error::UploadFailed { .. })));
        let names = fs::read_dir(there.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = names
            .filter(|name| name.starts_with(&other) || name.starts_with(&format!("{digest}.")))
            .collect();
        assert_eq!(left, Vec::<String>::new());
        connection.close().await.unwrap();
    }
    assert_eq!((sshd.handshakes(), sshd.sessions()), (2, 6));
}

#[tokio::test]
async fn an_upload_cut_short_leaves_nothing_in_place() {
    if !have(&["ssh", "sshd"]) || !is_root() {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    let (file, digest) = random_file(&sshd.path("artifact"), 3);
    let incoming = Path::new("/var/lib/bootstrap/incoming");
    let _cleaned = Removed(incoming.join(&digest));
    let error = connection.upload(&file, &digest, |_| sshd.cut_all()).await.unwrap_err();
    assert!(matches!(&error, Error::LinkCut { .. }), "{error:?}");
    let left = || {
        let names =
            fs::read_dir(incoming).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&digest)).count()
    };
    wait_for("clean folder", || (left() == 0).then_some(()));
}

#[tokio::test]
async fn a_forwarded_port_serves_http_without_a_session() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = open(&sshd.target()).await.unwrap();
    let forward = connection.forward(http_server()).await.unwrap();
    let client = bootstrap::http::socket(forward.path()).build().unwrap();
    let get = || async { client.get("http://host/v1/status").send().await?.text().await };
    for _ in 0..3 {
        assert_eq!(get().await.unwrap(), "well");
    }
    let again = connection.forward(closed_port()).await.unwrap();
    assert_ne!(again.path(), forward.path());
    let nobody = bootstrap::http::socket(again.path()).build().unwrap();
    assert!(nobody.get("http://host/").send().await.is_err());
    assert_eq!(sshd.sessions(), 0);
    let path = forward.path().to_owned();
    drop(forward);
    assert!(!path.exists());
    connection.close().await.unwrap();
}

#[tokio::test]
async fn forbidden_forwarding_is_an_error_of_its_own() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["AllowTcpForwarding no"]);
    let connection = open(&sshd.target()).await.unwrap();
    for _ in 0..2 {
        let error = connection.forward(8500).await.map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::ForwardingForbidden { .. }), "{error:?}");
    }
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    connection.close().await.unwrap();
}

// ---- small things ----

/// Command lines and environments of all processes.
fn processes() -> String {
    let dirs = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let files = dirs.flat_map(|dir| [dir.join("cmdline"), dir.join("environ")]);
    files
        .filter_map(|file| fs::read(file).ok())
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .collect()
}

/// A port of the loopback where nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Some megabytes that no other test uploads, and their digest.
fn random_file(path: &Path, seed: u8) -> (PathBuf, String) {
    let unique = format!("{seed} {}", std::process::id());
    let bytes: Vec<u8> = unique.bytes().cycle().take(6 << 20).collect();
    fs::write(path, &bytes).unwrap();
    (path.to_owned(), hex(&Sha256::digest(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Answers every request on a port of the loopback.
fn http_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = std::io::BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while std::io::BufRead::read_line(&mut lines, &mut line)? > 0 {
        if line == "\r\n" {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell")?;
        }
        line.clear();
    }
    Ok(())
}
