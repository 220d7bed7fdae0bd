//! The rows of a run on a terminal, redrawn in place; indicatif moves the cursor.

use std::io;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::frame::{Canvas, frame};
use super::progress::Progress;
use super::screen::Screen;
use super::text::Paint;

/// Events come in bursts; ten frames a second are as smooth as anybody can read.
const SOON: Duration = Duration::from_millis(100);
/// Nothing but the clocks has changed.
const CLOCK: Duration = Duration::from_secs(1);

/// One indicatif bar that holds the whole frame. With a bar for each host every event would redraw, and
/// columns could not be aligned over all rows nor rows regrouped by stage.
#[derive(Debug)]
pub(super) struct Bars {
    group: MultiProgress,
    bar: ProgressBar,
    size: Box<dyn Size>,
    paint: Paint,
    drawn: Option<Duration>,
    stale: bool,
}

/// Tells how large the terminal is.
pub(super) trait Size: std::fmt::Debug + Send {
    /// Rows and columns.
    fn size(&self) -> (u16, u16);
}

impl<T: TermLike> Size for T {
    fn size(&self) -> (u16, u16) {
        (self.height(), self.width())
    }
}

impl Bars {
    pub fn new<T: TermLike + Clone + 'static>(term: T, paint: Paint) -> Self {
        let target = ProgressDrawTarget::term_like(Box::new(Screen::new(term.clone())));
        let group = MultiProgress::with_draw_target(target);
        group.set_move_cursor(true);
        // A template of one known key is always accepted.
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = group.add(ProgressBar::no_length().with_style(style));
        Self { group, bar, size: Box::new(term), paint, drawn: None, stale: true }
    }

    /// Something has changed, and may be shown a little later.
    pub fn touch(&mut self) {
        self.stale = true;
    }

    /// When to draw next, since the run's start.
    pub fn due(&self) -> Duration {
        let Some(drawn) = self.drawn else { return Duration::ZERO };
        // At whole seconds: all clocks move together, once.
        let clock = Duration::from_secs(drawn.as_secs()) + CLOCK;
        if self.stale { clock.min(drawn + SOON) } else { clock }
    }

    pub fn draw(&mut self, progress: &Progress, now: Duration) {
        let (height, width) = self.size.size();
        let canvas = Canvas { width: width.into(), height: height.into(), paint: self.paint };
        // Draws as well.
        self.bar.set_message(frame(progress, now, canvas).join("\n"));
        (self.drawn, self.stale) = (Some(now), false);
    }

    /// Takes the bars away while `print` writes whole lines, which then stay above them. (indicatif's own
    /// `suspend` panics when the terminal is gone.)
    pub fn above<R>(&mut self, progress: &Progress, now: Duration, print: impl FnOnce() -> R) -> R {
        let _ = self.group.clear();
        let printed = print();
        self.draw(progress, now);
        printed
    }

    /// Leaves the terminal as it was before the first frame.
    pub fn clear(&self) -> io::Result<()> {
        self.bar.finish_and_clear();
        self.group.clear()
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::model::{Batch, Change, Event, HostName, Plan, Stage, StageName, Step, StepId, StepOutcome};

    const STEPS: [&str; 3] = ["package curl unzip", "file /etc/consul.d/consul.json", "unit consul.service"];

    fn host(number: usize) -> HostName {
        HostName::parse(format!("node-{number}")).unwrap()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn step(id: &str) -> Step {
        let change = Change {
            reason: "absent".into(),
            effect: crate::model::Effect::Quiet,
            diff: None,
            calls: Vec::new(),
        };
        let role = crate::model::RoleName::parse("consul-server").unwrap();
        Step { id: StepId(id.into()), role, change, help: None }
    }

    /// Three steps on every host; all are planned after one second, and the stage begins.
    fn begun(hosts: usize) -> Progress {
        let names: Vec<HostName> = (1..=hosts).map(host).collect();
        let stage = StageName("prepare".into());
        let steps = names.iter().map(|name| (name.clone(), STEPS.map(step).to_vec())).collect();
        let plan = Plan {
            stages: vec![Stage {
                name: stage.clone(),
                gate: Some("raft".into()),
                quorum: true,
                batches: vec![Batch { steps }],
            }],
            ..Plan::default()
        };
        let mut progress = Progress::default();
        let start = Event::RunStarted { command: "up".into(), cluster: "dc1".into(), hosts: names.clone() };
        progress.apply(&start, Duration::ZERO);
        for host in &names {
            progress.apply(&Event::HostConnected { host: host.clone(), elapsed_ms: 200 }, Duration::ZERO);
            progress.apply(&Event::HostObserved { host: host.clone(), elapsed_ms: 600 }, Duration::ZERO);
        }
        progress.apply(&Event::PlanReady { plan }, seconds(1));
        progress.apply(&Event::StageStarted { stage, hosts: names, steps: 3 * hosts }, seconds(1));
        progress
    }

    /// One step of a host, from its record of the beginning to that of its end, if it has one.
    fn work(progress: &mut Progress, number: usize, step: usize, from: u64, to: Option<(u64, StepOutcome)>) {
        let (host, stage, step) = (host(number), StageName("prepare".into()), StepId(STEPS[step].into()));
        let started = Event::StepStarted { host: host.clone(), stage: stage.clone(), step: step.clone() };
        progress.apply(&started, seconds(from));
        if let Some((to, outcome)) = to {
            let elapsed_ms = (to - from) * 1000;
            progress.apply(&Event::StepFinished { host, stage, step, outcome, elapsed_ms }, seconds(to));
        }
    }

    fn snapshot(name: &str, term: &InMemoryTerm) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/cases/report");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, term.contents()));
    }

    const DONE: StepOutcome = StepOutcome::Changed;

    fn busy(hosts: usize) -> Progress {
        let mut progress = begun(hosts);
        for step in 0..3 {
            let from = 2 + step as u64;
            work(&mut progress, 1, step, from, Some((from + 1, DONE)));
        }
        work(&mut progress, 2, 0, 2, Some((3, DONE)));
        work(&mut progress, 2, 1, 3, Some((4, StepOutcome::Failed { output: "no such user".into() })));
        work(&mut progress, 3, 0, 2, None);
        progress
    }

    #[test]
    fn a_row_for_each_host() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(false));
        bars.draw(&begun(3), seconds(1));
        bars.draw(&busy(3), seconds(75));
        snapshot("bars-3-hosts", &term);
        bars.clear().unwrap();
        assert_eq!(term.contents(), "", "nothing stays when the run is over");
    }

    #[test]
    fn a_gate_tells_what_it_waits_for() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(true));
        let mut progress = busy(3);
        let waiting = |reason: &str| Event::GateWaiting { gate: "consul-raft".into(), reason: reason.into() };
        progress.apply(&waiting("no leader"), seconds(80));
        progress.apply(&waiting("2 of 3 voters"), seconds(82));
        bars.draw(&progress, seconds(83));
        let top = term.contents().lines().next().unwrap().to_owned();
        assert_eq!(
            top.split_whitespace().collect::<Vec<_>>().join(" "),
            "up dc1 · waiting for consul-raft: 2 of 3 voters · 3s 1m 23s"
        );
    }

    #[test]
    fn files_on_their_way_are_shown() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(false));
        let mut progress = begun(3);
        let moved = |host: Option<HostName>, bytes| {
            let file = "consul.zip".to_owned();
            Event::TransferProgress { host, file, bytes, total: Some(40_000_000) }
        };
        progress.apply(&moved(None, 4_000_000), seconds(2));
        bars.draw(&progress, seconds(2));
        assert!(rows(&term)[0].contains("fetching consul.zip 10%"), "{:#?}", rows(&term));
        let (file, bytes, elapsed_ms) = ("consul.zip".to_owned(), 40_000_000, 5);
        progress.apply(&Event::TransferFinished { host: None, file, bytes, elapsed_ms }, seconds(3));
        progress.apply(&moved(Some(host(2)), 20_000_000), seconds(3));
        bars.draw(&progress, seconds(4));
        let rows = rows(&term);
        assert!(!rows[0].contains("fetching"), "{rows:#?}");
        assert!(rows[2].contains("node-2") && rows[2].contains("push consul.zip 50%"), "{rows:#?}");
    }

    #[test]
    fn many_hosts_become_a_row_for_each_stage() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(false));
        bars.draw(&busy(40), seconds(9));
        snapshot("bars-40-hosts", &term);
    }

    #[test]
    fn no_frame_is_larger_than_its_terminal() {
        let mut progress = busy(40);
        for number in 4..30 {
            work(&mut progress, number, 0, 2, Some((3, StepOutcome::Failed { output: String::new() })));
        }
        for hosts in [busy(1), busy(3), begun(17), progress] {
            for (height, width) in [(1, 20), (2, 30), (5, 60), (10, 79), (24, 80), (50, 200)] {
                let canvas = Canvas { width, height, paint: Paint(true) };
                let rows = frame(&hosts, seconds(4000), canvas);
                assert!(rows.len() <= height, "{} rows of {height}", rows.len());
                let widest = rows.iter().map(|row| console::measure_text_width(row)).max().unwrap();
                assert!(widest < width || width == 20, "{widest} columns of {width}: {rows:#?}");
            }
        }
    }

    fn rows(term: &InMemoryTerm) -> Vec<String> {
        term.contents().lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_above_the_bars_stay() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(false));
        bars.draw(&busy(3), seconds(5));
        bars.above(&busy(3), seconds(6), || term.write_line("warning: node-2: its clock is behind")).unwrap();
        bars.draw(&busy(3), seconds(7));
        assert_eq!(rows(&term)[0], "warning: node-2: its clock is behind");
        assert_eq!(rows(&term).len(), 5, "{:#?}", rows(&term));
    }

    #[test]
    fn a_smaller_frame_leaves_nothing_of_a_larger_one() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(false));
        bars.draw(&busy(12), seconds(5));
        bars.draw(&begun(2), seconds(6));
        assert_eq!(rows(&term).len(), 3, "{:#?}", rows(&term));
    }

    #[test]
    fn what_the_terminal_echoes_moves_no_row() {
        let term = InMemoryTerm::new(24, 80);
        let mut bars = Bars::new(term.clone(), Paint(false));
        bars.draw(&busy(3), seconds(5));
        let before = rows(&term);
        term.write_str("^C").unwrap();
        bars.draw(&busy(3), seconds(5));
        assert_eq!(rows(&term), before);
    }

    #[test]
    fn frames_come_with_changes_and_once_a_second() {
        let mut bars = Bars::new(InMemoryTerm::new(24, 80), Paint(false));
        assert_eq!(bars.due(), Duration::ZERO);
        bars.draw(&begun(1), Duration::from_millis(2300));
        assert_eq!(bars.due(), seconds(3));
        bars.touch();
        assert_eq!(bars.due(), Duration::from_millis(2400));
    }
}
