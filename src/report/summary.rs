//! The state of a finished run -> what stands below it when the bars are gone.

use std::path::Path;

use super::plain::quoted;
use super::progress::{HostProgress, Progress};
use super::text::{Paint, count, count_of, indented, millis, names, others, printable};
use crate::model::{HostName, StageName};

/// Wide enough for a sentence, narrow enough for the smallest terminal in use.
const WIDTH: usize = 80;

/// The closing words, with a blank line before them; empty where there is nothing to say.
pub(super) fn summary(progress: &Progress, paint: Paint, log: Option<&Path>) -> String {
    let Some(finished) = &progress.finished else {
        // The engine ended without its last event: whoever sees its error explains that.
        return String::new();
    };
    let failures = failures(progress, paint);
    let failed = !failures.is_empty() || finished.unwell.is_some();
    let mut lines = Vec::new();
    if let Some(headline) = headline(progress, failed, finished.elapsed_ms, paint) {
        lines.extend([String::new(), headline]);
    }
    lines.extend(failures);
    let mut notes: Vec<Row> = finished.notes.iter().map(|note| Row::of_note(note)).collect();
    // Where nothing was to be said, nobody needs the log.
    if let Some(log) = log.filter(|_| !lines.is_empty() || !notes.is_empty()) {
        notes.push(Row { label: "log".to_owned(), lines: vec![log.display().to_string()] });
    }
    let blocks = [rows(progress), notes];
    let labels = blocks.iter().flatten().map(|row| console::measure_text_width(&row.label));
    let label_width = labels.max().unwrap_or(0);
    for block in blocks.iter().filter(|block| !block.is_empty()) {
        lines.push(String::new());
        lines.extend(block.iter().flat_map(|row| row.render(label_width, paint)));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// One line that says how it went. `plan` has none: its plan is the answer.
fn headline(progress: &Progress, failed: bool, elapsed_ms: u64, paint: Paint) -> Option<String> {
    let run = format!("{} {}", progress.command, progress.cluster);
    let changed: Vec<&HostProgress> = progress.hosts.values().filter(|host| host.done > 0).collect();
    let steps = changed.iter().map(|host| host.done).sum::<usize>();
    let changes = format!("{} on {}", count(steps, "change"), count(changed.len(), "host"));
    let took = millis(elapsed_ms);
    let (all, bad) =
        (progress.hosts.len(), progress.hosts.values().filter(|host| host.error.is_some()).count());
    if failed {
        let what = match (bad, progress.gates.iter().rfind(|gate| gate.failure.is_some())) {
            (0, Some(gate)) => format!("the gate {} was not met", gate.name),
            // No gate has told it.
            (0, None) => {
                progress.finished.as_ref().and_then(|finished| finished.unwell.clone()).unwrap_or_default()
            }
            _ => format!("{bad} of {} failed", count(all, "host")),
        };
        let changes = if steps == 0 { "nothing was changed".to_owned() } else { changes };
        return Some(format!(
            "{} {} {}",
            paint.red("✗"),
            paint.bold(&format!("{run}: {what};")),
            format_args!("{changes} in {took}")
        ));
    }
    let planned = progress.hosts.values().map(|host| host.planned).sum::<usize>();
    let healthy = paint.green("✓");
    match (progress.command.as_str(), steps) {
        ("plan", _) => None,
        // By Ctrl-C, or because nobody reads the output any more.
        _ if steps < planned || progress.finished.as_ref().is_some_and(|finished| finished.stopped) => {
            let stopped = paint.bold(&format!("{run}: stopped after"));
            Some(format!("{} {stopped} {steps} of {} in {took}", paint.yellow("!"), count(planned, "change")))
        }
        (_, 0) if progress.jobs + progress.tokens > 0 => Some(format!(
            "{healthy} {} {} in {took}",
            paint.bold(&format!("{run}: done,")),
            others(progress.tokens, progress.jobs).join(", ")
        )),
        // The others may differ.
        ("add-node", 0) => {
            Some(format!("{healthy} {} ({took})", paint.bold(&format!("{run}: nothing was changed"))))
        }
        (_, 0) => Some(format!("{healthy} {} ({took})", paint.bold(&nothing_to_do(all)))),
        _ => Some(format!("{healthy} {} {changes} in {took}", paint.bold(&format!("{run}: done,")))),
    }
}

/// Shared with the plan's text.
pub(super) fn nothing_to_do(hosts: usize) -> String {
    match hosts {
        1 => "Nothing to do: the host is as the inventory says.".to_owned(),
        _ => format!("Nothing to do: {hosts} hosts are as the inventory says."),
    }
}

/// A paragraph for each failure; hosts that failed in the same way share one.
fn failures(progress: &Progress, paint: Paint) -> Vec<String> {
    let mut paragraphs: Vec<(Vec<&str>, String, Vec<String>)> = Vec::new();
    for (name, host) in &progress.hosts {
        let Some(error) = &host.error else { continue };
        let place = match &host.failed_step {
            Some(failed) => {
                let after = format!("after {} of {}", host.done, count(host.planned, "step"));
                format!("failed in {} at {}, {after}", failed.stage, printable(&failed.step.0))
            }
            None if host.done == 0 => "failed, nothing was changed on it".to_owned(),
            None => format!("failed after {} of {}", host.done, count(host.planned, "step")),
        };
        let mut lines = indented(error, "    ");
        if let Some(failed) = host.failed_step.as_ref().filter(|failed| !error.contains(failed.output.trim()))
        {
            lines.extend(quoted(paint, &failed.output, "    "));
        }
        match paragraphs.iter_mut().find(|known| known.1 == place && known.2 == lines) {
            Some(known) => known.0.push(name.as_str()),
            None => paragraphs.push((vec![name.as_str()], place, lines)),
        }
    }
    let mut text = Vec::new();
    for (hosts, place, lines) in paragraphs {
        text.extend([String::new(), format!("  {} {place}", paint.red(&names(hosts)))]);
        text.extend(lines);
    }
    for gate in &progress.gates {
        let Some((reason, output)) = &gate.failure else { continue };
        let waited = format!("not met within {}", millis(gate.elapsed_ms));
        text.extend([String::new(), format!("  {} {waited}", paint.red(&format!("gate {}", gate.name)))]);
        text.extend(indented(reason, "    "));
        text.extend(quoted(paint, output, "    "));
    }
    text
}

/// What changed where, and how long it took; nothing when nothing changed.
fn rows(progress: &Progress) -> Vec<Row> {
    let mut rows: Vec<(Row, Vec<&HostName>)> = Vec::new();
    for (name, host) in &progress.hosts {
        // Its paragraph above says all there is to say.
        if host.error.is_some() {
            continue;
        }
        let (label, lines) = match host.done {
            0 if host.planned > 0 => ("not begun", vec![count(host.planned, "step")]),
            0 => ("unchanged", Vec::new()),
            done if host.is_put_back => ("put back", vec![format!("{} undone", count(done, "step"))]),
            done if done < host.planned => {
                ("partly", vec![format!("{done} of {}", count(host.planned, "step"))])
            }
            _ => ("changed", vec![kinds(host)]),
        };
        match rows.iter_mut().find(|(row, _)| row.label == label && row.lines == lines) {
            Some((_, hosts)) => hosts.push(name),
            None => rows.push((Row { label: label.to_owned(), lines }, vec![name])),
        }
    }
    if progress.hosts.values().all(|host| host.done == 0) {
        return Vec::new();
    }
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(mut row, hosts)| {
            if hosts.len() > 1 {
                row.lines.iter_mut().for_each(|line| *line = line.replacen(" steps:", " steps each:", 1));
            }
            row.lines.insert(0, names(hosts.iter().map(|host| host.as_str())));
            row
        })
        .collect();
    rows.push(Row { label: "time".to_owned(), lines: vec![times(progress)] });
    rows
}

/// `11 steps: 3 directories, 3 files, 1 unit`
fn kinds(host: &HostProgress) -> String {
    let kinds: Vec<String> = host.kinds.iter().map(|(kind, number)| count_of(kind, *number)).collect();
    format!("{}: {}", count(host.done, "step"), kinds.join(", "))
}

/// The gates' share beside each stage: what was waiting, and not work.
fn times(progress: &Progress) -> String {
    let waited = |stage: Option<&StageName>| {
        let gates = progress.gates.iter().filter(|gate| gate.stage.as_ref() == stage);
        gates.map(|gate| gate.elapsed_ms).reduce(|sum, ms| sum + ms)
    };
    let mut times = vec![format!("observe {}", millis(progress.observe_ms))];
    for (name, stage) in &progress.stages {
        let Some(elapsed_ms) = stage.elapsed_ms else { continue };
        let gate = waited(Some(name)).map(|ms| format!(" (gate {})", millis(ms))).unwrap_or_default();
        times.push(format!("{name} {}{gate}", millis(elapsed_ms)));
    }
    times.extend(waited(None).map(|ms| format!("gates {}", millis(ms))));
    times.join(" · ")
}

/// A label, and lines beside it.
struct Row {
    label: String,
    lines: Vec<String>,
}

impl Row {
    /// `leader: node-1` has a label; a sentence has none.
    fn of_note(note: &str) -> Self {
        let (label, text) = match note.split_once(": ") {
            Some((label, text)) if label.len() <= 12 && !label.contains(' ') => (label, text),
            _ => ("", note),
        };
        Self { label: printable(label), lines: indented(text, "") }
    }

    fn render(&self, label_width: usize, paint: Paint) -> Vec<String> {
        let room = WIDTH - 4 - label_width;
        let mut lines = self.lines.iter().flat_map(|line| wrapped(line, room));
        let label = console::pad_str(&self.label, label_width, console::Alignment::Left, None).into_owned();
        let first = format!("  {}  {}", paint.dim(&label), lines.next().unwrap_or_default());
        let indent = " ".repeat(label_width + 4);
        [first].into_iter().chain(lines.map(|line| format!("{indent}{line}"))).collect()
    }
}

/// Broken after a comma and before a dot: `1 user` stays together, and so does a path or a command.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let after_comma = rest.find(", ").map(|at| at + 2);
        let before_dot = rest.match_indices(" · ").map(|(at, _)| at).find(|at| *at > 0);
        let end = after_comma.into_iter().chain(before_dot).min().unwrap_or(rest.len());
        let (item, later) = rest.split_at(end);
        match lines.last_mut() {
            Some(line) if console::measure_text_width(&format!("{line}{}", item.trim_end())) <= width => {
                line.push_str(item)
            }
            Some(line) => {
                line.truncate(line.trim_end().len());
                lines.push(item.trim_start_matches(" · ").to_owned());
            }
            None => lines.push(item.to_owned()),
        }
        rest = later;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_broken_between_their_items() {
        let cases = [
            ("2 files, 1 user", 40, vec!["2 files, 1 user"]),
            ("2 files, 1 user, 1 unit", 16, vec!["2 files, 1 user,", "1 unit"]),
            ("observe 1s · prepare 2s · verify 3s", 24, vec!["observe 1s · prepare 2s", "verify 3s"]),
            ("consul operator raft list-peers", 10, vec!["consul operator raft list-peers"]),
            ("", 10, vec![]),
        ];
        for (text, width, wanted) in cases {
            assert_eq!(wrapped(text, width), wanted, "{text}");
        }
    }
}
