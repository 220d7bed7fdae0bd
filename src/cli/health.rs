//! `bootstrap health`: how well clusters and hosts are.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::{ConnectionArgs, Exit, Global, OutputFormat, output, problems, run};
use crate::health::Health;
use crate::model::Check;
use crate::operations::{self, Stop};
use crate::report::{events, health_text, init_tracing, nagios, prometheus, survey_summary};

/// How well the clusters and their hosts are. Changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: bootstrap health inventory.yaml --watch\n\n`--output nagios` ends with status 0 ok, 1 \
warning, 2 critical, 3 unknown; `--output prometheus` prints the text format."
)]
pub struct HealthArgs {
    /// The inventory file.
    #[arg(value_name = "INVENTORY")]
    inventory: PathBuf,
    /// Look again every so often and draw anew, until Ctrl-C.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "5s", value_parser = super::parse_duration)]
    watch: Option<Duration>,
    #[command(flatten)]
    reach: ConnectionArgs,
}

/// Nagios' states.
const NAGIOS_WARNING: u8 = 1;
const NAGIOS_CRITICAL: u8 = 2;
const NAGIOS_UNKNOWN: u8 = 3;

pub fn run(args: &HealthArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    let observed_hosts = look(args, global, password);
    match (&observed_hosts, global.output) {
        (Err(error), OutputFormat::Nagios) => {
            let said = format!("{error:#}").replace('|', "/").replace('\n', " ");
            output::print(&format!("BOOTSTRAP UNKNOWN - {said}\n"))?;
            Ok(NAGIOS_UNKNOWN.into())
        }
        _ => observed_hosts,
    }
}

fn look(args: &HealthArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        loop {
            // Every failure ends up in the table.
            let (events, _) = events();
            let health = operations::health(setup.run(&events, &Stop::default())).await?;
            let Some(pause) = args.watch else { return show(&health, &setup, global) };
            let terminal = console::Term::stdout();
            if terminal.is_term() && global.output == OutputFormat::Text {
                terminal.clear_screen()?;
                let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %Z");
                output::print(&format!(
                    "{} at {now}, again every {}\n\n",
                    setup.wanted.cluster,
                    crate::report::human(pause)
                ))?;
            }
            let exit = show(&health, &setup, global)?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = tokio::signal::ctrl_c() => return Ok(exit),
            }
        }
    })
}

fn show(health: &Health, setup: &run::Setup, global: &Global) -> anyhow::Result<ExitCode> {
    let cluster = setup.wanted.cluster.as_str();
    let survey = &health.survey;
    match global.output {
        OutputFormat::Nagios => output::print(&nagios(health, cluster))?,
        OutputFormat::Prometheus => output::print(&prometheus(health, cluster))?,
        OutputFormat::Json => {
            problems::show_findings(&survey.findings, global)?;
            let errors = survey.errors().count();
            output::print(&format!(
                "{}\n",
                json!({ "event": "health", "cluster": cluster, "ok": errors == 0, "hosts": survey.hosts.len(),
                        "errors": errors, "warnings": survey.findings.len() - errors,
                        "clusters": health.clusters, "checks": survey.marks() })
            ))?;
        }
        OutputFormat::Text => {
            let width =
                console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns));
            output::print(&health_text(health, width, global.color_on_stdout()))?;
            if !survey.findings.is_empty() {
                eprintln!();
                problems::show_findings(&survey.findings, global)?;
            }
            output::print(&format!("{}\n", survey_summary(survey, "well")))?;
        }
    }
    Ok(exit(health, global.output))
}

fn exit(health: &Health, output: OutputFormat) -> ExitCode {
    let survey = &health.survey;
    if output == OutputFormat::Nagios {
        return match survey.findings.first() {
            None => ExitCode::SUCCESS,
            Some(_) if survey.errors().next().is_some() => NAGIOS_CRITICAL.into(),
            Some(_) => NAGIOS_WARNING.into(),
        };
    }
    let exit = if health.clusters.iter().any(|cluster| !cluster.stands) {
        Exit::Unhealthy
    } else if survey.errors().next().is_none() {
        Exit::Done
    } else if survey.errors().all(|finding| finding.check == Check::Ssh) {
        Exit::Unreachable
    } else {
        Exit::HostFailed
    };
    exit.into()
}
