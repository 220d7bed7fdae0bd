//! The values an inventory sets against the variables its roles declare.

use std::collections::{BTreeMap, HashSet};

use super::draft::{Check, shown};
use super::{Fault, Role, Variable, VariableType};
use crate::inventory::node::{Entry, Kind, Located, Node};
use crate::inventory::reader::{list, missing_colon, nearest};
use crate::inventory::{self};
use crate::model::{Diagnostic, RoleName};

/// What the check of the variables collects.
struct VariableCheck<'p> {
    problems: &'p mut Vec<Diagnostic>,
    misnamed: HashSet<String>,
    complete: bool,
}

impl<'c> Check<'c> {
    /// What is set at each level: known, of its type, and read by some host it applies to. Returns
    /// the namespaces with unknown names in them: what they seem to lack may be one of those.
    pub fn variables(&self, complete: bool, problems: &mut Vec<Diagnostic>) -> HashSet<String> {
        let mut found = VariableCheck { problems, misnamed: HashSet::new(), complete };
        let everywhere: Vec<usize> = (0..self.draft.hosts.len()).collect();
        if let Some(vars) = &self.draft.vars {
            self.level(vars, &everywhere, "the cluster", &mut found);
        }
        for group in &self.draft.groups {
            let hosts: Vec<usize> = group.members.iter().map(|(host, _)| *host).collect();
            if let Some(vars) = &group.vars {
                self.level(vars, &hosts, &format!("group `{}`", group.name.value), &mut found);
            }
        }
        let mut seen = HashSet::new();
        for (index, host) in self.draft.hosts.iter().enumerate() {
            // Hosts of one range share what is written.
            if let Some(vars) = host.vars.as_ref().filter(|vars| seen.insert(vars.span.start)) {
                let same = |(_, other): &(usize, &inventory::DraftHost)| other.name.span == host.name.span;
                let hosts: Vec<usize> =
                    self.draft.hosts.iter().enumerate().filter(same).map(|(index, _)| index).collect();
                let name = host.range.as_deref().unwrap_or(self.host(index).as_str());
                self.level(vars, &hosts, &format!("host `{name}`"), &mut found);
            }
        }
        found.misnamed
    }

    fn level(&self, vars: &Node, hosts: &[usize], who: &str, found: &mut VariableCheck<'_>) {
        for entry in vars.entries() {
            let namespace = &entry.key.value;
            let owners: Vec<&Role> = self
                .roles
                .roles
                .values()
                .filter(|role| role.variables.keys().any(|name| first(name) == namespace))
                .collect();
            if owners.is_empty() {
                found.problems.push(self.unknown_namespace(entry, &mut found.misnamed));
                continue;
            }
            let before = found.problems.len();
            self.known(entry, namespace, found);
            let read = |host: &usize| {
                self.effective[*host]
                    .iter()
                    .any(|(role, _)| owners.iter().any(|owner| owner.name == role.name))
            };
            // Hosts without any role are reported for that.
            let idle = hosts.iter().all(|host| self.effective[*host].is_empty());
            if found.complete && found.problems.len() == before && !idle && !hosts.iter().any(read) {
                let names: Vec<&str> = owners.iter().map(|role| role.name.as_str()).collect();
                let (noun, verb) = if names.len() == 1 { ("role", "reads") } else { ("roles", "read") };
                found.problems.push(
                    self.draft
                        .document
                        .warning(
                            entry.key.span,
                            format!("`{namespace}` is set for {who}, where nothing reads it"),
                        )
                        .label("not used")
                        .help(format!(
                            "the {noun} {} {verb} it: give it to a host, or remove these lines",
                            list(&names)
                        )),
                );
            }
        }
    }

