//! `block-in-file`: some lines of a file that others write too, between two marked lines.

use serde::Deserialize;

use super::json_merge::PresentAccess;
use super::write::{self, FileWrite, SeenFile};
use super::{AccountName, Content, Error, FileMode, HostPath};
use crate::model::{Call, Change, StepId};
use crate::script::Fields;

/// Lines between `# >>> bootstrap: MARKER` and `# <<< bootstrap: MARKER`; everything around them stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockInFile {
    pub path: HostPath,
    /// The lines. Without any the block is taken out.
    pub content: Content,
    /// Names the block among others in the same file.
    pub marker: String,
    /// What starts a comment in that file. Default `#`.
    #[serde(default = "default_comment")]
    pub comment: String,
    /// Default: as it is; `"0644"` for a new file.
    #[serde(default)]
    pub mode: Option<FileMode>,
    /// Default: as it is; `root` for a new file.
    #[serde(default)]
    pub owner: Option<AccountName>,
    /// Default: as it is; `root` for a new file.
    #[serde(default)]
    pub group: Option<AccountName>,
    /// A program that may refuse the result before it replaces what is there; `%s` stands for the new file.
    #[serde(default)]
    pub validate: Vec<String>,
}

fn default_comment() -> String {
    "#".to_owned()
}

impl BlockInFile {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("block-in-file {} ({})", self.path, self.marker))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        write::probe(&self.id(), &self.path, false)
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let seen = SeenFile::parse(&id, &self.path, seen)?;
        let merged = self.merged(seen.text(&self.path)?)?;
        if merged.is_empty() && seen.stat.is_none() {
            return Ok(None);
        }
        let kept = PresentAccess::new(&seen, self.mode, self.owner.as_ref(), self.group.as_ref());
        let wanted = FileWrite {
            id: &id,
            path: &self.path,
            access: kept.access(),
            content: &merged,
            secret: false,
            validate: &self.validate,
        };
        wanted.decide(&seen)
    }

    /// The text with the block in its old place, or at the end.
    fn merged(&self, text: &str) -> Result<String, Error> {
        let (begin, end) = (self.line(">>>"), self.line("<<<"));
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let at = |wanted: &str| {
            let found = lines.iter().enumerate().filter(move |(_, line)| line.trim_end() == wanted);
            found.map(|(index, _)| index).collect::<Vec<_>>()
        };
        let block = self.block(&begin, &end);
        match (at(&begin).as_slice(), at(&end).as_slice()) {
            ([], []) if block.is_empty() || text.is_empty() || text.ends_with('\n') => {
                Ok(format!("{text}{block}"))
            }
            ([], []) => Ok(format!("{text}\n{block}")),
            (&[first], &[last]) if first < last => {
                Ok(format!("{}{block}{}", lines[..first].concat(), lines[last + 1..].concat()))
            }
            _ => Err(Error::BrokenBlock { path: self.path.to_string(), marker: self.marker.clone() }),
        }
    }

    fn line(&self, arrows: &str) -> String {
        format!("{} {arrows} bootstrap: {}", self.comment, self.marker)
    }

    fn block(&self, begin: &str, end: &str) -> String {
        match self.content.as_str().trim_end_matches('\n') {
            "" => String::new(),
            lines => format!("{begin}\n{lines}\n{end}\n"),
        }
    }
}

/// A text without any of these blocks, whatever their names; `None` if it has none, or a broken one.
pub(crate) fn without_blocks(text: &str) -> Option<String> {
    let mut kept = String::new();
    let (mut end, mut found) = (None, false);
    for line in text.split_inclusive('\n') {
        match &end {
            Some(last) if line.trim_end() == *last => end = None,
            Some(_) => {}
            None => match line.trim_end().split_once(" >>> bootstrap: ") {
                Some((comment, marker)) => {
                    end = Some(format!("{comment} <<< bootstrap: {marker}"));
                    found = true;
                }
                None => kept.push_str(line),
            },
        }
    }
    (found && end.is_none()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_blocks_are_taken_out() {
        let block = |marker: &str| format!("# >>> bootstrap: {marker}\nx\n# <<< bootstrap: {marker}\n");
        let text = format!("a\n{}b\n{}c", block("one"), block("two"));
        assert_eq!(without_blocks(&text).as_deref(), Some("a\nb\nc"));
        assert_eq!(without_blocks("a\n"), None);
        assert_eq!(without_blocks("a\n# >>> bootstrap: one\nb\n"), None, "broken");
    }

    fn merged(text: &str, content: &str) -> Result<String, Error> {
        let block = BlockInFile {
            path: "/etc/hosts".parse().unwrap(),
            content: Content::new(content),
            marker: "dc1".to_owned(),
            comment: default_comment(),
            mode: None,
            owner: None,
            group: None,
            validate: vec![],
        };
        block.merged(text)
    }

    #[test]
    fn the_block_is_put_replaced_and_taken_out() {
        let block = |lines: &str| format!("# >>> bootstrap: dc1\n{lines}# <<< bootstrap: dc1\n");
        for (text, content, wanted) in [
            (String::new(), "one", block("one\n")),
            ("a\n".into(), "one\n\n", "a\n".to_owned() + &block("one\n")),
            ("a".into(), "one", "a\n".to_owned() + &block("one\n")),
            (
                "a\n".to_owned() + &block("old\n") + "z",
                "one\ntwo",
                "a\n".to_owned() + &block("one\ntwo\n") + "z",
            ),
            ("a\n".to_owned() + &block("old\n") + "z\n", "", "a\nz\n".to_owned()),
            ("a".into(), "", "a".to_owned()),
            (block("one\n"), "one", block("one\n")),
        ] {
            assert_eq!(merged(&text, content).unwrap(), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_broken_block_is_left_alone() {
        for text in [
            "# >>> bootstrap: dc1\nx\n",
            "# <<< bootstrap: dc1\n",
            "# <<< bootstrap: dc1\n# >>> bootstrap: dc1\n",
            "# >>> bootstrap: dc1\n# >>> bootstrap: dc1\n# <<< bootstrap: dc1\n",
        ] {
            assert!(matches!(merged(text, "x"), Err(Error::BrokenBlock { .. })), "{text:?}");
        }
        assert!(merged("# >>> bootstrap: dc2\nx\n", "x").is_ok(), "another marker is not ours");
    }
}
