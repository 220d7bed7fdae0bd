//! The calls of a removable role -> the same, each thing written down before it is changed.

use super::LedgerItem;
use crate::model::{Arg, Call, Change, RoleName};
use crate::resource::{Error, Load, Resource, Unit};
use crate::script::Fields;

/// Before each word about what stops with a unit; a path has it not.
const CARRIES: &str = "carries:";

/// The change of a resource of a removable role, so that it can be put back.
pub fn recorded(
    role: &RoleName,
    resource: &Resource,
    seen: &Fields<'_>,
    change: Change,
) -> Result<Change, Error> {
    let by_role = |thing: LedgerItem, call: Call| {
        let secret = if resource.secret() { "yes" } else { "no" };
        call.made_by("removable", [thing.entry().as_str(), role.as_str(), secret].map(Arg::lossy))
    };
    let mut calls: Vec<Call> = unit(role, resource, seen)?.into_iter().collect();
    let mut left = false;
    for call in change.calls {
        let word = |index| call.argument_of(call.function(), index).unwrap_or_default().to_owned();
        match call.function() {
            "file_write" | "file_from_site" | "file_from_push" | "path_owner" | "link_place" => {
                calls.push(by_role(LedgerItem::File(word(0)), call))
            }
            "link_program" => calls.push(by_role(LedgerItem::File(format!("{}/{}", word(0), word(1))), call)),
            "directory_ensure" | "mount_point" => calls.push(by_role(LedgerItem::Directory(word(0)), call)),
            "release_from_site" => calls.push(by_role(LedgerItem::Release(word(4)), call)),
            "release_from_push" => calls.push(by_role(LedgerItem::Release(word(1)), call)),
            "user_add" => calls.push(by_role(LedgerItem::User(word(0)), call)),
            "group_add" => calls.push(by_role(LedgerItem::Group(word(0)), call)),
            "sysctl_set" => calls.push(by_role(LedgerItem::Exec(resource.id().0), call)),
            "unit_converge" | "merged_note" => calls.push(call),
            "exec_run" => {
                if let Resource::Exec(exec) = resource
                    && let Some(undo) = &exec.undo
                {
                    let words = std::iter::once(&exec.name).chain(undo);
                    calls.push(by_role(
                        LedgerItem::Exec(exec.name.clone()),
                        record(resource, "undo_exec", words)?,
                    ));
                }
                calls.push(call);
            }
            _ => {
                if !left {
                    let id = resource.id().0;
                    calls.push(by_role(LedgerItem::Left(id.clone()), record(resource, "undo_left", [&id])?));
                }
                left = true;
                calls.push(call);
            }
        }
    }
    Ok(Change { calls, ..change })
}

/// Writes down how the units of a removable role are before its first change: a package or a file may
/// have started one by the time of its own turn.
pub fn units<'r>(
    role: &RoleName,
    resources: impl IntoIterator<Item = (&'r Resource, Fields<'r>)>,
) -> Result<Vec<Call>, Error> {
    resources.into_iter().filter_map(|(resource, seen)| unit(role, resource, &seen).transpose()).collect()
}

fn unit(role: &RoleName, resource: &Resource, seen: &Fields<'_>) -> Result<Option<Call>, Error> {
    let Some(unit) = resource.unit() else { return Ok(None) };
    let before = ["UnitFileState", "ActiveState"].map(|key| seen.text(key).unwrap_or_default().to_owned());
    let words: Vec<String> = std::iter::once(unit.name.to_string())
        .chain(before)
        .chain(unit.watched())
        .chain(load_words(&unit))
        .collect();
    let entry = LedgerItem::Unit(unit.name.to_string()).entry();
    let call = record(resource, "undo_unit", &words)?;
    Ok(Some(call.made_by("removable", [entry.as_str(), role.as_str(), "no"].map(Arg::lossy))))
}

