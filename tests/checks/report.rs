//! What a run looks like: lines, JSON, plan and summary, as snapshots.

use crate::runs;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use bootstrap::model::{AccessPlan, Event, HostOutcome, Plan};
use bootstrap::report::{
    Output, PlanTextOptions, RenderOptions, RunLog, RunResult, events, plan_text, render,
};

/// A stream whose text can be read afterwards.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Takes `left` writes, then its reader is gone.
struct Closed {
    left: usize,
}

impl Write for Closed {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.left -= 1;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Shown {
    stdout: String,
    stderr: String,
    closing: RunResult,
}

async fn show(run: runs::Run, options: RenderOptions) -> Shown {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let streams =
        RenderOptions { stdout: Box::new(stdout.clone()), stderr: Box::new(stderr.clone()), ..options };
    let (events, receiver) = events();
    for (_, event) in run {
        events.send(event);
    }
    drop(events);
    let closing = render(receiver, streams).await;
    Shown { stdout: stdout.text(), stderr: stderr.text(), closing }
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/report");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r#""time":"[0-9TZ:.-]+""#, r#""time":"[time]""#);
    settings.add_filter(r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[time]");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn all_runs() -> [(&'static str, runs::Run); 4] {
    [
        ("first", runs::first(3)),
        ("nothing-to-do", runs::nothing_to_do(3)),
        ("failed-host", runs::failed_host(3)),
        ("gate-timeout", runs::gate_timeout()),
    ]
}

#[tokio::test]
async fn plain_lines_and_the_summary() {
    for (name, run) in all_runs() {
        let shown = show(run, RenderOptions::new(Output::Plain)).await;
        assert_eq!(shown.stdout, "", "stdout is for data");
        snapshot(&format!("plain-{name}"), &shown.stderr);
    }
}

#[tokio::test]
async fn json_lines() {
    for (name, run) in all_runs() {
        let count = run.len();
        let shown = show(run, RenderOptions::new(Output::Json)).await;
        assert_eq!(shown.stderr, "", "a program reads this run");
        assert_eq!(shown.stdout.lines().count(), count);
        snapshot(&format!("json-{name}"), &shown.stdout);
    }
}

#[tokio::test]
async fn verbose_lines_tell_beginnings_too() {
    let options = RenderOptions { verbose: true, ..RenderOptions::new(Output::Plain) };
    let shown = show(runs::gate_timeout(), options).await;
    snapshot("plain-verbose", &shown.stderr);
}

#[tokio::test]
async fn many_hosts_share_the_lines_of_the_summary() {
    let shown = show(runs::first(40), RenderOptions::new(Output::Plain)).await;
    let (_, summary) = shown.stderr.split_once("\n\n").unwrap();
    snapshot("summary-40-hosts", summary);
}

#[tokio::test]
async fn a_run_that_was_stopped_is_not_called_done() {
    let shown = show(runs::interrupted(), RenderOptions::new(Output::Plain)).await;
    let (_, summary) = shown.stderr.split_once("\n\n").unwrap();
    snapshot("summary-interrupted", summary);
    let mut unbegun = runs::interrupted();
    unbegun.retain(|(_, event)| !matches!(event, Event::StepStarted { .. } | Event::StepFinished { .. }));
    let shown = show(unbegun, RenderOptions::new(Output::Plain)).await;
    assert!(shown.stderr.contains("! up dc1: stopped after 0 of 30 changes"), "{}", shown.stderr);
}

#[tokio::test]
async fn colour_only_where_it_is_asked_for() {
    let plain = show(runs::failed_host(3), RenderOptions::new(Output::Plain)).await;
    assert!(!plain.stderr.contains('\u{1b}'));
    let colored =
        show(runs::failed_host(3), RenderOptions { color: true, ..RenderOptions::new(Output::Plain) }).await;
    assert!(colored.stderr.contains("\u{1b}[31mfailed"));
    assert_eq!(console::strip_ansi_codes(&colored.stderr), plain.stderr, "colour adds nothing but colour");
}

#[tokio::test]
async fn the_closing_tells_the_exit_code_what_happened() {
    let failed = show(runs::failed_host(3), RenderOptions::new(Output::Json)).await.closing;
    assert!(failed.outcome.values().any(|outcome| matches!(outcome, HostOutcome::Failed { .. })));
    assert!(failed.failed_gates.is_empty() && !failed.output_closed);
    let timeout = show(runs::gate_timeout(), RenderOptions::new(Output::Plain)).await.closing;
    assert_eq!(timeout.failed_gates, ["consul-raft"]);
}

#[tokio::test]
async fn a_plan_prints_itself() {
    let mut run = runs::nothing_to_do(3);
    for (_, event) in &mut run {
        if let Event::RunStarted { command, .. } = event {
            *command = "plan".into();
        }
    }
    run.retain(|(_, event)| !matches!(event, Event::RunFinished { notes, .. } if !notes.is_empty()));
    let shown = show(run, RenderOptions::new(Output::Plain)).await;
    assert!(!shown.stderr.contains("Nothing to do"), "plan says so on stdout: {}", shown.stderr);
}

/// Whatever ends with a reason is no success, also where no gate and no host has told it.
#[tokio::test]
async fn what_ends_unwell_is_not_done() {
    for mut run in [runs::nothing_to_do(3), runs::first(3)] {
        for (_, event) in &mut run {
            if let Event::RunFinished { unwell, .. } = event {
                *unwell = Some("servers: nobody answered".to_owned());
            }
        }
        let shown = show(run, RenderOptions::new(Output::Plain)).await;
        assert!(shown.stderr.contains("✗ up dc1: servers: nobody answered; "), "{}", shown.stderr);
        assert!(!shown.stderr.contains("Nothing to do") && !shown.stderr.contains('✓'), "{}", shown.stderr);
    }
}

#[tokio::test]
async fn a_closed_output_ends_in_order_and_is_told_to_the_engine() {
    for output in [Output::Json, Output::Plain] {
        let dir = tempfile::tempdir().unwrap();
        let log = RunLog::create(&dir.path().join("logs"), "up").unwrap();
        let (events, receiver) = events();
        let (stdout, stderr) = (Box::new(Closed { left: 2 }), Box::new(Closed { left: 2 }));
        let options = RenderOptions { log: Some(log.clone()), stdout, stderr, ..RenderOptions::new(output) };
        assert!(!events.output_closed());
        let report = tokio::spawn(render(receiver, options));
        let run = runs::first(3);
        let finished = run.last().unwrap().1.clone();
        for (_, event) in run {
            events.send(event);
        }
        tokio::time::timeout(std::time::Duration::from_secs(10), events.wait_output_closed()).await.unwrap();
        assert!(events.output_closed());
        drop(events);
        assert!(report.await.unwrap().output_closed);
        let logged = fs::read_to_string(log.path()).unwrap();
        assert!(
            logged.contains("run-finished") && matches!(finished, Event::RunFinished { .. }),
            "the log goes on"
        );
    }
}

fn options(hosts_total: usize) -> PlanTextOptions {
    PlanTextOptions { color: false, verbose: false, hosts_total }
}

#[test]
fn the_plan_as_text() {
    snapshot("plan-first", &plan_text(&runs::plan(5), &options(5)));
    snapshot("plan-verbose", &plan_text(&runs::plan(1), &PlanTextOptions { verbose: true, ..options(1) }));
    snapshot("plan-color", &plan_text(&runs::plan(1), &PlanTextOptions { color: true, ..options(1) }));
    snapshot("plan-removal", &plan_text(&runs::removal_plan(), &options(3)));
    snapshot("plan-rolling", &plan_text(&runs::rolling_plan(), &options(3)));
    let token = |number: usize| (format!("token `agent of node-{number}`"), "absent".to_owned());
    let everybody = ("the rights of everybody".to_owned(), "other rights".to_owned());
    let changes = (1..=10).map(token).chain([everybody]).collect();
    let access = vec![AccessPlan { gate: "consul-servers".to_owned(), changes }];
    let text = plan_text(&Plan { access, ..Plan::default() }, &options(3));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("tokens, by consul-servers"));
    assert_eq!(
        lines.skip(7).collect::<Vec<_>>(),
        [
            "  token `agent of node-8`: absent",
            "  and 2 more: absent",
            "  the rights of everybody: other rights",
            "",
            "Plan: 0 changes on 0 hosts, 11 changes of tokens; nothing is changed until 'up'"
        ]
    );
    assert_eq!(
        plan_text(&Plan::default(), &options(3)),
        "Nothing to do: 3 hosts are as the inventory says.\n"
    );
    assert_eq!(
        plan_text(&Plan::default(), &options(1)),
        "Nothing to do: the host is as the inventory says.\n"
    );
}

#[tokio::test]
async fn the_log_has_a_line_for_each_event() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".bootstrap/dc1/logs");
    let log = RunLog::create(&folder, "up").unwrap();
    let options = RenderOptions { log: Some(log.clone()), ..RenderOptions::new(Output::Plain) };
    let shown = show(runs::failed_host(3), options).await;
    assert_eq!(shown.closing.log.as_deref(), Some(log.path()));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(log.path())), (0o700, 0o600));
    snapshot("log", &fs::read_to_string(log.path()).unwrap());
}

#[test]
fn the_last_twenty_logs_stay() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    for day in 1..=28 {
        fs::write(dir.path().join(format!("202601{day:02}T000000Z-up.log")), "").unwrap();
    }
    let first = RunLog::create(dir.path(), "up").unwrap();
    let second = RunLog::create(dir.path(), "up").unwrap();
    assert_ne!(first.path(), second.path());
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 21, "{names:?}");
    assert_eq!(names[0], "20260111T000000Z-up.log");
    assert!(first.path().exists() && second.path().exists() && dir.path().join("notes.txt").exists());
}
