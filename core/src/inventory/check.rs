//! What an inventory must hold in itself: hosts that are told apart, groups that find their hosts.

use std::collections::HashMap;
use std::net::IpAddr;

use super::draft::{Draft, DraftGroup, DraftHost};
use super::node::{Located, Span};
use super::range;
use super::reader::{any_of, nearest};
use crate::model::Diagnostic;

/// Finds the members of the groups and reports what the shape alone cannot show.
pub fn check(draft: &mut Draft) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    one_of_each_name(draft, &mut problems);
    for index in 0..draft.groups.len() {
        let members = members(draft, &draft.groups[index], &mut problems);
        draft.groups[index].members = members;
    }
    one_group_of_each_name(draft, &mut problems);
    one_address_each(draft, &mut problems);
    problems
}

fn one_of_each_name(draft: &mut Draft, problems: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    let document = &draft.document;
    draft.hosts.retain(|host| {
        let name = &host.name;
        let Some(first) = seen.get(name.value.as_str()) else {
            seen.insert(name.value.to_string(), name.span);
            return true;
        };
        let message = match &host.range {
            Some(range) => format!("host `{}` is there twice: `{range}` has it too", name.value),
            None => format!("host `{}` is there twice: a range above has it too", name.value),
        };
        problems.push(
            document
                .error(name.span, message)
                .label("again here")
                .also(first.range(), "first here")
                .help("shorten the range, or rename the host"),
        );
        false
    });
}

fn one_group_of_each_name(draft: &Draft, problems: &mut Vec<Diagnostic>) {
    for group in &draft.groups {
        if let Some(host) =
            draft.hosts.iter().find(|host| host.name.value.as_str() == group.name.value.as_str())
        {
            problems.push(
                draft
                    .document
                    .error(group.name.span, format!("`{}` names both a group and a host", group.name.value))
                    .label("the group")
                    .also(host.name.span.range(), "the host")
                    .help("rename one of them: `--limit` takes either"),
            );
        }
    }
}

fn members(draft: &Draft, group: &DraftGroup, problems: &mut Vec<Diagnostic>) -> Vec<(usize, Span)> {
    let mut members: Vec<(usize, Span)> = Vec::new();
    for written in &group.hosts {
        let texts = match range::expand(&written.value) {
            Ok(texts) => texts,
            Err(error) => {
                problems.push(draft.document.error(written.span, error.to_string()).help(error.help()));
                continue;
            }
        };
        for text in texts {
            let found = draft.hosts.iter().enumerate().filter(|(_, host)| {
                let name = host.name.value.as_str();
                if range::is_glob(&text) { range::matches(&text, name) } else { name == text }
            });
            let found: Vec<usize> = found.map(|(index, _)| index).collect();
            if found.is_empty() {
                if draft.unnamed.contains(&written.value) {
                    break;
                }
                problems.push(unknown_host(draft, group, written, &text));
                break;
            }
            for index in found {
                match members.iter().find(|(member, _)| *member == index) {
                    // A name after a glob that has it already says nothing wrong.
                    Some((_, first))
                        if text == written.value && !range::is_glob(&text) && *first != written.span =>
                    {
                        problems.push(
                            draft
                                .document
                                .warning(
                                    written.span,
                                    format!("group `{}` has the host `{text}` twice", group.name.value),
                                )
                                .label("again here")
                                .also(first.range(), "first here")
                                .help("remove one of them"),
                        );
                    }
                    Some(_) => {}
                    None => members.push((index, written.span)),
                }
            }
        }
    }
    members
}

fn unknown_host(draft: &Draft, group: &DraftGroup, written: &Located<String>, name: &str) -> Diagnostic {
    let names: Vec<&str> = draft.hosts.iter().map(|host| host.name.value.as_str()).collect();
    let groups: Vec<&str> = draft.groups.iter().map(|group| group.name.value.as_str()).collect();
    let group_name = &group.name.value;
    if range::is_glob(name) {
        return draft
            .document
            .error(written.span, format!("`{name}` in group `{group_name}` matches no host"))
            .label("matches nothing")
            .help(known_hosts(&names));
    }
    let message = if written.value == name {
        format!("group `{group_name}` has the unknown host `{name}`")
    } else {
        format!("group `{group_name}` has the unknown host `{name}`, of the range `{}`", written.value)
    };
    // `node-4` beside `node-1` to `node-3` is no typing slip.
    let bare = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
    let help = match nearest(name, names.iter().copied().filter(|known| bare(known) != bare(name))) {
        Some(near) => format!("did you mean `{near}`?"),
        None if groups.contains(&name) => {
            format!("`{name}` is a group; groups hold hosts only: name its hosts, or use a glob")
        }
        None => known_hosts(&names),
    };
    draft.document.error(written.span, message).label("no host of this name").help(help)
}

fn known_hosts(names: &[&str]) -> String {
    match names {
        [] => "no host is written under `hosts:`".to_owned(),
        [only] => format!("the only host is `{only}`"),
        _ if names.len() > 8 => {
            format!("the hosts are {}, … ({} in all)", any_of(&names[..7]).replace(" or ", ", "), names.len())
        }
        _ => format!("the hosts are {}", any_of(names).replace(" or ", " and ")),
    }
}

/// Two hosts with one address are one machine: the second would overwrite what the first set up.
fn one_address_each(draft: &Draft, problems: &mut Vec<Diagnostic>) {
    let mut by_ssh: HashMap<(String, Option<u16>), &DraftHost> = HashMap::new();
    let mut by_cluster: HashMap<IpAddr, (&DraftHost, Span)> = HashMap::new();
    for (index, host) in draft.hosts.iter().enumerate() {
        let span = host.address.as_ref().map_or(host.name.span, |address| address.span);
        let port = draft.ssh_of(index).port.filter(|port| *port != 22);
        match by_ssh.get(&(host.address().to_lowercase(), port)) {
            Some(first) => {
                let first_span = first.address.as_ref().map_or(first.name.span, |address| address.span);
                let (a, b) = (&first.name.value, &host.name.value);
                let problem = draft
                    .document
                    .error(span, format!("hosts `{a}` and `{b}` have the same address {}", host.address()))
                    .label(format!("`{b}`"))
                    .help(
                        "each host is one machine: correct one of the addresses, or remove one of the hosts",
                    );
                problems.push(problem.also(first_span.range(), format!("`{a}`")));
                continue;
            }
            None => drop(by_ssh.insert((host.address().to_lowercase(), port), host)),
        }
        let own = host.cluster_address.as_ref().map(|address| (address.value, address.span));
        let derived = || host.address().parse().ok().map(|address: IpAddr| (address, span));
        let cluster = own.or_else(|| host.cluster_interface.is_none().then(derived).flatten());
        let Some((address, span)) = cluster else { continue };
        match by_cluster.get(&address) {
            Some((first, first_span)) => {
                let (a, b) = (&first.name.value, &host.name.value);
                let problem = draft
                    .document
                    .error(
                        span,
                        format!("the agents of `{a}` and `{b}` would advertise the same address {address}"),
                    )
                    .label(format!("`{b}`"))
                    .help("give each host a `cluster_address` of its own, or name its `cluster_interface`");
                problems.push(problem.also(first_span.range(), format!("`{a}`")));
            }
            None => drop(by_cluster.insert(address, (host, span))),
        }
    }
}
