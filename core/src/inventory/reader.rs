//! Gives a YAML tree its shape: typed fields out of nodes, every mistake noted, none of them final.

use std::time::Duration;

use super::node::{Document, Entry, Kind, Located, Node, Span};
use crate::model::{Diagnostic, NameError};

/// Reads nodes of one document and collects what is wrong with them.
pub struct Reader<'d> {
    pub document: &'d Document,
    pub problems: Vec<Diagnostic>,
}

impl<'d> Reader<'d> {
    pub fn new(document: &'d Document) -> Self {
        Self { document, problems: Vec::new() }
    }

    /// Adds a problem to those found.
    pub fn note(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Says what to do about the problem noted last.
    pub fn advise(&mut self, help: impl Into<String>) {
        if let Some(problem) = self.problems.last_mut() {
            problem.help = Some(help.into());
        }
    }

    /// `what` is what stands here ("the hosts"), `wanted` what should ("a map of …").
    pub fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) -> &mut Diagnostic {
        let problem =
            self.document.error(node.span, format!("{what} must be {wanted}, got {}", node.describe()));
        // A long list of what is possible stands in the message alone.
        let problem = match wanted.chars().count() {
            0..=40 => problem.label(format!("expected {wanted}")),
            _ => problem,
        };
        self.problems.push(problem);
        // The line above has just pushed one.
        self.problems.last_mut().expect("a problem was pushed")
    }

    /// The entries of a map; nothing written counts as an empty one.
    pub fn entries(&mut self, node: &'d Node, what: &str, wanted: &str) -> &'d [Entry] {
        match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Null => &[],
            _ => {
                self.wrong_type(node, what, wanted);
                &[]
            }
        }
    }

    /// The entries of a map with fixed keys; unknown ones are reported with the nearest known one.
    pub fn fields(&mut self, node: &'d Node, what: &str, known: &[&str]) -> Fields<'d> {
        let entries = match &node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null => &[],
            _ => {
                let help = format!("its keys are {}", list(known));
                self.wrong_type(node, what, "a map").help = Some(help);
                &[]
            }
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.value.as_str())) {
            self.unknown_key(entry, what, known);
        }
        Fields(entries)
    }

    fn unknown_key(&mut self, entry: &Entry, what: &str, known: &[&str]) {
        let key = &entry.key.value;
        let near = nearest(key, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let home = home(entry, known);
        let help = missing_colon(entry, known.iter().copied()).or(near).or(home);
        let help = help.unwrap_or_else(|| format!("its keys are {}", list(known)));
        let problem = self
            .document
            .error(entry.key.span, format!("{what} has the unknown key `{key}`"))
            .label("unknown key")
            .help(help);
        self.note(problem);
    }

    /// The items of a list; nothing written counts as an empty one.
    pub fn items(&mut self, node: &'d Node, what: &str, wanted: &str) -> &'d [Node] {
        match &node.kind {
            Kind::List(items) => items,
            Kind::Null => &[],
            Kind::Text(text) => {
                let help = format!("a list of one is written [{text}]");
                self.wrong_type(node, what, wanted).help = Some(help);
                &[]
            }
            _ => {
                self.wrong_type(node, what, wanted);
                &[]
            }
        }
    }

    /// A text that is not empty.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<Located<String>> {
        match &node.kind {
            Kind::Text(text) if !text.is_empty() => Some(Located { value: text.clone(), span: node.span }),
            Kind::Number(_) | Kind::Bool(_) => {
                let help = format!("put quotes around it: \"{}\"", self.document.written(node));
                self.wrong_type(node, what, "a text").help = Some(help);
                None
            }
            Kind::List(_) if self.document.written(node) == "[" => {
                let help = "if the brackets belong to the text, as in a range, put quotes around it";
                self.wrong_type(node, what, "a text").help = Some(help.to_owned());
                None
            }
            _ => {
                self.wrong_type(node, what, "a text");
                None
            }
        }
    }

    /// The texts of a list; `what` is the list.
    pub fn texts(&mut self, node: &'d Node, what: &str, wanted: &str) -> Vec<Located<String>> {
        let items = self.items(node, what, wanted);
        items.iter().filter_map(|item| self.text(item, &format!("an item of {what}"))).collect()
    }

    /// `true` or `false`.
    pub fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.kind {
            Kind::Bool(value) => Some(value),
            _ => {
                self.wrong_type(node, what, "`true` or `false`");
                None
            }
        }
    }

    /// Parses a name; the reason why it is none becomes a diagnostic.
    pub fn name<T>(
        &mut self,
        text: &Located<String>,
        parse: impl Fn(String) -> Result<T, NameError>,
    ) -> Option<Located<T>> {
        match parse(text.value.clone()) {
            Ok(value) => Some(Located { value, span: text.span }),
            Err(error) => {
                let rule = "names are made of a-z, 0-9 and inner `-`, at most 63 of them";
                let plain = plain_name(&text.value);
                let help = match parse(plain.clone()) {
                    Ok(_) => format!("did you mean `{plain}`? {rule}"),
                    Err(_) => rule.to_owned(),
                };
                let problem = self.document.error(text.span, error.to_string()).help(help);
                self.note(problem);
                None
            }
        }
    }

    /// A word out of a fixed set.
    pub fn choice<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = match &node.kind {
            Kind::Text(text) => text.as_str(),
            _ => self.document.written(node),
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = nearest(text, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        self.wrong_type(node, what, &any_of(&known)).help = near;
        None
    }
}

