//! A drill: something is killed on purpose, and what clients notice is measured.
//!
//! A writer puts a key every 50 ms through a server that is not killed. What was acknowledged is read back at the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Response;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use super::snapshot::gateway;
use crate::engine::api::{AGENT, Socket};
use crate::engine::members::members;
use crate::engine::observe::ClusterAnswers;
use crate::engine::{EngineError, Options, Outcome, Run, Stop, elapsed_ms, gate};
use crate::model::{Check, Endpoint, Finding, HostName};
use crate::products::{Drills, Gate, Keys, Request, Way};
use crate::ssh::Connection;

const BETWEEN_WRITES: Duration = Duration::from_millis(50);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// A client waits no longer for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Writing before the kill, and after the election.
const CALM: Duration = Duration::from_secs(2);
/// No election takes so long.
const LONGEST: Duration = Duration::from_secs(60);
/// Below it lie the keys of a drill, and only they.
const KEYS: &str = "bootstrap-drill/";
pub(super) const HEALTH: &str = "`bootstrap health` says why; `bootstrap up` starts what is stopped";

/// What is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    Leader,
    Host(HostName),
    /// A program of a member, on this host or on any.
    Program(String, Option<HostName>),
}

/// Switches a host on (`true`) or cuts its power; the error is in the operator's words.
pub type Power<'a> = &'a (dyn Fn(&HostName, bool) -> Result<(), String> + Sync);

/// What to kill, and how to cut a host's power where that is meant.
pub struct Drill<'a> {
    pub victim: Victim,
    /// Without it the agent is killed.
    pub power: Option<Power<'a>>,
    /// What came of it.
    pub drilled: Option<DrillReport>,
}

impl<'a> Drill<'a> {
    pub fn new(victim: Victim, power: Option<Power<'a>>) -> Self {
        Self { victim, power, drilled: None }
    }
}

