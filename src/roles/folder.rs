//! What a role is read from.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The files of one role, by their path in its folder.
pub struct Folder {
    pub name: String,
    /// How messages name the folder.
    pub path: PathBuf,
    pub files: BTreeMap<String, Vec<u8>>,
}
