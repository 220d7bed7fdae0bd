//! A vendor's OpenPGP key, made for one test.

use std::time::{Duration, SystemTime};

use pgp::composed::{ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password, Tag, Timestamp};
use rand::thread_rng;

const DAY: u64 = 24 * 60 * 60;

pub struct Signer(SignedSecretKey);

impl Signer {
    /// A key that never expires.
    pub fn new() -> Self {
        let made = SystemTime::now() - Duration::from_secs(100 * DAY);
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Vendor <vendor@example.org>".into())
            .created_at(Timestamp::try_from(made).unwrap())
            .build();
        Self(params.unwrap().generate(thread_rng()).unwrap())
    }

    /// A key that was made a hundred days ago to live for so many.
    pub fn living_days(days: u64) -> Self {
        Self::new().with_lifetime(days)
    }

    /// The same key, good for a long time from now.
    pub fn prolonged(&self) -> Self {
        Self(self.0.clone()).with_lifetime(1000)
    }

    fn with_lifetime(mut self, days: u64) -> Self {
        let key = &mut self.0;
        let mut config =
            SignatureConfig::from_key(thread_rng(), &key.primary_key, SignatureType::CertPositive).unwrap();
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        flags.set_certify(true);
        let lifetime = pgp::types::Duration::from_secs(u32::try_from(days * DAY).unwrap());
        config.hashed_subpackets = [
            SubpacketData::SignatureCreationTime(Timestamp::now()),
            SubpacketData::KeyFlags(flags),
            SubpacketData::KeyExpirationTime(lifetime),
            SubpacketData::IssuerFingerprint(key.primary_key.fingerprint()),
        ]
        .into_iter()
        .map(|data| Subpacket::regular(data).unwrap())
        .collect();
        let public = key.primary_key.public_key();
        let user = &mut key.details.users[0];
        let made =
            config.sign_certification(&key.primary_key, &public, &Password::empty(), Tag::UserId, &user.id);
        user.signatures = vec![made.unwrap()];
        self
    }

    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.0.primary_key.fingerprint())
    }

    pub fn public(&self) -> Vec<u8> {
        self.0.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        let (key, password) = (&self.0.primary_key, Password::empty());
        let made =
            DetachedSignature::sign_binary_data(thread_rng(), key, &password, HashAlgorithm::Sha256, data);
        made.unwrap().to_bytes().unwrap()
    }
}
