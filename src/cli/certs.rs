//! `bootstrap certs`: what kubeadm signs, made anew before it expires.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Exit;
use super::up::{self, UpArgs};
use super::{ConnectionArgs, Global, load, run};
use crate::inventory::Host;
use crate::model::StepId;

/// The role's own step, which `up` has in its plan when a certificate comes near its end.
const RENEW: &str = "exec renew the certificates";

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap certs renew inventory.yaml")]
pub struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Renew the certificates of Kubernetes' control planes, one host at a time.
    #[command(
        after_help = "Example: bootstrap certs renew inventory.yaml\n\nkubeadm's certificates are good for a year; `up` renews those \
that expire within `kube.renew_days`. This renews them now, and changes nothing else. Authorities stay as they are."
    )]
    Renew {
        /// The inventory.
        inventory: PathBuf,
        /// Renew where a certificate expires within so many days; all but those of today without this.
        #[arg(long, value_name = "DAYS", default_value_t = 364)]
        within: u32,
        #[command(flatten)]
        reach: ConnectionArgs,
    },
}

pub fn run(args: CertsArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let CertsCommand::Renew { inventory, within, reach } = args.command;
    let mut loaded = load::load(&inventory, global)?;
    let is_control_plane = |host: &Host| host.roles.iter().any(|role| role.as_str() == "kube-control-plane");
    if !loaded.inventory.hosts.iter().any(is_control_plane) {
        bail!("the inventory has no Kubernetes: no host has the role `kube-control-plane`");
    }
    for host in &mut loaded.inventory.hosts {
        let kube = host.vars.entry("kube").or_insert_with(|| json!({}));
        if let Value::Object(kube) = kube {
            kube.insert("renew_days".to_owned(), within.into());
        }
    }
    let password = run::become_password(&reach, password)?;
    let mut setup = run::Setup::new(&loaded, &reach, password)?;
    setup.options.only = Some(BTreeSet::from([StepId(RENEW.to_owned())]));
    let up = UpArgs::of(inventory, reach);
    up::bring_up("certs renew", &up, global, &mut setup)
}
