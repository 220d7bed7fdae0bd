//! Survey -> the table of hosts and checks, and its findings one by one.

use super::text::{Paint, count, fit, names};
use crate::model::{Diagnostic, Finding, HostName, Severity};
use crate::preflight::{Mark, Survey};

/// More hosts than these share a line with those that are marked alike.
const SINGLE_LINES: usize = 10;
/// Columns between two checks.
const GAP: &str = " ";

/// The table, in lines of `width` columns as far as the names of hosts may be cut for it.
pub fn survey_table(survey: &Survey, width: usize, color: bool) -> String {
    let paint = Paint(color);
    let rows = rows(survey);
    let columns: Vec<usize> = survey.checks.iter().map(|check| check.heading().len().max(4)).collect();
    let taken: usize = columns.iter().map(|column| column + GAP.len()).sum();
    let longest = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default().max(4);
    let first = longest.min(width.saturating_sub(taken).max(12));
    let cells = |words: Vec<(String, usize)>| -> String {
        words.into_iter().map(|(word, column)| format!("{GAP}{word}{:column$}", "")).collect()
    };
    let heading = survey
        .checks
        .iter()
        .zip(&columns)
        .map(|(check, column)| (paint.bold(check.heading()), column - check.heading().len()));
    let mut text = format!("{}{}", paint.bold(&fit("host", first)), cells(heading.collect()));
    text = text.trim_end().to_owned() + "\n";
    for (label, marks) in rows {
        let words = marks.iter().zip(&columns).map(|(mark, column)| {
            let word = word(*mark);
            let painted = match mark {
                Mark::Ok => paint.green(word),
                Mark::Warning => paint.yellow(word),
                Mark::Error => paint.red(word),
                Mark::Unknown => paint.dim(word),
            };
            (painted, column - word.len())
        });
        let line = format!("{}{}", fit(&label, first), cells(words.collect()));
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Ok => "ok",
        Mark::Warning => "warn",
        Mark::Error => "FAIL",
        Mark::Unknown => "-",
    }
}

/// A line for each host, or for all hosts that are marked alike where there are many.
fn rows(survey: &Survey) -> Vec<(String, Vec<Mark>)> {
    let mut rows: Vec<(Vec<&str>, Vec<Mark>)> = Vec::new();
    let together = survey.hosts.len() > SINGLE_LINES;
    for host in &survey.hosts {
        let marks = survey.row(host);
        match rows.iter_mut().find(|(_, known)| together && *known == marks) {
            Some((hosts, _)) => hosts.push(host.as_str()),
            None => rows.push((vec![host.as_str()], marks)),
        }
    }
    rows.into_iter().map(|(hosts, marks)| (names(hosts), marks)).collect()
}

/// One finding as a person reads it: hosts, reason, and what to do.
pub fn finding(finding: &Finding) -> Diagnostic {
    let hosts = names(finding.hosts.iter().map(HostName::as_str));
    // Some are about a cluster as a whole.
    let message =
        if hosts.is_empty() { finding.reason.clone() } else { format!("{hosts}: {}", finding.reason) };
    let diagnostic = match finding.severity {
        Severity::Error => Diagnostic::error(message),
        Severity::Warning => Diagnostic::warning(message),
    };
    diagnostic.help(&finding.remedy)
}

/// Lines broken between words where they are wider than `width`, the rest of each behind an indent.
pub fn wrapped(text: &str, width: usize) -> String {
    const INDENT: &str = "       ";
    let mut wrapped = String::new();
    for line in text.lines() {
        let mut column = 0;
        for (index, word) in line.split(' ').enumerate() {
            let length = console::measure_text_width(word);
            if index > 0 && column > INDENT.len() && column + 1 + length > width {
                wrapped = wrapped + "\n" + INDENT;
                column = INDENT.len();
            } else if index > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped += word;
            column += length;
        }
        wrapped.push('\n');
    }
    wrapped
}

/// `3 hosts: ready`, or how much is in the way; `good` is the word when nothing is.
pub fn survey_summary(survey: &Survey, good: &str) -> String {
    let errors = survey.errors().count();
    let warnings = survey.findings.len() - errors;
    let mut text = format!("{}: ", count(survey.hosts.len(), "host"));
    text += &if errors == 0 { good.to_owned() } else { count(errors, "failure") };
    if warnings > 0 {
        text += &format!(", {}", count(warnings, "warning"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Check;
    use indoc::indoc;

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    #[test]
    fn three_hosts_fit_a_terminal() {
        let hosts = vec![host("node-1"), host("node-2"), host("a-host-with-quite-a-long-name-3")];
        let survey = Survey {
            checks: Check::FITNESS,
            tried: hosts.iter().cloned().collect(),
            findings: vec![
                Finding::warning(Check::Clock, vec![host("node-2")], "slow".into(), "mend it".into()),
                Finding::error(Check::Ids, hosts[1..].to_vec(), "duplicates".into(), "part them".into()),
            ],
            hosts,
            ..Survey::default()
        };
        let table = survey_table(&survey, 80, false);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        insta::assert_snapshot!(table, @r"
        host                  ssh  root os   addr peers clock disk paths ids  ports data
        node-1                ok   ok   ok   ok   ok    ok    ok   ok    ok   ok    ok
        node-2                ok   ok   ok   ok   ok    warn  ok   ok    FAIL ok    ok
        a-host-with-quite-a-… ok   ok   ok   ok   ok    ok    ok   ok    FAIL ok    ok
        ");
        assert_eq!(survey_summary(&survey, "ready"), "3 hosts: 1 failure, 1 warning");
        assert_eq!(
            crate::report::problem(&finding(&survey.findings[1]), false),
            "error: node-2, a-host-with-quite-a-long-name-3: duplicates\n help: part them\n"
        );
    }

    #[test]
    fn findings_break_between_words() {
        let text =
            "error: n1: port 8301/tcp is taken by `perl`\n help: stop it, or give the role other ports\n";
        assert_eq!(wrapped(text, 80), text);
        assert_eq!(
            wrapped(text, 30),
            indoc! {"
                error: n1: port 8301/tcp is
                       taken by `perl`
                 help: stop it, or give the
                       role other ports
            "}
        );
        // What has no place to break stays whole.
        assert_eq!(wrapped("a /quite/long/path\n\nb\n", 8), "a /quite/long/path\n\nb\n");
        assert_eq!(
            wrapped("\u{1b}[1merror\u{1b}[0m: two words\n", 16),
            "\u{1b}[1merror\u{1b}[0m: two words\n"
        );
    }

    #[test]
    fn many_hosts_share_lines() {
        let hosts: Vec<HostName> = (1..=100).map(|number| host(&format!("node-{number}"))).collect();
        let error = Finding::error(Check::Ssh, vec![host("node-7")], "no answer".into(), "look".into());
        let survey = Survey {
            checks: Check::FITNESS,
            silent: [host("node-7")].into(),
            findings: vec![error],
            hosts,
            ..Survey::default()
        };
        insta::assert_snapshot!(survey_table(&survey, 80, false), @r"
        host                  ssh  root os   addr peers clock disk paths ids  ports data
        node-[1-6], node-[8-… ok   ok   ok   ok   -     ok    ok   ok    ok   ok    ok
        node-7                FAIL -    -    -    -     -     -    -     -    -     -
        ");
    }
}
