//! One bare host: its overlay, its identity, and the systemd-nspawn that runs it.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::apt::Sources;
use super::command::{command, file_tail, run, run_with_input};
use super::layout::{BRIDGE, CONTROLLER, LabHost, MAX_HOSTS, PREFIX, state};
use super::process::{self, POLL, wait_until};
use super::record::{Purpose, Record, Settings};
use super::{Error, Suite, base, cgroup, kubernetes, machine, mounts};

/// How long a host may take to boot: seconds on a quiet machine, more when many boot at once.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);
/// The same for one whose processor is translated: a minute, more when several boot at once.
const MACHINE_BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// A folder of this machine's own file system in every host: what lies on overlayfs has no handles, so no NFS server in
/// user space can export it.
const DATA: &str = "data";
/// A folder that all hosts of nspawn have in common, as those have that are connected to one storage.
const SHARED: &str = "shared";

/// Gives the host its root and identity, unless it has them. Nothing runs yet.
pub fn prepare(host: LabHost, record: &Record, sources: &Sources) -> Result<(), Error> {
    let settings = &record.settings;
    let folder = host.folder();
    // Set last: without it an earlier attempt ended half-way.
    let ready = folder.join("ready");
    let root = host.root();
    if !ready.exists() {
        mounts::remove_folder(&folder)?;
    }
    let own = ["upper", "work", "root", DATA].map(|part| folder.join(part));
    for path in own.into_iter().chain([state(SHARED)]) {
        fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
    }
    if mounts::below(&root).is_empty() {
        let mut lower = vec![base::packages(settings.suite), base::root(settings.suite)];
        if record.has_own_kernel(host) {
            lower.insert(0, machine::kernel(settings.suite));
        }
        mounts::overlay(&lower, &folder.join("upper"), &folder.join("work"), &root)?;
    }
    if !ready.exists() {
        base::write_machine_settings(settings.suite, sources, &root)?;
        write_identity(host, &root)?;
        allow_login(settings, &root)?;
        if settings.purpose == Purpose::Kubernetes {
            kubernetes::prepare(&root)?;
        }
        if record.has_own_kernel(host) {
            machine::make_disk(host)?;
        }
        fs::write(&ready, "").map_err(Error::io("write", ready))?;
    }
    Ok(())
}

fn write_identity(host: LabHost, root: &Path) -> Result<(), Error> {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::write(&path, text).map_err(Error::io("write", path))
    };
    let name = host.name();
    write("etc/hostname", &format!("{name}\n"))?;
    write(
        "etc/hosts",
        &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"),
    )?;
    let mut id = [0u8; 16];
    getrandom::fill(&mut id)
        .map_err(|error| Error::io("read", "/dev/urandom")(std::io::Error::other(error.to_string())))?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    write("etc/machine-id", &format!("{id}\n"))?;
    // Sorts before systemd's own 80-container-host0.network, which would ask for DHCP.
    write(
        "etc/systemd/network/10-host0.network",
        &format!(
            "[Match]\nName=host0 eth0\n\n[Network]\nAddress={}/{PREFIX}\nGateway={CONTROLLER}\n\
             LinkLocalAddressing=no\nIPv6AcceptRA=no\nDHCP=no\n",
            host.address()
        ),
    )?;
    let key = root.join("etc/ssh/ssh_host_ed25519_key");
    generate_key(&key, &name)
}

/// Makes an SSH key pair without passphrase, readable by root alone.
pub fn generate_key(path: &Path, comment: &str) -> Result<(), Error> {
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &path.display().to_string()])
        .map(drop)
}

/// Lets the lab's key log in as the lab's user, and that user become root.
fn allow_login(settings: &Settings, root: &Path) -> Result<(), Error> {
    let at = root.display().to_string();
    let user = settings.user.as_str();
    let home = if user == "root" { "root".to_owned() } else { format!("home/{user}") };
    if user != "root" {
        run("chroot", &[&at, "useradd", "--create-home", "--shell", "/bin/bash", user])?;
        let tag = if settings.sudo_password.is_some() { "" } else { "NOPASSWD: " };
        let rule = root.join("etc/sudoers.d/lab");
        fs::write(&rule, format!("{user} ALL=(ALL:ALL) {tag}ALL\n")).map_err(Error::io("write", &rule))?;
        set_mode(&rule, 0o440)?;
        if let Some(password) = &settings.sudo_password {
            run_with_input("chroot", &[&at, "chpasswd"], &format!("{user}:{password}\n"))?;
        }
    }
    let folder = root.join(home).join(".ssh");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(Error::io("make", &folder))?;
    let keys = folder.join("authorized_keys");
    fs::copy(state("id_ed25519.pub"), &keys).map_err(Error::io("write", &keys))?;
    set_mode(&keys, 0o600)?;
    let inside = Path::new("/").join(folder.strip_prefix(root).unwrap_or(&folder));
    run("chroot", &[&at, "chown", "-R", &format!("{user}:"), &inside.display().to_string()]).map(drop)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("set the mode of", path))
}

/// The host's line for a known_hosts file.
pub fn known_hosts_line(host: LabHost) -> Result<String, Error> {
    let path = host.root().join("etc/ssh/ssh_host_ed25519_key.pub");
    let key = fs::read_to_string(&path).map_err(Error::io("read", path))?;
    let mut words = key.split_whitespace();
    let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(format!("{} {kind} {body}\n", host.address()))
}

