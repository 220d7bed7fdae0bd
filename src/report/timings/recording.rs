//! Events -> spans of time: what each host did, what it waited for, when stages and gates were open.

use std::io;
use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::Serialize;

use super::super::text::printable;
use super::page;
use crate::files;
use crate::model::{Event, HostName, HostOutcome, StepOutcome};

/// Listens to a run and writes its page. Times are milliseconds since the run's start.
#[derive(Clone, Debug)]
pub struct Timings {
    began: Timestamp,
    command: String,
    cluster: String,
    /// In the inventory's order.
    hosts: IndexMap<HostName, Lane>,
    /// When every host was observed and the plan made.
    planned: Option<u64>,
    stages: Vec<StageSpan>,
    gates: Vec<GateSpan>,
    warnings: Vec<Warning>,
    last: u64,
    finished: bool,
}

/// What one host did.
#[derive(Clone, Debug, Default)]
struct Lane {
    spans: Vec<Span>,
    result: LaneResult,
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
enum LaneResult {
    /// The run ended before it was told.
    #[default]
    Unknown,
    Unchanged,
    Changed,
    Failed,
}

/// One thing a host did: `kind` is `connect`, `observe`, or that of a step's resource.
#[derive(Clone, Debug, Serialize)]
struct Span {
    kind: String,
    name: String,
    stage: String,
    start: u64,
    end: Option<u64>,
    result: SpanResult,
    /// What a failed one printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum SpanResult {
    Done,
    Failed,
    /// It began, and nothing said that it ended.
    Unfinished,
}

/// A time in which a host did nothing of its own, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Wait {
    start: u64,
    end: u64,
    reason: String,
}

#[derive(Clone, Debug, Serialize)]
struct StageSpan {
    name: String,
    start: u64,
    end: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct GateSpan {
    name: String,
    start: u64,
    end: Option<u64>,
    result: SpanResult,
    /// What it saw when it let the run pass, or the last reason it did not.
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    output: String,
    reasons: Vec<Reason>,
}

#[derive(Clone, Debug, Serialize)]
struct Reason {
    at: u64,
    text: String,
}

#[derive(Clone, Debug, Serialize)]
struct Warning {
    at: u64,
    host: Option<HostName>,
    message: String,
}

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    version: &'static str,
    command: &'a str,
    cluster: &'a str,
    began: String,
    end: u64,
    finished: bool,
    hosts: Vec<HostData<'a>>,
    stages: Vec<StageSpan>,
    gates: Vec<GateSpan>,
    warnings: &'a [Warning],
}

#[derive(Serialize)]
struct HostData<'a> {
    name: &'a HostName,
    result: LaneResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    spans: Vec<Span>,
    waits: Vec<Wait>,
}

impl Timings {
    /// For a run that begins at `began`.
    pub fn new(began: Timestamp) -> Self {
        Self {
            began,
            command: String::new(),
            cluster: String::new(),
            hosts: IndexMap::new(),
            planned: None,
            stages: Vec::new(),
            gates: Vec::new(),
            warnings: Vec::new(),
            last: 0,
            finished: false,
        }
    }

