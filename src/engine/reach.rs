//! Whether servers reach one another: each host tries its peers in the observe script, and once more when all is done.
//!
//! Where one way between two servers is closed, all agents can be well for as long as the leader is on the right side of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::members::{Members, members};
use super::questions::{bare, questions, with_headers};
use super::wait::{Unmet, Waiting};
use super::{Fleet, Outcome, Run};
use crate::model::{Arg, Call, Expected, HostName, NulInArgument, Problem, ProblemKind, StepId};
use crate::plan::Seen;
use crate::products::{Answers, Gate, Questions};
use crate::roles::WantedHost;
use crate::script::{Nonce, Observation, Script};

/// A server that has just started listens within moments; a way that is closed stays so.
const DEADLINE: Duration = Duration::from_secs(10);

fn id(gate: Gate) -> StepId {
    StepId(format!("{} reach", gate.name()))
}

/// Has a host try the peers that its own server names.
pub(super) fn probe(gate: Gate, wanted: &WantedHost) -> Result<Option<(StepId, Call)>, NulInArgument> {
    let Some(places) = gate.raft().map(|raft| raft.places()) else { return Ok(None) };
    let mut questions = questions(gate, wanted);
    match &mut questions {
        Questions::Plain(questions) => questions.retain(|question| question.path == places.path),
        Questions::Tls(questions) => questions.retain(|question| question.path == places.path),
    }
    if questions.paths().len() != 1 {
        return Ok(None);
    }
    let call = bare(&questions)?.made_by("peers_reach", [Arg::new(places.key)?]);
    Ok(Some((id(gate), with_headers(call, &questions)?)))
}

/// The ways between two living servers that are closed, by the word of the one that tried.
pub(super) fn cuts<'a>(
    gate: Gate,
    expected: &Expected,
    answers: &Answers,
    said: impl Fn(&HostName) -> Option<&'a Observation>,
) -> Vec<Problem> {
    let lives = |host: &HostName| answers.get(host).is_some_and(Result::is_ok);
    let mut problems = Vec::new();
    for (from, own) in expected.members.iter().filter(|(host, _)| lives(host)) {
        let Some(observation) = said(from) else { continue };
        let lost: BTreeSet<SocketAddr> =
            observation.of(&id(gate).0).all("lost").filter_map(|place| place.parse().ok()).collect();
        // Who cannot even reach itself has nothing to try it with.
        if lost.iter().any(|place| place.ip() == *own) {
            continue;
        }
        for (to, address) in expected.members.iter().filter(|(host, _)| lives(host)) {
            let places = lost.iter().filter(|place| place.ip() == *address);
            problems.extend(places.map(|place| Problem {
                host: None,
                about: Some(from.clone()),
                kind: ProblemKind::Cut,
                reason: format!("{from} cannot reach {to} at {place}"),
            }));
        }
    }
    problems
}

/// Tries all ways between the servers of each gate until they are open, or the time is over: why not is in `outcome`.
pub(crate) async fn verify(fleet: &Fleet, run: Run<'_>, seen: &Seen, outcome: &mut Outcome) {
    let asked: BTreeSet<HostName> = fleet.connections.keys().cloned().collect();
    for members in &members(run.wanted) {
        let expected = members.expected(&seen.addresses, &asked, &BTreeSet::new());
        if let Err(unmet) = wait(fleet, members, &expected, run).await {
            unmet.tell(outcome);
        }
    }
}

