//! Everything that hosts need from sites, in one file: a tar archive that begins with the list of its contents.
//!
//! What is in it is laid out as in the cache, and is believed no more than that: digests are compared when a bundle
//! is used, and signatures are verified when hosts are set up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cache::{archive_name, file_digest, key_name, signature_of, sums_name};
use super::{Cache, Findings, ReleaseError, fetch, verify};
use crate::model::hex;
use crate::resource::{RemoteFile, Trust, Via};

const MANIFEST: &str = "bundle.json";
const FORMAT: &str = "bootstrap bundle 1";
/// A list of contents is small.
const MANIFEST_SIZE: u64 = 1 << 20;

/// The first entry of a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    contents: Vec<Content>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Below the cache's root.
    name: String,
    /// `consul 1.21.4 amd64`, for people.
    pub what: String,
    pub size: u64,
    pub sha256: String,
}

/// Why a bundle cannot be made or used. Nothing of it is in the cache then.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("cannot {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged: {reason}; nothing of it was used. Copy it again, or make it anew", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} is no bundle that this version of bootstrap can use", .path.display())]
    Foreign { path: PathBuf },
}

/// Fetches what the cache lacks, and packs all of it. `progress` is told of each archive before it is fetched.
pub async fn create(
    files: &BTreeSet<RemoteFile>,
    cache: &Cache,
    folder: &Path,
    bundle: &Path,
    mut progress: impl FnMut(&RemoteFile),
) -> Result<(Vec<Content>, Vec<String>), BundleError> {
    let files: BTreeSet<RemoteFile> =
        files.iter().map(|file| RemoteFile { via: Via::Controller, ..file.clone() }).collect();
    let Findings { files, mut warnings } = verify(&files, cache, folder).await?;
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (file, verified) in &files {
        let Some(digest) = &verified.digest else {
            warnings.push(format!("{file} is not packed: the inventory has no sha256 for {}", file.url()));
            continue;
        };
        progress(file);
        fetch(file, digest, cache, |_, _| ()).await?;
        names.insert(archive_name(digest), file.to_string());
        let Trust::Sums(beside) = &file.trust else { continue };
        let sums = sums_name(beside);
        let what = &file.what;
        if let Some(key) = &beside.key
            && signature_of(&cache.root().join(&sums)).exists()
        {
            let signature = signature_of(Path::new(&sums)).display().to_string();
            names.insert(signature, format!("signature of {what}"));
            names.insert(key_name(&key.fingerprint), format!("key {}", key.fingerprint));
        }
        names.insert(sums, format!("digests of {what}"));
    }
    let path = bundle.to_owned();
    let root = cache.root().to_owned();
    let packed = tokio::task::spawn_blocking(move || {
        pack(&root, names, &path).map_err(|source| BundleError::Io { doing: "write", path, source })
    });
    let contents = packed.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    Ok((contents, warnings))
}

