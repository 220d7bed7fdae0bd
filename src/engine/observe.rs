//! One connection and one script per host: facts, resources, and what its agents say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use futures_util::stream::{self, StreamExt};

use super::members::{Members, data, members};
use super::membership::{contradictions, unnamed_nodes};
use super::parts::{self, LostParts};
use super::questions::{answer, ask, question, questions};
use super::{EngineError, Fleet, HostFailure, Run, access, elapsed_ms, jobs, lock, proof, reach};
use crate::facts::{ClockOffset, Facts};
use crate::ledger;
use crate::model::{
    Call, Check, ClusterState, Endpoint, Event, Expected, Finding, HostName, NulInArgument, Plan, PrefetchOf,
    Problem, StepId,
};
use crate::plan::{HostSeen, PlanError, Seen};
use crate::preflight::{self, Claim, HostMarker, Subject, age};
use crate::products::{Answers, Gate, VersionChange, oldest};
use crate::resource::{Download, Resource};
use crate::roles::{ClusterAddresses, Formed, Proof, Wanted, WantedHost, WantedRole};
use crate::script::{Nonce, Observation, Record, Script};
use crate::ssh::{ConnectOptions, Connection, Deadline, Target};

const MARKER: &str = "marker cluster";
const MARKER_FILE: &str = "/var/lib/bootstrap/cluster";

/// The cluster as its hosts describe it.
pub(crate) struct Observed {
    pub seen: Seen,
    /// What is wanted, now that facts are known.
    pub wanted: Option<Wanted>,
    /// Empty where a finding does not let one be made.
    pub plan: Result<Plan, Vec<PlanError>>,
    /// What stands in the way, or may.
    pub findings: Vec<Finding>,
    /// What the members of each gate said.
    pub clusters: Vec<ClusterAnswers>,
    /// The first gate that is not met, with its reason.
    pub unhealthy: Option<String>,
    pub notes: Vec<String>,
    /// What hosts were set up as and are to be no more.
    pub lost: LostParts,
}

impl Observed {
    /// Hosts and their certificates, by path, with the days that each is still good for.
    pub fn certificates(&self) -> Vec<(HostName, String, i64)> {
        let wanted = self.wanted.iter().flat_map(|wanted| &wanted.hosts);
        let seen = wanted.filter_map(|wanted| Some((wanted, self.seen.hosts.get(&wanted.host.name)?)));
        seen.flat_map(|(wanted, seen)| {
            let resources = wanted.roles.iter().flat_map(|role| &role.resources);
            resources.filter_map(|resource| match resource {
                Resource::Certificate(certificate) => {
                    let said = seen.observation.of(&resource.id().0);
                    let left = certificate.days_left(&said, &seen.facts)?;
                    Some((wanted.host.name.clone(), certificate.path.to_string(), left))
                }
                _ => None,
            })
        })
        .collect()
    }
}

/// What the members of one gate said, and what is expected of them.
pub(crate) struct ClusterAnswers {
    pub gate: Gate,
    pub expected: Expected,
    pub answers: Answers,
    /// Ways between its servers that are closed, by what each of them tried.
    pub cuts: Vec<Problem>,
}

/// Looks at every host of the run, and asks the clusters.
///
/// # Errors
/// As for [`assess`]; all connections are closed then.
pub(crate) async fn look(run: Run<'_>, releases: Releases) -> Result<(Fleet, Observed), EngineError> {
    let (fleet, hosts) = observe(run).await;
    match assess(run, releases, hosts, &fleet).await {
        Ok(observed) => Ok((fleet, observed)),
        Err(error) => {
            fleet.close().await;
            Err(error)
        }
    }
}

/// The probe that tells what a drill that was interrupted has left.
pub(crate) const LEFT_PROBE: &str = "drill";

/// More hosts than this keep this machine busy with their key exchanges alone: who does not answer in time may have waited for its
/// turn here, and is asked once more when the others have been, by so [`FEW`] at once that none waits.
const CROWD: usize = 100;
const FEW: usize = 16;

