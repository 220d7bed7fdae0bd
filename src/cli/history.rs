//! The inventories that runs have brought the hosts to: the last two, for a way back.
//!
//! In `.bootstrap/<cluster>/applied/`, for their owner alone: an inventory may hold what is secret.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::exit::UsageError;
use crate::files;

const LAST: &str = "last.yaml";
const BEFORE: &str = "before.yaml";

pub struct History {
    folder: PathBuf,
}

/// An inventory that hosts were brought to.
pub struct Applied {
    pub text: String,
    pub when: String,
}

impl History {
    /// `folder` is that of the cluster.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("applied") }
    }

    /// Where `--rollback` goes from an inventory with this text: to the last that a run ended with, or, if that is
    /// this one, to the one before it.
    pub fn before(&self, text: &str) -> Result<Applied, UsageError> {
        let known = [LAST, BEFORE].iter().filter_map(|name| self.read(name));
        known.into_iter().find(|applied| applied.text != text).ok_or_else(|| {
            UsageError(format!(
                "there is no way back: {} holds no other inventory that a run has brought the hosts to",
                self.folder.display()
            ))
        })
    }

    /// A run has brought the hosts to this. What is not kept only costs the way back.
    pub fn remember(&self, text: &str) {
        let last = self.read(LAST);
        if last.as_ref().is_some_and(|last| last.text == text) {
            return;
        }
        let written = files::private_folder(&self.folder);
        let written = written.and_then(|()| last.map_or(Ok(()), |last| self.write(BEFORE, &last.text)));
        if let Err(error) = written.and_then(|()| self.write(LAST, text)) {
            eprintln!(
                "warning: `--rollback` will not find this run: cannot write to {}: {error}",
                self.folder.display()
            );
        }
    }

    fn read(&self, name: &str) -> Option<Applied> {
        let file = self.folder.join(name);
        let text = fs::read_to_string(&file).ok()?;
        let when = fs::metadata(&file)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok());
        let when = when
            .map_or("at an unknown time".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
        Some(Applied { text, when })
    }

    /// For its owner alone, whole or not at all.
    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        files::replace(&self.folder.join(name), text.as_bytes(), 0o600)
    }
}

impl Applied {
    /// What changes with the way back, as a diff.
    pub fn difference(&self, now: &str) -> String {
        let diff = similar::TextDiff::from_lines(now, &self.text);
        diff.unified_diff().context_radius(1).header("now", "then").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_leads_to_the_last_state_that_stood() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        let back = |text: &str| history.before(text).map(|applied| applied.text).map_err(|error| error.0);
        assert!(back("a").unwrap_err().contains("no way back"));
        history.remember("a");
        assert!(back("a").is_err());
        // A run to `b` that did not end well.
        assert_eq!(back("b").unwrap(), "a");
        history.remember("b");
        assert_eq!(back("b").unwrap(), "a");
        history.remember("b");
        history.remember("a");
        assert_eq!(back("a").unwrap(), "b");
        use std::os::unix::fs::PermissionsExt;
        for name in [LAST, BEFORE] {
            let mode = fs::metadata(history.folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }
}
