//! How commands show what is wrong with files, and print what they found.

use std::io::{self, ErrorKind, Write};

use serde_json::{Value, json};

use super::exit::Rejected;
use super::{Global, OutputFormat};
use crate::preflight::Finding;
use crate::report::{self, Diagnostic};
use crate::roles::RoleSet;

/// Prints diagnostics: for people on stderr, one JSON event a line on stdout.
pub fn show(problems: &[Diagnostic], global: &Global) -> io::Result<()> {
    match global.output {
        OutputFormat::Json => problems.iter().try_for_each(|problem| {
            let mut event = json!({ "event": "diagnostic" });
            if let (Some(event), Ok(Value::Object(fields))) =
                (event.as_object_mut(), serde_json::to_value(problem))
            {
                event.extend(fields);
            }
            print(&format!("{event}\n"))
        }),
        OutputFormat::Text => {
            let mut stderr = io::stderr().lock();
            for problem in problems {
                writeln!(stderr, "{}", problem.render(global.color_on_stderr()))?;
            }
            Ok(())
        }
    }
}

/// The same for what the preflight found.
pub fn show_findings(findings: &[Finding], global: &Global) -> io::Result<()> {
    if !global.json() {
        let terminal = console::Term::stderr();
        let width = terminal.size_checked().map(|(_, columns)| usize::from(columns));
        let mut stderr = io::stderr().lock();
        return findings.iter().try_for_each(|finding| {
            let text = report::finding(finding).render(global.color_on_stderr());
            let text = width.map_or(text.clone(), |width| report::wrapped(&text, width));
            writeln!(stderr, "{text}")
        });
    }
    findings.iter().try_for_each(|finding| {
        let mut event = json!({ "event": "finding" });
        if let (Some(event), Ok(Value::Object(fields))) =
            (event.as_object_mut(), serde_json::to_value(finding))
        {
            event.extend(fields);
        }
        print(&format!("{event}\n"))
    })
}

/// Shows one mistake; the error that is returned only carries the exit status.
pub fn refuse(problem: Diagnostic, global: &Global) -> anyhow::Error {
    match show(&[problem], global) {
        Ok(()) => Rejected.into(),
        Err(error) => error.into(),
    }
}

/// The built-in roles with those of `--roles DIR` over them. What is wrong with them is shown.
pub fn role_set(global: &Global) -> anyhow::Result<RoleSet> {
    RoleSet::load(global.roles.as_deref()).or_else(|problems| {
        show(&problems, global)?;
        Err(Rejected.into())
    })
}

/// Data on stdout. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