/// Connects to every host of the run and lets each describe itself; those that do not answer are set
/// aside.
async fn observe(run: Run<'_>) -> (Fleet, BTreeMap<HostName, HostSeen>) {
    let mut fleet = Fleet { connections: BTreeMap::new(), failures: BTreeMap::new() };
    let mut seen = BTreeMap::new();
    Connection::sweep(&ConnectOptions::default());
    let taking_part = run.wanted.hosts.iter().filter(|host| run.options.hosts.contains(&host.host.name));
    let mut asked: Vec<&WantedHost> = taking_part.collect();
    let (mut at_once, mut is_crowd) = (run.options.parallel, asked.len() > CROWD);
    while !asked.is_empty() {
        let mut late = Vec::new();
        let mut answers = stream::iter(asked)
            .map(|host| async move { (host, observe_host(host, run).await) })
            .buffer_unordered(at_once);
        while let Some((wanted, result)) = answers.next().await {
            let host = wanted.host.name.clone();
            match result {
                Ok((connection, state)) => {
                    fleet.connections.insert(host.clone(), connection);
                    seen.insert(host, state);
                }
                Err(failure) if failure.is_unreachable() && is_crowd => late.push(wanted),
                Err(failure) if failure.is_unreachable() && run.options.given_up.contains(&host) => {
                    let message = failure.to_string();
                    run.events.send(Event::Warning { host: Some(host.clone()), message });
                    fleet.failures.insert(host, failure);
                }
                Err(failure) => fleet.set_aside(&host, failure, run.events).await,
            }
        }
        (asked, at_once, is_crowd) = (late, at_once.min(FEW), false);
    }
    (fleet, seen)
}

async fn observe_host(wanted: &WantedHost, run: Run<'_>) -> Result<(Connection, HostSeen), HostFailure> {
    let started = Instant::now();
    let host = &wanted.host;
    let target = Target::from(host);
    let deadline = match run.options.given_up.contains(&host.name) {
        true => run.options.given_up_timeout,
        false => run.options.connect_timeout,
    };
    let connect = ConnectOptions { deadline, ..ConnectOptions::default() };
    let connection = Connection::open(&target, &connect, run.options.password.as_ref())
        .await
        .map_err(HostFailure::Unreachable)?;
    run.events.send(Event::HostConnected { host: host.name.clone(), elapsed_ms: elapsed_ms(started) });
    // What a run that was killed still does is over before anything is looked at.
    let first = [
        (StepId(lock::PROBE.to_owned()), Call::new("lock_probe", [])),
        (StepId(LEFT_PROBE.to_owned()), Call::new("drill_probe", [])),
    ];
    let script = Script::observe(&Nonce::random(), &first, &probes(wanted)?, &beside(wanted)?);
    let sent = now_ms();
    let mut first_reply = None;
    let deadline = Deadline { first: Some(run.options.connect_timeout), whole: run.options.script_timeout };
    let records = connection
        .run(&script, deadline, |record| {
            if matches!(record, Record::Seen { key, .. } if key == "epoch") {
                first_reply.get_or_insert_with(now_ms);
            }
        })
        .await
        .map_err(|source| match source.is_unreachable() {
            true => HostFailure::Unreachable(source),
            false => HostFailure::Link { doing: "observing it".to_owned(), source },
        })?;
    let observation = Observation::new(&records);
    let facts =
        Facts::parse(&observation.of("facts")).map_err(|error| HostFailure::Facts(error.to_string()))?;
    let clock = ClockOffset::between(sent, first_reply.unwrap_or_else(now_ms), &facts);
    let marker = observation.of(MARKER).text("body").map(|text| text.trim_end().to_owned());
    run.events.send(Event::HostObserved { host: host.name.clone(), elapsed_ms: elapsed_ms(started) });
    Ok((connection, HostSeen { facts, observation, marker, clock }))
}

