//! Every run's events, kept beside the inventory: what happened at three in the morning.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::files;
use crate::model::Event;

/// How many logs stay in a cluster's folder.
const KEPT: usize = 20;

/// An open log file, mode 0600 in a folder of mode 0700. Its lines are
/// `2026-11-21T00:12:03.123Z step-finished host=node-1 stage=prepare step="file /etc/motd" …`.
///
/// It is redacted by what events are made of: a secret is none of their fields.
#[derive(Clone, Debug)]
pub struct RunLog {
    file: Arc<File>,
    path: PathBuf,
}

impl RunLog {
    /// Opens `<time>-<command>.log` in `dir`, which is made if need be, and removes the oldest logs there.
    pub fn create(dir: &Path, command: &str) -> io::Result<Self> {
        files::private_folder(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let command: String = command.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        // Two runs may start within one second; the second must not write into the log of the first.
        let mut tries = (1..100).map(|nth| match nth {
            1 => dir.join(format!("{time}-{command}.log")),
            _ => dir.join(format!("{time}-{command}.{nth}.log")),
        });
        let (file, path) = loop {
            let path = tries.next().ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
            match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => break (file, path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        prune(dir)?;
        Ok(Self { file: Arc::new(file), path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the tracing layer, which writes into the same file.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// One write for each event, so that lines of the tracing layer never fall into one.
    pub(super) fn write(&self, event: &Event) -> io::Result<()> {
        // How far a transfer is matters while it runs; its end is logged.
        if matches!(event, Event::TransferProgress { .. }) {
            return Ok(());
        }
        (&*self.file).write_all(entry(&now(), event).as_bytes())
    }
}

/// Milliseconds are enough to order what people read, and keep the column straight.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Names sort by time; files of other names are left alone.
fn prune(dir: &Path) -> io::Result<()> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let time = name.get(..17).unwrap_or_default();
        let ours =
            time.starts_with(|c: char| c.is_ascii_digit()) && time.ends_with("Z-") && name.ends_with(".log");
        if ours {
            logs.push(path);
        }
    }
    logs.sort();
    let surplus = logs.len().saturating_sub(KEPT);
    logs.iter().take(surplus).try_for_each(fs::remove_file)
}

/// A plan gets one line for each of its steps: the bodies of files are not for a log.
fn entry(time: &str, event: &Event) -> String {
    let Event::PlanReady { plan } = event else {
        // Serialising our own event to memory cannot fail: its keys are strings.
        let fields = serde_json::to_value(event).unwrap_or_default();
        return format!("{time} {}\n", words(&fields));
    };
    let hosts = plan.steps_by_host();
    let mut text =
        format!("{time} plan-ready changes={} hosts={}\n", hosts.values().sum::<usize>(), hosts.len());
    for stage in &plan.stages {
        for (host, steps) in stage.batches.iter().flat_map(|batch| &batch.steps) {
            for step in steps {
                let fields = serde_json::json!({
                    "event": "planned",
                    "host": host,
                    "stage": stage.name,
                    "step": step.id,
                    "reason": step.change.reason,
                });
                text += &format!("{time} {}\n", words(&fields));
            }
        }
    }
    text
}

/// `{"event": "step-finished", "host": "node-1"}` as `step-finished host=node-1`.
fn words(fields: &Value) -> String {
    let Value::Object(fields) = fields else { return String::new() };
    let mut words = Vec::new();
    for (key, value) in fields {
        match value {
            Value::Null => {}
            Value::String(text) if key == "event" => words.push(text.clone()),
            Value::String(text) if bare(text) => words.push(format!("{key}={text}")),
            other => words.push(format!("{key}={other}")),
        }
    }
    words.join(" ")
}

/// Needs no quotes: one word without anything that JSON would escape.
fn bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"\"\\={}[]".contains(c))
}
