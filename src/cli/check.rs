//! `bootstrap check`: is this inventory correct? With `--connect`: are its hosts fit for it?

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::explain::{Section, point_to};
use super::{ConnectionArgs, Exit, Global, output, problems, run};
use crate::inventory::Inventory;
use crate::model::{Check, Diagnostic, Finding};
use crate::operations::{self, Stop, check_gates};
use crate::preflight;
use crate::report::{self, events, init_tracing, survey_summary, survey_table};
use crate::roles::{self, RoleSet, Wanted, variables_to_generate};
use crate::secrets::Secrets;

/// Check an inventory; with `--connect`, its hosts too. Changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bootstrap check --connect inventory.yaml")]
pub struct CheckArgs {
    /// The inventory file.
    #[arg(value_name = "INVENTORY")]
    inventory: PathBuf,
    /// Connect to the hosts and look for all that would stand in the way of `up`; try the ports that
    /// roles need between hosts.
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &CheckArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    if args.connect {
        return connect(args, global, password);
    }

    let role_set = problems::role_set(global)?;
    let home = std::env::home_dir();
    let (inventory, found) = match roles::load_inventory(&args.inventory, &role_set, home.as_deref()) {
        Ok((inventory, warnings)) => (Some(inventory), warnings),
        Err(problems) => (None, problems),
    };
    problems::show(&found, global)?;
    // What roles make of it may contradict itself, whatever the hosts are.
    let contradictions =
        inventory.as_ref().map(|inventory| contradictions(inventory, &role_set)).transpose()?;
    let contradictions = contradictions.unwrap_or_default();
    problems::show_findings(&contradictions, global)?;
    let errors = found.iter().filter(|problem| problem.is_error()).count() + contradictions.len();
    let warnings = found.iter().filter(|problem| !problem.is_error()).count();
    let hosts = inventory.as_ref().map_or(0, |inventory| inventory.hosts.len());
    let used = inventory.as_ref().map_or(0, |inventory| {
        let roles = inventory.hosts.iter().flat_map(|host| &host.roles);
        roles.collect::<std::collections::BTreeSet<_>>().len()
    });
    match (global.json(), &inventory) {
        (true, _) => output::print(&format!(
            "{}\n",
            json!({ "event": "checked", "ok": errors == 0, "hosts": hosts, "roles": used,
                    "errors": errors, "warnings": warnings })
        ))?,
        (false, Some(_)) if errors > 0 => {}
        (false, Some(_)) => {
            let warned =
                if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
            output::print(&format!("{}, {}: ok{warned}\n", count(hosts, "host"), count(used, "role")))?;
        }
        (false, None) if found.iter().any(|problem| problem.place.is_some()) => {
            point_to([Section::Inventory], global);
            let warned =
                if warnings == 0 { String::new() } else { format!(" and {}", count(warnings, "warning")) };
            let total = Diagnostic::error(format!(
                "{}{warned} in {}",
                count(errors, "error"),
                args.inventory.display()
            ));
            eprint!("{}", report::problem(&total, global.color_on_stderr()));
        }
        (false, None) => {}
    }
    Ok(if inventory.is_some() && errors == 0 { ExitCode::SUCCESS } else { Exit::Usage.into() })
}

/// What can be known to be wrong without a host. Secrets that are to be made are not kept.
fn contradictions(inventory: &Inventory, roles: &RoleSet) -> anyhow::Result<Vec<Finding>> {
    let secrets = Secrets::load(&run::folder(inventory), &variables_to_generate(inventory, roles))?;
    let wanted = Wanted::new(inventory, roles, &secrets.values)?;
    check_gates(&wanted)?;
    Ok(preflight::of_inventory(&wanted))
}

/// The hosts as they are: a table on stdout, then each finding, then how many there are.
fn connect(args: &CheckArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let runtime = tokio::runtime::Runtime::new()?;
    // Every failure ends up in the table.
    let (events, _) = events();
    let survey = runtime.block_on(operations::check(setup.run(&events, &Stop::default())))?;
    let errors = || survey.errors();
    let exit = match errors().count() {
        0 => Exit::Done,
        _ if errors().all(|finding| finding.check == Check::Ssh) => Exit::Unreachable,
        _ => Exit::HostFailed,
    };
    if global.json() {
        problems::show_findings(&survey.findings, global)?;
        let errors = errors().count();
        output::print(&format!(
            "{}\n",
            json!({ "event": "checked", "ok": errors == 0, "hosts": survey.hosts.len(), "errors": errors,
                    "warnings": survey.findings.len() - errors, "checks": survey.marks() })
        ))?;
    } else {
        let width = console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns));
        output::print(&survey_table(&survey, width, global.color_on_stdout()))?;
        if !survey.findings.is_empty() {
            eprintln!();
            problems::show_findings(&survey.findings, global)?;
        }
        output::print(&format!("{}\n", survey_summary(&survey, "ready")))?;
    }
    Ok(exit.into())
}

fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
