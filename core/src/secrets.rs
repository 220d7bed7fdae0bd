//! What a cluster's operator keeps and nobody else may read: the cluster's id and generated keys.
//!
//! They live in `.bootstrap/<cluster>/secrets.json` beside the inventory, mode 0600 in a folder of
//! mode 0700, and are written before the first host is changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::rand_core::OsRng;
use serde::{Deserialize, Serialize};

use crate::certificate::{CertificateError, new_authority};
use crate::files;
use crate::model::{HostName, hex, uuid};
use crate::roles::Generate;

/// The secrets of one cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Tells this cluster from another of the same name. Not secret by itself.
    pub cluster_id: String,
    /// By the dotted name of the variable.
    pub values: BTreeMap<String, String>,
}

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("cannot read the cluster's secrets {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not what this program wrote; restore it from a copy, it holds keys the hosts use", .path.display())]
    Shape { path: PathBuf, source: serde_json::Error },
    #[error("{} may be read by others (mode {mode:04o}); make it 0600", .path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("cannot write the cluster's secrets {}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
    #[error("cannot make a key: {0}")]
    Key(String),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Secrets {
    /// The secrets in `folder`, with any that `needed` names and the folder lacks made anew in memory, and without those of hosts that it
    /// does not name; [`Secrets::save`] keeps them.
    pub fn load(folder: &Path, needed: &BTreeMap<String, Generate>) -> Result<Self, SecretsError> {
        let mut secrets = match Self::read(folder)? {
            Some(secrets) => secrets,
            None => Self { cluster_id: hex(random::<8>()?), values: BTreeMap::new() },
        };
        secrets.values.retain(|name, _| !Generate::is_of_a_host(name) || needed.contains_key(name));
        for (name, kind) in needed {
            if !secrets.values.contains_key(name) {
                secrets.values.insert(name.clone(), generate(*kind, name)?);
            }
        }
        Ok(secrets)
    }

    /// Those that were saved; `None`: none were.
    fn read(folder: &Path) -> Result<Option<Self>, SecretsError> {
        let path = file(folder);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SecretsError::Read { path, source }),
        };
        let metadata = fs::metadata(&path);
        let mode = metadata
            .map_err(|source| SecretsError::Read { path: path.clone(), source })?
            .permissions()
            .mode()
            & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretsError::Open { path, mode });
        }
        serde_json::from_slice(&text).map(Some).map_err(|source| SecretsError::Shape { path, source })
    }

    /// Whether a run has saved some in `folder`.
    pub fn are_kept(folder: &Path) -> bool {
        file(folder).exists()
    }

    /// Writes them where [`Secrets::load`] finds them; a reader never sees half a file.
    pub fn save(&self, folder: &Path) -> Result<(), SecretsError> {
        let path = file(folder);
        let write = || -> std::io::Result<()> {
            files::private_folder(folder)?;
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            files::replace(&path, &text, 0o600)
        };
        write().map_err(|source| SecretsError::Write { path: path.clone(), source })
    }
}

/// Puts the secrets of a cluster that is no more beside those of the next one, which gets an id and keys of its own:
/// `secrets.ID.json`, for what was saved of it. Nothing where there are none.
///
/// # Errors
/// They cannot be read or moved.
pub fn end_cluster(folder: &Path) -> Result<(), SecretsError> {
    let path = file(folder);
    if !path.exists() {
        return Ok(());
    }
    let ended = folder.join(format!("secrets.{}.json", Secrets::load(folder, &BTreeMap::new())?.cluster_id));
    fs::rename(&path, &ended).map_err(|source| SecretsError::Write { path: ended, source })
}

/// Takes what a host had for itself away: who comes under its name shows something else.
///
/// # Errors
/// They cannot be read or written.
pub fn forget_host(folder: &Path, host: &HostName) -> Result<(), SecretsError> {
    let Some(mut secrets) = Secrets::read(folder)? else { return Ok(()) };
    let before = secrets.values.len();
    secrets.values.retain(|name, _| !Generate::is_of_host(name, host));
    if secrets.values.len() == before { Ok(()) } else { secrets.save(folder) }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("secrets.json")
}

/// `name` is the variable's; authorities are told apart by it.
fn generate(kind: Generate, name: &str) -> Result<String, SecretsError> {
    match kind {
        Generate::Base64Bytes32 => Ok(STANDARD.encode(random::<32>()?)),
        Generate::JoinToken => {
            let word = characters::<22>()?;
            Ok(format!("{}.{}", &word[..6], &word[6..]))
        }
        Generate::Authority => {
            let now = jiff::Timestamp::now().as_second();
            Ok(new_authority(&name.replace(['.', '_'], "-"), now)?)
        }
        Generate::KeyPair => key_pair(),
        Generate::Uuid | Generate::HostUuid => Ok(uuid(random()?, 4)),
    }
}

