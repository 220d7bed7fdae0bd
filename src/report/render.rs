//! The one task that prints: takes events until the last sender is gone, then says how the run ended.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use console::Term;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::bars::Bars;
use super::plain::Plain;
use super::progress::Progress;
use super::summary::summary;
use super::text::Paint;
use super::{Receiver, RunLog, Timings, log};
use crate::model::{Event, HostName, HostOutcome};

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Rows that are redrawn in place, on stderr, and a summary in their stead at the end.
    Bars,
    /// A line on stderr for each finished step, and the summary.
    Plain,
    /// A JSON object on stdout for each event, and nothing on stderr.
    Json,
}

impl Output {
    /// What the arguments and the terminal ask for; `-v` replaces the bars by the log. A terminal that cannot
    /// move its cursor (`TERM=dumb`) counts as none.
    pub fn choose(json: bool, verbosity: u8, stderr_is_terminal: bool) -> Self {
        match (json, stderr_is_terminal && verbosity == 0) {
            (true, _) => Self::Json,
            (false, true) => Self::Bars,
            (false, false) => Self::Plain,
        }
    }
}

/// What [`render`] is told by the command line.
pub struct RenderOptions {
    pub output: Output,
    pub color: bool,
    /// Plain also says when hosts are connected and when steps begin.
    pub verbose: bool,
    pub log: Option<RunLog>,
    /// Hears every event, and comes back in [`RunResult`].
    pub timings: Option<Timings>,
    /// Where JSON goes.
    pub stdout: Box<dyn Write + Send>,
    /// Where lines and the summary go. Bars always draw on the process's own stderr.
    pub stderr: Box<dyn Write + Send>,
}

impl RenderOptions {
    /// To the process's streams, without colour or log.
    pub fn new(output: Output) -> Self {
        let (stdout, stderr) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self { output, color: false, verbose: false, log: None, timings: None, stdout, stderr }
    }
}

impl fmt::Debug for RenderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { output, color, verbose, log, .. } = self;
        write!(f, "RenderOptions {{ {output:?}, color: {color}, verbose: {verbose}, log: {log:?} }}")
    }
}

/// What the run came to, as its last event told.
#[derive(Clone, Debug, Default)]
pub struct RunResult {
    /// Empty when the engine ended without `RunFinished`.
    pub outcome: BTreeMap<HostName, HostOutcome>,
    /// The gates whose deadline passed.
    pub failed_gates: Vec<String>,
    pub log: Option<PathBuf>,
    /// What was handed to it in [`RenderOptions`].
    pub timings: Option<Timings>,
    /// The reader of the output went away before the end.
    pub output_closed: bool,
}

/// Shows events until every [`Events`](super::Events) is dropped, then the summary.
///
/// Writes block, so run it as a task of a multi-threaded runtime. A closed stream is no error: the rest
/// of the run goes to the log only, and the engine can see it by `Events::output_closed`.
pub async fn render(mut receiver: Receiver, options: RenderOptions) -> RunResult {
    let started = Instant::now();
    let mut resized = window_changes(options.output);
    let mut report = Report::new(options, receiver.closed.clone());
    loop {
        let due = report.due().map(|due| started + due);
        tokio::select! {
            // A frame that is due comes before a flood of events, so that none can freeze the screen.
            biased;
            () = sleep_until(due.unwrap_or(started)), if due.is_some() => report.draw(started.elapsed()),
            () = next_change(&mut resized), if resized.is_some() => report.draw(started.elapsed()),
            event = receiver.events.recv() => match event {
                Some((sent, event)) => report.take(&event, sent, started.elapsed()),
                None => break,
            },
        }
    }
    report.close()
}

fn window_changes(output: Output) -> Option<Signal> {
    // Without the signal the next tick of the clock finds the new size.
    (output == Output::Bars).then(|| signal(SignalKind::window_change()).ok()).flatten()
}

async fn next_change(resized: &mut Option<Signal>) {
    let Some(signal) = resized else { return };
    if signal.recv().await.is_none() {
        *resized = None;
    }
}

enum Renderer {
    Bars(Bars),
    Plain,
    Json,
}

