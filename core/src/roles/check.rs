//! A draft inventory against the roles: what it names must exist, what they need must be there.

use std::collections::HashSet;
use std::path::Path;

use super::draft::Check;
use super::{RoleSet, rules};
use crate::inventory::node::{Located, Span};
use crate::inventory::reader::{list, nearest};
use crate::inventory::{self, Draft, Inventory, yaml};
use crate::model::{Diagnostic, RoleName, diagnostic};

/// The role whose hosts take jobs.
const NOMAD_SERVER: &str = "nomad-server";

/// Loads an inventory and checks it against the roles: the inventory with its warnings, or
/// everything that is wrong with it, in the order of the file.
///
/// `home` stands for `~` in its file names.
pub fn load_inventory(
    path: &Path,
    roles: &RoleSet,
    home: Option<&Path>,
) -> Result<(Inventory, Vec<Diagnostic>), Vec<Diagnostic>> {
    let text = yaml::read(path).map_err(|problem| vec![*problem])?;
    parse_inventory(&text, path, roles, home)
}

/// The same of an inventory's text; `path` is for messages, and for what is relative to it.
pub fn parse_inventory(
    text: &str,
    path: &Path,
    roles: &RoleSet,
    home: Option<&Path>,
) -> Result<(Inventory, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (mut draft, mut problems) = inventory::parse(text, path);
    if let Some(draft) = &mut draft {
        draft.whole = roles.whole();
    }
    problems.extend(draft.iter().flat_map(|draft| check(draft, roles)));
    diagnostic::sort(&mut problems);
    if problems.iter().any(Diagnostic::is_error) {
        return Err(problems);
    }
    match draft.and_then(|draft| Some((draft.inventory(home)?, draft))) {
        Some((mut inventory, draft)) => {
            problems.extend(unmet(&inventory, &draft, roles));
            problems.extend(nowhere_to_run(&inventory, &draft));
            inventory.jobs = inventory::read_jobs(&draft, &mut problems);
            diagnostic::sort(&mut problems);
            if problems.iter().any(Diagnostic::is_error) { Err(problems) } else { Ok((inventory, problems)) }
        }
        // A draft without a document or a cluster name has an error, so this cannot be reached; an
        // empty list of reasons would still be a refusal.
        None => Err(problems),
    }
}

/// Jobs in a cluster without Nomad.
fn nowhere_to_run(inventory: &Inventory, draft: &Draft) -> Option<Diagnostic> {
    let job = draft.jobs.first()?;
    let servers = |host: &inventory::Host| host.roles.iter().any(|role| role.as_str() == NOMAD_SERVER);
    (!inventory.hosts.iter().any(servers)).then(|| {
        draft
            .document
            .error(job.source.span, format!("jobs need `{NOMAD_SERVER}`, which no host has"))
            .label("no Nomad to run it")
            .help(format!("give the role to a group or a host: `roles: [{NOMAD_SERVER}]`"))
    })
}

/// What roles require of the hosts that have them, each condition told once for all hosts that fail it.
fn unmet(inventory: &Inventory, draft: &Draft, roles: &RoleSet) -> Vec<Diagnostic> {
    let found = match super::unmet(inventory, roles) {
        Ok(found) => found,
        Err(error) => return vec![Diagnostic::error(format!("{error}: {}", chain(&error)))],
    };
    let check = Check::new(draft, roles);
    let mut problems: Vec<(&super::UnmetRequirement<'_>, Vec<usize>)> = Vec::new();
    for one in &found {
        let Some(host) = draft.hosts.iter().position(|host| host.name.value == *one.host) else { continue };
        match problems.iter_mut().find(|(known, _)| known.require == one.require) {
            Some((_, hosts)) => hosts.push(host),
            None => problems.push((one, vec![host])),
        }
    }
    let tell = |(one, hosts): (&super::UnmetRequirement<'_>, Vec<usize>)| {
        let message = format!("role `{}` on {}: {}", one.role, check.these(&hosts), one.require.message);
        let problem = match check.having(one.role.as_str()).into_iter().find(|(host, _)| *host == hosts[0]) {
            Some((_, span)) => draft.document.error(span, message).label("not possible here"),
            None => Diagnostic::error(message),
        };
        problem.help(one.require.help.clone())
    };
    problems.into_iter().map(tell).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
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
        check.rules(&mut problems);
        check.idle(&mut problems);
    }
    diagnostic::sort(&mut problems);
    problems
}

impl<'c> Check<'c> {
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

    fn roles_needed(&self, problems: &mut Vec<Diagnostic>) {
        let mut seen = HashSet::new();
        for (_, written) in self.mentions() {
            for role in self.roles.closure([&written.value]) {
                for needed in &role.needs {
                    if !self.having(needed.as_str()).is_empty()
                        || !seen.insert((role.name.clone(), needed.clone()))
                    {
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
            let hosts = self.having(role.name.as_str());
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

    /// What the roles in use say of their variables beyond their types.
    fn rules(&self, problems: &mut Vec<Diagnostic>) {
        for role in self.roles.roles.values() {
            let hosts: Vec<usize> =
                self.having(role.name.as_str()).into_iter().map(|(host, _)| host).collect();
            problems.extend(role.rules.iter().flat_map(|rule| rules::judge(*rule, self, &hosts)));
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
