//! The answers of Nomad's job API, read: `/v1/job/ID/plan`, `/v1/jobs`, `/v1/job/ID/evaluations`, `…/deployment` and
//! `…/allocations`. The same fields from 1.1 to 2.0.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::Action;

/// Nomad's answer to "what would this do?".
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Planned {
    pub annotations: Option<Annotations>,
    #[serde(rename = "FailedTGAllocs")]
    pub failed_tg_allocs: Option<BTreeMap<String, Metric>>,
    pub job_modify_index: u64,
    pub diff: Option<JobDiff>,
    pub warnings: String,
}

impl Planned {
    pub fn action(&self) -> Action {
        match self.diff.as_ref().map(|diff| diff.r#type.as_str()) {
            Some("None") => Action::None,
            Some("Added") => Action::Create,
            _ if self.job_modify_index == 0 => Action::Create,
            _ => Action::Update,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Annotations {
    #[serde(rename = "DesiredTGUpdates")]
    pub desired_tg_updates: Option<BTreeMap<String, Updates>>,
}

/// How many allocations of a group the scheduler would touch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Updates {
    pub ignore: u64,
    pub place: u64,
    pub migrate: u64,
    pub stop: u64,
    pub in_place_update: u64,
    pub destructive_update: u64,
    pub canary: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobDiff {
    pub r#type: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub fields: Option<Vec<FieldDiff>>,
    pub objects: Option<Vec<ObjectDiff>>,
    pub task_groups: Option<Vec<PartDiff>>,
}

/// A task group or a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PartDiff {
    pub r#type: String,
    pub name: String,
    pub fields: Option<Vec<FieldDiff>>,
    pub objects: Option<Vec<ObjectDiff>>,
    pub tasks: Option<Vec<PartDiff>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ObjectDiff {
    pub r#type: String,
    pub name: String,
    pub fields: Option<Vec<FieldDiff>>,
    pub objects: Option<Vec<ObjectDiff>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FieldDiff {
    pub r#type: String,
    pub name: String,
    pub old: String,
    pub new: String,
}

/// Why a group could not be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metric {
    pub nodes_evaluated: u64,
    pub nodes_filtered: u64,
    pub nodes_exhausted: u64,
    pub constraint_filtered: Option<BTreeMap<String, u64>>,
    pub dimension_exhausted: Option<BTreeMap<String, u64>>,
}

/// The reasons of the groups that could not be placed, one line each.
pub fn failures<'a>(groups: impl IntoIterator<Item = (&'a String, &'a Metric)>) -> Vec<String> {
    groups
        .into_iter()
        .map(|(group, metric)| format!("group `{group}` has no place: {}", metric.reason()))
        .collect()
}

impl Metric {
    fn reason(&self) -> String {
        if self.nodes_evaluated == 0 {
            return "no node is in its datacenters, or none is ready".to_owned();
        }
        let of = |what: &str, counts: &Option<BTreeMap<String, u64>>| {
            let counts = counts.iter().flatten();
            counts
                .map(|(reason, nodes)| format!("{what} `{reason}` on {}", nodes_of(*nodes)))
                .collect::<Vec<_>>()
        };
        let mut reasons = of("constraint", &self.constraint_filtered);
        reasons.extend(of("not enough", &self.dimension_exhausted));
        let looked_at = format!("{} looked at", nodes_of(self.nodes_evaluated));
        if reasons.is_empty() { looked_at } else { format!("{looked_at}; {}", reasons.join(", ")) }
    }
}

fn nodes_of(count: u64) -> String {
    format!("{count} node{}", if count == 1 { "" } else { "s" })
}

/// Nomad's answer to a submission.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Submitted {
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub job_modify_index: u64,
}

/// A job as Nomad has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Registered {
    /// `service`, `system`, `batch` or `sysbatch`.
    pub r#type: String,
    pub version: u64,
    /// Of the last change of what it says.
    pub job_modify_index: u64,
    pub stop: bool,
    pub task_groups: Option<Vec<Group>>,
    pub periodic: Option<serde_json::Value>,
    pub parameterized_job: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Group {
    pub count: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Evaluation {
    #[serde(rename = "ID")]
    pub id: String,
    /// `pending`, `complete`, `blocked`, `failed` or `canceled`.
    pub status: String,
    pub status_description: String,
    #[serde(rename = "FailedTGAllocs")]
    pub failed_tg_allocs: Option<BTreeMap<String, Metric>>,
    pub create_index: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Deployment {
    #[serde(rename = "ID")]
    pub id: String,
    pub job_version: u64,
    pub status: String,
    pub status_description: String,
    pub task_groups: Option<BTreeMap<String, DeploymentGroup>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeploymentGroup {
    pub desired_total: u64,
    pub desired_canaries: u64,
    pub promoted: bool,
    pub healthy_allocs: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Allocation {
    #[serde(rename = "ID")]
    pub id: String,
    pub node_name: String,
    pub job_version: u64,
    pub desired_status: String,
    pub client_status: String,
    pub client_description: String,
    pub task_states: Option<BTreeMap<String, Task>>,
    pub create_index: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    pub state: String,
    pub failed: bool,
    pub restarts: u64,
    pub events: Option<Vec<TaskEvent>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskEvent {
    pub r#type: String,
    pub display_message: String,
}