    /// Takes an event that was sent `at` this time after the run's start.
    pub fn record(&mut self, event: &Event, at: Duration) {
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.last = self.last.max(at);
        match event {
            Event::RunStarted { command, cluster, hosts } => {
                (self.command, self.cluster) = (printable(command), printable(cluster));
                self.hosts = hosts.iter().map(|host| (host.clone(), Lane::default())).collect();
            }
            Event::HostConnected { host, elapsed_ms } => {
                let lane = self.lane(host);
                lane.begin("connect", "connect", "observe", at.saturating_sub(*elapsed_ms));
                lane.end(at, SpanResult::Done);
                lane.begin("observe", "observe", "observe", at);
            }
            Event::HostObserved { host, .. } => self.lane(host).end(at, SpanResult::Done),
            Event::PlanReady { .. } => self.planned = Some(at),
            Event::StageStarted { stage, .. } => {
                self.stages.push(StageSpan { name: printable(&stage.0), start: at, end: None });
            }
            Event::StageFinished { .. } => {
                if let Some(stage) = self.stages.last_mut() {
                    stage.end = Some(at);
                }
            }
            // How far a transfer is tells nothing that its end does not.
            Event::TransferProgress { .. } => {}
            Event::TransferFinished { host, file, elapsed_ms, .. } => {
                // What comes to this machine belongs to no host's lane.
                if let Some(host) = host {
                    let stage = self.stages.last().map_or("prepare".to_owned(), |stage| stage.name.clone());
                    let lane = self.lane(host);
                    lane.begin("push", file, &stage, at.saturating_sub(*elapsed_ms));
                    lane.end(at, SpanResult::Done);
                }
            }
            Event::StepStarted { host, stage, step } => {
                let kind = step.0.split(' ').next().unwrap_or_default();
                self.lane(host).begin(kind, &step.0, &stage.0, at);
            }
            Event::StepFinished { host, outcome, .. } => {
                let lane = self.lane(host);
                match outcome {
                    StepOutcome::Changed => lane.end(at, SpanResult::Done),
                    StepOutcome::Failed { output } => {
                        lane.end(at, SpanResult::Failed);
                        if let Some(span) = lane.spans.last_mut() {
                            span.output = printable(output.trim_end());
                        }
                    }
                }
            }
            Event::GateWaiting { gate, reason } => {
                let gate = self.gate(gate, at);
                gate.detail = printable(reason);
                gate.reasons.push(Reason { at, text: printable(reason) });
            }
            Event::GateMet { gate, detail, elapsed_ms } => {
                self.gate_ended(gate, at, *elapsed_ms, SpanResult::Done, detail, "");
            }
            Event::GateFailed { gate, reason, output, elapsed_ms } => {
                self.gate_ended(gate, at, *elapsed_ms, SpanResult::Failed, reason, output);
            }
            Event::HostFailed { host, error } => {
                let planned = self.planned.is_some();
                let lane = self.lane(host);
                if lane.spans.is_empty() && !planned {
                    lane.begin("connect", "connect", "observe", 0);
                }
                // A step that failed has told so itself; anything else in hand ended here.
                lane.end(at, SpanResult::Failed);
                lane.fail(error);
            }
            Event::Warning { host, message } => {
                self.warnings.push(Warning { at, host: host.clone(), message: printable(message) });
            }
            Event::RunFinished { outcome, .. } => {
                self.finished = true;
                for (host, outcome) in outcome {
                    let lane = self.lane(host);
                    match outcome {
                        HostOutcome::Unchanged => lane.result = LaneResult::Unchanged,
                        HostOutcome::Changed { .. } => lane.result = LaneResult::Changed,
                        HostOutcome::Failed { error } => lane.fail(error),
                    }
                }
            }
        }
    }

