//! An error -> what stands on stderr, and the exit status.

use std::process::ExitCode;

use super::exit::{Exit, Rejected, UsageError};
use super::explain::{Section, point_to};
use super::{Global, problems};
use crate::model::Check;
use crate::operations::EngineError;

/// Prints an error with its causes, and tells its exit status.
pub fn report(error: &anyhow::Error, global: &Global) -> ExitCode {
    if error.is::<Rejected>() {
        return Exit::Usage.into();
    }
    if let Some(EngineError::Unfit(findings)) = error.downcast_ref() {
        // A terminal that is gone takes no message either way.
        let _ = problems::show_findings(findings, global);
        return match findings.iter().any(|finding| finding.is_error() && finding.check == Check::Quorum) {
            true => Exit::Unhealthy.into(),
            false => Exit::HostFailed.into(),
        };
    }
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        // A transparent error repeats its source.
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    let section = Section::of_error(error);
    if global.json() {
        let section = section.map(Section::heading);
        println!("{}", serde_json::json!({"event": "error", "message": text, "section": section}));
    }
    for line in text.lines() {
        eprintln!("error: {line}");
    }
    point_to(section, global);
    let is_usage = matches!(error.downcast_ref(), Some(EngineError::Jobs(_) | EngineError::Unconfirmed(_)));
    if is_usage || error.is::<UsageError>() || error.is::<crate::roles::WantedError>() {
        Exit::Usage.into()
    } else {
        Exit::HostFailed.into()
    }
}
