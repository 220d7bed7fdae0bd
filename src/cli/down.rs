//! `bootstrap down`: a whole cluster stops.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::session::Session;
use super::{ConnectionArgs, Global, run};
use crate::operations::Down;
use crate::secrets;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap down inventory.yaml\n\nEvery agent is stopped and stays so after a boot; `up` starts \
them again. Files, programs and accounts stay."
)]
pub struct DownArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Also remove the agents' data and put back what roles have changed: the hosts are free for another cluster. Packages stay.
    #[arg(long)]
    purge: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &DownArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    let session = Session { yes: args.yes, ..Session::new("down", &args.inventory, &setup, global) };
    let exit = Exit::of(&session.change(&mut Down { purge: args.purge })?);
    // A host that was not reached, or that left before, belongs to a cluster that is no more: the next one of this name
    // refuses it.
    if args.purge && exit == Exit::Done && args.reach.limit.is_empty() {
        secrets::end_cluster(&setup.folder)?;
    }
    Ok(exit)
}
