//! Files that this machine keeps between runs: archives by digest, sums with their signatures, keys.
//!
//! Nothing in it is believed for being there: archives are hashed and signatures verified on every use.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ReleaseError;
use crate::files;
use crate::model::hex;
use crate::resource::{Fingerprint, Sums};

/// A folder of this program's own, `~/.cache/bootstrap`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the archive of this sha256 is, if it is there.
    pub fn archive(&self, digest: &str) -> PathBuf {
        self.root.join(archive_name(digest))
    }

    pub(super) fn key(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.root.join(key_name(fingerprint))
    }

    pub(super) fn sums(&self, sums: &Sums) -> PathBuf {
        self.root.join(sums_name(sums))
    }

    /// The archive, if it is there and is what its name says; what is not goes.
    pub(super) async fn checked(&self, digest: &str) -> Result<Option<PathBuf>, ReleaseError> {
        let path = self.archive(digest);
        match hashed(&path).await {
            Ok(found) if found == digest => Ok(Some(path)),
            Ok(_) => {
                fs::remove_file(&path).map_err(|source| self.failed(&path, source))?;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(&path, source)),
        }
    }

    /// Writes a whole file, or none.
    pub(super) fn store(&self, path: &Path, content: &[u8]) -> Result<(), ReleaseError> {
        let folder = path.parent().unwrap_or(&self.root);
        let stored = fs::create_dir_all(folder).and_then(|()| files::replace(path, content, 0o600));
        stored.map_err(|source| self.failed(path, source))
    }

    /// Waits until no other run fills the cache; the lock ends with the file.
    pub(super) async fn lock(&self) -> Result<fs::File, ReleaseError> {
        let path = self.root.join("lock");
        let root = self.root.clone();
        let locked = tokio::task::spawn_blocking(move || -> io::Result<fs::File> {
            fs::create_dir_all(&root)?;
            let file = fs::File::create(root.join("lock"))?;
            file.lock()?;
            Ok(file)
        });
        let locked = locked.await.map_err(io::Error::other).and_then(|result| result);
        locked.map_err(|source| self.failed(&path, source))
    }

    #[allow(clippy::unused_self, reason = "it is the cache that failed")]
    pub(super) fn failed(&self, path: &Path, source: io::Error) -> ReleaseError {
        ReleaseError::Cache { path: path.to_owned(), source }
    }
}

/// Names below the cache's root, which are those in a bundle too.
pub(super) fn archive_name(digest: &str) -> String {
    format!("archives/{digest}")
}

pub(super) fn key_name(fingerprint: &Fingerprint) -> String {
    format!("keys/{fingerprint}")
}

/// Sums are kept by site: without a signature each site speaks for itself alone. Where their names do not tell versions
/// apart, they are kept by folder.
pub(super) fn sums_name(sums: &Sums) -> String {
    let scope = hex(Sha256::digest(&sums.scope));
    format!("sums/{}/{}", &scope[..16], sums.name)
}

pub(super) fn signature_of(sums: &Path) -> PathBuf {
    let mut name = sums.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// Sha256 of a file, in hex, read in pieces.
pub fn file_digest(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(hasher.finalize())),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// The same of a file that must be a tar archive, plain or by gzip.
pub fn archive_digest(path: &Path) -> io::Result<String> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(512).read_to_end(&mut start)?;
    // The mark of POSIX is where the header of its first file says so.
    if start.starts_with(&[0x1f, 0x8b]) || start.get(257..262) == Some(b"ustar".as_slice()) {
        file_digest(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is no tar archive, plain or by gzip"))
    }
}

/// The same, without holding up everything else.
pub(super) async fn hashed(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || file_digest(&path)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_how_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        let read = |content: &[u8]| {
            fs::write(&file, content).unwrap();
            archive_digest(&file).map_err(|error| error.to_string())
        };
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut tar::Header::new_gnu(), "manifest.json", io::empty()).unwrap();
        let tar = tar.into_inner().unwrap();
        assert_eq!(read(&tar), Ok(hex(Sha256::digest(&tar))));
        assert!(read(&[0x1f, 0x8b, 8, 0]).is_ok());
        for wrong in [&b""[..], b"PK\x03\x04", &tar[1..], &[0; 512]] {
            assert_eq!(read(wrong), Err("it is no tar archive, plain or by gzip".to_owned()));
        }
        assert_eq!(archive_digest(&folder.path().join("b")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
