//! In which order the hosts of a stage are changed: pure, and where quorum is kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Batch, ClusterState, Effect, HostName, Keep, Stage, Step};
use crate::raft::majority;

/// How many of the members that are not voters may be interrupted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// At least 1.
    Hosts(usize),
    /// Of those that are interrupted at all, rounded up.
    Percent(u8),
}

impl Default for BatchSize {
    fn default() -> Self {
        Self::Percent(10)
    }
}

impl BatchSize {
    fn of(self, hosts: usize) -> usize {
        match self {
            Self::Hosts(number) => number.max(1),
            Self::Percent(percent) => (hosts * usize::from(percent)).div_ceil(100).max(1),
        }
    }
}

impl std::str::FromStr for BatchSize {
    type Err = String;

    /// `3`, or `25%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no batch: write a number of hosts, `3`, or a part of them, `25%`");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
                percent.map(Self::Percent).ok_or_else(wrong)
            }
            None => text.parse().ok().filter(|number| *number > 0).map(Self::Hosts).ok_or_else(wrong),
        }
    }
}

/// Splits the steps of a stage into batches.
///
/// Servers that refuse to tell of their cluster are taken for a living one.
/// Voters of a living cluster go one at a time, those that are ill first and the leader last; the voters of a new one
/// start together, because none is ready before it has seen the others. Elsewhere what starts goes first
/// and at once, and what is interrupted goes a `share` of the hosts at a time, or one by one where others
/// stop with it.
pub(super) fn batches(
    quorum: bool,
    cluster_state: &ClusterState,
    share: BatchSize,
    steps: BTreeMap<HostName, Vec<Step>>,
) -> Vec<Batch> {
    if quorum && cluster_state.members.is_empty() && cluster_state.untold.is_empty() {
        return one_batch(steps);
    }
    let mut groups: BTreeMap<u8, Vec<(HostName, Vec<Step>)>> = BTreeMap::new();
    for (host, steps) in steps {
        let rank = match effect(&steps) {
            Effect::Quiet | Effect::Reload => 0,
            // Nothing is lost by it, and tolerance won.
            Effect::Restart | Effect::Stop if cluster_state.ill.contains(&host) => 1,
            // A member that is down gives tolerance back when it starts; a new one comes after it.
            Effect::Start if !quorum || cluster_state.members.contains(&host) => 2,
            Effect::Start => 3,
            Effect::Restart | Effect::Stop if cluster_state.leader.as_ref() == Some(&host) => 6,
            Effect::Restart => 4,
            Effect::Stop => 5,
        };
        groups.entry(rank).or_default().push((host, steps));
    }
    let mut batches = Vec::new();
    for (rank, hosts) in groups {
        let size = match rank {
            0 | 2 => hosts.len(),
            5 => 1,
            _ if quorum => 1,
            _ => share.of(hosts.len()),
        };
        for chunk in hosts.chunks(size.max(1)) {
            batches.extend(one_batch(chunk.iter().cloned().collect()));
        }
    }
    batches
}

/// Each host after another, in this order: the first makes what the others join.
pub(super) fn one_by_one<'h>(
    order: impl Iterator<Item = &'h HostName>,
    kept: &BTreeSet<HostName>,
    steps: BTreeMap<HostName, Vec<Step>>,
) -> Vec<Batch> {
    // Those that were members already are none without each other.
    let (back, mut new): (BTreeMap<_, _>, BTreeMap<_, _>) =
        steps.into_iter().partition(|(host, _)| kept.contains(host));
    let new = order.filter_map(|host| new.remove_entry(host));
    one_batch(back).into_iter().chain(new.map(|of_host| Batch { steps: BTreeMap::from([of_host]) })).collect()
}

/// What the steps of a host do to what runs there, all together.
fn effect(steps: &[Step]) -> Effect {
    steps.iter().map(|step| step.change.effect).max().unwrap_or_default()
}

/// Whether something that serves is interrupted by a batch.
pub fn interrupts(batch: &Batch) -> bool {
    batch.steps.values().any(|steps| effect(steps) >= Effect::Restart)
}

