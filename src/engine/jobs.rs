//! The jobs of the inventory: parsed and planned by Nomad itself, submitted with the index that the plan saw, and waited
//! for. One that the inventory has no more is stopped, if it still is as it was submitted: hosts of servers remember that.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api::Socket;
use super::members::{Members, members};
use super::wait::Waiting;
use super::{EngineError, Fleet, Outcome, Run, elapsed_ms};
use crate::inventory::{Body, Job};
use crate::model::{Action, Arg, Call, Event, HostName, JobPlan, StageName, StepId};
use crate::plan::Seen;
use crate::products::nomad::jobs::{
    Progress, Record, Recorded, Registered, Status, Submitted, TaskProblem, job_plan, later,
};
use crate::products::{Gate, nomad};
use crate::roles::Wanted;
use crate::script::{Nonce, Script};

/// How long one request may take: the scheduler plans before it answers.
const REQUEST: Duration = Duration::from_secs(30);
/// Bytes at the end of a task's log that are read, and lines of them that are shown.
const LOG_BYTES: &str = "4000";
const LOG_LINES: usize = 10;

/// The record of what was submitted, on a server's host.
const RECORD: &str = "jobs";

/// What Nomad says of the jobs before anything is changed.
pub(crate) struct Jobs {
    pub plans: Vec<JobPlan>,
    /// The first job that Nomad has as wanted and that is not well.
    pub unwell: Option<String>,
}

/// A server's API.
struct Nomad {
    host: HostName,
    socket: Socket,
}

/// Has a server's host say what was submitted.
pub(super) fn probe(gate: Gate) -> Option<(StepId, Call)> {
    (gate == nomad::SERVERS).then(|| (StepId(RECORD.to_owned()), Call::new("jobs_read", [])))
}

fn record(seen: &Seen) -> Record {
    Record::newest(seen.hosts.values().filter_map(|state| state.observation.of(RECORD).text("body")))
}

/// Asks a server of the living cluster what submitting each job would do, and what there still is of those that the inventory has
/// no more. Where none leads yet, that is for later.
///
/// # Errors
/// Every job that Nomad cannot parse or plan, in its own words.
pub(crate) async fn plan(fleet: &Fleet, run: Run<'_>, seen: &Seen) -> Result<Jobs, EngineError> {
    let mut jobs = Jobs { plans: Vec::new(), unwell: None };
    let record = record(seen);
    if run.wanted.jobs.is_empty() && record.jobs.is_empty() || !concerns_servers(run) {
        return Ok(jobs);
    }
    let stands = seen.cluster_states.get(nomad::SERVERS.name()).is_some_and(|now| now.leader.is_some());
    let nomad = if stands { Nomad::open(fleet, run.wanted, seen).await } else { None };
    let Some(nomad) = nomad else {
        jobs.plans = run.wanted.jobs.iter().map(later).collect();
        return Ok(jobs);
    };
    let mut errors = Vec::new();
    for job in &run.wanted.jobs {
        match nomad.plan(job).await {
            Ok(plan) => {
                if plan.action == Action::None
                    && let Some(reason) = nomad.trouble(&plan).await
                {
                    jobs.unwell = jobs.unwell.or(Some(format!("job {}: {reason}", plan.name())));
                }
                jobs.plans.push(plan);
            }
            Err(message) => errors.push((job.source.clone(), message)),
        }
    }
    // With a job of which nobody knows its name, none can be said to be one too many.
    if errors.is_empty() {
        for recorded in record.without(&jobs.plans) {
            match nomad.registered(recorded).await {
                Ok(now) => jobs.plans.extend(now.and_then(|now| recorded.removal(&now))),
                Err(message) => errors.push((format!("job {}", recorded.id), message)),
            }
        }
    }
    if errors.is_empty() { Ok(jobs) } else { Err(EngineError::Jobs(errors)) }
}

/// Nomad's servers, where the inventory has some.
fn servers(wanted: &Wanted) -> Option<Members<'_>> {
    members(wanted).into_iter().find(|members| members.gate == nomad::SERVERS)
}

/// With `--limit` and no server among its hosts, jobs are left alone; and always where the run is told so.
fn concerns_servers(run: Run<'_>) -> bool {
    let takes_part = |host: &HostName| run.options.hosts.contains(host);
    !run.options.leaves_jobs
        && servers(run.wanted).is_some_and(|servers| servers.names().iter().any(takes_part))
}

