//! Waits until a gate is met, saying why it is not each time the reason changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::api::{AGENT, Api, Socket};
use super::members::{Members, members};
use super::observe::Observed;
use super::questions::questions;
use super::wait::{Unmet, Waiting};
use super::{Fleet, Options, Outcome, Run};
use crate::model::{Arg, Call, ClusterState, Endpoint, Event, Expected, HostName, StepId, Verdict};
use crate::plan::Seen;
use crate::products::{Answers, Gate, Method, Request};
use crate::raft::{Peer, View, lost_quorum, majority};
use crate::report::Events;
use crate::script::{Nonce, Observation, Script};

/// No election takes so long: with a `raft_multiplier` of 5 followers notice after 10 s at most.
const ELECTION: Duration = Duration::from_secs(15);
/// For the answer of a leader that hands over; Nomad and Consul wait no longer than an election takes.
const HAND_OVER: Duration = Duration::from_secs(15);
/// So long may a member that has just started refuse to tell what it tells later: it gets tokens from a leader.
const REFUSAL: Duration = Duration::from_secs(15);
/// The same of one that is shown a token: what a client was told of rights counts for thirty seconds (`acl.policy_ttl` of Consul).
const REFUSAL_OF_TOKEN: Duration = Duration::from_secs(40);
/// Lines of the journal that explain a gate that was not met.
const JOURNAL_LINES: &str = "20";

/// What a gate that was met said.
pub(crate) struct GateAnswer {
    pub answers: Answers,
}

/// Polls the members' agents until the gate is met, as `judge` has it, or its time is over.
///
/// # Errors
/// It is not met; the event beside it has the last lines of the journal of an agent
/// that does not answer.
pub(crate) async fn wait(
    fleet: &Fleet,
    members: &Members<'_>,
    expected: &Expected,
    judge: fn(Gate, &Expected, &Answers) -> Verdict,
    run: Run<'_>,
) -> Result<GateAnswer, Unmet> {
    let gate = members.gate;
    let judge = |answers: &Answers| judge(gate, expected, answers);
    let waiting = Waiting::new(gate.name().to_owned(), run.options.timeout, run.events, run.stop);
    let (answers, verdict, waiting) = poll(fleet, members, expected, waiting, judge).await;
    match verdict {
        Verdict::Met { detail } => {
            waiting.met(detail);
            Ok(GateAnswer { answers })
        }
        _ if run.stop.requested() => Err(Unmet::Stopped),
        Verdict::NotYet { reason } | Verdict::Refused { reason } => {
            let silent = answers.iter().find(|(_, answer)| answer.is_err()).map(|(host, _)| host);
            let output = match silent.or(expected.asked.first()) {
                Some(host) => journal(fleet, host, members, run.options).await,
                None => String::new(),
            };
            // Waiting longer does not help there.
            let views = gate.views(&answers);
            let is_made = views.values().filter_map(View::peers).any(|peers| !peers.is_empty());
            let lost = lost_quorum(expected, &views).filter(|_| is_made);
            let reason = match lost {
                Some(lost) => format!(
                    "{reason}; {lost}: bring the others back, or where they are lost for good, `bootstrap recover`"
                ),
                None => reason,
            };
            waiting.failed(&reason, output);
            Err(Unmet::Late(format!("{}: {reason}", gate.name())))
        }
    }
}

/// Has the leader hand over to another server, where its product has a way. Whether it was asked; one that keeps leading is
/// followed by an election, as where there is no way.
pub(crate) async fn hand_over(
    fleet: &Fleet,
    members: &Members<'_>,
    leader: &HostName,
    met: &GateAnswer,
    events: &Events,
) -> bool {
    let host = members.hosts.iter().find(|(host, _)| host.host.name == *leader).map(|(host, _)| host);
    let way = met.answers.get(leader).and_then(|answer| members.gate.raft()?.step_down(answer));
    let (Some(host), Some(way)) = (host, way) else { return false };
    let Some(connection) = fleet.connections.get(leader) else { return false };
    let Some(endpoint) = host.endpoint(members.gate.name()) else { return false };
    let header = members.gate.header(endpoint.tokens.operate.as_ref());
    let Some(socket) = Socket::signed(connection, endpoint.port, HAND_OVER, header).await else {
        return false;
    };
    let reason = format!("{leader} hands its leadership over");
    events.send(Event::GateWaiting { gate: members.gate.name().to_owned(), reason });
    let answer = socket.send(AGENT, &Request::new(Method::Post, way, "")).await;
    match answer.and_then(reqwest::Response::error_for_status) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%leader, %error, "it keeps its leadership until it restarts");
            false
        }
    }
}

