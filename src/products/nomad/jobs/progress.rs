//! Is a job, as Nomad has it, well?

use super::answers::{Allocation, Deployment, Evaluation, Registered, Task, failures};

/// Everything that Nomad says of one job.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub job: Registered,
    pub evaluations: Vec<Evaluation>,
    /// The newest.
    pub deployment: Option<Deployment>,
    pub allocations: Vec<Allocation>,
}

/// Whether a job is there, in the operator's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Done(String),
    Waiting(String),
    /// Waiting longer is of no use.
    Failed(String),
}

/// Event types that accompany every end of a task and explain none.
const SILENT: [&str; 11] = [
    "Received",
    "Task Setup",
    "Started",
    "Restarting",
    "Not Restarting",
    "Restart Signaled",
    "Killing",
    "Killed",
    "Alloc Unhealthy",
    "Building Task Directory",
    "Downloading Artifacts",
];

impl Status {
    /// The same for one that is to end.
    pub fn ending(&self) -> Progress {
        let ended =
            |allocation: &&Allocation| !matches!(allocation.client_status.as_str(), "running" | "pending");
        match self.allocations.iter().filter(|allocation| !ended(allocation)).count() {
            0 => Progress::Done("stopped".to_owned()),
            left => Progress::Waiting(format!("{left} of its allocations still run")),
        }
    }

    pub fn progress(&self) -> Progress {
        let job = &self.job;
        if job.stop {
            return Progress::Failed("it is stopped".to_owned());
        }
        if !is_null(&job.periodic) || !is_null(&job.parameterized_job) {
            return Progress::Done("registered".to_owned());
        }
        let mut evaluations: Vec<&Evaluation> = self.evaluations.iter().collect();
        evaluations.sort_by_key(|evaluation| evaluation.create_index);
        // Only the last word counts: what was blocked may have been placed since.
        let last = evaluations.last();
        if let Some(failed) = last.filter(|evaluation| evaluation.status == "failed") {
            return Progress::Failed(format!("its evaluation failed: {}", failed.status_description));
        }
        let unplaced: Vec<String> = evaluations
            .iter()
            .filter(|evaluation| evaluation.status == "blocked")
            .flat_map(|evaluation| failures(evaluation.failed_tg_allocs.iter().flatten()))
            .collect();
        if let Some(reason) = unplaced.last() {
            return Progress::Waiting(reason.clone());
        }
        if evaluations.is_empty() && self.allocations.is_empty()
            || evaluations.iter().any(|evaluation| evaluation.status == "pending")
        {
            return Progress::Waiting("the scheduler has not decided yet".to_owned());
        }
        let current = self.deployment.as_ref().filter(|deployment| deployment.job_version == job.version);
        match current {
            Some(deployment) => self.deployed(deployment),
            None => self.running(),
        }
    }

    fn deployed(&self, deployment: &Deployment) -> Progress {
        let groups = || deployment.task_groups.iter().flatten().map(|(_, group)| group);
        let healthy: u64 = groups().map(|group| group.healthy_allocs).sum();
        let wanted: u64 = groups().map(|group| group.desired_total).sum();
        let waits = |group: &super::answers::DeploymentGroup| {
            group.desired_canaries > 0 && !group.promoted && group.healthy_allocs >= group.desired_canaries
        };
        match deployment.status.as_str() {
            "successful" => self.running(),
            "running" | "pending" if groups().any(waits) => {
                let id = deployment.id.get(..8).unwrap_or(&deployment.id);
                Progress::Done(format!("canaries are healthy; `nomad deployment promote {id}` goes on"))
            }
            "running" | "pending" | "blocked" | "unblocking" | "initializing" => {
                Progress::Waiting(self.with_trouble(format!("{healthy} of {wanted} healthy")))
            }
            "paused" => Progress::Failed("its deployment is paused".to_owned()),
            _ => Progress::Failed(self.with_trouble(deployment.status_description.clone())),
        }
    }

