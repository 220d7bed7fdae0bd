//! `json-merge`: some keys of a JSON file that others write too.

use serde::{Deserialize, Serialize as _};
use serde_json::{Map, Value};

use super::seen::Access;
use super::write::{self, FileWrite, SeenFile};
use super::{AccountName, Content, Error, FileMode, HostPath, default_file_mode};
use crate::plan::{Change, StepId};
use crate::script::{Call, Fields};

/// Keys that a JSON object should hold; all other keys, and their order, stay.
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
}

impl JsonMerge {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("json-merge {}", self.path))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        write::probe(&self.id(), &self.path, false)
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let seen = SeenFile::parse(&id, &self.path, seen)?;
        let text = seen.text(&self.path)?;
        let merged = self.merged(text)?;
        let kept = KeptAccess::new(&seen, self.mode, self.owner.as_ref(), self.group.as_ref());
        let wanted = FileWrite {
            id: &id,
            path: &self.path,
            access: kept.access(),
            content: merged.as_deref().unwrap_or(text),
            secret: false,
            validate: &self.validate,
        };
        wanted.decide(&seen)
    }

    /// The new text; `None` if the file says it all already, however it is laid out.
    fn merged(&self, text: &str) -> Result<Option<String>, Error> {
        let path = || self.path.to_string();
        let wanted: Map<String, Value> = serde_json::from_str(self.content.as_str())
            .map_err(|source| Error::WantedJson { path: path(), source })?;
        let found: Map<String, Value> = if text.trim().is_empty() {
            Map::new()
        } else {
            serde_json::from_str(text).map_err(|source| Error::SeenJson { path: path(), source })?
        };
        let mut merged = found.clone();
        merge(&mut merged, wanted);
        if merged == found && !text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(pretty(&merged, &indentation(text))))
    }
}

/// RFC 7396, as far as it speaks of objects.
fn merge(into: &mut Map<String, Value>, wanted: Map<String, Value>) {
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

/// The white space before the first key, so that a file keeps its look; two spaces for a new one.
fn indentation(text: &str) -> String {
    let indented = text.lines().find_map(|line| {
        let rest = line.trim_start();
        rest.starts_with('"').then(|| &line[..line.len() - rest.len()]).filter(|space| !space.is_empty())
    });
    indented.unwrap_or("  ").to_owned()
}

fn pretty(object: &Map<String, Value>, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a JSON value into memory has no way to fail, and writes UTF-8.
    object.serialize(&mut serializer).expect("a JSON value is written into memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON text is UTF-8")
}

/// Mode and owner that were given, else those the file has.
pub(super) struct KeptAccess {
    mode: FileMode,
    owner: AccountName,
    group: AccountName,
}

impl KeptAccess {
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
    use serde_json::json;

    use super::super::testing::{calls, reason};

    const OLD: &str =
        "{\n    \"log-level\": \"warn\",\n    \"dns\": [\"9.9.9.9\"],\n    \"a\": {\"b\": 1, \"c\": 2}\n}\n";

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
        };
        assert_eq!(
            merged.merged(OLD).unwrap().unwrap(),
            "{\n    \"log-level\": \"warn\",\n    \"dns\": [\n        \"10.0.0.1\"\n    ],\n    \"a\": {\n        \
             \"c\": 2,\n        \"d\": {\n            \"e\": 3\n        }\n    },\n    \"new\": true\n}\n"
        );
    }

    #[test]
    fn mode_and_owner_of_the_file_stay() {
        let stat = format!("600 0 4 root adm {}", OLD.len());
        let calls = calls(merge(r#"{"a": 1}"#), &[("stat", &stat), ("type", "file"), ("body", OLD)]);
        assert!(calls[0].starts_with("file_write '/etc/docker/daemon.json' '0600' '0' '4' "), "{}", calls[0]);
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
