//! `bootstrap init`: a commented inventory to start from.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::PossibleValuesParser;

use super::{Global, problems, templates};
use crate::model::Diagnostic;

/// Write a commented inventory to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: bootstrap init inventory.yaml
          bootstrap init --template consul-nomad-docker inventory.yaml

What an inventory needs beside it is written too: job files, the Vagrantfile.")]
pub struct InitArgs {
    /// Where to write it.
    #[arg(value_name = "FILE", default_value = "inventory.yaml")]
    file: PathBuf,
    /// Which one.
    #[arg(long, value_name = "NAME", default_value = templates::USUAL,
          value_parser = PossibleValuesParser::new(templates::choices()))]
    template: String,
    /// Replace what is there.
    #[arg(long)]
    force: bool,
}

pub fn run(args: InitArgs, global: &Global) -> anyhow::Result<ExitCode> {
    // Clap let no other name through.
    let text = templates::text(&args.template).context("this template is not in the program")?;
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let companions = templates::companions(&args.template).into_iter();
    let companions: Vec<(PathBuf, &str)> = companions.map(|(path, text)| (folder.join(path), text)).collect();
    // What another template left there is fine; what somebody wrote is in the way, and then nothing is written.
    let is_there = |path: &Path, text: &str| fs::read(path).is_ok_and(|there| there == text.as_bytes());
    let mut others = companions.iter().filter(|(path, text)| path.exists() && !is_there(path, text));
    if let Some((path, _)) = others.next().filter(|_| !args.force) {
        return Err(in_the_way(path, global));
    }
    write(&args.file, text, args.force, global)?;
    for (path, text) in companions.iter().filter(|(path, text)| !is_there(path, text)) {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    let file = args.file.display();
    eprintln!("wrote {file}: make it yours, then run `bootstrap check {file}`");
    Ok(ExitCode::SUCCESS)
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
