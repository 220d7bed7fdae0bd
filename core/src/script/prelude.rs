//! The prelude, cut to what a script calls. Whole it is some 24 KB, more than TCP sends before it hears from the other side: a
//! round trip for every script.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Every function a script may call. Static, so that it can be reviewed and tested as shell.
const PRELUDE: &str = include_str!("prelude.sh");

static PARTS: LazyLock<Vec<Part>> = LazyLock::new(|| parts(PRELUDE));

/// A function or a variable of the prelude.
struct Part {
    text: String,
    /// Positions of the parts that its text names.
    needs: Vec<usize>,
}

/// The parts that `body` names, and those that they name in turn, in the order of the prelude.
///
/// Every word counts, also one in a text that only looks like a name: a part too many does no harm.
pub(super) fn needed_by(body: &str) -> String {
    let names: HashMap<&str, usize> =
        PARTS.iter().enumerate().map(|(position, part)| (name(&part.text), position)).collect();
    let mut wanted = vec![false; PARTS.len()];
    let mut open: Vec<usize> = named(body, &names).collect();
    while let Some(position) = open.pop() {
        if !std::mem::replace(&mut wanted[position], true) {
            open.extend(&PARTS[position].needs);
        }
    }
    PARTS.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(part, _)| part.text.as_str()).collect()
}

/// Takes the prelude apart, without comments and empty lines.
fn parts(prelude: &str) -> Vec<Part> {
    let mut texts: Vec<String> = Vec::new();
    let lines = prelude.lines().filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'));
    for line in lines {
        if texts.last().is_none_or(|text| is_whole(text)) {
            texts.push(String::new());
        }
        let text = texts.last_mut().expect("one was pushed for the first line");
        text.push_str(line);
        text.push('\n');
    }
    let names: HashMap<&str, usize> =
        texts.iter().enumerate().map(|(position, text)| (name(text), position)).collect();
    let needs: Vec<Vec<usize>> = texts.iter().map(|text| named(text, &names).collect()).collect();
    texts.iter().zip(needs).map(|(text, needs)| Part { text: text.clone(), needs }).collect()
}

/// Whether a part has its last line: the brace of a function, the second quote of a variable.
fn is_whole(text: &str) -> bool {
    match &text[name(text).len()..] {
        rest if rest.starts_with('=') => rest.matches('\'').count() % 2 == 0,
        rest => rest.ends_with("\n}\n"),
    }
}

/// The word that a text begins with.
fn name(text: &str) -> &str {
    text.split(|letter: char| !is_of_a_word(letter)).next().unwrap_or_default()
}

fn named(text: &str, names: &HashMap<&str, usize>) -> impl Iterator<Item = usize> {
    text.split(|letter: char| !is_of_a_word(letter)).filter_map(|word| names.get(word).copied())
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_what_it_calls_and_what_that_calls() {
        let text = needed_by("main() {\nstart '00ff'\nprobe 'p' file_probe '/etc/x'\nfinish_script\n}\n");
        for there in ["start() {", "probe() {", "file_probe() {", "say() {", "encode() {", "nonce=''"] {
            assert!(text.contains(there), "{there} is missing in\n{text}");
        }
        assert!(!text.contains("unit_converge() {"), "{text}");
        assert!(!text.contains("http_python="), "{text}");
    }

    #[test]
    fn nothing_of_the_prelude_is_lost_in_the_parts() {
        let whole: String = PARTS.iter().map(|part| part.text.as_str()).collect();
        let code = PRELUDE.lines().filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'));
        assert!(whole.lines().eq(code));
        assert!(PARTS.len() > 100, "{} parts", PARTS.len());
        for part in PARTS.iter() {
            let rest = &part.text[name(&part.text).len()..];
            assert!(rest.starts_with("() {\n") || rest.starts_with('='), "not a part: {}", part.text);
            assert!(is_whole(&part.text), "not whole: {}", part.text);
        }
    }
}
