use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(version, about)]
enum Command {
    Lab(bootstrap::cli::lab::LabArgs),
}

fn main() -> ExitCode {
    let Command::Lab(args) = Command::parse();
    bootstrap::cli::lab::run(args).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
