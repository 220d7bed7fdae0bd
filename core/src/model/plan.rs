//! The types of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::model::{Call, HostName, JobPlan, ProblemKind, Review, RoleName};

/// Everything a run will change, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    pub stages: Vec<Stage>,
    /// What tokens and rights of a product's API are to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<AccessPlan>,
    /// Every job of the inventory, also those that are as Nomad has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobPlan>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.changes_no_host() && self.access.is_empty() && self.changed_jobs().next().is_none()
    }

    /// The jobs that are to be submitted.
    pub fn changed_jobs(&self) -> impl Iterator<Item = &JobPlan> {
        self.jobs.iter().filter(|job| job.is_change())
    }

    /// How many tokens and rights are to be changed.
    pub fn changed_tokens(&self) -> usize {
        self.access.iter().map(|access| access.changes.len()).sum()
    }

    pub fn changes_no_host(&self) -> bool {
        self.stages.iter().all(|stage| stage.batches.iter().all(|batch| batch.steps.is_empty()))
    }

    /// What an operator has to know of, each in the words of its step: what stops, and files of removed roles that are left because
    /// somebody changed them.
    pub fn warnings(&self) -> impl Iterator<Item = (&HostName, &Step)> {
        let is_left = |step: &Step| step.id.0.starts_with("leave file ");
        self.steps().filter(move |(_, step)| step.change.effect == Effect::Stop || is_left(step))
    }

    /// Every step of every host, in order of stages.
    pub fn steps(&self) -> impl Iterator<Item = (&HostName, &Step)> {
        let batches = self.stages.iter().flat_map(|stage| &stage.batches);
        let steps = batches.flat_map(|batch| &batch.steps);
        steps.flat_map(|(host, steps)| steps.iter().map(move |step| (host, step)))
    }

    /// The same with those steps alone that have one of these ids.
    pub fn only(self, ids: &BTreeSet<StepId>) -> Self {
        Self { access: Vec::new(), jobs: Vec::new(), ..self.those(|_, step| ids.contains(&step.id)) }
    }

    /// The same with those steps alone that `take` lets through, in the same order.
    #[must_use]
    pub fn those(mut self, take: impl Fn(&HostName, &Step) -> bool) -> Self {
        for stage in &mut self.stages {
            for batch in &mut stage.batches {
                batch.steps.retain(|host, steps| {
                    steps.retain(|step| take(host, step));
                    !steps.is_empty()
                });
            }
            stage.batches.retain(|batch| !batch.steps.is_empty());
        }
        self.stages.retain(|stage| !stage.batches.is_empty());
        self
    }

    /// How many steps the plan has on each host that it changes.
    pub fn steps_by_host(&self) -> BTreeMap<&HostName, usize> {
        let mut counts = BTreeMap::new();
        for batch in self.stages.iter().flat_map(|stage| &stage.batches) {
            for (host, steps) in &batch.steps {
                *counts.entry(host).or_default() += steps.len();
            }
        }
        counts
    }
}

/// What of the tokens and rights of a product's API differs from what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessPlan {
    /// The gate behind which the servers are that are told.
    pub gate: String,
    /// In the operator's words: what, and why.
    pub changes: Vec<(String, String)>,
}

/// `prepare`, the role that is activated, or what happens to roles that are gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StageName(pub String);

impl StageName {
    const LEAVE: &str = "leave ";

    /// Of the stage in which hosts leave the clusters of roles that they have lost.
    pub fn leaving<'r>(roles: impl IntoIterator<Item = &'r str>) -> Self {
        let roles: Vec<&str> = roles.into_iter().collect();
        Self(format!("{}{}", Self::LEAVE, roles.join(", ")))
    }

    pub fn is_leaving(&self) -> bool {
        self.0.starts_with(Self::LEAVE)
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What may run in parallel; its gate, if any, closes each of its batches.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub name: StageName,
    /// The gate that must be met after each batch, by its name in `role.yaml`.
    pub gate: Option<String>,
    /// Its members are voters of one quorum.
    pub quorum: bool,
    /// One after another; the hosts of one batch run at the same time.
    pub batches: Vec<Batch>,
}

