//! What the lab is doing now, by looking.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Serialize;

use super::layout::{mirror_url, state};
use super::record::Record;
use super::{Error, Fault, host, mirror, network, parallel, require_root};

/// The lab as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub suite: &'static str,
    pub user: String,
    pub rtt_ms: u32,
    pub inventory: PathBuf,
    /// Its URL, while it is served.
    pub mirror: Option<String>,
    /// The bridge is there; it is not after the machine has started anew.
    pub network: bool,
    pub hosts: Vec<HostStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub address: Ipv4Addr,
    /// Of its systemd-nspawn, while it is on.
    pub pid: Option<i32>,
    /// Its sshd answers.
    pub ssh: bool,
    pub fault: Option<Fault>,
}

/// Looks at every host; `None` when there is no lab.
pub fn status() -> Result<Option<Status>, Error> {
    require_root()?;
    let Some(record) = Record::load()? else { return Ok(None) };
    // At once: a host that is cut off costs a second to ask.
    let hosts = std::thread::scope(|scope| {
        let asked: Vec<_> = record
            .all_hosts()
            .into_iter()
            .map(|host| {
                let fault = record.faults.get(&host.name()).copied();
                scope.spawn(move || {
                    let pid = host::pids(host).first().copied();
                    let ssh = pid.is_some() && host::greeting(host).is_ok();
                    HostStatus { name: host.name(), address: host.address(), pid, ssh, fault }
                })
            })
            .collect();
        asked.into_iter().map(parallel::join).collect()
    });
    Ok(Some(Status {
        suite: record.settings.suite.name(),
        user: record.settings.user,
        rtt_ms: record.settings.rtt_ms,
        inventory: state("inventory.yaml"),
        mirror: mirror::is_running().then(mirror_url),
        network: network::has_bridge()?,
        hosts,
    }))
}
