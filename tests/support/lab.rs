//! Real hosts for tests: the project's own lab, driven by the project's own program.
#![allow(dead_code, reason = "each test binary uses its part")]

use indoc::indoc;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the lab keeps its state; its inventory names key and known_hosts below it.
const STATE: &str = "/var/lib/bootstrap-lab";

/// The release of Consul on the hosts: today's, which `tests/products/build` makes, or that of BOOTSTRAP_LAB_CONSUL.
pub fn consul() -> String {
    std::env::var("BOOTSTRAP_LAB_CONSUL").unwrap_or_else(|_| "1.14.11".to_owned())
}

/// What an inventory says of etcd to have it from the lab's mirror.
pub fn etcd_release() -> String {
    let mut releases =
        fs::read_dir("/var/cache/bootstrap-lab/mirror/etcd").expect("a release of etcd in the mirror");
    let release = releases.next().unwrap().unwrap().file_name().into_string().unwrap();
    format!(
        "{{ version: {}, source: {{ mirror: 'http://10.77.0.1:7780/etcd' }} }}",
        release.trim_start_matches('v')
    )
}

/// Its archive and its sums, where the lab's mirror has them.
pub fn consul_release() -> [PathBuf; 2] {
    let version = consul();
    let folder = Path::new("/var/cache/bootstrap-lab/mirror/consul").join(&version);
    [format!("consul_{version}_linux_amd64.zip"), format!("consul_{version}_SHA256SUMS")]
        .map(|name| folder.join(name))
}

/// etcd's client with what a member on a host of its own shows.
pub const ETCDCTL: &str = "ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2379 --command-timeout 5s --cacert /etc/etcd/pki/ca.crt \
    --cert /etc/etcd/pki/client.pem --key /etc/etcd/pki/client.pem";

/// A running lab, fresh for one test, taken down at its end. Tests share one machine, so run them
/// with `--test-threads=1`.
pub struct Lab {
    /// Holds the test's inventory and what `bootstrap` writes beside it.
    pub folder: tempfile::TempDir,
    pub user: String,
    began: Instant,
}

/// What a command did.
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test with everything that was printed unless the status is the expected one.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            indoc! {"
            stdout:
            {}
            stderr:
            {}"},
            self.stdout, self.stderr
        );
        self
    }

    /// Fails the test unless stderr says so.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in stderr:\n{}", self.stderr);
        self
    }
}

