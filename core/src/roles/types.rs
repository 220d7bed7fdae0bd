//! Variable types against values as written.

use std::net::IpAddr;

use indexmap::IndexMap;

use super::{Variable, VariableType};
use crate::inventory::node::{Document, Entry, Kind, Node, Span};
use crate::inventory::reader::{any_of, duration, list, missing_colon, nearest};
use crate::resource::{AccountName, FileMode, FileUrl, Sha256Digest};

/// Where a value is not of its type, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The value itself, or the item or key inside it.
    pub span: Span,
    /// What the span is of the value: empty, or a way into it, like `an item of `.
    pub part: String,
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
            Self::HostName => "a host's name or address, such as `api.example.org`".to_owned(),
            Self::Word => "one word of letters, digits and `._+-`".to_owned(),
            Self::Networks => {
                "a network such as `10.244.0.0/16`, or several with commas between them".to_owned()
            }
            Self::Address => "an IP address".to_owned(),
            Self::Duration => "a duration such as `10s`".to_owned(),
            Self::Version => "a version such as `1.21.4`".to_owned(),
            Self::Choice(words) => any_of(words),
            Self::Source => "`release`, `package`, `{ mirror: URL }` or `{ file: PATH }`".to_owned(),
            Self::Account => "the name or number of an account".to_owned(),
            Self::Url => "an address such as `https://example.org/file`".to_owned(),
            Self::Sha256 => "a sha256 of 64 hex digits, as `sha256sum` prints it".to_owned(),
            Self::Image => "an image with its tag, such as `team/app:1.2`".to_owned(),
            Self::Mode => "a mode of four octal digits in quotes, such as \"0755\"".to_owned(),
            Self::List(inner) if **inner == Self::Any => "a list".to_owned(),
            Self::List(inner) => format!("a list whose items are each {}", inner.describe()),
            Self::Map => "a map".to_owned(),
            Self::Record(fields) => {
                let needed: Vec<&String> =
                    fields.iter().filter(|(_, field)| field.is_required()).map(|(name, _)| name).collect();
                if needed.is_empty() { "a map".to_owned() } else { format!("a map with {}", list(&needed)) }
            }
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
            Self::HostName => "hostname".to_owned(),
            Self::Word => "word".to_owned(),
            Self::Networks => "networks".to_owned(),
            Self::Address => "address".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Version => "version".to_owned(),
            Self::Choice(words) => words.join("|"),
            Self::Source => "source".to_owned(),
            Self::Account => "account".to_owned(),
            Self::Mode => "mode".to_owned(),
            Self::Url => "url".to_owned(),
            Self::Sha256 => "sha256".to_owned(),
            Self::Image => "image".to_owned(),
            Self::List(inner) => format!("list of {}", inner.short()),
            Self::Map | Self::Record(_) => "map".to_owned(),
            Self::Any => "any".to_owned(),
        }
    }

    /// The fields of a record, or of each record in a list.
    pub fn fields(&self) -> Option<&IndexMap<String, Variable>> {
        match self {
            Self::Record(fields) => Some(fields),
            Self::List(inner) => inner.fields(),
            _ => None,
        }
    }

    /// All faults of a value; none if it has this type.
    pub fn faults(&self, node: &Node, document: &Document) -> Vec<Fault> {
        match (self, &node.kind) {
            (Self::List(inner), Kind::List(items)) => items
                .iter()
                .flat_map(|item| inner.faults(item, document))
                .map(|fault| Fault { part: fault.part + "an item of ", ..fault })
                .collect(),
            (Self::Record(fields), Kind::Map(entries)) => record(self, fields, node, entries, document),
            _ => self.fault(node, document).into_iter().collect(),
        }
    }

    /// The fault of a value that is not made of others.
    fn fault(&self, node: &Node, document: &Document) -> Option<Fault> {
        let written = document.written(node);
        let fault = |help: Option<String>| Fault {
            span: node.span,
            part: String::new(),
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
                // Paths go into units, configuration files of many formats and words of shells.
                const PLAIN: &str = "/._+@:,~=-";
                if text.starts_with('/')
                    && !text.chars().all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(c))
                {
                    return Some(fault(Some(format!("it is made of letters, digits and `{PLAIN}`"))));
                }
                text.starts_with('/')
            }
            (Self::HostName, Kind::Text(text)) => is_host_name(text),
            (Self::Word, Kind::Text(text)) => is_word(text),
            (Self::Networks, Kind::Text(text)) => {
                text.split(',').all(|network| network.trim().parse::<ipnet::IpNet>().is_ok())
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
            (Self::Account, Kind::Number(number)) => {
                number.as_u64().is_some_and(|number| u32::try_from(number).is_ok())
            }
            (Self::Account, Kind::Text(text)) => text.parse::<AccountName>().is_ok(),
            // 0755 is the number 755 for one reader of YAML and 493 for another.
            (Self::Mode, Kind::Number(_)) => {
                return Some(fault(Some(format!("put quotes around it: \"{written:0>4}\""))));
            }
            (Self::Mode, Kind::Text(text)) => FileMode::try_from(text.clone()).is_ok(),
            (Self::Url, Kind::Text(text)) => text.parse::<FileUrl>().is_ok(),
            (Self::Sha256, Kind::Number(_)) if written.len() == 64 => {
                return Some(fault(Some(format!("put quotes around it: \"{written}\""))));
            }
            (Self::Sha256, Kind::Text(text)) => {
                let small = text.to_lowercase();
                if small != *text && small.parse::<Sha256Digest>().is_ok() {
                    return Some(fault(Some(format!("in small letters: {small}"))));
                }
                text.parse::<Sha256Digest>().is_ok()
            }
            (Self::Image, Kind::Text(text)) => {
                if !is_image(text) {
                    return Some(fault(image_help(text)));
                }
                true
            }
            (Self::List(_), Kind::Text(text)) => {
                return Some(fault(Some(format!("a list of one is written [{text}]"))));
            }
            _ => false,
        };
        if right { None } else { Some(fault(None)) }
    }
}

