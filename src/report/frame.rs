//! The state of a run -> the rows of the bars: pure, so that a test can look at any moment of any run.

use std::time::Duration;

use super::progress::{HostProgress, HostState, Progress};
use super::text::{Paint, count, cut, cut_step, fit, fit_right, printable, whole};
use crate::model::{HostName, StepId};

/// Steps shorter than this need nobody's attention among many hosts.
const SLOW: Duration = Duration::from_secs(2);
/// How many hosts are looked at one by one when there is no room for all.
const SLOWEST: usize = 5;
const BAR: usize = 10;
const STAGE_BAR: usize = 40;
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
    } else if let Some(fetching) = &progress.fetching {
        printable(fetching)
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
        let (seen, _, all) = observed(progress);
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
    // Without a plan of its own a host has room for a longer word, such as why it cannot be reached.
    let counted = columns.steps > 0 && host.planned > 0;
    let mut room = columns.step;
    if !counted {
        room += [columns.bar, columns.steps]
            .iter()
            .filter(|width| **width > 0)
            .map(|width| width + 2)
            .sum::<usize>();
    }
    let (mark, word) = words(host, room, paint);
    let stage = host.stage.as_ref().map_or("observe", |stage| &stage.0);
    let stage = if host.state == HostState::Unchanged { "" } else { stage };
    let mut row = format!("  {mark} {}", fit(name.as_str(), columns.host));
    row += &format!("  {}  {}", fit(stage, columns.stage), fit(&word, room));
    if counted {
        if columns.bar > 0 {
            row += &format!("  {}", bar(host.done, host.planned, columns.bar, paint));
        }
        row += &format!("  {}", fit_right(&format!("{}/{}", host.done, host.planned), columns.steps));
    }
    let elapsed = if host.state == HostState::Unchanged { String::new() } else { whole(host.elapsed(now)) };
    row += &format!("  {}", paint.dim(&fit_right(&elapsed, ELAPSED)));
    cut(&row, canvas.width)
}

/// A mark and a word: one would do on a terminal with colours and a good font.
fn words(host: &HostProgress, width: usize, paint: Paint) -> (String, String) {
    let name = |step: &StepId, width| cut_step(&printable(&step.0), width);
    match host.state {
        HostState::Connecting => (paint.dim("·"), "connecting".to_owned()),
        HostState::Observing => (paint.cyan("▸"), "observing".to_owned()),
        HostState::Working => {
            (paint.cyan("▸"), host.step.as_ref().map(|step| name(step, width)).unwrap_or_default())
        }
        HostState::Waiting | HostState::Done => (paint.green("✓"), paint.green("ok")),
        HostState::Unchanged => (paint.dim("="), paint.dim("unchanged")),
        HostState::Failed => {
            let step = host.failed_step.as_ref();
            let step = step.map(|failed| name(&failed.step, width.saturating_sub("failed: ".len())));
            let error = || host.error.as_deref().and_then(|error| error.lines().next()).map(printable);
            let what = step.or_else(error).map(|what| format!(": {what}")).unwrap_or_default();
            (paint.red("✗"), paint.red("failed") + &what)
        }
    }
}

/// `━━━━━╌╌╌╌╌`: two shapes, so that it reads without colour. Full only when all is done.
fn bar(done: usize, all: usize, width: usize, paint: Paint) -> String {
    let full = (done * width / all.max(1)).min(width);
    paint.cyan(&"━".repeat(full)) + &paint.dim(&"╌".repeat(width - full))
}

/// Hosts that have answered, hosts that have not and never will, and all.
fn observed(progress: &Progress) -> (usize, usize, usize) {
    let count =
        |wanted: &dyn Fn(&HostProgress) -> bool| progress.hosts.values().filter(|host| wanted(host)).count();
    let open = count(&|host| matches!(host.state, HostState::Connecting | HostState::Observing));
    let lost = count(&|host| host.state == HostState::Failed && host.stage.is_none());
    (progress.hosts.len() - open - lost, lost, progress.hosts.len())
}