/// Submits what differs and waits until every job is well.
pub(crate) async fn run(
    fleet: &Fleet,
    run: Run<'_>,
    seen: &Seen,
    plans: Vec<JobPlan>,
    outcome: &mut Outcome,
) {
    let started = Instant::now();
    let stage = StageName("jobs".to_owned());
    let Some(nomad) = Nomad::open(fleet, run.wanted, seen).await else {
        outcome.unhealthy =
            Some("jobs: no Nomad server can be asked; does its sshd forbid forwarding?".to_owned());
        return;
    };
    let hosts = vec![nomad.host.clone()];
    run.events.send(Event::StageStarted { stage: stage.clone(), hosts, steps: 0 });
    let mut submitted = Vec::new();
    let failed = |outcome: &mut Outcome, gate: String, reason: String| {
        outcome.unhealthy.get_or_insert(format!("{gate}: {reason}"));
        let elapsed_ms = elapsed_ms(started);
        run.events.send(Event::GateFailed { gate, reason, output: String::new(), elapsed_ms });
    };
    let changes = plans.iter().any(JobPlan::is_change);
    let mut recorded = Record { written: jiff::Timestamp::now().as_millisecond(), jobs: Vec::new() };
    let (removed, wanted): (Vec<JobPlan>, Vec<JobPlan>) =
        plans.into_iter().partition(|plan| matches!(plan.action, Action::Stop | Action::Leave));
    // First: what is wanted may need the room, or a port.
    for plan in removed.into_iter().filter(|plan| plan.action == Action::Stop) {
        match nomad.stop(&plan).await {
            Ok(()) => submitted.push(plan),
            Err(reason) => {
                // The next run tries it again.
                recorded.jobs.extend(Recorded::of(&plan));
                failed(outcome, plan.source.clone(), reason);
            }
        }
    }
    let before = record(seen);
    for (index, plan) in wanted.into_iter().enumerate() {
        let result = match (plan.action, run.wanted.jobs.get(index)) {
            // Then it is so of all, in the order of the inventory.
            (Action::Later, Some(job)) => nomad.plan(job).await,
            _ => Ok(plan.clone()),
        };
        let result = match result {
            Ok(plan) => nomad.submit(&plan).await.map(|index| (plan, index)),
            Err(message) => Err(message),
        };
        match result {
            Ok((plan, index)) => {
                recorded.jobs.extend(Recorded::of(&plan).map(|job| Recorded { index, ..job }));
                submitted.push(plan);
            }
            Err(reason) => {
                let old = Recorded::of(&plan).and_then(|job| before.of(&job));
                recorded.jobs.extend(old);
                failed(outcome, format!("job {}", plan.source), reason);
            }
        }
    }
    if changes {
        remember(fleet, run, &recorded).await;
    }
    for plan in &submitted {
        for message in &plan.warnings {
            let message = format!("job {}: {message}", plan.name());
            run.events.send(Event::Warning { host: None, message });
        }
        if let Err(reason) = nomad.wait(plan, run).await {
            outcome.unhealthy.get_or_insert(format!("job {}: {reason}", plan.name()));
        }
    }
    run.events.send(Event::StageFinished { stage, elapsed_ms: elapsed_ms(started) });
}

/// Has the hosts of all servers know what was submitted. One that cannot be told knows less than another.
async fn remember(fleet: &Fleet, run: Run<'_>, record: &Record) {
    let Ok(text) = Arg::new(record.text()) else { return };
    let names = servers(run.wanted).map(|servers| servers.names()).unwrap_or_default();
    let telling = names.iter().filter_map(|host| Some((host, fleet.connections.get(host)?))).map(
        |(host, connection)| {
            let call = (StepId(RECORD.to_owned()), Call::new("jobs_write", [text.clone()]));
            let script = Script::ask(&Nonce::random(), &[call]);
            async move {
                if let Err(error) = connection.run(&script, run.options.script_timeout, |_| ()).await {
                    let message = format!("it does not remember which jobs were submitted: {error}");
                    run.events.send(Event::Warning { host: Some(host.clone()), message });
                }
            }
        },
    );
    join_all(telling).await;
}

