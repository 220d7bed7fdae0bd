//! Every text of an error, a warning and their helps in the sources, and what such texts are made of, on record: a commit that
//! changes one shows it.

use std::fmt::Write as _;

use crate::documentation::{at, code};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What texts for operators are given to: an attribute of errors, functions and macros.
const TAKERS: [&str; 9] = ["error", "warning", "help", "label", "bail", "anyhow", "Err", "ok_or", "format"];

#[test]
fn texts_of_errors_are_on_record() {
    let mut record = String::new();
    let mut texts = 0;
    let mut sources = code();
    sources.sort();
    for (file, code) in sources {
        let tokens: TokenStream = code.parse().unwrap();
        let mut found = Vec::new();
        collect(tokens, false, &mut found);
        if !found.is_empty() {
            let name = file.strip_prefix(at("")).unwrap();
            writeln!(record, "{}", name.display()).unwrap();
            texts += found.len();
            found.iter().for_each(|text| writeln!(record, "    {text}").unwrap());
        }
    }
    assert!(texts > 900, "{texts}");
    insta::with_settings!({ snapshot_path => "../cases", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("messages", record);
    });
}

/// Texts with a space in them that are given to one of the takers, wherever they stand in what it is given.
fn collect(tokens: TokenStream, taken: bool, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let name = |at: Option<usize>| match at.and_then(|at| tokens.get(at)) {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                let before = [at.checked_sub(1), at.checked_sub(2)].map(&name);
                // A macro has its mark between its name and what it is given.
                let called = before.iter().any(|name| TAKERS.contains(&name.as_str()));
                let takes = called && group.delimiter() == Delimiter::Parenthesis;
                collect(group.stream(), taken || takes, found);
            }
            TokenTree::Literal(literal) if taken => {
                found.extend(text(&literal.to_string()).filter(|text| is_said(text)));
            }
            _ => {}
        }
    }
}

/// The text of a literal as it is written, on one line.
fn text(literal: &str) -> Option<String> {
    let inner = literal.trim_start_matches('r').trim_matches('#').strip_prefix('"')?.strip_suffix('"')?;
    let mut lines = inner.split("\\\n");
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |text, line| text + line.trim_start()))
}

/// Whether a text has words in it: what only joins others, or is a word of a protocol, is no message.
fn is_said(text: &str) -> bool {
    text.contains(' ') && text.contains(char::is_alphabetic)
}