/// What stops with a unit, so that its removal can say so too.
fn load_words(unit: &Unit) -> Vec<String> {
    let Some(Load { name, what, count }) = &unit.load else { return Vec::new() };
    // The ledger keeps a word a line.
    if count.iter().any(|word| word.contains('\n')) {
        return Vec::new();
    }
    [name, what].into_iter().chain(count).map(|word| format!("{CARRIES}{word}")).collect()
}

/// A call that writes something down, by the function that prints it.
fn record<'w>(
    resource: &Resource,
    function: &'static str,
    words: impl IntoIterator<Item = &'w String>,
) -> Result<Call, Error> {
    let words: Result<Vec<Arg>, _> = words.into_iter().map(Arg::new).collect();
    let words = words.map_err(|source| Error::Nul { id: resource.id().0, source })?;
    Ok(Call::new(function, words).made_by("undo_record", []))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::testing::{SeenValue, facts, owned};

    fn calls(resource: Value, said: &[SeenValue<'_>]) -> Vec<String> {
        let resource = Resource::from_value(resource).unwrap();
        let said = owned(said);
        let seen = Fields::new(&said);
        let planned = std::collections::BTreeSet::new();
        let change = resource.decide(
            &seen,
            &facts("x86_64"),
            &crate::resource::Planned { steps: &planned, keys: &std::collections::BTreeMap::new() },
        );
        let role = RoleName::parse("dns").unwrap();
        let change = recorded(&role, &resource, &seen, change.unwrap().unwrap()).unwrap();
        change.calls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_change_is_written_down_before_it_is_made() {
        let entry = |thing: LedgerItem| thing.entry();
        let directory = calls(json!({"directory": {"path": "/d"}}), &[("type", "absent")]);
        let at = entry(LedgerItem::Directory("/d".into()));
        assert_eq!(
            directory,
            [format!("removable '{at}' 'dns' 'no' 'directory_ensure' '/d' '0755' 'root' 'root'")]
        );
        let key = calls(
            json!({"file": {"path": "/k", "content": "hunter2", "secret": true, "replace_symlink": true}}),
            &[("type", "link"), ("target", "../x")],
        );
        let at = entry(LedgerItem::File("/k".into()));
        assert_eq!(
            key,
            [format!(
                "removable '{at}' 'dns' 'yes' 'file_write' '/k' '0644' 'root' 'root' <secret> <secret> <secret>"
            )]
        );
        let exec = json!({"exec": {"name": "x", "command": ["a"], "creates": "/x", "undo": ["b", "c d"]}});
        let at = entry(LedgerItem::Exec("x".into()));
        assert_eq!(
            calls(exec, &[("satisfied", "no")]),
            [
                format!("removable '{at}' 'dns' 'no' 'undo_record' 'undo_exec' 'x' 'b' 'c d'"),
                "exec_run 'a'".to_owned()
            ]
        );
        let package =
            calls(json!({"package": {"names": ["dnsmasq"]}}), &[("manager", "apt"), ("missing", "dnsmasq")]);
        let at = entry(LedgerItem::Left("package dnsmasq".into()));
        assert_eq!(
            package,
            [
                format!("removable '{at}' 'dns' 'no' 'undo_record' 'undo_left' 'package dnsmasq'"),
                "package_install 'dnsmasq'".to_owned()
            ]
        );
    }

    #[test]
    fn a_unit_is_written_down_as_it_was_observed() {
        let said = [
            ("LoadState", "loaded"),
            ("ActiveState", "inactive"),
            ("SubState", "dead"),
            ("UnitFileState", "disabled"),
            ("NeedDaemonReload", "no"),
        ];
        let unit = json!({"unit": {"name": "a.service", "restart_on": ["/a"], "reload_on": ["/b"]}});
        let at = LedgerItem::Unit("a.service".into()).entry();
        assert_eq!(
            calls(unit, &said),
            [
                format!(
                    "removable '{at}' 'dns' 'no' 'undo_record' 'undo_unit' 'a.service' 'disabled' 'inactive' '1' '/a' '/b'"
                ),
                "unit_converge 'a.service' 'true' 'started' '1' '/a' '/b'".to_owned()
            ]
        );
    }
}
