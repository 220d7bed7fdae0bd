//! The jobs of an inventory: files with their variables filled in, what Nomad is asked about them, and what its answers
//! mean. Pure, but for reading the files.

mod answers;
mod diff;
mod fill;
mod progress;
mod ready;

use serde_json::Value;

use crate::model::{Action, JobPlan, Submission};

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

/// A job that is planned when Nomad stands.
pub fn later(job: &Job) -> JobPlan {
    JobPlan {
        source: job.source.clone(),
        job: None,
        action: Action::Later,
        lines: Vec::new(),
        warnings: Vec::new(),
        submission: None,
    }
}

/// Out of Nomad's answer to a plan of `parsed`.
pub fn job_plan(job: &Job, parsed: Value, planned: &Planned) -> JobPlan {
    let id = parsed["ID"].as_str().unwrap_or_default().to_owned();
    let mut warnings: Vec<String> = planned.warnings.lines().map(str::to_owned).collect();
    warnings.extend(failures(planned.failed_tg_allocs.iter().flatten()));
    JobPlan {
        source: job.source.clone(),
        job: Some(id),
        action: planned.action(),
        lines: diff::lines(planned),
        warnings,
        submission: Some(Submission { job: parsed, index: planned.job_modify_index }),
    }
}
