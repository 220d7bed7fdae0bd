//! A drill of an application: each thing that can happen to it is done on purpose, under a client that writes, and put back.
//!
//! The client runs on a host that is not touched, as a unit of its own, so that no trouble between this machine and the hosts is
//! counted as the application's. What is done to a host is noted there before, and the host puts it back by itself after a while,
//! whatever becomes of the drill; the next run does so at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::sleep;

use super::change::{Decision, Operation};
use super::drill::{HEALTH, Power};
use super::observed_hosts::ObservedHosts;
use crate::engine::observe::Releases;
use crate::engine::wait::Waiting;
use crate::engine::{EngineError, Outcome, Run, Stop, elapsed_ms};
use crate::model::{Check, Event, Finding, HostName, RoleName, StageName, StepId, StepOutcome};
use crate::roles::{AppDrill, Kill, KilledBy, Wanted};

const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// The client writes for so long before anything is done, and after it writes again.
const CALM: Duration = Duration::from_secs(3);
/// A fault that lasts is put back after this time at the latest, as is one after which nobody serves.
const LONGEST: Duration = Duration::from_secs(90);
/// The host itself puts it back then.
const PUT_BACK_AFTER: &str = "240";

/// What happens to a host that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// What it killed comes back by itself.
    Kill(Kill),
    /// The agent that it depends on is stopped: this unit.
    Agent(String),
    Power,
    /// Nothing reaches the other hosts, and nothing of theirs comes.
    Network,
    /// What it sends is lost; it still hears the others.
    OneWay,
}

/// An application that is drilled, and what came of it.
pub struct AppDriller<'a> {
    pub app: RoleName,
    /// Only those of these names; empty: all.
    pub faults: Vec<String>,
    /// How a host's power is cut, where there is a way.
    pub power: Option<Power<'a>>,
    pub drilled: Option<AppDrillReport>,
}

/// What clients saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AppDrillReport {
    pub app: String,
    pub faults: Vec<FaultReport>,
}

/// What clients saw of one fault. Times are milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FaultReport {
    pub fault: String,
    /// What it was done to, and where the client was.
    pub host: String,
    pub client: String,
    /// Since the fault, who serves: each change.
    pub serves: Vec<Serving>,
    pub acknowledged: usize,
    pub failed: usize,
    /// The longest time between two writes that were acknowledged, around the fault.
    pub gap_ms: u64,
    /// Acknowledged, and not there afterwards.
    pub lost: Vec<String>,
    /// From when it was put back until everything was well.
    pub well_ms: u64,
    /// Why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_tried: Option<String>,
}

/// Who serves from a time on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Serving {
    pub since_ms: u64,
    pub hosts: Vec<String>,
}

/// One line of the client.
#[derive(Debug, PartialEq, Eq)]
struct Try<'t> {
    at_ms: u64,
    /// `None`: it was not acknowledged.
    id: Option<&'t str>,
}

