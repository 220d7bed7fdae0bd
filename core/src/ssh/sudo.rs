//! How scripts get root's rights: the remote command lines, all constant, and the password.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::inventory::{Become, SshSettings};
use crate::model::HostName;

/// What sudo shows when it wants the password: ours, so the host's language does not matter.
pub(super) const PROMPT: &str = "bootstrap-asks-for-the-password:";

/// Printed once root's rights are there, and so before the program reads its input.
pub(super) const READY: &str = "bootstrap-is-ready";

/// What runs on a host with root's rights, reading its input. No `'`, `!`, `\` or newline in these: the
/// login shell that takes them apart may be csh or fish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program(pub &'static str);

/// Runs the script it reads.
pub(super) const SHELL: Program = Program("exec sh -s");

// LC_ALL=C makes sudo and PAM speak English: PAM's own question must look like the standard one, or it
// is shown instead of ours, and refusals are told apart by their text.
const AS_IS: &str = r#"exec sh -c "$1""#;
const SUDO: &str = r#"exec env LC_ALL=C sudo -n sh -c "$1""#;
const SUDO_UNLESS_ROOT: &str =
    r#"[ "$(id -u)" = 0 ] && exec sh -c "$1"; exec env LC_ALL=C sudo -n sh -c "$1""#;
const SUDO_ASKS: &str =
    r#"exec env LC_ALL=C sudo -S -p bootstrap-asks-for-the-password: sh -c "echo bootstrap-is-ready; $1""#;
const SUDO_ASKS_UNLESS_ROOT: &str = r#"[ "$(id -u)" = 0 ] && exec sh -c "echo bootstrap-is-ready; $1"; exec env LC_ALL=C sudo -S -p bootstrap-asks-for-the-password: sh -c "echo bootstrap-is-ready; $1""#;

/// The remote command line for `program`, and whether it announces [`READY`] and may show [`PROMPT`].
pub(super) fn command(settings: &SshSettings, program: Program, password: bool) -> (String, bool) {
    let root = settings.user.as_deref() == Some("root");
    let (wrapper, asks) = match (settings.r#become, password) {
        (Become::None, _) => (AS_IS, false),
        (Become::Auto, _) if root => (AS_IS, false),
        (Become::Auto, false) => (SUDO_UNLESS_ROOT, false),
        (Become::Auto, true) => (SUDO_ASKS_UNLESS_ROOT, true),
        (Become::Sudo, false) => (SUDO, false),
        (Become::Sudo, true) => (SUDO_ASKS, true),
    };
    if wrapper == AS_IS && program == SHELL {
        return ("sh -s".to_owned(), false);
    }
    (format!("sh -c '{wrapper}' bootstrap '{}'", program.0), asks)
}

/// A text that no password prompt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sudo password is one line without NUL, and not empty")]
pub struct PasswordError;

/// The password sudo asks for. Clones share what is known of it: it is tried on one host first, and
/// once refused there it is sent nowhere else, so a slip of the finger costs one attempt and locks no
/// account that many hosts share.
#[derive(Clone)]
pub struct BecomePassword {
    text: Arc<Secret>,
    pub(super) trial: Arc<Mutex<Trial>>,
}

/// What the hosts so far have said of a password.
#[derive(Debug, Default)]
pub(super) enum Trial {
    #[default]
    Untried,
    Accepted,
    Refused(HostName),
}

impl BecomePassword {
    /// A line end at the end is dropped: files and pipes have one.
    pub fn new(text: String) -> Result<Self, PasswordError> {
        let secret = Secret(text.into_bytes());
        let line = secret.0.strip_suffix(b"\n").unwrap_or(&secret.0);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
            return Err(PasswordError);
        }
        Ok(Self { text: Arc::new(Secret(line.to_vec())), trial: Arc::default() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.text.0
    }
}

impl fmt::Debug for BecomePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Overwritten before its memory is given back.
struct Secret(Vec<u8>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // The bytes are read once more as far as the compiler knows, so it keeps the line above.
        std::hint::black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(user: Option<&str>, r#become: Become) -> SshSettings {
        SshSettings { user: user.map(str::to_owned), r#become, ..Default::default() }
    }

    #[test]
    fn root_needs_no_detour() {
        for settings in [settings(Some("root"), Become::Auto), settings(Some("deploy"), Become::None)] {
            assert_eq!(command(&settings, SHELL, true), ("sh -s".to_owned(), false));
        }
    }

    #[test]
    fn every_login_shell_takes_the_commands_apart_alike() {
        for r#become in [Become::Auto, Become::Sudo, Become::None] {
            for program in [SHELL, super::super::upload::PROGRAM] {
                for password in [false, true] {
                    let (command, _) = command(&settings(None, r#become), program, password);
                    assert!(!command.contains(['!', '\\', '\n']), "{command}");
                    // sudo's wrapper puts the program between double quotes of its own.
                    assert!(command == "sh -s" || command.matches('\'').count() == 4, "{command}");
                }
            }
        }
    }

    #[test]
    fn the_commands_use_the_words_that_are_listened_for() {
        for wrapper in [SUDO_ASKS, SUDO_ASKS_UNLESS_ROOT] {
            assert!(wrapper.contains(PROMPT) && wrapper.contains(READY));
        }
    }

    #[test]
    fn a_password_is_one_line_and_never_shown() {
        assert!(BecomePassword::new("two\nlines".into()).is_err());
        assert!(BecomePassword::new("\n".into()).is_err());
        let password = BecomePassword::new("päss wörd\n".into()).unwrap();
        assert_eq!(password.bytes(), "päss wörd".as_bytes());
        assert_eq!(format!("{password:?}"), "<secret>");
    }
}