/// The faults of a map with fixed keys.
fn record(
    r#type: &VariableType,
    fields: &IndexMap<String, Variable>,
    node: &Node,
    entries: &[Entry],
    document: &Document,
) -> Vec<Fault> {
    let names = || fields.keys().map(String::as_str);
    let mut faults = Vec::new();
    let mut meant = Vec::new();
    for entry in entries {
        let name = &entry.key.value;
        let Some(field) = fields.get(name) else {
            let near = nearest(name, names());
            meant.extend(near);
            faults.push(Fault {
                span: entry.key.span,
                part: "a key of ".to_owned(),
                wanted: any_of(&names().collect::<Vec<_>>()),
                got: format!("`{name}`"),
                help: missing_colon(entry, names())
                    .or_else(|| near.map(|near| format!("did you mean `{near}`?"))),
            });
            continue;
        };
        // A field of which nothing is written is as good as absent.
        if entry.value.is_null() && !field.is_required() {
            continue;
        }
        let inner = field.r#type.faults(&entry.value, document);
        faults.extend(inner.into_iter().map(|fault| Fault {
            part: format!("{}`{name}` of ", fault.part),
            help: fault.help.or_else(|| Some(format!("`{name}`: {}", field.doc))),
            ..fault
        }));
    }
    // A misspelt key is one fault, not also a missing one.
    let missing = fields.iter().filter(|(name, field)| {
        field.is_required() && node.get(name).is_none() && !meant.contains(&name.as_str())
    });
    faults.extend(missing.map(|(name, field)| Fault {
        // The map itself may be many lines: its first key stands for it.
        span: entries.first().map_or(node.span, |entry| entry.key.span),
        part: String::new(),
        wanted: r#type.describe(),
        got: format!("one without `{name}`"),
        help: Some(format!("`{name}`: {}", field.doc)),
    }));
    faults
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
            let inner = |part: &str, wanted: &str| Fault {
                span: value.span,
                part: part.to_owned(),
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

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        plain && !label.is_empty() && !label.starts_with('-') && label.len() <= 63
    };
    text.parse::<IpAddr>().is_ok() || text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// `[HOST[:PORT]/]NAME[/NAME]…:TAG`, as registries take it: https://github.com/distribution/reference
fn is_image(text: &str) -> bool {
    let Some((name, tag)) = text.rsplit_once(':') else { return false };
    let is_tag = (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let path = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            let (host, port) = first.split_once(':').unwrap_or((first, "443"));
            if !is_host_name(host) || port.parse::<u16>().is_err() {
                return false;
            }
            rest
        }
        _ => name,
    };
    is_tag && path.split('/').all(is_image_part)
}

