//! A draft inventory against the roles: what it names must exist, what they need must be there.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::{Role, RoleSet, Variable, VariableType};
use crate::inventory::node::{Entry, Kind, Located, Node, Span};
use crate::inventory::reader::{list, missing_colon, nearest};
use crate::inventory::{self, Draft, HostName, Inventory, RoleName};
use crate::report::{Diagnostic, diagnostic};

/// Loads an inventory and checks it against the roles: the inventory with its warnings, or
/// everything that is wrong with it, in the order of the file.
///
/// `home` stands for `~` in its file names.
pub fn load_inventory(
    path: &Path,
    roles: &RoleSet,
    home: Option<&Path>,
) -> Result<(Inventory, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (draft, mut problems) = inventory::load(path);
    problems.extend(draft.iter().flat_map(|draft| check(draft, roles)));
    diagnostic::sort(&mut problems);
    if problems.iter().any(Diagnostic::is_error) {
        return Err(problems);
    }
    match draft.and_then(|draft| draft.inventory(home)) {
        Some(inventory) => Ok((inventory, problems)),
        // A draft without a document or a cluster name has an error, so this cannot be reached; an
        // empty list of reasons would still be a refusal.
        None => Err(problems),
    }
}

/// What the check of the variables collects.
struct Found<'p> {
    problems: &'p mut Vec<Diagnostic>,
    misnamed: HashSet<String>,
    complete: bool,
}

/// Everything that is wrong between a draft and the roles.
pub fn check(draft: &Draft, roles: &RoleSet) -> Vec<Diagnostic> {
    let check = Check::new(draft, roles);
    let mut problems = Vec::new();
    check.names(&mut problems);
    // What follows from all hosts and roles together is only judged when all of them are known: a
    // misspelt role is one error, not also a missing one.
    let complete = draft.complete && problems.is_empty();
    let misnamed = check.variables(complete, &mut problems);
    check.conflicts(&mut problems);
    if complete {
        check.values_needed(&misnamed, &mut problems);
        check.roles_needed(&mut problems);
        check.quorums(&mut problems);
        check.idle(&mut problems);
    }
    diagnostic::sort(&mut problems);
    problems
}

struct Check<'c> {
    draft: &'c Draft,
    roles: &'c RoleSet,
    /// What each host does, included roles too, with the role as written that brings each.
    effective: Vec<Vec<(&'c Role, &'c Located<RoleName>)>>,
}

impl<'c> Check<'c> {
    fn new(draft: &'c Draft, roles: &'c RoleSet) -> Self {
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

    fn host(&self, index: usize) -> &'c HostName {
        &self.draft.hosts[index].name.value
    }

    /// The hosts that have a role, written or included, with the place that gives it.
    fn having(&self, role: &RoleName) -> Vec<(usize, Span)> {
        let with = |(host, roles): (usize, &Vec<(&Role, &Located<RoleName>)>)| {
            roles.iter().find(|(known, _)| known.name == *role).map(|(_, written)| (host, written.span))
        };
        self.effective.iter().enumerate().filter_map(with).collect()
    }

    /// Every place that names a role, with the words for who names it.
    fn mentions(&self) -> Vec<(String, &'c Located<RoleName>)> {
        let mut mentions = Vec::new();
        for group in &self.draft.groups {
            mentions.extend(group.roles.iter().map(|role| (format!("group `{}`", group.name.value), role)));
        }
        let mut seen = HashSet::new();
        for host in &self.draft.hosts {
            // Hosts of one range share what is written.
            for role in host.roles.iter().filter(|role| seen.insert(role.span.start)) {
                let name = host.range.as_deref().unwrap_or(host.name.value.as_str());
                mentions.push((format!("host `{name}`"), role));
            }
        }
        mentions
    }