/// What is kept on a host of the files and links that a batch changes there, so that they can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Keep {
    /// As they are now: the host is well with them.
    Now,
    /// As they were when it was last well, where an earlier batch has kept that.
    LastWell,
}

/// Hosts that are changed together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Batch {
    pub steps: BTreeMap<HostName, Vec<Step>>,
}

/// Identifies a step within its host and stage, and names it for people: `file /etc/motd`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(pub String);

impl StepId {
    /// What no plan has: the step that undoes those of a batch that did not prove itself.
    pub const PUT_BACK: &str = "put back";
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One change of one resource on one host.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub id: StepId,
    pub role: RoleName,
    #[serde(flatten)]
    pub change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<Delegation>,
}

impl Step {
    /// Whether a command did something that no kept file takes back.
    pub fn is_command(&self) -> bool {
        self.id.0.starts_with("exec ")
    }
}

/// What a host of some role does for a step of another host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delegation {
    pub role: RoleName,
    pub before: Call,
    /// Runs also when the step has failed.
    pub after: Call,
}

/// Why a resource is not as wanted, what differs, and the calls that mend it.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// In the operator's words: `absent`, `mode 0644, wanted 0640`.
    pub reason: String,
    /// What it does to something that runs.
    pub effect: Effect,
    /// A unified diff of a text file; absent for secret and binary content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// What the apply script runs. Secrets show as `<secret>`.
    pub calls: Vec<Call>,
}

/// What a change does to a running unit; it decides how hosts are batched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing that runs notices.
    #[default]
    Quiet,
    Reload,
    /// Something starts that did not run.
    Start,
    /// Something that serves is interrupted.
    Restart,
    /// The same, and what runs in it stops with it: one host after another, whatever their number.
    Stop,
}

/// What a plan must know of a cluster that may be alive already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// Members of the living cluster that are in the inventory. Empty: nobody leads, so there is no
    /// cluster yet, or it has lost its quorum.
    pub members: BTreeSet<HostName>,
    pub leader: Option<HostName>,
    /// How many voters may fail before quorum is lost, as the product counts it.
    pub failure_tolerance: usize,
    /// Hosts that carry what a member keeps, whether it runs or not.
    pub kept: BTreeSet<HostName>,
    /// Where nobody leads by what was told: servers that answer and refuse to tell. They may be a living cluster.
    pub untold: BTreeSet<HostName>,
    /// Members that are not well, by their own word or that of the others.
    pub ill: BTreeSet<HostName>,
}

impl ClusterState {
    /// Who is a member, by the word of the cluster; where nobody speaks for it, by what lies on the hosts.
    pub fn known(&self) -> &BTreeSet<HostName> {
        if self.members.is_empty() { &self.kept } else { &self.members }
    }

    /// The same with the members that are not well by what was found wrong.
    pub fn with_ill(mut self, review: &Review) -> Self {
        // Of one that only waits for its turn in a rolling change nothing is wrong.
        let wrong = review.problems.iter().filter(|problem| problem.kind != ProblemKind::Behind);
        let about = wrong.filter_map(|problem| problem.about.as_ref());
        self.ill = about.filter(|host| self.members.contains(*host)).cloned().collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_warned_of_what_stops_and_of_what_is_left() {
        let step = |id: &str, effect| Step {
            id: StepId(id.to_owned()),
            role: RoleName::parse("docker").unwrap(),
            change: Change { reason: String::new(), effect, diff: None, calls: Vec::new() },
            help: None,
        };
        let steps = vec![
            step("restore file /etc/docker/daemon.json", Effect::Quiet),
            step("leave file /etc/exports", Effect::Quiet),
            step("leave package docker.io", Effect::Quiet),
            step("unit chrony.service", Effect::Restart),
            step("unit docker.service", Effect::Stop),
        ];
        let batch = Batch { steps: [(HostName::parse("n1").unwrap(), steps)].into() };
        let stage = Stage {
            name: StageName("remove docker".to_owned()),
            gate: None,
            quorum: false,
            batches: vec![batch],
        };
        let plan = Plan { stages: vec![stage], ..Plan::default() };
        let warned: Vec<&str> = plan.warnings().map(|(_, step)| step.id.0.as_str()).collect();
        assert_eq!(warned, ["leave file /etc/exports", "unit docker.service"]);
    }
}
