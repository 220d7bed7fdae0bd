//! Events -> what is known of the run so far: the state every renderer shows.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;

use crate::model::{Event, HostName, HostOutcome, Plan, StageName, StepId, StepOutcome};

/// The run as the events told it. Times are since the run's start, by the clock of who applies them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub command: String,
    pub cluster: String,
    /// In the inventory's order.
    pub hosts: IndexMap<HostName, HostProgress>,
    /// In the plan's order.
    pub stages: IndexMap<StageName, StageProgress>,
    /// Whether the plan has come.
    pub planned: bool,
    /// What is being downloaded to this machine.
    pub fetching: Option<String>,
    /// The plan's gates.
    pub gate_names: Vec<String>,
    /// How many jobs the plan submits.
    pub jobs: usize,
    /// Changes of tokens that the plan has.
    pub tokens: usize,
    /// The gate that is polled now.
    pub gate: Option<GateProgress>,
    pub gates: Vec<GateResult>,
    /// The slowest host's observation.
    pub observe_ms: u64,
    pub finished: Option<Finished>,
}

#[derive(Debug, Default)]
pub(super) struct HostProgress {
    pub state: HostState,
    /// The stage it works in or has last worked in.
    pub stage: Option<StageName>,
    pub step: Option<StepId>,
    /// Steps that ended well, and steps in the plan, over all stages.
    pub done: usize,
    pub planned: usize,
    /// When its present stage and its present step began, and when it came to rest.
    pub stage_since: Duration,
    pub step_since: Duration,
    pub rest_since: Option<Duration>,
    /// Done steps by resource kind, the first word of a step's name.
    pub kinds: BTreeMap<String, usize>,
    pub failed_step: Option<FailedStep>,
    /// What was done on it was undone.
    pub is_put_back: bool,
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum HostState {
    #[default]
    Connecting,
    Observing,
    /// Between observation and plan, or between two stages.
    Waiting,
    Working,
    /// All of its steps are done.
    Done,
    Unchanged,
    Failed,
}

#[derive(Debug)]
pub(super) struct FailedStep {
    pub stage: StageName,
    pub step: StepId,
    pub output: String,
}

#[derive(Debug, Default)]
pub(super) struct StageProgress {
    /// Steps the plan has for each host, and those that ended well.
    pub planned: BTreeMap<HostName, usize>,
    pub done: BTreeMap<HostName, usize>,
    pub started: Option<Duration>,
    pub elapsed_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) struct GateProgress {
    pub name: String,
    pub reason: String,
    pub since: Duration,
}

#[derive(Debug)]
pub(super) struct GateResult {
    pub name: String,
    /// The stage it closed a batch of; none for a gate that is looked at outside of the stages.
    pub stage: Option<StageName>,
    /// What a failed gate was still waiting for, and the lines that explain it.
    pub failure: Option<(String, String)>,
    pub elapsed_ms: u64,
}

#[derive(Debug)]
pub(super) struct Finished {
    pub stopped: bool,
    pub unwell: Option<String>,
    pub outcome: BTreeMap<HostName, HostOutcome>,
    pub elapsed_ms: u64,
    pub notes: Vec<String>,
}

impl Progress {
    pub fn apply(&mut self, event: &Event, now: Duration) {
        match event {
            Event::RunStarted { command, cluster, hosts } => {
                self.command.clone_from(command);
                self.cluster.clone_from(cluster);
                self.hosts = hosts.iter().map(|host| (host.clone(), HostProgress::default())).collect();
            }
            Event::HostConnected { host, .. } => self.host(host).state = HostState::Observing,
            Event::HostObserved { host, elapsed_ms } => {
                self.observe_ms = self.observe_ms.max(*elapsed_ms);
                self.host(host).rest(HostState::Waiting, now);
            }
            Event::PlanReady { plan } => self.plan(plan, now),
            Event::TransferProgress { host: None, file, bytes, total } => {
                self.fetching = Some(format!("fetching {file} {}", part(*bytes, *total)));
            }
            Event::TransferFinished { host: None, .. } => self.fetching = None,
            Event::TransferProgress { host: Some(host), file, bytes, total } => {
                let host = self.host(host);
                host.state = HostState::Working;
                host.step = Some(StepId(format!("push {file} {}", part(*bytes, *total))));
                host.rest_since = None;
            }
            Event::TransferFinished { host: Some(host), .. } => self.host(host).rest(HostState::Waiting, now),
            Event::StageStarted { stage, .. } => {
                self.stages.entry(stage.clone()).or_default().started = Some(now);
            }
            Event::StepStarted { host, stage, step } => {
                self.gate = None;
                self.host(host).begin(stage, step, now);
            }
            Event::StepFinished { host, stage, step, outcome, .. } => {
                self.step(host, stage, step, outcome, now)
            }
            Event::StageFinished { stage, elapsed_ms } => {
                self.gate = None;
                self.stages.entry(stage.clone()).or_default().elapsed_ms = Some(*elapsed_ms);
            }
            Event::GateWaiting { gate, reason } => {
                let since =
                    self.gate.as_ref().filter(|known| known.name == *gate).map_or(now, |known| known.since);
                self.gate = Some(GateProgress { name: gate.clone(), reason: reason.clone(), since });
            }
            Event::GateMet { gate, elapsed_ms, .. } => self.gate_ended(gate, None, *elapsed_ms),
            Event::GateFailed { gate, reason, output, elapsed_ms } => {
                self.gate_ended(gate, Some((reason.clone(), output.clone())), *elapsed_ms);
            }
            Event::Warning { .. } => {}
            Event::HostFailed { host, error } => {
                let host = self.host(host);
                host.rest(HostState::Failed, now);
                host.error = Some(error.clone());
            }
            Event::RunFinished { stopped, unwell, outcome, elapsed_ms, notes } => {
                self.gate = None;
                for (host, outcome) in outcome {
                    self.host(host).end(outcome, now);
                }
                let (outcome, notes) = (outcome.clone(), notes.clone());
                let (stopped, unwell, elapsed_ms) = (*stopped, unwell.clone(), *elapsed_ms);
                self.finished = Some(Finished { stopped, unwell, outcome, elapsed_ms, notes });
            }
        }
    }