    fn running(&self) -> Progress {
        let current = || self.current();
        let is_batch = matches!(self.job.r#type.as_str(), "batch" | "sysbatch");
        let good = |allocation: &&Allocation| match allocation.client_status.as_str() {
            "running" => true,
            "complete" => is_batch,
            _ => false,
        };
        let up = current().filter(good).count();
        // A system job has one for each node that suits it.
        let wanted = match self.job.r#type.as_str() {
            "system" | "sysbatch" => current().count(),
            _ => self.job.task_groups.iter().flatten().map(|group| group.count as usize).sum(),
        };
        let said = format!("{up} of {wanted} running");
        if wanted == 0 && matches!(self.job.r#type.as_str(), "system" | "sysbatch") {
            return Progress::Waiting("no node has been given it".to_owned());
        }
        if up >= wanted { Progress::Done(said) } else { Progress::Waiting(self.with_trouble(said)) }
    }

    /// Allocations of the version that Nomad has now. A scheduler that changes nothing about one may leave it at an
    /// older version.
    fn current(&self) -> impl Iterator<Item = &Allocation> {
        self.allocations.iter().filter(|allocation| allocation.desired_status == "run")
    }

    fn with_trouble(&self, said: String) -> String {
        match self.troubled().first() {
            Some(trouble) => format!("{said}; {}", trouble.reason),
            None => said,
        }
    }

    /// Tasks that failed or start over and over, the newest allocation first.
    pub fn troubled(&self) -> Vec<TaskProblem> {
        let mut allocations: Vec<&Allocation> = self.allocations.iter().collect();
        allocations.sort_by_key(|allocation| std::cmp::Reverse(allocation.create_index));
        allocations
            .into_iter()
            .filter(|allocation| allocation.job_version == self.job.version)
            .flat_map(|allocation| {
                let tasks = allocation.task_states.iter().flatten();
                let bad = tasks.filter(|(_, task)| task.failed || task.restarts > 0);
                bad.map(|(name, task)| TaskProblem {
                    allocation: allocation.id.clone(),
                    task: name.clone(),
                    reason: format!("task `{name}` on {}: {}", allocation.node_name, why(task)),
                })
            })
            .collect()
    }
}

/// A task that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskProblem {
    pub allocation: String,
    pub task: String,
    pub reason: String,
}

