//! `bootstrap ui`: a product's own pages in a browser on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{ConnectionArgs, Global, output, run};
use crate::operations::{Stop, UiRequest, open_ui};
use crate::products::Gate;
use crate::report::{events, init_tracing};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap ui inventory.yaml\n\nThe link works once, in one browser, while the command runs: Ctrl-C ends it. \
Nothing can be changed from there but with `--write`."
)]
pub struct UiArgs {
    /// The inventory.
    inventory: PathBuf,
    /// Whose pages. Not needed where the inventory has one product with pages alone.
    #[arg(value_parser = PossibleValuesParser::new(Gate::products_with_pages()))]
    product: Option<String>,
    /// Let the browser change things.
    #[arg(long)]
    write: bool,
    /// The port of this machine; any that is free without it.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &UiArgs, global: &Global, password: Option<String>) -> anyhow::Result<ExitCode> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let request = UiRequest { product: args.product.clone(), port: args.port, writes: args.write };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let ((events, _), stop) = (events(), Stop::default());
        let (host, port) = open_ui(setup.run(&events, &stop), &request).await?;
        let line = if global.json() {
            serde_json::json!({ "host": host, "link": port.link() }).to_string()
        } else {
            port.link()
        };
        output::print(&format!("{line}\n"))?;
        let may = if args.write { "it may change things" } else { "it changes nothing (`--write` lets it)" };
        eprintln!("The pages of {host}, once and in one browser; {may}. Ctrl-C ends it.");
        tokio::select! {
            () = port.serve() => {}
            ended = tokio::signal::ctrl_c() => ended?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