impl Lab {
    /// Bare hosts; `options` are those of `lab up`.
    pub fn up(options: &[&str]) -> Self {
        let release = ["--consul", &consul()].map(str::to_owned);
        let release = if options.contains(&"--consul") { &[][..] } else { &release };
        let arguments: Vec<&str> = ["lab", "up", "--fresh"]
            .into_iter()
            .chain(release.iter().map(String::as_str))
            .chain(options.iter().copied())
            .collect();
        let began = Instant::now();
        // The lab's servers live on after the command; inheriting our pipes they would hold them open.
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("lab.log")).unwrap();
        let status =
            bootstrap().args(arguments).stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        let said = fs::read_to_string(folder.path().join("lab.log")).unwrap();
        assert!(status.success(), "lab up: {said}");
        let user = options.iter().position(|option| *option == "--user").map_or("root", |at| options[at + 1]);
        let lab = Self { folder, user: user.to_owned(), began };
        fs::copy(Path::new(STATE).join("inventory.yaml"), lab.inventory()).unwrap();
        lab
    }

    /// The same, all to be members of etcd on hosts of their own.
    pub fn of_etcd(hosts: u8) -> Self {
        let lab = Self::up(&["--hosts", &hosts.to_string()]);
        let text = fs::read_to_string(lab.inventory()).unwrap();
        let names: Vec<String> = (1..=hosts).map(|n| format!("node-{n}")).collect();
        let ours = format!(
            "{}groups:\n  members: {{ hosts: [{}], roles: [etcd] }}\nvars:\n  kube: {{ external_etcd: true }}\n  etcd: {}\n",
            &text[..text.find("groups:").unwrap()],
            names.join(", "),
            etcd_release()
        );
        fs::write(lab.inventory(), ours).unwrap();
        lab
    }

    /// What etcd's own client on a host says, as an operator there asks it.
    #[track_caller]
    pub fn etcdctl(&self, host: &str, words: &str) -> String {
        self.asks(host, &format!("{ETCDCTL} {words}")).trim().to_owned()
    }

    pub fn inventory(&self) -> PathBuf {
        self.folder.path().join("inventory.yaml")
    }

    /// Changes the inventory's text; fails when there is nothing to change.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.inventory()).unwrap();
        assert!(text.contains(from), "`{from}` is not in the inventory:\n{text}");
        fs::write(self.inventory(), text.replace(from, to)).unwrap();
    }

    /// Adds lines to the inventory's variables of Consul.
    #[track_caller]
    pub fn sets_consul(&self, lines: &str) {
        self.edit("    datacenter: dc1", &format!("    datacenter: dc1\n    {lines}"));
    }

    /// `bootstrap COMMAND INVENTORY OPTIONS`; a command may be of two words.
    pub fn run(&self, command: &str, options: &[&str]) -> Ran {
        self.run_with(command, options, &[])
    }

    pub fn run_with(&self, command: &str, options: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut call = bootstrap();
        call.args(command.split(' ')).arg(self.inventory()).args(options).envs(environment.iter().copied());
        Ran::of(call.output().unwrap())
    }

    /// Runs a command of ours that a message names, `bootstrap COMMAND`, as it stands there: of this inventory, with the options that
    /// its reader adds.
    #[track_caller]
    pub fn follow(&self, said: &Ran, command: &str, options: &[&str]) -> Ran {
        let text = said.stdout.clone() + &said.stderr;
        let start = format!("bootstrap {command}");
        let named = text.split(&start).nth(1).unwrap_or_else(|| panic!("`{start}` is not named in\n{text}"));
        let inventory = self.inventory().display().to_string();
        let words = named.split(['`', ',', ';', '\n']).next().unwrap().split_whitespace();
        let words: Vec<&str> = words.filter(|word| *word != "INVENTORY" && *word != inventory).collect();
        self.run(command, &[&words[..], options].concat())
    }

    /// The same of a command that is for a host, and begins with this.
    #[track_caller]
    pub fn follow_on(&self, host: &str, said: &Ran, start: &str) {
        let text = said.stdout.clone() + &said.stderr;
        let named = text.split('`').skip(1).step_by(2).find(|quoted| quoted.starts_with(start));
        self.asks(host, named.unwrap_or_else(|| panic!("`{start}` is not named in\n{text}")));
    }

    /// Takes SSH away from a host for some seconds; all else goes on there. It is gone when this returns.
    pub fn without_ssh(&self, host: &str, seconds: u32) {
        let gone = format!(
            "systemctl stop ssh.socket ssh.service; pkill sshd; sleep {seconds}; systemctl start ssh.service"
        );
        self.ssh(host, &format!("systemd-run -q sh -c '{gone}'"));
        poll("SSH does not reach it", Duration::from_secs(30), || {
            (self.ssh(host, "true").status != 0).then_some(())
        });
    }

    /// Runs a shell command on a host, as the lab's user.
    pub fn ssh(&self, host: &str, command: &str) -> Ran {
        self.ssh_with(
            &["StrictHostKeyChecking=yes", &format!("UserKnownHostsFile={STATE}/known_hosts")],
            host,
            command,
        )
    }

    /// The same whatever host key it shows: for tests that have changed it.
    pub fn ssh_to_anybody(&self, host: &str, command: &str) -> Ran {
        self.ssh_with(&["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"], host, command)
    }

    /// What an operator who is logged in there would have set, so that Consul's own program and curl are answered: the token that may do
    /// everything, once the cluster has secrets. `command curl` asks without it.
    fn with_token(&self, command: &str) -> String {
        let store = self.folder.path().join(".bootstrap/dc1/secrets.json");
        let secrets = fs::read_to_string(store).ok().and_then(|text| serde_json::from_str(&text).ok());
        let secrets: serde_json::Value = secrets.unwrap_or_default();
        match secrets["values"]["consul.manage_token"].as_str() {
            None => command.to_owned(),
            Some(token) => format!(
                "export CONSUL_HTTP_TOKEN={token}; curl() {{ command curl -H \"X-Consul-Token: {token}\" \"$@\"; }}; {command}"
            ),
        }
    }

    fn ssh_with(&self, options: &[&str], host: &str, command: &str) -> Ran {
        let mut call = Command::new("ssh");
        for option in ["BatchMode=yes", "ConnectTimeout=5", "LogLevel=ERROR"].iter().chain(options) {
            call.args(["-o", option]);
        }
        let command = self.with_token(command);
        call.args(["-i", &format!("{STATE}/id_ed25519"), "-l", &self.user, &self.address(host), &command]);
        Ran::of(call.output().unwrap())
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub fn asks(&self, host: &str, command: &str) -> String {
        self.ssh(host, command).exits(0).stdout
    }

    /// `lab VERB HOST OPTIONS`.
    #[track_caller]
    pub fn lab(&self, words: &[&str]) {
        let log = self.folder.path().join("lab.log");
        let out = fs::File::create(&log).unwrap();
        let status =
            bootstrap().arg("lab").args(words).stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        assert!(status.success(), "lab {words:?}: {}", fs::read_to_string(log).unwrap());
    }

    /// As the inventory says, or of a host that it does not have as the lab gives them out.
    pub fn address(&self, host: &str) -> String {
        let text = fs::read_to_string(self.inventory()).unwrap();
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{host}:")));
        let Some(line) = line else {
            let number: u8 = host.trim_start_matches("node-").parse().expect("a lab host's number");
            return format!("10.77.0.{}", 10 + number);
        };
        let rest = line.split("address:").nth(1).expect("an address on the host's line");
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        rest[..end].trim_matches([' ', '"']).to_owned()
    }

    /// How often sshd on a host has let somebody in, and how many sessions it has begun, so far.
    pub fn logins(&self, host: &str) -> Logins {
        // By the program's name: of a process that is gone the journal may not know the unit any more.
        let all = "journalctl --sync; journalctl -t sshd -t sshd-session -o cat --no-pager";
        let text = self.asks(host, all);
        // This look is a login and a session itself.
        Logins {
            handshakes: text.matches("Accepted publickey").count() - 1,
            sessions: text.matches("Starting session:").count() - 1,
        }
    }
}