/// Waits until all servers of a gate that are asked reach one another.
///
/// # Errors
/// They do not, within [`DEADLINE`]: which one does not reach which.
pub(super) async fn wait(
    fleet: &Fleet,
    members: &Members<'_>,
    expected: &Expected,
    run: Run<'_>,
) -> Result<(), Unmet> {
    if !members.gate.has_raft() || expected.asked.len() < 2 {
        return Ok(());
    }
    let name = format!("{} reach one another", members.gate.name());
    let mut waiting = Waiting::new(name, DEADLINE.min(run.options.timeout), run.events, run.stop);
    // Their gate is met: all that are asked live.
    let answers: Answers = expected.asked.iter().map(|host| (host.clone(), Ok(BTreeMap::new()))).collect();
    loop {
        let asking = members.hosts().filter_map(|wanted| {
            let connection = fleet.connections.get(&wanted.host.name)?;
            let probe = probe(members.gate, wanted).ok().flatten()?;
            let script = Script::ask(&Nonce::random(), &[probe]);
            Some(async move {
                let records = connection.run(&script, run.options.script_timeout, |_| ()).await.ok()?;
                Some((wanted.host.name.clone(), Observation::new(&records)))
            })
        });
        let said: BTreeMap<HostName, Observation> = join_all(asking).await.into_iter().flatten().collect();
        let cuts = cuts(members.gate, expected, &answers, |host| said.get(host));
        let Some(first) = cuts.first().map(ToString::to_string) else {
            waiting.met(format!("{} servers", said.len()));
            return Ok(());
        };
        if !waiting.goes_on(&first).await {
            if run.stop.requested() {
                return Err(Unmet::Stopped);
            }
            let reason = waiting.failed(&first, String::new());
            return Err(Unmet::Late(format!("{}: {reason}", members.gate.name())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::products::consul::SERVERS;
    use crate::script::Record;

    fn host(number: u8) -> HostName {
        HostName::parse(format!("node-{number}")).unwrap()
    }

    /// What three servers lost, of which `alive` answer.
    fn found(lost: &[(u8, &str)], alive: &[u8]) -> Vec<String> {
        let address = |number: u8| [10, 77, 0, 10 + number].into();
        let expected = Expected {
            members: (1..=3).map(|number| (host(number), address(number))).collect(),
            asked: (1..=3).map(host).collect(),
            ..Expected::default()
        };
        let answer = |number| match alive.contains(&number) {
            true => (host(number), Ok(BTreeMap::new())),
            false => (host(number), Err("it does not answer".to_owned())),
        };
        let answers = (1..=3).map(answer).collect();
        let observation = |number: u8| {
            let lost = lost.iter().filter(|(from, _)| *from == number);
            let record = |(_, place): &(u8, &str)| Record::Seen {
                id: "consul-servers reach".to_owned(),
                key: "lost".to_owned(),
                value: place.as_bytes().to_vec(),
            };
            (host(number), Observation::new(&lost.map(record).collect::<Vec<_>>()))
        };
        let said: BTreeMap<_, _> = (1..=3).map(observation).collect();
        let cuts = cuts(SERVERS, &expected, &answers, |host| said.get(host));
        cuts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_closed_way_names_both_sides_and_the_port() {
        let one = [(1, "10.77.0.12:8300")];
        assert_eq!(found(&one, &[1, 2, 3]), ["node-1 cannot reach node-2 at 10.77.0.12:8300"]);
        // Whoever does not live is told of elsewhere, and neither tries nor listens.
        for alive in [&[2, 3][..], &[1, 3]] {
            assert_eq!(found(&one, alive), [""; 0]);
        }
        // A host without the means for it reaches nobody, itself included.
        let all = [(1, "10.77.0.11:8300"), (1, "10.77.0.12:8300"), (1, "10.77.0.13:8300")];
        assert_eq!(found(&all, &[1, 2, 3]), [""; 0]);
        // Not a member, and not an address.
        assert_eq!(found(&[(1, "10.77.0.99:8300"), (1, "node-2:8300")], &[1, 2, 3]), [""; 0]);
        let both = [(3, "10.77.0.12:8300"), (2, "10.77.0.13:8300")];
        assert_eq!(
            found(&both, &[1, 2, 3]),
            [
                "node-2 cannot reach node-3 at 10.77.0.13:8300",
                "node-3 cannot reach node-2 at 10.77.0.12:8300"
            ]
        );
    }
}