/// Switches the host on; `None` if it was on. Its process goes on when this one ends.
pub fn power_on(host: LabHost, record: &Record) -> Result<Option<Child>, Error> {
    if !pids(host).is_empty() {
        return Ok(None);
    }
    let mut args = vec![host.marker(), host.name(), format!("--suite={}", record.settings.suite.name())];
    if record.has_own_kernel(host) {
        args.push("--kernel".into());
    }
    process::start_service("launch", &args, &host.folder().join("console.log")).map(Some)
}

/// Becomes the nspawn of `host`: in a session and in cgroups of its own. Returns on failure only.
pub fn launch(host: LabHost, suite: Suite) -> Error {
    process::detach();
    if let Err(error) = cgroup::enter(host) {
        return error;
    }
    let mut command = command(
        "systemd-nspawn",
        &[
            "--quiet",
            "--boot",
            &host.marker(),
            &format!("--machine={}", host.machine()),
            &format!("--hostname={}", host.name()),
            &format!("--network-bridge={BRIDGE}"),
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            // The default logs kilobytes of cursor movement; with `pipe` systemd has no console to
            // tell why it cannot boot.
            "--console=read-only",
            // What container engines, Kubernetes and NFS servers in the hosts need.
            "--capability=all",
            "--system-call-filter=@keyring bpf open_by_handle_at name_to_handle_at",
            "--bind=/dev/kmsg",
            &format!("--bind={}:/{DATA}", host.folder().join(DATA).display()),
            &format!("--bind={}:/{SHARED}", state(SHARED).display()),
            // For the init: what a boot that hangs was at.
            "systemd.show_status=1",
        ],
    );
    if suite.needs_unified_cgroups() {
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    }
    Error::Start { program: "systemd-nspawn".into(), source: command.exec() }
}

/// All hosts that are on, by one look.
pub fn running() -> Vec<LabHost> {
    let folder = state("hosts").display().to_string();
    let pids = process::find(|args| args.iter().any(|arg| arg.contains(&folder)));
    let args: Vec<_> = pids.into_iter().flat_map(process::arguments).collect();
    LabHost::all(MAX_HOSTS).filter(|host| host.is_run_by(&args)).collect()
}

/// The processes that run the host: one, or none.
pub fn pids(host: LabHost) -> Vec<i32> {
    process::find(|args| host.is_run_by(args))
}

/// Cuts the power: nothing in the host gets to say goodbye. Whether it was on.
pub fn power_off(host: LabHost) -> Result<bool, Error> {
    let running = pids(host);
    let inits: Vec<i32> =
        running.iter().flat_map(|&pid| children(pid)).filter(|&child| is_init(child)).collect();
    for &init in &inits {
        let _ = kill(Pid::from_raw(init), Signal::SIGKILL);
    }
    // Without its init nspawn ends by itself and takes its interface along; else, and as a virtual machine, it is told to.
    if inits.is_empty() || !wait_until(Duration::from_secs(3), || pids(host).is_empty()) {
        process::end(&host.name(), |args| host.is_run_by(args))?;
    }
    machine::remove_interface(host);
    cgroup::remove(Some(host))?;
    Ok(!running.is_empty())
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether the process is number 1 of a pid namespace below this one.
fn is_init(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let ids: Vec<_> = ids.split_whitespace().collect();
    ids.len() > 1 && ids.last() == Some(&"1")
}

/// Waits until the host has booted and the lab's key opens a session on it. `process` is what
/// [`power_on`] gave.
pub fn wait_ready(host: LabHost, record: &Record, mut process: Option<Child>) -> Result<(), Error> {
    let started = Instant::now();
    let deadline = if record.has_own_kernel(host) { MACHINE_BOOT_DEADLINE } else { BOOT_DEADLINE };
    let console = host.folder().join("console.log");
    let mut reason = String::new();
    loop {
        // Not by looking into /proc: a process has no arguments for the moment in which it execs.
        if process.as_mut().is_some_and(|process| !matches!(process.try_wait(), Ok(None))) {
            return Err(Error::HostDied { host: host.name(), tail: file_tail(&console), console });
        }
        match greeting(host).and_then(|()| login(host, &record.settings)) {
            Ok(()) => return Ok(()),
            Err(said) => reason = if said.is_empty() { reason } else { said },
        }
        if started.elapsed() > deadline {
            return Err(Error::HostSilent {
                host: host.name(),
                seconds: deadline.as_secs(),
                reason,
                console,
            });
        }
        std::thread::sleep(POLL);
    }
}

/// Whether sshd says its name: much cheaper to ask than a login.
pub fn greeting(host: LabHost) -> Result<(), String> {
    let address = SocketAddr::from((host.address(), 22));
    let wait = Duration::from_millis(1000);
    let mut stream = TcpStream::connect_timeout(&address, wait).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(wait)).map_err(|error| error.to_string())?;
    let mut start = [0; 4];
    stream.read_exact(&mut start).map_err(|error| error.to_string())?;
    if &start == b"SSH-" { Ok(()) } else { Err("port 22 is no sshd".into()) }
}

/// Logs in as the tool will, and waits there until the boot is over.
fn login(host: LabHost, settings: &Settings) -> Result<(), String> {
    let known_hosts = format!("UserKnownHostsFile={}", state("known_hosts").display());
    let key = state("id_ed25519").display().to_string();
    let target = format!("{}@{}", settings.user, host.address());
    let options = [
        "-F",
        "none",
        "-i",
        &key,
        "-o",
        &known_hosts,
        "-o",
        "GlobalKnownHostsFile=none",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "ConnectTimeout=5",
        "-o",
        "ServerAliveInterval=5",
        &target,
        // Ends with a failure when a unit failed: the host is up all the same.
        "systemctl is-system-running --wait; true",
    ];
    run("ssh", &options).map(drop).map_err(|error| error.to_string())
}
