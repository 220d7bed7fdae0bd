//! What a cluster's operator keeps and nobody else may read: the cluster's id and generated keys.
//!
//! They live in `.bootstrap/<cluster>/secrets.json` beside the inventory, mode 0600 in a folder of
//! mode 0700, and are written before the first host is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

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
}

impl Secrets {
    /// The secrets in `folder`, with any that `needed` names and the folder lacks made anew in
    /// memory; [`Secrets::save`] keeps them.
    pub fn load(folder: &Path, needed: &BTreeMap<String, Generate>) -> Result<Self, SecretsError> {
        let path = file(folder);
        let mut secrets = match fs::read(&path) {
            Ok(text) => {
                let metadata = fs::metadata(&path);
                let mode = metadata
                    .map_err(|source| SecretsError::Read { path: path.clone(), source })?
                    .permissions()
                    .mode()
                    & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(SecretsError::Open { path, mode });
                }
                serde_json::from_slice(&text).map_err(|source| SecretsError::Shape { path, source })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self { cluster_id: hex(&random::<8>()?), values: BTreeMap::new() }
            }
            Err(source) => return Err(SecretsError::Read { path, source }),
        };
        for (name, kind) in needed {
            if !secrets.values.contains_key(name) {
                secrets.values.insert(name.clone(), generate(*kind)?);
            }
        }
        Ok(secrets)
    }

    /// Writes them where [`Secrets::load`] finds them; a reader never sees half a file.
    pub fn save(&self, folder: &Path) -> Result<(), SecretsError> {
        let path = file(folder);
        let write = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let staged = path.with_extension("json.new");
            let mut out =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            serde_json::to_writer_pretty(&mut out, self)?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            fs::rename(&staged, &path)
        };
        write().map_err(|source| SecretsError::Write { path: path.clone(), source })
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("secrets.json")
}

fn generate(kind: Generate) -> Result<String, SecretsError> {
    match kind {
        Generate::Base64Bytes32 => Ok(STANDARD.encode(random::<32>()?)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SecretsError::Random(error.to_string()))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
