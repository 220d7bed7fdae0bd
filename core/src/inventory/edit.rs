//! Adds a host to an inventory's text or takes one out, as an operator would in an editor: comments, order and
//! layout stay. Pure: what comes out is read again and must say the same of every other host.

use std::ops::Range;
use std::path::Path;

use super::node::{Entry, Kind, Located, Node};
use super::{Draft, parse, range};
use crate::model::{Diagnostic, HostName, RoleName};

/// A host that joins.
#[derive(Clone, Debug)]
pub struct NewHost<'a> {
    pub name: &'a HostName,
    /// Where SSH goes; without one, to the name.
    pub address: Option<&'a str>,
    /// Written to the group that has just these roles, or to the host itself.
    pub roles: &'a [RoleName],
}

/// Why an inventory was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("host `{0}` is in the inventory already")]
    Known(HostName),
    #[error("host `{0}` is not in the inventory")]
    Unknown(HostName),
    #[error("`{0}` is the only host of the inventory")]
    Last(HostName),
    /// The inventory is wrong as it stands, or would be.
    #[error("the inventory has errors")]
    Wrong(Vec<Diagnostic>),
    #[error("{place} is written in a way that a program cannot edit safely")]
    Unusual { place: String },
}

/// One piece of text for another.
#[derive(Debug)]
struct Edit {
    at: Range<usize>,
    text: String,
}

/// The inventory's text with one host more.
///
/// # Errors
/// An inventory that is wrong or has the host; a layout that cannot be kept.
pub fn add(text: &str, file: &Path, host: &NewHost<'_>) -> Result<String, EditError> {
    let draft = read(text, file)?;
    if draft.hosts.iter().any(|known| known.name.value == *host.name) {
        return Err(EditError::Known(host.name.clone()));
    }
    let root = &draft.document.root;
    let hosts = root.get("hosts").ok_or_else(|| unusual("hosts"))?;
    let mut edits = Vec::new();
    let mut roles = host.roles;
    if !roles.is_empty()
        && let Some(group) = draft.groups.iter().find(|group| same_roles(&group.roles, roles))
    {
        roles = &[];
        let name = host.name.as_str();
        let covers = |written: &str| range::is_glob(written) && range::matches(written, name);
        if !group.hosts.iter().any(|written| covers(&written.value)) {
            let place = format!("groups.{}.hosts", group.name.value);
            let list = hosts_of(root, group.name.value.as_str()).ok_or_else(|| unusual(&place))?;
            edits.push(item(text, list, name).ok_or_else(|| unusual(&place))?);
        }
    }
    edits.push(entry(text, hosts, &line(host, roles)).ok_or_else(|| unusual("hosts"))?);
    let edited = apply(text, edits);
    same_but(&draft, &edited, file, host.name, "hosts")?;
    Ok(edited)
}