/// One row for each stage, then the hosts that failed, then those whose present step takes longest.
fn aggregate(progress: &Progress, now: Duration, canvas: Canvas) -> Vec<String> {
    let mut rows = stage_rows(progress, now, canvas);
    let room = canvas.height.saturating_sub(rows.len() + 4);
    let columns = Columns::of(progress, canvas);
    let row = |(name, host): &(&HostName, &HostProgress)| host_row(name, host, now, &columns, canvas);
    let failed: Vec<_> = progress.hosts.iter().filter(|(_, host)| host.state == HostState::Failed).collect();
    let mut slow: Vec<_> = progress.hosts.iter().filter(|(_, host)| is_slow(host, now)).collect();
    // The longest first: a row keeps its place until its step ends.
    slow.sort_by_key(|(_, host)| (host.step_since, host.stage_since));
    let shown = if failed.len() <= room { failed.len() } else { room.saturating_sub(1) };
    let mut hosts: Vec<String> = failed[..shown].iter().map(row).collect();
    if shown < failed.len() {
        hosts.push(format!("    … {} failed", count(failed.len() - shown, "more host")));
    }
    let slowest = room.saturating_sub(hosts.len()).min(SLOWEST);
    hosts.extend(slow.iter().take(slowest).map(row));
    if !hosts.is_empty() {
        rows.push(String::new());
        rows.extend(hosts);
    }
    rows
}

fn stage_rows(progress: &Progress, now: Duration, canvas: Canvas) -> Vec<String> {
    let (seen, lost, all) = observed(progress);
    let mut stages = vec![StageRow {
        name: "observe",
        steps: (seen, all),
        hosts: (seen, all),
        over: seen + lost == all,
        elapsed: Some(if progress.planned { Duration::from_millis(progress.observe_ms) } else { now }),
    }];
    stages.extend(progress.stages.iter().filter(|(_, stage)| !stage.planned.is_empty()).map(
        |(name, stage)| StageRow {
            name: &name.0,
            steps: stage.steps(),
            hosts: stage.hosts(),
            over: stage.elapsed_ms.is_some(),
            elapsed: stage.elapsed(now),
        },
    ));
    let name = stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0).min(canvas.width / 4);
    let digits = all.to_string().len();
    stages.iter().map(|stage| stage.render(name, digits, canvas)).collect()
}

struct StageRow<'a> {
    name: &'a str,
    /// Done and all. The bar follows the steps, as these move while every host is still busy.
    steps: (usize, usize),
    hosts: (usize, usize),
    over: bool,
    elapsed: Option<Duration>,
}

impl StageRow<'_> {
    fn render(&self, name_width: usize, digits: usize, canvas: Canvas) -> String {
        let paint = canvas.paint;
        let (done, all) = self.hosts;
        let (mark, word) = match (self.over, self.elapsed) {
            (true, _) if done < all => (paint.red("✗"), paint.red("failed")),
            (true, _) => (paint.green("✓"), paint.green("ok")),
            (false, Some(_)) => (paint.cyan("▸"), String::new()),
            (false, None) => (" ".to_owned(), String::new()),
        };
        let hosts = fit_right(&format!("{done}/{all}"), digits * 2 + 1);
        let elapsed = self.elapsed.map(whole).unwrap_or_default();
        let others = 4 + name_width + 2 + 2 + hosts.len() + " hosts  ".len() + 2 + ELAPSED;
        let room = canvas.width.saturating_sub(others);
        let length = room.saturating_sub("failed".len()).min(STAGE_BAR);
        let bar = bar(self.steps.0, self.steps.1, length, paint);
        let word = fit(&word, room - length);
        let clock = paint.dim(&fit_right(&elapsed, ELAPSED));
        cut(
            &format!("  {mark} {}  {bar}  {hosts} hosts  {word}  {clock}", fit(self.name, name_width)),
            canvas.width,
        )
    }
}

fn is_slow(host: &HostProgress, now: Duration) -> bool {
    let since = match host.state {
        HostState::Working => host.step_since,
        HostState::Connecting | HostState::Observing => Duration::ZERO,
        _ => return false,
    };
    now.saturating_sub(since) >= SLOW
}
