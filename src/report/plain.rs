//! Event -> lines for a terminal without bars, a CI log, a file: one for each finished step.

use super::progress::Progress;
use super::text::{Paint, and_others, count, fit, indented, millis, printable};
use crate::model::{Event, StepOutcome};

/// Columns are as wide as the run's longest name, so they stand below each other from the first line.
#[derive(Debug)]
pub(super) struct Plain {
    paint: Paint,
    /// Also says when hosts are connected and when steps begin.
    verbose: bool,
}

impl Plain {
    pub fn new(paint: Paint, verbose: bool) -> Self {
        Self { paint, verbose }
    }

    /// What to print for `event`; `progress` has it applied already.
    pub fn lines(&self, event: &Event, progress: &Progress) -> Vec<String> {
        let widths = Widths::of(progress);
        let paint = self.paint;
        let row = |host: &str, stage: &str, rest: String| {
            vec![format!("{}  {}  {rest}", paint.bold(&fit(host, widths.host)), fit(stage, widths.stage))]
        };
        let took = |ms: u64| paint.dim(&format!("({})", millis(ms)));
        match event {
            Event::RunStarted { command, cluster, hosts } => {
                vec![format!("{command} {cluster}: {}", count(hosts.len(), "host"))]
            }
            Event::HostConnected { host, elapsed_ms } if self.verbose => {
                row(host.as_str(), "observe", format!("connected  {}", took(*elapsed_ms)))
            }
            Event::HostObserved { host, elapsed_ms } => {
                row(host.as_str(), "observe", format!("ok  {}", took(*elapsed_ms)))
            }
            Event::PlanReady { plan } => {
                let hosts = plan.steps_by_host();
                let others = and_others(plan.changed_tokens(), plan.changed_jobs().count());
                match hosts.values().sum() {
                    0 if others.is_empty() => vec!["plan: no changes".to_owned()],
                    0 => vec![format!("plan: no changes on hosts{others}")],
                    steps => {
                        let (steps, hosts) = (count(steps, "change"), count(hosts.len(), "host"));
                        vec![format!("plan: {steps} on {hosts}{others}")]
                    }
                }
            }
            Event::TransferFinished { host, file, bytes, elapsed_ms } => {
                let (who, what) = host.as_ref().map_or(("here", "fetch"), |host| (host.as_str(), "push"));
                let size = indicatif::DecimalBytes(*bytes);
                row(who, what, format!("{}  {size}  {}", printable(file), took(*elapsed_ms)))
            }
            Event::StepStarted { host, stage, step } if self.verbose => {
                row(host.as_str(), &stage.0, format!("{}  begins", printable(&step.0)))
            }
            Event::StepFinished { host, stage, step, outcome, elapsed_ms } => {
                let word = match outcome {
                    StepOutcome::Changed => paint.green("changed"),
                    StepOutcome::Failed { .. } => paint.red("failed"),
                };
                let text = format!("{}  {word}  {}", printable(&step.0), took(*elapsed_ms));
                let mut lines = row(host.as_str(), &stage.0, text);
                if let StepOutcome::Failed { output } = outcome {
                    lines.extend(quoted(paint, output, "    "));
                }
                lines
            }
            Event::GateWaiting { gate, reason } => row("gate", gate, format!("waiting: {}", printable(reason))),
            Event::GateMet { gate, detail, elapsed_ms } => {
                row("gate", gate, format!("{}: {}  {}", paint.green("met"), printable(detail), took(*elapsed_ms)))
            }
            Event::GateFailed { gate, reason, output, elapsed_ms } => {
                let text = format!("{}: {}  {}", paint.red("failed"), printable(reason), took(*elapsed_ms));
                let mut lines = row("gate", gate, text);
                lines.extend(quoted(paint, output, "    "));
                lines
            }
            Event::Warning { host, message } => {
                labelled(&paint.yellow("warning"), host.as_ref().map(|host| host.as_str()), message)
            }
            Event::HostFailed { host, error } => labelled(&paint.red("error"), Some(host.as_str()), error),
            Event::HostConnected { .. }
            | Event::StepStarted { .. }
            | Event::TransferProgress { .. }
            | Event::StageStarted { .. }
            | Event::StageFinished { .. }
            // The summary says it.
            | Event::RunFinished { .. } => Vec::new(),
        }
    }
}

/// `label: host: first line`, the further lines below it.
fn labelled(label: &str, host: Option<&str>, message: &str) -> Vec<String> {
    let mut lines = indented(message, "    ");
    let first = lines.first().map_or("", |line| line.trim_start()).to_owned();
    let first = match host {
        Some(host) => format!("{label}: {host}: {first}"),
        None => format!("{label}: {first}"),
    };
    match lines.first_mut() {
        Some(line) => *line = first,
        None => lines.push(first),
    }
    lines
}

/// What a host printed, set apart from our own words.
pub(super) fn quoted(paint: Paint, output: &str, indent: &str) -> Vec<String> {
    let bar = paint.dim("|");
    let lines = indented(output, "").into_iter();
    lines.map(|line| format!("{indent}{bar} {line}").trim_end().to_owned()).collect()
}

struct Widths {
    host: usize,
    stage: usize,
}

impl Widths {
    fn of(progress: &Progress) -> Self {
        let longest = |names: &mut dyn Iterator<Item = &str>, least: usize, most: usize| {
            names.map(console::measure_text_width).fold(least, usize::max).min(most)
        };
        let gate = progress.gate.as_ref().map(|gate| gate.name.as_str());
        let gates = progress.gate_names.iter().map(String::as_str).chain(gate);
        Self {
            host: longest(&mut progress.hosts.keys().map(|host| host.as_str()), "gate".len(), 32),
            stage: longest(&mut progress.stages.keys().map(|stage| stage.0.as_str()).chain(gates), 7, 24),
        }
    }
}