/// Our own clock: milliseconds since 1970.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Everything a host is asked besides its facts. Depends on the inventory alone, so that one script
/// serves before the host has said anything.
fn probes(wanted: &WantedHost) -> Result<Vec<(StepId, Call)>, HostFailure> {
    let mut probes = vec![
        (
            StepId(MARKER.to_owned()),
            Call::new("cluster_read", []).with_prefetch([PrefetchOf::Content.named(MARKER_FILE)]),
        ),
        ledger::probe(wanted.roles.iter().flat_map(|role| &role.resources)),
    ];
    let mut asked = BTreeSet::new();
    for role in &wanted.roles {
        for resource in &role.resources {
            let id = resource.id();
            if asked.insert(id.clone()) {
                let probe = resource.probe().map_err(|error| HostFailure::Facts(error.to_string()))?;
                probes.push((id, probe));
            }
        }
        let in_turn = |proof: &Proof| !proof.after_changes && !proof.waits_for_others();
        for wanted in role.proofs.iter().filter(|wanted| in_turn(&wanted.proof)) {
            let probe =
                wanted.proof.probe(false, None).map_err(|error| HostFailure::Facts(error.to_string()))?;
            probes.push((wanted.proof.id(role.name.as_str()), probe));
        }
        let Some((gate, endpoint)) = gate_of(role) else { continue };
        let unusable = |error: NulInArgument| HostFailure::Facts(error.to_string());
        probes.push((data(gate), gate.data_probe(endpoint).map_err(unusable)?));
        probes.extend(jobs::probe(gate));
    }
    probes.extend(preflight::probes(wanted));
    Ok(probes)
}

/// The gate of a role, and where its agent is.
fn gate_of(role: &WantedRole) -> Option<(Gate, &Endpoint)> {
    Gate::parse(role.gate.as_deref()?).zip(role.endpoint.as_ref())
}

/// What a host is asked meanwhile, since it may have to wait: its agents, which of their peers they reach, and proofs by others.
fn beside(wanted: &WantedHost) -> Result<Vec<(StepId, Call)>, HostFailure> {
    let unusable = |error: NulInArgument| HostFailure::Facts(error.to_string());
    let mut probes = Vec::new();
    for (gate, _) in wanted.roles.iter().filter_map(gate_of) {
        probes.push((question(gate), ask(&questions(gate, wanted)).map_err(unusable)?));
        // After the answers: peers are what these name.
        probes.extend(reach::probe(gate, wanted).map_err(unusable)?);
    }
    for role in &wanted.roles {
        let waiting = |wanted: &&Proof| !wanted.after_changes && wanted.waits_for_others();
        for proof in role.proofs.iter().map(|wanted| &wanted.proof).filter(waiting) {
            probes.push((proof.id(role.name.as_str()), proof.probe(false, None).map_err(unusable)?));
        }
    }
    Ok(probes)
}

