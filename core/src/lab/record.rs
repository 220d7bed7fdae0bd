//! What the lab remembers between two commands, and the lock that keeps two commands apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use clap::ValueEnum;
use nix::fcntl::{Flock, FlockArg};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::layout::{LOCK, LabHost, STATE, state};
use super::{Error, Fault, Suite, mirror};

/// What stays the same for all hosts of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub suite: Suite,
    /// Who logs in: root, or a user who uses sudo.
    pub user: String,
    /// With one sudo asks for it.
    pub sudo_password: Option<String>,
    /// Round trip between this machine and the hosts.
    pub rtt_ms: u32,
    #[serde(default)]
    pub purpose: Purpose,
    /// The release of Consul that the inventory asks for.
    #[serde(default = "mirror::default_consul")]
    pub consul: Version,
}

/// What the hosts are for, where that asks for more than a bare host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Agents of Consul and Nomad, Docker, NFS
    #[default]
    Agents,
    /// Nodes of Kubernetes, with what `tests/products/build` has put into the mirror
    Kubernetes,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// Everything needed to go on with a lab, or to take it away. Written before what it describes is
/// done, so that a lab that died half-way can still be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub settings: Settings,
    pub hosts: u8,
    /// Kernel settings changed, by name.
    #[serde(default)]
    pub sysctls: BTreeMap<String, Changed>,
    /// What of the world the hosts may reach: where their packages come from, and who resolves its name.
    #[serde(default)]
    pub outside: Vec<Ipv4Addr>,
    /// The hosts with a kernel of their own, by name.
    #[serde(default)]
    pub kernels: BTreeSet<String>,
    /// Partitions in force, by host name.
    #[serde(default)]
    pub faults: BTreeMap<String, Fault>,
}

/// A kernel setting: what it was, and what the lab made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub before: String,
    pub after: String,
}

impl Record {
    /// The lab's record; `None` when there is no lab.
    pub fn load() -> Result<Option<Self>, Error> {
        let path = state("lab.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Error::Record { path, reason: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { action: "read", path, source }),
        }
    }

    pub fn save(&self) -> Result<(), Error> {
        fs::create_dir_all(STATE).map_err(Error::io("make", STATE))?;
        // Plain data with string keys: always representable.
        let text = serde_json::to_string_pretty(self).expect("a record is plain data");
        write_private(&state("lab.json"), text.as_bytes())
    }

    pub fn all_hosts(&self) -> Vec<LabHost> {
        LabHost::all(self.hosts).collect()
    }

    pub fn has_own_kernel(&self, host: LabHost) -> bool {
        self.kernels.contains(&host.name())
    }

    pub fn host(&self, name: &str) -> Result<LabHost, Error> {
        LabHost::named(name, self.hosts).ok_or_else(|| {
            let names: Vec<_> = self.all_hosts().into_iter().map(LabHost::name).collect();
            Error::NoHost { name: name.to_owned(), hosts: names.join(", ") }
        })
    }
}

/// Writes a file that only root reads, whole or not at all.
pub fn write_private(path: &Path, body: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(body)?;
        fs::rename(&part, path)
    };
    write().map_err(Error::io("write", path))
}

/// Held while a command changes the lab; given up when dropped, also by a crash.
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock at once or names who has it.
    pub fn take() -> Result<Self, Error> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(LOCK)
                .map_err(Error::io("open", LOCK))?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, _)) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    return Err(Error::Locked { holder: holder.trim().to_owned() });
                }
            };
            // The one before may have removed the file after it was opened here.
            let is_current =
                fs::metadata(LOCK).is_ok_and(|now| file.metadata().is_ok_and(|mine| mine.ino() == now.ino()));
            if is_current {
                let text = format!("pid {}\n", std::process::id());
                file.set_len(0)
                    .and_then(|()| file.write_all(text.as_bytes()))
                    .map_err(Error::io("write", LOCK))?;
                return Ok(Self { _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here, so this is the own file.
        let _ = fs::remove_file(LOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_round_trip() {
        let record = Record {
            settings: Settings {
                suite: Suite::Trixie,
                user: "ops".into(),
                sudo_password: Some("s3cr\"et".into()),
                rtt_ms: 50,
                purpose: Purpose::default(),
                consul: mirror::default_consul(),
            },
            hosts: 3,
            kernels: ["node-3".to_owned()].into(),
            sysctls: [("net.ipv4.ip_forward".to_owned(), Changed { before: "0".into(), after: "1".into() })]
                .into(),
            faults: [("node-2".to_owned(), Fault::OneWay)].into(),
            outside: vec![Ipv4Addr::new(192, 0, 2, 7)],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn a_host_that_is_not_there_is_named_with_those_that_are() {
        let record = Record {
            settings: Settings {
                suite: Suite::Bookworm,
                user: "root".into(),
                sudo_password: None,
                rtt_ms: 0,
                purpose: Purpose::default(),
                consul: mirror::default_consul(),
            },
            hosts: 2,
            kernels: BTreeSet::new(),
            sysctls: BTreeMap::new(),
            faults: BTreeMap::new(),
            outside: Vec::new(),
        };
        assert_eq!(
            record.host("node-9").unwrap_err().to_string(),
            "the lab has no host `node-9`; it has node-1, node-2"
        );
        assert_eq!(record.host("node-2").unwrap().name(), "node-2");
    }
}
