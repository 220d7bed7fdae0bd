//! A draft inventory with the roles of its hosts: what checks look at.

use super::{Role, RoleSet};
use crate::inventory::Draft;
use crate::inventory::node::{Located, Span};
use crate::inventory::reader::list;
use crate::model::{HostName, RoleName};

/// One check: the draft, the roles, and what each host does.
pub struct Check<'c> {
    pub draft: &'c Draft,
    pub roles: &'c RoleSet,
    /// What each host does, included roles too, with the role as written that brings each.
    pub effective: Vec<Vec<(&'c Role, &'c Located<RoleName>)>>,
}

impl<'c> Check<'c> {
    pub fn new(draft: &'c Draft, roles: &'c RoleSet) -> Self {
        let effective = (0..draft.hosts.len()).map(|host| {
            let mut found: Vec<(&Role, &Located<RoleName>)> = Vec::new();
            for written in draft.roles_of(host) {
                for role in roles.closure([&written.value]) {
                    if !found.iter().any(|(known, _)| known.name == role.name) {
                        found.push((role, written));
                    }
                }
            }
            found
        });
        Self { draft, roles, effective: effective.collect() }
    }

    pub fn host(&self, index: usize) -> &'c HostName {
        &self.draft.hosts[index].name.value
    }

    /// The hosts that have a role, written or included, with the place that gives it.
    pub fn having(&self, role: &str) -> Vec<(usize, Span)> {
        let with = |(host, roles): (usize, &Vec<(&Role, &Located<RoleName>)>)| {
            roles
                .iter()
                .find(|(known, _)| known.name.as_str() == role)
                .map(|(_, written)| (host, written.span))
        };
        self.effective.iter().enumerate().filter_map(with).collect()
    }

    /// Hosts as a sentence has them; the first few of many.
    pub fn these(&self, hosts: &[usize]) -> String {
        let names: Vec<&str> = hosts.iter().map(|host| self.host(*host).as_str()).collect();
        match names.len() {
            0..=5 => list(&names),
            more => format!("{} and {} more hosts", list(&names[..3]).replace(" and ", ", "), more - 3),
        }
    }
}

/// A default for a sentence or a table: texts bare, the rest as JSON.
pub fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
