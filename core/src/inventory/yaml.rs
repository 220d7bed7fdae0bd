//! YAML text -> [`Document`]: the only importer of serde-saphyr.
//!
//! The document is read as a tree of places first and given its shape afterwards, by `reader`. A
//! derived `Deserialize` would stop at the first unknown key; an operator wants to see them all.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned};

use super::node::{self, Document, Entry, Kind, Located, Node, Span};
use crate::model::Diagnostic;

/// Reads a file as text; what prevents that is a diagnostic too.
pub fn read(path: &Path) -> Result<String, Box<Diagnostic>> {
    let bytes = std::fs::read(path).map_err(|error| Box::new(unreadable(path, &error)))?;
    text(bytes, path)
}

/// The bytes of a file as text.
pub fn text(bytes: Vec<u8>, file: &Path) -> Result<String, Box<Diagnostic>> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let text: Arc<str> = String::from_utf8_lossy(&bytes).into();
        let span = Span { start: valid, end: valid };
        let message = format!("the byte 0x{:02x} is not UTF-8", bytes[valid]);
        let problem = node::place(file, &text, span, String::new(), Diagnostic::error(message));
        let help = "save the file as UTF-8 in your editor; `file` tells which encoding it has now";
        Box::new(problem.help(help))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    use std::io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
    let file = path.display();
    match error.kind() {
        NotFound => Diagnostic::error(format!("there is no file {file}"))
            .help(format!("check the path, or write a commented starter with `bootstrap init {file}`")),
        IsADirectory => Diagnostic::error(format!("{file} is a directory, not a YAML file"))
            .help("name the file inside it"),
        PermissionDenied => Diagnostic::error(format!("{file} cannot be read: permission denied"))
            .help(format!("`ls -l {file}` shows who may read it")),
        _ => Diagnostic::error(format!("{file} cannot be read: {error}")),
    }
}

/// Parses one document. Duplicate keys are reported, the first of them stays; a syntax error is the
/// only thing that leaves no document.
pub fn parse(text: &str, file: &Path) -> (Option<Document>, Vec<Diagnostic>) {
    // The byte order mark some editors write is no content, and no offset counts it.
    let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(text).into();
    let spanned: Spanned<Raw> =
        match serde_saphyr::from_str_with_options(&text, options(DuplicateKeyPolicy::LastWins)) {
            Ok(root) => root,
            Err(error) => return (None, vec![syntax(&error, &text, file)]),
        };
    let root = node_of(spanned);
    let mut document = Document { file: file.to_owned(), text, root };
    let mut pairs = Vec::new();
    duplicates(&document.root, &mut pairs);
    let mut twice: Vec<Diagnostic> = pairs
        .into_iter()
        .map(|(first, again)| {
            document
                .error(again.span, format!("the key `{}` is written twice in one map", again.value))
                .label("again here")
                .also(first.span.range(), "first here")
                .help("keep one of them, or merge what stands below the two")
        })
        .collect();
    keep_first(&mut document.root);
    if twice.is_empty() {
        // Keys that are equal as numbers (`1` and `0x1`) only the parser sees.
        let strict: Result<Spanned<Raw>, _> =
            serde_saphyr::from_str_with_options(&document.text, options(DuplicateKeyPolicy::Error));
        twice.extend(strict.err().map(|error| syntax(&error, &document.text, file)));
    }
    (Some(document), twice)
}

/// Any other YAML as plain data.
pub fn plain(text: &str) -> Result<serde_json::Value, String> {
    serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::Error))
        .map_err(|error| error.to_string())
}

/// Plain data as YAML.
pub fn to_text(value: &serde_json::Value) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    // `yes`, `no`, `on` and `off` are words: only YAML 1.1 takes them for booleans.
    serde_saphyr::options! { duplicate_keys: duplicate_keys, strict_booleans: true, with_snippet: false }
}

/// Every repeated key, with the first of its name.
fn duplicates<'n>(node: &'n Node, pairs: &mut Vec<(&'n Located<String>, &'n Located<String>)>) {
    match &node.kind {
        Kind::Map(entries) => {
            let mut seen = HashMap::new();
            for Entry { key, value } in entries {
                match seen.get(key.value.as_str()) {
                    Some(first) => pairs.push((*first, key)),
                    None => drop(seen.insert(key.value.as_str(), key)),
                }
                duplicates(value, pairs);
            }
        }
        Kind::List(items) => items.iter().for_each(|item| duplicates(item, pairs)),
        _ => {}
    }
}

fn keep_first(node: &mut Node) {
    match &mut node.kind {
        Kind::Map(entries) => {
            let mut seen = HashSet::new();
            entries.retain(|entry| seen.insert(entry.key.value.clone()));
            entries.iter_mut().for_each(|entry| keep_first(&mut entry.value));
        }
        Kind::List(items) => items.iter_mut().for_each(keep_first),
        _ => {}
    }
}

