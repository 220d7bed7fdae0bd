//! Real uses of what the roles set up: judged from the observe script, and asked after changes until they are right.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::wait::Waiting;
use super::{Fleet, Options, Run};
use crate::model::{HostName, StepId};
use crate::plan::Seen;
use crate::roles::{Proof, UseResult, Wanted};
use crate::script::{Nonce, Observation, Script};
use crate::ssh::Connection;

/// The uses of one role on one host.
struct Asked<'w> {
    host: &'w HostName,
    proofs: Vec<(StepId, &'w Proof)>,
}

impl Asked<'_> {
    /// The first that is not right, named with its host.
    fn wrong(&self, said: &Observation) -> Option<String> {
        self.all_wrong(said).next().map(|reason| format!("{}: {reason}", self.host))
    }

    fn all_wrong(&self, said: &Observation) -> impl Iterator<Item = String> {
        self.proofs.iter().filter_map(|(id, proof)| match proof.judge(&said.of(&id.0)) {
            UseResult::Wrong(reason) => Some(reason),
            UseResult::Right | UseResult::NotAsked => None,
        })
    }
}

/// By role in order of activation, for the hosts that `take` lets through.
fn asked<'w>(
    wanted: &'w Wanted,
    take: impl Fn(&HostName, &StepId, &Proof) -> bool,
) -> Vec<(&'w str, Vec<Asked<'w>>)> {
    let of_role = |name: &'w str| {
        let of_host = wanted.hosts.iter().filter_map(|host| {
            let role = host.roles.iter().find(|role| role.name.as_str() == name)?;
            let host = &host.host.name;
            let proofs = role.proofs.iter().map(|wanted| (wanted.proof.id(name), &wanted.proof));
            let proofs: Vec<_> = proofs.filter(|(id, proof)| take(host, id, proof)).collect();
            (!proofs.is_empty()).then_some(Asked { host, proofs })
        });
        (name, of_host.collect::<Vec<_>>())
    };
    let roles = wanted.order.iter().map(|name| of_role(name.as_str()));
    roles.filter(|(_, hosts)| !hosts.is_empty()).collect()
}

/// The first use that the observe script found wrong on a host that had been set up.
pub(crate) fn unproven(wanted: &Wanted, seen: &Seen) -> Option<String> {
    let here = |host: &HostName, _: &StepId, proof: &Proof| seen.hosts.contains_key(host) && !proof.as_before;
    asked(wanted, here).into_iter().find_map(|(role, hosts)| {
        let wrong = hosts.iter().find_map(|asked| asked.wrong(&seen.hosts[asked.host].observation))?;
        Some(format!("{role}: {wrong}"))
    })
}

/// Every use that is wrong on a host that was set up: those that the observe script asked, and in one more session
/// those that it leaves out because they take long.
pub(crate) async fn all_wrong(fleet: &Fleet, run: Run<'_>, seen: &Seen) -> Vec<(HostName, String)> {
    let here = |host: &HostName, _: &StepId, proof: &Proof| seen.hosts.contains_key(host) && !proof.as_before;
    let told = asked(run.wanted, here).into_iter().flat_map(|(role, hosts)| {
        let of_host = hosts.into_iter().flat_map(move |asked| {
            let reasons: Vec<_> = asked.all_wrong(&seen.hosts[asked.host].observation).collect();
            let (role, host) = (role.to_owned(), asked.host.clone());
            reasons.into_iter().map(move |reason| (host.clone(), format!("{role}: {reason}")))
        });
        of_host.collect::<Vec<_>>()
    });
    let mut wrong: Vec<(HostName, String)> = told.collect();
    let late = |host: &HostName, _: &StepId, proof: &Proof| {
        fleet.connections.contains_key(host) && proof.after_changes && !proof.as_before
    };
    for (role, hosts) in asked(run.wanted, late) {
        let asking = hosts.iter().filter_map(|asked| {
            let connection = fleet.connections.get(asked.host)?;
            Some(async move {
                let reasons = match answer(connection, asked, run.options, None).await {
                    Ok(said) => asked.all_wrong(&said).collect(),
                    Err(reason) => vec![reason],
                };
                let named = |reason| (asked.host.clone(), format!("{role}: {reason}"));
                reasons.into_iter().map(named).collect::<Vec<_>>()
            })
        });
        wrong.extend(join_all(asking).await.into_iter().flatten());
    }
    wrong
}