impl Nomad {
    /// The leader's host before others.
    async fn open(fleet: &Fleet, wanted: &Wanted, seen: &Seen) -> Option<Self> {
        let servers = servers(wanted)?;
        let leader = seen.cluster_states.get(nomad::SERVERS.name()).and_then(|now| now.leader.as_ref());
        let mut hosts: Vec<_> = servers.hosts.iter().map(|(host, _)| *host).collect();
        hosts.sort_by_key(|host| Some(&host.host.name) != leader);
        for host in hosts {
            let name = &host.host.name;
            let Some(connection) = fleet.connections.get(name) else { continue };
            let Some(endpoint) = host.endpoint(nomad::SERVERS.name()) else { continue };
            if let Some(socket) = Socket::open(connection, endpoint.port, REQUEST).await {
                return Some(Self { host: name.clone(), socket });
            }
        }
        None
    }

    fn http(&self) -> &Client {
        &self.socket.http
    }

    /// The job as Nomad understands it, and what submitting it would do.
    async fn plan(&self, job: &Job) -> Result<JobPlan, String> {
        let parsed: Value = match &job.body {
            Body::Json(job) => job.clone(),
            Body::Hcl(text) => {
                let request = json!({ "JobHCL": text, "Canonicalize": true });
                let parsed = self.post(url(&["jobs", "parse"], None), &request).await;
                parsed.map_err(|reason| format!("Nomad cannot parse it: {reason}"))?
            }
        };
        let id = parsed["ID"].as_str().ok_or("it has no `ID`")?;
        let address = url(&["job", id, "plan"], parsed["Namespace"].as_str());
        let planned = self.post(address, &json!({ "Job": parsed, "Diff": true })).await;
        let planned = planned.map_err(|reason| format!("Nomad cannot plan it: {reason}"))?;
        Ok(job_plan(job, parsed, &planned))
    }

    /// A job as Nomad has it, if it has one.
    async fn registered(&self, job: &Recorded) -> Result<Option<Registered>, String> {
        match self.get(url(&["job", &job.id], Some(&job.namespace))).await {
            Ok(registered) => Ok(Some(registered)),
            Err(reason) if reason.contains("not found") => Ok(None),
            Err(reason) => Err(format!("Nomad does not say what it is: {reason}")),
        }
    }

    /// It stays in Nomad's history: `nomad job run` of it, or `nomad job revert`, has it back.
    async fn stop(&self, plan: &JobPlan) -> Result<(), String> {
        let Some(job) = Recorded::of(plan) else { return Ok(()) };
        match self.registered(&job).await? {
            Some(now) if now.job_modify_index != job.index => {
                Err("somebody changed it since it was planned; it was not stopped, plan again".to_owned())
            }
            Some(now) if !now.stop => {
                let address = url(&["job", &job.id], Some(&job.namespace));
                let stopped = text(self.http().delete(address).send().await).await;
                stopped.map(drop).map_err(|reason| format!("Nomad does not stop it: {reason}"))
            }
            _ => Ok(()),
        }
    }

    /// The index that the job has then.
    async fn submit(&self, plan: &JobPlan) -> Result<u64, String> {
        let Some(submission) = plan.submission.as_ref() else { return Ok(0) };
        if !plan.is_change() {
            return Ok(submission.index);
        }
        let request = json!({
            "Job": submission.job, "EnforceIndex": true, "JobModifyIndex": submission.index,
        });
        let address = url(&["jobs"], submission.job["Namespace"].as_str());
        match self.post::<Submitted>(address, &request).await {
            Ok(submitted) => Ok(submitted.job_modify_index),
            // Nomad has no code for it.
            Err(reason) if reason.contains("Enforcing job modify index") => Err(format!(
                "somebody changed it since it was planned ({reason}); nothing was submitted, plan again"
            )),
            Err(reason) => Err(format!("Nomad refuses it: {reason}")),
        }
    }

