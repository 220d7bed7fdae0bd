//! A YAML value that remembers where it stands, and the document it stands in.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use crate::model::{Diagnostic, Excerpt, Place};

/// A range of bytes of a document. Empty for a collection in block style: it starts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    pub value: T,
    pub span: Span,
}

/// One YAML node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Span,
    pub kind: Kind,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: Located<String>,
    pub value: Node,
}

impl Node {
    /// The entries of a map; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value at a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key.value == key).map(|entry| &entry.value)
    }

    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// The value without its places; keys keep their order.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.value.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// What it is, for the sentence "expected …, got …".
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(value) => format!("`{value}`"),
            Kind::Number(number) => format!("the number {number}"),
            // A text that looks like something else is one because of its quotes.
            Kind::Text(text)
                if text.parse::<f64>().is_ok() || matches!(text.as_str(), "true" | "false" | "null") =>
            {
                format!("the text \"{text}\"")
            }
            Kind::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Kind::Text(text) if text.chars().count() > 40 => {
                format!("the text `{}…`", text.chars().take(40).collect::<String>())
            }
            Kind::Text(text) => format!("the text `{text}`"),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }
}

/// Lays `over` on `base`: maps are merged key by key, everything else replaces. A map of which
/// nothing is written (`consul:` with all its lines commented out) changes nothing.
///
/// `whole` tells by dotted name which maps are one value: `{ file: … }` over `{ mirror: … }` is a
/// file, not both. `name` is the name of `base`, empty at the top.
pub fn merge(base: &mut Node, over: &Node, name: &str, whole: &HashSet<String>) {
    match (&mut base.kind, &over.kind) {
        (Kind::Map(under), Kind::Map(entries)) if !whole.contains(name) => {
            for entry in entries {
                let key = &entry.key.value;
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                match under.iter_mut().find(|known| known.key.value == *key) {
                    Some(known) => merge(&mut known.value, &entry.value, &name, whole),
                    None => under.push(entry.clone()),
                }
            }
        }
        (Kind::Map(_), Kind::Null) => {}
        _ => *base = over.clone(),
    }
}

/// A YAML file, read: its text for excerpts, its tree for places.
#[derive(Clone, Debug)]
pub struct Document {
    pub file: PathBuf,
    pub text: Arc<str>,
    pub root: Node,
}

impl Document {
    /// An error that points at a part of this document.
    pub fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.mark(Diagnostic::error(message), span)
    }

    /// A warning that points at a part of this document.
    pub fn warning(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.mark(Diagnostic::warning(message), span)
    }

    fn mark(&self, diagnostic: Diagnostic, span: Span) -> Diagnostic {
        let mut steps = Vec::new();
        path_to(&self.root, span, &mut steps);
        place(&self.file, &self.text, span, steps.concat().trim_start_matches('.').to_owned(), diagnostic)
    }

    /// A node as it is written: `1.20`, where its value is the number 1.2.
    pub fn written(&self, node: &Node) -> &str {
        &self.text[node.span.range()]
    }
}

/// Gives a diagnostic its place and excerpt.
pub fn place(file: &Path, text: &Arc<str>, span: Span, path: String, diagnostic: Diagnostic) -> Diagnostic {
    let before = &text[..span.start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    diagnostic
        .at(Place {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            path,
        })
        .excerpt(Excerpt::new(Arc::clone(text), span.range()))
}

/// Collects the steps from `node` to the key or value at `span`; false if it is not below.
fn path_to(node: &Node, span: Span, steps: &mut Vec<String>) -> bool {
    if node.span == span {
        return true;
    }
    let mut try_step = |step: String, key: Option<Span>, value: &Node| {
        steps.push(step);
        let found = key == Some(span) || path_to(value, span, steps);
        if !found {
            steps.pop();
        }
        found
    };
    match &node.kind {
        Kind::Map(entries) => entries.iter().any(|entry| {
            let name = &entry.key.value;
            let step = if name.contains(['.', ' ']) { format!(".\"{name}\"") } else { format!(".{name}") };
            try_step(step, Some(entry.key.span), &entry.value)
        }),
        Kind::List(items) => {
            items.iter().enumerate().any(|(index, item)| try_step(format!("[{index}]"), None, item))
        }
        _ => false,
    }
}
