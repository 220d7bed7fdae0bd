//! Detached OpenPGP signatures against a pinned key. The only importer of `pgp`.
//!
//! The crate checks cryptography; what a signature is worth (who made it, with a key that is whose, valid until
//! when) is decided here.

use std::fmt::Write as _;
use std::time::SystemTime;

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag};

use crate::resource::Fingerprint;

/// Clocks differ; a signature from further in the future than this was not made yet.
const SKEW: u64 = 24 * 60 * 60;

/// Why a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the key cannot be read as OpenPGP: {0}")]
    Key(String),
    #[error("the key has the fingerprint {found}, but {wanted} is pinned")]
    OtherKey { found: String, wanted: Fingerprint },
    #[error("the key {0} carries no valid signature of its own")]
    Unbound(Fingerprint),
    #[error("the key {key} expired on {since}")]
    Expired { key: String, since: String },
    #[error("the key {0} was revoked by its owner")]
    Revoked(String),
    #[error("it cannot be read as an OpenPGP signature, or is cut short: {0}")]
    Unreadable(String),
    #[error("it was made by another key ({found}) than the pinned {wanted}")]
    OtherSigner { found: String, wanted: Fingerprint },
    #[error("it uses {0}, which is too weak to be believed")]
    Weak(String),
    #[error("it does not fit: the file was changed after it was signed")]
    Mismatch,
    #[error("it expired on {0}")]
    SignatureExpired(String),
    #[error("it was made at {0}, which is before its key or in the future")]
    Time(String),
    #[error("it demands something that this program does not know")]
    Critical,
}

/// Accepts the signature if the pinned key, or one of its signing subkeys, made it over exactly these bytes, and
/// the key is valid `now`.
///
/// # Errors
/// For the first signature in the file, when none is good.
pub fn verify_detached(
    keys: &[u8],
    pinned: &Fingerprint,
    data: &[u8],
    signature: &[u8],
    now: SystemTime,
) -> Result<(), SignatureError> {
    let now = seconds(now);
    let key = pinned_key(keys, pinned)?;
    let signatures: Vec<DetachedSignature> = DetachedSignature::from_reader_many(signature)
        .and_then(|(signatures, _)| signatures.collect())
        .map_err(|error| SignatureError::Unreadable(error.to_string()))?;
    let mut first = None;
    for DetachedSignature { signature } in &signatures {
        match judge(&key, pinned, data, signature, now) {
            Ok(()) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| SignatureError::Unreadable("it is empty".to_owned())))
}

/// Whether a file of keys has the pinned one.
pub(super) fn holds_key(keys: &[u8], pinned: &Fingerprint) -> Result<(), SignatureError> {
    pinned_key(keys, pinned).map(drop)
}

fn pinned_key(keys: &[u8], pinned: &Fingerprint) -> Result<SignedPublicKey, SignatureError> {
    let unreadable = |error: pgp::errors::Error| SignatureError::Key(error.to_string());
    let (parsed, _) = SignedPublicKey::from_reader_many(keys).map_err(unreadable)?;
    let mut found = Vec::new();
    for key in parsed {
        let key = key.map_err(unreadable)?;
        if hex(&key) == pinned.as_str() {
            return Ok(key);
        }
        found.push(hex(&key));
    }
    if found.is_empty() {
        return Err(SignatureError::Key("there is no public key in it".to_owned()));
    }
    Err(SignatureError::OtherKey { found: found.join(", "), wanted: pinned.clone() })
}

fn judge(
    key: &SignedPublicKey,
    pinned: &Fingerprint,
    data: &[u8],
    signature: &Signature,
    now: u64,
) -> Result<(), SignatureError> {
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(SignatureError::Unreadable("it is not a signature of a file".to_owned()));
    }
    strong(signature)?;
    if signature.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|packet| packet.is_critical && matches!(packet.data, SubpacketData::Other(..)))
    }) {
        return Err(SignatureError::Critical);
    }
    let created = valid_primary(key, pinned, now)?;
    let key_created = if names(signature, key) {
        signature.verify(key, data).map_err(|_| SignatureError::Mismatch)?;
        if !primary_signs(key) {
            return Err(SignatureError::Unbound(pinned.clone()));
        }
        created
    } else {
        let subkey = key.public_subkeys.iter().find(|subkey| names(signature, *subkey));
        let subkey = subkey.ok_or_else(|| SignatureError::OtherSigner {
            found: issuer(signature),
            wanted: pinned.clone(),
        })?;
        signature.verify(subkey, data).map_err(|_| SignatureError::Mismatch)?;
        valid_subkey(key, subkey, pinned, now)?
    };
    let made = signature.created().map(|made| seconds(made.into())).unwrap_or(0);
    if made < key_created || made > now + SKEW {
        return Err(SignatureError::Time(date(made)));
    }
    match expiry(made, signature.signature_expiration_time()) {
        Some(until) if until <= now => Err(SignatureError::SignatureExpired(date(until))),
        _ => Ok(()),
    }
}

