//! Who serves or watches the state of others, while that state is replaced.

use std::collections::BTreeMap;

use crate::engine::Fleet;
use crate::engine::commands::stage;
use crate::engine::members::members;
use crate::engine::tasks::step;
use crate::model::{HostName, NulInArgument, Stage};
use crate::products::{Command, Gate, Watching};
use crate::roles::{Wanted, WantedHost};

/// Each part that keeps its state with the members of one cluster, and its hosts.
pub(super) struct Watchers<'a> {
    /// Whose state it is.
    gate: Gate,
    /// The same in the names of steps.
    pub(super) label: &'static str,
    watching: Vec<(Gate, Watching, Vec<&'a WantedHost>)>,
}

impl<'a> Watchers<'a> {
    /// All that there are of the state of `gate`.
    pub(super) fn of(gate: Gate, wanted: &'a Wanted) -> Self {
        let gates = members(wanted);
        let watches = gates
            .iter()
            .filter_map(|of| Some((of.gate, of.gate.watches(gate.name())?, of.hosts().collect())));
        Self {
            gate,
            label: gate.raft().map_or(gate.name(), |raft| raft.label()),
            watching: watches.collect(),
        }
    }

    /// Those on hosts that answer; the others look when they are back.
    pub(super) fn that_answer(mut self, fleet: &Fleet) -> Self {
        for (_, _, hosts) in &mut self.watching {
            hosts.retain(|host| fleet.connections.contains_key(&host.host.name));
        }
        self
    }

    /// Those that are no members of the cluster themselves.
    pub(super) fn beside(&self) -> Self {
        let others = self.watching.iter().filter(|(part, _, _)| *part != self.gate);
        Self { watching: others.cloned().collect(), ..*self }
    }

    /// The hosts of those that serve the state.
    pub(super) fn serving(&self) -> impl Iterator<Item = &'a WantedHost> {
        self.watching
            .iter()
            .filter(|(_, watching, _)| watching.pause.is_some())
            .flat_map(|(_, _, hosts)| hosts)
            .copied()
    }

    /// Before: nobody serves the old state while the new one comes.
    ///
    /// # Errors
    /// As for a step; of the others as well.
    pub(super) fn pause(&self, why: &str) -> Result<Vec<Stage>, NulInArgument> {
        self.stages(|watching| watching.pause, why)
    }

    pub(super) fn resume(&self, why: &str) -> Result<Vec<Stage>, NulInArgument> {
        self.stages(|watching| watching.resume, why)
    }

    /// After: what they remember is of another state.
    pub(super) fn look_again(&self, why: &str) -> Result<Vec<Stage>, NulInArgument> {
        self.stages(|watching| Some(watching.look_again), why)
    }

    /// Those that do the same do it at the same time.
    fn stages(
        &self,
        which: fn(&Watching) -> Option<Command>,
        why: &str,
    ) -> Result<Vec<Stage>, NulInArgument> {
        let mut doing: Vec<(Command, Vec<&WantedHost>)> = Vec::new();
        for (_, watching, hosts) in &self.watching {
            let Some(command) = which(watching) else { continue };
            match doing.iter_mut().find(|(known, _)| *known == command) {
                Some((_, all)) => all.extend(hosts),
                None => doing.push((command, hosts.clone())),
            }
        }
        let each =
            doing.iter().map(|(command, hosts)| on_all(hosts, command.name, self.label, &command.words, why));
        each.collect()
    }
}

/// The same command on several hosts, at the same time; `label` is what it is done to.
pub(super) fn on_all(
    hosts: &[&WantedHost],
    name: &str,
    label: &str,
    words: &[&str],
    why: &str,
) -> Result<Stage, NulInArgument> {
    let of_host = |host: &&WantedHost| {
        let step = step(host, format!("{name} {label}"), why, "exec_run", words)?;
        Ok((host.host.name.clone(), vec![step]))
    };
    let steps: Result<BTreeMap<HostName, _>, NulInArgument> = hosts.iter().map(of_host).collect();
    steps.map(|steps| stage(name, steps))
}
