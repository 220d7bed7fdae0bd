//! How commands show what is wrong with files, and print what they found.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::Global;
use super::exit::Rejected;
use super::explain::{Section, point_to};
use super::output::print;
use crate::model::{Diagnostic, Finding};
use crate::operations::check_roles;
use crate::report::{self};
use crate::roles::RoleSet;

/// Prints diagnostics: for people on stderr, one JSON event a line on stdout.
pub fn show(problems: &[Diagnostic], global: &Global) -> io::Result<()> {
    if !global.json() {
        let mut stderr = io::stderr().lock();
        return problems.iter().try_for_each(|problem| {
            writeln!(stderr, "{}", report::problem(problem, global.color_on_stderr()))
        });
    }
    problems.iter().try_for_each(|problem| event("diagnostic", problem))
}

/// The same for what the preflight found.
pub fn show_findings(findings: &[Finding], global: &Global) -> io::Result<()> {
    if !global.json() {
        let terminal = console::Term::stderr();
        let width = terminal.size_checked().map(|(_, columns)| usize::from(columns));
        let mut stderr = io::stderr().lock();
        findings.iter().try_for_each(|finding| {
            let text = report::problem(&report::finding(finding), global.color_on_stderr());
            let text = width.map_or(text.clone(), |width| report::wrapped(&text, width));
            writeln!(stderr, "{text}")
        })?;
        drop(stderr);
        point_to(Section::of_findings(findings), global);
        return Ok(());
    }
    findings.iter().try_for_each(|finding| event("finding", finding))
}

/// Its fields as an event of this name, on a line of its own.
fn event(name: &str, of: &impl Serialize) -> io::Result<()> {
    let mut event = json!({ "event": name });
    if let (Some(event), Ok(Value::Object(fields))) = (event.as_object_mut(), serde_json::to_value(of)) {
        event.extend(fields);
    }
    print(&format!("{event}\n"))
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
    let loaded = RoleSet::load(global.roles.as_deref()).and_then(|roles| {
        let problems = check_roles(&roles);
        if problems.is_empty() { Ok(roles.without_documents()) } else { Err(problems) }
    });
    loaded.or_else(|problems| {
        show(&problems, global)?;
        point_to([Section::Roles], global);
        Err(Rejected.into())
    })
}
