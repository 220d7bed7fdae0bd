//! `json-merge`: some keys of a JSON file that others write too.

use std::collections::BTreeSet;

use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::seen::{Access, encode};
use super::write::{FileWrite, SeenFile};
use super::{AccountName, Content, Error, FileMode, HostPath, Phase, call_of, default_file_mode};
use crate::model::{Call, Change, PrefetchOf, StepId};
use crate::script::Fields;

type Object = Map<String, Value>;

/// Keys that a JSON object should hold; all other keys stay as they are, in their order and as they are laid out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonMerge {
    pub path: HostPath,
    /// A JSON object. Objects are merged deep, null deletes a key, everything else replaces it.
    pub content: Content,
    /// Default: as it is; `"0644"` for a new file.
    #[serde(default)]
    pub mode: Option<FileMode>,
    /// Default: as it is; `root` for a new file.
    #[serde(default)]
    pub owner: Option<AccountName>,
    /// Default: as it is; `root` for a new file.
    #[serde(default)]
    pub group: Option<AccountName>,
    /// A program that may refuse the result before it replaces what is there; `%s` stands for the new file.
    #[serde(default)]
    pub validate: Vec<String>,
    /// `activate`: written together with its role's units, host after host, so that a change that does harm does it
    /// to one host.
    #[serde(default = "in_prepare")]
    pub phase: Phase,
}

fn in_prepare() -> Phase {
    Phase::Prepare
}

impl JsonMerge {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("json-merge {}", self.path))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let call = call_of(&self.id(), "merged_probe", [self.path.as_str()])?;
        Ok(call.with_prefetch([PrefetchOf::Content.named(self.path.as_str())]))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let had = Merged::parse(seen);
        let seen = SeenFile::parse(&id, &self.path, seen)?;
        let text = seen.text(&self.path)?;
        let merged = self.merged(text, &had)?;
        let kept = PresentAccess::new(&seen, self.mode, self.owner.as_ref(), self.group.as_ref());
        let wanted = FileWrite {
            id: &id,
            path: &self.path,
            access: kept.access(),
            content: merged.as_deref().unwrap_or(text),
            secret: false,
            validate: &self.validate,
        };
        let change = wanted.decide(&seen)?;
        let (Some(mut change), Some(_)) = (change.as_ref().cloned(), merged.as_ref()) else {
            return Ok(change);
        };
        let (found, _) = self.objects(text, &had)?;
        let note = had.next(&found, self.wanted()?);
        let note = serde_json::to_vec(&note).expect("JSON values are written into memory");
        change.calls.insert(0, call_of(&id, "merged_note", [self.path.as_str(), &encode(&note)])?);
        Ok(Some(change))
    }

    /// The keys at the top whose values change.
    pub(super) fn changed_keys(&self, seen: &Fields<'_>) -> Result<BTreeSet<String>, Error> {
        let had = Merged::parse(seen);
        let text = SeenFile::parse(&self.id(), &self.path, seen)?.text(&self.path)?;
        let (found, merged) = self.objects(text, &had)?;
        let all = found.keys().chain(merged.keys());
        Ok(all.filter(|key| found.get(*key) != merged.get(*key)).cloned().collect())
    }

    /// The new text; `None` if the file says it all already, however it is laid out.
    fn merged(&self, text: &str, had: &Merged) -> Result<Option<String>, Error> {
        let (found, merged) = self.objects(text, had)?;
        if text.trim().is_empty() {
            return Ok(Some(pretty(&merged)));
        }
        if merged == found {
            return Ok(None);
        }
        edited(text, &found, &merged)
            .map(Some)
            .ok_or_else(|| Error::DoubleKey { path: self.path.to_string() })
    }

    /// What the file says, and what it should say.
    fn objects(&self, text: &str, had: &Merged) -> Result<(Object, Object), Error> {
        let path = || self.path.to_string();
        let wanted = self.wanted()?;
        let found: Object = if text.trim().is_empty() {
            Map::new()
        } else {
            serde_json::from_str(text).map_err(|source| Error::SeenJson { path: path(), source })?
        };
        let mut merged = found.clone();
        had.take_back(&mut merged, &wanted);
        merge(&mut merged, wanted);
        Ok((found, merged))
    }

    fn wanted(&self) -> Result<Object, Error> {
        serde_json::from_str(self.content.as_str())
            .map_err(|source| Error::WantedJson { path: self.path.to_string(), source })
    }
}

