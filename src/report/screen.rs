//! The terminal under the bars, kept right when its size changes.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use indicatif::TermLike;

/// Draws through `T`, with two things indicatif leaves out. After a resize the terminal has wrapped the
/// drawn rows anew, so the way up to the first of them is another; and rows that a taller frame left
/// below are erased with the frame, so it can be overwritten instead of cleared: nothing flickers.
#[derive(Debug)]
pub(super) struct Screen<T> {
    term: T,
    /// The width of the last drawn frame; 0 before there is one.
    drawn_width: AtomicU16,
}

impl<T> Screen<T> {
    pub fn new(term: T) -> Self {
        Self { term, drawn_width: AtomicU16::new(0) }
    }
}

/// How many rows it is from the last row of a frame up to its first, `rows` of them when it was drawn, after the
/// terminal has gone from `old` to `new` columns. indicatif fills each row with blanks to its end, so to the
/// terminal a frame is one long paragraph; the cursor waits at the start of the last row.
fn rewrapped(rows: usize, old: u16, new: u16) -> usize {
    if old == 0 || new == 0 { rows } else { rows * usize::from(old) / usize::from(new) }
}

impl<T: TermLike> TermLike for Screen<T> {
    fn width(&self) -> u16 {
        self.term.width()
    }

    fn height(&self) -> u16 {
        self.term.height()
    }

    /// The first call of every draw: from the last row of the old frame to its first.
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        let width = self.width();
        let old = self.drawn_width.swap(width, Ordering::Relaxed);
        self.term.move_cursor_up(rewrapped(n, old, width))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.term.write_line(s)
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.term.write_str(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        // At the start of the row, because a terminal writes `^C` where the cursor is: at its end that would
        // scroll the frame away from where the next draw looks for it.
        self.term.write_str("\x1b[J\r")?;
        self.term.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_again_after_a_resize() {
        assert_eq!(rewrapped(3, 120, 80), 4);
        assert_eq!(rewrapped(3, 80, 120), 2);
        assert_eq!(rewrapped(1, 80, 79), 1);
        assert_eq!(rewrapped(3, 80, 80), 3);
        assert_eq!(rewrapped(3, 0, 80), 3);
        assert_eq!(rewrapped(0, 120, 80), 0);
    }
}
