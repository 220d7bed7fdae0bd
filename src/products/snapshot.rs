//! Snapshots of raft, as Consul and Nomad write them, a gzipped tar with `meta.json`, `state.bin` and `SHA256SUMS`; and as
//! etcd does, its database followed by the SHA-256 of it.
//!
//! The same formats in Consul from 0.7.1, in Nomad from 0.12 and in etcd from 3.0 (the products' own `snapshot inspect` and
//! `snapshot restore` read them so).

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::hex;

const META: &str = "meta.json";
const SUMS: &str = "SHA256SUMS";
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// bbolt's pages are 4 KiB, or a multiple of it.
const ETCD_PAGE: u64 = 4096;
const ETCD_SUM: usize = 32;

/// What a snapshot that is whole says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last log entry in it. In the products' own meta.json the names begin with capitals.
    #[serde(alias = "Index")]
    pub index: u64,
    #[serde(alias = "Term")]
    pub term: u64,
}

/// What a file that is whole turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Of Consul or Nomad.
    Raft(Snapshot),
    /// Of etcd, whose file does not say where its log stood.
    Etcd,
}

/// Why a file is no snapshot, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it is no gzipped tar, or is cut short")]
    Archive(#[from] std::io::Error),
    #[error("it has no `{0}`")]
    Lacks(String),
    #[error("`{0}` in it is not what its SHA256SUMS says")]
    Differs(String),
    #[error("it is neither a gzipped tar nor etcd's database with its checksum, or is cut short")]
    Unknown,
    #[error("its meta.json is not understood")]
    Meta(#[from] serde_json::Error),
}

/// Reads a snapshot from beginning to end and holds all of it to its checksums.
///
/// # Errors
/// It is cut short, damaged, or something else.
pub fn read(mut file: impl BufRead) -> Result<Content, SnapshotError> {
    if file.fill_buf()?.starts_with(&GZIP) {
        read_archive(file).map(Content::Raft)
    } else {
        check_etcd(file).map(|()| Content::Etcd)
    }
}

fn check_etcd(mut file: impl Read) -> Result<(), SnapshotError> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    // The last bytes that were read: they may be the checksum.
    let mut tail = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        tail.extend_from_slice(&buffer[..read]);
        let content = tail.len().saturating_sub(ETCD_SUM);
        digest.update(&tail[..content]);
        bytes += content as u64;
        tail.drain(..content);
    }
    let is_whole = bytes > 0 && bytes % ETCD_PAGE == 0 && digest.finalize().as_slice() == tail.as_slice();
    if is_whole { Ok(()) } else { Err(SnapshotError::Unknown) }
}

fn read_archive(archive: impl Read) -> Result<Snapshot, SnapshotError> {
    let mut meta = Vec::new();
    let mut sums = String::new();
    let mut digests = BTreeMap::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if name == SUMS {
            entry.read_to_string(&mut sums)?;
            continue;
        }
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = entry.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
            if name == META {
                meta.extend_from_slice(&buffer[..read]);
            }
        }
        digests.insert(name, hex(digest.finalize()));
    }
    // What follows the tar's end holds gzip's own checksum.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
    if sums.is_empty() {
        return Err(SnapshotError::Lacks(SUMS.to_owned()));
    }
    for line in sums.lines() {
        let Some((sum, name)) = line.split_once("  ") else { continue };
        match digests.remove(name) {
            Some(digest) if digest == sum => {}
            Some(_) => return Err(SnapshotError::Differs(name.to_owned())),
            None => return Err(SnapshotError::Lacks(name.to_owned())),
        }
    }
    if let Some((name, _)) = digests.pop_first() {
        return Err(SnapshotError::Differs(name));
    }
    if meta.is_empty() {
        return Err(SnapshotError::Lacks(META.to_owned()));
    }
    Ok(serde_json::from_slice(&meta)?)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn sum(bytes: &[u8]) -> String {
        hex(Sha256::digest(bytes))
    }

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn whole() -> Vec<u8> {
        let meta = br#"{"Version":1,"ID":"2-22-1","Index":22,"Term":2}"#;
        // Random, so that it does not shrink.
        let state: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let sums = format!("{}  meta.json\n{}  state.bin\n", sum(meta), sum(&state));
        packed(&[("meta.json", meta), ("state.bin", &state), ("SHA256SUMS", sums.as_bytes())])
    }

    #[test]
    fn a_whole_one_says_what_it_is() {
        assert_eq!(read(whole().as_slice()).unwrap(), Content::Raft(Snapshot { index: 22, term: 2 }));
    }

    #[test]
    fn etcd_appends_the_checksum_of_its_database() {
        let mut file: Vec<u8> = (0..8192_u32).map(|n| (n % 251) as u8).collect();
        file.extend_from_slice(&Sha256::digest(&file));
        assert_eq!(read(file.as_slice()).unwrap(), Content::Etcd);
        for end in (0..file.len()).step_by(509) {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
        for at in (0..file.len()).step_by(127) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x55;
            assert!(read(damaged.as_slice()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_byte_may_be_missing_or_wrong() {
        let whole = whole();
        for end in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
            assert!(read(&whole[..end]).is_err(), "cut at {end} of {}", whole.len());
        }
        for at in (12..whole.len()).step_by(499) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            assert!(read(damaged.as_slice()).is_err(), "byte {at}");
        }
        let meta = br#"{"Index":22,"Term":2}"#;
        let sums = format!("{}  meta.json\n", sum(meta));
        let stranger = packed(&[("meta.json", meta), ("SHA256SUMS", sums.as_bytes()), ("more", b"x")]);
        assert!(matches!(read(stranger.as_slice()), Err(SnapshotError::Differs(name)) if name == "more"));
    }
}
