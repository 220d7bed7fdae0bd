//! `bootstrap init`: a commented inventory to start from.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::PossibleValuesParser;

use super::exit::UsageError;
use super::starter::{self, Given, Purpose};
use super::{Global, load, problems, templates};
use crate::model::Diagnostic;

/// Write a commented inventory to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: bootstrap init inventory.yaml
          bootstrap init inventory.yaml --hosts '10.0.0.1[1-3]' --user ops --for nomad
          bootstrap init --template consul-nomad-docker inventory.yaml

On a terminal it asks three questions: which hosts, as whom SSH logs in, what shall run there. With a template it asks nothing; \
what that needs beside it is written too: job files, the Vagrantfile.")]
pub struct InitArgs {
    /// Where to write it.
    #[arg(value_name = "FILE", default_value = "inventory.yaml")]
    file: PathBuf,
    /// The hosts: addresses or names that SSH knows, separated by commas, with ranges.
    #[arg(long, value_name = "ADDRESSES", conflicts_with = "template")]
    hosts: Option<String>,
    /// As whom SSH logs in; `root` if nobody says so.
    #[arg(long, value_name = "NAME", conflicts_with = "template")]
    user: Option<String>,
    /// What shall run there; `consul` if nobody says so.
    #[arg(long = "for", value_name = "WHAT", conflicts_with = "template")]
    purpose: Option<Purpose>,
    /// One of the inventories that come with the program, as it is.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(templates::choices()))]
    template: Option<String>,
    /// Replace what is there.
    #[arg(long)]
    force: bool,
}

pub fn run(args: InitArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let given = given(&args, global)?;
    let template = args.template.as_deref().unwrap_or(templates::USUAL);
    let text = match &given {
        Some(given) => starter::inventory(given),
        // Clap let no other name through.
        None => templates::text(template).context("this template is not in the program")?.to_owned(),
    };
    if given.is_some() {
        // What is wrong with an answer is said before anything is written.
        load::parse(&text, &args.file, global)?;
    }
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let companions = templates::companions(template).into_iter();
    let companions: Vec<(PathBuf, &str)> = companions.map(|(path, text)| (folder.join(path), text)).collect();
    // What another template left there is fine; what somebody wrote is in the way, and then nothing is written.
    let is_there = |path: &Path, text: &str| fs::read(path).is_ok_and(|there| there == text.as_bytes());
    let mut others = companions.iter().filter(|(path, text)| path.exists() && !is_there(path, text));
    if let Some((path, _)) = others.next().filter(|_| !args.force) {
        return Err(in_the_way(path, global));
    }
    write(&args.file, &text, args.force, global)?;
    for (path, text) in companions.iter().filter(|(path, text)| !is_there(path, text)) {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    let file = args.file.display();
    match given {
        Some(_) => eprintln!(
            "wrote {file}: `bootstrap plan {file}` shows what would be done, `bootstrap up {file}` does it"
        ),
        None => eprintln!("wrote {file}: make it yours, then run `bootstrap check {file}`"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the operator says of the hosts, on the command line or when asked; `None`: nothing, a template is written as it is.
fn given(args: &InitArgs, global: &Global) -> anyhow::Result<Option<Given>> {
    if args.template.is_some() {
        return Ok(None);
    }
    let hosts = starter::addresses(args.hosts.as_deref().unwrap_or_default()).map_err(|error| {
        problems::refuse(Diagnostic::error(format!("--hosts: {error}")).help(error.help()), global)
    })?;
    let given = Given { hosts, user: args.user.clone(), purpose: args.purpose };
    let is_said = given != Given::default();
    // Whoever named the hosts is asked nothing: the rest has defaults.
    let given = if given.hosts.is_empty() && io::stdin().is_terminal() && io::stderr().is_terminal() {
        if args.file.exists() && !args.force {
            return Err(in_the_way(&args.file, global));
        }
        starter::ask(given, &mut io::stdin().lock(), &mut io::stderr())
            .map_err(|error| UsageError(error.to_string()))?
    } else {
        given
    };
    match given.hosts.is_empty() {
        true if is_said => {
            Err(UsageError("which hosts? `--hosts 10.0.0.11,10.0.0.12,10.0.0.13`".to_owned()).into())
        }
        true => Ok(None),
        false => Ok(Some(given)),
    }
}

/// Writes the inventory, over another one only if that is meant.
fn write(path: &Path, text: &str, force: bool, global: &Global) -> anyhow::Result<()> {
    let file = path.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut opened = match options.open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(in_the_way(path, global)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let problem = Diagnostic::error(format!("{file} cannot be written: its folder is not there"));
            return Err(problems::refuse(
                problem.help("make the folder first, or name another file"),
                global,
            ));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write {file}")),
    };
    opened.write_all(text.as_bytes()).with_context(|| format!("cannot write {file}"))
}

fn in_the_way(path: &Path, global: &Global) -> anyhow::Error {
    let problem = Diagnostic::error(format!("{} is there already", path.display()));
    problems::refuse(problem.help("name another file, or replace it with `--force`"), global)
}
