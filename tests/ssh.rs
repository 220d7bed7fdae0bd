//! Connections, scripts, uploads and forwarded ports against a real sshd on the loopback.

#[path = "support/sshd.rs"]
mod sshd;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bootstrap::ssh::{Connection, Error};
use sshd::{PATIENCE, Sshd, have, options};

async fn stream(connection: &Connection, script: &str) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    connection
        .stream(script, PATIENCE, |line| {
            lines.push(line.to_owned());
            if line == "end" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    Ok(lines)
}

#[tokio::test]
async fn one_run_is_one_handshake_and_one_session() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = Connection::open(&sshd.target(), &options(), None).await.unwrap();
    assert_eq!((sshd.handshakes(), sshd.sessions()), (1, 0));
    assert_eq!(stream(&connection, "echo one\necho end\n").await.unwrap(), ["one", "end"]);
    connection.close().await.unwrap();
    assert_eq!((sshd.handshakes(), sshd.sessions()), (1, 1));
}

#[tokio::test]
async fn a_forwarded_port_serves_http() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&[]);
    let connection = Connection::open(&sshd.target(), &options(), None).await.unwrap();
    let port = http_server();
    let forward = connection.forward(port).await.unwrap();
    let client = reqwest::Client::builder().unix_socket(forward.path()).build().unwrap();
    let get = || async { client.get("http://host/v1/status").send().await?.text().await };
    assert_eq!(get().await.unwrap(), "well");
    assert_eq!(get().await.unwrap(), "well");
    assert_eq!(sshd.sessions(), 0);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn forbidden_forwarding_is_noticed() {
    if !have(&["ssh", "sshd"]) {
        return;
    }
    let sshd = Sshd::start(&["AllowTcpForwarding no"]);
    let connection = Connection::open(&sshd.target(), &options(), None).await.unwrap();
    for _ in 0..2 {
        let failed = connection.forward(8500).await.unwrap_err();
        assert!(matches!(failed, Error::ForwardingForbidden { .. }), "{failed:?}");
    }
    connection.close().await.unwrap();
}

/// Answers every request on a port of the loopback.
fn http_server() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    use std::io::{BufRead, Write};
    let mut lines = std::io::BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell")?;
        }
        line.clear();
    }
    Ok(())
}