impl Operation for Drill<'_> {
    async fn decide(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        observed_hosts.await_election(run).await;
        let (_, drills, victim) = observed_hosts.may_die(self)?;
        let who = match &self.victim {
            Victim::Leader => "the leader".to_owned(),
            Victim::Host(_) | Victim::Program(..) => victim.to_string(),
        };
        let how = match self.power {
            Some(_) => "loses its power".to_owned(),
            None => format!("has {} killed", drills.victim()),
        };
        let question = Some(format!("In cluster `{}` {who} {how}, now.", run.wanted.cluster));
        Ok(Some(Decision { changes_hosts: true, question }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        _outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        self.drilled = Some(observed_hosts.drill(run, self).await?);
        Ok(())
    }
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DrillReport {
    pub victim: String,
    /// What of it was killed.
    pub killed: &'static str,
    /// Whether it led; `None` where nobody leads.
    pub led: Option<bool>,
    /// Until a server that lives saw another leader; `None` where the victim did not lead.
    pub election_ms: Option<u64>,
    pub writes: usize,
    pub acknowledged: usize,
    /// The longest time between two acknowledged writes.
    pub gap_ms: u64,
    /// Acknowledged, and not there at the end.
    pub lost: Vec<u64>,
    /// Until all servers were content again, from when the victim was brought back.
    pub recovery_ms: u64,
}

/// One write, and when it was acknowledged, since the writer started.
struct Write {
    key: u64,
    acknowledged: Option<Duration>,
}

impl ObservedHosts {
    /// Kills, measures, and brings back.
    ///
    /// # Errors
    /// The cluster does not stand, or could not bear it; the victim is none of its servers.
    async fn drill(&self, run: Run<'_>, drill: &Drill<'_>) -> Result<DrillReport, EngineError> {
        let (cluster, drills, victim) = self.may_die(drill)?;
        let led = drills.program().is_none().then(|| self.leader_of(cluster).as_ref() == Some(&victim));
        let observer = cluster.expected.asked.iter().find(|host| **host != victim);
        let observer = observer.and_then(|name| run.wanted.hosts.iter().find(|host| host.host.name == *name));
        let connection = observer.and_then(|host| self.fleet.connections.get(&host.host.name));
        let (Some(observer), Some(connection)) = (observer, connection) else {
            return Err(refuse(&victim, "no other server answers".to_owned(), HEALTH));
        };
        let observer_name = &observer.host.name;
        let endpoint = |host: &HostName| run.wanted.host(host)?.endpoint(cluster.gate.name());
        let (Some(asked), Some(unit)) =
            (endpoint(&observer.host.name), endpoint(&victim).map(|endpoint| endpoint.unit.clone()))
        else {
            return Err(refuse(&victim, "its role says nothing of its agent".to_owned(), HEALTH));
        };
        let writer = Observer::open(connection, (cluster.gate, drills), asked, run.options).await;
        let watcher = Observer::open(connection, (cluster.gate, drills), asked, run.options).await;
        let (Some(writer), Some(watcher)) = (writer, watcher) else {
            let remedy = "a drill goes through forwarded sockets: allow them in its sshd";
            return Err(refuse(observer_name, "its API cannot be reached from here".to_owned(), remedy));
        };
        let old = watcher.leader(drills).await;
        if let Some(keys) = drills.keys() {
            // What a drill that was ended has left would refuse the writes of this one.
            let _ = writer.ask(keys.remove(KEYS)).await;
        }
        let (over, is_over) = watch::channel(false);
        let writes = async {
            match drills.keys() {
                Some(keys) => write(&writer, keys, is_over).await,
                None => Vec::new(),
            }
        };
        let act = async {
            sleep(CALM).await;
            let killed = Instant::now();
            let result = self.kill(drills, &unit, &victim, drill).await;
            let mut election = None;
            while result.is_ok() && led == Some(true) && killed.elapsed() < LONGEST && !run.stop.requested() {
                if watcher.leader(drills).await.is_some_and(|now| Some(now) != old) {
                    election = Some(elapsed_ms(killed));
                    break;
                }
                sleep(BETWEEN_LOOKS).await;
            }
            // A client that is patient gets its answer within this time.
            let quiet = Instant::now();
            while quiet.elapsed() < PATIENCE + CALM && !run.stop.requested() {
                sleep(BETWEEN_LOOKS).await;
            }
            // The writer is gone only if it has ended.
            let _ = over.send(true);
            (result, election)
        };
        let (writes, (killed, election_ms)) = tokio::join!(writes, act);
        let revived = Instant::now();
        let back = self.revive(drills, &unit, &victim, drill).await;
        killed.and(back).map_err(|reason| refuse(&victim, reason, HEALTH))?;
        // Also for an operator who has seen enough: it ends when all is well.
        let well = self.wait_for_all(Run { stop: &Stop::default(), ..run }, cluster, &victim, drill).await;
        well.map_err(|reason| refuse(&victim, reason, HEALTH))?;
        let recovery_ms = elapsed_ms(revived);
        let lost = match drills.keys() {
            Some(keys) => lost(&writer, keys, &writes).await,
            None => Ok(Vec::new()),
        };
        let remedy = "read the keys below `bootstrap-drill/` by hand";
        Ok(DrillReport {
            victim: victim.to_string(),
            killed: if drill.power.is_some() { "its power" } else { drills.victim() },
            led,
            election_ms,
            writes: writes.len(),
            acknowledged: writes.iter().filter(|write| write.acknowledged.is_some()).count(),
            gap_ms: gap(&writes),
            lost: lost.map_err(|reason| refuse(observer_name, reason, remedy))?,
            recovery_ms,
        })
    }

    fn leader_of(&self, cluster: &ClusterAnswers) -> Option<HostName> {
        self.observed.seen.cluster_states.get(cluster.gate.name())?.leader.clone()
    }

    /// The cluster and its member that may be killed.
    fn may_die(&self, drill: &Drill<'_>) -> Result<(&ClusterAnswers, &dyn Drills, HostName), EngineError> {
        let raft = || self.observed.clusters.iter().filter(|cluster| cluster.gate.has_raft());
        let program = match &drill.victim {
            Victim::Program(program, _) => Some(program.as_str()),
            Victim::Leader | Victim::Host(_) => None,
        };
        let mut drilled = self.observed.clusters.iter().flat_map(|cluster| {
            let all = cluster.gate.drills().into_iter();
            all.filter(|drills| drills.program() == program).map(move |drills| (cluster, drills))
        });
        let has = |cluster: &ClusterAnswers, host: &HostName| cluster.expected.members.contains_key(host);
        let found = match &drill.victim {
            Victim::Leader => {
                drilled.find_map(|(cluster, drills)| Some((cluster, drills, self.leader_of(cluster)?)))
            }
            Victim::Host(host) | Victim::Program(_, Some(host)) => drilled
                .find(|(cluster, _)| has(cluster, host))
                .map(|(cluster, drills)| (cluster, drills, host.clone())),
            Victim::Program(_, None) => drilled.find_map(|(cluster, drills)| {
                Some((cluster, drills, cluster.expected.members.keys().next()?.clone()))
            }),
        };
        let (cluster, drills, victim) = found.ok_or_else(|| {
            let others: Vec<&str> = raft()
                .filter(|cluster| cluster.gate.drills().is_empty())
                .map(|cluster| cluster.gate.product().name())
                .collect();
            let reason = match others.as_slice() {
                [] => "the inventory has no server that leads, or of that name".to_owned(),
                others => format!(
                    "no server that can be drilled leads or has that name; there are no drills of {}",
                    others.join(", ")
                ),
            };
            let remedy = "`bootstrap health` shows them".to_owned();
            EngineError::Unfit(vec![Finding::error(Check::Agent, Vec::new(), reason, remedy)])
        })?;
        if let Some(reason) = &self.observed.unhealthy {
            return Err(refuse(&victim, format!("not everything is well already: {reason}"), HEALTH));
        }
        // Autopilot looks every 2 s only: it may not have noticed.
        let is_member = |host: &&HostName| cluster.expected.members.contains_key(*host);
        if let Some(missed) = self.fleet.failures.keys().find(is_member) {
            return Err(refuse(&victim, format!("{missed} cannot be reached, and one is enough"), HEALTH));
        }
        let cannot_bear = |cluster: &ClusterAnswers| {
            let cluster_state = self.observed.seen.cluster_states.get(cluster.gate.name());
            cluster_state.is_none_or(|now| now.failure_tolerance == 0)
        };
        let is_only = cluster.expected.members.len() < 2;
        if is_only || raft().any(|cluster| has(cluster, &victim) && cannot_bear(cluster)) {
            let remedy = "with three servers one may fail; `bootstrap add-node` adds some";
            let reason = "no server of its cluster may fail: quorum would be lost".to_owned();
            return Err(refuse(&victim, reason, remedy));
        }
        Ok((cluster, drills, victim))
    }

    async fn kill(
        &self,
        drills: &dyn Drills,
        unit: &str,
        victim: &HostName,
        drill: &Drill<'_>,
    ) -> Result<(), String> {
        if let Some(power) = drill.power {
            return power(victim, false);
        }
        for words in drills.kill(unit) {
            self.step(victim, "exec_run", &words).await?;
        }
        Ok(())
    }

    async fn revive(
        &self,
        drills: &dyn Drills,
        unit: &str,
        victim: &HostName,
        drill: &Drill<'_>,
    ) -> Result<(), String> {
        match drill.power {
            Some(power) => power(victim, true),
            // Whether it is well again the gate says.
            None => self.step(victim, "exec_run", &drills.revive(unit)).await,
        }
    }

    /// Until every server that can be asked is content with all of them.
    async fn wait_for_all(
        &self,
        run: Run<'_>,
        cluster: &ClusterAnswers,
        victim: &HostName,
        drill: &Drill<'_>,
    ) -> Result<(), String> {
        let mut asked: BTreeSet<HostName> = self.fleet.connections.keys().cloned().collect();
        if drill.power.is_some() {
            // The connection to it went with its power; the others tell of it.
            asked.remove(victim);
        }
        let gates = members(run.wanted);
        let Some(members) = gates.iter().find(|members| members.gate == cluster.gate) else { return Ok(()) };
        let expected = members.expected(&self.observed.seen.addresses, &asked, &BTreeSet::new());
        let met = gate::wait(&self.fleet, members, &expected, Gate::judge, run).await;
        met.map(drop).map_err(|unmet| unmet.to_string())
    }
}

fn refuse(host: &HostName, reason: String, remedy: &str) -> EngineError {
    let finding = Finding::error(Check::Quorum, vec![host.clone()], reason, remedy.to_owned());
    EngineError::Unfit(vec![finding])
}

/// A way to the API of the server that is watched.
struct Observer {
    socket: Socket,
    /// What its address begins with.
    site: String,
}

impl Observer {
    async fn open(
        connection: &Connection,
        (gate, drills): (Gate, &dyn Drills),
        endpoint: &Endpoint,
        options: &Options,
    ) -> Option<Self> {
        match drills.way(endpoint) {
            Way::Plain => {
                let header = gate.header(endpoint.tokens.operate.as_ref());
                let socket = Socket::signed(connection, endpoint.port, PATIENCE, header).await?;
                Some(Self { socket, site: AGENT.to_owned() })
            }
            Way::Tls { address, port, name, files } => {
                let socket = gateway(connection, (&address, port), files, PATIENCE, options).await?;
                Some(Self { socket, site: format!("https://{name}") })
            }
        }
    }

    /// The body of an answer with success.
    async fn ask(&self, request: Request) -> Result<String, String> {
        let answer = self.socket.send(&self.site, &request).await.and_then(Response::error_for_status);
        let text = async { answer?.text().await }.await;
        text.map_err(|error| error.to_string())
    }

    /// Who leads, as this server sees it.
    async fn leader(&self, drills: &dyn Drills) -> Option<String> {
        drills.read_leader(&self.ask(drills.leader()).await.ok()?)
    }
}

/// Puts one key after another until it is over.
async fn write(api: &Observer, keys: &dyn Keys, over: watch::Receiver<bool>) -> Vec<Write> {
    let started = Instant::now();
    let mut writes = Vec::new();
    let mut ticks = interval(BETWEEN_WRITES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for key in 0.. {
        if *over.borrow() {
            break;
        }
        ticks.tick().await;
        let answer = api.ask(keys.put(&format!("{KEYS}{key:06}"), &key.to_string())).await;
        let is_written = answer.is_ok_and(|body| keys.is_acknowledged(&body));
        writes.push(Write { key, acknowledged: is_written.then(|| started.elapsed()) });
    }
    writes
}

/// The longest time between two writes that were acknowledged, in milliseconds.
fn gap(writes: &[Write]) -> u64 {
    let times: Vec<Duration> = writes.iter().filter_map(|write| write.acknowledged).collect();
    let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().map_or(0, |gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX))
}

/// Acknowledged keys that are not there; then takes all of them away.
async fn lost(api: &Observer, keys: &dyn Keys, writes: &[Write]) -> Result<Vec<u64>, String> {
    let body = api.ask(keys.list(KEYS)).await.map_err(|error| format!("its keys cannot be read: {error}"))?;
    let names = keys.read_list(&body).ok_or("what it says of its keys is not understood")?;
    let there: BTreeSet<u64> = names.iter().filter_map(|key| key.rsplit('/').next()?.parse().ok()).collect();
    let acknowledged = writes.iter().filter(|write| write.acknowledged.is_some());
    let lost = acknowledged.map(|write| write.key).filter(|key| !there.contains(key)).collect();
    // What stays is small, and the next drill writes over it.
    let _ = api.ask(keys.remove(KEYS)).await;
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_counts() {
        let write = |key, ms: Option<u64>| Write { key, acknowledged: ms.map(Duration::from_millis) };
        let writes = [
            write(0, Some(10)),
            write(1, Some(60)),
            write(2, None),
            write(3, Some(1260)),
            write(4, Some(1310)),
        ];
        assert_eq!(gap(&writes), 1200);
        assert_eq!(gap(&writes[..1]), 0);
        assert_eq!(gap(&[]), 0);
    }
}
