//! A local file -> `/var/lib/bootstrap/incoming/SHA256` on a host.

use std::ops::ControlFlow;
use std::path::Path;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::session::{converse, last_line, refusal};
use super::sudo::Program;
use super::{Connection, Error};

/// Reads the digest in its first line, says `want` or `have`, reads the file, says `done` or `differs`.
/// `read` takes no byte too many, so the file follows on the same stream. Partial files of uploads that
/// were killed go first.
pub(super) const PROGRAM: Program = Program(concat!(
    r#"set -eu; umask 077; read -r name; dir=/var/lib/bootstrap/incoming; mkdir -p "$dir"; file="$dir/$name"; "#,
    r#"digest() { sha256sum <"$1" | cut -d" " -f1; }; "#,
    r#"if [ -f "$file" ] && [ "$(digest "$file")" = "$name" ]; then echo bootstrap-upload have; exit 0; fi; "#,
    r#"for old in "$file".part.*; do kill -0 "${old##*.}" 2>/dev/null || rm -f "$old"; done; "#,
    r#"part="$file.part.$$"; drop() { rm -f "$part"; }; trap drop EXIT; "#,
    r#"echo bootstrap-upload want; cat >"$part"; found=$(digest "$part"); "#,
    r#"if [ "$found" = "$name" ]; then mv -f "$part" "$file"; echo bootstrap-upload done; "#,
    r#"else drop; echo "bootstrap-upload differs $found"; fi"#,
));

/// As much of the file as is in memory at once.
const CHUNK: usize = 128 * 1024;

impl Connection {
    /// Puts a local file to `/var/lib/bootstrap/incoming/SHA256` on the host: one session. `on_bytes`
    /// gets how much of it is there so far. A file that is there already is not sent again.
    pub async fn upload(&self, file: &Path, sha256: &str, on_bytes: impl FnMut(u64)) -> Result<(), Error> {
        let _turn = self.turn().await?;
        upload(self, file, sha256, on_bytes).await
    }
}

async fn upload(
    connection: &Connection,
    file: &Path,
    sha256: &str,
    mut on_bytes: impl FnMut(u64),
) -> Result<(), Error> {
    let failed = |reason: String| Error::UploadFailed {
        host: connection.host.clone(),
        file: file.display().to_string(),
        reason,
    };
    if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(failed(format!("{sha256:?} is no SHA-256 digest")));
    }
    let unreadable = |error: std::io::Error| failed(format!("it cannot be read: {error}"));
    let mut local = File::open(file).await.map_err(unreadable)?;
    let size = local.metadata().await.map_err(unreadable)?.len();
    let (wants, mut wanted) = mpsc::unbounded_channel();
    let mut verdict = None;

    let feed = async |mut stdin: openssh::ChildStdin| {
        if stdin.write_all(format!("{sha256}\n").as_bytes()).await.is_err() || wanted.recv().await.is_none() {
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK];
        let mut sent = 0;
        loop {
            let read = local.read(&mut chunk).await.map_err(unreadable)?;
            // When the host stops reading, what it says tells why.
            if read == 0 || stdin.write_all(&chunk[..read]).await.is_err() {
                return Ok(());
            }
            sent += read as u64;
            on_bytes(sent);
        }
    };
    let mut wants = Some(wants);
    let on_line = |line: &[u8]| {
        let Some(said) = line.strip_prefix(b"bootstrap-upload ") else { return ControlFlow::Continue(()) };
        if said == b"want" {
            if let Some(wants) = &wants {
                // The writer may have failed; it says why itself.
                let _ = wants.send(());
            }
            return ControlFlow::Continue(());
        }
        verdict = Some(String::from_utf8_lossy(said).into_owned());
        wants = None;
        ControlFlow::Break(())
    };
    let ended = converse(connection, PROGRAM, feed, on_line).await?;
    match verdict.as_deref() {
        Some("done") => Ok(()),
        Some("have") => {
            on_bytes(size);
            Ok(())
        }
        Some(other) => {
            let found = other.trim_start_matches("differs ");
            Err(failed(format!("its SHA-256 on arrival is {found}, not {sha256}")))
        }
        None => match refusal(connection, &ended) {
            Some(error) => Err(error),
            None if ended.status.is_none() && !connection.is_alive().await => Err(connection.cut().await),
            None => Err(failed(last_line(&ended.stderr).to_owned())),
        },
    }
}
