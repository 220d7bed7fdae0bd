//! `lab up`: from nothing, or from what is there, to hosts that answer ssh.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use semver::Version;

use super::apt::Sources;
use super::layout::{CACHE, LabHost, STATE, mirror_folder, mirror_url, state};
use super::parallel::{each, join};
use super::record::{Lock, Purpose, Record, Settings};
use super::{
    Error, OnProgress, Suite, base, down, firewall, host, inventory, kubernetes, machine, mirror, needs,
    network, require_root,
};

/// What is asked of `lab up`; `None` leaves a running lab as it is, and a new one with the default.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    pub hosts: Option<u8>,
    /// The hosts that get a kernel of their own, by name; one that is there keeps the kind that it is.
    pub kernels: BTreeSet<String>,
    pub suite: Option<Suite>,
    pub user: Option<String>,
    pub sudo_password: Option<String>,
    pub rtt_ms: Option<u32>,
    pub purpose: Option<Purpose>,
    /// The release of Consul that the hosts get; it must lie in the mirror, unless it is Debian's.
    pub consul: Option<Version>,
    /// Take away the lab that is there before.
    pub fresh: bool,
    /// The proxy variables of the environment (`http_proxy`, `https_proxy`).
    pub proxies: Vec<(&'static str, String)>,
}

/// What stands now.
#[derive(Clone, Debug)]
pub struct UpReport {
    pub inventory: PathBuf,
    pub mirror: String,
    pub hosts: usize,
    /// Names of the hosts that this run switched on.
    pub started: Vec<String>,
    pub settings: Settings,
}

/// Makes sure that the lab's hosts run and can be reached.
pub fn up(options: &UpOptions, say: OnProgress) -> Result<UpReport, Error> {
    require_root()?;
    if let Some(text) = options.user.as_ref().filter(|user| !is_user_name(user)) {
        return Err(Error::UserName { text: text.clone() });
    }
    let _lock = Lock::take()?;
    if options.fresh {
        needs::ensure(false, say)?;
        down::clear(say)?;
    }
    let before = Record::load()?;
    let mut record = merge(before.as_ref(), options)?;
    needs::ensure(!record.kernels.is_empty(), say)?;
    if !network::has_bridge()? {
        network::check_free()?;
    }
    if record.settings.purpose == Purpose::Kubernetes {
        kubernetes::check_mirror()?;
    }
    mirror::check_consul(&record.settings.consul)?;
    record.save()?;
    fs::set_permissions(STATE, Permissions::from_mode(0o755)).map_err(Error::io("open to all", STATE))?;
    for folder in [PathBuf::from(CACHE), mirror_folder(), state("hosts")] {
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    }

    let sources = Sources::of_this_machine(&options.proxies);
    thread::scope(|scope| {
        let filling = scope.spawn(|| mirror::fill(&record.settings.consul, &sources, say));
        base::ensure(record.settings.suite, &sources, say)?;
        if !record.kernels.is_empty() {
            machine::ensure_kernel(record.settings.suite, &sources, say)?;
        }
        join(filling)
    })?;

    network::set_sysctls(&mut record)?;
    let delay = network::ensure(record.settings.rtt_ms)?;
    record.outside = sources.addresses();
    record.save()?;
    firewall::apply(&record, delay)?;
    mirror::start()?;
    if !state("id_ed25519.pub").exists() {
        let _ = fs::remove_file(state("id_ed25519"));
        host::generate_key(&state("id_ed25519"), "bootstrap-lab")?;
    }
    let started = boot(&record, &sources, say)?;

    let path = state("inventory.yaml");
    fs::write(&path, inventory::text(&record)).map_err(Error::io("write", &path))?;
    let names = started.into_iter().map(LabHost::name).collect();
    Ok(UpReport {
        inventory: path,
        mirror: mirror_url(),
        hosts: record.all_hosts().len(),
        started: names,
        settings: record.settings,
    })
}

/// Prepares and starts all hosts, and waits for them. Those that were off.
fn boot(record: &Record, sources: &Sources, say: OnProgress) -> Result<Vec<LabHost>, Error> {
    let hosts = record.all_hosts();
    each(&hosts, |host| host::prepare(host, record, sources))?;
    let lines = hosts.iter().map(|&host| host::known_hosts_line(host)).collect::<Result<String, _>>()?;
    fs::write(state("known_hosts"), lines).map_err(Error::io("write", state("known_hosts")))?;
    let off: Vec<_> = hosts.iter().copied().filter(|&host| host::pids(host).is_empty()).collect();
    if !off.is_empty() {
        let names: Vec<_> = off.iter().map(|host| host.name()).collect();
        say(&format!("starting {}", names.join(", ")));
    }
    // All of them: one that is on may still be booting, after a `lab up` that was stopped.
    each(&hosts, |host| power_on_and_wait(host, record))?;
    Ok(off)
}

/// Switches a host on and waits until it answers, unless a partition keeps it from answering.
pub fn power_on_and_wait(host: LabHost, record: &Record) -> Result<(), Error> {
    let process = host::power_on(host, record)?;
    match record.faults.get(&host.name()) {
        Some(super::Fault::Everything) => Ok(()),
        _ => host::wait_ready(host, record, process),
    }
}