fn why(task: &Task) -> String {
    let events = || task.events.iter().flatten();
    let telling = events().rfind(|event| !SILENT.contains(&event.r#type.as_str())).or(events().last());
    let said = telling.map_or("it says nothing", |event| {
        if event.display_message.is_empty() { event.r#type.as_str() } else { event.display_message.as_str() }
    });
    match task.restarts {
        0 => said.to_owned(),
        count => format!("{said} (restarted {count} time{})", if count == 1 { "" } else { "s" }),
    }
}

fn is_null(value: &Option<serde_json::Value>) -> bool {
    value.as_ref().is_none_or(serde_json::Value::is_null)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(job: Value, evaluations: Value, deployment: Value, allocations: Value) -> Status {
        Status {
            job: serde_json::from_value(job).unwrap(),
            evaluations: serde_json::from_value(evaluations).unwrap(),
            deployment: serde_json::from_value(deployment).unwrap(),
            allocations: serde_json::from_value(allocations).unwrap(),
        }
    }

    fn service() -> Value {
        json!({"Type": "service", "Version": 3, "TaskGroups": [{"Count": 2}], "Periodic": null})
    }

    fn complete() -> Value {
        json!([{"Status": "complete", "CreateIndex": 5}])
    }

    fn allocation(client: &str, desired: &str) -> Value {
        json!({"ID": "0123456789", "NodeName": "node-1", "JobVersion": 3, "ClientStatus": client,
               "DesiredStatus": desired, "TaskStates": null})
    }

    fn deployment(status: &str, healthy: u64) -> Value {
        json!({"ID": "d", "JobVersion": 3, "Status": status, "StatusDescription": "Failed due to unhealthy allocations",
               "TaskGroups": {"web": {"DesiredTotal": 2, "HealthyAllocs": healthy}}})
    }

    #[test]
    fn each_state_of_a_job() {
        let waiting = |text: &str| Progress::Waiting(text.to_owned());
        let done = |text: &str| Progress::Done(text.to_owned());
        let failed = |text: &str| Progress::Failed(text.to_owned());
        let two = json!([allocation("running", "run"), allocation("running", "run")]);
        let one = json!([allocation("running", "run"), allocation("lost", "stop")]);
        let blocked = json!([{"Status": "complete", "CreateIndex": 5}, {"Status": "blocked", "CreateIndex": 6,
            "FailedTGAllocs": {"web": {"NodesEvaluated": 3, "ConstraintFiltered": {"missing drivers": 3}}}}]);
        let system = json!({"Type": "system", "Version": 3, "TaskGroups": [{"Count": 1}]});
        for (job, evaluations, deployment, allocations, wanted) in [
            (
                service(),
                json!([{"Status": "pending"}]),
                Value::Null,
                json!([]),
                waiting("the scheduler has not decided yet"),
            ),
            (service(), complete(), deployment("running", 1), one.clone(), waiting("1 of 2 healthy")),
            (service(), complete(), deployment("successful", 2), two.clone(), done("2 of 2 running")),
            // It was well once.
            (service(), complete(), deployment("successful", 2), one.clone(), waiting("1 of 2 running")),
            (
                service(),
                complete(),
                deployment("failed", 0),
                two.clone(),
                failed("Failed due to unhealthy allocations"),
            ),
            // Of another version: it says nothing of this one.
            (
                json!({"Type": "service", "Version": 4, "TaskGroups": [{"Count": 2}]}),
                complete(),
                deployment("failed", 0),
                two.clone(),
                done("2 of 2 running"),
            ),
            (
                service(),
                blocked,
                Value::Null,
                json!([]),
                waiting(
                    "group `web` has no place: 3 nodes looked at; constraint `missing drivers` on 3 nodes",
                ),
            ),
            (
                service(),
                json!([{"Status": "failed", "StatusDescription": "maximum attempts reached (5)"}]),
                Value::Null,
                json!([]),
                failed("its evaluation failed: maximum attempts reached (5)"),
            ),
            (system.clone(), complete(), Value::Null, json!([]), waiting("no node has been given it")),
            (system, complete(), Value::Null, two.clone(), done("2 of 2 running")),
            (
                json!({"Type": "batch", "Periodic": {"Spec": "@daily"}}),
                json!([]),
                Value::Null,
                json!([]),
                done("registered"),
            ),
            (
                json!({"Type": "batch", "TaskGroups": [{"Count": 1}]}),
                complete(),
                Value::Null,
                json!([allocation("complete", "run")]),
                done("1 of 1 running"),
            ),
            (
                json!({"Type": "service", "Stop": true}),
                complete(),
                Value::Null,
                json!([]),
                failed("it is stopped"),
            ),
        ] {
            let status = status(job, evaluations, deployment, allocations);
            assert_eq!(status.progress(), wanted, "{status:?}");
        }
    }

    #[test]
    fn a_task_that_fails_says_why() {
        let mut bad = allocation("failed", "run");
        bad["TaskStates"] = json!({"serve": {"State": "dead", "Failed": true, "Restarts": 2, "Events": [
            {"Type": "Started", "DisplayMessage": "Task started by client"},
            {"Type": "Terminated", "DisplayMessage": "Exit Code: 3"},
            {"Type": "Not Restarting", "DisplayMessage": "Exceeded allowed attempts"}]}});
        let status = status(service(), complete(), deployment("running", 0), json!([bad]));
        assert_eq!(
            status.progress(),
            Progress::Waiting(
                "0 of 2 healthy; task `serve` on node-1: Exit Code: 3 (restarted 2 times)".to_owned()
            )
        );
        assert_eq!(status.troubled()[0].task, "serve");
    }
}
