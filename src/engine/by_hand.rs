//! Steps that no plan has: single commands of the products, as an operator would type them.

use std::collections::BTreeMap;

use crate::inventory::{HostName, RoleName};
use crate::plan::{Batch, Change, Effect, Stage, StageName, Step, StepId};
use crate::roles::WantedHost;
use crate::script::{Arg, Call, NulInArgument};

/// One command on a host as a step; `function` is that of the prelude that runs it.
pub(super) fn step(
    host: &WantedHost,
    id: String,
    reason: &str,
    function: &'static str,
    words: &[&str],
) -> Result<Step, NulInArgument> {
    let arguments: Result<Vec<Arg>, _> = words.iter().map(|word| Arg::new(*word)).collect();
    let role = host.roles.last().map(|role| role.name.clone());
    let change = Change {
        reason: reason.to_owned(),
        effect: Effect::Stop,
        diff: None,
        calls: vec![Call::new(function, arguments?)],
    };
    Ok(Step {
        id: StepId(id),
        role: role.unwrap_or_else(|| RoleName::parse("none").expect("a name")),
        change,
        help: None,
    })
}

/// Hosts that do their steps at the same time; hosts without any are left out.
pub(super) fn stage(name: &str, mut steps: BTreeMap<HostName, Vec<Step>>) -> Stage {
    steps.retain(|_, steps| !steps.is_empty());
    Stage { name: StageName(name.to_owned()), gate: None, quorum: false, batches: vec![Batch { steps }] }
}

pub(super) fn is_empty(stage: &Stage) -> bool {
    stage.batches.iter().all(|batch| batch.steps.is_empty())
}
