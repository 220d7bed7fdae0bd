//! What can happen to a host: power off, power on, a partition and its end.

use super::layout::LabHost;
use super::partition::Fault;
use super::record::{Lock, Record};
use super::{Error, firewall, host, network, require_root, up};

fn load() -> Result<Record, Error> {
    Record::load()?.ok_or(Error::NoLab)
}

/// Cuts the host's power. Whether it was on.
pub fn kill(name: &str) -> Result<bool, Error> {
    require_root()?;
    let _lock = Lock::take()?;
    host::power_off(load()?.host(name)?)
}

/// Switches the host on and waits until it answers. Whether it was off.
pub fn start(name: &str) -> Result<bool, Error> {
    require_root()?;
    let _lock = Lock::take()?;
    let record = load()?;
    let host: LabHost = record.host(name)?;
    let was_off = host::pids(host).is_empty();
    up::power_on_and_wait(host, &record)?;
    Ok(was_off)
}

/// Cuts the host off as `fault` says, in place of what cut it off before.
pub fn partition(name: &str, fault: Fault) -> Result<(), Error> {
    change(name, |record, host| {
        record.faults.insert(host.name(), fault);
    })
}

/// One way that is closed: what is sent to a host is lost, all of it or what is for one port.
pub fn way(to: &str, port: Option<u16>) -> Result<Fault, Error> {
    Ok(Fault::Way { to: load()?.host(to)?.address(), port })
}

/// Ends the host's partition.
pub fn heal(name: &str) -> Result<(), Error> {
    change(name, |record, host| {
        record.faults.remove(&host.name());
    })
}

fn change(name: &str, edit: impl FnOnce(&mut Record, LabHost)) -> Result<(), Error> {
    require_root()?;
    let _lock = Lock::take()?;
    let mut record = load()?;
    let host = record.host(name)?;
    edit(&mut record, host);
    firewall::apply(&record, network::current_delay(record.settings.rtt_ms))?;
    record.save()
}
