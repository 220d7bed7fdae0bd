//! A private sshd on the loopback, and users to log in to it as.
//!
//! Each [`Sshd`] has its own port, host key, login key and log, and counts what the log says.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bootstrap::inventory::{Become, SshSettings};
use bootstrap::model::HostName;
use bootstrap::ssh::{ConnectOptions, Target};
use tempfile::TempDir;

/// How long anything here may take that is not measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// False: the test is to be skipped, because `BOOTSTRAP_SKIP_MISSING_TOOLS` names a missing tool. A
/// missing tool that it does not name fails the test.
pub fn have(tools: &[&str]) -> bool {
    let skipped = std::env::var("BOOTSTRAP_SKIP_MISSING_TOOLS").unwrap_or_default();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    tools.iter().all(|tool| {
        let found = path.split(':').any(|dir| Path::new(dir).join(tool).is_file());
        let skip = skipped.split([',', ' ']).any(|name| name == *tool);
        assert!(found || skip, "`{tool}` is missing: install it, or set BOOTSTRAP_SKIP_MISSING_TOOLS={tool}");
        if !found {
            eprintln!("skipped: `{tool}` is missing");
        }
        found
    })
}

/// False: not root, so no users can be made; says so.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can make users");
    }
    root
}

/// Polls until `found` is some, and fails after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a tool that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// For [`Sshd::start`]: a login shell reads its files as on any host.
pub const LOGIN_FILES: &str = "SetEnv LOGIN_FILES=yes";

/// A running sshd; it ends, with its connections, when dropped.
pub struct Sshd {
    child: Child,
    dir: TempDir,
    pub port: u16,
}

impl Sshd {
    /// Starts one with `extra` lines in its configuration; the first of a setting wins in sshd too.
    pub fn start(extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Users that log in read their authorized_keys here.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            // sshd wants its directory for privilege separation; packages make it at boot.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        for key in ["host_key", "login_key"] {
            keygen(&dir.path().join(key));
        }
        fs::copy(dir.path().join("login_key.pub"), dir.path().join("authorized_keys")).unwrap();
        // The port is free for a moment only: another test may take it first.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = spawn(dir.path(), port, extra);
            if is_listening(&mut child, port) {
                let sshd = Self { child, dir, port };
                sshd.know(&[&sshd]);
                return sshd;
            }
        }
        panic!("sshd does not start: {}", fs::read_to_string(dir.path().join("sshd.log")).unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the host keys of `servers` to this one's `known_hosts`.
    pub fn know(&self, servers: &[&Sshd]) {
        let line = |sshd: &&Sshd| {
            let key = fs::read_to_string(sshd.path("host_key.pub")).unwrap();
            format!("[127.0.0.1]:{} {key}", sshd.port)
        };
        fs::write(self.path("known_hosts"), servers.iter().map(line).collect::<String>()).unwrap();
    }

    /// Lets the key of `other` log in here as well.
    pub fn authorize(&self, other: &Sshd) {
        let key = fs::read(other.path("login_key.pub")).unwrap();
        File::options().append(true).open(self.path("authorized_keys")).unwrap().write_all(&key).unwrap();
    }

    /// Settings that log in as the user of this test, without sudo.
    pub fn settings(&self) -> SshSettings {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
        SshSettings {
            user: Some(user.name),
            port: Some(self.port),
            identity_file: Some(self.path("login_key")),
            known_hosts: Some(self.path("known_hosts")),
            // Nothing of the person who runs the tests.
            config: Some("none".into()),
            r#become: Become::None,
            ..SshSettings::default()
        }
    }

    pub fn target(&self) -> Target {
        self.target_with(self.settings())
    }

    pub fn target_with(&self, settings: SshSettings) -> Target {
        Target { host: HostName::parse("node-1").unwrap(), address: "127.0.0.1".to_owned(), settings }
    }

    /// As `user`, who needs sudo to become root.
    pub fn target_of(&self, user: &TestUser) -> Target {
        self.target_with(SshSettings {
            user: Some(user.name.clone()),
            r#become: Become::Auto,
            ..self.settings()
        })
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("sshd.log")).unwrap()).into_owned()
    }

    fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.starts_with(text)).count()
    }

    /// Successful logins so far.
    pub fn handshakes(&self) -> usize {
        self.count("Accepted publickey")
    }

    /// Commands started so far; forwarded ports are none.
    pub fn sessions(&self) -> usize {
        self.count("Starting session")
    }

    /// The sshd processes that serve connections.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Cuts all connections, without a good-bye.
    pub fn cut_all(&self) {
        for parent in self.children() {
            // The monitor's child holds the connection when the user is not root.
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            let workers = children.split_whitespace().map(|pid| pid.parse().unwrap());
            let is_sshd = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("sshd"))
            };
            for pid in std::iter::once(parent).chain(workers.filter(is_sshd)) {
                kill(pid);
            }
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut_all();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of sshd on port {}\n{}", self.port, self.log());
        }
    }
}

