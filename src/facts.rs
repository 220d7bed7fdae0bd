//! What a host is asked about itself and how the answer is parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::script::Fields;

/// A host's own account of itself. Templates see it as `facts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `ID` of os-release: `debian`, `ubuntu`, `rocky`, `alpine`.
    pub os_id: String,
    /// `VERSION_ID` of os-release; empty for rolling ones.
    pub os_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// As `uname -m` says.
    pub arch: String,
    pub hostname: String,
    /// Empty where there is none.
    pub machine_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// Every address of every interface, the loopback's too, in the kernel's order.
    pub addresses: Vec<(String, IpAddr)>,
    /// The address of this host that the SSH connection reached; sudo may hide it.
    pub ssh_server_address: Option<IpAddr>,
    /// Seconds since 1970 by the host's clock.
    pub epoch: i64,
    /// Free KiB by path, for `/` and `/opt`.
    pub disk_free_kib: BTreeMap<String, u64>,
    pub package_manager: Option<PackageManager>,
    pub init: Init,
    /// Who the script runs as.
    pub user: String,
    pub resolver: Resolver,
    /// 1 (also hybrid) or 2.
    pub cgroup_version: u8,
}

/// How packages are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    Apt,
    Dnf,
    Apk,
}

/// What runs as process 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    Systemd,
    Other,
}

/// Who writes /etc/resolv.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolver {
    SystemdResolved,
    Resolvconf,
    Plain,
}

/// Why a host's facts cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("the host said nothing about its `{0}`")]
    Missing(&'static str),
    #[error("the host's `{key}` is not understood: `{text}`")]
    Unknown { key: &'static str, text: String },
    #[error("the host could not say its facts: {0}")]
    Failed(String),
}

impl Facts {
    /// From what the `facts` probe said.
    pub fn parse(seen: &Fields<'_>) -> Result<Self, FactsError> {
        if let Some(text) = seen.text("error") {
            return Err(FactsError::Failed(text.trim().to_owned()));
        }
        let text = |key: &'static str| seen.text(key).map(str::trim).ok_or(FactsError::Missing(key));
        let os = os_release(seen.text("os-release").unwrap_or_default());
        let os_value = |key: &str| os.get(key).cloned().unwrap_or_default();
        Ok(Self {
            os_id: os_value("ID"),
            os_version: os_value("VERSION_ID"),
            os_name: os_value("PRETTY_NAME"),
            arch: text("arch")?.to_owned(),
            hostname: text("hostname")?.to_owned(),
            machine_id: seen.text("machine-id").map(str::trim).unwrap_or_default().to_owned(),
            kernel: text("kernel")?.to_owned(),
            addresses: text("addresses")?.lines().filter_map(address).collect(),
            ssh_server_address: text("ssh-connection")?
                .split_whitespace()
                .nth(2)
                .and_then(|word| word.parse().ok()),
            epoch: number("epoch", text("epoch")?)?,
            disk_free_kib: disk_free(text("disk-free")?),
            package_manager: package_manager(text("package-manager")?)?,
            init: if text("init")? == "systemd" { Init::Systemd } else { Init::Other },
            user: text("user")?.to_owned(),
            resolver: resolver(text("resolver")?)?,
            cgroup_version: number("cgroup", text("cgroup")?)?,
        })
    }

    /// The architecture as release files name it (`amd64`); as the kernel does where they are not known to differ.
    pub fn release_arch(&self) -> &str {
        match self.arch.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i586" | "i686" => "386",
            "armv6l" | "armv7l" | "armv8l" => "arm",
            other => other,
        }
    }
}

fn number<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, FactsError> {
    text.parse().map_err(|_| FactsError::Unknown { key, text: text.to_owned() })
}

/// `KEY=value` lines, values bare or in single or double quotes.
fn os_release(text: &str) -> BTreeMap<&str, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(key, value)| {
            let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            (key, quoted('"').or_else(|| quoted('\'')).unwrap_or(value).to_owned())
        })
        .collect()
}

/// One line of `ip -o addr show`: `2: eth0    inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0\ …`.
fn address(line: &str) -> Option<(String, IpAddr)> {
    let mut words = line.split_whitespace().skip(1);
    let interface = words.next()?;
    words.next().filter(|family| family.starts_with("inet"))?;
    let address = words.next()?.split('/').next()?.parse().ok()?;
    Some((interface.to_owned(), address))
}

/// The lines of `df -Pk / /opt`, after the heading in the order asked; one line where /opt does not exist.
fn disk_free(text: &str) -> BTreeMap<String, u64> {
    // A mount point may hold spaces, but the number is the fourth word from the left of a device without any.
    let free = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3)?.parse().ok());
    ["/", "/opt"].map(str::to_owned).into_iter().zip(free).collect()
}

fn package_manager(text: &str) -> Result<Option<PackageManager>, FactsError> {
    match text {
        "" => Ok(None),
        "apt" => Ok(Some(PackageManager::Apt)),
        "dnf" => Ok(Some(PackageManager::Dnf)),
        "apk" => Ok(Some(PackageManager::Apk)),
        other => Err(FactsError::Unknown { key: "package-manager", text: other.to_owned() }),
    }
}

fn resolver(text: &str) -> Result<Resolver, FactsError> {
    match text {
        "systemd-resolved" => Ok(Resolver::SystemdResolved),
        "resolvconf" => Ok(Resolver::Resolvconf),
        "plain" => Ok(Resolver::Plain),
        other => Err(FactsError::Unknown { key: "resolver", text: other.to_owned() }),
    }
}