/// What was merged into a file last: kept on the host beside it, so that what is wanted no more goes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Merged(Vec<MergedKey>);

/// One value that was written, at a key of keys.
#[derive(Debug, Serialize, Deserialize)]
struct MergedKey {
    at: Vec<String>,
    /// Null: the key was taken out.
    wrote: Value,
    /// What stood there before this program wrote there first; absent where there was no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
}

impl Merged {
    /// A note that cannot be read counts as none: then nothing is taken out.
    fn parse(seen: &Fields<'_>) -> Self {
        seen.text("merged").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Makes what is wanted no more what it was before, unless somebody has changed it since.
    fn take_back(&self, object: &mut Object, wanted: &Object) {
        let wanted: Vec<Vec<String>> = leaves(wanted).into_iter().map(|(at, _)| at).collect();
        let is_wanted = |at: &[String]| wanted.iter().any(|key| key.starts_with(at) || at.starts_with(key));
        for key in self.0.iter().filter(|key| !is_wanted(&key.at)) {
            let now = value_at(object, &key.at).cloned().unwrap_or(Value::Null);
            if now == key.wrote {
                set(object, &key.at, key.before.clone());
            }
        }
    }

    /// The same after what is wanted was merged into a file that said `found`.
    fn next(&self, found: &Object, wanted: Object) -> Self {
        let known = |at: &[String]| self.0.iter().find(|key| key.at == at);
        let key = |(at, wrote): (Vec<String>, Value)| {
            let before = match known(&at) {
                Some(known) => known.before.clone(),
                None => value_at(found, &at).cloned(),
            };
            MergedKey { at, wrote, before }
        };
        Self(leaves(&wanted).into_iter().map(key).collect())
    }
}

/// Every value that is no object, with the keys that lead to it.
fn leaves(object: &Object) -> Vec<(Vec<String>, Value)> {
    let below = |(key, value): (&String, &Value)| match value {
        Value::Object(inner) => {
            let below = leaves(inner).into_iter();
            below.map(|(at, value)| ([vec![key.clone()], at].concat(), value)).collect()
        }
        other => vec![(vec![key.clone()], other.clone())],
    };
    object.iter().flat_map(below).collect()
}

fn value_at<'v>(object: &'v Object, at: &[String]) -> Option<&'v Value> {
    let (first, rest) = at.split_first()?;
    let value = object.get(first)?;
    if rest.is_empty() { Some(value) } else { value_at(value.as_object()?, rest) }
}

/// Sets a value or takes its key out, and then the objects that are empty without it.
fn set(object: &mut Object, at: &[String], value: Option<Value>) {
    let Some((first, rest)) = at.split_first() else { return };
    if rest.is_empty() {
        match value {
            Some(value) => drop(object.insert(first.clone(), value)),
            None => drop(object.shift_remove(first)),
        }
        return;
    }
    if value.is_some() && !object.get(first).is_some_and(Value::is_object) {
        object.insert(first.clone(), Value::Object(Map::new()));
    }
    let Some(Value::Object(inner)) = object.get_mut(first) else { return };
    let was_empty = inner.is_empty();
    set(inner, rest, value);
    if inner.is_empty() && !was_empty {
        object.shift_remove(first);
    }
}

/// RFC 7396, as far as it speaks of objects.
fn merge(into: &mut Object, wanted: Object) {
    for (key, value) in wanted {
        match value {
            Value::Null => {
                // Not `remove`, which would put the last key in its place.
                into.shift_remove(&key);
            }
            Value::Object(wanted) => {
                let inner = into.entry(key).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, wanted);
                }
            }
            other => {
                into.insert(key, other);
            }
        }
    }
}