    async fn status(&self, plan: &JobPlan) -> Result<Status, String> {
        let namespace = plan.submission.as_ref().and_then(|submission| submission.job["Namespace"].as_str());
        let of = |part: &'static str| {
            let words = ["job", plan.name(), part];
            url(if part.is_empty() { &words[..2] } else { &words }, namespace)
        };
        Ok(Status {
            job: self.get(of("")).await?,
            evaluations: self.get::<Option<_>>(of("evaluations")).await?.unwrap_or_default(),
            deployment: self.get(of("deployment")).await?,
            allocations: self.get::<Option<_>>(of("allocations")).await?.unwrap_or_default(),
        })
    }

    /// Why a job that should be well is not.
    async fn trouble(&self, plan: &JobPlan) -> Option<String> {
        match self.status(plan).await.map(|status| status.progress()) {
            Ok(Progress::Done(_)) => None,
            Ok(Progress::Waiting(reason) | Progress::Failed(reason)) | Err(reason) => Some(reason),
        }
    }

    async fn wait(&self, plan: &JobPlan, run: Run<'_>) -> Result<(), String> {
        let mut waiting =
            Waiting::new(format!("job {}", plan.name()), run.options.timeout, run.events, run.stop);
        // Of the newest task in trouble. Read at once: a node that is short of space soon removes what has ended.
        let mut words = Ok(String::new());
        let mut told = Vec::new();
        loop {
            let status = self.status(plan).await;
            let troubled = status.as_ref().map_or_else(|_| Vec::new(), Status::troubled);
            if !troubled.is_empty() && (words.is_err() || troubled != told) {
                match self.last_words(&troubled).await {
                    // What was told of one before says more than that there is nothing to hear.
                    Err(_) if words.as_ref().is_ok_and(|words| !words.is_empty()) => {}
                    now => words = now,
                }
                told = troubled;
            }
            let progress = match plan.action {
                Action::Stop => Status::ending,
                _ => Status::progress,
            };
            let (reason, is_hopeless) = match status.as_ref().map(progress) {
                Ok(Progress::Done(detail)) => {
                    waiting.met(detail);
                    return Ok(());
                }
                Ok(Progress::Waiting(reason)) => (reason, false),
                Ok(Progress::Failed(reason)) => (reason, true),
                Err(reason) => (reason.clone(), false),
            };
            if is_hopeless || !waiting.goes_on(&reason).await {
                let (Ok(output) | Err(output)) = words;
                return Err(waiting.failed(&reason, output));
            }
        }
    }

    /// The newest of these tasks that has written a log, with the log's last lines; otherwise why there is none.
    async fn last_words(&self, troubled: &[TaskProblem]) -> Result<String, String> {
        let mut why = "it has written no log".to_owned();
        for trouble in troubled {
            for kind in ["stderr", "stdout"] {
                match self.log(trouble, kind).await {
                    Ok(text) if text.trim().is_empty() => {}
                    Ok(text) => {
                        let lines: Vec<&str> = text.trim_end().lines().collect();
                        let shown = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                        let allocation = trouble.allocation.get(..8).unwrap_or(&trouble.allocation);
                        return Ok(format!(
                            "{}\n{kind} of allocation {allocation}:\n{shown}",
                            trouble.reason
                        ));
                    }
                    Err(reason) => why = format!("its log cannot be read: {reason}"),
                }
            }
        }
        Err(troubled.first().map_or(String::new(), |newest| format!("{}\n{why}", newest.reason)))
    }

    /// The end of what a task has written.
    async fn log(&self, trouble: &TaskProblem, kind: &str) -> Result<String, String> {
        let mut address = url(&["client", "fs", "logs", &trouble.allocation], None);
        address
            .query_pairs_mut()
            .append_pair("task", &trouble.task)
            .append_pair("type", kind)
            .append_pair("plain", "true")
            .append_pair("origin", "end")
            .append_pair("offset", LOG_BYTES);
        text(self.http().get(address).send().await).await
    }

    async fn get<T: DeserializeOwned>(&self, address: Url) -> Result<T, String> {
        answer(self.http().get(address).send().await).await
    }

    async fn post<T: DeserializeOwned>(&self, address: Url, body: &Value) -> Result<T, String> {
        answer(self.http().post(address).json(body).send().await).await
    }
}

/// The answer's JSON, or what Nomad says instead.
async fn answer<T: DeserializeOwned>(response: reqwest::Result<reqwest::Response>) -> Result<T, String> {
    serde_json::from_str(&text(response).await?)
        .map_err(|error| format!("its answer is not understood: {error}"))
}

async fn text(response: reqwest::Result<reqwest::Response>) -> Result<String, String> {
    let silent = |error: reqwest::Error| match error.is_timeout() {
        true => "its server does not answer in time".to_owned(),
        false => "its server does not answer".to_owned(),
    };
    let response = response.map_err(silent)?;
    let status = response.status();
    let body = response.text().await.map_err(silent)?;
    if status.is_success() { Ok(body) } else { Err(body.trim().to_owned()) }
}

/// The name is not looked up: the socket decides where this goes.
fn url(words: &[&str], namespace: Option<&str>) -> Url {
    let mut url = Url::parse("http://localhost/v1").expect("a literal address");
    url.path_segments_mut().expect("http has a path").extend(words);
    if let Some(namespace) = namespace.filter(|name| !name.is_empty()) {
        url.query_pairs_mut().append_pair("namespace", namespace);
    }
    url
}
