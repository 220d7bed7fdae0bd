//! `lab down`: takes away all that any `lab up` made, also one that died half-way.

use std::fs;
use std::path::Path;

use super::layout::{CACHE, LabHost, MAX_HOSTS, STATE};
use super::record::{Lock, Record};
use super::{
    Error, OnProgress, base, cgroup, host, machine, mirror, mounts, network, parallel, process, require_root,
};

/// What `lab down` found.
#[derive(Clone, Debug)]
pub struct DownReport {
    /// There was something of a lab to take away.
    pub was_there: bool,
    pub hosts: usize,
}

/// Takes the lab away; with `purge` the caches too.
pub fn down(purge: bool, say: OnProgress) -> Result<DownReport, Error> {
    require_root()?;
    let _lock = Lock::take()?;
    let report = clear(say)?;
    if purge {
        say(&format!("removing {CACHE}"));
        mounts::remove_folder(Path::new(CACHE))?;
    }
    Ok(report)
}

/// Takes the lab away, for who holds the lock. Goes by what is there, not by the record: that may
/// be missing, or older than the crash.
pub fn clear(say: OnProgress) -> Result<DownReport, Error> {
    let record = Record::load().unwrap_or_else(|error| {
        say(&format!("{error}; going by what is there"));
        None
    });
    base::remove_partial()?;
    machine::remove_partial()?;
    let running = host::running();
    let hosts: Vec<_> =
        LabHost::all(MAX_HOSTS).filter(|host| host.folder().exists() || running.contains(host)).collect();
    parallel::each(&hosts, |host| host::power_off(host).map(drop))?;
    process::end_rooted_below(Path::new(STATE))?;
    mirror::stop()?;
    let had_bridge = network::has_bridge().unwrap_or(false);
    network::remove()?;
    mounts::unmount_below(Path::new(STATE))?;
    if let Some(record) = &record {
        for host in record.all_hosts() {
            base::keep_packages(record.settings.suite, &host.folder().join("upper"));
        }
        network::restore_sysctls(record)?;
    }
    cgroup::remove(None)?;
    let had_state = fs::exists(STATE).unwrap_or(true);
    mounts::remove_folder(Path::new(STATE))?;
    Ok(DownReport { was_there: had_state || had_bridge || !hosts.is_empty(), hosts: hosts.len() })
}
