//! Takes a whole cluster down: every agent stopped, in reverse order of activation.

use std::collections::BTreeMap;

use super::change::{Decision, Operation};
use super::observed_hosts::ObservedHosts;
use crate::engine::commands::{self, Failure, stage};
use crate::engine::members::members;
use crate::engine::tasks::{remove_keys, step, stop};
use crate::engine::{EngineError, Outcome, Run, undo};
use crate::model::{Endpoint, NulInArgument, Stage};
use crate::roles::Wanted;

/// The agents of all hosts that answer stop, in reverse order of activation.
pub struct Down {
    /// Their data goes too, what their roles have changed is put back, and they are nobody's.
    pub purge: bool,
}

impl Operation for Down {
    async fn decide(
        &mut self,
        _looked: &mut ObservedHosts,
        run: Run<'_>,
    ) -> Result<Option<Decision>, EngineError> {
        let data = match self.purge {
            true => {
                ", all their data is removed (`bootstrap snapshot save` keeps some of it), and what roles changed on them is as \
                 it was before"
            }
            false => "",
        };
        let (hosts, cluster) = (run.options.hosts.len(), &run.wanted.cluster);
        let question = Some(format!("The agents of {hosts} hosts of `{cluster}` stop{data}."));
        Ok(Some(Decision { changes_hosts: true, question }))
    }

    async fn change(
        &mut self,
        observed_hosts: &mut ObservedHosts,
        run: Run<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), EngineError> {
        let stages = stages(run.wanted, self.purge).unwrap_or_default();
        let fleet = &mut observed_hosts.fleet;
        // A host that fails keeps no other one from going down.
        let ended = commands::run(fleet, stages, Failure::GoOn, run, outcome).await;
        if self.purge && ended.is_ok() {
            undo::all(fleet, &run.options.hosts, run, outcome).await;
        }
        Ok(())
    }
}

fn stages(wanted: &Wanted, purge: bool) -> Result<Vec<Stage>, NulInArgument> {
    let mut stages = Vec::new();
    let gates = members(wanted);
    for members in gates.iter().rev() {
        let gate = members.gate;
        let mut steps = BTreeMap::new();
        for host in members.hosts() {
            let Some(Endpoint { unit, .. }) = host.endpoint(gate.name()) else { continue };
            let (id, why) = (format!("stop {unit}"), "the cluster goes down");
            let step = match gate.product().stop_command() {
                Some(words) => step(host, id, why, "exec_run", &words)?,
                None => stop(host, id, why, unit)?,
            };
            steps.insert(host.host.name.clone(), vec![step]);
        }
        stages.push(stage(&format!("stop {}", gate.name()), steps));
    }
    if purge {
        let mut steps = BTreeMap::new();
        for host in wanted.hosts.iter().filter(|host| !host.roles.is_empty()) {
            let of_host = || gates.iter().filter(|members| members.names().contains(&host.host.name));
            let mut own = Vec::new();
            for gate in of_host().map(|members| members.gate) {
                if let Some(words) = gate.product().purge_command() {
                    let id = format!("take apart {}", gate.name());
                    own.push(step(host, id, "the host is a member no more", "exec_run", &words)?);
                }
            }
            for gate in of_host().map(|members| members.gate) {
                let Some(Endpoint { data, .. }) = host.endpoint(gate.name()) else { continue };
                let state = gate.product().state(data);
                let words: Vec<&str> =
                    [data.as_str()].into_iter().chain(state.iter().map(String::as_str)).collect();
                let id = format!("remove the data in {data}");
                own.push(step(host, id, "the cluster's data goes", "data_remove", &words)?);
            }
            own.extend(remove_keys(host)?);
            // Two agents of one product share a folder.
            own.dedup_by(|one, other| one.id == other.id);
            steps.insert(host.host.name.clone(), own);
        }
        stages.push(stage("purge", steps));
    }
    Ok(stages)
}
