//! YAML -> [`Inventory`]: who the hosts are, how SSH reaches them, which roles and values each has.
//!
//! It knows nothing of what a role does; the cross checks that need roles take a `RoleSet`.
//!
//! ```text
//! text ──► Document ──► Draft ──► Inventory
//!   yaml: places   shape: fields,   draft: groups and
//!                  ranges; check    variables merged
//! ```

mod address;
mod check;
mod draft;
pub mod edit;
mod jobs;
mod model;
pub mod node;
pub mod range;
pub mod reader;
pub mod schema;
mod shape;
pub mod yaml;

use std::path::Path;

pub use draft::{Draft, DraftGroup, DraftHost, DraftJob, DraftSsh};
pub use jobs::read as read_jobs;
pub use model::{Become, Body, Host, HostKeys, Inventory, Job, SshSettings};

use crate::model::Diagnostic;

/// Parses an inventory; `path` is for messages. Everything wrong with it is in the diagnostics,
/// warnings included; the draft holds the rest, so that checks that need roles can go on.
pub fn parse(text: &str, path: &Path) -> (Option<Draft>, Vec<Diagnostic>) {
    let (document, mut problems) = yaml::parse(text, path);
    let Some(document) = document else { return (None, problems) };
    let mut reader = reader::Reader::new(&document);
    let mut draft = shape::draft(&mut reader);
    problems.append(&mut reader.problems);
    problems.extend(check::check(&mut draft));
    draft.complete = !problems.iter().any(Diagnostic::is_error);
    (Some(draft), problems)
}
