//! `bootstrap recover`: a way out when quorum is lost for good.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, UsageError};
use super::{Global, Reach, ask, load, run, up};
use crate::engine::{self, Outcome, Stop};
use crate::model::HostName;
use crate::products::Gate;
use crate::raft::Recovery;
use crate::report::Events;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap recover inventory.yaml\n\nThe servers that still answer become the whole cluster, with \
the state they have. What only the lost ones had is lost. It refuses while a leader or a quorum is there."
)]
pub struct RecoverArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Of this product alone: `consul` or `nomad`.
    #[arg(long, value_name = "PRODUCT")]
    product: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &RecoverArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    if !args.reach.limit.is_empty() {
        return Err(UsageError("`recover` asks every server: leave out --limit".to_owned()).into());
    }
    let loaded = load::load(&args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let mut setup = run::Setup::new(&loaded, &args.reach, password)?;
    setup.options.given_up.clone_from(&setup.options.hosts);
    let mut refused = Vec::new();
    let work = async |events: &Events, stop: &Stop| {
        let run = setup.run(events, stop);
        let mut clusters = engine::clusters(run).await?;
        let mut outcome = Outcome::default();
        for (gate, recovery) in clusters.recoveries() {
            if args.product.as_deref().is_some_and(|product| product != gate.product().name()) {
                continue;
            }
            match recovery {
                Err(reason) => refused.push(reason),
                Ok(recovery) if args.yes || is_confirmed(gate, &recovery, &setup) => {
                    let ended = clusters.recover(run, gate, &recovery).await;
                    match ended {
                        Ok(ended) => {
                            outcome.hosts.extend(ended.hosts);
                            outcome.notes.extend(ended.notes);
                            outcome
                                .notes
                                .extend(recovery.lost.iter().map(|host| next(host, &args.inventory)));
                            outcome.unhealthy = outcome.unhealthy.or(ended.unhealthy);
                        }
                        Err(error) => {
                            clusters.close().await;
                            return Err(error);
                        }
                    }
                }
                Ok(_) => refused.push(format!("{}: nothing was changed", gate.product().name())),
            }
        }
        clusters.close().await;
        Ok(outcome)
    };
    let outcome = up::reported("recover", &args.inventory, None, global, &setup, work)?;
    for reason in &refused {
        eprintln!("error: {reason}");
    }
    match Exit::of(&outcome) {
        // One of two products that needed it is done; that the other stands is no failure.
        Exit::Done if outcome.hosts.is_empty() => Ok(Exit::HostFailed),
        exit => Ok(exit),
    }
}

fn next(host: &HostName, inventory: &std::path::Path) -> String {
    format!(
        "next: bootstrap replace-node {} {host}, once a bare host is there; its old disk must not come back",
        inventory.display()
    )
}

/// What it means, and whether the operator wants it.
fn is_confirmed(gate: Gate, recovery: &Recovery, setup: &run::Setup) -> bool {
    let names = |hosts: &[HostName]| hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    let question = format!(
        "{} of `{}` has lost its quorum.\n  {} become the whole cluster, with the state they have.\n  {} are given up: what \
         only they have is lost, and with their old data they must not come back.",
        gate.product().name(),
        setup.marker.cluster,
        names(&recovery.survivors),
        names(&recovery.lost),
    );
    ask::confirmed(&question, setup.marker.cluster.as_str()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        false
    })
}
