//! `bootstrap man FOLDER`: the manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::Cli;

#[derive(Debug, Args)]
#[command(after_help = "Example: bootstrap man ~/.local/share/man/man1 && man bootstrap-up")]
pub struct ManArgs {
    /// Where to put them: a folder `man1` of your manual path.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot write manual pages to {}", args.folder.display());
    std::fs::create_dir_all(&args.folder).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.folder).with_context(failed)?;
    eprintln!("wrote bootstrap.1 and a page for each command to {}", args.folder.display());
    Ok(ExitCode::SUCCESS)
}