/// A parser's error in our words: what, and what to do about the usual cause.
fn syntax(error: &Error, text: &Arc<str>, file: &Path) -> Diagnostic {
    let error = match error.without_snippet() {
        Error::AliasError { error, .. } => error,
        error => error,
    };
    let mut span = error.location().map_or(Span { start: 0, end: 0 }, |location| span_of(location, text));
    let (above, rest) = text.split_at(span.start);
    let before = &above[above.rfind('\n').map_or(0, |at| at + 1)..];
    let line = text[above.len() - before.len()..].lines().next().unwrap_or_default();
    let indentation = &line[..line.len() - line.trim_start().len()];
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    let says = |part: &str| words.contains(part);
    let word = rest.split([' ', ',', ']', '}', '\n']).next().unwrap_or_default();
    let no_yaml = |what: &str| format!("this is not YAML: {what}");
    let (message, help) = match error {
        Error::DuplicateMappingKey { key, .. } => (
            format!("the key `{}` is written twice in one map", key.as_deref().unwrap_or("?")),
            "keep one of them, or merge what stands below the two".to_owned(),
        ),
        Error::MultipleDocuments { .. } => {
            // The error stands at the first node of the second document.
            let marker = above.rfind("\n---").map_or(span.start, |at| at + 1);
            span = Span { start: marker, end: (marker + 3).min(text.len()) };
            let help =
                "one file describes one cluster: remove the `---`, or move the rest to a file of its own";
            ("a second YAML document starts here".to_owned(), help.to_owned())
        }
        Error::UnknownAnchor { .. } => (
            format!("`{word}` refers to a YAML anchor that is not defined above"),
            format!("a text that starts with `*` needs quotes: \"{word}\""),
        ),
        Error::NonFiniteFloat { value, .. } => (
            format!("`{value}` is no number that a configuration can hold"),
            format!("if it is meant as text, quote it: \"{value}\""),
        ),
        Error::Unexpected { .. } | Error::NullIntoString { .. } => (
            "a key must be a plain word".to_owned(),
            "write `name: value`; a key that looks like something else needs quotes".to_owned(),
        ),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => too_much(),
        _ if says("recursion limit") => too_much(),
        _ if indentation.contains('\t') => (
            "a tab indents this line; YAML takes only spaces".to_owned(),
            "replace each tab by two spaces".to_owned(),
        ),
        _ if says("anchor or alias") => (
            "a `*` or `&` here starts a YAML anchor, not a text".to_owned(),
            "put quotes around a glob: \"*\", \"web-*\"".to_owned(),
        ),
        _ if says("illegal placement of ':'") || says("bracket") => {
            (no_yaml(words), "a `[` or `{` opened on this line or above is not closed".to_owned())
        }
        _ if says("simple key expected") => (
            no_yaml(&format!("there is no `:` after `{}`", line.trim())),
            "keys are written `name: value`, the items of a list `- item`".to_owned(),
        ),
        _ if says("mapping values are not allowed") && before.contains(": ") => (
            no_yaml("a second `:` in one line"),
            "a text with `: ` in it needs quotes; a map in one line needs braces: `{ a: 1, b: 2 }`"
                .to_owned(),
        ),
        _ if says("mapping values are not allowed") => (
            no_yaml("the indentation of this line fits nothing above it"),
            "the keys of one map start in the same column".to_owned(),
        ),
        _ if says("did not find expected '-'") => (
            no_yaml("a list ends here, but nothing says what this line belongs to"),
            "the items of a list all start with `- `, in one column".to_owned(),
        ),
        _ if says("quote") => {
            (no_yaml(words), "close the quote; inside '…' a single quote is written twice".to_owned())
        }
        _ if says("unexpected character") => (
            no_yaml(&format!("no text can start with `{}`", word.chars().next().unwrap_or_default())),
            format!("put quotes around it: \"{word}\""),
        ),
        _ => (no_yaml(words), "look at the indentation and the quotes just before it".to_owned()),
    };
    node::place(file, text, span, String::new(), Diagnostic::error(message)).help(help)
}

fn too_much() -> (String, String) {
    (
        "this YAML is nested too deeply, or its anchors expand to too much".to_owned(),
        "an inventory is a few levels of maps and lists; is there a bracket too many?".to_owned(),
    )
}

fn span_of(location: Location, text: &str) -> Span {
    let span = location.span();
    if let (Some(start), Some(length)) = (span.byte_offset(), span.byte_len()) {
        let (start, length) = (start as usize, length as usize);
        return Span { start: start.min(text.len()), end: (start + length).min(text.len()) };
    }
    // The scanner tells only line and column.
    let line_start = match location.line() as usize {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    let column = (location.column() as usize).saturating_sub(1);
    let start = text[line_start..].char_indices().nth(column).map_or(text.len(), |(at, _)| line_start + at);
    Span { start, end: start }
}

fn node_of(spanned: Spanned<Raw>) -> Node {
    let span = location_span(spanned.defined);
    let kind = match spanned.value {
        Raw::Scalar(kind) => kind,
        Raw::List(items) => Kind::List(items.into_iter().map(node_of).collect()),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key: Located { span: location_span(key.defined), value: key.value },
                    value: node_of(value),
                })
                .collect(),
        ),
    };
    Node { span, kind }
}

/// A value that came from a string input always has byte offsets.
fn location_span(location: Location) -> Span {
    let start = location.span().byte_offset().unwrap_or_default() as usize;
    Span { start, end: start + location.span().byte_len().unwrap_or_default() as usize }
}

/// What one node deserializes to, before its place is attached.
enum Raw {
    Scalar(Kind),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Number(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Number(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Raw::Scalar(Kind::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
