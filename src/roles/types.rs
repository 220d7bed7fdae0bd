//! Variable types against values as written.

use std::net::IpAddr;

use super::VariableType;
use crate::inventory::node::{Document, Kind, Node, Span};
use crate::inventory::reader::{any_of, duration, nearest};

/// Where a value is not of its type, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The value itself, or the item or key inside it.
    pub span: Span,
    /// What the span is of the value: empty, or `an item of `.
    pub part: &'static str,
    pub wanted: String,
    pub got: String,
    pub help: Option<String>,
}

impl VariableType {
    /// As a sentence has it: "expected …".
    pub fn describe(&self) -> String {
        match self {
            Self::String => "a text".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Integer => "a whole number".to_owned(),
            Self::Port => "a port number from 1 to 65535".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::Address => "an IP address".to_owned(),
            Self::Duration => "a duration such as `10s`".to_owned(),
            Self::Version => "a version such as `1.21.4`".to_owned(),
            Self::Choice(words) => any_of(words),
            Self::Source => "`release`, `package`, `{ mirror: URL }` or `{ file: PATH }`".to_owned(),
            Self::List(inner) if **inner == Self::Any => "a list".to_owned(),
            Self::List(inner) => format!("a list whose items are each {}", inner.describe()),
            Self::Map => "a map".to_owned(),
            Self::Any => "a value".to_owned(),
        }
    }

    /// In a few characters, for tables.
    pub fn short(&self) -> String {
        match self {
            Self::String => "string".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Integer => "integer".to_owned(),
            Self::Port => "port".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Address => "address".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Version => "version".to_owned(),
            Self::Choice(words) => words.join("|"),
            Self::Source => "source".to_owned(),
            Self::List(inner) => format!("list of {}", inner.short()),
            Self::Map => "map".to_owned(),
            Self::Any => "any".to_owned(),
        }
    }

    /// The first fault of a value, `None` if it has this type.
    pub fn fault(&self, node: &Node, document: &Document) -> Option<Fault> {
        let written = document.written(node);
        let fault = |help: Option<String>| Fault {
            span: node.span,
            part: "",
            wanted: self.describe(),
            got: match node.kind {
                // As written: 1.20 is not 1.2.
                Kind::Number(_) => format!("the number {written}"),
                _ => node.describe(),
            },
            help,
        };
        let right = match (self, &node.kind) {
            (Self::Any, kind) => *kind != Kind::Null,
            (Self::String, Kind::Text(_)) => true,
            (Self::String, Kind::Number(_) | Kind::Bool(_)) => {
                return Some(fault(Some(format!("put quotes around it: \"{written}\""))));
            }
            (Self::Version, Kind::Number(_)) => return Some(fault(version_help(written))),
            (Self::Bool, Kind::Bool(_)) | (Self::Map, Kind::Map(_)) => true,
            (Self::Bool, Kind::Text(text)) => {
                return Some(fault(boolean(text).map(|value| format!("write `{value}`, without quotes"))));
            }
            (Self::Integer, Kind::Number(number)) => number.is_i64() || number.is_u64(),
            (Self::Port, Kind::Number(number)) => {
                number.as_u64().is_some_and(|port| (1..=65535).contains(&port))
            }
            (Self::Integer | Self::Port, Kind::Text(text)) if text.parse::<i64>().is_ok() => {
                return Some(fault(Some(format!("write {text} without quotes"))));
            }
            (Self::Path, Kind::Text(text)) => {
                if text.starts_with("~/") {
                    return Some(fault(Some(
                        "`~` is not expanded on the hosts: write the whole path".to_owned(),
                    )));
                }
                text.starts_with('/')
            }
            (Self::Address, Kind::Text(text)) => {
                if text.contains('/') {
                    return Some(fault(Some("leave out the prefix length".to_owned())));
                }
                text.parse::<IpAddr>().is_ok()
            }
            (Self::Duration, Kind::Text(text)) => duration(text).is_some(),
            (Self::Duration, Kind::Number(number)) => {
                return Some(fault(Some(format!("add a unit: `{number}s`, `{number}m`"))));
            }
            (Self::Version, Kind::Text(text)) => {
                if semver::Version::parse(text).is_err() {
                    return Some(fault(version_help(text)));
                }
                true
            }
            (Self::Choice(words), Kind::Text(text)) => {
                if !words.contains(text) {
                    let near = nearest(text, words.iter().map(String::as_str));
                    return Some(fault(near.map(|near| format!("did you mean `{near}`?"))));
                }
                true
            }
            (Self::Source, _) => return source(node, fault),
            (Self::List(inner), Kind::List(items)) => {
                let first = items.iter().find_map(|item| inner.fault(item, document));
                return first.map(|fault| Fault { part: "an item of ", ..fault });
            }
            (Self::List(_), Kind::Text(text)) => {
                return Some(fault(Some(format!("a list of one is written [{text}]"))));
            }
            _ => false,
        };
        if right { None } else { Some(fault(None)) }
    }
}

/// What YAML 1.1 took for a boolean.
fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "on" | "true" | "y" => Some(true),
        "no" | "off" | "false" | "n" => Some(false),
        _ => None,
    }
}