/// Reads what the hosts said, in this order: what their agents answered, which members that makes, what stands in the way,
/// and what is to be changed.
///
/// # Errors
/// A release that some host lacks and that cannot be verified.
async fn assess(
    run: Run<'_>,
    releases: Releases,
    hosts: BTreeMap<HostName, HostSeen>,
    fleet: &Fleet,
) -> Result<Observed, EngineError> {
    let gates = members(run.wanted);
    let facts = hosts.iter().map(|(host, seen)| (host.clone(), &seen.facts)).collect();
    let (addresses, mut findings) =
        preflight::addresses(run.wanted.hosts.iter().map(|wanted| &wanted.host), &facts);
    let missing = fleet.failures.keys().cloned().collect();
    let ExistingClusters { clusters, states, findings: versions, contradictions, unhealthy, notes } =
        stands(&gates, &hosts, &addresses, &missing);
    findings.extend(versions);
    let markers = parts::markers(run.wanted, run.marker);
    let views = |gate: Gate| {
        let cluster = clusters.iter().find(|cluster| cluster.gate == gate);
        cluster.map(|cluster| gate.views(&cluster.answers)).unwrap_or_default()
    };
    let carried = hosts.iter().filter_map(|(host, seen)| Some((host, seen.marker.as_deref()?))).collect();
    let mut lost = parts::lost(run.wanted, run.marker, &carried, &views, &addresses);
    let seen = Seen { hosts, cluster_states: states, addresses, markers, downloads: BTreeMap::new() };
    // Without everyone's address, contents cannot be rendered, and no site need be asked for releases.
    let planned = match findings.is_empty() {
        true => planned(run, releases, (&gates, &clusters), seen, &lost).await?,
        false => Planned { seen, wanted: None, plan: None },
    };
    findings.extend(contradictions);
    findings.append(&mut lost.findings);
    let Planned { seen, wanted: with_facts, plan } = planned;
    let unhealthy =
        unhealthy.or_else(|| with_facts.as_ref().and_then(|wanted| proof::unproven(wanted, &seen)));
    let changes = plan.as_ref().and_then(|plan| plan.as_ref().ok()).map(changes);
    let unnamed = |cluster: &ClusterAnswers| {
        let list = |addresses: &[IpAddr]| {
            let lists = plan.as_ref()?.as_ref().ok()?.lists(with_facts.as_ref()?, addresses);
            lists.into_iter().map(|(_, step)| step).next()
        };
        let said = (cluster.gate, &cluster.expected, &cluster.answers);
        unnamed_nodes(run.wanted, &seen.addresses, said, list)
    };
    findings.extend(clusters.iter().filter_map(unnamed));
    let subjects: Vec<Subject<'_>> = with_facts
        .as_ref()
        .unwrap_or(run.wanted)
        .hosts
        .iter()
        .filter_map(|wanted| Some((wanted, seen.hosts.get(&wanted.host.name)?)))
        .map(|(wanted, seen)| subject(&gates, wanted, seen, changes.as_ref()))
        .collect();
    findings.extend(preflight::judge(&subjects, &seen.addresses, run.marker));
    let plan = plan.unwrap_or_else(|| Ok(Plan::default()));
    Ok(Observed { seen, wanted: with_facts, plan, findings, clusters, unhealthy, notes, lost })
}

/// What the agents of a gate's hosts answered.
fn answers(members: &Members<'_>, hosts: &BTreeMap<HostName, HostSeen>) -> Answers {
    let seen = members.hosts().filter_map(|wanted| Some((wanted, hosts.get(&wanted.host.name)?)));
    seen.map(|(wanted, seen)| {
        let questions = questions(members.gate, wanted);
        (wanted.host.name.clone(), answer(&seen.observation, members.gate, &questions))
    })
    .collect()
}

/// What is to be known of the releases that hosts lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Releases {
    /// That they are what their vendors have signed: they are to be installed.
    Verified,
    /// That they are lacking: nothing is installed, and no site need answer.
    AsNamed,
}

/// What stands already.
#[derive(Default)]
struct ExistingClusters {
    /// Those that this run asks.
    clusters: Vec<ClusterAnswers>,
    /// Of every gate of the inventory, by its name.
    states: BTreeMap<String, ClusterState>,
    /// Versions that there is no way between.
    findings: Vec<Finding>,
    /// What the living members say against any change.
    contradictions: Vec<Finding>,
    /// The first gate that is not met, and why.
    unhealthy: Option<String>,
    /// For the closing summary, of those that are met.
    notes: Vec<String>,
}

