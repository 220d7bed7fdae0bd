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
        self.bar.set_message(frame(progress, now, canvas).join("\n"));
        self.bar.tick();
        (self.drawn, self.stale) = (Some(now), false);
    }

    /// Takes the bars away while `print` writes whole lines, which then stay above them.
    pub fn above<R>(&self, print: impl FnOnce() -> R) -> R {
        self.group.suspend(print)
    }

    /// Leaves the terminal as it was before the first frame.
    pub fn clear(&self) -> io::Result<()> {
        self.bar.finish_and_clear();
        self.group.clear()
    }
}
