//! Hosts that do not let us in, the user's own configuration, and jump hosts.

use std::io::Read;

use super::*;

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
    assert_eq!(error.to_string(), format!("cannot be reached: 127.0.0.1:{port} refuses the connection"));
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
    let options = ConnectOptions { deadline: Duration::from_secs(2), ..options() };
    let error = Connection::open(&target, &options, None).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { cause: Cause::Silent { .. }, .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    // No ssh goes on waiting there either.
    let (mut waiting, _) = silent.accept().unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    std::io::Read::read_to_end(&mut waiting, &mut Vec::new()).expect("ssh ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_is_tried_again() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["MaxStartups 1:100:1"]);
    // Takes the only place for those who have not logged in. sshd may count the harness a moment longer, and drop this one too:
    // who has the place is greeted.
    let in_the_way = wait_for("a taken place", || {
        let mut stream = TcpStream::connect(("127.0.0.1", sshd.port)).unwrap();
        let mut greeting = [0; 4];
        (stream.read_exact(&mut greeting).is_ok() && greeting == *b"SSH-").then_some(stream)
    });
    wait_for("its process alone", || (sshd.children().len() == 1).then_some(()));
    let target = sshd.target();
    let drops = |log: String| log.lines().filter(|line| line.contains("MaxStartups")).count();
    let before = drops(sshd.log());
    let opening = tokio::spawn(async move { open(&target).await });
    let dropped = || wait_for("dropped connection", || (drops(sshd.log()) > before).then_some(()));
    tokio::task::block_in_place(dropped);
    drop(in_the_way);
    opening.await.unwrap().unwrap().close().await.unwrap();
    assert_eq!(sshd.handshakes(), 1);
}

#[tokio::test]
async fn the_users_configuration_is_honoured_but_does_not_weaken_the_inventory() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let config = sshd.path("ssh_config");
    let (key, known_hosts, port) = (sshd.path("login_key"), sshd.path("known_hosts"), closed_port());
    let text = format!(
        "Host web\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n UserKnownHostsFile {}\n \
         StrictHostKeyChecking no\n LocalForward {port} 127.0.0.1:80\n",
        sshd.port,
        key.display(),
        known_hosts.display(),
    );
    fs::write(&config, text).unwrap();
    let settings = SshSettings { r#become: Become::None, config: Some(config), ..SshSettings::default() };
    let target = Target { host: HostName::parse("node-1").unwrap(), address: "web".into(), settings };
    let connection = Connection::open(&target, &options(), None).await.unwrap();
    assert_eq!(said(&connection, "say a 1", "a").await.unwrap(), "1");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the user's own forward is in place");
    connection.close().await.unwrap();

    fs::write(&known_hosts, "").unwrap();
    let error = Connection::open(&target, &options(), None).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::HostKeyUnknown { .. }), "{error:?}");
}

#[tokio::test]
async fn a_key_in_the_agent_opens_the_door() {
    if !have(&["ssh", "sshd", "ssh-agent", "ssh-add"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let (socket, config) = (sshd.path("agent"), sshd.path("ssh_config"));
    let mut agent =
        Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    wait_for("agent", || socket.exists().then_some(()));
    sshd::run(Command::new("ssh-add").arg("-q").arg(sshd.path("login_key")).env("SSH_AUTH_SOCK", &socket));
    fs::rename(sshd.path("login_key"), sshd.path("elsewhere")).unwrap();
    fs::write(&config, format!("IdentityAgent {}\n", socket.display())).unwrap();
    let settings = SshSettings { identity_file: None, config: Some(config), ..sshd.settings() };
    let opened = Connection::open(&sshd.target_with(settings), &options(), None).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    opened.unwrap().close().await.unwrap();
    assert_eq!(sshd.handshakes(), 1);
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

    // Nothing stays behind on the way.
    wait_for("end of all connections", || {
        [&one, &two, &three].iter().all(|sshd| sshd.children().is_empty()).then_some(())
    });

    // The jump host that fails is the one that is named.
    let port = closed_port();
    let error = refused(&through(vec![hop(&one), format!("127.0.0.1:{port}")])).await;
    assert!(error.to_string().ends_with(&format!("127.0.0.1:{port} refuses the connection")), "{error}");
    fs::write(two.path("authorized_keys"), "").unwrap();
    let error = refused(&through(vec![hop(&one), hop(&two)])).await;
    assert!(matches!(&error, Error::AuthenticationDenied { at, .. } if *at == hop(&two)), "{error:?}");
    // Host keys are checked all the way.
    three.know(&[&two, &three]);
    let error = refused(&through(vec![hop(&one), hop(&two)])).await;
    let unknown = format!("[127.0.0.1]:{}", one.port);
    assert!(matches!(&error, Error::HostKeyUnknown { at, .. } if *at == unknown), "{error:?}");
}