fn stands(
    gates: &[Members<'_>],
    hosts: &BTreeMap<HostName, HostSeen>,
    addresses: &ClusterAddresses,
    missing: &BTreeSet<HostName>,
) -> ExistingClusters {
    let asked: BTreeSet<HostName> = hosts.keys().cloned().collect();
    let mut stands = ExistingClusters::default();
    for members in gates {
        let gate = members.gate;
        let expected = members.expected(addresses, &asked, missing);
        let answers = answers(members, hosts);
        let carries =
            |host: &HostName| hosts.get(host).is_some_and(|seen| kept(&seen.observation, gate).is_some());
        let kept = members.names().into_iter().filter(carries).collect();
        let review = gate.review(&expected, &answers);
        // Who cannot be reached by another is not ill: neither of the two is mended by a restart.
        let state = ClusterState { kept, ..gate.cluster_state(&expected, &answers).with_ill(&review) };
        let said = |host: &HostName| hosts.get(host).map(|seen| &seen.observation);
        let cuts = reach::cuts(gate, &expected, &answers, said);
        stands.states.insert(gate.name().to_owned(), state);
        if expected.asked.is_empty() {
            // `--limit` leaves all of them alone: this run says nothing about them.
            continue;
        }
        let state = &stands.states[gate.name()];
        stands.findings.extend(other_versions(members, state, &answers, hosts));
        stands.contradictions.extend(contradictions(members, &expected, state, &answers, hosts));
        match review.and(&cuts).verdict().unmet() {
            None => stands.notes.extend(gate.notes(members.endpoint(), &expected, &answers)),
            Some(reason) => {
                stands.unhealthy.get_or_insert(format!("{}: {reason}", gate.name()));
            }
        }
        stands.clusters.push(ClusterAnswers { gate, expected, answers, cuts });
    }
    stands
}

/// What is wanted of the hosts that have said their facts, and what has to be changed for it.
struct Planned {
    seen: Seen,
    /// `None` where that cannot be known.
    wanted: Option<Wanted>,
    /// `None`: there is none to be made yet.
    plan: Option<Result<Plan, Vec<PlanError>>>,
}

/// # Errors
/// A release that some host lacks and that cannot be verified.
async fn planned(
    run: Run<'_>,
    releases: Releases,
    (gates, clusters): (&[Members<'_>], &[ClusterAnswers]),
    seen: Seen,
    lost: &LostParts,
) -> Result<Planned, EngineError> {
    let formed = formed(gates, clusters, &seen);
    let facts = |host: &HostName| seen.hosts.get(host).map(|seen| &seen.facts);
    let wanted = match run.wanted.with_facts(facts, &formed, &seen.addresses) {
        Ok(wanted) => wanted,
        Err(errors) => {
            let errors = errors.into_iter().map(PlanError::Wanted).collect();
            return Ok(Planned { seen, wanted: None, plan: Some(Err(errors)) });
        }
    };
    let run = Run { wanted: &wanted, ..run };
    let seen = match releases {
        Releases::Verified => super::releases::verify(run, seen).await?,
        Releases::AsNamed => super::releases::as_named(run, seen),
    };
    let share = run.options.share;
    let plan = Plan::new(&wanted, &seen, share).map(|plan| match &run.options.only {
        Some(ids) => plan.only(ids),
        None => {
            let told = clusters.iter().map(|cluster| (cluster.gate, &cluster.answers));
            Plan { access: access::plan(&wanted, told), ..lost.first(plan, share) }
        }
    });
    Ok(Planned { seen, wanted: Some(wanted), plan: Some(plan) })
}

/// Members of a version from which their own tools do not go to the one that is asked for. An agent that runs where nothing of
/// a cluster is has nothing to lose.
fn other_versions(
    members: &Members<'_>,
    state: &ClusterState,
    answers: &Answers,
    hosts: &BTreeMap<HostName, HostSeen>,
) -> Vec<Finding> {
    let gate = members.gate;
    let mut all: BTreeMap<&HostName, String> =
        answers.iter().filter_map(|(host, answer)| Some((host, gate.version(answer)?))).collect();
    // Where an agent does not run, what was installed there last has written its data.
    let rests: BTreeMap<&HostName, String> = members
        .hosts
        .iter()
        .filter(|(wanted, _)| !all.contains_key(&wanted.host.name) && state.kept.contains(&wanted.host.name))
        .filter_map(|(wanted, role)| {
            let seen = hosts.get(&wanted.host.name)?;
            let release = role.resources.iter().find_map(|resource| match resource {
                Resource::Download(Download::Release(release))
                    if release.product.as_str() == gate.product().name() =>
                {
                    Some(release)
                }
                _ => None,
            })?;
            let version = release.linked_version(&seen.observation.of(&release.id().0))?;
            Some((&wanted.host.name, version.to_owned()))
        })
        .collect();
    all.extend(rests.iter().map(|(host, version)| (*host, version.clone())));
    let Some(oldest) = oldest(all.values().map(String::as_str)) else { return Vec::new() };
    let mut found: BTreeMap<(&str, &str), Vec<HostName>> = BTreeMap::new();
    for (wanted, role) in &members.hosts {
        let host = &wanted.host.name;
        let version = role.endpoint.as_ref().and_then(|endpoint| endpoint.version.as_deref());
        let (Some(runs), Some(version)) = (all.get(host), version) else { continue };
        if !state.members.is_empty() || state.kept.contains(host) {
            found.entry((runs, version)).or_default().push(host.clone());
        }
    }
    let finding = |((runs, wanted), hosts): ((&str, &str), Vec<HostName>)| {
        let remedy = gate.no_way_between(&VersionChange { runs, wanted, oldest })?;
        let verb = if hosts.iter().all(|host| rests.contains_key(host)) { "ran" } else { "runs" };
        let reason = format!("{} {verb} {runs} there, and the inventory says {wanted}", gate.name());
        Some(Finding::error(Check::Agent, hosts, reason, remedy))
    };
    found.into_iter().filter_map(finding).collect()
}

/// Where a host carries what a member behind a gate keeps.
fn kept(observation: &Observation, gate: Gate) -> Option<&str> {
    let fields = observation.of(&data(gate).0);
    fields.text("raft").filter(|path| *path != "absent" && gate.has_claims())
}

/// The clusters that stand, or have left data on a host: nobody makes another one beside it.
fn formed(gates: &[Members<'_>], clusters: &[ClusterAnswers], seen: &Seen) -> Formed {
    let stands = |members: &&Members<'_>| {
        seen.cluster_states.get(members.gate.name()).is_some_and(|now| !now.known().is_empty())
    };
    let mut formed = Formed {
        gates: gates.iter().filter(stands).map(|members| members.gate.name().to_owned()).collect(),
        ..Formed::default()
    };
    // The parts of a product speak with each other: those that this run asks tell of all.
    let mut products: BTreeMap<&str, Vec<&Members<'_>>> = BTreeMap::new();
    for members in gates {
        products.entry(members.gate.product().name()).or_default().push(members);
    }
    for (product, parts) in products {
        match speaks_tls(product, clusters).or_else(|| has_tls(&parts, seen)) {
            Some(true) => formed.with_tls.insert(product.to_owned()),
            Some(false) => formed.without_tls.insert(product.to_owned()),
            None => false,
        };
        // Agents that refuse by somebody else's rules are none of ours.
        match has_tokens(&parts, seen) {
            Some(true) => formed.with_acl.insert(product.to_owned()),
            Some(false) => formed.without_acl.insert(product.to_owned()),
            None => false,
        };
    }
    formed
}

/// Whether the agents of a product speak TLS, by their own word; `None`: none of them says so.
fn speaks_tls(product: &str, clusters: &[ClusterAnswers]) -> Option<bool> {
    let of_product = clusters.iter().filter(|cluster| cluster.gate.product().name() == product);
    let mut said = of_product
        .flat_map(|cluster| cluster.answers.values().filter_map(|answer| cluster.gate.speaks_tls(answer)));
    let first = said.next()?;
    Some(first || said.any(|one| one))
}

/// The same by what lies on their hosts, a certificate, or a configuration without one; `None`: nothing is there yet.
fn has_tls(parts: &[&Members<'_>], seen: &Seen) -> Option<bool> {
    has_set_up(parts, seen, |_, resource| matches!(resource, Resource::Certificate(_)))
}

/// Whether they know who asks, by a file with tokens that this program has written.
fn has_tokens(parts: &[&Members<'_>], seen: &Seen) -> Option<bool> {
    has_set_up(parts, seen, |gate, resource| {
        gate.product().token_file().is_some_and(|file| resource.path() == Some(file))
    })
}

/// Whether something lies on a host of this cluster that only agents with a feature have; `None`: no agent's configuration does.
fn has_set_up(
    parts: &[&Members<'_>],
    seen: &Seen,
    is_of_feature: impl Fn(Gate, &Resource) -> bool,
) -> Option<bool> {
    let lies = |members: &Members<'_>, is_it: &dyn Fn(&WantedRole, &Resource) -> bool| {
        members.hosts.iter().any(|(wanted, role)| {
            // What a host has from a cluster that is no more says nothing of the next one.
            let seen = seen.hosts.get(&wanted.host.name).filter(|seen| seen.marker.is_some());
            seen.is_some_and(|seen| {
                let resources = role.resources.iter().filter(|resource| is_it(role, resource));
                resources
                    .map(|resource| seen.observation.of(&resource.id().0))
                    .any(|said| said.text("type") == Some("file"))
            })
        })
    };
    // The agent's own, in the folder that it reads.
    let is_configuration = |role: &WantedRole, resource: &Resource| {
        let folder = role.endpoint.as_ref().and_then(|endpoint| endpoint.config.as_deref());
        let path = resource.path().and_then(|path| path.rsplit_once('/'));
        matches!(resource, Resource::File(_)) && folder.is_some() && path.map(|(folder, _)| folder) == folder
    };
    if parts.iter().any(|members| lies(members, &|_, resource| is_of_feature(members.gate, resource))) {
        return Some(true);
    }
    parts.iter().any(|members| lies(members, &is_configuration)).then_some(false)
}

/// The steps of each host.
fn changes(plan: &Plan) -> BTreeMap<HostName, BTreeSet<StepId>> {
    let mut changes: BTreeMap<HostName, BTreeSet<StepId>> = BTreeMap::new();
    for (host, steps) in plan.stages.iter().flat_map(|stage| &stage.batches).flat_map(|batch| &batch.steps) {
        changes.entry(host.clone()).or_default().extend(steps.iter().map(|step| step.id.clone()));
    }
    changes
}

/// What a host said, as the preflight takes it.
pub(crate) fn subject<'a>(
    gates: &[Members<'_>],
    wanted: &'a WantedHost,
    seen: &'a HostSeen,
    changes: Option<&BTreeMap<HostName, BTreeSet<StepId>>>,
) -> Subject<'a> {
    let host = &wanted.host.name;
    let mut claim = Claim { marker: seen.marker.clone(), ..Claim::default() };
    let mut node_id = None;
    for members in gates.iter().filter(|members| members.names().contains(host)) {
        let fields = seen.observation.of(&data(members.gate).0);
        let id = fields.text("node-id").map(str::trim);
        node_id = node_id.or(id.map(str::to_owned));
        if let Some(path) = kept(&seen.observation, members.gate) {
            let found = format!(
                "{path} of node id {}, last written {}",
                id.unwrap_or("unknown"),
                fields.text("mtime").and_then(age).unwrap_or_else(|| "at an unknown time".to_owned()),
            );
            let unit = wanted.endpoint(members.gate.name()).map(|endpoint| endpoint.unit.as_str());
            let marked = seen.marker.as_deref().zip(unit);
            if marked.and_then(|(text, unit)| HostMarker::has_set_up(text, unit)) == Some(false) {
                claim.unmarked.push(found.clone());
            }
            claim.raft_data.push(found);
        }
        claim.remains.extend(fields.all("remains").map(str::to_owned));
        claim.clean_up = claim.clean_up.or(members.gate.product().clean_up());
        let answer = answer(&seen.observation, members.gate, &questions(members.gate, wanted));
        claim.agents.extend(members.gate.describe(&answer));
    }
    Subject {
        wanted,
        facts: &seen.facts,
        observation: &seen.observation,
        clock: seen.clock,
        claim,
        node_id,
        changes: changes.map(|changes| changes.get(host).cloned().unwrap_or_default()),
    }
}