fn version_help(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix(['v', 'V']).filter(|rest| semver::Version::parse(rest).is_ok()) {
        return Some(format!("leave out the `v`: {rest}"));
    }
    Some(match text {
        text if text.split('.').count() == 2 && semver::Version::parse(&format!("{text}.0")).is_ok() => {
            format!("three numbers: {text}.0 is the first of that line")
        }
        "latest" => "name one version: what `latest` means changes under a running cluster".to_owned(),
        _ => "three numbers, as the vendor's release page writes them: 1.21.4, 1.22.0-rc1, 1.21.4+ent"
            .to_owned(),
    })
}

fn source(node: &Node, fault: impl Fn(Option<String>) -> Fault) -> Option<Fault> {
    match &node.kind {
        Kind::Text(text) => match text.as_str() {
            "release" | "package" => None,
            text if text.contains("://") => Some(fault(Some(format!("write `{{ mirror: \"{text}\" }}`")))),
            text if text.contains('/') => Some(fault(Some(format!("write `{{ file: {text} }}`")))),
            text => Some(fault(
                nearest(text, ["release", "package"]).map(|near| format!("did you mean `{near}`?")),
            )),
        },
        Kind::Map(entries) => {
            if let Some(via) = entries.iter().find(|entry| entry.key.value == "via") {
                return Some(Fault {
                    span: via.key.span,
                    got: "the key `via`".to_owned(),
                    ..fault(Some(
                        "`via` is a variable of its own: write it beside `source`, not inside".to_owned(),
                    ))
                });
            }
            let [entry] = entries.as_slice() else { return Some(fault(None)) };
            let value = &entry.value;
            let inner = |part: &'static str, wanted: &str| Fault {
                span: value.span,
                part,
                wanted: wanted.to_owned(),
                got: value.describe(),
                help: None,
            };
            match (entry.key.value.as_str(), &value.kind) {
                ("mirror", Kind::Text(url)) if url.starts_with("http://") || url.starts_with("https://") => {
                    None
                }
                ("mirror", _) => Some(inner("`mirror` of ", "a URL that starts with http:// or https://")),
                ("file", Kind::Text(path)) if !path.is_empty() => None,
                ("file", _) => Some(inner("`file` of ", "the path of a zip or binary on this machine")),
                (key, _) => Some(Fault {
                    span: entry.key.span,
                    got: format!("the key `{key}`"),
                    ..fault(nearest(key, ["mirror", "file"]).map(|near| format!("did you mean `{near}`?")))
                }),
            }
        }
        _ => Some(fault(None)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::inventory::yaml;

    #[test]
    fn values_are_of_their_type_or_not() {
        let choice = || VariableType::Choice(vec!["info".to_owned(), "warn".to_owned()]);
        let list = |inner| VariableType::List(Box::new(inner));
        for (r#type, right, wrong) in [
            (
                VariableType::String,
                vec!["a", "\"7\"", "\"\"", "yes"],
                vec!["7", "true", "~", "[a]", "{a: b}"],
            ),
            (VariableType::Bool, vec!["true", "false"], vec!["yes", "\"true\"", "1", "~"]),
            (VariableType::Integer, vec!["0", "-7", "0x10"], vec!["1.5", "\"1\"", "a"]),
            (VariableType::Port, vec!["1", "65535"], vec!["0", "65536", "-1", "\"80\"", "80.5"]),
            (VariableType::Path, vec!["/", "/opt/x y"], vec!["opt", "~/x", "./x", "7"]),
            (
                VariableType::Address,
                vec!["10.0.0.1", "\"::1\""],
                vec!["10.0.0", "10.0.0.0/8", "host", "010.0.0.1"],
            ),
            (VariableType::Duration, vec!["10s", "1m30s", "0s"], vec!["10", "1d", "s", "-1s", "\"\""]),
            (
                VariableType::Version,
                vec!["1.2.3", "1.2.3+ent", "1.2.3-rc1"],
                vec!["1.2", "v1.2.3", "latest", "1"],
            ),
            (choice(), vec!["info", "warn"], vec!["Info", "debug", "3", "~"]),
            (
                VariableType::Source,
                vec![
                    "release",
                    "package",
                    "{ mirror: \"https://a\" }",
                    "{ mirror: \"http://a\" }",
                    "{ file: x.zip }",
                ],
                vec!["mirror", "{ mirror: a }", "{ file: \"\" }", "{ url: x }", "{}", "[release]"],
            ),
            (list(VariableType::Port), vec!["[]", "[80, 443]"], vec!["80", "[80, x]", "{ a: 80 }", "~"]),
            (VariableType::Map, vec!["{}", "{ a: [1] }"], vec!["[]", "a", "~"]),
            (VariableType::Any, vec!["a", "[]", "{}", "1", "true"], vec!["~"]),
        ] {
            let fault = |text: &str| {
                let (document, problems) = yaml::parse(text, Path::new("value.yaml"));
                assert_eq!(problems, [], "{text}");
                let document = document.unwrap();
                r#type.fault(&document.root, &document)
            };
            for text in right {
                assert_eq!(fault(text), None, "{text} as {type:?}");
            }
            for text in wrong {
                assert!(fault(text).is_some(), "{text} as {type:?}");
            }
        }
    }
}