/// The inventory's text without a host: also where a range holds it, and without a group that has no other.
///
/// # Errors
/// An inventory that is wrong or lacks the host; a layout that cannot be kept.
pub fn remove(text: &str, file: &Path, name: &HostName) -> Result<String, EditError> {
    let draft = read(text, file)?;
    if !draft.hosts.iter().any(|known| known.name.value == *name) {
        return Err(EditError::Unknown(name.clone()));
    }
    if draft.hosts.len() == 1 {
        return Err(EditError::Last(name.clone()));
    }
    let root = &draft.document.root;
    let hosts = root.get("hosts").ok_or_else(|| unusual("hosts"))?;
    let mut edits = Vec::new();
    for (index, written) in hosts.entries().iter().enumerate() {
        let Some(left) = runs_without(&written.key.value, name.as_str()) else { continue };
        let start = written.key.span.start;
        let end = end_of_entry(text, written);
        if left.is_empty() {
            edits.push(cut(text, hosts, &entry_spans(text, hosts), index));
            continue;
        }
        let brackets = brackets_of(&written.key.value).ok_or_else(|| unusual("hosts"))?;
        let separator = match is_flow(text, hosts) {
            true => ", ".to_owned(),
            false => format!("\n{}", indentation(text, start)),
        };
        let parts: Vec<String> =
            left.iter().map(|run| narrowed(&text[start..end], written, start, &brackets, run)).collect();
        edits.push(Edit { at: start..end, text: parts.join(&separator) });
    }
    for group in &draft.groups {
        let Some(list) = hosts_of(root, group.name.value.as_str()) else { continue };
        let items = items_of(list);
        let left = |pattern: &str| {
            let only_it = range::is_glob(pattern)
                && draft
                    .hosts
                    .iter()
                    .filter(|host| range::matches(pattern, host.name.value.as_str()))
                    .all(|host| host.name.value == *name)
                && range::matches(pattern, name.as_str());
            if only_it { Some(Vec::new()) } else { runs_without(pattern, name.as_str()) }
        };
        let goes = |item: &Node| matches!(&item.kind, Kind::Text(pattern) if left(pattern).is_some_and(|left| left.is_empty()));
        if items.iter().all(goes) {
            // A group without hosts is a mistake.
            let groups = root.get("groups").ok_or_else(|| unusual("groups"))?;
            let index =
                groups.entries().iter().position(|entry| entry.key.value == group.name.value.as_str());
            let index = index.ok_or_else(|| unusual("groups"))?;
            edits.push(cut(text, groups, &entry_spans(text, groups), index));
            continue;
        }
        for (index, written) in items.iter().enumerate() {
            let Kind::Text(pattern) = &written.kind else { continue };
            let Some(left) = left(pattern) else { continue };
            let at = written.span.range();
            if left.is_empty() {
                let spans: Vec<_> = items.iter().map(|item| item.span.range()).collect();
                edits.push(cut(text, list, &spans, index));
                continue;
            }
            let old = &text[at.clone()];
            let brackets = brackets_of(pattern).ok_or_else(|| unusual("groups"))?;
            let separator = match is_flow(text, list) {
                true => ", ".to_owned(),
                false => format!("\n{}", indentation(text, at.start).to_owned() + "- "),
            };
            let parts: Vec<String> = left.iter().map(|run| old.replacen(&brackets, &run.text, 1)).collect();
            edits.push(Edit { at, text: parts.join(&separator) });
        }
    }
    let edited = apply(text, edits);
    same_but(&draft, &edited, file, name, "hosts")?;
    Ok(edited)
}

