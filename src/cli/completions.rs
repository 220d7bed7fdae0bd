//! `bootstrap completions SHELL`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bootstrap completions bash > ~/.local/share/bash-completion/completions/bootstrap
          bootstrap completions zsh > ~/.zfunc/_bootstrap
          bootstrap completions fish > ~/.config/fish/completions/bootstrap.fish"
)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    clap_complete::generate(args.shell, &mut Cli::command(), "bootstrap", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
