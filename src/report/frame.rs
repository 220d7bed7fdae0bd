//! The state of a run -> the rows of the bars: pure, so that a test can look at any moment of any run.

use std::time::Duration;

use super::progress::{HostProgress, HostState, Progress};
use super::text::{Paint, count, cut, fit, fit_right, printable, whole};
use crate::inventory::HostName;

/// Steps shorter than this need nobody's attention among many hosts.
const SLOW: Duration = Duration::from_secs(2);
const BAR: usize = 10;
/// `1m 05s`
const ELAPSED: usize = 6;

/// What can be shown, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub paint: Paint,
}

/// One row for the run, then one for each host, or where these are too many one for each stage. Never
/// higher than the terminal, never wider than it less one column.
pub(super) fn frame(progress: &Progress, now: Duration, canvas: Canvas) -> Vec<String> {
    let canvas = Canvas { width: canvas.width.saturating_sub(1).max(20), ..canvas };
    let mut rows = vec![top(progress, now, canvas)];
    if progress.hosts.len() <= canvas.height.saturating_sub(4) {
        let columns = Columns::of(progress, canvas);
        rows.extend(progress.hosts.iter().map(|(name, host)| host_row(name, host, now, &columns, canvas)));
    } else {
        rows.extend(aggregate(progress, now, canvas));
    }
    rows.truncate(canvas.height.saturating_sub(1).max(1));
    rows
}

/// `up dc1 · prepare (stage 1 of 2) · 14 of 33 steps                  12s`
fn top(progress: &Progress, now: Duration, canvas: Canvas) -> String {
    let run = format!("{} {}", progress.command, progress.cluster);
    let what = if let Some(gate) = &progress.gate {
        let waited = whole(now.saturating_sub(gate.since));
        format!("waiting for {}: {} · {waited}", gate.name, printable(&gate.reason))
    } else if let Some((nth, name, stage)) = progress.current_stage() {
        let (done, steps) = stage.steps();
        let place = if progress.stages.len() > 1 {
            format!(" (stage {nth} of {})", progress.stages.len())
        } else {
            String::new()
        };
        if steps == 0 {
            format!("{name}{place}")
        } else {
            format!("{name}{place} · {done} of {}", count(steps, "step"))
        }
    } else if progress.finished.is_some() {
        "finished".to_owned()
    } else if progress.planned {
        let steps = progress.hosts.values().map(|host| host.planned).sum::<usize>();
        format!("planned {}", count(steps, "change"))
    } else {
        let (seen, all) = observed(progress);
        format!("observing · {seen} of {}", count(all, "host"))
    };
    let clock = fit_right(&whole(now), ELAPSED);
    let room = canvas.width.saturating_sub(ELAPSED + 1);
    let run = cut(&run, room);
    let what = cut(&format!(" · {what}"), room - console::measure_text_width(&run));
    let gap = room + 1 - console::measure_text_width(&run) - console::measure_text_width(&what);
    format!("{}{what}{}{}", canvas.paint.bold(&run), " ".repeat(gap), canvas.paint.dim(&clock))
}

/// The width of each column, equal in all rows.
struct Columns {
    host: usize,
    stage: usize,
    step: usize,
    bar: usize,
    steps: usize,
}

impl Columns {
    fn of(progress: &Progress, canvas: Canvas) -> Self {
        let widest = |names: &mut dyn Iterator<Item = &str>, least: usize, most: usize| {
            names.map(console::measure_text_width).fold(least, usize::max).min(most)
        };
        let host = widest(&mut progress.hosts.keys().map(|host| host.as_str()), 4, canvas.width / 4);
        let stage = widest(
            &mut progress.stages.keys().map(|stage| stage.0.as_str()),
            "observe".len(),
            canvas.width / 5,
        );
        let most = progress.hosts.values().map(|host| host.planned).max().unwrap_or(0);
        let steps = if most == 0 { 0 } else { most.to_string().len() * 2 + 1 };
        let bar = if canvas.width < 72 || steps == 0 { 0 } else { BAR };
        let others = [host, stage, bar, steps, ELAPSED];
        let gaps = 2 + others.iter().filter(|column| **column > 0).count() * 2 + 2;
        let step = canvas.width.saturating_sub(others.iter().sum::<usize>() + gaps).max(6);
        Self { host, stage, step, bar, steps }
    }
}

fn host_row(
    name: &HostName,
    host: &HostProgress,
    now: Duration,
    columns: &Columns,
    canvas: Canvas,
) -> String {
    let paint = canvas.paint;
    let (mark, word) = words(host, paint);
    let stage = host.stage.as_ref().map_or("observe", |stage| &stage.0);
    let stage = if matches!(host.state, HostState::Unchanged) { "" } else { stage };
    let mut row = format!("  {mark} {}", fit(name.as_str(), columns.host));
    row += &format!("  {}  {}", fit(stage, columns.stage), fit(&word, columns.step));
    if columns.steps > 0 {
        let steps = if host.planned == 0 { String::new() } else { format!("{}/{}", host.done, host.planned) };
        if columns.bar > 0 {
            let bar = if host.planned == 0 {
                " ".repeat(columns.bar)
            } else {
                bar(host.done, host.planned, columns.bar, paint)
            };
            row += &format!("  {bar}");
        }
        row += &format!("  {}", fit_right(&steps, columns.steps));
    }
    let elapsed = if host.state == HostState::Unchanged { String::new() } else { whole(host.elapsed(now)) };
    row += &format!("  {}", paint.dim(&fit_right(&elapsed, ELAPSED)));
    cut(&row, canvas.width)
}