/// Counted in sshd's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logins {
    pub handshakes: usize,
    pub sessions: usize,
}

impl Logins {
    /// What came between two looks. The first look counts as one login of its own.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            handshakes: self.handshakes - earlier.handshakes - 1,
            sessions: self.sessions - earlier.sessions - 1,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The next `lab up --fresh` clears up as well; a failure here must not hide the test's own.
        let _ = bootstrap().args(["lab", "down"]).stderr(Stdio::null()).status();
        // Beside the test's name, also where what a test prints is kept back.
        let _ = write!(std::io::stdout(), "{} s ", self.began.elapsed().as_secs());
    }
}

pub fn bootstrap() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// The configuration of Consul on a host is in the terms of the release that runs there: by the agent's own validation, and
/// by what it has written into its journal since its last start.
#[track_caller]
pub fn assert_no_deprecation(lab: &Lab, host: &str) {
    let said = lab.asks(
        host,
        "consul validate /etc/consul.d 2>&1; \
         journalctl -u consul -o cat --no-pager _SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value consul)",
    );
    assert!(said.contains("Configuration is valid!"), "{host}: {said}");
    for line in said.lines().map(str::to_lowercase) {
        assert!(!line.contains("deprecat") && !line.contains("no longer"), "{host}: {line}");
    }
}

/// Polls until `ready` gives something, or fails the test after `limit`.
#[track_caller]
pub fn poll<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes a key every 50 ms through the agent of a host, and notes when each was acknowledged, in milliseconds.
pub struct Writer<'l> {
    lab: &'l Lab,
    host: &'static str,
}

impl<'l> Writer<'l> {
    pub fn at(lab: &'l Lab, host: &'static str) -> Self {
        lab.asks(
            host,
            "cat >/root/writer <<'E'\nn=0\nwhile [ ! -e /root/over ]; do\n  n=$((n + 1))\n  \
             [ \"$(curl -s -m 5 -H \"X-Consul-Token: $CONSUL_HTTP_TOKEN\" -X PUT -d $n http://127.0.0.1:8500/v1/kv/roll/$n)\" = true ] && \
             echo \"$n $(($(date +%s%N) / 1000000))\" >>/root/written\n  sleep 0.05\ndone\nE\n\
             systemd-run -q -E CONSUL_HTTP_TOKEN=\"$CONSUL_HTTP_TOKEN\" --unit writer sh /root/writer",
        );
        Self { lab, host }
    }