/// Asks all hosts that take part until everything is right or the time is over: one session a round for each host
/// that is not right yet.
///
/// # Errors
/// The role and the first thing that is not right.
pub(crate) async fn verify(fleet: &Fleet, run: Run<'_>, seen: &Seen) -> Result<(), String> {
    let take = |host: &HostName, id: &StepId, proof: &Proof| {
        let before = seen.hosts.get(host).map(|seen| proof.judge(&seen.observation.of(&id.0)));
        let skip = proof.as_before && !matches!(before, Some(UseResult::Right));
        // Of what is not as wanted yet, nothing need work as wanted.
        let is_changed = run.options.brings.as_ref().is_none_or(|brings| brings.contains(host));
        fleet.connections.contains_key(host) && is_changed && !skip
    };
    for (role, hosts) in asked(run.wanted, take) {
        wait(fleet, role, &hosts, run, seen).await?;
    }
    Ok(())
}

async fn wait(
    fleet: &Fleet,
    role: &str,
    hosts: &[Asked<'_>],
    run: Run<'_>,
    seen: &Seen,
) -> Result<(), String> {
    let mut waiting = Waiting::new(format!("{role} in use"), run.options.timeout, run.events, run.stop);
    let mut left: BTreeSet<usize> = (0..hosts.len()).collect();
    loop {
        let asking = left.iter().filter_map(|at| {
            let asked = &hosts[*at];
            let connection = fleet.connections.get(asked.host)?;
            Some(async move { (*at, ask(connection, asked, run.options, seen).await) })
        });
        let wrong: BTreeMap<usize, String> =
            join_all(asking).await.into_iter().filter_map(|(at, answer)| Some((at, answer.err()?))).collect();
        left = wrong.keys().copied().collect();
        let Some(reason) = wrong.into_values().next() else {
            let (uses, count) = (hosts.iter().map(|asked| asked.proofs.len()).sum::<usize>(), hosts.len());
            let plural = if count == 1 { "host" } else { "hosts" };
            waiting.met(format!("{uses} uses on {count} {plural}"));
            return Ok(());
        };
        if !waiting.goes_on(&reason).await {
            waiting.failed(&reason, String::new());
            return Err(format!("{role}: {reason}"));
        }
    }
}

/// One session: the first thing that is not right.
async fn ask(
    connection: &Connection,
    asked: &Asked<'_>,
    options: &Options,
    seen: &Seen,
) -> Result<(), String> {
    let said = answer(connection, asked, options, Some(seen)).await;
    asked.wrong(&said.map_err(|reason| format!("{}: {reason}", asked.host))?).map_or(Ok(()), Err)
}

async fn answer(
    connection: &Connection,
    asked: &Asked<'_>,
    options: &Options,
    before: Option<&Seen>,
) -> Result<Observation, String> {
    let known = before.and_then(|seen| seen.hosts.get(asked.host));
    let probes = asked.proofs.iter().map(|(id, proof)| {
        let known = known.and_then(|seen| seen.observation.of(&id.0).text("outside"));
        Ok((id.clone(), proof.probe(before.is_some(), known)?))
    });
    let probes: Result<Vec<_>, crate::model::NulInArgument> = probes.collect();
    let script = Script::ask(&Nonce::random(), &probes.map_err(|error| error.to_string())?);
    let records =
        connection.run(&script, options.timeout, |_| ()).await.map_err(|error| error.to_string())?;
    Ok(Observation::new(&records))
}
