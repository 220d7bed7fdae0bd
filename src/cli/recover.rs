//! `bootstrap recover`: a way out when quorum is lost for good.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::exit::{Exit, UsageError};
use super::session::Session;
use super::{ConnectionArgs, Global, run};
use crate::model::HostName;
use crate::operations::Recover;
use crate::products::Gate;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap recover inventory.yaml\n\nThe servers that still answer become the whole cluster, with \
the state they have. Where a product's servers cannot be told who is left, the one that has seen most goes on alone and the others \
join it anew. What only the lost ones had is lost. It refuses while a leader or a quorum is there."
)]
pub struct RecoverArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Of this product alone.
    #[arg(long, value_name = "PRODUCT", value_parser = PossibleValuesParser::new(products()))]
    product: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

/// Those whose servers have a quorum to lose.
fn products() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        Gate::ALL.iter().filter(|gate| gate.has_raft()).map(|gate| gate.product().name()).collect();
    names.dedup();
    names
}

pub fn run(args: &RecoverArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    if !args.reach.limit.is_empty() {
        return Err(UsageError("`recover` asks every server: leave out --limit".to_owned()).into());
    }
    let mut setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    setup.options.given_up.clone_from(&setup.options.hosts);
    let mut operation = Recover::new(args.product.clone());
    let session = Session { yes: args.yes, ..Session::new("recover", &args.inventory, &setup, global) };
    let outcome = session.change(&mut operation)?;
    for host in operation.recoveries.iter().flat_map(|(_, recovery)| &recovery.lost) {
        eprintln!("{}", next(host, &args.inventory));
    }
    Ok(Exit::of(&outcome))
}

fn next(host: &HostName, inventory: &std::path::Path) -> String {
    format!(
        "next: bootstrap replace-node {} {host}, once a bare host is there; its old disk must not come back",
        inventory.display()
    )
}
