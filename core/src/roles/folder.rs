//! What a role is read from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The files of one role, by their path in its folder.
pub struct Folder {
    pub name: String,
    /// How messages name the folder.
    pub path: PathBuf,
    pub files: Files,
}

/// Contents by path: those that come with the program are where it has them.
pub type Files = BTreeMap<String, Cow<'static, [u8]>>;
