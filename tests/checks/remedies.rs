//! Every remedy that names a command which changes hosts is followed by a test on real hosts, to its end, in the situation in
//! which it is given: the test says so in a line `/// Walks: ` with words of the remedy that no other one has.

use std::collections::BTreeMap;
use std::fs;

use bootstrap::operations::COMMANDS;
use proc_macro2::{TokenStream, TokenTree};

use crate::documentation::{at, code, lab_lines};

/// What else changes hosts, of the commands that are ours.
const OTHERS: [&str; 1] = ["lab heal"];

/// What changes a host by other programs: how such a command begins, where a text has it between backquotes. The last ones are
/// filled in.
const ON_HOSTS: [&str; 9] = [
    "mv ",
    "rm ",
    "kubectl uncordon",
    "systemctl disable",
    "systemctl start",
    "{forget}",
    "{keyring}",
    "{clean_up}",
    "{moves}",
];

/// The commands of ours that a text names, and whether it names any that changes a host.
fn changes(text: &str) -> (Vec<&'static str>, bool) {
    let is_named = |command: &str| {
        text.split(&format!("bootstrap {command}")).skip(1).any(|rest| !rest.starts_with(is_of_a_word))
    };
    let ours: Vec<&str> =
        COMMANDS.iter().chain(&OTHERS).copied().filter(|command| is_named(command)).collect();
    let mut quoted = text.split('`').skip(1).step_by(2);
    let on_host = quoted.any(|words| ON_HOSTS.iter().any(|start| words.starts_with(start)));
    let any = !ours.is_empty() || on_host || text.contains("bootstrap {command}");
    (ours, any)
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-'
}

/// The literals of a source; of its attributes those of errors alone: the others are for those who read code or help.
fn literals(tokens: TokenStream, found: &mut Vec<String>) {
    let mut before = [String::new(), String::new()];
    for token in tokens {
        match &token {
            TokenTree::Group(group) => {
                let marked = matches!(before.each_ref().map(String::as_str), [_, "#"] | ["#", "!"]);
                let attribute = marked && !group.stream().to_string().starts_with("error");
                if !attribute {
                    literals(group.stream(), found);
                }
            }
            TokenTree::Literal(literal) => found.extend(said(&literal.to_string())),
            _ => {}
        }
        let [_, last] = before;
        before = [last, token.to_string()];
    }
}

/// The text of a literal, on one line.
fn said(literal: &str) -> Option<String> {
    let inner = literal.trim_start_matches('r').trim_matches('#').strip_prefix('"')?.strip_suffix('"')?;
    let mut lines = inner.split("\\\n");
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |text, line| text + line.trim_start()))
}

/// Each text that names such a command, with where it stands.
fn remedies() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, code) in code() {
        let mut texts = Vec::new();
        literals(code.parse().unwrap(), &mut texts);
        let place = path.strip_prefix(at("")).unwrap().display().to_string();
        found.extend(texts.into_iter().map(|text| (place.clone(), text)));
    }
    for role in fs::read_dir(at("roles")).unwrap().map(|entry| entry.unwrap().path().join("role.yaml")) {
        let Ok(text) = fs::read_to_string(&role) else { continue };
        let place = role.strip_prefix(at("")).unwrap().display().to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        found.extend(lines.map(|line| (place.clone(), line.to_owned())));
    }
    found.retain(|(_, text)| changes(text).1 && is_for_people(text));
    found.sort();
    found.dedup();
    found
}

/// What the program itself writes or runs is no remedy.
fn is_for_people(text: &str) -> bool {
    !text.starts_with('#') && text.contains(' ')
}

#[test]
fn every_remedy_is_walked() {
    let remedies = remedies();
    assert!(remedies.len() > 35, "{remedies:#?}");
    let mut walked: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (words, test) in lab_lines("Walks") {
        let has = |exactly: bool| {
            let is_it = |text: &str| if exactly { text == words } else { text.contains(&words) };
            let of: Vec<usize> = (0..remedies.len()).filter(|at| is_it(&remedies[*at].1)).collect();
            of
        };
        // A whole text may be a part of others.
        let of = if has(true).is_empty() { has(false) } else { has(true) };
        match of[..] {
            [one] => walked.entry(one).or_default().push(test),
            [] => wrong.push(format!("`{words}` is walked, and no remedy says so")),
            _ => wrong.push(format!("`{words}` are words of {} remedies: give more of them", of.len())),
        }
    }
    for (at, (place, text)) in remedies.iter().enumerate() {
        let tests = walked.get(&at).map_or(&[][..], Vec::as_slice);
        if tests.is_empty() {
            wrong.push(format!("{place}: no test on lab hosts walks `{text}`"));
            continue;
        }
        let runs = |command: &&str| {
            tests.iter().any(|test| test.contains(&format!("\"{}\"", command.trim_start_matches("lab "))))
        };
        wrong.extend(
            changes(text)
                .0
                .iter()
                .filter(|command| !runs(command))
                .map(|command| format!("{place}: no test that walks `{text}` runs `{command}`")),
        );
    }
    assert!(wrong.is_empty(), "{}\nsee the head of tests/checks/remedies.rs", wrong.join("\n"));
}

/// What the register goes by.
#[test]
fn what_changes_hosts_is_told_from_what_looks() {
    for (text, ours, any) in [
        ("`bootstrap up` mends it", &["up"][..], true),
        ("next: bootstrap replace-node {} {host}, once", &["replace-node"], true),
        (
            "first `bootstrap recover`, then `bootstrap snapshot restore --foreign`",
            &["recover", "snapshot restore"],
            true,
        ),
        ("the same `bootstrap {command}` again", &[], true),
        ("`bootstrap lab heal {host}` ends it", &["lab heal"], true),
        ("`mv {path} {path}.off`", &[], true),
        ("`bootstrap health` says why; `bootstrap upgrade`", &[], false),
        ("`systemctl status {unit}`, `df -h /`", &[], false),
    ] {
        let (mut found, changes) = changes(text);
        found.sort_unstable();
        assert_eq!((&found[..], changes), (ours, any), "{text}");
    }
}