/// The lab that was, with what is asked for: hosts can be added, the rest must agree.
fn merge(before: Option<&Record>, options: &UpOptions) -> Result<Record, Error> {
    let Some(before) = before else {
        return with_kernels(
            options,
            Record {
                settings: Settings {
                    suite: options.suite.unwrap_or_default(),
                    user: options.user.clone().unwrap_or_else(|| "root".into()),
                    sudo_password: options.sudo_password.clone(),
                    rtt_ms: options.rtt_ms.unwrap_or(0),
                    purpose: options.purpose.unwrap_or_default(),
                    consul: options.consul.clone().unwrap_or_else(mirror::default_consul),
                },
                hosts: options.hosts.unwrap_or(3),
                kernels: Default::default(),
                sysctls: Default::default(),
                faults: Default::default(),
                outside: Vec::new(),
            },
        );
    };
    let Settings { suite, user, sudo_password, rtt_ms, purpose, consul } = &before.settings;
    same("purpose", purpose.name(), options.purpose.map(Purpose::name))?;
    same("consul", &consul.to_string(), options.consul.as_ref().map(Version::to_string).as_deref())?;
    same("suite", suite.name(), options.suite.map(Suite::name))?;
    same("user", user.as_str(), options.user.as_deref())?;
    same("a round trip in ms of", &rtt_ms.to_string(), options.rtt_ms.map(|ms| ms.to_string()).as_deref())?;
    if options.sudo_password.is_some() && options.sudo_password != *sudo_password {
        let running = if sudo_password.is_some() { "another" } else { "none" };
        return Err(Error::Different {
            what: "as sudo password".into(),
            running: running.into(),
            asked: "one".into(),
        });
    }
    let more = Record { hosts: before.hosts.max(options.hosts.unwrap_or(0)), ..before.clone() };
    for host in before.all_hosts().into_iter().filter(|host| !before.has_own_kernel(*host)) {
        let asked = options.kernels.contains(&host.name());
        same(format!("for {}", host.name()), "this machine's kernel", asked.then_some("one of its own"))?;
    }
    with_kernels(options, more)
}

/// The record with the kernels that are asked for, if it has hosts of these names.
fn with_kernels(options: &UpOptions, mut record: Record) -> Result<Record, Error> {
    options.kernels.iter().try_for_each(|name| record.host(name).map(drop))?;
    record.kernels.extend(options.kernels.iter().cloned());
    Ok(record)
}

fn same(what: impl Into<String>, running: &str, asked: Option<&str>) -> Result<(), Error> {
    match asked {
        Some(asked) if asked != running => {
            Err(Error::Different { what: what.into(), running: running.to_owned(), asked: asked.to_owned() })
        }
        _ => Ok(()),
    }
}

/// What Debian's useradd takes without a warning.
fn is_user_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        && text.len() <= 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_lab_has_the_defaults() {
        let record = merge(None, &UpOptions::default()).unwrap();
        assert_eq!((record.hosts, record.settings.suite), (3, Suite::Bookworm));
        assert_eq!((record.settings.user.as_str(), record.settings.rtt_ms), ("root", 0));
    }

    #[test]
    fn a_running_lab_grows_and_never_shrinks() {
        let lab = merge(None, &UpOptions { hosts: Some(4), ..Default::default() }).unwrap();
        for (asked, hosts) in [(None, 4), (Some(3), 4), (Some(6), 6)] {
            let options = UpOptions { hosts: asked, ..Default::default() };
            assert_eq!(merge(Some(&lab), &options).unwrap().hosts, hosts);
        }
    }

    #[test]
    fn a_running_lab_keeps_its_settings_or_says_how_to_change_them() {
        let first = UpOptions { suite: Some(Suite::Trixie), rtt_ms: Some(50), ..Default::default() };
        let lab = merge(None, &first).unwrap();
        assert_eq!(merge(Some(&lab), &UpOptions::default()).unwrap(), lab);
        let other = UpOptions { suite: Some(Suite::Bullseye), ..Default::default() };
        let text = merge(Some(&lab), &other).unwrap_err().to_string();
        assert!(text.contains("suite trixie, asked for is bullseye") && text.contains("--fresh"), "{text}");
        for other in [
            UpOptions { rtt_ms: Some(0), ..Default::default() },
            UpOptions { user: Some("ops".into()), ..Default::default() },
            UpOptions { consul: Some(Version::new(1, 14, 11)), ..Default::default() },
            UpOptions { sudo_password: Some("x".into()), ..Default::default() },
        ] {
            assert!(merge(Some(&lab), &other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_host_has_the_kernel_that_it_was_made_with() {
        let asked = |hosts: u8, kernels: &[&str]| UpOptions {
            hosts: Some(hosts),
            kernels: kernels.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        let lab = merge(None, &asked(2, &["node-2"])).unwrap();
        let own = |record: &Record| record.kernels.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(own(&lab), "node-2");
        assert_eq!(own(&merge(Some(&lab), &asked(3, &["node-2", "node-3"])).unwrap()), "node-2 node-3");
        assert_eq!(own(&merge(Some(&lab), &UpOptions::default()).unwrap()), "node-2");
        let text = merge(Some(&lab), &asked(2, &["node-1"])).unwrap_err().to_string();
        assert!(text.contains("for node-1 this machine's kernel, asked for is one of its own"), "{text}");
        let text = merge(None, &asked(2, &["node-3"])).unwrap_err().to_string();
        assert!(text.contains("no host `node-3`"), "{text}");
    }

    #[test]
    fn user_names_are_plain() {
        for good in ["root", "ops", "deploy-1", "a_b"] {
            assert!(is_user_name(good), "{good}");
        }
        for bad in ["", "1a", "-x", "Ops", "a b", "a:b", "a;b", "ü", &"a".repeat(33)] {
            assert!(!is_user_name(bad), "{bad}");
        }
    }
}
