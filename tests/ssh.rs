//! Connections, scripts, uploads and forwarded ports against a real sshd on the loopback.

#[path = "support/sessions.rs"]
mod sessions;
#[path = "support/sshd.rs"]
mod sshd;

#[path = "ssh/doors.rs"]
mod doors;
#[path = "ssh/files.rs"]
mod files;
#[path = "ssh/root.rs"]
mod root;
#[path = "ssh/runs.rs"]
mod runs;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bootstrap::inventory::{Become, HostKeys, SshSettings};
use bootstrap::model::{Arg, Call, HostName, StepId};
use bootstrap::script::{Nonce, Observation, Record, Script};
use bootstrap::ssh::{BecomePassword, Cause, ConnectOptions, Connection, Error, Target};
use sessions::Sessions;
use sha2::{Digest, Sha256};
use sshd::{LOGIN_FILES, PATIENCE, Sshd, TestUser, have, is_root, options, wait_for};

/// A script with one probe, `seen`, that runs shell text.
fn script(text: &str) -> Script {
    let call = Call::new("eval", [Arg::new(text).unwrap()]);
    Script::ask(&Nonce::random(), &[(StepId("seen".into()), call)])
}

/// Runs shell text and returns what it said under `key`.
async fn said(connection: &Connection, text: &str, key: &str) -> Result<String, Error> {
    let records = sendable(connection.run(&script(text), PATIENCE, |_| {})).await?;
    assert_eq!(records.last(), Some(&Record::Finished));
    let seen = Observation::new(&records);
    Ok(seen.of("seen").text(key).unwrap_or_else(|| panic!("no {key} in {records:?}")).to_owned())
}

/// Fails to compile for a future that cannot move to another thread, as `tokio::spawn` needs.
fn sendable<T: Send>(future: T) -> T {
    future
}

async fn open(target: &Target) -> Result<Connection, Error> {
    sendable(Connection::open(target, &options(), None)).await
}

/// Why a connection cannot be opened, without the patience of a real run.
async fn refused(target: &Target) -> Error {
    let options = ConnectOptions { attempts: 2, ..options() };
    Connection::open(target, &options, None).await.map(|_| ()).unwrap_err()
}

fn password(text: &str) -> BecomePassword {
    BecomePassword::new(text.to_owned()).unwrap()
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