/// A mark and a word: one would do on a terminal with colours and a good font.
fn words(host: &HostProgress, paint: Paint) -> (String, String) {
    let step = host.step.as_ref().map(|step| printable(&step.0));
    match host.state {
        HostState::Connecting => (paint.dim("·"), "connecting".to_owned()),
        HostState::Observing => (paint.cyan("▸"), "observing".to_owned()),
        HostState::Waiting => (paint.green("✓"), paint.green("ok")),
        HostState::Working => (paint.cyan("▸"), step.unwrap_or_default()),
        HostState::Done => (paint.green("✓"), paint.green("ok")),
        HostState::Unchanged => (paint.dim("="), paint.dim("unchanged")),
        HostState::Failed => {
            let error =
                host.error.as_deref().map(|error| printable(error.lines().next().unwrap_or_default()));
            let what = host.failed_step.as_ref().map(|failed| printable(&failed.step.0)).or(error);
            (
                paint.red("✗"),
                format!(
                    "{}{}",
                    paint.red("failed"),
                    what.map(|what| format!(": {what}")).unwrap_or_default()
                ),
            )
        }
    }
}

/// `━━━━━╌╌╌╌╌`: two shapes, so that it reads without colour. Full only when all is done.
fn bar(done: usize, all: usize, width: usize, paint: Paint) -> String {
    let full = (done * width / all.max(1)).min(width);
    paint.cyan(&"━".repeat(full)) + &paint.dim(&"╌".repeat(width - full))
}

/// Hosts that have answered or failed, of all.
fn observed(progress: &Progress) -> (usize, usize) {
    let seen = |host: &&HostProgress| !matches!(host.state, HostState::Connecting | HostState::Observing);
    (progress.hosts.values().filter(seen).count(), progress.hosts.len())
}

/// One row for each stage, then the hosts that failed, then those whose present step takes longest.
fn aggregate(progress: &Progress, now: Duration, canvas: Canvas) -> Vec<String> {
    let name = progress
        .stages
        .keys()
        .map(|stage| stage.0.len())
        .fold("observe".len(), usize::max)
        .min(canvas.width / 4);
    let (seen, all) = observed(progress);
    let mut rows = vec![stage_row("observe", name, (seen, all), seen == all, seen < all, canvas)];
    let current = progress.current_stage().map(|(_, name, _)| name);
    for (stage, state) in progress.stages.iter().filter(|(_, state)| !state.planned.is_empty()) {
        rows.push(stage_row(
            &stage.0,
            name,
            state.hosts(),
            state.elapsed_ms.is_some(),
            current == Some(stage),
            canvas,
        ));
    }
    let room = canvas.height.saturating_sub(rows.len() + 3);
    let columns = Columns::of(progress, canvas);
    let failed: Vec<_> = progress.hosts.iter().filter(|(_, host)| host.state == HostState::Failed).collect();
    let mut slow: Vec<_> = progress.hosts.iter().filter(|(_, host)| is_slow(host, now)).collect();
    // The longest first: a row keeps its place until its step ends.
    slow.sort_by_key(|(_, host)| (host.step_since, host.stage_since));
    let shown = failed.len().min(room.saturating_sub(1));
    let mut hosts: Vec<String> =
        failed[..shown].iter().map(|(name, host)| host_row(name, host, now, &columns, canvas)).collect();
    if shown < failed.len() {
        hosts.push(format!("    … {} failed", count(failed.len() - shown, "more host")));
    }
    let left = room.saturating_sub(hosts.len()).min(5);
    hosts.extend(slow.iter().take(left).map(|(name, host)| host_row(name, host, now, &columns, canvas)));
    if !hosts.is_empty() {
        rows.push(String::new());
        rows.extend(hosts);
    }
    rows
}

fn is_slow(host: &HostProgress, now: Duration) -> bool {
    let since = match host.state {
        HostState::Working => host.step_since,
        HostState::Connecting | HostState::Observing => Duration::ZERO,
        _ => return false,
    };
    now.saturating_sub(since) >= SLOW
}

fn stage_row(
    name: &str,
    name_width: usize,
    hosts: (usize, usize),
    over: bool,
    current: bool,
    canvas: Canvas,
) -> String {
    let paint = canvas.paint;
    let (done, all) = hosts;
    let (mark, word) = match (over, current) {
        (true, _) if done < all => (paint.red("✗"), paint.red("failed")),
        (true, _) => (paint.green("✓"), paint.green("ok")),
        (false, true) => (paint.cyan("▸"), String::new()),
        (false, false) => (" ".to_owned(), String::new()),
    };
    let total = format!("{done}/{} {}", all, if all == 1 { "host" } else { "hosts" });
    // As wide as the counts of all stages can get, for the numbers to stand below each other.
    let total = fit_right(&total, 15);
    let room = canvas.width.saturating_sub(4 + name_width + 2 + 2 + 15 + 2 + 6).min(40);
    let bar = bar(done, all, room, paint);
    cut(&format!("  {mark} {}  {bar}  {total}  {word}", fit(name, name_width)), canvas.width)
}
