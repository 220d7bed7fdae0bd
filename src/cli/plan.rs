//! `bootstrap plan`: what `up` would change. Reads, never writes.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::explain::{Section, point_to};
use super::shard::Shard;
use super::{ConnectionArgs, Global, load, run};
use crate::model::Event;
use crate::operations::{self, Stop};
use crate::report::{Output, PlanTextOptions, RenderOptions, events, plan_text, render};

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap plan inventory.yaml --limit node-2")]
pub struct PlanArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Exit with status 5 when there is something to change.
    #[arg(long)]
    exit_code: bool,
    /// Write a page that shows how long each host took to connect and to answer.
    #[arg(long, value_name = "FILE.html")]
    timings: Option<PathBuf>,
    /// Only this part of the hosts, as for `up`: `2/3`.
    #[arg(long, value_name = "I/N", conflicts_with = "limit")]
    shard: Option<Shard>,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &PlanArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let loaded = load::load(&args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let setup = run::Setup::part(&loaded, &args.reach, args.shard, password)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (plan, outcome) = runtime.block_on(async {
        let (events, receiver) = events();
        // The plan itself is the output; on the way only failures are worth a line.
        let mut options = RenderOptions::new(Output::Plain);
        options.color = global.color_on_stderr();
        options.timings = run::timings(args.timings.as_deref())?;
        let printing = tokio::spawn(render(receiver, options));
        events.send(Event::RunStarted {
            command: "plan".to_owned(),
            cluster: setup.wanted.cluster.to_string(),
            hosts: setup.options.hosts.iter().cloned().collect(),
        });
        let result = operations::plan(setup.run(&events, &Stop::default())).await;
        drop(events);
        run::write_timings(args.timings.as_deref(), &printing.await?);
        anyhow::Ok(result?)
    })?;
    point_to(Section::of_outcome(&outcome), global);
    let mut stdout = std::io::stdout();
    let text = if global.json() {
        serde_json::to_string_pretty(&plan)? + "\n"
    } else {
        plan_text(
            &plan,
            &PlanTextOptions {
                color: global.color_on_stdout(),
                verbose: global.verbose > 0,
                hosts_total: setup.options.hosts.len() - outcome.failures.len(),
            },
        )
    };
    // Whoever reads has seen enough when the pipe is closed.
    let _ = stdout.write_all(text.as_bytes());
    Ok(match Exit::of(&outcome) {
        Exit::Done if args.exit_code && !plan.is_empty() => Exit::Changes,
        exit => exit,
    })
}
