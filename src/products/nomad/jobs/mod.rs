//! What Nomad says of the inventory's jobs.

mod answers;
mod diff;
mod progress;
mod record;

use serde_json::Value;

use crate::inventory::Job;
use crate::model::{Action, JobPlan, Submission};

pub use answers::{Allocation, Deployment, Evaluation, Planned, Registered, Submitted, failures};
pub use progress::{Progress, Status, TaskProblem};
pub use record::{Record, Recorded};

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
