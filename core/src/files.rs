//! Files of this machine that are replaced whole, and folders that are nobody else's.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Writes a file with these permission bits, so that a power cut at any moment leaves the old one or the new: its bytes are on
/// the disk before it has its name, and it is there for good when this returns.
///
/// # Errors
/// The file is as it was; or it is the new one, and the disk could not say that it keeps its name.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new().suffix(".partial").tempfile_in(folder)?;
    fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
    fresh.write_all(content)?;
    fresh.as_file().sync_all()?;
    fresh.persist(path)?;
    // The name is the folder's own.
    File::open(folder)?.sync_all()
}

/// Where secrets, logs and snapshots of clusters are, beside their inventories.
pub const STORE: &str = ".bootstrap";

/// Makes a folder that its owner alone can read, with those above it that are missing. A [`STORE`] above it is kept out of git,
/// unless somebody has said there what is.
///
/// # Errors
/// It, or what keeps the store out of git, cannot be made.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let store = folder.ancestors().find(|above| above.file_name().is_some_and(|name| name == STORE));
    let Some(ignored) = store.map(|store| store.join(".gitignore")).filter(|file| !file.exists()) else {
        return Ok(());
    };
    replace(&ignored, b"# Keys of clusters and what their hosts said: for nobody else.\n*\n", 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_secret_is_nobody_elses_and_in_no_repository() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join(STORE);
        private_folder(&store.join("dc1/logs")).unwrap();
        for folder in [&store, &store.join("dc1"), &store.join("dc1/logs")] {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let ignored = store.join(".gitignore");
        assert!(fs::read_to_string(&ignored).unwrap().ends_with("\n*\n"));
        // What its owner has made of it stays.
        fs::write(&ignored, "*.log\n").unwrap();
        private_folder(&store.join("dc2")).unwrap();
        assert_eq!(fs::read_to_string(&ignored).unwrap(), "*.log\n");
        private_folder(&folder.path().join("snapshots")).unwrap();
        assert!(!folder.path().join("snapshots/.gitignore").exists());
    }

    #[test]
    fn a_file_is_the_old_one_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.json");
        replace(&file, b"old", 0o600).unwrap();
        replace(&file, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        let place = folder.path().join("folder");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("kept"), "").unwrap();
        replace(&place, b"new", 0o600).unwrap_err();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "what could not be put in place is left behind: {names:?}");
    }
}
