//! `bootstrap add-node`: one host more, in the inventory and in its running cluster.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Exit, Rejected, UsageError};
use super::load::{self, Loaded};
use super::session::Session;
use super::{ConnectionArgs, Global, node, problems, run};
use crate::inventory::edit::{self, EditError, NewHost};
use crate::inventory::yaml;
use crate::model::{Diagnostic, HostName, RoleName};
use crate::operations::{Add, EngineError};

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap add-node inventory.yaml node-4 --address 192.168.56.14 --role \
consul-server\n\nThe inventory keeps its comments and layout. It is written once the new host is found fit. The other \
hosts are left as they are, but for lists without which the new host could not work; what else is pending on them is named, and `up` does \
it.")]
pub struct AddNodeArgs {
    /// The inventory.
    inventory: PathBuf,
    /// The host: a new name, or one that the inventory has and the cluster lacks.
    #[arg(value_name = "NAME", value_parser = |text: &str| HostName::parse(text))]
    name: HostName,
    /// Where SSH reaches it; without this, at its name.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Its roles, separated by commas. A group that has just these takes it in.
    #[arg(long = "role", id = "role", value_name = "ROLES", value_delimiter = ',', value_parser = |text: &str| RoleName::parse(text))]
    roles: Vec<RoleName>,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: AddNodeArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let file = args.inventory.as_path();
    let text = yaml::read(file).map_err(|problem| problems::refuse(*problem, global))?;
    let host = NewHost { name: &args.name, address: args.address.as_deref(), roles: &args.roles };
    if !args.reach.limit.is_empty() {
        return Err(UsageError("`add-node` asks every server: leave out --limit".to_owned()).into());
    }
    let edited = match edit::add(&text, file, &host) {
        Ok(edited) => Some(edited),
        // It was written by hand, or a run before this one got no further, or all the way.
        Err(EditError::Known(_)) if is_there(&load::parse(&text, file, global)?, &args) => None,
        Err(EditError::Wrong(wrong)) => {
            problems::show(&wrong, global)?;
            return Err(Rejected.into());
        }
        Err(error) => return Err(problems::refuse(explained(&error, file, &args.name), global)),
    };
    let loaded = load::parse(edited.as_ref().unwrap_or(&text), file, global)?;
    if loaded.inventory.hosts.iter().any(|host| host.name == args.name && host.roles.is_empty()) {
        let problem = Diagnostic::error(format!("host `{}` would have no role", args.name))
            .help("give it some: `--role consul-client`; `bootstrap roles` lists them");
        return Err(problems::refuse(problem, global));
    }
    let password = run::become_password(&args.reach, password)?;
    let mut setup = run::Setup::new(&loaded, &args.reach, password)?;
    setup.options.brings = Some(BTreeSet::from([args.name.clone()]));
    // Once it is found fit, and before anything is changed: who is refused leaves nothing half-written.
    let unwritten = Cell::new(edited.as_deref());
    let write = || match unwritten.take() {
        Some(edited) => node::replace(file, edited),
        None => Ok(()),
    };
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let mut add = Add::new(&args.name, || {
        write().map_err(|error| EngineError::Refused(cannot(error)))?;
        setup.secrets.save(&setup.folder).map_err(EngineError::from)
    });
    let exit = Exit::of(&Session::new("add-node", file, &setup, global).change(&mut add)?);
    if exit == Exit::Done {
        // It was a member already.
        write().map_err(|error| anyhow::anyhow!(cannot(error)))?;
    }
    Ok(exit)
}

/// Whether the inventory has the host with all that was given of it.
fn is_there(loaded: &Loaded, args: &AddNodeArgs) -> bool {
    let Some(host) = loaded.inventory.hosts.iter().find(|host| host.name == args.name) else { return false };
    let same_roles =
        args.roles.len() == host.roles.len() && args.roles.iter().all(|role| host.roles.contains(role));
    args.address.as_ref().is_none_or(|address| *address == host.address)
        && (args.roles.is_empty() || same_roles)
}

/// What an operator can do about an inventory that was not edited.
fn explained(error: &EditError, file: &Path, name: &HostName) -> Diagnostic {
    let help = format!(
        "to bring in a host as the inventory has it, written there by hand: `bootstrap add-node {} {name}`, without options",
        file.display()
    );
    Diagnostic::error(error.to_string()).help(help)
}
