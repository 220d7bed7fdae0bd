//! Small pieces of text for people: colours, durations, counts, lists of hosts.

use std::fmt::Write as _;
use std::time::Duration;

use console::{Alignment, Style};

/// Colours text, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(pub bool);

impl Paint {
    fn apply(self, style: Style, text: &str) -> String {
        if text.is_empty() { String::new() } else { style.force_styling(self.0).apply_to(text).to_string() }
    }

    pub fn bold(self, text: &str) -> String {
        self.apply(Style::new().bold(), text)
    }

    pub fn dim(self, text: &str) -> String {
        self.apply(Style::new().dim(), text)
    }

    pub fn green(self, text: &str) -> String {
        self.apply(Style::new().green(), text)
    }

    pub fn red(self, text: &str) -> String {
        self.apply(Style::new().red(), text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.apply(Style::new().yellow(), text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.apply(Style::new().cyan(), text)
    }
}

/// `0.4s`, `12s`, `1m 05s`, `1h 02m`.
pub fn human(duration: Duration) -> String {
    let rounded = duration + Duration::from_millis(50);
    let tenths = rounded.as_millis() / 100;
    if tenths < 100 { format!("{}.{}s", tenths / 10, tenths % 10) } else { whole(rounded) }
}

/// As [`human`], without tenths: for a clock that is looked at while it runs.
pub(super) fn whole(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

pub(super) fn millis(elapsed_ms: u64) -> String {
    human(Duration::from_millis(elapsed_ms))
}

/// What follows a count of changes: nothing, or `, 2 jobs`.
pub(super) fn and_others(tokens: usize, jobs: usize) -> String {
    others(tokens, jobs).iter().map(|what| format!(", {what}")).collect()
}

/// What is changed that is no step of a host.
pub(super) fn others(tokens: usize, jobs: usize) -> Vec<String> {
    let tokens = (tokens > 0).then(|| format!("{} of tokens", count(tokens, "change")));
    tokens.into_iter().chain((jobs > 0).then(|| count(jobs, "job"))).collect()
}

/// `1 change`, `21 changes`.
pub(super) fn count(number: usize, word: &str) -> String {
    let plural = match word.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if word.ends_with('s') => format!("{word}es"),
        None => format!("{word}s"),
    };
    format!("{number} {}", if number == 1 { word } else { &plural })
}

/// The same of steps, by the first word of their names.
pub(super) fn count_of(kind: &str, number: usize) -> String {
    match kind {
        // Of a removed role: the verb says what was done, to whatever.
        "restore" => format!("{number} restored"),
        "remove" => format!("{number} removed"),
        "leave" => format!("{number} left"),
        "undo" => format!("{number} undone"),
        kind => count(number, kind),
    }
}

/// Names as a person would list them: a few one by one, many as ranges (`node-[1-40]`).
pub(super) fn names<'a>(hosts: impl IntoIterator<Item = &'a str>) -> String {
    let hosts: Vec<&str> = hosts.into_iter().collect();
    if hosts.len() <= 3 {
        return hosts.join(", ");
    }
    let mut runs: Vec<(&str, &str, &str)> = Vec::new(); // stem, first and last number as written
    for host in hosts {
        let stem = host.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = &host[stem.len()..];
        match runs.last_mut() {
            Some(run) if run.0 == stem && follows(run.2, number) => run.2 = number,
            _ => runs.push((stem, number, number)),
        }
    }
    let shown = runs.iter().map(|(stem, first, last)| match first == last {
        true => format!("{stem}{first}"),
        false => format!("{stem}[{first}-{last}]"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Whether `next` is `last` plus one, written with the same padding.
fn follows(last: &str, next: &str) -> bool {
    match (last.parse::<u64>(), next.parse::<u64>()) {
        (Ok(a), Ok(b)) => {
            a.checked_add(1) == Some(b)
                && (next.len() == last.len() || !last.starts_with('0') && !next.starts_with('0'))
        }
        _ => false,
    }
}

/// The order people count in: `node-2` before `node-10`.
pub(super) fn natural_key(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0), name.to_owned())
}

/// What a host printed, safe for a terminal: an escape sequence in a file must not move the cursor.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push(c),
            '\t' => safe.push_str("    "),
            // Bidirectional overrides reorder a line without a control character in it.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => write_escape(&mut safe, c),
            c if c.is_control() => write_escape(&mut safe, c),
            c => safe.push(c),
        }
    }
    safe
}