/// Asks the members until `judge` is content or the waiting is over: what was said last, and what to say of it.
pub(crate) async fn poll<'a>(
    fleet: &Fleet,
    members: &Members<'_>,
    expected: &Expected,
    mut waiting: Waiting<'a>,
    judge: impl Fn(&Answers) -> Verdict,
) -> (Answers, Verdict, Waiting<'a>) {
    let asked = members.hosts.iter().filter_map(|(host, _)| {
        let name = &host.host.name;
        let connection = fleet.connections.get(name).filter(|_| expected.asked.contains(name))?;
        Some((name.clone(), Api::new(connection, members.gate, questions(members.gate, host))))
    });
    let mut apis: Vec<(HostName, Api<'_>)> = asked.collect();
    let patience =
        if members.endpoint().is_some_and(Endpoint::has_tokens) { REFUSAL_OF_TOKEN } else { REFUSAL };
    let mut refused: Option<Instant> = None;
    loop {
        let rounds = apis.iter_mut().map(|(host, api)| async { (host.clone(), api.ask().await) });
        let answers: Answers = join_all(rounds).await.into_iter().collect();
        let verdict = judge(&answers);
        let is_over = match &verdict {
            Verdict::Met { .. } => true,
            Verdict::NotYet { reason } => {
                refused = None;
                !waiting.goes_on(reason).await
            }
            Verdict::Refused { reason } => {
                let since = *refused.get_or_insert_with(Instant::now);
                !waiting.goes_on(reason).await || since.elapsed() > patience
            }
        };
        if is_over {
            return (answers, verdict, waiting);
        }
    }
}

/// Waits for the election after a leader was lost: where a majority of the servers answers, one will lead soon. What the
/// servers say then takes the place of what they said before.
pub(crate) async fn await_election(fleet: &Fleet, run: Run<'_>, observed: &mut Observed) {
    for members in members(run.wanted).iter().filter(|members| members.gate.has_raft()) {
        let gate = members.gate;
        let Some(cluster) = observed.clusters.iter_mut().find(|cluster| cluster.gate == gate) else {
            continue;
        };
        // Who refuses to tell will not tell of the next leader either. An agent that runs and is silent may be busy for a moment.
        let runs = |host: &HostName| {
            let unit = members.unit().map(|unit| format!("unit {unit}"));
            let seen = observed.seen.hosts.get(host).zip(unit);
            seen.is_some_and(|(seen, unit)| seen.observation.of(&unit).text("ActiveState") == Some("active"))
        };
        let may_tell = |answers: &Answers| {
            let views = gate.views(answers);
            let tells = |(host, view): &(&HostName, &View)| match view {
                View::Silent(_) => runs(host),
                View::Refused(_) => false,
                _ => true,
            };
            views.iter().filter(tells).count()
        };
        // Whom the inventory names and nobody knows has no vote.
        let quorum = |answers: &Answers| {
            let views = gate.views(answers);
            let voters = |peers: &[Peer]| peers.iter().filter(|peer| peer.voter).count();
            let known = views.values().filter_map(View::peers).map(voters).max().filter(|known| *known > 0);
            let named = cluster.expected.members.len();
            majority(known.map_or(named, |known| known.min(named)))
        };
        // Its followers name a leader that is gone for a moment longer, and do not name a new one that they have yet to hear from.
        let led = |answers: &Answers| {
            let leader = gate.cluster_state(&cluster.expected, answers).leader;
            let leader = leader.filter(|leader| answers.get(leader).is_some_and(Result::is_ok))?;
            let address = cluster.expected.members.get(&leader);
            let is_it = |peer: &Peer| peer.leader && Some(&peer.address.ip()) == address;
            let follows = |peers: &[Peer]| peers.iter().any(is_it);
            let views = gate.views(answers);
            let following = views.values().filter_map(View::peers).filter(|peers| follows(peers)).count();
            (following >= quorum(answers)).then_some(leader)
        };
        if led(&cluster.answers).is_some() || may_tell(&cluster.answers) < quorum(&cluster.answers) {
            continue;
        }
        let waiting =
            Waiting::new(gate.name().to_owned(), ELECTION.min(run.options.timeout), run.events, run.stop);
        let judge = |answers: &Answers| match led(answers) {
            Some(leader) => Verdict::Met { detail: format!("{leader} leads") },
            None => Verdict::NotYet { reason: "nobody leads: an election may be going on".to_owned() },
        };
        let (answers, _, _) = poll(fleet, members, &cluster.expected, waiting, judge).await;
        let is_ours = |reason: &mut String| reason.starts_with(&format!("{}: ", gate.name()));
        observed.unhealthy.take_if(is_ours);
        let review = gate.review(&cluster.expected, &answers);
        let cluster_state = gate.cluster_state(&cluster.expected, &answers).with_ill(&review);
        if let Some(reason) = review.and(&cluster.cuts).verdict().unmet() {
            observed.unhealthy.get_or_insert(format!("{}: {reason}", gate.name()));
        }
        let before = observed.seen.cluster_states.remove(gate.name()).unwrap_or_default();
        let cluster_state = ClusterState { kept: before.kept, ..cluster_state };
        observed.seen.cluster_states.insert(gate.name().to_owned(), cluster_state);
        cluster.answers = answers;
    }
}

/// The last lines of an agent's journal under a heading.
async fn journal(fleet: &Fleet, host: &HostName, members: &Members<'_>, options: &Options) -> String {
    let connection = fleet.connections.get(host).zip(members.unit());
    let Some((connection, unit)) = connection else { return String::new() };
    let (Ok(name), Ok(lines)) = (Arg::new(unit), Arg::new(JOURNAL_LINES)) else {
        return String::new();
    };
    let probe = (StepId("journal".to_owned()), Call::new("journal_tail", [name, lines]));
    let script = Script::ask(&Nonce::random(), &[probe]);
    let Ok(records) = connection.run(&script, options.timeout, |_| ()).await else { return String::new() };
    let observation = Observation::new(&records);
    let fields = observation.of("journal");
    let Some(text) = fields.text("lines").filter(|text| !text.trim().is_empty()) else {
        return String::new();
    };
    format!("journal of {unit} on {host}:\n{}", text.trim_end())
}

/// All gates once more, with every member, after everything was changed. Who waits for the next `up` to become one is none yet.
pub(crate) async fn verify(fleet: &Fleet, run: Run<'_>, seen: &Seen, outcome: &mut Outcome) {
    let missing: BTreeSet<HostName> = fleet.failures.keys().cloned().collect();
    let asked: BTreeSet<HostName> = fleet.connections.keys().cloned().collect();
    for members in members(run.wanted) {
        let is_one = |host: &HostName| {
            let state = seen.cluster_states.get(members.gate.name());
            let was_one = state.is_some_and(|state| state.known().contains(host));
            run.options.brings.as_ref().is_none_or(|brings| was_one || brings.contains(host))
        };
        let [asked, missing] =
            [&asked, &missing].map(|hosts| hosts.iter().filter(|host| is_one(host)).cloned().collect());
        let mut expected = run.options.as_far_as_brought(members.expected(&seen.addresses, &asked, &missing));
        expected.members.retain(|host, _| is_one(host));
        if expected.asked.is_empty() {
            continue;
        }
        stands(fleet, &members, &expected, run, outcome).await;
        if outcome.unhealthy.is_some() || outcome.stopped {
            return;
        }
    }
}

/// Waits until the gate is met: what stands then, or why it does not, is in `outcome`.
pub(crate) async fn stands(
    fleet: &Fleet,
    members: &Members<'_>,
    expected: &Expected,
    run: Run<'_>,
    outcome: &mut Outcome,
) {
    match wait(fleet, members, expected, Gate::judge, run).await {
        Ok(met) => outcome.notes.extend(members.gate.notes(members.endpoint(), expected, &met.answers)),
        Err(unmet) => unmet.tell(outcome),
    }
}