/// The text with only what differs written anew. `None` if the text names one of those keys twice: then there is no
/// telling which of them is meant.
fn edited(text: &str, found: &Object, merged: &Object) -> Option<String> {
    let root = CstRootNode::parse(text, &jsonc_parser::ParseOptions::default()).ok()?;
    edit(&root.object_value()?, found, merged)?;
    let edited = root.to_string();
    (serde_json::from_str::<Object>(&edited).ok()? == *merged).then_some(edited)
}

fn edit(object: &CstObject, found: &Object, merged: &Object) -> Option<()> {
    for key in found.keys().filter(|key| !merged.contains_key(*key)) {
        object.get(key)?.remove();
    }
    for (key, value) in merged {
        match (found.get(key), value) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(found)), Value::Object(merged)) => {
                edit(&object.object_value(key)?, found, merged)?;
            }
            (Some(_), new) => object.get(key)?.set_value(input(new)),
            (None, new) => {
                object.append(key, input(new));
            }
        }
    }
    Some(())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(fields) => {
            CstInputValue::Object(fields.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
    }
}

/// The text of a new file.
fn pretty(object: &Object) -> String {
    // Writing a JSON value into memory has no way to fail.
    serde_json::to_string_pretty(object).expect("a JSON value is written into memory") + "\n"
}

/// Mode and owner that were given, else those the file has.
pub(super) struct PresentAccess {
    mode: FileMode,
    owner: AccountName,
    group: AccountName,
}

impl PresentAccess {
    pub(super) fn new(
        seen: &SeenFile<'_>,
        mode: Option<FileMode>,
        owner: Option<&AccountName>,
        group: Option<&AccountName>,
    ) -> Self {
        let (seen_mode, seen_owner, seen_group) = seen
            .stat
            .as_ref()
            .and_then(super::seen::Stat::access)
            .unwrap_or_else(|| (default_file_mode(), AccountName::root(), AccountName::root()));
        Self {
            mode: mode.unwrap_or(seen_mode),
            owner: owner.cloned().unwrap_or(seen_owner),
            group: group.cloned().unwrap_or(seen_group),
        }
    }

    pub(super) fn access(&self) -> Access<'_> {
        Access { mode: self.mode, owner: &self.owner, group: &self.group }
    }
}

#[cfg(test)]
mod tests {
    use indoc::indoc;
    use serde_json::json;

    use super::super::Phase;
    use super::super::testing::{calls, reason};

