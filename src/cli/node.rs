//! `bootstrap remove-node` and `replace-node`: a host leaves its clusters, and another may take its place.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::exit::{Exit, Rejected, UsageError};
use super::session::Session;
use super::{ConnectionArgs, Global, load, problems, run};
use crate::files;
use crate::inventory::Host;
use crate::inventory::edit::{self, EditError, NewHost};
use crate::inventory::yaml;
use crate::model::{Diagnostic, HostName};
use crate::operations::{EngineError, Leave, Up};
use crate::secrets::forget_host;

/// For connecting to a host that goes, and most likely does not answer any more. Its peers are asked of it too.
const GONE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap remove-node inventory.yaml node-4\n\nIts work moves to other nodes, it leaves the peer \
sets, its agents stop; its data is set aside, under names that end in `.left-…`, and what its roles changed on it is put back. Then the inventory is \
written without it."
)]
pub struct RemoveNodeArgs {
    /// The inventory.
    inventory: PathBuf,
    /// The host that leaves.
    #[arg(value_name = "NAME", value_parser = |text: &str| HostName::parse(text))]
    name: HostName,
    /// Also when too few of the servers that are left answer: nothing can be written until they are back. Where no server has
    /// a leader any more nobody can leave, and `bootstrap recover` is the way.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap replace-node inventory.yaml node-2 --address 192.168.56.22\n\nFor a dead host: its \
place in the peer sets is taken away by its id, and the new host joins under the same name or --name."
)]
pub struct ReplaceNodeArgs {
    /// The inventory.
    inventory: PathBuf,
    /// The dead host.
    #[arg(value_name = "NAME", value_parser = |text: &str| HostName::parse(text))]
    name: HostName,
    /// The name of the new host; without this, the same.
    #[arg(long = "name", id = "new_name", value_name = "NEW", value_parser = |text: &str| HostName::parse(text))]
    new_name: Option<HostName>,
    /// Where SSH reaches the new host; without this, where the old one was.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn remove(args: RemoveNodeArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let file = args.inventory.as_path();
    let text = yaml::read(file).map_err(|problem| problems::refuse(*problem, global))?;
    let edited = edit::remove(&text, file, &args.name).map_err(|error| refuse(error, file, global))?;
    let change = Change { file, text: &text, with: &edited };
    let leaving = Leaving { host: &args.name, force: args.force, must_be_dead: false, yes: args.yes };
    leave("remove-node", &change, &leaving, args.reach, global, password)
}

pub fn replace_node(
    args: ReplaceNodeArgs,
    global: &Global,
    password: Option<String>,
) -> anyhow::Result<Exit> {
    let file = args.inventory.as_path();
    let text = yaml::read(file).map_err(|problem| problems::refuse(*problem, global))?;
    let name = args.new_name.as_ref().unwrap_or(&args.name);
    let new = NewHost { name, address: args.address.as_deref(), roles: &[] };
    let with = edit::replace(&text, file, &args.name, &new).map_err(|error| refuse(error, file, global))?;
    let change = Change { file, text: &text, with: &with };
    let leaving = Leaving { host: &args.name, force: false, must_be_dead: true, yes: args.yes };
    leave("replace-node", &change, &leaving, args.reach, global, password)
}

/// An inventory, and what it is to become.
struct Change<'a> {
    file: &'a Path,
    text: &'a str,
    with: &'a str,
}

struct Leaving<'a> {
    host: &'a HostName,
    force: bool,
    must_be_dead: bool,
    yes: bool,
}

/// The host leaves; then the inventory is written, and the hosts are brought to what it says.
fn leave(
    command: &'static str,
    change: &Change<'_>,
    leaving: &Leaving<'_>,
    reach: ConnectionArgs,
    global: &Global,
    password: Option<String>,
) -> anyhow::Result<Exit> {
    if !reach.limit.is_empty() {
        return Err(UsageError(format!("`{command}` asks every server: leave out --limit")).into());
    }
    let before = load::parse(change.text, change.file, global)?;
    let after = load::parse(change.with, change.file, global)?;
    let password = run::become_password(&reach, password)?;
    let mut setup = run::Setup::new(&before, &reach, password.clone())?;
    // That it does not answer may be why it goes.
    setup.options.given_up.insert(leaving.host.clone());
    setup.options.given_up_timeout = GONE.min(setup.options.connect_timeout);
    let mut operation = Leave::new(leaving.host, leaving.force, leaving.must_be_dead);
    let session =
        Session { yes: leaving.yes, is_followed: true, ..Session::new(command, change.file, &setup, global) };
    let outcome = session.change(&mut operation)?;
    let exit = Exit::of(&outcome);
    match exit {
        // That further hosts are out of reach does not keep this one in the cluster.
        Exit::Done | Exit::Unreachable => {}
        Exit::Unhealthy if leaving.force => {}
        _ => return Ok(exit),
    }
    replace(change.file, change.with).with_context(|| format!("cannot write {}", change.file.display()))?;
    forget_host(&setup.folder, leaving.host)?;
    let mut setup = run::Setup::new(&after, &reach, password)?;
    // From here on it is an `up`, and after a failure an `up` carries on: of what follows from this. What differed before still
    // waits for the operator's own.
    let came = |host: &&Host| {
        host.name == *leaving.host || !before.inventory.hosts.iter().any(|known| known.name == host.name)
    };
    let came: BTreeSet<HostName> =
        after.inventory.hosts.iter().filter(came).map(|host| host.name.clone()).collect();
    let is_departure = came.is_empty();
    if !operation.waits.steps.is_empty() {
        setup.options.brings = Some(came);
    }
    let up = Up::new(|| setup.secrets.save(&setup.folder).map_err(EngineError::from));
    let up = up.leaving(operation.waits);
    let mut up = if is_departure { up.installing_nothing() } else { up };
    Ok(Exit::of(&Session::new("up", change.file, &setup, global).change(&mut up)?))
}

/// What an operator can do about an inventory that was not edited.
fn refuse(error: EditError, file: &Path, global: &Global) -> anyhow::Error {
    if let EditError::Wrong(wrong) = error {
        return match problems::show(&wrong, global) {
            Ok(()) => Rejected.into(),
            Err(error) => error.into(),
        };
    }
    let file = file.display();
    let help = match &error {
        EditError::Unknown(name) => format!(
            "name a host of {file}; a member that {file} does not name, and whose host is gone for good, is taken out by \
             `bootstrap forget {file} {name}`"
        ),
        EditError::Last(_) => format!("to end its cluster: `bootstrap down {file}`"),
        EditError::Known(name) => format!("give the new host another name, `--name`, than {name} has"),
        // By `up` a member does not leave.
        _ => format!(
            "write the host in {file} as a line of its own, and in its groups by its name; then the same again"
        ),
    };
    problems::refuse(Diagnostic::error(error.to_string()).help(help), global)
}

/// Writes a file whole or not at all; its mode stays, and what a link leads to is what is replaced.
pub(super) fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let file = fs::canonicalize(file)?;
    let mode = fs::metadata(&file)?.permissions().mode();
    files::replace(&file, text.as_bytes(), mode)
}
