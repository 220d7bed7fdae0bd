//! A mistake in a file, as an operator reads it: what, where, why, what to do.
//!
//! It knows nothing of inventories or roles; those say what is wrong, `report` shows it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Whether the run can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Where in a file; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
    /// The way through the document: `hosts.node-1.roles[1]`. Empty at its top.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, " ({})", self.path) }
    }
}

/// The lines of a file that a diagnostic shows, marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The whole text; only the marked lines are shown.
    pub text: Arc<str>,
    /// In bytes, never beyond the end of its line.
    pub marked: Range<usize>,
    /// Other places that take part, with what they are: `first here`.
    pub others: Vec<(Range<usize>, String)>,
}

impl Excerpt {
    pub fn new(text: Arc<str>, marked: Range<usize>) -> Self {
        let marked = within_line(&text, marked);
        Self { text, marked, others: Vec::new() }
    }

    fn line(&self) -> &str {
        let start = self.text[..self.marked.start].rfind('\n').map_or(0, |at| at + 1);
        self.text[start..].lines().next().unwrap_or_default()
    }
}

/// Cuts a range at the end of its first line, and gives an empty one the character it stands at.
fn within_line(text: &str, range: Range<usize>) -> Range<usize> {
    let start = floor_char(text, range.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line_end = if text[start..line_end].ends_with('\r') { line_end - 1 } else { line_end };
    let end = floor_char(text, range.end).clamp(start, line_end.max(start));
    let end = start + text[start..end].trim_end().len();
    if end > start {
        return start..end;
    }
    let next = text[start..line_end.max(start)].chars().next().map_or(0, char::len_utf8);
    start..start + next
}

fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// One thing an operator must know of a file: an error, or a warning that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub place: Option<Place>,
    pub excerpt: Option<Excerpt>,
    /// Stands beside the mark in the excerpt.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self { severity, message, place: None, excerpt: None, label: None, help: None }
    }

    pub fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    pub fn excerpt(self, excerpt: Excerpt) -> Self {
        Self { excerpt: Some(excerpt), ..self }
    }

    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Marks a second range of the same file in the excerpt, if there is one.
    pub fn also(mut self, range: Range<usize>, label: impl Into<String>) -> Self {
        if let Some(excerpt) = &mut self.excerpt {
            let range = within_line(&excerpt.text, range);
            excerpt.others.push((range, label.into()));
        }
        self
    }

    /// Hides the source line: it holds a secret.
    pub fn without_excerpt(self) -> Self {
        Self { excerpt: None, label: None, ..self }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Errors and warnings in the order of the file, each once.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| (&a.place, a.severity, &a.message).cmp(&(&b.place, b.severity, &b.message)));
    diagnostics.dedup();
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Diagnostic", 6)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("place", &self.place)?;
        object.serialize_field("excerpt", &self.excerpt.as_ref().map(Excerpt::line))?;
        object.serialize_field("label", &self.label)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_within_its_line() {
        let text = "a: é\r\nb:\n\nc";
        for (range, cut) in [
            (0..1, 0..1),
            (3..9, 3..5),
            (4..5, 3..5),
            (8..8, 8..9),
            (9..9, 9..9),
            (11..99, 11..12),
            (99..99, 12..12),
        ] {
            assert_eq!(within_line(text, range.clone()), cut, "{range:?}");
        }
    }
}