    const OLD: &str = indoc! {r#"
            {
                "log-level": "warn",
                "dns": ["9.9.9.9"],
                "a": {"b": 1, "c": 2}
            }
        "#};

    fn merge(content: &str) -> serde_json::Value {
        json!({"json-merge": {"path": "/etc/docker/daemon.json", "content": content}})
    }

    #[test]
    fn keys_are_merged_deep_and_the_rest_stays() {
        let merged = super::JsonMerge {
            path: "/x".parse().unwrap(),
            content: super::Content::new(
                r#"{"dns": ["10.0.0.1"], "a": {"b": null, "d": {"e": 3}}, "new": true}"#,
            ),
            mode: None,
            owner: None,
            group: None,
            validate: vec![],
            phase: Phase::Prepare,
        };
        assert_eq!(
            merged.merged(OLD, &super::Merged::default()).unwrap().unwrap(),
            indoc! {r#"
                {
                    "log-level": "warn",
                    "dns": ["10.0.0.1"],
                    "a": {
                        "c": 2,
                        "d": {
                            "e": 3
                        }
                    },
                    "new": true
                }
            "#}
        );
    }

    fn merged(content: &str, text: &str) -> String {
        let merge = super::JsonMerge {
            path: "/x".parse().unwrap(),
            content: super::Content::new(content),
            mode: None,
            owner: None,
            group: None,
            validate: vec![],
            phase: Phase::Prepare,
        };
        match merge.merged(text, &super::Merged::default()) {
            Ok(merged) => merged.unwrap_or_else(|| "-".to_owned()),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn what_is_not_changed_keeps_its_layout() {
        for (content, text, wanted) in [
            (r#"{"a": 2}"#, r#"{"b":[1,  2],"a":1}"#, r#"{"b":[1,  2],"a":2}"#),
            (r#"{"n": [1]}"#, "{\r\n\t\"b\": {\r\n\t}\r\n}", "{\r\n\t\"b\": {\r\n\t},\r\n\t\"n\": [1]\r\n}"),
            (
                r#"{"a": null}"#,
                indoc! {r#"
                {
                  "a": 1,
                  "b": 1.50
                }

            "#},
                indoc! {r#"
                {
                  "b": 1.50
                }

            "#},
            ),
            (r#"{"n": 1}"#, "{}", "{\n  \"n\": 1\n}"),
            (
                r#"{"o": {"x": "\u00fc\n"}}"#,
                r#"{"o": 1, "big": 123456789012345678901234567890}"#,
                indoc! {r#"
                    {"o": {
                        "x": "ü\n"
                      }, "big": 123456789012345678901234567890}"#},
            ),
            // Twice the same: only a key that is to be changed matters.
            (
                r#"{"a": 3}"#,
                r#"{"a": 1, "a": 2}"#,
                "error: /x names a key twice, so nothing is merged into it; mend it on the host first",
            ),
            (
                r#"{"n": 3}"#,
                r#"{"a": 1, "a": 2}"#,
                indoc! {r#"
                {
                  "a": 1,
                  "a": 2,
                  "n": 3
                }"#},
            ),
        ] {
            assert_eq!(merged(content, text), wanted, "{content} into {text}");
        }
    }

    #[test]
    fn mode_and_owner_of_the_file_stay() {
        let stat = format!("600 0 4 root adm {}", OLD.len());
        let calls = calls(merge(r#"{"a": 1}"#), &[("stat", &stat), ("type", "file"), ("body", OLD)]);
        assert!(calls[1].starts_with("file_write '/etc/docker/daemon.json' '0600' '0' '4' "), "{}", calls[0]);
    }

    #[test]
    fn what_is_there_already_is_no_change_however_it_is_laid_out() {
        let stat = format!("600 0 4 root adm {}", OLD.len());
        let seen = [("stat", stat.as_str()), ("type", "file"), ("body", OLD)];
        assert_eq!(reason(merge(r#"{"a": {"c": 2}, "missing": null}"#), &seen), "-");
        assert_eq!(reason(merge(r#"{"a": {"c": 3}}"#), &seen), "content differs");
        assert_eq!(reason(merge("{}"), &[("type", "absent")]), "absent");
    }

    #[test]
    fn a_file_that_does_not_parse_is_not_written_over() {
        for (body, wanted) in [
            (
                "{\"dns\": ",
                "error: /etc/docker/daemon.json is not a JSON object, so nothing is merged into it; \
                 mend it on the host first",
            ),
            (
                "[1]",
                "error: /etc/docker/daemon.json is not a JSON object, so nothing is merged into it; \
                 mend it on the host first",
            ),
            (" \n", "content differs"),
        ] {
            let stat = format!("644 0 0 root root {}", body.len());
            assert_eq!(reason(merge("{}"), &[("stat", &stat), ("type", "file"), ("body", body)]), wanted);
        }
        assert_eq!(
            reason(merge("[]"), &[("type", "absent")]),
            "error: what is to be merged into /etc/docker/daemon.json is not a JSON object"
        );
        let large = [("stat", "644 0 0 root root 999999"), ("type", "file"), ("sha256", "00")];
        assert_eq!(
            reason(merge("{}"), &large),
            "error: /etc/docker/daemon.json has 999999 bytes: too large to be merged"
        );
    }
}
