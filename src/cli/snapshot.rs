//! `bootstrap snapshot`: the state of Consul, Nomad and etcd, in files that are whole.

use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::exit::{Exit, UsageError};
use super::session::Session;
use super::{ConnectionArgs, Global, load, output, run};
use crate::files;
use crate::operations::{self, ObservedHosts, Restore, Run, SnapshotSource, Stop, takes_streams};
use crate::products::snapshot::{self, Content, Snapshot};
use crate::report::{events, init_tracing};

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap snapshot save inventory.yaml")]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Save the state of every raft cluster, checked from end to end before it gets its name.
    #[command(
        after_help = "Example: bootstrap snapshot save inventory.yaml\n\nWhat is saved holds secrets: the files are for \
their owner alone (0600)."
    )]
    Save {
        /// The inventory.
        inventory: PathBuf,
        /// The folder; without this, `.bootstrap/CLUSTER/snapshots` beside the inventory.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
        #[command(flatten)]
        reach: ConnectionArgs,
    },
    /// Put back the state of one product: all that was written since is lost.
    #[command(
        after_help = "Example: bootstrap snapshot restore inventory.yaml .bootstrap/dc1/snapshots/dc1-consul-….snap"
    )]
    Restore {
        /// The inventory.
        inventory: PathBuf,
        /// What `snapshot save` wrote.
        file: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Also what was saved from another cluster, or by another program.
        #[arg(long)]
        foreign: bool,
        #[command(flatten)]
        reach: ConnectionArgs,
    },
    /// List what was saved, and whether it is whole.
    #[command(after_help = "Example: bootstrap snapshot list inventory.yaml")]
    List {
        /// The inventory.
        inventory: PathBuf,
        /// The folder; without this, `.bootstrap/CLUSTER/snapshots` beside the inventory.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

/// What stands in the file beside a snapshot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    cluster: String,
    /// Tells this cluster from another of the same name.
    cluster_id: String,
    product: String,
    #[serde(flatten)]
    snapshot: Snapshot,
    bytes: u64,
    taken: Timestamp,
    host: String,
}

pub fn run(args: SnapshotArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    match args.command {
        SnapshotCommand::Save { inventory, to, reach } => save(&inventory, to, &reach, global, password),
        SnapshotCommand::Restore { inventory, file, yes, foreign, reach } => {
            restore(&inventory, &file, yes, foreign, &reach, global, password)
        }
        SnapshotCommand::List { inventory, to } => list(&inventory, to, global),
    }
}

