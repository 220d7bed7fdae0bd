//! How a mistake in a file looks.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use console::Style;

use crate::model::{Diagnostic, Excerpt, Severity};

/// A mistake as a person reads it, ending in a newline: what, where, the marked line, what to do.
pub fn problem(diagnostic: &Diagnostic, color: bool) -> String {
    let style = |style: Style| style.force_styling(color).for_stderr();
    let head = style(match diagnostic.severity {
        Severity::Error => Style::new().red().bright().bold(),
        Severity::Warning => Style::new().yellow().bold(),
    });
    let (bold, frame, help) = (
        style(Style::new().bold()),
        style(Style::new().blue().bright().bold()),
        style(Style::new().cyan().bright().bold()),
    );
    let mut text = format!(
        "{}{}\n",
        head.apply_to(diagnostic.severity),
        bold.apply_to(format!(": {}", plain(&diagnostic.message)))
    );
    if let Some(place) = &diagnostic.place {
        let indent = diagnostic.excerpt.as_ref().map_or(2, number_width);
        text += &format!("{:indent$}{} {}\n", "", frame.apply_to("-->"), plain(&place.to_string()));
    }
    if let Some(excerpt) = &diagnostic.excerpt {
        let label = diagnostic.label.as_deref().map(plain);
        text += marked(excerpt, diagnostic.severity, label.as_deref(), color).trim_end();
        text.push('\n');
    }
    if let Some(advice) = &diagnostic.help {
        let advice = advice.lines().map(plain).collect::<Vec<_>>().join("\n       ");
        text += &format!("{} {advice}\n", help.apply_to(" help:"));
    }
    text
}

/// Digits of the greatest line number shown.
fn number_width(excerpt: &Excerpt) -> usize {
    let last = excerpt.others.iter().map(|(range, _)| range.start).fold(excerpt.marked.start, usize::max);
    (excerpt.text[..last].matches('\n').count() + 1).to_string().len()
}

/// The lines of the file, with marks and what stands beside them.
fn marked(excerpt: &Excerpt, severity: Severity, label: Option<&str>, color: bool) -> String {
    let marks =
        std::iter::once(AnnotationKind::Primary.span(excerpt.marked.clone()).label(label.map(str::to_owned)))
            .chain(
                excerpt
                    .others
                    .iter()
                    .map(|(range, label)| AnnotationKind::Context.span(range.clone()).label(label.as_str())),
            );
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[
        Group::with_level(level).element(Snippet::source(excerpt.text.as_ref()).annotations(marks))
    ])
}

/// A file must not drive the terminal through the names in it.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(problem(&Diagnostic::error("a\u{1b}[2Jb"), false), "error: a\\u{1b}[2Jb\n");
    }
}