/// Whether a batch only interrupts members that are ill, while the others have a majority without them. Nobody waits for
/// them to be well before: they may be ill of what the batch mends.
pub fn is_of_ill(batch: &Batch, cluster_state: &ClusterState) -> bool {
    let ClusterState { members, ill, .. } = cluster_state;
    members.len() - ill.len() >= majority(members.len()) && batch.steps.keys().all(|host| ill.contains(host))
}

/// The ill members that later batches of the stage mend: until then nobody expects them to be well.
pub fn still_ill<'s>(later: &'s [Batch], cluster_state: &'s ClusterState) -> BTreeSet<&'s HostName> {
    let of_later = later.iter().flat_map(|batch| batch.steps.keys());
    of_later.filter(|host| cluster_state.ill.contains(*host)).collect()
}

/// What is kept on which hosts of a batch while it proves itself. Nothing where nothing ran before or, in a stage with a gate,
/// who is no member of a living cluster: that would go back to what was never well. And nothing where a command takes part:
/// what that does, no file takes back.
pub fn keeps(has_gate: bool, batch: &Batch, cluster_state: &ClusterState) -> BTreeMap<HostName, Keep> {
    let keep = |host: &HostName, steps: &[Step]| {
        let is_member = cluster_state.members.contains(host);
        if steps.iter().any(Step::is_command) || has_gate && !is_member {
            return None;
        }
        match effect(steps) {
            Effect::Quiet => None,
            Effect::Start => is_member.then_some(Keep::LastWell),
            _ if cluster_state.ill.contains(host) => Some(Keep::LastWell),
            Effect::Reload | Effect::Restart | Effect::Stop => Some(Keep::Now),
        }
    };
    batch.steps.iter().filter_map(|(host, steps)| Some((host.clone(), keep(host, steps)?))).collect()
}

fn one_batch(steps: BTreeMap<HostName, Vec<Step>>) -> Vec<Batch> {
    if steps.is_empty() { Vec::new() } else { vec![Batch { steps }] }
}