fn save(
    inventory: &Path,
    to: Option<PathBuf>,
    reach: &ConnectionArgs,
    global: &Global,
    password: Option<String>,
) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(inventory, reach, global, password)?;
    let folder = to.unwrap_or_else(|| setup.folder.join("snapshots"));
    files::private_folder(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let ((events, _), stop) = (events(), Stop::default());
        let run = setup.run(&events, &stop);
        let observed_hosts = operations::look(run).await?;
        let result = save_all(&observed_hosts, run, &setup, &folder, global).await;
        observed_hosts.close().await;
        result
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn save_all(
    observed_hosts: &ObservedHosts,
    run: Run<'_>,
    setup: &run::Setup,
    folder: &Path,
    global: &Global,
) -> anyhow::Result<()> {
    let sources = observed_hosts.snapshot_sources(run).await?;
    if sources.is_empty() {
        bail!("the inventory has no raft cluster to save");
    }
    for source in &sources {
        let (file, label) = save_one(source, setup, folder).await?;
        if global.json() {
            output::print(&format!(
                "{}\n",
                json!({ "event": "snapshot-saved", "file": file, "snapshot": label })
            ))?;
        } else {
            output::print(&format!("{}\n", describe(&file, &label)))?;
        }
    }
    Ok(())
}

async fn save_one(
    source: &SnapshotSource,
    setup: &run::Setup,
    folder: &Path,
) -> anyhow::Result<(PathBuf, Label)> {
    let product = source.gate.product().name();
    // For its owner alone from the first byte on.
    let mut file = tempfile::Builder::new().prefix(".unfinished-").tempfile_in(folder)?;
    let bytes = source
        .save(&mut file)
        .await
        .map_err(|reason| anyhow::anyhow!("{product} on {}: {reason}", source.host))?;
    file.as_file().sync_all()?;
    let content = snapshot::read(BufReader::new(fs::File::open(file.path())?));
    let content =
        content.with_context(|| format!("what {product} on {} sent is no whole snapshot", source.host))?;
    let snapshot = match (content, source.position.clone()) {
        (Content::Raft(snapshot), None) | (Content::Etcd, Some(snapshot)) => snapshot,
        _ => bail!("what {product} on {} sent is another product's", source.host),
    };
    let taken = Timestamp::now();
    let label = Label {
        cluster: setup.marker.cluster.to_string(),
        cluster_id: setup.marker.id.clone(),
        product: product.to_owned(),
        snapshot,
        bytes,
        taken,
        host: source.host.to_string(),
    };
    let name = format!("{}-{product}-{}.snap", label.cluster, taken.strftime("%Y%m%dT%H%M%SZ"));
    let path = folder.join(name);
    write_label(&path, &label)?;
    file.persist_noclobber(&path).with_context(|| format!("cannot write {}", path.display()))?;
    // Only now may anybody rely on it.
    fs::File::open(folder)?.sync_all()?;
    Ok((path, label))
}

fn label_of(file: &Path) -> PathBuf {
    file.with_extension("snap.json")
}

fn write_label(file: &Path, label: &Label) -> anyhow::Result<()> {
    let path = label_of(file);
    let text = serde_json::to_vec_pretty(label)?;
    files::replace(&path, &text, 0o600).with_context(|| format!("cannot write {}", path.display()))
}

/// `None` where none was written: the snapshot is of another program.
fn read_label(file: &Path) -> anyhow::Result<Option<Label>> {
    let path = label_of(file);
    match fs::read(&path) {
        Ok(text) => {
            let label = serde_json::from_slice(&text);
            Ok(Some(label.with_context(|| format!("{} is not as `snapshot save` wrote it", path.display()))?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn describe(file: &Path, label: &Label) -> String {
    format!(
        "{:7} {} index {}, {} KiB, {}",
        label.product,
        label.taken.strftime("%Y-%m-%d %H:%M:%SZ"),
        label.snapshot.index,
        label.bytes.div_ceil(1024),
        file.display()
    )
}

fn restore(
    inventory: &Path,
    file: &Path,
    yes: bool,
    foreign: bool,
    reach: &ConnectionArgs,
    global: &Global,
    password: Option<String>,
) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(inventory, reach, global, password)?;
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let content = snapshot::read(bytes.as_slice())
        .with_context(|| format!("{} is no whole snapshot", file.display()))?;
    let label = read_label(file)?;
    let index = match (&content, &label) {
        (Content::Raft(snapshot), _) => snapshot.index.to_string(),
        (Content::Etcd, Some(label)) => label.snapshot.index.to_string(),
        (Content::Etcd, None) => "unknown".to_owned(),
    };
    let ours = label.as_ref().is_some_and(|label| label.cluster_id == setup.marker.id);
    if !ours && !foreign {
        let whose = label.as_ref().map_or("of a cluster that it does not name".to_owned(), |label| {
            format!("of cluster `{}` (id {})", label.cluster, label.cluster_id)
        });
        return Err(UsageError(format!(
            "{} is {whose}, not of `{}` (id {}); `--foreign` restores it all the same",
            file.display(),
            setup.marker.cluster,
            setup.marker.id
        ))
        .into());
    }
    let members = match content {
        Content::Raft(_) => None,
        Content::Etcd => Some(takes_streams(&setup.wanted).context(
            "the inventory has no etcd that could take it: no host has the role `etcd` or `kube-control-plane`",
        )?),
    };
    let product = match members {
        Some(gate) => Some(gate.product().name().to_owned()),
        None => label.as_ref().map(|label| label.product.clone()),
    };
    let question = format!(
        "The state of {} in cluster `{}` becomes that of {} (index {index}). All that was written since is lost.",
        product.as_deref().unwrap_or("the product"),
        setup.marker.cluster,
        label.as_ref().map_or("the file".to_owned(), |label| label.taken.to_string()),
    );
    let mut operation = Restore::new(file, bytes, product, members, question);
    let session = Session { yes, ..Session::new("snapshot restore", inventory, &setup, global) };
    let exit = Exit::of(&session.change(&mut operation)?);
    if exit == Exit::Done {
        output::print(&format!("restored index {index}\n"))?;
    }
    Ok(exit.into())
}

fn list(inventory: &Path, to: Option<PathBuf>, global: &Global) -> anyhow::Result<ExitCode> {
    let loaded = load::load(inventory, global)?;
    let folder = to.unwrap_or_else(|| run::folder(&loaded.inventory).join("snapshots"));
    let mut files: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "snap"));
    files.sort();
    let mut damaged = 0;
    for file in &files {
        let whole =
            fs::File::open(file).map_err(Into::into).and_then(|file| snapshot::read(BufReader::new(file)));
        let (label, unread) = match read_label(file) {
            Ok(label) => (label, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let error = whole.err().map(|error| error.to_string()).or(unread);
        damaged += usize::from(error.is_some());
        let line = if global.json() {
            json!({ "event": "snapshot", "file": file, "snapshot": label, "whole": error.is_none(), "error": error }).to_string()
        } else {
            let said =
                label.as_ref().map_or_else(|| file.display().to_string(), |label| describe(file, label));
            match error {
                None => said,
                Some(error) => format!("{said}: {error}"),
            }
        };
        output::print(&format!("{line}\n"))?;
    }
    if files.is_empty() && !global.json() {
        eprintln!("No snapshot in {}; `bootstrap snapshot save` makes some.", folder.display());
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { Exit::HostFailed.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dc1-consul-1.snap");
        assert!(read_label(&file).unwrap().is_none());
        let label = Label {
            cluster: "dc1".to_owned(),
            cluster_id: "0123".to_owned(),
            product: "consul".to_owned(),
            snapshot: Snapshot { index: 7, term: 2 },
            bytes: 99,
            taken: Timestamp::UNIX_EPOCH,
            host: "node-1".to_owned(),
        };
        write_label(&file, &label).unwrap();
        assert_eq!(read_label(&file).unwrap().unwrap(), label);
        fs::write(label_of(&file), "{").unwrap();
        assert!(read_label(&file).unwrap_err().to_string().contains("dc1-consul-1.snap.json"));
    }
}