/// Words of small letters and digits, with one dot, one or two underscores, or dashes between them.
fn is_image_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |text: &str| matches!(text, "." | "_" | "__") || text.chars().all(|c| c == '-');
    part.starts_with(plain) && part.ends_with(plain) && part.split(plain).all(between)
}

fn image_help(text: &str) -> Option<String> {
    let small = match text.rsplit_once(':') {
        Some((name, tag)) => format!("{}:{tag}", name.to_lowercase()),
        None => text.to_lowercase(),
    };
    if text.contains('@') {
        Some("by its tag, without a digest".to_owned())
    } else if is_image(&small) {
        Some(format!("in small letters: {small}"))
    } else if is_image(&format!("{small}:latest")) {
        Some(format!("with its tag: `{small}:1.0`, `{small}:latest`, or whichever it is"))
    } else {
        None
    }
}

fn is_word(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    plain && !text.is_empty() && !text.starts_with(['-', '.', '+'])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::inventory::yaml;

    const SUM: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn values_are_of_their_type_or_not() {
        let capitals = SUM.to_uppercase();
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
            (VariableType::Path, vec!["/"], vec!["opt", "~/x", "./x", "7"]),
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
            (
                VariableType::Account,
                vec!["www", "2020", "www-data", "_apt"],
                vec!["-1", "4294967296", "1.5", "a b", "\"\"", "-x", "[www]"],
            ),
            (
                VariableType::Mode,
                vec!["\"0755\"", "\"2775\""],
                vec!["0755", "755", "\"755\"", "\"0855\"", "rwx"],
            ),
            (
                VariableType::Url,
                vec!["https://example.org/a.yaml", "http://10.0.0.1:7780/a", "file:///srv/a.tar"],
                vec!["example.org/a", "ftp://a", "https://", "file://srv/a", "\"https://a b\"", "[]", "1"],
            ),
            (VariableType::Sha256, vec![SUM], vec!["0123", "\"\"", &capitals, &SUM[1..], "sha256:0123"]),
            (
                VariableType::Image,
                vec![
                    "app:1",
                    "team/my-app__x.y:V1.2_a-b",
                    "registry.k8s.io/pause:3.10",
                    "10.0.0.1:5000/a/b:1",
                ],
                vec![
                    "app",
                    "App:1",
                    "app:",
                    "app:.1",
                    "\"a b:1\"",
                    "10.0.0.1:5000/app",
                    "a..b:1",
                    "a//b:1",
                    "/a:1",
                    "a_:1",
                    "10.0.0.1:99999/a:1",
                    "\"a:1@sha256:00\"",
                    "\"a$(b):1\"",
                    "7",
                    "[]",
                ],
            ),
            (
                VariableType::Path,
                vec!["/opt/consul", "/srv/a-b_c.d/x@1:2,3~=+"],
                vec!["a", "\"/a b\"", "\"/a\\nb\"", "/a$b", "/a%b", "/a;b", "/ä", "\"/a\\\"b\""],
            ),
            (
                VariableType::HostName,
                vec!["consul", "api.example.org", "10.0.0.1", "\"fd00::1\"", "_x.a-b", "a.b."],
                vec!["\"\"", "\"a b\"", "\"a\\nEND\"", "a$(b)", "-a", "a..b", "ü.example", "\"a'b\""],
            ),
            (
                VariableType::Word,
                vec!["dc1", "us-east_1.a", "libstdc++6", "_x"],
                vec!["\"\"", "\"a b\"", "-x", "a/b", "\"a\\n\"", "ä", "a;b"],
            ),
            (
                VariableType::Networks,
                vec!["10.244.0.0/16", "\"10.96.0.0/12, fd00::/108\""],
                vec!["10.244.0.0", "x", "\"10.0.0.0/8;\"", "\"\""],
            ),
            (VariableType::Map, vec!["{}", "{ a: [1] }"], vec!["[]", "a", "~"]),
            (VariableType::Any, vec!["a", "[]", "{}", "1", "true"], vec!["~"]),
        ] {
            let faults = |text: &str| {
                let (document, problems) = yaml::parse(text, Path::new("value.yaml"));
                assert_eq!(problems, [], "{text}");
                let document = document.unwrap();
                r#type.faults(&document.root, &document)
            };
            for text in right {
                assert_eq!(faults(text), [], "{text} as {type:?}");
            }
            for text in wrong {
                assert!(!faults(text).is_empty(), "{text} as {type:?}");
            }
        }
    }
}