/// The inventory's text with another name and address in a host's place; all else that is said of the host stays.
///
/// # Errors
/// An inventory that is wrong or lacks the host, or has one of the new name; a host in the middle of a range.
pub fn replace(text: &str, file: &Path, old: &HostName, new: &NewHost<'_>) -> Result<String, EditError> {
    let draft = read(text, file)?;
    if !draft.hosts.iter().any(|known| known.name.value == *old) {
        return Err(EditError::Unknown(old.clone()));
    }
    if old != new.name && draft.hosts.iter().any(|known| known.name.value == *new.name) {
        return Err(EditError::Known(new.name.clone()));
    }
    let root = &draft.document.root;
    let hosts = root.get("hosts").ok_or_else(|| unusual("hosts"))?;
    let own = hosts.entries().iter().find(|entry| entry.key.value == old.as_str());
    let mut edits = Vec::new();
    let mut rename = |at: Range<usize>| {
        let text = text[at.clone()].replacen(old.as_str(), new.name.as_str(), 1);
        edits.push(Edit { at, text });
    };
    if old != new.name {
        rename(own.ok_or_else(|| unusual("hosts"))?.key.span.range());
        for group in &draft.groups {
            let Some(list) = hosts_of(root, group.name.value.as_str()) else { continue };
            for written in items_of(list) {
                match &written.kind {
                    Kind::Text(name) if name == old.as_str() => rename(written.span.range()),
                    Kind::Text(pattern) => {
                        let holds = |name: &HostName| {
                            range::matches(pattern, name.as_str())
                                || runs_without(pattern, name.as_str()).is_some()
                        };
                        if holds(old) != holds(new.name) {
                            return Err(unusual("groups"));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    let before = draft.hosts.iter().find(|known| known.name.value == *old);
    let known = before.map_or(old.as_str(), |host| {
        host.address.as_ref().map_or(old.as_str(), |address| address.value.as_str())
    });
    if let Some(address) = new.address.filter(|address| *address != known) {
        let written = own.and_then(|entry| entry.value.get("address")).ok_or_else(|| unusual("hosts"))?;
        edits.push(Edit { at: written.span.range(), text: quoted(address) });
    }
    Ok(apply(text, edits))
}

/// Where the hosts of a group are written.
fn hosts_of<'n>(root: &'n Node, group: &str) -> Option<&'n Node> {
    root.get("groups")?.get(group)?.get("hosts")
}

/// A single text stands for a list of one.
fn items_of(list: &Node) -> &[Node] {
    if let Kind::List(items) = &list.kind { items } else { std::slice::from_ref(list) }
}

/// An IPv6 address has colons, which YAML takes for keys.
fn quoted(address: &str) -> String {
    if address.contains(':') { format!("\"{address}\"") } else { address.to_owned() }
}

fn read(text: &str, file: &Path) -> Result<Draft, EditError> {
    let (draft, problems) = parse(text, file);
    match draft.filter(|draft| draft.complete) {
        Some(draft) => Ok(draft),
        None => Err(EditError::Wrong(problems)),
    }
}

fn unusual(place: &str) -> EditError {
    EditError::Unusual { place: format!("`{place}`") }
}

fn same_roles(written: &[Located<RoleName>], roles: &[RoleName]) -> bool {
    written.len() == roles.len() && written.iter().all(|role| roles.contains(&role.value))
}

/// `web-3: { address: 10.0.0.3 }`.
fn line(host: &NewHost<'_>, roles: &[RoleName]) -> String {
    let mut fields = Vec::new();
    fields.extend(host.address.map(|address| format!("address: {}", quoted(address))));
    if !roles.is_empty() {
        let roles: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
        fields.push(format!("roles: [{}]", roles.join(", ")));
    }
    match fields.is_empty() {
        true => format!("{}: {{}}", host.name),
        false => format!("{}: {{ {} }}", host.name, fields.join(", ")),
    }
}

/// A new entry at the end of a map.
fn entry(text: &str, map: &Node, line: &str) -> Option<Edit> {
    append(text, map, &entry_spans(text, map), line, "")
}

/// Where each entry of a map stands, from its key to the end of its value.
fn entry_spans(text: &str, map: &Node) -> Vec<Range<usize>> {
    let entries = map.entries().iter();
    entries.map(|entry| entry.key.span.start..end_of_entry(text, entry)).collect()
}

/// A new item at the end of a list; a single text becomes a list.
fn item(text: &str, list: &Node, name: &str) -> Option<Edit> {
    match &list.kind {
        Kind::List(items) => {
            let spans: Vec<_> = items.iter().map(|item| item.span.start..end_of(text, item)).collect();
            append(text, list, &spans, name, "- ")
        }
        Kind::Text(_) => {
            let at = list.span.range();
            Some(Edit { text: format!("[{}, {name}]", &text[at.clone()]), at })
        }
        _ => None,
    }
}

/// `added` after the last of `spans`, as these are laid out.
fn append(text: &str, collection: &Node, spans: &[Range<usize>], added: &str, bullet: &str) -> Option<Edit> {
    let last = spans.last()?;
    if !is_flow(text, collection) {
        let end = line_end(text, last.end);
        let text = format!("\n{}{bullet}{added}", indentation(text, last.start));
        return Some(Edit { at: end..end, text });
    }
    let before = match spans {
        [.., before, _] => before.end,
        _ => collection.span.start,
    };
    let own_lines = text[before..last.start].contains('\n');
    let separator = if own_lines { format!(",\n{}", indentation(text, last.start)) } else { ", ".to_owned() };
    Some(Edit { at: last.end..last.end, text: format!("{separator}{added}") })
}

/// Takes one of `spans` out: its lines, or its text with one comma.
fn cut(text: &str, collection: &Node, spans: &[Range<usize>], index: usize) -> Edit {
    let span = &spans[index];
    let at = if !is_flow(text, collection) {
        let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        start..(line_end(text, span.end) + 1).min(text.len())
    } else if let Some(next) = spans.get(index + 1) {
        span.start..next.start
    } else if index > 0 {
        spans[index - 1].end..span.end
    } else {
        span.clone()
    };
    Edit { at, text: String::new() }
}

/// Whether a collection is written in brackets.
fn is_flow(text: &str, collection: &Node) -> bool {
    text[collection.span.start..].starts_with(['{', '['])
}

/// Where a value ends, brackets and quotes included.
fn end_of(text: &str, node: &Node) -> usize {
    let inside = match &node.kind {
        Kind::Map(entries) => entries.iter().map(|entry| end_of_entry(text, entry)).max(),
        Kind::List(items) => items.iter().map(|item| end_of(text, item)).max(),
        _ => return node.span.end,
    };
    if !is_flow(text, node) {
        return inside.unwrap_or(node.span.end);
    }
    // The place of a collection in brackets is that of the first one. Between the last value and the second one there are
    // only commas, spaces and comments.
    let mut at = inside.unwrap_or(node.span.start + 1);
    while !text[at..].starts_with(['}', ']']) {
        let Some(next) = text[at..].chars().next() else { break };
        at = if next == '#' { line_end(text, at) } else { at + next.len_utf8() };
    }
    (at + 1).min(text.len())
}

fn end_of_entry(text: &str, entry: &Entry) -> usize {
    end_of(text, &entry.value).max(entry.key.span.end)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |length| at + length)
}

/// The spaces that the line of `at` starts with.
fn indentation(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let line = &text[start..at];
    &line[..line.len() - line.trim_start_matches(' ').len()]
}

/// Some neighbours of a range.
#[derive(Debug)]
struct Run {
    /// Positions in the whole range.
    positions: Range<usize>,
    /// What stands in place of the brackets.
    text: String,
}

/// The range without one of its names, in runs; `None` if it does not hold it.
fn runs_without(written: &str, name: &str) -> Option<Vec<Run>> {
    let names = range::expand(written).ok()?;
    let at = names.iter().position(|known| known == name)?;
    let runs = [0..at, at + 1..names.len()];
    Some(
        runs.into_iter()
            .filter(|run| !run.is_empty())
            .map(|positions| Run { text: run_text(written, &positions), positions })
            .collect(),
    )
}

/// `[2-4]`, or `3`: what stands for some positions of a range, in the range's own width.
fn run_text(written: &str, positions: &Range<usize>) -> String {
    let numbers = brackets_of(written).and_then(|brackets| range::expand(&brackets).ok()).unwrap_or_default();
    match (numbers.get(positions.start), numbers.get(positions.end - 1)) {
        (Some(first), Some(last)) if first != last => format!("[{first}-{last}]"),
        (Some(only), _) => only.clone(),
        _ => String::new(),
    }
}

/// `[1-3]` of `node-[1-3]`.
fn brackets_of(written: &str) -> Option<String> {
    let (start, end) = (written.find('[')?, written.find(']')?);
    written.get(start..=end).map(str::to_owned)
}

/// An entry of a ranged host for some of its positions: key and pairwise values narrowed.
fn narrowed(text: &str, entry: &Entry, start: usize, brackets: &str, run: &Run) -> String {
    let mut edits = vec![Edit {
        at: entry.key.span.start - start..entry.key.span.end - start,
        text: text[..entry.key.span.end - start].replacen(brackets, &run.text, 1),
    }];
    for key in ["address", "cluster_address"] {
        let Some(value) = entry.value.get(key) else { continue };
        let Kind::Text(written) = &value.kind else { continue };
        let Some(own) = brackets_of(written) else { continue };
        let at = value.span.start - start..value.span.end - start;
        let narrowed = text[at.clone()].replacen(&own, &run_text(written, &run.positions), 1);
        edits.push(Edit { at, text: narrowed });
    }
    apply(text, edits)
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.at.start);
    let mut edited = text.to_owned();
    for edit in edits.iter().rev() {
        edited.replace_range(edit.at.clone(), &edit.text);
    }
    edited
}

/// Whether the edited text says of all hosts but one what the draft says of them.
fn same_but(draft: &Draft, edited: &str, file: &Path, name: &HostName, place: &str) -> Result<(), EditError> {
    let others = |draft: &Draft| -> Option<Vec<String>> {
        let hosts = draft.inventory(None)?.hosts;
        Some(hosts.iter().filter(|host| host.name != *name).map(|host| format!("{host:?}")).collect())
    };
    let after = read(edited, file)?;
    let is_there = |draft: &Draft| draft.hosts.iter().any(|host| host.name.value == *name);
    let same = is_there(&after) != is_there(draft) && others(&after) == others(draft);
    if same { Ok(()) } else { Err(unusual(place)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indoc::indoc;

    const INVENTORY: &str = "\
# Ours.
cluster: dc1
hosts:
  node-[1-3]: { address: \"10.0.0.1[1-3]\" } # the old rack
  # bought in spring
  web-1:
    address: web1.example.org
    vars: { consul: { log_level: warn } }
groups:
  servers: { hosts: [node-1, \"node-[2-3]\"], roles: [consul-server] }
  web:
    hosts:
      - web-1 # the first
    roles:
      - consul-client
";

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn added(text: &str, host: &str, address: Option<&str>, roles: &[&str]) -> Result<String, String> {
        let roles: Vec<_> = roles.iter().map(|role| RoleName::parse(*role).unwrap()).collect();
        let host = NewHost { name: &name(host), address, roles: &roles };
        add(text, Path::new("i.yaml"), &host).map_err(|error| error.to_string())
    }

    fn removed(text: &str, host: &str) -> Result<String, String> {
        remove(text, Path::new("i.yaml"), &name(host)).map_err(|error| error.to_string())
    }

    /// The lines that differ.
    fn changed(before: &str, after: &str) -> String {
        similar::TextDiff::from_lines(before, after)
            .iter_all_changes()
            .filter(|change| change.tag() != similar::ChangeTag::Equal)
            .map(|change| format!("{}{}", change.tag(), change.value()))
            .collect()
    }

    #[test]
    fn a_host_is_added_in_the_layout_of_its_place() {
        let after = added(INVENTORY, "node-4", Some("10.0.0.14"), &["consul-server"]).unwrap();
        assert_eq!(
            changed(INVENTORY, &after),
            "+  node-4: { address: 10.0.0.14 }\n\
             -  servers: { hosts: [node-1, \"node-[2-3]\"], roles: [consul-server] }\n\
             +  servers: { hosts: [node-1, \"node-[2-3]\", node-4], roles: [consul-server] }\n"
        );
        let after = added(INVENTORY, "web-2", Some("fd00::2"), &["consul-client"]).unwrap();
        assert_eq!(changed(INVENTORY, &after), "+  web-2: { address: \"fd00::2\" }\n+      - web-2\n");
        let after = added(INVENTORY, "db-1", None, &["docker", "consul-client"]).unwrap();
        assert_eq!(changed(INVENTORY, &after), "+  db-1: { roles: [docker, consul-client] }\n");
    }

    #[test]
    fn a_glob_that_covers_it_stays_alone() {
        let text = indoc! {r#"
                cluster: a
                hosts: { n-1: {}, n-2: {} }
                groups: { s: { hosts: ["n-*"], roles: [r] } }
            "#};
        assert_eq!(
            added(text, "n-3", Some("10.0.0.3"), &["r"]).unwrap(),
            text.replace("n-2: {} }", "n-2: {}, n-3: { address: 10.0.0.3 } }")
        );
    }

    #[test]
    fn a_host_is_taken_out_of_ranges_and_lists() {
        let after = removed(INVENTORY, "node-2").unwrap();
        assert_eq!(
            changed(INVENTORY, &after),
            "-  node-[1-3]: { address: \"10.0.0.1[1-3]\" } # the old rack\n\
             +  node-1: { address: \"10.0.0.11\" }\n\
             +  node-3: { address: \"10.0.0.13\" } # the old rack\n\
             -  servers: { hosts: [node-1, \"node-[2-3]\"], roles: [consul-server] }\n\
             +  servers: { hosts: [node-1, \"node-3\"], roles: [consul-server] }\n"
        );
        let after = removed(INVENTORY, "node-1").unwrap();
        assert!(after.contains("  node-[2-3]: { address: \"10.0.0.1[2-3]\" } # the old rack\n"), "{after}");
        assert!(after.contains("hosts: [\"node-[2-3]\"]"), "{after}");
    }

    #[test]
    fn the_last_of_a_block_is_taken_out_with_its_lines() {
        let text = INVENTORY.replace("- web-1 # the first\n", "- web-1 # the first\n      - node-3\n");
        let after = removed(&text, "web-1").unwrap();
        assert_eq!(
            changed(&text, &after),
            "-  web-1:\n-    address: web1.example.org\n-    vars: { consul: { log_level: warn } }\n\
             -      - web-1 # the first\n"
        );
    }

    #[test]
    fn another_host_takes_a_place_with_all_that_is_said_of_it() {
        let replaced = |old: &str, name: &str, address| {
            let (old, name) = (HostName::parse(old).unwrap(), HostName::parse(name).unwrap());
            replace(INVENTORY, Path::new("i.yaml"), &old, &NewHost { name: &name, address, roles: &[] })
        };
        let after = replaced("web-1", "web-9", Some("10.0.0.9")).unwrap();
        assert_eq!(
            changed(INVENTORY, &after),
            "-  web-1:\n-    address: web1.example.org\n+  web-9:\n+    address: 10.0.0.9\n\
             -      - web-1 # the first\n+      - web-9 # the first\n"
        );
        // A new machine in the old one's place.
        assert_eq!(replaced("node-2", "node-2", None).unwrap(), INVENTORY);
        assert!(matches!(replaced("node-2", "node-9", None), Err(EditError::Unusual { .. })));
        assert!(matches!(replaced("web-1", "node-1", None), Err(EditError::Known(_))));
        assert!(matches!(replaced("web-7", "web-8", None), Err(EditError::Unknown(_))));
    }

    #[test]
    fn every_host_of_every_inventory_here_comes_and_goes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inventories");
        let mut hosts = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let draft = read(&text, &file).unwrap();
            for host in &draft.hosts {
                // `remove` itself compares what is said of all others.
                let without = remove(&text, &file, &host.name.value)
                    .unwrap_or_else(|error| panic!("{}: {}: {error}", file.display(), host.name.value));
                let roles = [RoleName::parse("consul-server").unwrap()];
                let again = NewHost { name: &host.name.value, address: Some("10.9.9.9"), roles: &roles };
                add(&without, &file, &again)
                    .unwrap_or_else(|error| panic!("{}: {}: {error}", file.display(), host.name.value));
                hosts += 1;
            }
        }
        assert!(hosts > 20, "{hosts} hosts");
    }

    #[test]
    fn what_cannot_be_done_is_said_and_nothing_else_happens() {
        assert_eq!(
            added(INVENTORY, "node-2", None, &[]).unwrap_err(),
            "host `node-2` is in the inventory already"
        );
        assert_eq!(removed(INVENTORY, "node-9").unwrap_err(), "host `node-9` is not in the inventory");
        assert_eq!(
            removed("cluster: a\nhosts: { n: {} }\n", "n").unwrap_err(),
            "`n` is the only host of the inventory"
        );
        assert_eq!(added("cluster: a\n", "n", None, &[]).unwrap_err(), "the inventory has errors");
    }
}
