//! Commands of the products, as an operator would type them, as steps of a host.

use crate::model::{Arg, Call, Change, Effect, NulInArgument, RoleName, Step, StepId};
use crate::products::{Gate, Task};
use crate::resource::Resource;
use crate::roles::{Wanted, WantedHost};

/// The tasks of a part with the token that its product's own program shows, where its agents know who asks.
pub(crate) fn signed(gate: Gate, wanted: &Wanted, mut tasks: Vec<Task>) -> Vec<Task> {
    let product = gate.product();
    let mut endpoints = wanted.hosts.iter().flat_map(WantedHost::endpoints);
    let endpoint = endpoints.find(|endpoint| endpoint.product == product.name());
    let token = endpoint.and_then(|endpoint| endpoint.tokens.operate.as_ref());
    if let (Some(name), Some(token)) = (product.token_variable(), token) {
        tasks.iter_mut().for_each(|task| task.variable = Some((name, token.clone())));
    }
    tasks
}

/// One command on a host as a step; `function` is that of the prelude that runs it.
pub(crate) fn step(
    host: &WantedHost,
    id: String,
    reason: &str,
    function: &'static str,
    words: &[&str],
) -> Result<Step, NulInArgument> {
    let arguments: Result<Vec<Arg>, _> = words.iter().map(|word| Arg::new(*word)).collect();
    Ok(of_call(host, id, reason, Call::new(function, arguments?)))
}

fn of_call(host: &WantedHost, id: String, reason: &str, call: Call) -> Step {
    let role = host.roles.last().map(|role| role.name.clone());
    let change = Change { reason: reason.to_owned(), effect: Effect::Stop, diff: None, calls: vec![call] };
    Step {
        id: StepId(id),
        role: role.unwrap_or_else(|| RoleName::parse("none").expect("a name")),
        change,
        help: None,
    }
}

/// Stops a unit for good.
pub(crate) fn stop(host: &WantedHost, id: String, reason: &str, unit: &str) -> Result<Step, NulInArgument> {
    step(host, id, reason, "unit_stop", &[unit])
}

/// The steps of a product's tasks on a host.
pub(crate) fn tasks(host: &WantedHost, tasks: Vec<Task>) -> Result<Vec<Step>, NulInArgument> {
    let step = |task: Task| {
        let call = task.call()?;
        Ok(of_call(host, task.id, &task.reason, call))
    };
    tasks.into_iter().map(step).collect()
}

/// Stops the agent of a part for good; what it remembers is set aside ([`aside`]).
pub(crate) fn ends(
    gate: Gate,
    host: &WantedHost,
    unit: &str,
    data: &str,
) -> Result<Vec<Step>, NulInArgument> {
    let id = format!("stop {unit} ({})", gate.name());
    let stop = stop(host, id, "it is to stay stopped, also after a boot", unit)?;
    let after = tasks(host, gate.leaving().after_stop())?;
    let keyrings = gate.product().keyrings(data);
    let keyrings: Vec<&str> = keyrings.iter().map(String::as_str).collect();
    let id = format!("remove keys of gossip ({})", gate.name());
    let keys = remove_files(host, id, "with them it could join no other cluster", &keyrings)?;
    Ok([stop].into_iter().chain(after).chain(keys).chain(aside(gate, host, data)?).collect())
}

/// Sets aside what a member remembers, if that is something.
pub(crate) fn aside(gate: Gate, host: &WantedHost, data: &str) -> Result<Option<Step>, NulInArgument> {
    // With what a server remembers it would bring back a past that the others have left.
    let paths = match gate.has_raft() {
        true => gate.product().membership(data),
        false => gate.leaving().remains(data),
    };
    let aside = (!paths.is_empty()).then(|| {
        let words: Vec<&str> = paths.iter().map(String::as_str).collect();
        let id = format!("set aside {}", paths.join(", "));
        step(host, id, "a former member's data stays out of reach", "data_aside", &words)
    });
    aside.transpose()
}

/// Removes the secret files that its roles have written: who is a member no more has no use for them.
pub(crate) fn remove_keys(host: &WantedHost) -> Result<Option<Step>, NulInArgument> {
    let resources = host.roles.iter().flat_map(|role| &role.resources);
    let files: Vec<&str> = resources.filter_map(Resource::secret_file).collect();
    remove_files(host, "remove its keys".to_owned(), "it is a member no more", &files)
}

/// Removes files, if there are any to remove.
fn remove_files(
    host: &WantedHost,
    id: String,
    reason: &str,
    files: &[&str],
) -> Result<Option<Step>, NulInArgument> {
    if files.is_empty() {
        return Ok(None);
    }
    let words = [&["rm", "-f", "--"], files].concat();
    step(host, id, reason, "exec_run", &words).map(Some)
}
