//! `bootstrap check`: is this inventory correct?

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Exit, Global, OutputFormat, problems};
use crate::report::Diagnostic;
use crate::roles;

/// Check an inventory without touching a host.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The inventory file.
    #[arg(value_name = "INVENTORY")]
    inventory: PathBuf,
}

pub fn run(args: CheckArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let role_set = problems::role_set(global)?;
    let home = std::env::home_dir();
    let (inventory, found) = match roles::load_inventory(&args.inventory, &role_set, home.as_deref()) {
        Ok((inventory, warnings)) => (Some(inventory), warnings),
        Err(problems) => (None, problems),
    };
    problems::show(&found, global)?;
    let errors = found.iter().filter(|problem| problem.is_error()).count();
    let warnings = found.len() - errors;
    let hosts = inventory.as_ref().map_or(0, |inventory| inventory.hosts.len());
    let used = inventory.as_ref().map_or(0, |inventory| {
        let roles = inventory.hosts.iter().flat_map(|host| &host.roles);
        roles.collect::<std::collections::BTreeSet<_>>().len()
    });
    match (global.output, &inventory) {
        (OutputFormat::Json, _) => problems::print(&format!(
            "{}\n",
            json!({ "event": "checked", "ok": errors == 0, "hosts": hosts, "roles": used,
                    "errors": errors, "warnings": warnings })
        ))?,
        (OutputFormat::Text, Some(_)) => {
            let warned =
                if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
            problems::print(&format!("{}, {}: ok{warned}\n", count(hosts, "host"), count(used, "role")))?;
        }
        (OutputFormat::Text, None) if found.iter().any(|problem| problem.place.is_some()) => {
            let warned =
                if warnings == 0 { String::new() } else { format!(" and {}", count(warnings, "warning")) };
            let total = Diagnostic::error(format!(
                "{}{warned} in {}",
                count(errors, "error"),
                args.inventory.display()
            ));
            eprint!("{}", total.render(global.color_on_stderr()));
        }
        (OutputFormat::Text, None) => {}
    }
    Ok(if inventory.is_some() { ExitCode::SUCCESS } else { Exit::Usage.into() })
}

fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
