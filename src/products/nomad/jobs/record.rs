//! The jobs that this program has submitted, as the hosts of Nomad's servers remember them: so a job that the inventory has no
//! more is told from somebody else's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::Registered;
use crate::model::{Action, JobPlan, Submission};

/// What one run has left behind on each server's host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In milliseconds since 1970. Of several the newest counts: a server may have been away.
    pub written: i64,
    pub jobs: Vec<Recorded>,
}

/// One job, as it was when it was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub namespace: String,
    pub id: String,
    /// Nomad's `JobModifyIndex` of it: with another one somebody has changed it since.
    pub index: u64,
}

impl Record {
    /// The newest of what the hosts have. What cannot be read counts as nothing: a job too many is better than one too few.
    pub fn newest<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let records = texts.into_iter().filter_map(|text| serde_json::from_str::<Self>(text).ok());
        records.max_by_key(|record| record.written).unwrap_or_default()
    }

    /// One line of JSON.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    /// The same job, as it was recorded.
    pub fn of(&self, job: &Recorded) -> Option<Recorded> {
        self.jobs.iter().find(|one| one.is_same(job)).cloned()
    }

    /// Those that none of these plans is about.
    pub fn without<'r>(&'r self, plans: &[JobPlan]) -> Vec<&'r Recorded> {
        let wanted: Vec<Recorded> = plans.iter().filter_map(Recorded::of).collect();
        let is_wanted = |job: &&Recorded| wanted.iter().any(|one| one.is_same(job));
        self.jobs.iter().filter(|job| !is_wanted(job)).collect()
    }
}

impl Recorded {
    /// The job of a plan, with the index that it had then.
    pub fn of(plan: &JobPlan) -> Option<Self> {
        let Submission { job, index } = plan.submission.as_ref()?;
        Some(Self { namespace: namespace(job), id: plan.job.clone()?, index: *index })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.id == other.id
    }

    /// What becomes of it, now that the inventory has it no more and Nomad has it so.
    pub fn removal(&self, now: &Registered) -> Option<JobPlan> {
        if now.stop {
            return None;
        }
        let (action, line) = match now.job_modify_index == self.index {
            true => (Action::Stop, "- it is in the inventory no more: it is stopped".to_owned()),
            false => (
                Action::Leave,
                format!(
                    "it is in the inventory no more, and somebody has changed it since it was submitted: it is left alone; \
                     `nomad job stop -namespace={} {}` ends it",
                    self.namespace, self.id
                ),
            ),
        };
        Some(JobPlan {
            source: format!("job {}", self.id),
            job: Some(self.id.clone()),
            action,
            lines: vec![line],
            warnings: Vec::new(),
            submission: Some(Submission {
                job: json!({ "ID": self.id, "Namespace": self.namespace }),
                index: self.index,
            }),
        })
    }
}

/// That of a job; one without is in `default`.
fn namespace(job: &Value) -> String {
    job["Namespace"].as_str().filter(|name| !name.is_empty()).unwrap_or("default").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(id: &str, index: u64) -> Recorded {
        Recorded { namespace: "default".to_owned(), id: id.to_owned(), index }
    }

    #[test]
    fn the_newest_record_counts_and_nonsense_does_not() {
        let record = |written, id: &str| Record { written, jobs: vec![recorded(id, 7)] };
        let texts = [record(5, "old").text(), record(9, "new").text(), "{".to_owned()];
        assert_eq!(Record::newest(texts.iter().map(String::as_str)), record(9, "new"));
        assert_eq!(Record::newest(["nonsense"]), Record::default());
    }

    #[test]
    fn a_job_is_stopped_only_where_nobody_has_changed_it() {
        let now = |index, stop| Registered { job_modify_index: index, stop, ..Registered::default() };
        let action = |now| recorded("web", 7).removal(&now).map(|plan| plan.action);
        assert_eq!(action(now(7, false)), Some(Action::Stop));
        assert_eq!(action(now(8, false)), Some(Action::Leave));
        assert_eq!(action(now(7, true)), None);
    }

    #[test]
    fn what_is_wanted_is_known_by_namespace_and_id() {
        let record = Record {
            written: 1,
            jobs: vec![recorded("web", 7), Recorded { namespace: "b".into(), ..recorded("web", 8) }],
        };
        let plan = |job: Value| JobPlan {
            source: "web.nomad".to_owned(),
            job: Some("web".to_owned()),
            action: Action::None,
            lines: Vec::new(),
            warnings: Vec::new(),
            submission: Some(Submission { job, index: 7 }),
        };
        let left = |job| record.without(&[plan(job)]).iter().map(|job| job.index).collect::<Vec<_>>();
        assert_eq!(left(json!({ "ID": "web" })), [8]);
        assert_eq!(left(json!({ "ID": "web", "Namespace": "" })), [8]);
        assert_eq!(left(json!({ "ID": "web", "Namespace": "b" })), [7]);
    }
}