    /// Puts the page into its place in one rename; `file` is as before when that fails.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        // As private as the run's log: it tells of the same things.
        files::replace(file, self.page().as_bytes(), 0o600)
    }

    /// The whole page.
    pub fn page(&self) -> String {
        page::render(&self.data())
    }

    /// What the page shows, as JSON.
    pub fn data(&self) -> serde_json::Value {
        let open = |end: &mut Option<u64>| *end = Some(end.unwrap_or(self.last));
        let mut stages = self.phases();
        let mut gates = self.gates.clone();
        stages.iter_mut().for_each(|stage| open(&mut stage.end));
        gates.iter_mut().for_each(|gate| open(&mut gate.end));
        let hosts = self.hosts.iter().map(|(name, lane)| {
            let mut spans = lane.spans.clone();
            spans.iter_mut().for_each(|span| open(&mut span.end));
            let waits = self.waits(&spans);
            HostData { name, result: lane.result, error: lane.error.as_deref(), spans, waits }
        });
        let data = Data {
            version: env!("CARGO_PKG_VERSION"),
            command: &self.command,
            cluster: &self.cluster,
            began: self.began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            end: self.last,
            finished: self.finished,
            hosts: hosts.collect(),
            stages,
            gates,
            warnings: &self.warnings,
        };
        // Our own types with string keys: this cannot fail.
        serde_json::to_value(data).unwrap_or_default()
    }

    /// The stages, and what comes before and after them.
    fn phases(&self) -> Vec<StageSpan> {
        let observe = StageSpan { name: "observe".to_owned(), start: 0, end: self.planned };
        let mut phases: Vec<StageSpan> = [observe].into_iter().chain(self.stages.iter().cloned()).collect();
        let end = phases.last().and_then(|stage| stage.end);
        if let Some(start) = end
            && self.gates.iter().any(|gate| gate.start >= start)
        {
            phases.push(StageSpan { name: "verify".to_owned(), start, end: None });
        }
        phases
    }

    fn lane(&mut self, host: &HostName) -> &mut Lane {
        self.hosts.entry(host.clone()).or_default()
    }

    /// The gate that is polled now.
    fn gate(&mut self, name: &str, start: u64) -> &mut GateSpan {
        let name = printable(name);
        let open = self.gates.iter().position(|gate| gate.name == name && gate.end.is_none());
        let index = open.unwrap_or_else(|| {
            let (result, detail, output) = (SpanResult::Unfinished, String::new(), String::new());
            self.gates.push(GateSpan { name, start, end: None, result, detail, output, reasons: Vec::new() });
            self.gates.len() - 1
        });
        &mut self.gates[index]
    }

    fn gate_ended(
        &mut self,
        name: &str,
        at: u64,
        elapsed: u64,
        result: SpanResult,
        detail: &str,
        output: &str,
    ) {
        let start = at.saturating_sub(elapsed);
        let gate = self.gate(name, start);
        gate.start = gate.start.min(start);
        (gate.end, gate.result) = (Some(at), result);
        (gate.detail, gate.output) = (printable(detail), printable(output.trim_end()));
    }

    /// The times between a host's spans, each with what the run was at.
    fn waits(&self, spans: &[Span]) -> Vec<Wait> {
        let mut waits: Vec<Wait> = Vec::new();
        for pair in spans.windows(2) {
            let (from, to) = (pair[0].end.unwrap_or(self.last), pair[1].start);
            // The run was at one thing from one of these moments to the next.
            let stages = self.stages.iter().flat_map(|stage| [Some(stage.start), stage.end]);
            let gates = self.gates.iter().flat_map(|gate| [Some(gate.start), gate.end]);
            let mut cuts: Vec<u64> = stages
                .chain(gates)
                .chain([self.planned])
                .flatten()
                .filter(|at| (from..to).contains(at))
                .collect();
            cuts.extend([from, to]);
            cuts.sort_unstable();
            for cut in cuts.windows(2).filter(|cut| cut[0] < cut[1]) {
                let reason = self.reason(cut[0], &pair[1]);
                match waits.last_mut().filter(|wait| wait.end == cut[0] && wait.reason == reason) {
                    Some(wait) => wait.end = cut[1],
                    None => waits.push(Wait { start: cut[0], end: cut[1], reason }),
                }
            }
        }
        waits
    }

    /// What a host waited for at a moment; `next` is what it did afterwards.
    fn reason(&self, at: u64, next: &Span) -> String {
        let open = |start: u64, end: Option<u64>| start <= at && end.is_none_or(|end| at < end);
        if let Some(gate) = self.gates.iter().find(|gate| open(gate.start, gate.end)) {
            return format!("gate {}", gate.name);
        }
        match self.stages.iter().find(|stage| open(stage.start, stage.end)) {
            Some(stage) if stage.name == next.stage => format!("its session and turn in {}", stage.name),
            Some(stage) => format!("other hosts in {}", stage.name),
            None if self.planned.is_none_or(|planned| at < planned) => {
                "other hosts being observed".to_owned()
            }
            None => "the next stage".to_owned(),
        }
    }
}

impl Lane {
    fn begin(&mut self, kind: &str, name: &str, stage: &str, start: u64) {
        self.spans.push(Span {
            kind: printable(kind),
            name: printable(name),
            stage: printable(stage),
            start,
            end: None,
            result: SpanResult::Unfinished,
            output: String::new(),
        });
    }

    /// Ends what is in hand, if anything is.
    fn end(&mut self, at: u64, result: SpanResult) {
        if let Some(span) = self.spans.last_mut().filter(|span| span.end.is_none()) {
            (span.end, span.result) = (Some(at), result);
        }
    }

    /// The first reason is the one that set the host aside.
    fn fail(&mut self, error: &str) {
        self.result = LaneResult::Failed;
        self.error.get_or_insert_with(|| printable(error.trim_end()));
    }
}
