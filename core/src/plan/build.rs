//! Wanted against seen, resource by resource.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{BatchSize, batches, one_by_one};
use crate::facts::{ClockOffset, Facts};
use crate::ledger::{self, Removal};
use crate::model::{
    Arg, Batch, Call, Change, ClusterState, Effect, HostName, Plan, RoleName, Stage, StageName, Step, StepId,
};
use crate::resource::{Phase, Planned, RemoteFile, Resource, Verified};
use crate::roles::{ClusterAddresses, Everyone, Forms, Wanted, WantedError, WantedHost, WantedRole};
use crate::script::Observation;

/// What every reachable host said, read.
#[derive(Debug, Default)]
pub struct Seen {
    pub hosts: BTreeMap<HostName, HostSeen>,
    /// By the name of the gate.
    pub cluster_states: BTreeMap<String, ClusterState>,
    pub addresses: ClusterAddresses,
    /// The marker that each host should carry, as text.
    pub markers: BTreeMap<HostName, String>,
    /// What was found out on this machine about the files from sites that hosts lack.
    pub downloads: BTreeMap<RemoteFile, Verified>,
}

/// What one host said.
#[derive(Debug)]
pub struct HostSeen {
    pub facts: Facts,
    pub observation: Observation,
    pub marker: Option<String>,
    /// Its clock against ours.
    pub clock: ClockOffset,
}

/// Why no plan can be made for a host. Found before anything is changed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Wanted(#[from] WantedError),
    #[error(
        "host `{host}`: `{first}` and `{second}` write the same file; each starts from what is there \
         now, so one would undo the other"
    )]
    SameFile { host: HostName, first: StepId, second: StepId },
    #[error("host `{host}`, role `{role}`: {step}")]
    Resource { host: HostName, role: RoleName, step: StepId, source: crate::resource::Error },
    #[error("host `{host}`, what a removed role left: {step}")]
    Ledger { host: HostName, step: StepId, source: crate::resource::Error },
}

/// The files that hosts lack and that come from a site.
pub fn lacking(wanted: &Wanted, hosts: &BTreeMap<HostName, HostSeen>) -> BTreeSet<RemoteFile> {
    let mut found = BTreeSet::new();
    for host in &wanted.hosts {
        let Some(state) = hosts.get(&host.host.name) else { continue };
        for resource in host.roles.iter().flat_map(|role| &role.resources) {
            let fields = state.observation.of(&resource.id().0);
            found.extend(resource.lacking(&fields, &state.facts));
        }
    }
    found
}