/// RSA: kubeadm below 1.22 takes no other for the tokens of service accounts.
fn key_pair() -> Result<String, SecretsError> {
    let failed = |error: &dyn std::fmt::Display| SecretsError::Key(error.to_string());
    let key = RsaPrivateKey::new(&mut OsRng, 2048).map_err(|error| failed(&error))?;
    let private = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(&error))?;
    let public = key.to_public_key().to_public_key_pem(LineEnding::LF).map_err(|error| failed(&error))?;
    Ok(format!("{}{public}", private.as_str()))
}

/// Letters and digits, each as likely as the others.
fn characters<const N: usize>() -> Result<String, SecretsError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Ok(random::<N>()?.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// From the operating system.
///
/// # Errors
/// It has none.
pub fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SecretsError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::certificate::Authority;

    #[test]
    fn made_once_kept_private_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join(".bootstrap/dc1");
        let needed = BTreeMap::from([("consul.gossip_key".to_owned(), Generate::Base64Bytes32)]);
        let first = Secrets::load(&folder, &needed).unwrap();
        assert_eq!(STANDARD.decode(&first.values["consul.gossip_key"]).unwrap().len(), 32);
        assert!(!folder.exists(), "loading writes nothing");
        first.save(&folder).unwrap();
        let again = Secrets::load(&folder, &needed).unwrap();
        assert_eq!((&again.cluster_id, &again.values), (&first.cluster_id, &first.values));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("secrets.json"))), (0o700, 0o600));

        fs::set_permissions(folder.join("secrets.json"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Secrets::load(&folder, &needed), Err(SecretsError::Open { mode: 0o644, .. })));
    }

    #[test]
    fn what_a_host_had_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let host = |name: &str| HostName::parse(name).unwrap();
        let needed = |hosts: &[&str]| -> BTreeMap<String, Generate> {
            let of_hosts = hosts
                .iter()
                .map(|name| (Generate::HostUuid.key("consul.agent_token", &host(name)), Generate::HostUuid));
            of_hosts.chain([("consul.manage_token".to_owned(), Generate::Uuid)]).collect()
        };
        let first = Secrets::load(folder.path(), &needed(&["a", "b-a"])).unwrap();
        first.save(folder.path()).unwrap();
        let token = &first.values["consul.agent_token of a"];
        assert!(token.len() == 36 && *token != first.values["consul.agent_token of b-a"], "{token}");
        // Who is replaced comes back under the same name, and shows what is new.
        forget_host(folder.path(), &host("a")).unwrap();
        let next = Secrets::load(folder.path(), &needed(&["a", "b-a"])).unwrap();
        assert_ne!(next.values["consul.agent_token of a"], *token);
        for kept in ["consul.agent_token of b-a", "consul.manage_token"] {
            assert_eq!(next.values[kept], first.values[kept]);
        }
        // And who is in no inventory any more has none.
        let left = Secrets::load(folder.path(), &needed(&["b-a"])).unwrap();
        assert!(!left.values.contains_key("consul.agent_token of a"));
        forget_host(&folder.path().join("none"), &host("a")).unwrap();
    }

    #[test]
    fn the_next_cluster_has_another_id_and_the_secrets_of_the_last_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        end_cluster(folder.path()).unwrap();
        let first = Secrets::load(folder.path(), &BTreeMap::new()).unwrap();
        first.save(folder.path()).unwrap();
        end_cluster(folder.path()).unwrap();
        assert!(folder.path().join(format!("secrets.{}.json", first.cluster_id)).exists());
        let next = Secrets::load(folder.path(), &BTreeMap::new()).unwrap();
        assert_ne!(next.cluster_id, first.cluster_id);
    }

    #[test]
    fn tokens_and_key_pairs_have_their_form() {
        let token = generate(Generate::JoinToken, "kube.token").unwrap();
        let (id, secret) = token.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(token.chars().all(|c| c == '.' || c.is_ascii_lowercase() || c.is_ascii_digit()), "{token}");
        let pair = generate(Generate::KeyPair, "kube.sa_key").unwrap();
        let begins: Vec<&str> = pair.lines().filter(|line| line.starts_with("-----BEGIN")).collect();
        assert_eq!(begins, ["-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----"]);
    }

    #[test]
    fn an_authority_has_the_name_of_its_variable() {
        let text = generate(Generate::Authority, "kube.etcd_ca").unwrap();
        assert!(Authority::parse(&text).is_ok());
        let der = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        assert!(der.windows(12).any(|bytes| bytes == b"kube-etcd-ca"));
    }
}