fn pack(root: &Path, names: BTreeMap<String, String>, path: &Path) -> io::Result<Vec<Content>> {
    let mut contents = Vec::new();
    for (name, what) in names {
        let file = root.join(&name);
        contents.push(Content { what, size: fs::metadata(&file)?.len(), sha256: file_digest(&file)?, name });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staged = tempfile::Builder::new().suffix(".partial").tempfile_in(folder)?;
    let mut tar = tar::Builder::new(io::BufWriter::new(staged.as_file()));
    let manifest = Manifest { format: FORMAT.to_owned(), contents: contents.clone() };
    let manifest = serde_json::to_vec_pretty(&manifest)?;
    tar.append_data(&mut header(manifest.len() as u64), MANIFEST, manifest.as_slice())?;
    for content in &contents {
        tar.append_data(&mut header(content.size), &content.name, File::open(root.join(&content.name))?)?;
    }
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    // Made for its owner alone; others may well read what everybody can download.
    fs::set_permissions(staged.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    staged.persist(path)?;
    Ok(contents)
}

/// Without owner and time: equal contents give equal bundles.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

/// Checks all of a bundle, and then puts it into the cache.
pub fn use_bundle(bundle: &Path, cache: &Cache) -> Result<Vec<Content>, BundleError> {
    let unreadable = |source| BundleError::Io { doing: "read", path: bundle.to_owned(), source };
    let damaged = |reason: String| BundleError::Damaged { path: bundle.to_owned(), reason };
    let no_cache =
        |source| BundleError::Io { doing: "use the cache at", path: cache.root().to_owned(), source };
    let mut archive = tar::Archive::new(io::BufReader::new(File::open(bundle).map_err(unreadable)?));
    let mut entries = archive.entries().map_err(unreadable)?;
    let contents = match entries.next() {
        Some(Ok(entry)) => manifest(entry, bundle)?,
        _ => return Err(BundleError::Foreign { path: bundle.to_owned() }),
    };
    fs::create_dir_all(cache.root()).map_err(no_cache)?;
    let staging = tempfile::Builder::new()
        .prefix("bundle-")
        .suffix(".partial")
        .tempdir_in(cache.root())
        .map_err(no_cache)?;
    let mut staged: BTreeMap<&str, PathBuf> = BTreeMap::new();
    for entry in entries {
        let mut entry = entry.map_err(|error| damaged(error.to_string()))?;
        let name = entry.path().map_err(|error| damaged(error.to_string()))?.display().to_string();
        let content = contents
            .iter()
            .find(|content| content.name == name)
            .ok_or_else(|| damaged(format!("it holds {name:?}, which is not on its own list")))?;
        let path = staging.path().join(staged.len().to_string());
        let out = File::create(&path).map_err(no_cache)?;
        let found = copy_hashed(&mut entry, out, content.size).map_err(|error| match error {
            Copied::Read(error) => damaged(format!("{} breaks off: {error}", content.what)),
            Copied::Write(error) => no_cache(error),
        })?;
        if found != content.sha256 {
            return Err(damaged(format!("{} has sha256 {found}, wanted {}", content.what, content.sha256)));
        }
        staged.insert(&content.name, path);
    }
    if let Some(missing) = contents.iter().find(|content| !staged.contains_key(content.name.as_str())) {
        return Err(damaged(format!("{} is missing", missing.what)));
    }
    // In order of their names: the sums, which are looked for first, come last.
    for (name, path) in staged {
        let place = cache.root().join(name);
        let put = || {
            fs::create_dir_all(place.parent().unwrap_or(cache.root()))?;
            fs::rename(&path, &place)
        };
        put().map_err(no_cache)?;
    }
    Ok(contents)
}

fn manifest(entry: impl Read, bundle: &Path) -> Result<Vec<Content>, BundleError> {
    let damaged = |reason: String| BundleError::Damaged { path: bundle.to_owned(), reason };
    let mut text = Vec::new();
    entry.take(MANIFEST_SIZE).read_to_end(&mut text).map_err(|error| damaged(error.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| damaged(format!("its list of contents cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(BundleError::Foreign { path: bundle.to_owned() });
    }
    match manifest.contents.iter().find(|content| !belongs(content)) {
        Some(content) => Err(damaged(format!("{:?} has no place in the cache", content.name))),
        None => Ok(manifest.contents),
    }
}

/// Whether this is a place that [`create`] packs, and so nowhere else on this machine.
fn belongs(content: &Content) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
    match content.name.split('/').collect::<Vec<_>>()[..] {
        ["archives", digest] => {
            digest == content.sha256 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        ["keys", fingerprint] => plain(fingerprint),
        ["sums", site, name] => plain(site) && plain(name),
        _ => false,
    }
}

enum Copied {
    Read(io::Error),
    Write(io::Error),
}

/// Copies exactly `size` bytes; their sha256.
fn copy_hashed(from: &mut impl Read, mut to: impl Write, size: u64) -> Result<String, Copied> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        let read = from.read(&mut piece).map_err(Copied::Read)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        copied += read as u64;
        if copied > size {
            break;
        }
        to.write_all(&piece[..read]).map_err(Copied::Write)?;
    }
    if copied != size {
        let error = format!("{copied} bytes of {size}");
        return Err(Copied::Read(io::Error::new(io::ErrorKind::UnexpectedEof, error)));
    }
    Ok(hex(hasher.finalize()))
}
