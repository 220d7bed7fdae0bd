//! How commands show what is wrong with files, and print what they found.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{ColorChoice, Global, OutputFormat};
use crate::report::Diagnostic;
use crate::roles::RoleSet;

/// Exit status of a mistake in the arguments or the inventory.
pub const USAGE: u8 = 2;

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
                writeln!(stderr, "{}", problem.render(colored(global)))?;
            }
            Ok(())
        }
    }
}

/// Shows one mistake and gives its exit code.
pub fn refuse(problem: Diagnostic, global: &Global) -> anyhow::Result<ExitCode> {
    show(&[problem], global)?;
    Ok(ExitCode::from(USAGE))
}

/// The roles of this run; what is wrong with them is shown, and the exit code returned.
pub fn role_set(global: &Global) -> anyhow::Result<Result<RoleSet, ExitCode>> {
    match RoleSet::load(global.roles.as_deref()) {
        Ok(roles) => Ok(Ok(roles)),
        Err(problems) => {
            show(&problems, global)?;
            Ok(Err(ExitCode::from(USAGE)))
        }
    }
}

/// Whether to colour what goes to stderr.
pub fn colored(global: &Global) -> bool {
    match global.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => console::colors_enabled_stderr(),
    }
}

/// Data on stdout. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