impl Operation for AppDriller<'_> {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        observed_hosts.await_election(run).await;
        let drill = self.of_role(run.wanted)?;
        let faults = self.chosen(&drill)?;
        if let Some(reason) = &observed_hosts.observed.unhealthy {
            return Err(self.refuse(format!("not everything is well already: {reason}"), HEALTH));
        }
        if let Some(missed) = observed_hosts.fleet.failures.keys().next() {
            return Err(self.refuse(format!("{missed} cannot be reached, and one is enough"), HEALTH));
        }
        if self.servers(run.wanted, &drill).len() < 2 {
            return Err(self.refuse("one host alone has it, and no other could serve".to_owned(), HEALTH));
        }
        let names: Vec<&str> = faults.iter().map(|(name, _)| name.as_str()).collect();
        let question = format!(
            "In cluster `{}` this is done to `{}`, one after the other: {}. Its clients will notice.",
            run.wanted.cluster,
            self.app,
            names.join(", ")
        );
        Ok(Some(Decision { changes_hosts: true, question: Some(question) }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let drill = self.of_role(run.wanted)?;
        observed_hosts.hold(run).await.map_err(|reason| self.refuse(reason, HEALTH))?;
        let mut report = AppDrillReport { app: self.app.to_string(), faults: Vec::new() };
        for (name, fault) in self.chosen(&drill)? {
            if run.stop.requested() {
                outcome.stopped = true;
                break;
            }
            if fault == Fault::Power && self.power.is_none() {
                let reason = "there is no way to cut a host's power: `--power` does it on lab hosts";
                report.faults.push(FaultReport {
                    fault: name,
                    not_tried: Some(reason.to_owned()),
                    ..FaultReport::default()
                });
                continue;
            }
            let began = Instant::now();
            let stage = StageName(name.clone());
            run.events.send(Event::StageStarted { stage: stage.clone(), hosts: Vec::new(), steps: 1 });
            let seen = self.one(observed_hosts, run, &drill, &name, &fault).await;
            run.events.send(Event::StageFinished { stage, elapsed_ms: elapsed_ms(began) });
            match seen {
                Ok(seen) => report.faults.push(seen),
                Err(reason) => {
                    self.drilled = Some(report);
                    return Err(self.refuse(format!("{name}: {reason}"), HEALTH));
                }
            }
        }
        self.drilled = Some(report);
        Ok(())
    }
}

