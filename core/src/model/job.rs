//! What a run would do about a job of the inventory.

use serde::Serialize;
use serde_json::Value;

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
    /// The inventory has it no more.
    Stop,
    /// Nor has the inventory this one, but somebody has changed it since: nobody asks for it any more, and it goes on.
    Leave,
}

impl JobPlan {
    pub fn is_change(&self) -> bool {
        self.action != Action::None
    }

    /// How messages name it.
    pub fn name(&self) -> &str {
        self.job.as_deref().unwrap_or(&self.source)
    }
}
