//! Waits until a gate is met, saying why it is not each time the reason changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::api::Api;
use super::members::{Members, members};
use super::observe::questions;
use super::{Fleet, Options, Outcome, Stop, elapsed_ms};
use crate::cluster::{Answers, Expected, Gate, Verdict};
use crate::inventory::HostName;
use crate::plan::{Seen, StepId};
use crate::report::{Event, Events};
use crate::roles::Wanted;
use crate::script::{Arg, Call, Nonce, Observation, Script};

/// First pause between two rounds; it grows to [`LONGEST_PAUSE`]. A leader is elected within 1.5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Lines of the journal that explain a gate that was not met.
const JOURNAL_LINES: &str = "20";

/// What a gate that was met said.
pub(super) struct Met {
    pub answers: Answers,
}

/// Polls the members' agents until the gate is met or its time is over.
///
/// # Errors
/// The gate and the last reason; the event beside it has the last lines of the journal of an agent
/// that does not answer.
pub(super) async fn wait(
    fleet: &Fleet,
    members: &Members<'_>,
    expected: &Expected,
    options: &Options,
    events: &Events,
    stop: &Stop,
) -> Result<Met, String> {
    let started = Instant::now();
    let gate = members.gate;
    let mut apis: Vec<(HostName, Api)> = Vec::new();
    for (host, _) in &members.hosts {
        let name = &host.host.name;
        if let Some(connection) = fleet.connections.get(name).filter(|_| expected.asked.contains(name)) {
            apis.push((name.clone(), Api::new(connection, gate, questions(gate, host))));
        }
    }
    let mut pause = FIRST_PAUSE;
    let mut last = String::new();
    loop {
        let rounds = apis.iter_mut().map(|(host, api)| async { (host.clone(), api.ask().await) });
        let answers: Answers = join_all(rounds).await.into_iter().collect();
        let reason = match gate.judge(expected, &answers) {
            Verdict::Met { detail } => {
                let gate = gate.name().to_owned();
                events.send(Event::GateMet { gate, detail, elapsed_ms: elapsed_ms(started) });
                return Ok(Met { answers });
            }
            Verdict::NotYet { reason } => reason,
        };
        if reason != last {
            events.send(Event::GateWaiting { gate: gate.name().to_owned(), reason: reason.clone() });
            last = reason;
            pause = FIRST_PAUSE;
        }
        let over = started.elapsed() + pause > options.timeout;
        if over || stop.requested() {
            let why = if over { format!(" after {}s", options.timeout.as_secs()) } else { String::new() };
            let silent = answers.iter().find(|(_, answer)| answer.is_err()).map(|(host, _)| host);
            let output = match silent.or(expected.asked.first()) {
                Some(host) => journal(fleet, host, gate, options).await,
                None => String::new(),
            };
            events.send(Event::GateFailed {
                gate: gate.name().to_owned(),
                reason: format!("{last}{why}"),
                output,
                elapsed_ms: elapsed_ms(started),
            });
            return Err(format!("{}: {last}", gate.name()));
        }
        tokio::time::sleep(pause).await;
        // In proportion to what has passed: what is soon there is soon seen, and what takes long is not
        // asked often. Autopilot looks every 2 s, and doubling would see it up to a second later.
        pause = (started.elapsed() / 8).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }
}

/// The last lines of an agent's journal under a heading.
async fn journal(fleet: &Fleet, host: &HostName, gate: Gate, options: &Options) -> String {
    let Some(connection) = fleet.connections.get(host) else { return String::new() };
    let (Ok(unit), Ok(lines)) = (Arg::new(gate.unit()), Arg::new(JOURNAL_LINES)) else {
        return String::new();
    };
    let probe = (StepId("journal".to_owned()), Call::new("journal_tail", [unit, lines]));
    let script = Script::ask(&Nonce::random(), &[probe]);
    let Ok(records) = connection.run(&script, options.timeout, |_| ()).await else { return String::new() };
    let observation = Observation::new(&records);
    let fields = observation.of("journal");
    let Some(text) = fields.text("lines").filter(|text| !text.trim().is_empty()) else {
        return String::new();
    };
    format!("journal of {} on {host}:\n{}", gate.unit(), text.trim_end())
}

/// All gates once more, with every member, after everything was changed.
pub(super) async fn verify(
    fleet: &Fleet,
    wanted: &Wanted,
    seen: &Seen,
    options: &Options,
    events: &Events,
    stop: &Stop,
    outcome: &mut Outcome,
) {
    let missing: BTreeSet<HostName> = fleet.failures.keys().cloned().collect();
    let asked: BTreeSet<HostName> = fleet.connections.keys().cloned().collect();
    for members in members(wanted) {
        let expected = members.expected(&seen.addresses, &asked, &missing);
        if expected.asked.is_empty() {
            continue;
        }
        match wait(fleet, &members, &expected, options, events, stop).await {
            Ok(met) => outcome.notes.extend(members.gate.notes(&expected, &met.answers)),
            Err(reason) => {
                outcome.unhealthy = Some(reason);
                return;
            }
        }
    }
}