impl AppDriller<'_> {
    fn refuse(&self, reason: String, remedy: &str) -> EngineError {
        let reason = format!("{}: {reason}", self.app);
        EngineError::Unfit(vec![Finding::error(Check::Quorum, Vec::new(), reason, remedy.to_owned())])
    }

    /// Who may serve.
    fn servers<'w>(&self, wanted: &'w Wanted, drill: &AppDrill) -> Vec<&'w HostName> {
        let Some(names) = &drill.hosts else { return self.hosts(wanted) };
        let all = wanted.hosts.iter().map(|host| &host.host.name);
        all.filter(|host| names.iter().any(|name| name == host.as_str())).collect()
    }

    /// Who has the role: whom the application is asked of, and where its client may be.
    fn hosts<'w>(&self, wanted: &'w Wanted) -> Vec<&'w HostName> {
        let has = |host: &&crate::roles::WantedHost| host.roles.iter().any(|role| role.name == self.app);
        wanted.hosts.iter().filter(has).map(|host| &host.host.name).collect()
    }

    fn of_role(&self, wanted: &Wanted) -> Result<AppDrill, EngineError> {
        let mut roles = wanted.hosts.iter().flat_map(|host| &host.roles);
        if let Some(drill) = roles.find(|role| role.name == self.app).and_then(|role| role.drill.clone()) {
            return Ok(drill);
        }
        let drilled = wanted.hosts.iter().flat_map(|host| &host.roles).filter(|role| role.drill.is_some());
        let names: BTreeSet<&str> = drilled.map(|role| role.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let remedy = match names.as_slice() {
            [] => "none of the inventory's roles says how; the key `drill` of a role does: docs/writing-a-role.md".to_owned(),
            names => format!("those that can be: {}", names.join(", ")),
        };
        Err(self.refuse("the inventory has no such application that can be drilled".to_owned(), &remedy))
    }

    /// What is done, in its order, by name.
    fn chosen(&self, drill: &AppDrill) -> Result<Vec<(String, Fault)>, EngineError> {
        let kills = drill.kills.iter().map(|kill| (kill.name.clone(), Fault::Kill(kill.clone())));
        let agent = drill.agent.iter().map(|unit| ("agent stopped".to_owned(), Fault::Agent(unit.clone())));
        let others = [
            ("power cut", Fault::Power),
            ("network cut", Fault::Network),
            ("network cut one way", Fault::OneWay),
        ];
        let others = others.into_iter().map(|(name, fault)| (name.to_owned(), fault));
        let all: Vec<(String, Fault)> = kills.chain(agent).chain(others).collect();
        let known = |name: &String| all.iter().any(|(known, _)| known == name);
        if let Some(unknown) = self.faults.iter().find(|name| !known(name)) {
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            return Err(self.refuse(
                format!("`{unknown}` is none of what can be done to it"),
                &format!("it can be: {}", names.join(", ")),
            ));
        }
        let is_chosen = |(name, _): &(String, Fault)| self.faults.is_empty() || self.faults.contains(name);
        Ok(all.into_iter().filter(is_chosen).collect())
    }

    /// Does one thing, from a calm to the next.
    async fn one(
        &self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        drill: &AppDrill,
        name: &str,
        fault: &Fault,
    ) -> Result<FaultReport, String> {
        let hosts = self.hosts(run.wanted);
        let first = hosts.first().ok_or("no host has it")?;
        let serving = observed_hosts.output(first, &drill.serves).await?;
        let servers = self.servers(run.wanted, drill);
        let victim = serving.lines().find_map(|line| servers.iter().find(|host| host.as_str() == line));
        let victim = (*victim.ok_or_else(|| format!("none of its hosts serves: {serving}"))?).clone();
        let Some(client) = hosts.iter().find(|host| ***host != victim) else {
            let reason = format!(
                "{victim} serves, and no other host could have the client, which is not to be touched"
            );
            return Ok(FaultReport {
                fault: name.to_owned(),
                not_tried: Some(reason),
                ..FaultReport::default()
            });
        };
        let client = (*client).clone();

        observed_hosts.step(&client, "drill_client", &drill.client).await?;
        sleep(CALM).await;
        let clock = ["date", "+%s%3N"].map(str::to_owned);
        let at: u64 = observed_hosts.output(&client, &clock).await?.trim().parse().map_err(|_| "no clock")?;
        let (began, step) = (Instant::now(), StepId(format!("drill {name}")));
        let stage = StageName(name.to_owned());
        run.events.send(Event::StepStarted {
            host: victim.clone(),
            stage: stage.clone(),
            step: step.clone(),
        });
        let done = self.strike(observed_hosts, run, (&victim, &client), fault).await;
        let mut report = FaultReport {
            fault: name.to_owned(),
            host: victim.to_string(),
            client: client.to_string(),
            serves: vec![Serving { since_ms: 0, hosts: vec![victim.to_string()] }],
            ..FaultReport::default()
        };
        if done.is_ok() {
            self.watch(observed_hosts, run, drill, (&client, at, began), &mut report).await;
        }
        let put_back = Instant::now();
        let back = self.put_back(observed_hosts, run, &victim, fault).await;
        run.events.send(Event::StepFinished {
            host: victim.clone(),
            stage,
            step,
            outcome: match &done {
                Ok(()) => StepOutcome::Changed,
                Err(output) => StepOutcome::Failed { output: output.clone() },
            },
            elapsed_ms: elapsed_ms(began),
        });
        let well = match done.and(back) {
            // Also for an operator who has seen enough: it ends when all is well.
            Ok(()) => self.wait_until_well(observed_hosts, Run { stop: &Stop::default(), ..run }).await,
            Err(reason) => Err(reason),
        };
        report.well_ms = elapsed_ms(put_back);
        // Whatever came of it, nobody else ends the client.
        let ended = observed_hosts.step(&client, "drill_client_end", &[]).await;
        well.and(ended)?;
        let log = observed_hosts.output(&client, &["cat", CLIENT_LOG].map(str::to_owned)).await?;
        let kept = observed_hosts.output(&client, &drill.kept).await?;
        observed_hosts.step(&client, "drill_end", &[]).await?;
        count(&log, &kept, at, &mut report);
        Ok(report)
    }

    /// Until the client is served again and calm, or too long; the fault was done at a time of the client's clock and of ours.
    async fn watch(
        &self,
        observed_hosts: &ObservedHosts,
        run: Run<'_>,
        drill: &AppDrill,
        (client, at, began): (&HostName, u64, Instant),
        report: &mut FaultReport,
    ) {
        let last = ["tail", "-n", "40", CLIENT_LOG].map(str::to_owned);
        let mut waiting = Waiting::new(format!("{} serves", self.app), LONGEST, run.events, run.stop);
        let mut served_since = None;
        loop {
            if let Ok(said) = observed_hosts.output(client, &drill.serves).await {
                let hosts: Vec<String> =
                    said.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
                if report.serves.last().is_none_or(|before| before.hosts != hosts) {
                    report.serves.push(Serving { since_ms: elapsed_ms(began), hosts });
                }
            }
            let said = observed_hosts.output(client, &last).await.unwrap_or_default();
            let tries: Vec<Try<'_>> = said.lines().filter_map(parse).collect();
            let is_served = tries.last().is_some_and(|last| last.id.is_some() && last.at_ms > at);
            if !is_served {
                served_since = None;
            } else if served_since.get_or_insert_with(Instant::now).elapsed() > CALM {
                waiting.met(format!("after {:.1} s", began.elapsed().as_secs_f64() - CALM.as_secs_f64()));
                return;
            }
            let reason = if is_served { "a client is served again" } else { "a client is not served" };
            if !waiting.goes_on(reason).await {
                waiting.failed(reason, String::new());
                return;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Notes how it is put back, then does it.
    async fn strike(
        &self,
        observed_hosts: &ObservedHosts,
        run: Run<'_>,
        (victim, client): (&HostName, &HostName),
        fault: &Fault,
    ) -> Result<(), String> {
        match fault {
            Fault::Kill(kill) => {
                let host = match kill.by {
                    KilledBy::Server => victim,
                    KilledBy::Client => client,
                };
                observed_hosts.step(host, "exec_run", &kill.command).await
            }
            Fault::Agent(unit) => {
                let noted = [PUT_BACK_AFTER.to_owned(), format!("start {unit}")];
                observed_hosts.step(victim, "drill_begin", &noted).await?;
                let stop = ["systemctl", "stop", unit].map(str::to_owned);
                observed_hosts.step(victim, "exec_run", &stop).await
            }
            Fault::Power => match self.power {
                Some(power) => power(victim, false),
                None => Err("there is no way to cut its power".to_owned()),
            },
            Fault::Network | Fault::OneWay => {
                for (host, lost) in cut(observed_hosts, run.wanted, victim, *fault == Fault::Network) {
                    let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
                    let noted = lost.iter().map(|address| format!("reach {address}"));
                    let noted: Vec<String> = [PUT_BACK_AFTER.to_owned()].into_iter().chain(noted).collect();
                    observed_hosts.step(&host, "drill_begin", &noted).await?;
                    observed_hosts.step(&host, "drill_cut", &lost).await?;
                }
                Ok(())
            }
        }
    }

    async fn put_back(
        &self,
        observed_hosts: &ObservedHosts,
        run: Run<'_>,
        victim: &HostName,
        fault: &Fault,
    ) -> Result<(), String> {
        match (fault, self.power) {
            (Fault::Kill(_), _) => Ok(()),
            (Fault::Power, Some(power)) => power(victim, true),
            (Fault::Power, None) => Ok(()),
            (Fault::Agent(_), _) => observed_hosts.step(victim, "drill_put_back", &[]).await,
            (Fault::Network | Fault::OneWay, _) => {
                for (host, _) in cut(observed_hosts, run.wanted, victim, *fault == Fault::Network) {
                    observed_hosts.step(&host, "drill_put_back", &[]).await?;
                }
                Ok(())
            }
        }
    }

    /// By looks as every run begins with, until all is as it was.
    async fn wait_until_well(&self, observed_hosts: &mut ObservedHosts, run: Run<'_>) -> Result<(), String> {
        let mut waiting =
            Waiting::new("all is well again".to_owned(), run.options.timeout, run.events, run.stop);
        loop {
            let reason = match ObservedHosts::at(run, Releases::AsNamed).await {
                Ok(fresh) => {
                    std::mem::replace(observed_hosts, fresh).close().await;
                    observed_hosts.hold(run).await?;
                    let missed = observed_hosts.fleet.failures.keys().next();
                    let missed = missed.map(|host| format!("{host} cannot be reached"));
                    missed.or_else(|| observed_hosts.observed.unhealthy.clone())
                }
                Err(error) => Some(error.to_string()),
            };
            let Some(reason) = reason else {
                waiting.met("as before".to_owned());
                return Ok(());
            };
            if !waiting.goes_on(&reason).await {
                return Err(waiting.failed(&reason, String::new()));
            }
        }
    }
}

/// Where the prelude has the client's lines.
const CLIENT_LOG: &str = "/run/bootstrap-drill-client";

/// Who loses the way to which addresses.
fn cut(
    observed_hosts: &ObservedHosts,
    wanted: &Wanted,
    victim: &HostName,
    both_ways: bool,
) -> Vec<(HostName, Vec<IpAddr>)> {
    let addresses = &observed_hosts.observed.seen.addresses;
    let others: Vec<&HostName> =
        wanted.hosts.iter().map(|host| &host.host.name).filter(|host| *host != victim).collect();
    let mut cut: Vec<(HostName, Vec<IpAddr>)> = Vec::new();
    if let (true, Some(address)) = (both_ways, addresses.get(victim)) {
        cut.extend(others.iter().map(|host| ((*host).clone(), vec![*address])));
    }
    let theirs = others.iter().filter_map(|host| addresses.get(*host).copied()).collect();
    cut.push((victim.clone(), theirs));
    cut
}

/// `1764550000123 id`, or `1764550000123 - reason`.
fn parse(line: &str) -> Option<Try<'_>> {
    let (at, rest) = line.split_once(' ')?;
    let id = (!rest.starts_with('-')).then_some(rest);
    Some(Try { at_ms: at.parse().ok()?, id })
}

/// Reads what the client printed, and what was there afterwards; the fault was done `at` a time of the client's clock.
fn count(log: &str, kept: &str, at: u64, report: &mut FaultReport) {
    let tries: Vec<Try<'_>> = log.lines().filter_map(parse).collect();
    let acknowledged: Vec<&Try<'_>> = tries.iter().filter(|one| one.id.is_some()).collect();
    let gaps = acknowledged.windows(2).filter(|pair| pair[1].at_ms >= at);
    report.gap_ms = gaps.map(|pair| pair[1].at_ms.saturating_sub(pair[0].at_ms)).max().unwrap_or(0);
    report.acknowledged = acknowledged.len();
    report.failed = tries.len() - acknowledged.len();
    let there: BTreeSet<&str> = kept.lines().map(str::trim).collect();
    let ids = acknowledged.iter().filter_map(|one| one.id);
    report.lost = ids.filter(|id| !there.contains(id)).map(str::to_owned).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_saw_is_counted_around_the_fault() {
        let log = "100 a-1\n200 a-2\n900 - refused\n1900 a-3\n1950 a-4\n";
        let mut report = FaultReport::default();
        count(log, "a-1\na-2\na-4\n", 250, &mut report);
        assert_eq!((report.acknowledged, report.failed, report.gap_ms), (4, 1, 1700));
        assert_eq!(report.lost, ["a-3"]);
        // A slow start is none of its doing.
        count("100 a-1\n5100 a-2\n5200 a-3\n", "a-1\na-2\na-3\n", 5150, &mut report);
        assert_eq!((report.gap_ms, report.lost.len()), (100, 0));
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        assert_eq!(parse("5 x"), Some(Try { at_ms: 5, id: Some("x") }));
        assert_eq!(parse("5 - gone away"), Some(Try { at_ms: 5, id: None }));
        assert_eq!(parse("mariadb: [Warning]"), None);
    }
}
