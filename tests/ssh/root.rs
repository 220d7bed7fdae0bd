//! Root's rights: sudo with and without a password.

use super::*;

#[tokio::test]
async fn sudo_without_password() {
    if have(&["ssh", "sshd", "sudo"]) && is_root() {
        for shell in ["/bin/sh", "/bin/bash"] {
            sudo_under(shell).await;
        }
    }
}

#[tokio::test]
async fn sudo_under_csh() {
    if have(&["ssh", "sshd", "sudo", "csh"]) && is_root() {
        sudo_under("/bin/csh").await;
    }
}

#[tokio::test]
async fn sudo_under_fish() {
    if have(&["ssh", "sshd", "sudo", "fish"]) && is_root() {
        sudo_under("/usr/bin/fish").await;
    }
}

/// As a user with this login shell and talkative login files.
async fn sudo_under(shell: &str) {
    let sshd = Sshd::start(&[LOGIN_FILES]);
    let user = TestUser::new(shell, Some("right")).sudoers("ALL=(ALL) NOPASSWD: ALL");
    fs::create_dir_all(user.home.join(".config/fish")).unwrap();
    for file in [".bashrc", ".cshrc", ".profile", ".config/fish/config.fish"] {
        fs::write(user.home.join(file), "echo 'Welcome! bootstrap-is-ready?'\necho more\n").unwrap();
    }
    // A password that is not asked for is not sent, so a wrong one does no harm.
    for password in [None, Some(password("never asked for"))] {
        let connection =
            Connection::open(&sshd.target_of(&user), &options(), password.as_ref()).await.unwrap();
        assert_eq!(said(&connection, "say uid \"$(id -u)\"", "uid").await.unwrap(), "0", "{shell}");
        connection.close().await.unwrap();
    }
    let user = user.sudoers("ALL=(ALL) ALL");
    let right = password("right");
    let connection = Connection::open(&sshd.target_of(&user), &options(), Some(&right)).await.unwrap();
    assert_eq!(said(&connection, "say uid \"$(id -u)\"", "uid").await.unwrap(), "0", "{shell}");
    let (file, digest) = random_file(&sshd.path("artifact"), shell.len() as u8);
    let there = Removed(Path::new("/var/lib/bootstrap/incoming").join(&digest));
    sendable(connection.upload(&file, &digest, |_| {})).await.unwrap();
    assert_eq!(fs::read(&there.0).unwrap(), fs::read(&file).unwrap());
    connection.close().await.unwrap();
    assert!(!fs::read_to_string(user.sudo_log()).unwrap().contains("incorrect"));
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
    let nobody = TestUser::new("/usr/sbin/nologin", None);
    let error = fails(&nobody, None).await;
    assert!(
        matches!(&error, Error::ScriptStopped { status: Some(1), last, .. } if last.contains("not available")),
        "{error:?}"
    );
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

/// Command lines and environments of all processes.
fn processes() -> String {
    let dirs = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let files = dirs.flat_map(|dir| [dir.join("cmdline"), dir.join("environ")]);
    files
        .filter_map(|file| fs::read(file).ok())
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .collect()
}