struct Report {
    progress: Progress,
    renderer: Renderer,
    /// Also the words of warnings above the bars.
    plain: Plain,
    paint: Paint,
    log: Option<RunLog>,
    log_path: Option<PathBuf>,
    timings: Option<Timings>,
    /// When the first event was sent.
    began: Option<Instant>,
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    closed: watch::Sender<bool>,
}

/// An event as a program reads it.
#[derive(Serialize)]
struct Timed<'a> {
    /// RFC 3339, UTC, to the millisecond: when it was printed.
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl Report {
    fn new(options: RenderOptions, closed: watch::Sender<bool>) -> Self {
        let paint = Paint(options.color);
        let renderer = match options.output {
            Output::Bars => Renderer::Bars(Bars::new(Term::buffered_stderr(), paint)),
            Output::Plain => Renderer::Plain,
            Output::Json => Renderer::Json,
        };
        Self {
            progress: Progress::default(),
            renderer,
            plain: Plain::new(paint, options.verbose),
            paint,
            log_path: options.log.as_ref().map(|log| log.path().to_owned()),
            log: options.log,
            timings: options.timings,
            began: None,
            stdout: options.stdout,
            stderr: options.stderr,
            closed,
        }
    }

    /// When the bars want to be drawn, since the start. Not before there is a run to show.
    fn due(&self) -> Option<Duration> {
        match &self.renderer {
            Renderer::Bars(bars) if !self.progress.command.is_empty() && self.progress.finished.is_none() => {
                Some(bars.due())
            }
            _ => None,
        }
    }

    fn draw(&mut self, now: Duration) {
        if let Renderer::Bars(bars) = &mut self.renderer {
            bars.draw(&self.progress, now);
        }
    }

    fn take(&mut self, event: &Event, sent: Instant, now: Duration) {
        let began = *self.began.get_or_insert(sent);
        if let Some(timings) = &mut self.timings {
            timings.record(event, sent - began);
        }
        self.progress.apply(event, now);
        if let Some(Err(error)) = self.log.as_ref().map(|log| log.write(event)) {
            self.log = None;
            let message = format!("the run's log ends here: {error}");
            self.show(&Event::Warning { host: None, message }, now);
        }
        self.show(event, now);
    }

    fn show(&mut self, event: &Event, now: Duration) {
        let written = match &mut self.renderer {
            Renderer::Bars(bars) => {
                bars.touch();
                match event {
                    Event::Warning { .. } => {
                        let lines = self.plain.lines(event, &self.progress);
                        bars.above(&self.progress, now, || write_lines(&mut self.stderr, &lines))
                    }
                    _ => Ok(()),
                }
            }
            Renderer::Plain => write_lines(&mut self.stderr, &self.plain.lines(event, &self.progress)),
            Renderer::Json => write_json(&mut self.stdout, event),
        };
        self.note(written);
    }

    /// A stream that fails once is left alone from then on.
    fn note(&mut self, written: io::Result<()>) {
        if written.is_err() {
            self.closed.send_replace(true);
            (self.stdout, self.stderr) = (Box::new(io::sink()), Box::new(io::sink()));
        }
    }

    fn close(mut self) -> RunResult {
        if let Renderer::Bars(bars) = &self.renderer {
            // A terminal that has gone away needs no clearing.
            let _ = bars.clear();
        }
        if !matches!(self.renderer, Renderer::Json) {
            let text = summary(&self.progress, self.paint, self.log_path.as_deref());
            let written = self.stderr.write_all(text.as_bytes()).and_then(|()| self.stderr.flush());
            self.note(written);
        }
        let failed = self.progress.gates.into_iter().filter(|gate| gate.failure.is_some());
        RunResult {
            outcome: self.progress.finished.map(|finished| finished.outcome).unwrap_or_default(),
            failed_gates: failed.map(|gate| gate.name).collect(),
            log: self.log_path,
            timings: self.timings,
            output_closed: *self.closed.borrow(),
        }
    }
}

fn write_lines(out: &mut impl Write, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    // One write: a line of the tracing log may come between two of ours, not into one.
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn write_json(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Timed { time: log::now(), event })?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
