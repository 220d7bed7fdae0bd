//! What hosts lack -> the digest each file must have, by the word of a pinned key.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use super::cache::signature_of;
use super::openpgp::holds_key;
use super::{Cache, ReleaseError, SignatureError, verify_detached};
use crate::http;
use crate::resource::{RemoteFile, SigningKey, Sums, Trust, Verified, Via};

/// Sums, signatures and keys are a few kilobytes.
const SMALL: usize = 1 << 20;

/// What is known of files now, and what an operator should know of it.
#[derive(Debug, Default)]
pub struct Findings {
    pub files: BTreeMap<RemoteFile, Verified>,
    pub warnings: Vec<String>,
}

/// Finds the digest of every file: where the inventory does not have it, in the cache if that has all of it, else on its site.
///
/// `folder` is what key files of the inventory are relative to.
pub async fn verify(
    files: &BTreeSet<RemoteFile>,
    cache: &Cache,
    folder: &Path,
) -> Result<Findings, ReleaseError> {
    let client = http::site().map_err(|error| ReleaseError::Client(why(&error)))?;
    let sites = Sites { client, cache, folder };
    let mut findings = Findings::default();
    // Archives of one release share one file of sums.
    let mut known: BTreeMap<(&str, &Sums, Via), Listing> = BTreeMap::new();
    for file in files {
        let digest = match &file.trust {
            Trust::Digest(digest) => Some(digest.clone()),
            Trust::Nobody => None,
            Trust::Sums(sums) => {
                let key = (file.folder.as_str(), sums, file.via);
                let listing = match known.entry(key) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(sites.sums(file, sums).await?),
                };
                if let Some(warning) = listing.warning(file, sums)
                    && !findings.warnings.contains(&warning)
                {
                    findings.warnings.push(warning);
                }
                match listing {
                    Listing::Unseen { .. } => None,
                    Listing::Signed(text) | Listing::Unsigned(text) => Some(listed(text, file)?),
                }
            }
        };
        findings.files.insert(file.clone(), Verified { digest });
    }
    Ok(findings)
}

/// What a release's file of digests says, and why it is believed.
enum Listing {
    Signed(String),
    /// There is no signature, and none is demanded.
    Unsigned(String),
    /// This machine does not reach the site; hosts may.
    Unseen {
        reason: String,
    },
}

impl Listing {
    fn warning(&self, file: &RemoteFile, sums: &Sums) -> Option<String> {
        let RemoteFile { what, site, .. } = file;
        match self {
            Self::Signed(_) => None,
            Self::Unsigned(_) if sums.key.is_none() => Some(format!(
                "{what}: its role pins no signing key, so it is checked against the digest that {site} \
                 gives, and nothing else"
            )),
            Self::Unsigned(_) => Some(format!(
                "{what}: {site} has no signature for it, so it is checked against the digest that the same \
                 site gives, and nothing else; `signature: required` would refuse it"
            )),
            Self::Unseen { reason } => Some(format!(
                "{what}: this machine cannot reach {site} ({reason}), so no signature is verified; each host \
                 checks the digest that the same site gives, and nothing else"
            )),
        }
    }
}

/// The digest of the archive in lines of `DIGEST  NAME`, or all that there is.
fn listed(sums: &str, file: &RemoteFile) -> Result<String, ReleaseError> {
    let archive = &file.name;
    let line = sums.lines().find_map(|line| {
        let (digest, name) = line.split_once(char::is_whitespace)?;
        (name.trim_start().trim_start_matches('*') == *archive).then_some(digest)
    });
    let digest = line
        .or(Some(sums.trim()))
        .map(str::to_ascii_lowercase)
        .filter(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digest.ok_or_else(|| ReleaseError::NotListed {
        sums: format!("{}/{}", file.folder, file.said_by()),
        archive: archive.clone(),
    })
}

struct Sites<'a> {
    client: reqwest::Client,
    cache: &'a Cache,
    folder: &'a Path,
}

