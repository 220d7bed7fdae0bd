//! Files and ports.

use super::*;

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
    let forward = sendable(connection.forward(http_server())).await.unwrap();
    let client = reqwest::Client::builder().unix_socket(forward.path()).build().unwrap();
    let get = || async { client.get("http://host/v1/status").send().await?.text().await };
    for _ in 0..3 {
        assert_eq!(get().await.unwrap(), "well");
    }
    let again = connection.forward(closed_port()).await.unwrap();
    assert_ne!(again.path(), forward.path());
    let nobody = reqwest::Client::builder().unix_socket(again.path()).build().unwrap();
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
