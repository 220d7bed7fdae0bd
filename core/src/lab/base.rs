//! The root all hosts of a suite share: made once by debootstrap, kept, and never written to again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::apt::{self, Sources};
use super::command::{command, file_tail, run};
use super::layout::{CACHE, cache, state};
use super::{Error, OnProgress, mounts, process};

/// Raised when what is below changes, so that older roots are made anew.
const RECIPE: &str = "2";

/// What a bare host of a cloud or an installer has at least. Not curl or unzip: whoever needs them
/// shall install them.
const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,iputils-ping,ca-certificates,procps,kmod";
/// Downloaded but not installed: nearly every run installs them, and labs come and go.
const LIKELY: [&str; 2] = ["curl", "unzip"];

/// A Debian release that hosts can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    Trixie,
    #[default]
    Bookworm,
    Bullseye,
}

impl Suite {
    pub fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Bookworm => "bookworm",
            Self::Bullseye => "bullseye",
        }
    }

    /// Trixie's systemd does not boot on cgroup v1 any more.
    pub fn needs_unified_cgroups(self) -> bool {
        self == Self::Trixie
    }
}

pub fn root(suite: Suite) -> PathBuf {
    cache(suite.name())
}

fn partial_root(suite: Suite) -> PathBuf {
    cache(&format!("{}.partial", suite.name()))
}

/// A tree with nothing but packages that hosts have downloaded before, to lie over the base.
pub fn packages(suite: Suite) -> PathBuf {
    cache("apt-archives").join(suite.name())
}

/// Where apt keeps packages, in a root.
pub const ARCHIVES: &str = "var/cache/apt/archives";

/// Makes sure that the root of `suite` is there.
pub fn ensure(suite: Suite, sources: &Sources, say: OnProgress) -> Result<(), Error> {
    let folder = packages(suite).join(ARCHIVES);
    fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    let stamp = cache(&format!("{}.recipe", suite.name()));
    if fs::read_to_string(&stamp).is_ok_and(|recipe| recipe == RECIPE) && root(suite).join("usr").exists() {
        return Ok(());
    }
    let is_used = !mounts::below(&state("hosts")).is_empty();
    if is_used && root(suite).join("usr").exists() {
        // Never from under the hosts that stand on it; the next lab gets the new one.
        return Ok(());
    }
    say(&format!("making the {} base root once, by debootstrap (about a minute)", suite.name()));
    let partial = partial_root(suite);
    remove_partial()?;
    let _ = fs::remove_file(&stamp);
    debootstrap(suite, sources, &partial)?;
    configure(suite, sources, &partial)?;
    mounts::remove_folder(&root(suite))?;
    fs::rename(&partial, root(suite)).map_err(Error::io("rename", &partial))?;
    fs::write(&stamp, RECIPE).map_err(Error::io("write", &stamp))
}

/// Ends what a `lab up` that was killed left at work in the cache, and removes what it had begun.
pub fn remove_partial() -> Result<(), Error> {
    let is_partial =
        |arg: &String| Path::new(arg).parent() == Some(Path::new(CACHE)) && arg.ends_with(".partial");
    process::end("debootstrap", |args| args.iter().any(is_partial))?;
    process::end_rooted_below(Path::new(CACHE))?;
    Suite::value_variants().iter().try_for_each(|suite| mounts::remove_folder(&partial_root(*suite)))
}

fn debootstrap(suite: Suite, sources: &Sources, target: &Path) -> Result<(), Error> {
    let log = cache(&format!("{}.log", suite.name()));
    let file = fs::File::create(&log).map_err(Error::io("write", &log))?;
    let copy = file.try_clone().map_err(Error::io("write", &log))?;
    let include = format!("--include={PACKAGES}");
    let target = target.display().to_string();
    let mut command =
        command("debootstrap", &["--variant=minbase", &include, suite.name(), &target, &sources.uri]);
    if let Some(proxy) = &sources.proxy {
        command.env("http_proxy", proxy);
    }
    let status = command
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(copy))
        .status()
        .map_err(|source| Error::Start { program: "debootstrap".into(), source })?;
    if status.success() {
        return Ok(());
    }
    let command = format!("debootstrap {} {target} {}", suite.name(), sources.uri);
    Err(Error::Command { command, status: status.to_string(), output: file_tail(&log) })
}