/// The name somebody may have meant: `My_Servers` -> `my-servers`.
fn plain_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain: String = lower.chars().map(|c| if " _.".contains(c) { '-' } else { c }).collect();
    plain.trim_matches('-').to_owned()
}

/// The entries of a map with fixed keys.
#[derive(Clone, Copy, Default)]
pub struct Fields<'d>(&'d [Entry]);

impl<'d> Fields<'d> {
    pub fn get(&self, key: &str) -> Option<&'d Node> {
        self.0.iter().find(|entry| entry.key.value == key).map(|entry| &entry.value)
    }

    /// Where the key itself stands.
    pub fn key(&self, key: &str) -> Option<Span> {
        self.0.iter().find(|entry| entry.key.value == key).map(|entry| entry.key.span)
    }

    /// Nothing written after the colon counts as absent.
    pub fn written(&self, key: &str) -> Option<&'d Node> {
        self.get(key).filter(|node| !node.is_null())
    }
}

/// The keys below `ssh`.
pub const SSH: &[&str] = &[
    "user",
    "port",
    "identity_file",
    "known_hosts",
    "config",
    "jump",
    "host_keys",
    "become",
    "kex",
    "persist",
];

/// Where a key of an inventory belongs when it stands beside `ssh` or `vars` instead of in them.
fn home(entry: &Entry, known: &[&str]) -> Option<String> {
    let key = entry.key.value.as_str();
    if known.contains(&"ssh") && SSH.contains(&key) {
        return Some(format!("`{key}` belongs under `ssh:`"));
    }
    let block = matches!(&entry.value.kind, Kind::Map(entries) if !entries.is_empty());
    (known.contains(&"vars") && block)
        .then(|| format!("its keys are {}; variables of roles stand under `vars:`", list(known)))
}

/// The candidate a typing slip away from `text`.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let text = plain(text);
    let length = text.chars().count();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&text, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            let length = length.max(candidate.chars().count());
            *distance < length && *distance <= length.div_ceil(4).clamp(1, 3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What somebody who wrote `{ port 22 }` meant: `port: 22`.
pub fn missing_colon<'c>(entry: &Entry, known: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let (key, value) = entry.key.value.split_once(' ').filter(|_| entry.value.is_null())?;
    known.into_iter().any(|known| known == key).then(|| format!("write `{key}: {}`", value.trim()))
}

/// `a, b and c`, each in backticks.
pub fn list<T: AsRef<str>>(words: &[T]) -> String {
    join(words, "and")
}

/// `a, b or c`, each in backticks.
pub fn any_of<T: AsRef<str>>(words: &[T]) -> String {
    join(words, "or")
}

fn join<T: AsRef<str>>(words: &[T], last: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// `90s`, `1m30s`, `500ms`: numbers with units, as the products' own configurations write them.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, seconds) in
            [("10s", Some(10)), ("1h30m", Some(5400)), ("10", None), ("", None), ("5 m", None)]
        {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(duration("99999999999999999999h"), None);
        assert_eq!(duration("-1s"), None);
        assert_eq!(duration("1d"), None);
    }

    #[test]
    fn only_slips_are_near() {
        let roles = ["consul-server", "consul-client", "dns"];
        for (text, near) in [
            ("consul-sevrer", Some("consul-server")),
            ("Consul_Server", Some("consul-server")),
            ("dsn", Some("dns")),
            ("nomad-server", None),
            ("x", None),
        ] {
            assert_eq!(nearest(text, roles), near, "{text}");
        }
    }

    #[test]
    fn words_are_joined_as_a_sentence() {
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(any_of(&["a"]), "`a`");
    }
}