/// Options that give up soon.
pub fn options() -> ConnectOptions {
    ConnectOptions { deadline: PATIENCE, ..ConnectOptions::default() }
}

pub fn keygen(file: &Path) {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file));
}

/// SIGKILL to a process that a test started.
pub fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    // It may have ended by itself.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

fn spawn(dir: &Path, port: u16, extra: &[&str]) -> Child {
    let name = |file: &str| dir.join(file).display().to_string();
    let mut lines: Vec<String> = extra.iter().map(ToString::to_string).collect();
    lines.extend([
        format!("Port {port}"),
        "ListenAddress 127.0.0.1".to_owned(),
        format!("HostKey {}", name("host_key")),
        format!("AuthorizedKeysFile {}", name("authorized_keys")),
        "PidFile none".to_owned(),
        "UsePAM no".to_owned(),
        "StrictModes no".to_owned(),
        "PasswordAuthentication no".to_owned(),
        "LogLevel VERBOSE".to_owned(),
    ]);
    // Makes bash pass over ~/.bashrc, which it otherwise reads under sshd: whoever runs these tests may
    // have a slow one.
    if !extra.iter().any(|line| line.starts_with("SetEnv")) {
        lines.push("SetEnv SHLVL=1".to_owned());
    }
    // Of this one sshd takes the last.
    if !extra.iter().any(|line| line.starts_with("MaxStartups")) {
        lines.push("MaxStartups 200".to_owned());
    }
    fs::write(dir.join("sshd_config"), lines.join("\n") + "\n").unwrap();
    let log = File::create(dir.join("sshd.log")).unwrap();
    // sshd insists on an absolute path of itself.
    let sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
        .iter()
        .find(|path| Path::new(path).is_file());
    let mut command = Command::new(sshd.expect("sshd"));
    command.arg("-D").arg("-e").arg("-f").arg(dir.join("sshd_config"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// False when it ended instead.
fn is_listening(child: &mut Child, port: u16) -> bool {
    wait_for("sshd", || match child.try_wait().unwrap() {
        Some(_) => Some(false),
        None => TcpStream::connect(("127.0.0.1", port)).ok().map(|_| true),
    })
}

/// A user of this machine, removed when dropped.
pub struct TestUser {
    pub name: String,
    pub home: PathBuf,
    /// The home's own directory.
    _dir: TempDir,
}

/// `useradd` and `userdel` refuse to work side by side.
static PASSWD: Mutex<()> = Mutex::new(());

impl TestUser {
    pub fn new(shell: &str, password: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bstest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let home = dir.path().join("home");
        let _lock = PASSWD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        run(Command::new("useradd")
            .args(["-m", "-K", "HOME_MODE=0755", "-s", shell, "-d"])
            .arg(&home)
            .arg(&name));
        match password {
            Some(password) => {
                let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().unwrap();
                writeln!(chpasswd.stdin.take().unwrap(), "{name}:{password}").unwrap();
                assert!(chpasswd.wait().unwrap().success());
            }
            // No password is not the same as a locked account, which sshd turns away.
            None => drop(run(Command::new("usermod").args(["-p", "*", &name]))),
        }
        Self { name, home, _dir: dir }
    }

    /// Gives sudo's rights, e.g. `ALL=(ALL) NOPASSWD: ALL`; what sudo does is logged to `sudo.log`.
    pub fn sudoers(self, rule: &str) -> Self {
        self.sudoers_with("lecture=once", rule)
    }

    /// The same with a setting of this user's sudo.
    pub fn sudoers_with(self, setting: &str, rule: &str) -> Self {
        let name = &self.name;
        let log = self.sudo_log();
        let text = format!("Defaults:{name} logfile={}, {setting}\n{name} {rule}\n", log.display());
        let file = Path::new("/etc/sudoers.d").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o440)).unwrap();
        self
    }

    pub fn sudo_log(&self) -> PathBuf {
        self.home.with_file_name("sudo.log")
    }
}

impl Drop for TestUser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- sudo.log of {}\n{}",
                self.name,
                fs::read_to_string(self.sudo_log()).unwrap_or_default()
            );
        }
        let _ = fs::remove_file(Path::new("/etc/sudoers.d").join(&self.name));
        let _lock = PASSWD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = Command::new("userdel").args(["-f", &self.name]).stderr(Stdio::null()).status();
    }
}
