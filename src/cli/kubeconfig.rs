//! `bootstrap kubeconfig`: the credentials of a Kubernetes cluster, for kubectl on this machine.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::{ConnectionArgs, Global, output, run};
use crate::files;
use crate::kubeconfig;
use crate::operations::{self, Stop};
use crate::report::{events, init_tracing};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap kubeconfig inventory.yaml --merge ~/.kube/config\n\nWho has it governs the cluster: what \
is written is for its owner alone (0600)."
)]
pub struct KubeconfigArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Add the cluster to this file, and make it the current one there; without this it is printed.
    #[arg(long, value_name = "FILE")]
    merge: Option<PathBuf>,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &KubeconfigArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let runtime = tokio::runtime::Runtime::new()?;
    let found = runtime.block_on(async {
        let ((events, _), stop) = (events(), Stop::default());
        let observed_hosts = operations::look(setup.run(&events, &stop)).await?;
        let found = observed_hosts.credentials(&setup.options).await;
        observed_hosts.close().await;
        found
    })?;
    let Some((host, credentials)) = found else {
        bail!("the inventory has no Kubernetes: no host has the role `kube-control-plane`");
    };
    let cluster = setup.wanted.cluster.to_string();
    let Some(path) = &args.merge else {
        output::print(&kubeconfig::merge(None, &credentials, &cluster)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    let existing = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let merged = kubeconfig::merge(existing.as_deref(), &credentials, &cluster)
        .with_context(|| format!("{} was left as it is", path.display()))?;
    let folder = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(folder).and_then(|()| files::replace(path, merged.as_bytes(), 0o600));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{}: context `{cluster}`, by the word of {host}; it is the current one", path.display());
    Ok(ExitCode::SUCCESS)
}