    fn unknown_namespace(&self, entry: &Entry, misnamed: &mut HashSet<String>) -> Diagnostic {
        let name = &entry.key.value;
        let all = || self.roles.roles.values().flat_map(|role| role.variables.keys());
        let mut namespaces: Vec<&str> = all().map(|name| first(name)).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let help = if let Some(nested) = self.nested(name, "") {
            misnamed.insert(first(name).to_owned());
            nested
        } else if let Some(near) = nearest(name, namespaces.iter().copied()) {
            misnamed.insert(near.to_owned());
            format!("did you mean `{near}`?")
        } else if let Some(full) = all().find(|full| full.rsplit('.').next() == Some(name.as_str())) {
            let (namespace, rest) = full.split_once('.').unwrap_or((full, ""));
            misnamed.insert(namespace.to_owned());
            format!(
                "did you mean `{namespace}: {{ {rest}: … }}`? variables stand under the product they belong to"
            )
        } else if namespaces.is_empty() {
            "no role declares any variable".to_owned()
        } else {
            format!("variables are set under {}; `bootstrap roles NAME` lists them", list(&namespaces))
        };
        self.draft
            .document
            .error(entry.key.span, format!("no role has variables under `{name}`"))
            .label("unknown")
            .help(help)
    }

    /// Follows the names of the variables down the maps as written.
    fn known(&self, entry: &Entry, dotted: &str, found: &mut VariableCheck<'_>) {
        let plain = !entry.key.value.contains('.');
        if let Some((_, variable)) = self.declared(dotted).filter(|_| plain) {
            found.problems.extend(self.wrong_value(&entry.value, dotted, variable));
            return;
        }
        let below: Vec<&String> = self.names_below(dotted);
        if below.is_empty() || !plain {
            found.problems.push(self.unknown_variable(entry, dotted));
            found.misnamed.insert(first(dotted).to_owned());
            return;
        }
        match &entry.value.kind {
            Kind::Map(entries) => {
                for inner in entries {
                    self.known(inner, &format!("{dotted}.{}", inner.key.value), found);
                }
            }
            Kind::Null => {}
            _ => {
                let got = entry.value.describe();
                found.misnamed.insert(first(dotted).to_owned());
                found.problems.push(
                    self.draft
                        .document
                        .error(
                            entry.value.span,
                            format!("`{dotted}` must be a map of its variables, got {got}"),
                        )
                        .label("expected a map")
                        .help(format!("for example `{dotted}: {{ {}: … }}`", &below[0][dotted.len() + 1..])),
                );
            }
        }
    }

    fn declared(&self, dotted: &str) -> Option<(&'c Role, &'c Variable)> {
        self.roles.roles.values().find_map(|role| Some((role, role.variables.get(dotted)?)))
    }

