//! Runs scripts for real: each shell that a host may have, on paths in a temporary folder.
#![allow(dead_code)] // each test file uses a part of it

pub mod server;

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bootstrap::model::{Arg, Call, Change, RoleName, Step, StepId};
use bootstrap::script::{LockHolder, Nonce, Observation, Parser, Record, Script};

pub const SHELLS: [&[&str]; 3] = [&["dash"], &["busybox", "sh"], &["bash", "--posix"]];

/// All that the prelude calls on any host, and what the tests run there.
const TOOLS: &str =
    "awk base64 bash busybox cat chmod chown cp curl cut dash date df find flock getent grep head id ln
    ls mkdir mktemp mv od perl python3 readlink rm sed setsid sh sha256sum sleep sort stat sync tail timeout tr uname unzip wget";

/// What `start` of the prelude adds to PATH.
const USUAL_PATH: &str = ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether a tool is here. Fails the test by name if not, unless BOOTSTRAP_SKIP_MISSING_TOOLS lists it.
pub fn have(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()) {
        return true;
    }
    let skipped = std::env::var("BOOTSTRAP_SKIP_MISSING_TOOLS").unwrap_or_default();
    assert!(
        skipped.split([',', ' ']).any(|name| name == tool),
        "{tool} is missing: install it to run this test"
    );
    eprintln!("skipped: {tool} is missing");
    false
}

/// The shells that are here.
pub fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    SHELLS.into_iter().filter(|shell| have(shell[0]))
}

/// A pretended host: a folder for everything that a script would put elsewhere.
pub struct Host {
    pub folder: tempfile::TempDir,
    /// What PATH is for its scripts; the test's own if `None`.
    pub path: Option<PathBuf>,
    /// The process from which on up the one is looked for that serves the connection; 1 finds none.
    pub connection: u32,
}

impl Host {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), path: None, connection: 1 }
    }

    pub fn at(&self, path: &str) -> String {
        self.folder.path().join(path).to_str().unwrap().to_owned()
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(path)).unwrap()
    }

    /// Its scripts find the few tools that they may count on, but not these.
    pub fn without(mut self, tools: &[&str]) -> Self {
        let folder = self.folder.path().join("tools");
        std::fs::create_dir(&folder).unwrap();
        for name in TOOLS.split_whitespace().filter(|name| !tools.contains(name)) {
            let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|folder| Path::new(folder).join(name));
            if let Some(path) = found.iter().find(|path| path.exists()) {
                symlink(path, folder.join(name)).unwrap();
            }
        }
        self.path = Some(folder);
        self
    }

    /// What busybox brings stands before other tools.
    pub fn with_busybox_tools(self) -> Self {
        let folder = self.path.clone().expect("a folder of tools");
        let list = Command::new("busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            drop(std::fs::remove_file(folder.join(name)));
            symlink(folder.join("busybox"), folder.join(name)).unwrap();
        }
        self
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        names(&self.folder.path().join(path))
    }

    /// The script's text, its own paths moved into the folder.
    pub fn text(&self, script: &Script) -> String {
        let (state, lock) = ("state_dir=/var/lib/bootstrap\n", "lock_file=/run/bootstrap.lock\n");
        let text = script.for_host();
        // A script has what it uses; nothing of this machine's own may be touched.
        assert!(text.contains(state) || !text.contains("$state_dir"));
        assert!(text.contains(lock) || !text.contains("$lock_file"));
        // Without this, tools that were taken away would be found in their usual place.
        // Whoever runs the tests may have logged in by ssh, and a lock is not waited for long.
        let text = text.replacen("connection=$$\n", &format!("connection={}\n", self.connection), 1);
        let text = text.replacen("lock_patience=150\n", "lock_patience=3\n", 1);
        let text = if self.path.is_some() { text.replacen(USUAL_PATH, "", 1) } else { text };
        text.replacen(state, &format!("state_dir='{}'\n", self.at("state")), 1).replacen(
            lock,
            &format!("lock_file='{}'\n", self.at("lock")),
            1,
        )
    }

    /// Runs a text as `sh -s` gets it.
    pub fn run_text(&self, shell: &[&str], text: &str) -> Output {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg("-s").env("TMPDIR", self.folder.path()).env_remove("CDPATH");
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let text = text.to_owned();
        // Written while the output is read; a shell that stops early closes its end.
        let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    pub fn run(&self, shell: &[&str], script: &Script) -> Vec<Record> {
        let output = self.run_text(shell, &self.text(script));
        let records = records(script.nonce(), &output.stdout);
        assert_eq!(
            records.last(),
            Some(&Record::Finished),
            "{shell:?} did not finish: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        records
    }

    /// Asks one probe; its answers are under `probe`.
    pub fn ask(&self, shell: &[&str], probe: Call) -> Observation {
        let script = Script::ask(&Nonce::random(), &[(StepId("probe".into()), probe)]);
        Observation::new(&self.run(shell, &script))
    }

    /// Applies one step; its status and output.
    pub fn apply(&self, shell: &[&str], calls: Vec<Call>) -> (i32, String) {
        let records = self.run(shell, &Script::apply(&Nonce::random(), &holder(), &[step("step", calls)]));
        records
            .into_iter()
            .find_map(|record| match record {
                Record::End { status, output, .. } => Some((status, output)),
                _ => None,
            })
            .expect("the step ended")
    }
}

pub fn records(nonce: &Nonce, stdout: &[u8]) -> Vec<Record> {
    let mut parser = Parser::new(nonce);
    String::from_utf8_lossy(stdout).lines().filter_map(|line| parser.line(line)).collect()
}

pub fn holder() -> LockHolder {
    LockHolder {
        who: "ada@laptop 4711".into(),
        since: "2026-01-02T03:04:05Z".into(),
        between: std::time::Duration::from_secs(90),
    }
}

pub fn step(id: &str, calls: Vec<Call>) -> Step {
    let change = Change { reason: "absent".into(), effect: Default::default(), diff: None, calls };
    Step { id: StepId(id.into()), role: RoleName::parse("test").unwrap(), change, help: None }
}

pub fn call(function: &'static str, args: &[&str]) -> Call {
    Call::new(function, args.iter().map(|arg| Arg::new(*arg).unwrap()))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The user and group that the tests run as: files can be given to them without being root.
pub fn account() -> (String, String) {
    let id = |option: &str| {
        let output = Command::new("id").arg(option).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    (id("-u"), id("-g"))
}
