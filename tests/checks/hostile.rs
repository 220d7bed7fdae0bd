//! Text that could be taken for shell or for configuration, in every variable that takes a text: it is refused at its line, or it stands
//! in what is written as nothing but text.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bootstrap::roles::{Formed, RoleSet, VariableType, load_inventory};
use serde_json::{Value, json};

use crate::composition::{ROLES, inventory};
use crate::rendered::{addresses, facts, try_files_of, with_secrets};

const HOSTILE: &str = "a \"b\" 'c' $(touch /tmp/pwned) `id` ${HOME} %h \\ é # ; & | < >\nEND\nEOF\n]]>";

/// A dotted name's value as the map of maps that an inventory has.
fn nested(name: &str, value: Value) -> Value {
    name.rsplit('.').fold(value, |inner, part| json!({ part: inner }))
}

/// `None`: the value was refused; else the files of the host that has it.
fn written(
    set: &RoleSet,
    role: &str,
    name: &str,
    value: Value,
) -> Option<std::collections::BTreeMap<String, String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    let host = format!("x: {{ address: 10.0.0.21, vars: {} }}", nested(name, value));
    let text = inventory(&[role]).replace("x: { address: 10.0.0.21 }", &host);
    assert!(text.contains("vars: {\""), "{text}");
    fs::write(&path, text).unwrap();
    let (inventory, _) = load_inventory(&path, set, None).ok()?;
    let wanted = with_secrets(&inventory, set).ok()?;
    let (addresses, facts) = (addresses(&wanted), facts());
    let wanted = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).ok()?;
    try_files_of(&wanted, "x", &addresses).ok()
}

#[test]
fn a_text_is_refused_or_stays_a_text() {
    let set = RoleSet::embedded().unwrap();
    let (mut refused, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for role in ROLES {
        let name = bootstrap::model::RoleName::parse(role).unwrap();
        for part in set.closure([&name]) {
            for (variable, of) in &part.variables {
                let value = match &of.r#type {
                    VariableType::List(inner)
                        if matches!(**inner, VariableType::String | VariableType::Any) =>
                    {
                        json!([HOSTILE])
                    }
                    VariableType::List(_) | VariableType::Record(_) | VariableType::Map => continue,
                    _ => json!(HOSTILE),
                };
                let Some(files) = written(&set, role, variable, value) else {
                    refused.insert(variable.clone());
                    continue;
                };
                kept.insert(variable.clone());
                for (path, text) in &files {
                    // As one word of a shell it may have lines.
                    let quoted = format!("'{}'", HOSTILE.replace('\'', r"'\''"));
                    let text = &text.replace(&quoted, "''");
                    let raw = text.lines().any(|line| line == "END" || line == "EOF");
                    assert!(!raw, "{variable} of {role} ends a text in {path}:\n{text}");
                    // Nor does a script have it anywhere else.
                    let is_script = text.starts_with("#!/bin/sh");
                    assert!(!is_script || !text.contains("pwned"), "{variable} of {role} in {path}:\n{text}");
                    if Path::new(path).extension().is_some_and(|end| end == "json") {
                        assert!(
                            serde_json::from_str::<Value>(text).is_ok(),
                            "{variable} of {role} in {path}:\n{text}"
                        );
                    }
                }
            }
        }
    }
    // Neither of them is empty by a mistake of this test.
    assert!(refused.contains("consul.domain") && refused.contains("consul.data_dir"), "{refused:?}");
    assert!(kept.len() > 3, "{kept:?}");
    println!("refused: {refused:?}\nkept: {kept:?}");
}