fn write_escape(safe: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(safe, "{}", c.escape_unicode());
}

/// The lines of `text`, printable, each behind `indent`; trailing blank lines are dropped.
pub(super) fn indented(text: &str, indent: &str) -> Vec<String> {
    // A carriage return ends a line in what `curl` and `apt` print; what came before it was overwritten.
    let last = |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
    let lines = text.trim_end().split('\n').map(|line| printable(&last(line)));
    lines
        .filter(|_| !text.trim().is_empty())
        .map(|line| format!("{indent}{line}").trim_end().to_owned())
        .collect()
}

/// Exactly `width` columns: padded with blanks, or cut with an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> String {
    console::pad_str(text, width, Alignment::Left, Some("…")).into_owned()
}

/// As [`fit`], with the blanks in front.
pub(super) fn fit_right(text: &str, width: usize) -> String {
    console::pad_str(text, width, Alignment::Right, Some("…")).into_owned()
}

/// At most `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// At most `width` columns of a step's name: of a path the end tells more than the beginning.
pub(super) fn cut_step(step: &str, width: usize) -> String {
    let long = console::measure_text_width(step).saturating_sub(width);
    match step.split_once('/') {
        // The slash goes as well, and the ellipsis takes a column.
        Some((kind, path)) if long > 0 && console::measure_text_width(path) > long => {
            let end: String = path.chars().skip(long).collect();
            cut(&format!("{kind}…{end}"), width)
        }
        _ => cut(step, width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_say_them() {
        let cases = [
            (0, "0.0s"),
            (40, "0.0s"),
            (449, "0.4s"),
            (9_949, "9.9s"),
            (9_951, "10s"),
            (12_300, "12s"),
            (59_940, "59s"),
            (59_960, "1m 00s"),
            (65_000, "1m 05s"),
            (3_599_000, "59m 59s"),
            (3_720_000, "1h 02m"),
        ];
        for (ms, wanted) in cases {
            assert_eq!(millis(ms), wanted, "{ms} ms");
        }
        assert_eq!(whole(Duration::from_millis(400)), "0s");
    }

    #[test]
    fn many_hosts_become_ranges() {
        let list = |hosts: &[&str]| names(hosts.iter().copied());
        assert_eq!(list(&["node-1", "node-2", "node-3"]), "node-1, node-2, node-3");
        assert_eq!(list(&["node-1", "node-2", "node-3", "node-4", "web-9"]), "node-[1-4], web-9");
        assert_eq!(list(&["n-9", "n-10", "n-11", "n-13"]), "n-[9-11], n-13");
        assert_eq!(list(&["n08", "n09", "n10", "n011"]), "n[08-10], n011");
        assert_eq!(list(&["a", "b", "c", "d"]), "a, b, c, d");
        assert_eq!(list(&[]), "");
    }

    #[test]
    fn what_a_host_prints_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\td"), "a\\u{1b}[2Jb\\u{202e}c    d");
        assert_eq!(indented("10%\r100%\r\ndone\n\n", "  "), ["  100%", "  done"]);
        assert!(indented(" \n", "  ").is_empty());
    }

    #[test]
    fn cut_and_padded_to_the_column() {
        assert_eq!(fit("consul", 8), "consul  ");
        assert_eq!(fit("/etc/consul.d/consul.json", 8), "/etc/co…");
        assert_eq!(fit_right("3s", 4), "  3s");
        assert_eq!(cut_step("file /etc/consul.d/consul.json", 40), "file /etc/consul.d/consul.json");
        assert_eq!(cut_step("file /etc/consul.d/consul.json", 20), "file ….d/consul.json");
        assert_eq!(cut_step("package curl unzip", 12), "package cur…");
        assert_eq!(cut_step("file /etc/x", 3), "fi…");
        assert_eq!(
            (count(1, "directory"), count(2, "directory")),
            ("1 directory".into(), "2 directories".into())
        );
        assert_eq!((count(3, "release"), count(2, "sysctl")), ("3 releases".into(), "2 sysctls".into()));
    }
}
