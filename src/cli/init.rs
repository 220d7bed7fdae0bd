//! `bootstrap init`: a commented inventory to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{Global, problems};
use crate::report::Diagnostic;

/// Checked by the tests like every file beside it.
const STARTER: &str = include_str!("../../inventories/starter.yaml");

/// Write a commented starter inventory.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Where to write it.
    #[arg(value_name = "FILE", default_value = "inventory.yaml")]
    file: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

pub fn run(args: InitArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut opened = match options.open(&args.file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let problem = Diagnostic::error(format!("{file} is there already"));
            return Err(problems::refuse(
                problem.help("name another file, or replace it with `--force`"),
                global,
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let problem = Diagnostic::error(format!("{file} cannot be written: its folder is not there"));
            return Err(problems::refuse(
                problem.help("make the folder first, or name another file"),
                global,
            ));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write {file}")),
    };
    opened.write_all(STARTER.as_bytes()).with_context(|| format!("cannot write {file}"))?;
    eprintln!("wrote {file}: set the addresses of your hosts, then run `bootstrap check {file}`");
    Ok(ExitCode::SUCCESS)
}