    fn names(&self, problems: &mut Vec<Diagnostic>) {
        for (who, role) in self.mentions() {
            if self.roles.roles.contains_key(&role.value) {
                continue;
            }
            let known: Vec<&str> = self.roles.roles.keys().map(RoleName::as_str).collect();
            let help = match nearest(role.value.as_str(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if self
                    .draft
                    .groups
                    .iter()
                    .any(|group| group.name.value.as_str() == role.value.as_str()) =>
                {
                    format!("`{}` is a group; `bootstrap roles` lists the roles", role.value)
                }
                None => format!("the roles are {}; `--roles DIR` adds your own", list(&known)),
            };
            problems.push(
                self.draft
                    .document
                    .error(role.span, format!("{who} uses the unknown role `{}`", role.value))
                    .label("no role of this name")
                    .help(help),
            );
        }
    }

    /// What is set at each level: known, of its type, and read by some host it applies to. Returns
    /// the namespaces with unknown names in them: what they seem to lack may be one of those.
    fn variables(&self, complete: bool, problems: &mut Vec<Diagnostic>) -> HashSet<String> {
        let mut found = Found { problems, misnamed: HashSet::new(), complete };
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

    fn level(&self, vars: &Node, hosts: &[usize], who: &str, found: &mut Found<'_>) {
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
    fn known(&self, entry: &Entry, dotted: &str, found: &mut Found<'_>) {
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

    fn wrong_value(&self, node: &Node, dotted: &str, variable: &Variable) -> Option<Diagnostic> {
        if node.is_null() {
            // A map whose lines are all commented out is an empty one.
            if variable.optional || (variable.r#type == VariableType::Map && variable.default.is_some()) {
                return None;
            }
            let help = match &variable.default {
                Some(default) if !variable.secret => {
                    format!("give it a value, or remove the line: then it is `{}`", shown(default))
                }
                Some(_) => "give it a value, or remove the line: then it has its default".to_owned(),
                None => format!("it needs {}: {}", variable.r#type.describe(), variable.doc),
            };
            let problem = self.draft.document.error(node.span, format!("`{dotted}` has no value"));
            return Some(problem.label("nothing follows").help(help));
        }
        let fault = variable.r#type.fault(node, &self.draft.document)?;
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
            return Some(
                problem.without_excerpt().help(format!("{help}\nthe line is not shown: its value is secret")),
            );
        }
        // A long list of what is possible stands in the message alone.
        let short = fault.wanted.chars().count() <= 40;
        Some(if short { problem.label(format!("expected {}", fault.wanted)) } else { problem })
    }

    /// Variables without a default that a host's roles read and its inventory does not set.
    fn values_needed(&self, misnamed: &HashSet<String>, problems: &mut Vec<Diagnostic>) {
        let mut wanting: BTreeMap<&str, (&Variable, &Located<RoleName>, Vec<usize>)> = BTreeMap::new();
        for (host, roles) in self.effective.iter().enumerate() {
            let vars = self.draft.vars_of(host);
            for (role, written) in roles {
                for (name, variable) in &role.variables {
                    let needed = variable.default.is_none()
                        && !variable.optional
                        && variable.generate.is_none()
                        && !misnamed.contains(first(name));
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

    fn these(&self, hosts: &[usize]) -> String {
        let names: Vec<&str> = hosts.iter().map(|host| self.host(*host).as_str()).collect();
        match names.len() {
            0..=5 => list(&names),
            more => format!("{} and {} more hosts", list(&names[..3]).replace(" and ", ", "), more - 3),
        }
    }

    fn roles_needed(&self, problems: &mut Vec<Diagnostic>) {
        let mut seen = HashSet::new();
        for (_, written) in self.mentions() {
            for role in self.roles.closure([&written.value]) {
                for needed in &role.needs {
                    if !self.having(needed).is_empty() || !seen.insert((role.name.clone(), needed.clone())) {
                        continue;
                    }
                    problems.push(
                        self.draft
                            .document
                            .error(
                                written.span,
                                format!("role `{}` needs `{needed}`, which no host has", role.name),
                            )
                            .label(format!("needs a host with `{needed}`"))
                            .help(format!("give the role to a group or a host: `roles: [{needed}]`")),
                    );
                }
            }
        }
    }

    fn conflicts(&self, problems: &mut Vec<Diagnostic>) {
        let mut seen = HashSet::new();
        for (host, roles) in self.effective.iter().enumerate() {
            for (at, (role, written)) in roles.iter().enumerate() {
                for (other, other_written) in &roles[at + 1..] {
                    let (span, other_span) = (written.span, other_written.span);
                    if !(role.conflicts.contains(&other.name) || other.conflicts.contains(&role.name)) {
                        continue;
                    }
                    if !seen.insert((span.start, other_span.start)) {
                        continue;
                    }
                    let hosts: Vec<usize> = (host..self.effective.len())
                        .filter(|host| {
                            let has = |name| self.effective[*host].iter().any(|(role, _)| role.name == name);
                            has(role.name.clone()) && has(other.name.clone())
                        })
                        .collect();
                    let message = format!(
                        "{} cannot have both roles `{}` and `{}`",
                        self.these(&hosts),
                        role.name,
                        other.name
                    );
                    problems.push(
                        self.draft
                            .document
                            .error(other_span, message)
                            .label(format!("`{}`", other.name))
                            .also(span.range(), format!("`{}`", role.name))
                            .help("take the host out of one of the groups, or one of the roles away"),
                    );
                }
            }
        }
    }

    fn quorums(&self, problems: &mut Vec<Diagnostic>) {
        for role in self.roles.roles.values().filter(|role| role.quorum) {
            let hosts = self.having(&role.name);
            let Some((_, span)) = hosts.last() else { continue };
            let (count, name) = (hosts.len(), &role.name);
            let (message, help) = match count {
                1 => (
                    format!(
                        "`{}` is the only host with role `{name}`: when it stops, the cluster stops",
                        self.host(hosts[0].0)
                    ),
                    "fine for a trial; three of them survive the loss of one".to_owned(),
                ),
                2 => (
                    format!(
                        "2 hosts have role `{name}`: a quorum of 2 needs both, so losing either stops the cluster"
                    ),
                    "take three: they survive the loss of one".to_owned(),
                ),
                _ if count % 2 == 0 => (
                    format!(
                        "{count} hosts have role `{name}`, an even number: they survive the loss of {}, as {} would",
                        (count - 1) / 2,
                        count - 1
                    ),
                    format!("a quorum of {count} is {}: take {} or {}", count / 2 + 1, count - 1, count + 1),
                ),
                _ => continue,
            };
            let label = if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") };
            problems.push(self.draft.document.warning(*span, message).label(label).help(help));
        }
    }

    /// Hosts on which nothing would be done.
    fn idle(&self, problems: &mut Vec<Diagnostic>) {
        let mut by_key: Vec<(Span, Vec<usize>)> = Vec::new();
        for (index, host) in self.draft.hosts.iter().enumerate() {
            if !self.draft.roles_of(index).is_empty() {
                continue;
            }
            match by_key.iter_mut().find(|(span, _)| *span == host.name.span) {
                Some((_, hosts)) => hosts.push(index),
                None => by_key.push((host.name.span, vec![index])),
            }
        }
        for (span, hosts) in by_key {
            let verb = if hosts.len() == 1 { "has" } else { "have" };
            let (why, help) = match self.draft.groups_of(hosts[0]).next() {
                Some(group) => (
                    format!("{verb} no role: group `{}` has none", group.name.value),
                    format!(
                        "add `roles:` to the group or to the host: nothing is set up on {} otherwise",
                        self.these(&hosts)
                    ),
                ),
                None => (
                    format!("{verb} no role and {} in no group", if hosts.len() == 1 { "is" } else { "are" }),
                    "add it to a group, or remove it: nothing is set up on it otherwise".to_owned(),
                ),
            };
            problems.push(
                self.draft
                    .document
                    .warning(span, format!("{} {why}", self.these(&hosts)))
                    .label("nothing to do")
                    .help(help),
            );
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

/// A default for a sentence or a table: texts bare, the rest as JSON.
pub fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