fn strong(signature: &Signature) -> Result<(), SignatureError> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        Some(weak) => Err(SignatureError::Weak(weak.to_string())),
        None => Err(SignatureError::Unreadable("it is of an unknown version".to_owned())),
    }
}

/// Whether the signature says that this key made it, or does not say who did.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
    ids.iter().all(|id| **id == key.legacy_key_id())
        && fingerprints.iter().all(|found| **found == key.fingerprint())
}

/// Newest self-signatures that are good; the primary key's own word on itself.
fn self_signatures(key: &SignedPublicKey) -> Vec<&Signature> {
    let direct =
        key.details.direct_signatures.iter().filter(|made| made.verify_key(&key.primary_key).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|made| {
            made.is_certification()
                && made.typ() != Some(SignatureType::CertRevocation)
                && made.verify_certification(&key.primary_key, Tag::UserId, &user.id).is_ok()
        })
    });
    let mut found: Vec<&Signature> = direct.chain(users).collect();
    found.sort_by_key(|made| std::cmp::Reverse(made.created()));
    found
}

/// When the key was made, if it is neither revoked nor expired.
fn valid_primary(key: &SignedPublicKey, pinned: &Fingerprint, now: u64) -> Result<u64, SignatureError> {
    if key.details.revocation_signatures.iter().any(|made| made.verify_key(&key.primary_key).is_ok()) {
        return Err(SignatureError::Revoked(pinned.to_string()));
    }
    let own = self_signatures(key);
    let newest = own.first().ok_or_else(|| SignatureError::Unbound(pinned.clone()))?;
    let created = seconds(key.created_at().into());
    match expiry(created, newest.key_expiration_time()) {
        Some(until) if until <= now => {
            Err(SignatureError::Expired { key: pinned.to_string(), since: date(until) })
        }
        _ => Ok(created),
    }
}

/// A key without flags may do everything, as keys were before there were flags.
fn primary_signs(key: &SignedPublicKey) -> bool {
    self_signatures(key).first().is_some_and(|newest| {
        let flagged = newest.config().is_some_and(|config| {
            config.hashed_subpackets().any(|p| matches!(p.data, SubpacketData::KeyFlags(_)))
        });
        !flagged || newest.key_flags().sign()
    })
}

/// When the subkey was made, if the primary key says that it signs, it agrees, and is neither revoked nor expired.
fn valid_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    pinned: &Fingerprint,
    now: u64,
) -> Result<u64, SignatureError> {
    let primary = &key.primary_key;
    let good: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|made| made.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    if good.iter().any(|made| made.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(SignatureError::Revoked(hex(subkey)));
    }
    let newest = good.into_iter().max_by_key(|made| made.created());
    let agreed = |binding: &&Signature| {
        binding.key_flags().sign()
            && binding
                .embedded_signature()
                .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
    };
    let binding = newest.filter(agreed).ok_or_else(|| SignatureError::Unbound(pinned.clone()))?;
    let created = seconds(subkey.created_at().into());
    match expiry(created, binding.key_expiration_time()) {
        Some(until) if until <= now => Err(SignatureError::Expired { key: hex(subkey), since: date(until) }),
        _ => Ok(created),
    }
}

/// Zero means forever, as does nothing.
fn expiry(created: u64, lifetime: Option<pgp::types::Duration>) -> Option<u64> {
    let lifetime = std::time::Duration::from(lifetime?).as_secs();
    (lifetime > 0).then_some(created + lifetime)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|found| format!("{found:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "it does not say which".to_owned())
}

fn hex(key: &impl KeyDetails) -> String {
    key.fingerprint().as_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "an unknown time".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}
