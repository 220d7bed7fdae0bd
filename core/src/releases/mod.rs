//! What hosts are to install -> archives whose digests are known to be the vendor's.
//!
//! All of it happens on this machine: the signature of `SHA256SUMS` is verified here, and a host is told the one
//! digest that it may install, so a mirror can lie about nothing. With `via: controller` the archive itself is
//! downloaded here too, once, into a cache that is checked on every use. A bundle is that cache in one file.
//!
//! Knows HTTP, OpenPGP and files; nothing of hosts.

mod bundle;
mod cache;
mod error;
mod fetch;
mod openpgp;
mod verify;

pub use bundle::{BundleError, Content, create as create_bundle, use_bundle};
pub use cache::{Cache, archive_digest, file_digest};
pub use error::ReleaseError;
pub use fetch::fetch;
pub use openpgp::{SignatureError, verify_detached};
pub use verify::{Findings, verify};