impl Sites<'_> {
    async fn sums(&self, file: &RemoteFile, sums: &Sums) -> Result<Listing, ReleaseError> {
        let kept = self.kept(sums).await;
        if file.via == Via::Controller
            && let Some(Listing::Signed(text) | Listing::Unsigned(text)) = &kept
            && let Ok(digest) = listed(text, file)
            && self.cache.checked(&digest).await?.is_some()
        {
            return Ok(kept.unwrap_or_else(|| unreachable!("it was looked at just now")));
        }
        match self.published(file, sums).await {
            Err(ReleaseError::Unreachable { url, reason }) => match kept {
                Some(said @ Listing::Signed(_)) => Ok(said),
                _ if file.via == Via::Host && !sums.signed => Ok(Listing::Unseen { reason }),
                _ => Err(ReleaseError::Unreachable { url, reason }),
            },
            other => other,
        }
    }

    /// What an earlier run or a bundle left here, as far as it is worth anything today.
    async fn kept(&self, sums: &Sums) -> Option<Listing> {
        let path = self.cache.sums(sums);
        let text = String::from_utf8(std::fs::read(&path).ok()?).ok()?;
        match (&sums.key, std::fs::read(signature_of(&path))) {
            (Some(key), Ok(signature)) => {
                let url = path.display().to_string();
                self.believe(key, &text, &signature, &url).await.ok()?;
                Some(Listing::Signed(text))
            }
            _ if sums.signed => None,
            _ => Some(Listing::Unsigned(text)),
        }
    }

    /// What the site says now; kept for the next time.
    async fn published(&self, file: &RemoteFile, sums: &Sums) -> Result<Listing, ReleaseError> {
        let url = format!("{}/{}", file.folder, sums.name);
        let Some(text) = self.small(&url).await? else {
            return Err(ReleaseError::Status { url, status: 404 });
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let path = self.cache.sums(sums);
        let signature = match &sums.key {
            Some(key) => self.signature(key, &url, &text, sums.signed).await?,
            None => None,
        };
        self.cache.store(&path, text.as_bytes())?;
        match signature {
            Some(signature) => {
                self.cache.store(&signature_of(&path), &signature)?;
                Ok(Listing::Signed(text))
            }
            None => {
                // One of other sums would make these look forged.
                let _ = std::fs::remove_file(signature_of(&path));
                Ok(Listing::Unsigned(text))
            }
        }
    }

    /// The signature of these sums, verified. Vendors name it `SHA256SUMS.sig`, and after its key when they have
    /// more than one.
    async fn signature(
        &self,
        key: &SigningKey,
        sums: &str,
        text: &str,
        required: bool,
    ) -> Result<Option<Vec<u8>>, ReleaseError> {
        let plain = format!("{sums}.sig");
        let mut refused = None;
        for url in [plain.clone(), format!("{sums}.{}.sig", key.fingerprint.short_id())] {
            let Some(signature) = self.small(&url).await? else { continue };
            match self.believe(key, text, &signature, &url).await {
                Ok(()) => return Ok(Some(signature)),
                Err(error @ ReleaseError::Signature { source: SignatureError::OtherSigner { .. }, .. }) => {
                    refused = refused.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None if required => Err(ReleaseError::NoSignature { url: plain }),
            None => Ok(None),
        }
    }

    async fn believe(
        &self,
        key: &SigningKey,
        text: &str,
        signature: &[u8],
        url: &str,
    ) -> Result<(), ReleaseError> {
        let verified = |keys: &[u8]| {
            verify_detached(keys, &key.fingerprint, text.as_bytes(), signature, SystemTime::now())
        };
        let refused = |source| ReleaseError::Signature { url: url.to_owned(), source };
        if let Some(file) = &key.file {
            let path = self.folder.join(file);
            let keys = std::fs::read(&path)
                .map_err(|source| ReleaseError::KeyFile { path: path.clone(), source })?;
            holds_key(&keys, &key.fingerprint)
                .map_err(|source| ReleaseError::Key { origin: path.display().to_string(), source })?;
            // Bundles take it from there.
            self.cache.store(&self.cache.key(&key.fingerprint), &keys)?;
            return verified(&keys).map_err(refused);
        }
        let kept = self.cache.key(&key.fingerprint);
        if let Ok(keys) = std::fs::read(&kept) {
            match verified(&keys) {
                // Owners prolong keys, and add subkeys: the kept copy may be old.
                Err(
                    SignatureError::Expired { .. }
                    | SignatureError::OtherSigner { .. }
                    | SignatureError::Key(_)
                    | SignatureError::OtherKey { .. },
                ) if key.url.is_some() => {}
                result => return result.map_err(refused),
            }
        }
        let keys = self.fetch_key(key, url).await?;
        self.cache.store(&kept, &keys)?;
        verified(&keys).map_err(refused)
    }

    async fn fetch_key(&self, key: &SigningKey, needed_for: &str) -> Result<Vec<u8>, ReleaseError> {
        let no_key = |reason: String| ReleaseError::NoKey {
            fingerprint: key.fingerprint.to_string(),
            url: needed_for.to_owned(),
            reason,
        };
        let Some(url) = &key.url else {
            return Err(no_key("no `signing_key_url` says where it is published".to_owned()));
        };
        let keys = match self.small(url.as_str()).await {
            Ok(Some(keys)) => keys,
            Ok(None) => return Err(no_key(format!("{url} is missing"))),
            Err(ReleaseError::Unreachable { url, reason }) => return Err(no_key(format!("{url}: {reason}"))),
            Err(other) => return Err(no_key(other.to_string())),
        };
        holds_key(&keys, &key.fingerprint)
            .map_err(|source| ReleaseError::Key { origin: url.to_string(), source })?;
        Ok(keys)
    }

    /// A small file, or nothing where the site has none.
    async fn small(&self, url: &str) -> Result<Option<Vec<u8>>, ReleaseError> {
        let unreachable =
            |error: reqwest::Error| ReleaseError::Unreachable { url: url.to_owned(), reason: why(&error) };
        let mut answer = self.client.get(url).send().await.map_err(unreachable)?;
        match answer.status().as_u16() {
            200 => {}
            // Stores of objects answer 403 for what they do not have.
            403 | 404 | 410 => return Ok(None),
            status => return Err(ReleaseError::Status { url: url.to_owned(), status }),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > SMALL {
                return Err(ReleaseError::TooLarge { url: url.to_owned() });
            }
        }
        Ok(Some(body))
    }
}

/// The innermost reason: what is around it repeats the address.
pub(super) fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}
