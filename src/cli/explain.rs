//! `bootstrap explain SECTION`, and which section of docs/errors.md an error belongs to.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::{Global, output};
use crate::model::{Check, Finding};
use crate::operations::{EngineError, HostFailure, Outcome};
use crate::releases::{BundleError, ReleaseError};
use crate::roles::WantedError;
use crate::secrets::SecretsError;
use crate::{lab, ssh};

const PAGE: &str = include_str!("../../docs/errors.md");

/// Say more about an error: the sections of the documentation that messages name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: bootstrap explain clock")]
pub struct ExplainArgs {
    /// Sections; without any, all of them.
    #[arg(value_name = "SECTION", value_parser = PossibleValuesParser::new(choices()))]
    sections: Vec<String>,
}

pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let asked = |heading: &str| args.sections.is_empty() || args.sections.iter().any(|name| name == heading);
    let asked = sections().filter(|(heading, _)| asked(heading));
    let texts: Vec<String> = asked.map(|(heading, text)| format!("{heading}\n\n{text}\n")).collect();
    output::print(&texts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Headings of the page, and what stands below them.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = PAGE.split("\n## ").skip(1);
    parts.filter_map(|part| part.split_once('\n')).map(|(heading, text)| (heading, text.trim()))
}

fn choices() -> Vec<PossibleValue> {
    sections().map(|(heading, _)| PossibleValue::new(heading)).collect()
}

/// A section of the page: the only place that knows which error is told of where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Under the name of its column.
    Of(Check),
    Inventory,
    Roles,
    Locked,
    Step,
    Link,
    Gate,
    Release,
    Jobs,
    Secrets,
    Lab,
}

impl Section {
    pub fn heading(self) -> &'static str {
        match self {
            Self::Of(check) => check.heading(),
            Self::Inventory => "inventory",
            Self::Roles => "roles",
            Self::Locked => "locked",
            Self::Step => "step",
            Self::Link => "link",
            Self::Gate => "gate",
            Self::Release => "release",
            Self::Jobs => "jobs",
            Self::Secrets => "secrets",
            Self::Lab => "lab",
        }
    }

    pub fn of_findings(findings: &[Finding]) -> impl Iterator<Item = Self> {
        findings.iter().map(|finding| Self::Of(finding.check))
    }

    /// What a run that has ended was about.
    pub fn of_outcome(outcome: &Outcome) -> impl Iterator<Item = Self> {
        let gate = outcome.unhealthy.is_some() || !outcome.held_back.is_empty();
        outcome.failures.values().map(Self::of_failure).chain(gate.then_some(Self::Gate))
    }

    fn of_failure(failure: &HostFailure) -> Self {
        match failure {
            HostFailure::Unreachable(error) | HostFailure::Link { source: error, .. } => Self::of_ssh(error),
            HostFailure::Facts(_) | HostFailure::Ledger(_) => Self::Of(Check::System),
            HostFailure::Step { .. } => Self::Step,
            HostFailure::Locked { .. } => Self::Locked,
        }
    }

    fn of_ssh(error: &ssh::Error) -> Self {
        use ssh::Error as E;
        match error {
            E::Unreachable { .. }
            | E::HostKeyUnknown { .. }
            | E::HostKeyChanged { .. }
            | E::AuthenticationDenied { .. }
            | E::ConnectionLost { .. }
            | E::ForwardingForbidden { .. }
            | E::SessionRefused { .. }
            | E::Setting { .. }
            | E::SshMissing { .. }
            | E::Local { .. } => Self::Of(Check::Ssh),
            E::SudoPasswordNeeded { .. }
            | E::SudoPasswordWrong { .. }
            | E::SudoMissing { .. }
            | E::SudoDenied { .. }
            | E::SudoNeedsTerminal { .. } => Self::Of(Check::Root),
            E::LinkCut { .. }
            | E::ScriptStopped { .. }
            | E::TimedOut { .. }
            | E::Silent { .. }
            | E::UploadFailed { .. } => Self::Link,
        }
    }

    /// What an error that ends a command is about; `None` where its own words are all there is to say.
    pub fn of_error(error: &anyhow::Error) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<EngineError>() {
            return match error {
                // Each of its findings has a section.
                EngineError::Unfit(_) | EngineError::Refused(_) | EngineError::Unconfirmed(_) => None,
                EngineError::Plan(_) => Some(Self::Of(Check::Paths)),
                EngineError::Locked(_) => Some(Self::Locked),
                EngineError::Jobs(_) => Some(Self::Jobs),
                EngineError::Secrets(_) => Some(Self::Secrets),
                EngineError::Release(_) | EngineError::Artifact { .. } => Some(Self::Release),
            };
        }
        let known = [
            (error.is::<WantedError>(), Self::Roles),
            (error.is::<SecretsError>(), Self::Secrets),
            (error.is::<ReleaseError>() || error.is::<BundleError>(), Self::Release),
            (error.is::<lab::Error>(), Self::Lab),
        ];
        known.into_iter().find_map(|(is, section)| is.then_some(section))
    }
}

/// Says to people where there is more about what they were just told.
pub fn point_to(sections: impl IntoIterator<Item = Section>, global: &Global) {
    let headings: BTreeSet<&str> = sections.into_iter().map(Section::heading).collect();
    if !headings.is_empty() && !global.json() {
        eprintln!("{}", pointer(&headings));
    }
}

fn pointer(headings: &BTreeSet<&str>) -> String {
    let words: Vec<&str> = headings.iter().copied().collect();
    format!("more: docs/errors.md#{} (`bootstrap explain {}`)", words.join(", #"), words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [Section; 10] = [
        Section::Inventory,
        Section::Roles,
        Section::Locked,
        Section::Step,
        Section::Link,
        Section::Gate,
        Section::Release,
        Section::Jobs,
        Section::Secrets,
        Section::Lab,
    ];

    #[test]
    fn every_error_has_its_section_and_every_section_its_errors() {
        let checks = Check::FITNESS.iter().chain(Check::HEALTH).copied().map(Section::Of);
        let named: BTreeSet<&str> = checks.chain(OTHERS).map(Section::heading).collect();
        let there: BTreeSet<&str> = sections().map(|(heading, _)| heading).collect();
        assert_eq!(there, named);
        for (heading, text) in sections() {
            assert!(text.len() > 150, "{heading} says too little");
        }
    }

    #[test]
    fn a_run_points_to_each_section_once() {
        let lost = ssh::Error::SudoMissing { host: crate::model::HostName::parse("a").unwrap() };
        let other = ssh::Error::SudoMissing { host: crate::model::HostName::parse("b").unwrap() };
        let mut outcome = Outcome { unhealthy: Some("no leader".to_owned()), ..Outcome::default() };
        for error in [lost, other] {
            outcome.failures.insert(error.host().clone(), HostFailure::Unreachable(error));
        }
        let headings = Section::of_outcome(&outcome).map(Section::heading).collect();
        assert_eq!(pointer(&headings), "more: docs/errors.md#gate, #root (`bootstrap explain gate root`)");
    }

    #[test]
    fn errors_that_end_a_command_are_told_of_somewhere() {
        let release = ReleaseError::NotListed { sums: "sums".to_owned(), archive: "zip".to_owned() };
        let error = anyhow::Error::new(EngineError::Release(release)).context("while trying");
        assert_eq!(Section::of_error(&error), Some(Section::Release));
        assert_eq!(Section::of_error(&lab::Error::NoLab.into()), Some(Section::Lab));
        assert_eq!(Section::of_error(&anyhow::anyhow!("whatever")), None);
    }
}
