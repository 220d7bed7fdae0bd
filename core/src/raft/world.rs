//! Random clusters, and what is decided on their servers' word: no decision takes a quorum away, or makes a second cluster of one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Peer, View, Views, departure, lost_quorum, majority, recovery, strangers, unfinished, without};
use crate::model::{Expected, HostName, Verdict};

/// A voter and how it is: the truth, of which the program sees what those say whom it reaches.
#[derive(Clone, Copy, Debug)]
struct Voter {
    /// Its agent runs.
    lives: bool,
    /// Voters reach each other within one group alone.
    group: u8,
    /// SSH reaches its host.
    reached: bool,
    /// It does not tell whoever asks without a token.
    refuses: bool,
    /// The inventory names it.
    named: bool,
}

#[derive(Clone, Debug)]
struct World(Vec<Voter>);

fn voter() -> impl Strategy<Value = Voter> {
    let weighted = proptest::bool::weighted;
    (weighted(0.7), 0_u8..2, weighted(0.8), weighted(0.1), weighted(0.9))
        .prop_map(|(lives, group, reached, refuses, named)| Voter { lives, group, reached, refuses, named })
}

fn host(number: usize) -> HostName {
    HostName::parse(format!("node-{number}")).unwrap()
}

fn address(number: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(number).unwrap() + 1])
}

impl World {
    fn living(&self, group: u8) -> BTreeSet<usize> {
        let voters = self.0.iter().enumerate();
        voters.filter(|(_, voter)| voter.lives && voter.group == group).map(|(number, _)| number).collect()
    }

    /// The group that has a majority, and with it a leader.
    fn quorum(&self) -> Option<BTreeSet<usize>> {
        [0, 1].map(|group| self.living(group)).into_iter().find(|group| group.len() >= majority(self.0.len()))
    }

    fn peers(&self, number: usize) -> Vec<Peer> {
        let leader =
            self.quorum().filter(|group| group.contains(&number)).and_then(|group| group.first().copied());
        let peer = |of: usize| Peer {
            id: format!("id-{of}"),
            node: format!("node-{of}"),
            address: SocketAddr::new(address(of), 8300),
            leader: leader == Some(of),
            voter: true,
        };
        (0..self.0.len()).map(peer).collect()
    }

    fn asked(&self) -> impl Iterator<Item = (usize, &Voter)> {
        self.0.iter().enumerate().filter(|(_, voter)| voter.named && voter.reached)
    }

    fn views(&self) -> Views {
        let view = |number: usize, voter: &Voter| match (voter.lives, voter.refuses) {
            (false, _) => View::Silent("its agent does not answer".to_owned()),
            (true, true) => View::Refused("status 403".to_owned()),
            (true, false) => View::Peers(self.peers(number)),
        };
        self.asked().map(|(number, voter)| (host(number), view(number, voter))).collect()
    }

    fn expected(&self) -> Expected {
        let named = self.0.iter().enumerate().filter(|(_, voter)| voter.named);
        let members: BTreeMap<HostName, IpAddr> =
            named.map(|(number, _)| (host(number), address(number))).collect();
        let asked: BTreeSet<HostName> = self.asked().map(|(number, _)| host(number)).collect();
        Expected { missing: members.len() - asked.len(), members, asked, ..Expected::default() }
    }

    /// Whether somebody who leads, or follows, tells so.
    fn tells(&self) -> bool {
        let quorum = self.quorum().unwrap_or_default();
        self.asked().any(|(number, voter)| !voter.refuses && quorum.contains(&number))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever may leave leaves a majority of the rest behind that has a leader now, and every other refusal says what to do.
    #[test]
    fn who_leaves_leaves_a_quorum(world in vec(voter(), 1..=7).prop_map(World), leaver in 0_usize..7) {
        let leaver = leaver % world.0.len();
        let (expected, views) = (world.expected(), world.views());
        match departure("servers", &expected, &views, &host(leaver)) {
            Ok(departure) => {
                let left = world.0.len() - usize::from(departure.peer.is_some());
                let mut quorum = world.quorum().unwrap_or_default();
                quorum.remove(&leaver);
                prop_assert!(departure.peer.is_none() || quorum.len() >= majority(left), "{quorum:?} of {left}");
                prop_assert!(world.tells(), "nobody knows");
            }
            Err(refusal) => prop_assert!(refusal.remedy.contains('`') || refusal.remedy.contains("let them tell")),
        }
    }

    /// Who recovers makes no second cluster: nobody who is asked leads or follows, and nobody is left out of the asking.
    #[test]
    fn no_recovery_beside_a_living_quorum(world in vec(voter(), 1..=7).prop_map(World)) {
        let (expected, views) = (world.expected(), world.views());
        let all_asked = world.0.iter().all(|voter| voter.reached);
        let recovered = recovery("servers", &expected, &views);
        if let Ok(recovery) = &recovered {
            prop_assert!(!world.tells());
            prop_assert!(world.0.iter().all(|voter| voter.named), "a stranger may live");
            prop_assert!(!all_asked || world.quorum().is_none(), "two clusters");
            prop_assert!(!recovery.survivors.is_empty() && recovery.survivors.len() < majority(world.0.len()));
            let mut known: Vec<&HostName> = recovery.survivors.iter().chain(&recovery.lost).collect();
            known.sort();
            prop_assert_eq!(known, expected.members.keys().collect::<Vec<_>>(), "each is one or the other");
            for (number, voter) in world.0.iter().enumerate() {
                prop_assert!(voter.lives || !recovery.survivors.contains(&host(number)), "the dead do not survive");
            }
        }
        // What is told of a lost quorum is true, and then there is a way out, or a reason.
        if lost_quorum(&expected, &views).is_some() && all_asked && world.0.iter().all(|voter| voter.named) {
            prop_assert!(world.quorum().is_none());
            prop_assert!(recovered.is_ok() || world.0.iter().any(|voter| voter.refuses), "{recovered:?}");
        }
        // In a whole cluster nothing of a recovery is left to be done.
        prop_assert_eq!(unfinished(&expected, &views, &BTreeSet::new()), None);
    }

    /// Every voter that the inventory does not name is told as soon as somebody follows a leader; nobody else ever is.
    #[test]
    fn each_stranger_is_told(world in vec(voter(), 1..=7).prop_map(World)) {
        let found: BTreeSet<IpAddr> =
            strangers(&world.expected(), &world.views()).iter().map(|peer| peer.address.ip()).collect();
        let unnamed = world.0.iter().enumerate().filter(|(_, voter)| !voter.named && world.tells());
        prop_assert_eq!(found, unnamed.map(|(number, _)| address(number)).collect());
        // None of them has left, whoever asks.
        for number in 0..world.0.len() {
            let verdict = without(&world.expected(), &world.views(), &host(number));
            let is_named = world.0[number].named;
            prop_assert!(!is_named || matches!(verdict, Verdict::NotYet { .. }), "{verdict:?}");
        }
    }
}
