//! Why a release cannot be had, or is not believed.

use std::path::PathBuf;

use super::SignatureError;

/// Nothing was changed on any host, and nothing unverified was kept.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(
        "cannot reach {url} from this machine, where releases are verified before a host installs them: {reason}\n\
         set `source: {{ mirror: URL }}` to a site that this machine reaches, or `source: {{ file: PATH }}` to a local \
         archive; or carry a bundle over (`bootstrap bundle create` where there is a network, `bootstrap bundle use` \
         here) and set `via: controller`"
    )]
    Unreachable { url: String, reason: String },
    #[error("{url} answers with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is larger than any such file: it is not what it should be")]
    TooLarge { url: String },
    #[error("{sums} lists no {archive}: this version was not released for this architecture")]
    NotListed { sums: String, archive: String },
    #[error(
        "{url} is missing, and without a signature this release is not installed; `signature: if-present` lets a \
         mirror do without"
    )]
    NoSignature { url: String },
    #[error("the signature {url} is not believed, so nothing of this release is installed: {source}")]
    Signature { url: String, source: SignatureError },
    #[error("cannot read the signing key {}", .path.display())]
    KeyFile { path: PathBuf, source: std::io::Error },
    #[error("the signing key {origin} cannot be used: {source}")]
    Key { origin: String, source: SignatureError },
    #[error(
        "the signing key {fingerprint} is needed to verify {url}, but cannot be fetched: {reason}\n\
         save it on this machine and name it: `signing_key_file: PATH`"
    )]
    NoKey { fingerprint: String, url: String, reason: String },
    #[error(
        "{url} broke off after {have} of {size} bytes; what came is kept, and the next run carries on from there"
    )]
    Broken { url: String, have: u64, size: String },
    #[error("wrong checksum: {url} has sha256 {found}, but {said_by} says {wanted}; it was thrown away")]
    WrongDigest { url: String, found: String, said_by: String, wanted: String },
    #[error("cannot use the cache at {}", .path.display())]
    Cache { path: PathBuf, source: std::io::Error },
    #[error("no HTTP client: {0}")]
    Client(String),
}
