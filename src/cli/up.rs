//! `bootstrap up`: bare hosts to a running cluster.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::history::History;
use super::session::Session;
use super::shard::Shard;
use super::{ConnectionArgs, Global, load, problems, run};
use crate::inventory::yaml;
use crate::operations::{EngineError, Up};
use crate::plan::BatchSize;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap up inventory.yaml\n\nRunning it again carries on where a run ended: \
the hosts themselves are the state."
)]
pub struct UpArgs {
    /// The inventory.
    pub inventory: PathBuf,
    /// Write a page that shows what each host did when, also of a run that failed.
    #[arg(long, value_name = "FILE.html")]
    pub timings: Option<PathBuf>,
    /// Interrupt so many clients at once: a number, or a part of them. Servers always go one at a time.
    #[arg(long, value_name = "N|N%", default_value = "10%")]
    pub batch: BatchSize,
    /// Go back to the inventory that the last run before this one brought the hosts to. The file itself stays.
    #[arg(long)]
    pub rollback: bool,
    /// Only this part of the hosts, by its number and how many there are: `2/3`. The servers are in the first, and jobs are left to
    /// a run without it.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["limit", "rollback"])]
    pub shard: Option<Shard>,
    /// Do not ask before hosts that have lost a role leave their cluster.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub reach: ConnectionArgs,
}

impl UpArgs {
    /// Another command's: all as usual.
    pub fn of(inventory: PathBuf, reach: ConnectionArgs) -> Self {
        let batch = BatchSize::default();
        Self { inventory, timings: None, batch, rollback: false, shard: None, yes: false, reach }
    }
}

pub fn run(args: &UpArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let text = yaml::read(&args.inventory).map_err(|problem| problems::refuse(*problem, global))?;
    let loaded = load::parse(&text, &args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let history = History::new(&run::folder(&loaded.inventory));
    let (text, loaded) = if args.rollback {
        let before = history.before(&text)?;
        eprintln!("Back to what was brought up {}:\n{}", before.when, before.difference(&text));
        let loaded = load::parse(&before.text, &args.inventory, global)?;
        (before.text, loaded)
    } else {
        (text, loaded)
    };
    let mut setup = run::Setup::part(&loaded, &args.reach, args.shard, password)?;
    let exit = bring_up("up", args, global, &mut setup)?;
    // A part of the hosts is no state of the whole.
    if exit == Exit::Done && args.reach.limit.is_empty() && args.shard.is_none() {
        history.remember(&text);
    }
    if args.rollback {
        eprintln!(
            "{} still says the newer: the next `up` without --rollback goes there again",
            args.inventory.display()
        );
    }
    Ok(exit)
}

/// Brings every host to what `setup` wants, for a command that is called `command`.
pub fn bring_up(
    command: &'static str,
    args: &UpArgs,
    global: &Global,
    setup: &mut run::Setup,
) -> anyhow::Result<Exit> {
    setup.options.share = args.batch;
    let mut up = Up::new(|| setup.secrets.save(&setup.folder).map_err(EngineError::from));
    let (timings, yes) = (args.timings.as_deref(), args.yes);
    let session = Session { timings, yes, ..Session::new(command, &args.inventory, setup, global) };
    Ok(Exit::of(&session.change(&mut up)?))
}