    fn names_below(&self, dotted: &str) -> Vec<&'c String> {
        let below = |name: &&String| name.strip_prefix(dotted).is_some_and(|rest| rest.starts_with('.'));
        self.roles.roles.values().flat_map(|role| role.variables.keys()).filter(below).collect()
    }

    /// Dots are for messages: in the file each step is a map of its own.
    fn nested(&self, dotted: &str, parent: &str) -> Option<String> {
        self.declared(dotted)?;
        let rest = dotted.strip_prefix(parent)?.trim_start_matches('.');
        let (first, rest) = rest.split_once('.')?;
        Some(format!("write `{first}: {}`", braces(rest)))
    }

    fn unknown_variable(&self, entry: &Entry, dotted: &str) -> Diagnostic {
        let last = entry.key.value.as_str();
        let parent = dotted.strip_suffix(last).and_then(|rest| rest.strip_suffix('.')).unwrap_or_default();
        let siblings = self.names_below(parent);
        let short = |name: &'c String| &name[parent.len() + 1..];
        let owner = siblings.first().and_then(|name| self.declared(name)).map(|(role, _)| role.name.as_str());
        let lists =
            owner.map(|owner| format!("`bootstrap roles {owner}` lists the variables")).unwrap_or_default();
        let names = || siblings.iter().map(|name| short(name));
        let meant = missing_colon(entry, names()).or_else(|| self.nested(dotted, parent));
        let help =
            match meant.or_else(|| nearest(last, names()).map(|near| format!("did you mean `{near}`?"))) {
                Some(help) => help,
                None => match self.names_below(parent).iter().find(|name| name.ends_with(".extra_config")) {
                    Some(extra) => format!("{lists}; the product's own settings go under `{extra}`"),
                    None => lists,
                },
            };
        self.draft
            .document
            .error(entry.key.span, format!("unknown variable `{dotted}`"))
            .label("no role has it")
            .help(help)
    }

    fn wrong_value(&self, node: &Node, dotted: &str, variable: &Variable) -> Vec<Diagnostic> {
        if node.is_null() {
            // A map whose lines are all commented out is an empty one.
            if variable.optional || (variable.r#type == VariableType::Map && variable.default.is_some()) {
                return Vec::new();
            }
            let help = match &variable.default {
                Some(default) if !variable.secret => {
                    format!("give it a value, or remove the line: then it is `{}`", shown(default))
                }
                Some(_) => "give it a value, or remove the line: then it has its default".to_owned(),
                None => format!("it needs {}: {}", variable.r#type.describe(), variable.doc),
            };
            let problem = self.draft.document.error(node.span, format!("`{dotted}` has no value"));
            return vec![problem.label("nothing follows").help(help)];
        }
        let faults = variable.r#type.faults(node, &self.draft.document);
        faults.into_iter().map(|fault| self.faulty(fault, dotted, variable)).collect()
    }

    fn faulty(&self, fault: Fault, dotted: &str, variable: &Variable) -> Diagnostic {
        let part = fault.part;
        let message = if variable.secret {
            format!("{part}`{dotted}` must be {}", fault.wanted)
        } else {
            format!("{part}`{dotted}` must be {}, got {}", fault.wanted, fault.got)
        };
        let problem = self
            .draft
            .document
            .error(fault.span, message)
            .help(fault.help.unwrap_or_else(|| format!("`{dotted}`: {}", variable.doc)));
        if variable.secret {
            let help = problem.help.clone().unwrap_or_default();
            return problem
                .without_excerpt()
                .help(format!("{help}\nthe line is not shown: its value is secret"));
        }
        // A long list of what is possible stands in the message alone.
        let short = fault.wanted.chars().count() <= 40;
        if short { problem.label(format!("expected {}", fault.wanted)) } else { problem }
    }

    /// Variables without a default that a host's roles read and its inventory does not set.
    pub fn values_needed(&self, misnamed: &HashSet<String>, problems: &mut Vec<Diagnostic>) {
        let mut wanting: BTreeMap<&str, (&Variable, &Located<RoleName>, Vec<usize>)> = BTreeMap::new();
        for (host, roles) in self.effective.iter().enumerate() {
            let vars = self.draft.vars_of(host);
            for (role, written) in roles {
                for (name, variable) in &role.variables {
                    let needed = variable.is_required() && !misnamed.contains(first(name));
                    // A null is reported where it stands.
                    if needed && name.split('.').try_fold(&vars, |node, step| node.get(step)).is_none() {
                        let entry = wanting.entry(name).or_insert((variable, *written, Vec::new()));
                        if !entry.2.contains(&host) {
                            entry.2.push(host);
                        }
                    }
                }
            }
        }
        for (name, (variable, role, hosts)) in wanting {
            let line = braces(name);
            let problem = self
                .draft
                .document
                .error(
                    role.span,
                    format!(
                        "`{name}` is not set, but role `{}` needs it on {}",
                        role.value,
                        self.these(&hosts)
                    ),
                )
                .label(format!("needs `{name}`"))
                .help(format!("set it, `vars: {line}`, to {}\n{}", variable.r#type.describe(), variable.doc));
            problems.push(problem);
        }
    }
}

/// `tls.cert` -> `{ tls: { cert: … } }`
fn braces(dotted: &str) -> String {
    dotted.split('.').rev().fold("…".to_owned(), |inner, step| format!("{{ {step}: {inner} }}"))
}

fn first(dotted: &str) -> &str {
    dotted.split('.').next().unwrap_or(dotted)
}
