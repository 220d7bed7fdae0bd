//! Data -> HTML that needs nothing but itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The data stands in the page as JSON, and our script puts it on the screen as text only: nothing a
/// host said is ever read as HTML. Should that fail, the policy lets no other script run, and nothing
/// be loaded or sent anywhere.
pub(super) fn render(data: &Value) -> String {
    let policy = format!("default-src 'none'; style-src '{}'; script-src '{}'", hash(STYLE), hash(SCRIPT));
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>bootstrap timings</title>
<style>{STYLE}</style>
<noscript>This page draws itself: it needs JavaScript, its own only.</noscript>
<main id="page"></main>
<script type="application/json" id="run">{}</script>
<script>{SCRIPT}</script>
</html>
"#,
        in_html(data)
    )
}

/// JSON in which nothing can end the element around it. All five characters occur in strings only.
fn in_html(data: &Value) -> String {
    let escapes = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    escapes.iter().fold(data.to_string(), |text, (from, to)| text.replace(*from, to))
}

/// As a Content-Security-Policy names a source that it allows.
fn hash(source: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(source)))
}
