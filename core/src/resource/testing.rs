//! For the tables of the kinds: a resource as a role writes it, an answer, and what is decided.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Error, Planned, Resource};
use crate::facts::Facts;
use crate::model::{Change, StepId};
use crate::script::Fields;

/// A value and its key.
pub(crate) type SeenValue<'a> = (&'a str, &'a str);

pub(crate) fn facts(arch: &str) -> Facts {
    let said = [
        ("os-release", "ID=debian\n"),
        ("arch", arch),
        ("hostname", "node-1"),
        ("kernel", "6.1"),
        ("addresses", ""),
        ("ssh-connection", ""),
        ("epoch", "1"),
        ("user", "root"),
        ("package-manager", "apt"),
        ("init", "systemd"),
        ("resolver-writers", ""),
        ("cgroup", "2"),
    ];
    Facts::parse(&Fields::new(&owned(&said))).unwrap()
}

pub(crate) fn owned(said: &[SeenValue<'_>]) -> Vec<(String, Vec<u8>)> {
    said.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

pub(super) fn resource(json: Value) -> Resource {
    Resource::from_value(json).unwrap()
}

/// What is decided about a resource, from what its probe said and what is planned already.
pub(super) fn decide_with(
    resource: &Resource,
    said: &[SeenValue<'_>],
    facts: &Facts,
    planned: &[&str],
) -> Result<Option<Change>, Error> {
    let planned: BTreeSet<_> = planned.iter().map(|id| StepId((*id).to_owned())).collect();
    decide_planned(resource, said, facts, &Planned { steps: &planned, keys: &BTreeMap::new() })
}

pub(super) fn decide_planned(
    resource: &Resource,
    said: &[SeenValue<'_>],
    facts: &Facts,
    planned: &Planned<'_>,
) -> Result<Option<Change>, Error> {
    resource.decide(&Fields::new(&owned(said)), facts, planned)
}

pub(super) fn decide(json: Value, said: &[SeenValue<'_>]) -> Result<Option<Change>, Error> {
    decide_with(&resource(json), said, &facts("x86_64"), &[])
}

/// The reason, or `-` for a resource that is as wanted, or the error in full.
pub(super) fn reason(json: Value, said: &[SeenValue<'_>]) -> String {
    reason_of(decide(json, said))
}

pub(super) fn reason_of(decided: Result<Option<Change>, Error>) -> String {
    match decided {
        Ok(Some(change)) => change.reason,
        Ok(None) => "-".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

/// The calls, one a line.
pub(super) fn calls(json: Value, said: &[SeenValue<'_>]) -> Vec<String> {
    let change = decide(json, said).unwrap().expect("a change");
    change.calls.iter().map(ToString::to_string).collect()
}
