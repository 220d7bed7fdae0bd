//! `bootstrap exec`: a command on a host that has what it needs there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::exit::Exit;
use super::{ConnectionArgs, Global, run};
use crate::model::HostName;
use crate::operations::{Stop, execute};
use crate::report::{events, init_tracing};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap exec inventory.yaml node-2 -- df -h\n\nThe products' own programs find their agent there: addresses and \
certificates are set. Without a host it is the first one that answers of those that have the agent. It runs as root and has nothing to read; its \
exit status is this command's."
)]
pub struct ExecArgs {
    /// The inventory.
    inventory: PathBuf,
    /// The host; the first one that answers without it.
    #[arg(value_parser = |text: &str| HostName::parse(text))]
    host: Option<HostName>,
    /// The command, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    words: Vec<String>,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &ExecArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let runtime = tokio::runtime::Runtime::new()?;
    let executed = runtime.block_on(async {
        let ((events, _), stop) = (events(), Stop::default());
        let print = |line: &[u8]| {
            let mut out = std::io::stdout().lock();
            // Who reads no more, wants no more.
            let _ = out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
        };
        execute(setup.run(&events, &stop), args.host.as_ref(), &args.words, print).await
    })?;
    if !executed.said.is_empty() {
        eprintln!("{}", executed.said);
    }
    let status = executed.status.and_then(|status| u8::try_from(status).ok());
    Ok(status.map_or_else(|| Exit::HostFailed.into(), ExitCode::from))
}