/// Why a batch must not run now, given the members of its role that cannot take part.
///
/// `absent` are hosts that have the role but were set aside or left out of the run.
pub fn hold_back(
    stage: &Stage,
    batch: &Batch,
    cluster_state: &ClusterState,
    absent: &BTreeSet<HostName>,
) -> Option<String> {
    if stage.quorum
        && interrupts(batch)
        && cluster_state.members.is_empty()
        && !cluster_state.untold.is_empty()
    {
        let names: Vec<&str> = cluster_state.untold.iter().map(HostName::as_str).collect();
        return Some(format!(
            "the API of {} refuses to tell of the cluster (status 401 or 403: ACLs?), and nobody knows whether it can spare a voter; \
             let whoever asks without a token read, or stop it all first, by `bootstrap down`",
            names.join(", ")
        ));
    }
    if !stage.quorum || absent.is_empty() {
        return None;
    }
    let names: Vec<&str> = absent.iter().map(HostName::as_str).collect();
    let names = names.join(", ");
    if cluster_state.members.is_empty() {
        return Some(format!("a first quorum needs all its servers, and {names} cannot take part"));
    }
    let harms = interrupts(batch) && !is_of_ill(batch, cluster_state);
    harms.then(|| format!("{names} cannot take part, and the cluster must not lose another voter"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, RoleName, StageName, StepId};

    fn host(number: usize) -> HostName {
        HostName::parse(format!("node-{number}")).unwrap()
    }

    fn steps(effects: &[Effect]) -> BTreeMap<HostName, Vec<Step>> {
        let step = |effect: &Effect| Step {
            id: StepId("unit x.service".into()),
            role: RoleName::parse("x").unwrap(),
            change: Change { reason: "r".into(), effect: *effect, diff: None, calls: Vec::new() },
            help: None,
        };
        effects.iter().enumerate().map(|(index, effect)| (host(index + 1), vec![step(effect)])).collect()
    }

    fn living(members: &[usize], leader: usize) -> ClusterState {
        ClusterState {
            members: members.iter().map(|n| host(*n)).collect(),
            leader: Some(host(leader)),
            failure_tolerance: 1,
            ..ClusterState::default()
        }
    }

    fn names(batches: &[Batch]) -> Vec<String> {
        let join = |batch: &Batch| batch.steps.keys().map(HostName::as_str).collect::<Vec<_>>().join("+");
        batches.iter().map(join).collect()
    }

    #[test]
    fn voters_of_a_new_cluster_start_together() {
        let batches =
            batches(true, &ClusterState::default(), BatchSize::default(), steps(&[Effect::Start; 3]));
        assert_eq!(names(&batches), ["node-1+node-2+node-3"]);
    }

    #[test]
    fn where_others_join_the_first_it_goes_before_them() {
        let order = [host(10), host(2), host(1), host(3)];
        let batches = one_by_one(order.iter(), &BTreeSet::new(), steps(&[Effect::Start; 3]));
        assert_eq!(names(&batches), ["node-2", "node-1", "node-3"]);
        let kept = BTreeSet::from([order[1].clone(), order[2].clone()]);
        let batches = one_by_one(order.iter(), &kept, steps(&[Effect::Start; 3]));
        assert_eq!(names(&batches), ["node-1+node-2", "node-3"]);
    }

    #[test]
    fn a_living_cluster_goes_one_voter_at_a_time_and_the_leader_last() {
        let batches =
            batches(true, &living(&[1, 2, 3], 1), BatchSize::default(), steps(&[Effect::Restart; 3]));
        assert_eq!(names(&batches), ["node-2", "node-3", "node-1"]);
    }

    #[test]
    fn a_stopped_member_starts_before_new_ones_join_and_before_restarts() {
        let effects = [Effect::Restart, Effect::Start, Effect::Restart, Effect::Start, Effect::Start];
        let batches = batches(true, &living(&[1, 2, 3], 3), BatchSize::default(), steps(&effects));
        assert_eq!(names(&batches), ["node-2", "node-4", "node-5", "node-1", "node-3"]);
    }

    /// The first three are members, and these of them are ill.
    fn with_ill(ill: &[usize]) -> ClusterState {
        ClusterState { ill: ill.iter().map(|n| host(*n)).collect(), ..living(&[1, 2, 3, 4, 5], 3) }
    }

    #[test]
    fn the_ill_go_first_one_at_a_time_and_nobody_waits_for_them_to_be_well() {
        let ill = with_ill(&[4, 5]);
        let batches = batches(true, &ill, BatchSize::default(), steps(&[Effect::Restart; 5]));
        assert_eq!(names(&batches), ["node-4", "node-5", "node-1", "node-2", "node-3"]);
        let alone: Vec<bool> = batches.iter().map(|batch| is_of_ill(batch, &ill)).collect();
        assert_eq!(alone, [true, true, false, false, false]);
        assert_eq!(still_ill(&batches[1..], &ill), BTreeSet::from([&host(5)]));
        assert_eq!(still_ill(&batches[2..], &ill), BTreeSet::new());
        // Those that are well are no majority: somebody is wrong, and nobody is interrupted on that word.
        let doubtful = with_ill(&[1, 2, 4]);
        assert!(batches.iter().all(|batch| !is_of_ill(batch, &doubtful)));
    }

    #[test]
    fn what_ran_is_kept_until_its_batch_has_proved_itself() {
        let kept = |effect, cluster_state: &ClusterState| {
            let batch = Batch { steps: steps(&[effect]) };
            keeps(true, &batch, cluster_state).into_values().next()
        };
        let well = with_ill(&[]);
        for (effect, keep) in [
            (Effect::Quiet, None),
            (Effect::Reload, Some(Keep::Now)),
            (Effect::Restart, Some(Keep::Now)),
            (Effect::Stop, Some(Keep::Now)),
            (Effect::Start, Some(Keep::LastWell)),
        ] {
            assert_eq!(kept(effect, &well), keep, "{effect:?}");
        }
        assert_eq!(kept(Effect::Restart, &with_ill(&[1])), Some(Keep::LastWell));
        assert_eq!(kept(Effect::Start, &ClusterState::default()), None);
        let mut of_command = Batch { steps: steps(&[Effect::Restart]) };
        for steps in of_command.steps.values_mut() {
            steps[0].id = StepId("exec kubeadm upgrade".into());
        }
        assert_eq!(keeps(true, &of_command, &well), BTreeMap::new());
        // Nobody knows whether a cluster that is just being made was ever well; what has no gate runs or not.
        assert_eq!(kept(Effect::Restart, &ClusterState::default()), None);
        let alone = Batch { steps: steps(&[Effect::Restart]) };
        assert_eq!(keeps(false, &alone, &ClusterState::default()).into_values().next(), Some(Keep::Now));
    }

    #[test]
    fn clients_are_interrupted_a_tenth_at_a_time() {
        let batches =
            batches(false, &ClusterState::default(), BatchSize::default(), steps(&[Effect::Restart; 20]));
        assert_eq!(batches.len(), 10);
        assert!(batches.iter().all(|batch| batch.steps.len() == 2));
    }

    #[test]
    fn where_others_stop_too_one_host_follows_another() {
        let mut effects = vec![Effect::Restart; 10];
        effects.extend([Effect::Stop, Effect::Stop, Effect::Reload]);
        let batches = names(&batches(false, &ClusterState::default(), BatchSize::default(), steps(&effects)));
        assert_eq!(batches[0], "node-13");
        assert_eq!(batches.len(), 1 + 10 + 2);
        assert_eq!(batches[11..], ["node-11", "node-12"]);
    }

    #[test]
    fn a_batch_is_held_back_when_a_voter_is_missing() {
        let stage = |effect| Stage {
            name: StageName("consul-server".into()),
            gate: None,
            quorum: true,
            batches: vec![Batch { steps: steps(&[effect]) }],
        };
        let absent = BTreeSet::from([host(3)]);
        let held = |effect, cluster_state: &ClusterState, absent: &BTreeSet<HostName>| {
            let stage = stage(effect);
            hold_back(&stage, &stage.batches[0], cluster_state, absent)
        };
        assert!(held(Effect::Start, &ClusterState::default(), &absent).unwrap().contains("node-3"));
        assert_eq!(held(Effect::Start, &ClusterState::default(), &BTreeSet::new()), None);
        assert!(held(Effect::Restart, &living(&[1, 2, 3], 1), &absent).is_some());
        assert_eq!(held(Effect::Start, &living(&[1, 2, 3], 1), &absent), None);
    }

    #[test]
    fn servers_that_refuse_to_tell_are_a_cluster_whose_voters_nobody_interrupts() {
        let untold = |hosts: &[usize]| ClusterState {
            kept: (1..=3).map(host).collect(),
            untold: hosts.iter().map(|n| host(*n)).collect(),
            ..ClusterState::default()
        };
        let stage = |batches| Stage {
            name: StageName("consul-server".into()),
            gate: Some("consul-servers".into()),
            quorum: true,
            batches,
        };
        for hosts in [&[1, 2, 3][..], &[2]] {
            for effect in [Effect::Restart, Effect::Stop] {
                let state = untold(hosts);
                let stage = stage(batches(true, &state, BatchSize::default(), steps(&[effect; 3])));
                assert_eq!(stage.batches.len(), 3, "{}", names(&stage.batches).join(" "));
                for batch in &stage.batches {
                    let held = hold_back(&stage, batch, &state, &BTreeSet::new()).unwrap();
                    assert!(held.contains("node-2") && held.contains("refuses to tell"), "{held}");
                }
            }
        }
        // Nobody is harmed by one that starts; and what the others tell of the cluster is enough.
        let starts = stage(batches(true, &untold(&[1]), BatchSize::default(), steps(&[Effect::Start])));
        assert_eq!(hold_back(&starts, &starts.batches[0], &untold(&[1]), &BTreeSet::new()), None);
        let known = ClusterState { untold: BTreeSet::from([host(2)]), ..living(&[1, 2, 3], 1) };
        let restarts = stage(batches(true, &known, BatchSize::default(), steps(&[Effect::Restart])));
        assert_eq!(hold_back(&restarts, &restarts.batches[0], &known, &BTreeSet::new()), None);
        // Where nobody refuses, those that have no leader start anew together.
        assert_eq!(batches(true, &untold(&[]), BatchSize::default(), steps(&[Effect::Restart; 3])).len(), 1);
    }

    #[test]
    fn the_operator_says_how_many_at_once() {
        let sizes = |share: &str| -> Vec<usize> {
            let batches = batches(
                false,
                &ClusterState::default(),
                share.parse().unwrap(),
                steps(&[Effect::Restart; 8]),
            );
            batches.iter().map(|batch| batch.steps.len()).collect()
        };
        assert_eq!(sizes("3"), [3, 3, 2]);
        assert_eq!(sizes("25%"), [2, 2, 2, 2]);
        assert_eq!(sizes("1%"), [1; 8]);
        assert_eq!(sizes("100"), [8]);
        for wrong in ["0", "0%", "101%", "-1", "all", ""] {
            assert!(wrong.parse::<BatchSize>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        /// Random clusters of 1 to 7 voters, of which some are ill or out of reach, and members and strangers with every sort of
        /// change, in a run in which any batch may fail: the engine's own rules, without its hosts.
        #[test]
        fn no_change_takes_a_voter_while_another_is_away(
            voters in 1_usize..=7,
            leader in 0_usize..7,
            ill in proptest::collection::vec(proptest::bool::weighted(0.25), 7),
            away in proptest::collection::vec(proptest::bool::weighted(0.15), 7),
            effects in proptest::collection::vec(0_usize..6, 9),
            ends_well in proptest::collection::vec(proptest::bool::weighted(0.8), 9),
        ) {
            let number = |index: usize| host(index + 1);
            let members: BTreeSet<HostName> = (0..voters).map(number).collect();
            let absent: BTreeSet<HostName> = (0..voters).filter(|n| away[*n]).map(number).collect();
            let ill: BTreeSet<HostName> = (0..voters).filter(|n| ill[*n] || away[*n]).map(number).collect();
            let cluster = ClusterState {
                leader: Some(number(leader % voters)).filter(|leader| !ill.contains(leader)),
                members: members.clone(),
                ill: ill.clone(),
                ..ClusterState::default()
            };
            let all = [Effect::Quiet, Effect::Reload, Effect::Start, Effect::Restart, Effect::Stop];
            let planned: BTreeMap<HostName, Vec<Step>> = steps(&effects.iter().map(|n| all[*n % 5]).collect::<Vec<_>>())
                .into_iter()
                .enumerate()
                .filter(|(index, (host, _))| effects[*index] < 5 && !absent.contains(host))
                .map(|(_, steps)| steps)
                .collect();
            let batches = batches(true, &cluster, BatchSize::Percent(100), planned.clone());

            let mut met: Vec<&HostName> = batches.iter().flat_map(|batch| batch.steps.keys()).collect();
            met.sort();
            proptest::prop_assert_eq!(met, planned.keys().collect::<Vec<_>>(), "each host once, and none is left out");

            let stage = Stage { name: StageName("x".into()), gate: None, quorum: true, batches };
            let mut down: BTreeSet<HostName> = ill;
            for (index, batch) in stage.batches.iter().enumerate() {
                if hold_back(&stage, batch, &cluster, &absent).is_some() {
                    break;
                }
                // A gate before it is met while all are well, those apart that later batches are to mend.
                let gated = interrupts(batch) && !is_of_ill(batch, &cluster);
                if gated && !down.is_empty() {
                    break;
                }
                let taken: BTreeSet<&HostName> = batch
                    .steps
                    .iter()
                    .filter(|(host, steps)| effect(steps) >= Effect::Restart && members.contains(*host))
                    .map(|(host, _)| host)
                    .collect();
                let well: Vec<&&HostName> = taken.iter().filter(|host| !down.contains(**host)).collect();
                proptest::prop_assert!(well.len() <= 1, "{well:?} at once");
                if !well.is_empty() {
                    proptest::prop_assert!(down.is_empty(), "{well:?} while {down:?} are away");
                }
                if !ends_well[index] {
                    // Nothing follows a batch whose gate is not met.
                    break;
                }
                for host in batch.steps.keys() {
                    down.remove(host);
                }
                // The gate after it looks at all others.
                let later = still_ill(&stage.batches[index + 1..], &cluster);
                if down.iter().any(|host| !later.contains(host) && !absent.contains(host)) {
                    break;
                }
            }
        }
    }
}
