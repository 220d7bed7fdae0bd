//! `bootstrap bundle`: what an inventory needs from sites, in one file, for places without a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Global, load, output, run};
use crate::releases::{self, Content};
use crate::resource::Via;
use crate::roles::{Wanted, variables_to_generate};
use crate::secrets::Secrets;

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap bundle create inventory.yaml cluster.bundle")]
pub struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Pack everything that an inventory fetches from a site: releases, manifests, images, with digests, signatures and keys.
    #[command(
        after_help = "Example: bootstrap bundle create inventory.yaml cluster.bundle --arch amd64,arm64"
    )]
    Create {
        /// The inventory.
        inventory: PathBuf,
        /// The file to write.
        file: PathBuf,
        /// Architectures of the hosts, in the vendor's words.
        #[arg(long, value_name = "ARCH", value_delimiter = ',', default_value = "amd64")]
        arch: Vec<String>,
    },
    /// Check a bundle and put it into this machine's cache; `up` then needs no network for what has
    /// `via: controller`.
    #[command(after_help = "Example: bootstrap bundle use cluster.bundle && bootstrap up inventory.yaml")]
    Use {
        /// What `bundle create` wrote.
        file: PathBuf,
    },
}

pub fn run(args: BundleArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match args.command {
        BundleCommand::Create { inventory, file, arch } => create(&inventory, &file, &arch, global),
        BundleCommand::Use { file } => {
            let cache = run::cache();
            let contents = releases::use_bundle(&file, &cache)?;
            list("bundle-used", &file, &contents, global)?;
            if !global.json() {
                eprintln!("All of it is in {} now.", cache.root().display());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn create(inventory: &Path, file: &Path, arch: &[String], global: &Global) -> anyhow::Result<ExitCode> {
    let loaded = load::load(inventory, global)?;
    let (inventory, roles) = (&loaded.inventory, &loaded.roles);
    let secrets = Secrets::load(&run::folder(inventory), &variables_to_generate(inventory, roles))?;
    let wanted = Wanted::new(inventory, roles, &secrets.values)?;
    let resources = || wanted.hosts.iter().flat_map(|host| &host.roles).flat_map(|role| &role.resources);
    let downloads: BTreeSet<_> =
        resources().flat_map(|resource| arch.iter().flat_map(|arch| resource.remote_files(arch))).collect();
    if downloads.is_empty() {
        anyhow::bail!(
            "{} fetches nothing from a site, so there is nothing to pack",
            inventory.path.display()
        );
    }
    let say = |text: &str| {
        if !global.json() {
            eprintln!("{text}");
        }
    };
    let folder = inventory.path.parent().unwrap_or(Path::new(""));
    let cache = run::cache();
    let packing = releases::create_bundle(&downloads, &cache, folder, file, |download| {
        say(&format!("packing {download} of {}", download.site));
    });
    let (contents, warnings) = tokio::runtime::Runtime::new()?.block_on(packing)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let elsewhere: BTreeSet<_> = resources().filter_map(|resource| resource.artifact()).collect();
    for path in elsewhere {
        eprintln!("warning: {} is not packed: carry it along beside the inventory", path.display());
    }
    if downloads.iter().any(|download| download.via == Via::Host) {
        eprintln!(
            "warning: the inventory lets hosts download for themselves; set `via: controller` beside its `source` where \
             there is no network"
        );
    }
    list("bundle-created", file, &contents, global)?;
    Ok(ExitCode::SUCCESS)
}

fn list(event: &str, file: &Path, contents: &[Content], global: &Global) -> anyhow::Result<()> {
    let text = if global.json() {
        format!("{}\n", json!({ "event": event, "file": file, "contents": contents }))
    } else {
        let line = |content: &Content| {
            let size = indicatif::DecimalBytes(content.size).to_string();
            format!("{size:>10}  sha256 {}  {}\n", content.sha256, content.what)
        };
        contents.iter().map(line).collect()
    };
    Ok(output::print(&text)?)
}