    /// Ends it, and looks for each acknowledged write.
    #[track_caller]
    pub fn assert_kept(self) {
        let Self { lab, host } = self;
        lab.asks(host, "touch /root/over");
        poll("the writer has ended", Duration::from_secs(10), || {
            (lab.ssh(host, "systemctl is-active writer").status != 0).then_some(())
        });
        let written = lab.asks(host, "cat /root/written");
        let written: Vec<(u64, u64)> = written
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(key, time)| (key.parse().unwrap(), time.parse().unwrap()))
            .collect();
        let gap = written.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap();
        eprintln!("{} writes acknowledged, the longest silence {gap} ms", written.len());
        // An election is over within seconds, and the writer waits no longer than 5 s for one answer.
        assert!(gap < 10_000, "{gap} ms without a write");
        let keys = lab.asks("node-1", "consul kv get -keys roll/");
        let keys: std::collections::BTreeSet<&str> = keys.lines().collect();
        for (key, _) in &written {
            assert!(keys.contains(format!("roll/{key}").as_str()), "the acknowledged write {key} is lost");
        }
    }
}

/// What packages, systems and daemons of packages write by themselves, and what stays by design: packages, and the data of theirs.
const OTHERS: [&str; 31] = [
    "etc/.pwd.lock",
    "etc/alternatives",
    "etc/cni",
    "etc/docker",
    "etc/g*shadow*",
    "etc/group*",
    "etc/ld.so.cache",
    "etc/mtab",
    "etc/networks",
    "etc/passwd*",
    "etc/rc?.d",
    "etc/shadow*",
    "etc/ssl/certs",
    "etc/sub?id*",
    "etc/systemd/system/*.wants",
    "data/containerd",
    "opt/containerd",
    // Of the tests' own kubectl too.
    "root/.kube",
    "var/backups",
    "var/cache",
    "var/lib/apt",
    "var/lib/containerd",
    "var/lib/dhcp",
    // Where the package's own unit mounts the journal.
    "var/lib/haproxy/dev",
    "var/lib/docker",
    "var/lib/dpkg",
    "var/lib/misc",
    "var/lib/systemd",
    "var/lib/ucf",
    "var/log",
    "var/tmp",
];

/// Every path of a host with its kind, mode, owner, target and digest, and the accounts of agents.
pub struct HostFiles(BTreeMap<String, String>);

impl HostFiles {
    pub fn of(lab: &Lab, host: &str) -> Self {
        let skipped: Vec<String> = OTHERS.iter().map(|path| format!("-path '{path}'")).collect();
        let find = format!(
            "cd / && find etc usr/local opt srv root home data var -xdev \\( {} \\) -prune -o",
            skipped.join(" -o ")
        );
        let said = lab.asks(
        host,
        &format!(
            "{find} -printf '%p\\t%y %m %U:%G %l\\n' 2>/dev/null; {find} -type f -print0 2>/dev/null | xargs -0r sha256sum | \
             awk '{{ sum = $1; $1 = \"\"; print substr($0, 2) \"\\tsum \" sum }}'; \
             getent passwd | sed -n 's/^\\(consul\\|nomad\\|etcd\\):.*/user \\1\\tthere/p'"
        ),
    );
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for (path, word) in said.lines().filter_map(|line| line.split_once('\t')) {
            let known = files.entry(path.to_owned()).or_default();
            *known += word;
            *known += " ";
        }
        Self(files)
    }

    /// What is not as it was, but for what packages have brought.
    pub fn differences(&self, lab: &Lab, host: &str) -> Vec<String> {
        let (Self(before), Self(after)) = (self, Self::of(lab, host));
        let changed = before.iter().filter_map(|(path, was)| match after.get(path) {
            Some(is) if is == was => None,
            Some(is) => Some(format!("{path}: {is}, was {was}")),
            None => Some(format!("{path} is gone")),
        });
        let mut found: Vec<String> = changed.collect();
        let new: Vec<&String> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        let list: String = new.iter().map(|path| format!("/{path}\n")).collect();
        let packaged = format!(
            "while read -r path; do dpkg-query -S \"$path\" >/dev/null 2>&1 || dpkg-query -S \"${{path#/usr}}\" >/dev/null 2>&1 || \
         echo \"$path\"; done <<'END'\n{list}END"
        );
        found.extend(lab.asks(host, &packaged).lines().map(|path| format!("{path} is new")));
        found
    }
}
