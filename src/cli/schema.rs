//! `bootstrap schema`: the JSON Schema of inventories.

use std::process::ExitCode;

use super::{Global, output, problems};
use crate::roles;

/// Print the JSON Schema of inventories, for editors.
///
/// With the YAML language server, the first line of an inventory can name it:
/// `# yaml-language-server: $schema=inventory.schema.json`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bootstrap schema > inventory.schema.json")]
pub struct SchemaArgs {}

pub fn run(_: SchemaArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let role_set = problems::role_set(global)?;
    output::print(&format!("{:#}\n", roles::schema(&role_set)))?;
    Ok(ExitCode::SUCCESS)
}
