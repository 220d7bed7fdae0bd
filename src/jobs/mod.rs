//! The jobs of an inventory: files with their variables filled in, what Nomad is asked about them, and what its answers
//! mean. Pure, but for reading the files.

mod answers;
mod diff;
mod fill;
mod progress;
mod ready;

use serde::Serialize;
use serde_json::Value;

pub use answers::{Allocation, Deployment, Evaluation, Planned, Registered, Submitted, failures};
pub use fill::{FillError, fill};
pub use progress::{Progress, Status, Trouble};
pub use ready::{READY, ready};

/// A job as the inventory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its file as written, or the name of a ready one: how messages name it.
    pub source: String,
    pub body: Body,
}

/// What Nomad is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// To be parsed by Nomad itself; the inventory's variables are in it.
    Hcl(String),
    Json(Value),
}

/// What `up` would do about a job.
#[derive(Clone, Debug, Serialize)]
pub struct JobPlan {
    pub source: String,
    /// Its id, once Nomad has parsed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    pub action: Action,
    /// Nomad's own plan, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What Nomad warns of, and what it could not place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What is submitted, and the index that it must find.
    #[serde(skip)]
    pub submission: Option<Submission>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    pub job: Value,
    /// Of the last change that the plan knows; 0 for a job that does not exist.
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nomad runs it as the file says.
    None,
    Create,
    Update,
    /// Nomad does not stand yet: it is planned and submitted when it does.
    Later,
}

impl JobPlan {
    /// A job that is planned when Nomad stands.
    pub fn later(job: &Job) -> Self {
        Self {
            source: job.source.clone(),
            job: None,
            action: Action::Later,
            lines: Vec::new(),
            warnings: Vec::new(),
            submission: None,
        }
    }

    /// Out of Nomad's answer to a plan of `parsed`.
    pub fn of(job: &Job, parsed: Value, planned: &Planned) -> Self {
        let id = parsed["ID"].as_str().unwrap_or_default().to_owned();
        let mut warnings: Vec<String> = planned.warnings.lines().map(str::to_owned).collect();
        warnings.extend(failures(planned.failed_tg_allocs.iter().flatten()));
        Self {
            source: job.source.clone(),
            job: Some(id),
            action: planned.action(),
            lines: diff::lines(planned),
            warnings,
            submission: Some(Submission { job: parsed, index: planned.job_modify_index }),
        }
    }

    pub fn is_change(&self) -> bool {
        self.action != Action::None
    }

    /// How messages name it.
    pub fn name(&self) -> &str {
        self.job.as_deref().unwrap_or(&self.source)
    }
}
