//! Nomad's plan of a job as lines: what changes, and what the scheduler would do about it.

use super::answers::{FieldDiff, ObjectDiff, PartDiff, Planned, Updates};

/// Empty for a job that is as Nomad has it.
pub fn lines(planned: &Planned) -> Vec<String> {
    let Some(diff) = planned.diff.as_ref().filter(|diff| diff.r#type != "None") else { return Vec::new() };
    let is_new = diff.r#type == "Added";
    let mut lines = vec![format!("{} job {}", sign(&diff.r#type), diff.id)];
    if !is_new {
        fields(&diff.fields, "  ", &mut lines);
        objects(&diff.objects, "  ", &mut lines);
    }
    let updates =
        planned.annotations.as_ref().and_then(|annotations| annotations.desired_tg_updates.as_ref());
    for group in diff.task_groups.iter().flatten() {
        let updates = updates.and_then(|updates| updates.get(&group.name)).map(describe).unwrap_or_default();
        if group.r#type == "None" && updates.is_empty() {
            continue;
        }
        let updates = if updates.is_empty() { updates } else { format!(": {updates}") };
        lines.push(format!("  {} group {}{updates}", sign(&group.r#type), group.name));
        part(group, is_new, "    ", &mut lines);
        for task in group.tasks.iter().flatten().filter(|task| task.r#type != "None") {
            lines.push(format!("    {} task {}", sign(&task.r#type), task.name));
            part(task, is_new, "      ", &mut lines);
        }
    }
    lines
}

/// All of a new part is new: its name says enough.
fn part(part: &PartDiff, is_new: bool, indent: &str, lines: &mut Vec<String>) {
    if !is_new && part.r#type != "Added" {
        fields(&part.fields, indent, lines);
        objects(&part.objects, indent, lines);
    }
}

fn fields(fields: &Option<Vec<FieldDiff>>, indent: &str, lines: &mut Vec<String>) {
    for field in fields.iter().flatten() {
        let name = &field.name;
        lines.extend(match field.r#type.as_str() {
            "Added" => Some(format!("{indent}+ {name}: {:?}", field.new)),
            "Deleted" => Some(format!("{indent}- {name}: {:?}", field.old)),
            "Edited" => Some(format!("{indent}~ {name}: {:?} => {:?}", field.old, field.new)),
            _ => None,
        });
    }
}

fn objects(list: &Option<Vec<ObjectDiff>>, indent: &str, lines: &mut Vec<String>) {
    for object in list.iter().flatten().filter(|object| object.r#type != "None") {
        lines.push(format!("{indent}{} {}", sign(&object.r#type), object.name));
        let indent = format!("{indent}  ");
        fields(&object.fields, &indent, lines);
        objects(&object.objects, &indent, lines);
    }
}

fn sign(kind: &str) -> char {
    match kind {
        "Added" => '+',
        "Deleted" => '-',
        "Edited" => '~',
        _ => ' ',
    }
}

fn describe(updates: &Updates) -> String {
    let words = [
        (updates.place, "to place"),
        (updates.destructive_update, "to replace"),
        (updates.in_place_update, "to update in place"),
        (updates.migrate, "to migrate"),
        (updates.canary, "canaries"),
        (updates.stop, "to stop"),
        (updates.ignore, "to leave alone"),
    ];
    let words = words.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(planned: serde_json::Value) -> String {
        lines(&serde_json::from_value(planned).unwrap()).join("\n")
    }

    #[test]
    fn a_new_job_is_named_and_a_changed_one_shown_in_full() {
        let group = |kind: &str, fields| {
            json!({"Type": kind, "Name": "web", "Fields": fields, "Objects": null, "Tasks": [
                {"Type": kind, "Name": "serve", "Fields": [
                    {"Type": "Edited", "Name": "Driver", "Old": "exec", "New": "docker"}],
                 "Objects": [{"Type": "Edited", "Name": "Resources", "Fields": [
                    {"Type": "None", "Name": "CPU", "Old": "1", "New": "1"},
                    {"Type": "Edited", "Name": "MemoryMB", "Old": "64", "New": "128"}]}]}]})
        };
        let updates = |updates| json!({"DesiredTGUpdates": {"web": updates}});
        assert_eq!(
            shown(json!({"Annotations": updates(json!({"Place": 2})), "JobModifyIndex": 0,
                "Diff": {"Type": "Added", "ID": "a", "TaskGroups": [group("Added", json!([]))]}})),
            "+ job a\n  + group web: 2 to place\n    + task serve"
        );
        let count = json!([{"Type": "Edited", "Name": "Count", "Old": "1", "New": "2"}]);
        assert_eq!(
            shown(
                json!({"Annotations": updates(json!({"Place": 1, "DestructiveUpdate": 1})), "JobModifyIndex": 7,
                "Diff": {"Type": "Edited", "ID": "a", "TaskGroups": [group("Edited", count)]}})
            ),
            "~ job a\n  ~ group web: 1 to place, 1 to replace\n    ~ Count: \"1\" => \"2\"\n    ~ task serve\n      \
             ~ Driver: \"exec\" => \"docker\"\n      ~ Resources\n        ~ MemoryMB: \"64\" => \"128\""
        );
        assert_eq!(shown(json!({"Diff": {"Type": "None", "ID": "a"}})), "");
    }
}