/// Makes the debootstrapped tree a host that boots quickly and reaches its mirror.
fn configure(suite: Suite, sources: &Sources, root: &Path) -> Result<(), Error> {
    write_machine_settings(suite, sources, root)?;
    // Every host gets its own.
    let keys = root.join("etc/ssh");
    for entry in fs::read_dir(&keys).map_err(Error::io("read", &keys))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    write(root, "etc/machine-id", "")?;
    // Without it sshd complains of it at every login.
    write(root, "etc/default/locale", "")?;
    write(root, "etc/ssh/sshd_config.d/10-lab.conf", SSHD)?;
    write(root, "etc/systemd/system/lab-cgroups.service", CGROUPS)?;
    let system = root.join("etc/systemd/system");
    let link = |name: &str, target: &str| {
        let path = system.join(name);
        let _ = fs::remove_file(&path);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| symlink(target, &path))
            .map_err(Error::io("link", path))
    };
    link("sysinit.target.wants/lab-cgroups.service", "../lab-cgroups.service")?;
    // Nothing shall hold apt's lock, or draw a login prompt, by itself.
    for unit in ["apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service"] {
        link(unit, "/dev/null")?;
    }
    let at = root.display().to_string();
    run("chroot", &[&at, "systemctl", "enable", "systemd-networkd.service", "ssh.service"])?;
    copy_certificates(root)?;
    run("chroot", &[&at, "apt-get", "-q", "update"])?;
    let mut download =
        vec![at.as_str(), "apt-get", "-q", "-y", "--download-only", "--no-install-recommends", "install"];
    download.extend(LIKELY);
    run("chroot", &download)?;
    Ok(())
}

/// What depends on this machine as it is now: its resolver and how it reaches the package mirror.
pub fn write_machine_settings(suite: Suite, sources: &Sources, root: &Path) -> Result<(), Error> {
    write(root, "etc/resolv.conf", &apt::resolver())?;
    write(root, "etc/apt/sources.list", &sources.list(suite.name()))?;
    write(root, "etc/apt/apt.conf.d/90lab", &sources.settings)
}

/// Authorities that this machine's owner added, as a proxy that looks into TLS needs.
fn copy_certificates(root: &Path) -> Result<(), Error> {
    let own = "/usr/local/share/ca-certificates";
    let Ok(entries) = fs::read_dir(own) else { return Ok(()) };
    let target = root.join(&own[1..]);
    fs::create_dir_all(&target).map_err(Error::io("make", &target))?;
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        if let Some(name) = path.file_name() {
            fs::copy(&path, target.join(name)).map_err(Error::io("copy", &path))?;
        }
    }
    run("chroot", &[&root.display().to_string(), "update-ca-certificates"]).map(drop)
}

fn write(root: &Path, path: &str, text: &str) -> Result<(), Error> {
    let path = root.join(path);
    fs::write(&path, text).map_err(Error::io("write", path))
}

/// Keeps the packages that hosts have downloaded, for the labs to come. Only while no host runs: the
/// folder lies under their overlays.
pub fn keep_packages(suite: Suite, upper: &Path) {
    let Ok(entries) = fs::read_dir(upper.join(ARCHIVES)) else { return };
    let kept = packages(suite).join(ARCHIVES);
    for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "deb")) {
        // What cannot be kept is downloaded again.
        let _ = fs::rename(entry.path(), kept.join(entry.file_name()));
    }
}

/// VERBOSE has one line for every connection, key and session, for whoever counts them.
const SSHD: &str = "\
LogLevel VERBOSE
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
";

/// nspawn mounts the version 1 hierarchies read-only, below the host's own cgroup. The remount is
/// seen in the host's own mount namespace only.
const CGROUPS: &str = "\
[Unit]
Description=Let this host make cgroups of its own
DefaultDependencies=no
Before=sysinit.target
ConditionPathIsDirectory=/sys/fs/cgroup/memory

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in cpu cpuacct cpu,cpuacct cpuset memory devices freezer blkio pids; do [ ! -d /sys/fs/cgroup/$$c ] || mount -o remount,bind,rw /sys/fs/cgroup/$$c; done; mount -o remount,bind,rw /sys/fs/cgroup'
";
