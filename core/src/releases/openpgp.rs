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

/// Accepts the signature if the pinned key made it over exactly these bytes: itself, or by a signing subkey that was
/// valid at that time. The key must be valid `now`; vendors prolong theirs, while the subkeys they signed old releases
/// with have expired since.
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
    let signatures: Vec<DetachedSignature> = DetachedSignature::from_reader_many(signature)
        .and_then(|(signatures, _)| signatures.collect())
        .map_err(|error| SignatureError::Unreadable(error.to_string()))?;
    let mut last = SignatureError::Unreadable("it is empty".to_owned());
    // Files of keys have older copies of a key before newer ones.
    for key in pinned_keys(keys, pinned)? {
        for DetachedSignature { signature } in &signatures {
            match judge(&key, pinned, data, signature, now) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// Whether a file of keys has the pinned one.
pub(super) fn holds_key(keys: &[u8], pinned: &Fingerprint) -> Result<(), SignatureError> {
    pinned_keys(keys, pinned).map(drop)
}

/// Every copy of the pinned key in the file, which is one binary block or any number of armored ones.
fn pinned_keys(keys: &[u8], pinned: &Fingerprint) -> Result<Vec<SignedPublicKey>, SignatureError> {
    const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let unreadable = |error: pgp::errors::Error| SignatureError::Key(error.to_string());
    let blocks: Vec<&[u8]> = match std::str::from_utf8(keys) {
        Ok(text) if text.contains(BEGIN) => {
            let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
            let ends = starts.iter().skip(1).copied().chain([text.len()]);
            starts.iter().zip(ends).map(|(&start, end)| &keys[start..end]).collect()
        }
        _ => vec![keys],
    };
    let (mut copies, mut others) = (Vec::new(), Vec::new());
    for block in blocks {
        let (parsed, _) = SignedPublicKey::from_reader_many(block).map_err(unreadable)?;
        for key in parsed {
            let key = key.map_err(unreadable)?;
            if hex(&key) == pinned.as_str() { copies.push(key) } else { others.push(hex(&key)) }
        }
    }
    match (copies.is_empty(), others.is_empty()) {
        (false, _) => Ok(copies),
        (true, true) => Err(SignatureError::Key("there is no public key in it".to_owned())),
        (true, false) => Err(SignatureError::OtherKey { found: others.join(", "), wanted: pinned.clone() }),
    }
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
    let made = signature.created().map_or(0, |made| seconds(made.into()));
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
        valid_subkey(key, subkey, pinned, made)?
    };
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

/// The primary key's own word on itself, newest first, as far as it is genuine.
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

/// When the subkey was made, if the primary key says that it signs, it agrees, it is not revoked, and had not expired
/// by then.
fn valid_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    pinned: &Fingerprint,
    then: u64,
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
        Some(until) if until <= then => Err(SignatureError::Expired { key: hex(subkey), since: date(until) }),
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

#[cfg(test)]
mod tests {
    use pgp::composed::{
        ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
    };
    use pgp::packet::{KeyFlags, SignatureConfig, Subpacket};
    use pgp::ser::Serialize;
    use pgp::types::{Password, Timestamp};
    use rand::thread_rng;

    use super::*;

    const SUMS: &[u8] = b"0123  tool_1.2.3_linux_amd64.zip\n";
    const DAY: u64 = 24 * 60 * 60;

    fn ago(days: u64) -> Timestamp {
        let time = SystemTime::now() - std::time::Duration::from_secs(days * DAY);
        Timestamp::try_from(time).unwrap()
    }

    /// A key of a hundred days ago, with a signing subkey, that lives for so many days.
    fn key(lifetime_days: Option<u64>) -> SignedSecretKey {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .created_at(ago(100))
            .build()
            .unwrap();
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Vendor <vendor@example.org>".into())
            .created_at(ago(100))
            .subkey(subkey)
            .build()
            .unwrap();
        let mut key = params.generate(thread_rng()).unwrap();
        if let Some(days) = lifetime_days {
            let mut config =
                SignatureConfig::from_key(thread_rng(), &key.primary_key, SignatureType::CertPositive)
                    .unwrap();
            let mut flags = KeyFlags::default();
            flags.set_sign(true);
            flags.set_certify(true);
            let lifetime = pgp::types::Duration::from_secs(u32::try_from(days * DAY).unwrap());
            config.hashed_subpackets = [
                SubpacketData::SignatureCreationTime(Timestamp::now()),
                SubpacketData::KeyFlags(flags),
                SubpacketData::KeyExpirationTime(lifetime),
                SubpacketData::IssuerFingerprint(key.fingerprint()),
            ]
            .into_iter()
            .map(|data| Subpacket::regular(data).unwrap())
            .collect();
            let user = &mut key.details.users[0];
            let public = key.primary_key.public_key();
            let made = config.sign_certification(
                &key.primary_key,
                &public,
                &Password::empty(),
                Tag::UserId,
                &user.id,
            );
            user.signatures = vec![made.unwrap()];
        }
        key
    }

    fn public(key: &SignedSecretKey) -> Vec<u8> {
        key.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    fn fingerprint(key: &SignedSecretKey) -> Fingerprint {
        hex(&key.primary_key).parse().unwrap()
    }

    fn sign(key: &SignedSecretKey, data: &[u8]) -> Vec<u8> {
        let password = Password::empty();
        let signed = DetachedSignature::sign_binary_data(
            thread_rng(),
            &key.primary_key,
            &password,
            HashAlgorithm::Sha256,
            data,
        );
        signed.unwrap().to_bytes().unwrap()
    }

    fn said(key: &SignedSecretKey, signature: &[u8]) -> String {
        verify_detached(&public(key), &fingerprint(key), SUMS, signature, SystemTime::now())
            .map_or_else(|error| error.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn the_pinned_key_and_its_subkey_may_sign() {
        let key = key(None);
        assert_eq!(said(&key, &sign(&key, SUMS)), "good");
        let armored = DetachedSignature::sign_binary_data(
            thread_rng(),
            &key.secret_subkeys[0].key,
            &Password::empty(),
            HashAlgorithm::Sha512,
            SUMS,
        );
        let armored = armored.unwrap().to_armored_bytes(ArmorOptions::default()).unwrap();
        assert_eq!(said(&key, &armored), "good");
        // In binary, too.
        let binary = key.to_public_key().to_bytes().unwrap();
        verify_detached(&binary, &fingerprint(&key), SUMS, &armored, SystemTime::now()).unwrap();
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let key = key(None);
        let signature = sign(&key, SUMS);
        for at in 0..SUMS.len() {
            let mut tampered = SUMS.to_vec();
            tampered[at] ^= 1;
            let result =
                verify_detached(&public(&key), &fingerprint(&key), &tampered, &signature, SystemTime::now());
            assert_eq!(result, Err(SignatureError::Mismatch), "byte {at}");
        }
    }

    #[test]
    fn a_signature_cut_anywhere_is_refused() {
        let key = key(None);
        let signature = sign(&key, SUMS);
        for length in 0..signature.len() {
            assert_ne!(said(&key, &signature[..length]), "good", "{length} of {}", signature.len());
        }
        assert!(said(&key, b"<html>not found</html>").contains("cannot be read"));
    }

    #[test]
    fn another_key_is_refused_wherever_it_stands() {
        let (vendor, other) = (key(None), key(None));
        let message = said(&vendor, &sign(&other, SUMS));
        let stranger = fingerprint(&other);
        assert_eq!(
            message,
            format!("it was made by another key ({stranger}) than the pinned {}", fingerprint(&vendor))
        );
        let error = verify_detached(
            &public(&other),
            &fingerprint(&vendor),
            SUMS,
            &sign(&other, SUMS),
            SystemTime::now(),
        );
        assert!(matches!(error, Err(SignatureError::OtherKey { .. })), "{error:?}");
        // Both in one file: the pinned one counts.
        let both = [public(&other), public(&vendor)].concat();
        verify_detached(&both, &fingerprint(&vendor), SUMS, &sign(&vendor, SUMS), SystemTime::now()).unwrap();
        let error =
            verify_detached(&both, &fingerprint(&vendor), SUMS, &sign(&other, SUMS), SystemTime::now());
        assert!(matches!(error, Err(SignatureError::OtherSigner { .. })), "{error:?}");
    }

    #[test]
    fn an_expired_key_is_refused_until_it_is_prolonged() {
        let mut key = key(Some(10));
        let signature = sign(&key, SUMS);
        let expired = public(&key);
        let message = said(&key, &signature);
        assert!(message.contains("expired on"), "{message}");
        let prolonged = prolonged(&mut key);
        assert_eq!(said(&key, &signature), "good");
        // An old copy before a new one.
        let both = [expired, prolonged].concat();
        verify_detached(&both, &fingerprint(&key), SUMS, &signature, SystemTime::now()).unwrap();
    }

    fn prolonged(key: &mut SignedSecretKey) -> Vec<u8> {
        let mut config = key.details.users[0].signatures[0].config().unwrap().clone();
        config.hashed_subpackets.retain(|packet| !matches!(packet.data, SubpacketData::KeyExpirationTime(_)));
        let lifetime = pgp::types::Duration::from_secs(u32::try_from(400 * DAY).unwrap());
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime)).unwrap());
        let public_key = key.primary_key.public_key();
        let user = &mut key.details.users[0];
        let made = config.sign_certification(
            &key.primary_key,
            &public_key,
            &Password::empty(),
            Tag::UserId,
            &user.id,
        );
        user.signatures = vec![made.unwrap()];
        public(key)
    }

    #[test]
    fn a_subkey_that_the_owner_does_not_vouch_for_is_refused() {
        let (vendor, other) = (key(None), key(None));
        let mut grafted = vendor.to_public_key();
        grafted.public_subkeys = other.to_public_key().public_subkeys;
        let signature = DetachedSignature::sign_binary_data(
            thread_rng(),
            &other.secret_subkeys[0].key,
            &Password::empty(),
            HashAlgorithm::Sha256,
            SUMS,
        );
        let (keys, signature) = (grafted.to_bytes().unwrap(), signature.unwrap().to_bytes().unwrap());
        let result = verify_detached(&keys, &fingerprint(&vendor), SUMS, &signature, SystemTime::now());
        assert_eq!(result, Err(SignatureError::Unbound(fingerprint(&vendor))));
    }

    /// What `binder` says of the subkey of `owner`, for `primary`; the subkey agrees or not.
    fn bound(
        primary: &SignedSecretKey,
        binder: &SignedSecretKey,
        owner: &SignedSecretKey,
        agrees: bool,
    ) -> Result<(), SignatureError> {
        let (subkey, password) = (&owner.secret_subkeys[0].key, Password::empty());
        let (public_key, public_subkey) = (primary.primary_key.public_key(), subkey.public_key());
        let dated = |key: &dyn KeyDetails| {
            vec![
                Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now())).unwrap(),
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
            ]
        };
        let mut back = SignatureConfig::from_key(thread_rng(), subkey, SignatureType::KeyBinding).unwrap();
        back.hashed_subpackets = dated(subkey);
        let agreed = if agrees { &public_key } else { &owner.primary_key.public_key() };
        let back = back.sign_primary_key_binding(subkey, &public_subkey, &password, agreed).unwrap();
        let binding = SignatureType::SubkeyBinding;
        let mut config = SignatureConfig::from_key(thread_rng(), &binder.primary_key, binding).unwrap();
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        // Whoever made it, it claims to be the primary key's.
        config.hashed_subpackets = dated(&primary.primary_key);
        config.hashed_subpackets.push(Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap());
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::EmbeddedSignature(Box::new(back))).unwrap());
        let binding = config.sign_subkey_binding(&binder.primary_key, &public_key, &password, &public_subkey);
        let mut keys = primary.to_public_key();
        keys.public_subkeys =
            vec![SignedPublicSubKey { key: public_subkey.clone(), signatures: vec![binding.unwrap()] }];
        let hash = HashAlgorithm::Sha256;
        let made = DetachedSignature::sign_binary_data(thread_rng(), subkey, &password, hash, SUMS).unwrap();
        let (keys, made) = (keys.to_bytes().unwrap(), made.to_bytes().unwrap());
        verify_detached(&keys, &fingerprint(primary), SUMS, &made, SystemTime::now())
    }

    #[test]
    fn a_subkey_and_its_owner_must_vouch_for_each_other() {
        let (vendor, other) = (key(None), key(None));
        assert_eq!(bound(&vendor, &vendor, &other, true), Ok(()));
        let unbound = Err(SignatureError::Unbound(fingerprint(&vendor)));
        assert_eq!(bound(&vendor, &vendor, &other, false), unbound, "a subkey claimed by somebody else");
        assert_eq!(bound(&vendor, &other, &other, true), unbound, "a subkey that claims an owner");
    }

    #[test]
    fn a_revoked_key_is_refused() {
        let mut key = key(None);
        let signature = sign(&key, SUMS);
        let mut config =
            SignatureConfig::from_key(thread_rng(), &key.primary_key, SignatureType::KeyRevocation).unwrap();
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now())).unwrap(),
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
        ];
        let public_key = key.primary_key.public_key();
        let revoked = config.sign_key(&key.primary_key, &Password::empty(), &public_key).unwrap();
        key.details.revocation_signatures.push(revoked);
        assert_eq!(said(&key, &signature), format!("the key {} was revoked by its owner", fingerprint(&key)));
    }
}
