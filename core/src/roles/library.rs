//! `{% include "NAME" %}` in templates -> the text of `roles/lib/NAME` in its place.

use std::collections::BTreeMap;
use std::path::Path;

use crate::inventory::node::{self, Span};
use crate::inventory::reader::{list, nearest};
use crate::model::Diagnostic;

/// A template with what it includes: each line that is nothing but an include becomes a file of the library, as it is. What is
/// included may be a template of its own, and includes nothing.
pub(super) fn with_included(
    text: String,
    library: &BTreeMap<String, String>,
    file: &Path,
) -> Result<String, Box<Diagnostic>> {
    if !text.contains("include") {
        return Ok(text);
    }
    let mut whole = String::with_capacity(text.len());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        match included(line) {
            None => whole.push_str(line),
            Some(name) => match library.get(name) {
                Some(part) => whole.push_str(part),
                None => {
                    let at = start + line.find(name).unwrap_or_default();
                    let span = Span { start: at, end: at + name.len() };
                    let problem = Diagnostic::error(format!("there is no `{name}` in roles/lib/"));
                    let help = match nearest(name, library.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if library.is_empty() => {
                            "a folder `lib` beside the roles has what they include".to_owned()
                        }
                        None => format!("it has {}", list(&library.keys().collect::<Vec<_>>())),
                    };
                    let problem = node::place(file, &text.as_str().into(), span, String::new(), problem);
                    return Err(Box::new(problem.help(help)));
                }
            },
        }
        start += line.len();
    }
    Ok(whole)
}

/// What a line includes.
fn included(line: &str) -> Option<&str> {
    let words = line.trim().strip_prefix("{%")?.strip_suffix("%}")?.trim();
    words.strip_prefix("include ")?.trim().strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_file() {
        let library = BTreeMap::from([("wait.sh".to_owned(), "wait() {\n}\n".to_owned())]);
        let with = |text: &str| with_included(text.to_owned(), &library, Path::new("roles/r/templates/t"));
        let text = "set -e\n{% include \"wait.sh\" %}\nwait # {% include \"wait.sh\" %}\n";
        assert_eq!(with(text).unwrap(), "set -e\nwait() {\n}\nwait # {% include \"wait.sh\" %}\n");
        let wrong = with("set -e\n{% include \"wiat.sh\" %}\n").unwrap_err();
        assert_eq!(wrong.message, "there is no `wiat.sh` in roles/lib/");
        let place = wrong.place.unwrap();
        assert_eq!((place.line, place.column), (2, 13));
        assert_eq!(wrong.help.as_deref(), Some("did you mean `wait.sh`?"));
    }
}