impl Plan {
    /// Everything that differs, in the order in which it will be mended.
    ///
    /// # Errors
    /// All that is wrong on all hosts, not only the first.
    pub fn new(wanted: &Wanted, seen: &Seen, share: BatchSize) -> Result<Self, Vec<PlanError>> {
        let mut removals = BTreeMap::new();
        let mut prepare = BTreeMap::new();
        let mut activate: BTreeMap<RoleName, BTreeMap<HostName, Vec<Step>>> = BTreeMap::new();
        let mut errors = Vec::new();
        let everyone = wanted.everyone(&seen.addresses);
        for host in &wanted.hosts {
            let Some(state) = seen.hosts.get(&host.host.name) else { continue };
            match host_steps(wanted, &everyone, host, seen, state) {
                Ok(steps) => {
                    if !steps.removal.steps.is_empty() {
                        removals.insert(host.host.name.clone(), steps.removal);
                    }
                    if !steps.prepare.is_empty() {
                        prepare.insert(host.host.name.clone(), steps.prepare);
                    }
                    for (role, steps) in steps.activate {
                        activate.entry(role).or_default().insert(host.host.name.clone(), steps);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut stages = Vec::new();
        // First: what comes after starts from hosts as they were, with the ports of what is gone free.
        if !removals.is_empty() {
            let name = StageName(ledger::stage_name(removals.values()));
            let steps = removals.into_iter().map(|(host, removal)| (host, removal.steps)).collect();
            stages.push(removal_stage(name, share, steps));
        }
        if !prepare.is_empty() {
            stages.push(Stage {
                name: StageName("prepare".to_owned()),
                gate: None,
                quorum: false,
                batches: vec![Batch { steps: prepare }],
            });
        }
        for role in &wanted.order {
            let Some(steps) = activate.remove(role) else { continue };
            let known = wanted.hosts.iter().flat_map(|host| &host.roles).find(|wanted| wanted.name == *role);
            let (gate, quorum) = known.map_or((None, false), |role| (role.gate.clone(), role.quorum));
            let cluster_state = gate.as_ref().and_then(|gate| seen.cluster_states.get(gate));
            let cluster_state = cluster_state.cloned().unwrap_or_default();
            let batches = match known.map(|role| role.forms).unwrap_or_default() {
                Forms::OneByOne if quorum && cluster_state.members.is_empty() => {
                    one_by_one(wanted.hosts.iter().map(|host| &host.host.name), &cluster_state.kept, steps)
                }
                _ => batches(quorum, &cluster_state, share, steps),
            };
            stages.push(Stage { name: StageName(role.to_string()), gate, quorum, batches });
        }
        Ok(Self { stages, ..Self::default() })
    }
}

/// What hosts have no role for any more goes from them.
pub fn removal_stage(name: StageName, share: BatchSize, steps: BTreeMap<HostName, Vec<Step>>) -> Stage {
    let batches = batches(false, &ClusterState::default(), share, steps);
    Stage { name, gate: None, quorum: false, batches }
}

/// The scripts of a host's roles that are not as they are wanted now: what an operation runs there may be of an earlier
/// inventory.
///
/// # Errors
/// The first that cannot be had.
pub fn scripts(wanted: &Wanted, host: &WantedHost, seen: &Seen) -> Result<Vec<Step>, PlanError> {
    let Some(state) = seen.hosts.get(&host.host.name) else { return Ok(Vec::new()) };
    let (planned, keys) = (BTreeSet::new(), BTreeMap::new());
    let late = host.late(&state.facts, &wanted.everyone(&seen.addresses));
    let mut steps: Vec<Step> = Vec::new();
    for role in &host.roles {
        for resource in role.resources.iter().filter(|resource| resource.is_script()) {
            let id = resource.id();
            if steps.iter().any(|step| step.id == id) {
                continue;
            }
            let resource = wanted.resolved(host, role, resource, &late)?;
            let so_far = Planned { steps: &planned, keys: &keys };
            let decided = resource.decide(&state.observation.of(&id.0), &state.facts, &so_far);
            let change = decided.map_err(|source| PlanError::Resource {
                host: host.host.name.clone(),
                role: role.name.clone(),
                step: id.clone(),
                source,
            })?;
            steps.extend(change.map(|change| Step { id, role: role.name.clone(), change, help: None }));
        }
    }
    Ok(steps)
}

struct HostSteps {
    removal: Removal,
    prepare: Vec<Step>,
    activate: Vec<(RoleName, Vec<Step>)>,
}

fn host_steps(
    wanted: &Wanted,
    everyone: &Everyone,
    host: &WantedHost,
    seen: &Seen,
    state: &HostSeen,
) -> Result<HostSteps, PlanError> {
    let name = || host.host.name.clone();
    let removal = ledger::removal(host, &state.observation).map_err(|(step, source)| PlanError::Ledger {
        host: name(),
        step,
        source,
    })?;
    // What is put back may be watched by a unit that stays.
    let mut planned: BTreeSet<StepId> = removal.steps.iter().map(|step| step.id.clone()).collect();
    let mut steps = HostSteps { removal, prepare: Vec::new(), activate: Vec::new() };
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut written: BTreeMap<String, StepId> = BTreeMap::new();
    // What waits for its role's turn.
    let mut later: BTreeSet<StepId> = BTreeSet::new();
    let late = host.late(&state.facts, everyone);
    for role in &host.roles {
        let marker = seen.markers.get(&host.host.name).filter(|text| state.marker.as_ref() != Some(text));
        if let Some(marker) = marker.filter(|_| steps.prepare.is_empty()) {
            steps.prepare.push(marker_step(&role.name, state, marker));
        }
        // A voter gives up what its role makes no more when it is its turn.
        let mut activate = steps.removal.leftovers(&role.name, role.quorum);
        let mut first = role.removable;
        // What runs reads these files at its next start, whoever starts it: they change when it is this member's turn.
        let mut in_turn = runs(role, state);
        for resource in &role.resources {
            let resource = wanted.resolved(host, role, resource, &late)?;
            let id = resource.id();
            // Two roles may want the same package or directory; it is mended once.
            if planned.contains(&id) {
                // What builds on a thing comes after it.
                in_turn |= later.contains(&id);
                continue;
            }
            let said = state.observation.of(&id.0);
            let resource = resource.with_verified(&seen.downloads, &state.facts);
            let failed = |source| PlanError::Resource {
                host: name(),
                role: role.name.clone(),
                step: id.clone(),
                source,
            };
            let so_far = Planned { steps: &planned, keys: &keys };
            let change = resource.decide(&said, &state.facts, &so_far).map_err(failed)?;
            let Some(mut change) = change else { continue };
            if role.puts_back(&resource) {
                change = ledger::recorded(&role.name, &resource, &said, change).map_err(failed)?;
            }
            if std::mem::take(&mut first) {
                let all = role.resources.iter();
                let seen = all.map(|resource| (resource, state.observation.of(&resource.id().0)));
                change.calls.splice(..0, ledger::units(&role.name, seen).map_err(failed)?);
            }
            if let Some(first) = resource.path().and_then(|path| written.insert(path.to_owned(), id.clone()))
            {
                return Err(PlanError::SameFile { host: name(), first, second: id });
            }
            if let (Some(path), Some(changed)) =
                (resource.path(), resource.changed_keys(&said).map_err(failed)?)
            {
                keys.insert(path.to_owned(), changed);
            }
            planned.insert(id.clone());
            let help = resource.help().map_err(failed)?;
            let mut step = Step { id: id.clone(), role: role.name.clone(), change, help };
            // A command that is to come first does so, unless it runs what waits.
            let waiting = Planned { steps: &later, keys: &keys };
            let comes_first =
                resource.command().is_some_and(|words| !words.iter().any(|word| waiting.touches_path(word)));
            if resource.phase() == Phase::Prepare && (!in_turn || comes_first) {
                steps.prepare.push(step);
                continue;
            }
            // What it needs may be among what waits.
            let only_links = activate.iter().all(|step: &Step| step.id.0.starts_with("release "));
            let ahead = only_links.then(|| resource.ahead(&mut step.change)).flatten();
            if let Some((id, change)) = ahead {
                steps.prepare.push(Step { id, role: role.name.clone(), change, help: None });
            }
            // A unit that two roles share starts with what both of them prepare.
            if !matches!(resource, Resource::Unit(_)) {
                later.insert(id);
            }
            if !step.change.calls.is_empty() {
                activate.push(step);
            }
        }
        if !activate.is_empty() {
            steps.activate.push((role.name.clone(), activate));
        }
    }
    Ok(steps)
}

/// Whether a unit of a role runs on a host.
fn runs(role: &WantedRole, state: &HostSeen) -> bool {
    let units = role.resources.iter().filter(|resource| matches!(resource, Resource::Unit(_)));
    let mut states = units.filter_map(|unit| state.observation.of(&unit.id().0).text("ActiveState"));
    states.any(|state| ["active", "activating", "reloading"].contains(&state))
}

/// The first step on every host: from then on it is known whose the host is.
fn marker_step(role: &RoleName, state: &HostSeen, marker: &str) -> Step {
    let text = Arg::new(marker).expect("JSON has no NUL byte");
    Step {
        id: StepId("marker cluster".to_owned()),
        role: role.clone(),
        change: Change {
            reason: if state.marker.is_some() { "differs" } else { "absent" }.to_owned(),
            effect: Effect::Quiet,
            diff: None,
            calls: vec![Call::new("cluster_write", [text])],
        },
        help: None,
    }
}
