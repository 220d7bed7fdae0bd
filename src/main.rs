//! See `bootstrap::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bootstrap::cli::main()
}
