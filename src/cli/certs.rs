//! `bootstrap certs`: certificates, made anew before they expire.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::exit::Exit;
use super::up::{self, UpArgs};
use super::{ConnectionArgs, Global, load, run};
use crate::model::StepId;
use crate::resource::Resource;
use crate::roles::Wanted;

/// The step of control planes for what kubeadm signs, which `up` has in its plan when a certificate comes near its end.
const RENEW: &str = "renew the certificates";

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap certs renew inventory.yaml")]
pub struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Renew the certificates of hosts: of Consul, Kubernetes, etcd and the registry.
    #[command(
        after_help = "Example: bootstrap certs renew inventory.yaml\n\nCertificates are good for a year; `up` renews those that expire \
within `kube.renew_days`, `registry.renew_days` or `consul.tls_renew_days`. This renews them now, one control plane or member after \
another, and changes nothing else. Authorities stay as they are."
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
    let loaded = load::load(&inventory, global)?;
    let password = run::become_password(&reach, password)?;
    let mut setup = run::Setup::new(&loaded, &reach, password)?;
    let steps = renewals(&mut setup.wanted, within);
    if steps.is_empty() {
        bail!("no role of the inventory has certificates: nothing is to be renewed");
    }
    setup.options.only = Some(steps);
    let up = UpArgs::of(inventory, reach);
    up::bring_up("certs renew", &up, global, &mut setup)
}

/// The steps that make certificates anew, those that expire within so many days, and that start programs again which read them at
/// their start alone.
fn renewals(wanted: &mut Wanted, within: u32) -> BTreeSet<StepId> {
    let mut steps = BTreeSet::new();
    for role in wanted.hosts.iter_mut().flat_map(|host| &mut host.roles) {
        let mut renewed = BTreeSet::new();
        for resource in &mut role.resources {
            match resource {
                Resource::Certificate(certificate) => {
                    certificate.renew_days = within;
                    renewed.insert(certificate.path.clone());
                }
                // Both end in the number of days.
                Resource::Exec(exec) if exec.name == RENEW => {
                    for words in [Some(&mut exec.command), exec.unless.as_mut()].into_iter().flatten() {
                        if let Some(days) = words.last_mut() {
                            *days = within.to_string();
                        }
                    }
                }
                _ => continue,
            }
            steps.insert(resource.id());
        }
        let reads = |resource: &&Resource| match resource {
            Resource::Unit(unit) => {
                unit.restart_on.iter().chain(&unit.reload_on).any(|path| renewed.contains(path))
            }
            _ => false,
        };
        steps.extend(role.resources.iter().filter(reads).map(Resource::id));
    }
    steps
}
