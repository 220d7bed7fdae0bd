//! `bootstrap forget`: a member that is gone for good leaves its clusters.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, UsageError};
use super::session::Session;
use super::{ConnectionArgs, Global, run};
use crate::model::HostName;
use crate::operations::Forget;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap forget inventory.yaml node-5\n\nFor a member that the inventory does not name any more and \
whose host is gone: the others take it out of the peer sets and of gossip. A living one is refused."
)]
pub struct ForgetArgs {
    /// The inventory.
    inventory: PathBuf,
    /// The member, as the clusters name it.
    #[arg(value_name = "NAME", value_parser = |text: &str| HostName::parse(text))]
    name: HostName,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &ForgetArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    if !args.reach.limit.is_empty() {
        return Err(UsageError("`forget` asks every server: leave out --limit".to_owned()).into());
    }
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    let session = Session { yes: args.yes, ..Session::new("forget", &args.inventory, &setup, global) };
    Ok(Exit::of(&session.change(&mut Forget::new(&args.name))?))
}
