//! `exec`: a command that runs once, with a guard that says whether it did.

use serde::Deserialize;

use super::{Error, HostPath, call_of, seen};
use crate::plan::{Change, StepId};
use crate::script::{Call, Fields};

/// A command, for what no other kind does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// What it does, in a few words.
    pub name: String,
    /// An argument list, never a line for a shell.
    pub command: Vec<String>,
    /// It is done when this exists.
    #[serde(default)]
    pub creates: Option<HostPath>,
    /// It is done when this command succeeds; it only reads.
    #[serde(default)]
    pub unless: Option<Vec<String>>,
}

impl Exec {
    pub(super) fn check(&self) -> Result<(), Error> {
        let runnable =
            |words: &[String]| words.first().is_some_and(|word| !word.is_empty() && !word.starts_with('-'));
        if self.creates.is_some() == self.unless.is_some() {
            return Err(Error::Guard { id: self.id().0 });
        }
        if !runnable(&self.command) || self.unless.as_deref().is_some_and(|words| !runnable(words)) {
            return Err(Error::NoProgram { id: self.id().0 });
        }
        Ok(())
    }

    pub(super) fn id(&self) -> StepId {
        StepId(format!("exec {}", self.name))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        match (&self.creates, &self.unless) {
            (Some(path), _) => call_of(&self.id(), "exec_creates", [path.as_str()]),
            (None, Some(guard)) => call_of(&self.id(), "exec_unless", guard),
            (None, None) => Err(Error::Guard { id: self.id().0 }),
        }
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        if seen::text(&id, seen, "satisfied")? == "yes" {
            return Ok(None);
        }
        let reason = match &self.creates {
            Some(path) => format!("{path} absent"),
            None => format!("`{}` fails", self.unless.as_deref().unwrap_or_default().join(" ")),
        };
        Ok(Some(Change { reason, diff: None, calls: vec![call_of(&id, "exec_run", &self.command)?] }))
    }
}
