//! `bootstrap down`: a whole cluster stops.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, UsageError};
use super::{Global, Reach, ask, load, run, up};
use crate::engine::{self, Stop};
use crate::report::Events;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap down inventory.yaml\n\nEvery agent is stopped and stays so after a boot; `up` starts \
them again. Files, programs and accounts stay."
)]
pub struct DownArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Also remove the agents' data and the mark of the cluster: the hosts are free for another one.
    #[arg(long)]
    purge: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &DownArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let loaded = load::load(&args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let setup = run::Setup::new(&loaded, &args.reach, password)?;
    let hosts = setup.options.hosts.len();
    let data = match args.purge {
        true => ", and all their data is removed; `bootstrap snapshot save` keeps some of it",
        false => "",
    };
    let question = format!("The agents of {hosts} hosts of `{}` stop{data}.", setup.marker.cluster);
    if !args.yes && !ask::confirmed(&question, setup.marker.cluster.as_str())? {
        return Err(UsageError("nothing was stopped".to_owned()).into());
    }
    let work = async |events: &Events, stop: &Stop| {
        let run = setup.run(events, stop);
        let mut clusters = engine::clusters(run).await?;
        let outcome = clusters.down(run, args.purge).await;
        let failures = clusters.close().await;
        outcome.map(|outcome| engine::Outcome { failures, ..outcome })
    };
    let outcome = up::reported("down", &args.inventory, None, global, &setup, work)?;
    Ok(Exit::of(&outcome))
}
