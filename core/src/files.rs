//! Files of this machine that are replaced whole.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