    fn host(&mut self, name: &HostName) -> &mut HostProgress {
        self.hosts.entry(name.clone()).or_default()
    }

    fn plan(&mut self, plan: &Plan, now: Duration) {
        self.planned = true;
        self.jobs = plan.changed_jobs().count();
        self.tokens = plan.changed_tokens();
        self.gate_names.extend(plan.jobs.iter().map(|job| format!("job {}", job.name())));
        for stage in &plan.stages {
            self.gate_names.extend(stage.gate.clone());
            let known = self.stages.entry(stage.name.clone()).or_default();
            for (host, steps) in stage.batches.iter().flat_map(|batch| &batch.steps) {
                *known.planned.entry(host.clone()).or_default() += steps.len();
            }
        }
        for (name, steps) in plan.steps_by_host() {
            self.host(name).planned = steps;
        }
        for host in
            self.hosts.values_mut().filter(|host| host.state != HostState::Failed && host.planned == 0)
        {
            host.rest(HostState::Unchanged, now);
        }
    }

    fn step(
        &mut self,
        name: &HostName,
        stage: &StageName,
        step: &StepId,
        outcome: &StepOutcome,
        now: Duration,
    ) {
        if step.0 == StepId::PUT_BACK {
            // The step that failed before it is what counts.
            let host = self.host(name);
            host.is_put_back = *outcome == StepOutcome::Changed;
            return host.rest(HostState::Failed, now);
        }
        let stage_progress = self.stages.entry(stage.clone()).or_default();
        if *outcome == StepOutcome::Changed {
            *stage_progress.done.entry(name.clone()).or_default() += 1;
        }
        let stage_over = stage_progress.done.get(name) >= stage_progress.planned.get(name);
        let host = self.host(name);
        host.stage = Some(stage.clone());
        match outcome {
            StepOutcome::Changed => {
                host.done += 1;
                host.planned = host.planned.max(host.done);
                let kind = step.0.split(' ').next().unwrap_or_default().to_owned();
                *host.kinds.entry(kind).or_default() += 1;
                if host.done == host.planned {
                    host.rest(HostState::Done, now);
                } else if stage_over {
                    host.rest(HostState::Waiting, now);
                }
            }
            StepOutcome::Failed { output } => {
                host.rest(HostState::Failed, now);
                host.step = Some(step.clone());
                host.failed_step =
                    Some(FailedStep { stage: stage.clone(), step: step.clone(), output: output.clone() });
            }
        }
    }

    fn gate_ended(&mut self, name: &str, failure: Option<(String, String)>, elapsed_ms: u64) {
        self.gate = None;
        let stage = self.current_stage().map(|(_, stage, _)| stage.clone());
        self.gates.push(GateResult { name: name.to_owned(), stage, failure, elapsed_ms });
    }

    /// The stage that runs now, with its place in the plan, counted from 1.
    pub fn current_stage(&self) -> Option<(usize, &StageName, &StageProgress)> {
        let mut stages = self.stages.iter().enumerate();
        stages
            .rfind(|(_, (_, stage))| stage.started.is_some() && stage.elapsed_ms.is_none())
            .map(|(index, (name, stage))| (index + 1, name, stage))
    }
}

/// `42%`, or the size so far.
fn part(bytes: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => format!("{}%", bytes * 100 / total),
        _ => indicatif::DecimalBytes(bytes).to_string(),
    }
}

impl StageProgress {
    /// Steps that ended well, of all steps.
    pub fn steps(&self) -> (usize, usize) {
        let done = self.done.values().sum();
        (done, self.planned.values().sum::<usize>().max(done))
    }

    /// For how long it has run, or had run when it ended; none before it began.
    pub fn elapsed(&self, now: Duration) -> Option<Duration> {
        let running = self.started.map(|started| now.saturating_sub(started));
        self.elapsed_ms.map(Duration::from_millis).or(running)
    }

    /// Hosts whose steps all ended well, of all hosts.
    pub fn hosts(&self) -> (usize, usize) {
        (
            self.planned.iter().filter(|(host, steps)| self.done.get(*host) >= Some(steps)).count(),
            self.planned.len(),
        )
    }
}

impl HostProgress {
    fn begin(&mut self, stage: &StageName, step: &StepId, now: Duration) {
        if self.stage.as_ref() != Some(stage) || self.rest_since.is_some() {
            self.stage_since = now;
        }
        self.stage = Some(stage.clone());
        self.step = Some(step.clone());
        self.step_since = now;
        self.rest_since = None;
        self.state = HostState::Working;
    }

    fn rest(&mut self, state: HostState, now: Duration) {
        self.state = state;
        self.step = None;
        self.rest_since.get_or_insert(now);
    }

    fn end(&mut self, outcome: &HostOutcome, now: Duration) {
        match outcome {
            HostOutcome::Unchanged => self.rest(HostState::Unchanged, now),
            HostOutcome::Changed { .. } => self.rest(HostState::Done, now),
            HostOutcome::Failed { error } => {
                self.rest(HostState::Failed, now);
                self.error.get_or_insert_with(|| error.clone());
            }
        }
    }

    /// How long it has worked, or had worked when it came to rest, in its present stage.
    pub fn elapsed(&self, now: Duration) -> Duration {
        self.rest_since.unwrap_or(now).saturating_sub(self.stage_since)
    }
}
