//! Tracing goes into the run's log. Alone in its process: a subscriber is set once.

use std::fs;

use bootstrap::report::{RunLog, init_tracing};

#[test]
fn the_log_keeps_what_an_operator_would() {
    let dir = tempfile::tempdir().unwrap();
    let log = RunLog::create(dir.path(), "up").unwrap();
    init_tracing(0, true, Some(&log));
    let span = tracing::info_span!(target: "bootstrap::engine", "host", name = "node-1");
    span.in_scope(|| {
        tracing::info!(target: "bootstrap::ssh", "connected");
        tracing::debug!(target: "bootstrap::ssh", "a record");
        tracing::info!(target: "somebody_else", "chatter");
        tracing::warn!(target: "somebody_else", "trouble");
    });
    let text = fs::read_to_string(log.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("node-1") && lines[0].contains("connected"), "{text}");
    assert!(lines[1].contains("trouble") && !text.contains('\u{1b}'), "{text}");
    let (time, _) = lines[0].split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
}
