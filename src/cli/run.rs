//! What `plan` and `up` share: options, secrets, the run log, and the task that prints.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;

use super::exit::UsageError;
use super::load::{self, Loaded};
use super::shard::Shard;
use super::{ConnectionArgs, Global, OutputFormat, open_files};
use crate::files;
use crate::inventory::{Inventory, range};
use crate::model::HostName;
use crate::operations::{EngineError, Options, Run, Stop, check_gates};
use crate::plan::BatchSize;
use crate::preflight::Marker;
use crate::releases::{Cache, archive_digest, file_digest};
use crate::report::{Events, RunResult, Timings};
use crate::roles::{Wanted, variables_to_generate};
use crate::script::LockHolder;
use crate::secrets::Secrets;
use crate::ssh::BecomePassword;

/// Set by the operator instead of `--ask-become-pass`; taken out of the environment at once, so that
/// no child process inherits it.
pub const PASSWORD_VARIABLE: &str = "BOOTSTRAP_BECOME_PASSWORD";

/// A connection that has not come about within this time will not.
const CONNECT: Duration = Duration::from_secs(30);
/// Installing packages over a slow line takes minutes, not more.
const SCRIPT: Duration = Duration::from_secs(20 * 60);

/// Everything a run needs before it touches the first host.
pub struct Setup {
    pub wanted: Wanted,
    pub marker: Marker,
    pub options: Options,
    pub secrets: Secrets,
    /// `.bootstrap/<cluster>` beside the inventory.
    pub folder: PathBuf,
}

impl Setup {
    /// From the file of an inventory: what most commands that connect to hosts begin with.
    pub fn load(
        inventory: &Path,
        reach: &ConnectionArgs,
        global: &Global,
        password: Option<String>,
    ) -> anyhow::Result<Self> {
        let loaded = load::load(inventory, global)?;
        Self::new(&loaded, reach, become_password(reach, password)?)
    }

    pub fn new(
        loaded: &Loaded,
        reach: &ConnectionArgs,
        password: Option<BecomePassword>,
    ) -> anyhow::Result<Self> {
        Self::part(loaded, reach, None, password)
    }

    /// The same of a part of the hosts; what concerns the whole is left to others.
    pub fn part(
        loaded: &Loaded,
        reach: &ConnectionArgs,
        shard: Option<Shard>,
        password: Option<BecomePassword>,
    ) -> anyhow::Result<Self> {
        let Loaded { inventory, roles } = loaded;
        let folder = folder(inventory);
        let secrets = Secrets::load(&folder, &variables_to_generate(inventory, roles))?;
        let marker = Marker { cluster: inventory.cluster.clone(), id: secrets.cluster_id.clone() };
        let mut wanted = Wanted::new(inventory, roles, &secrets.values)?;
        check_gates(&wanted)?;
        wanted.fill_artifact_digests(|resource, path| {
            let path = beside(inventory, path);
            let read = if resource.artifact_is_archive() { archive_digest } else { file_digest };
            read(&path).map_err(|source| EngineError::Artifact { path: path.display().to_string(), source })
        })?;
        let hosts = match shard {
            Some(shard) => {
                refuse_without_keys(shard, inventory, &folder)?;
                shard.hosts(&wanted)
            }
            None => limit(inventory, &reach.limit)?,
        };
        let parallel = open_files::parallel(hosts.len(), usize::from(reach.parallel))?;
        let options = Options {
            hosts,
            given_up: BTreeSet::new(),
            brings: None,
            only: None,
            resets_tokens: false,
            leaves_jobs: shard.is_some(),
            parallel,
            share: BatchSize::default(),
            timeout: reach.timeout,
            connect_timeout: CONNECT.min(reach.timeout),
            given_up_timeout: CONNECT.min(reach.timeout),
            script_timeout: SCRIPT,
            // The longest pause between two scripts is a gate.
            holder: holder(reach.timeout * 2 + Duration::from_secs(60)),
            password,
            artifacts: inventory.path.parent().unwrap_or(Path::new("")).to_owned(),
            cache: cache(),
        };
        Ok(Self { wanted, marker, options, secrets, folder })
    }

    pub fn run<'a>(&'a self, events: &'a Events, stop: &'a Stop) -> Run<'a> {
        let Self { wanted, marker, options, .. } = self;
        Run { wanted, marker, options, events, stop }
    }
}

/// Where downloads are kept: `bootstrap` in the user's cache folder.
pub fn cache() -> Cache {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache"));
    // A user without a home: what was fetched is fetched again after the next start.
    Cache::new(set.or_else(home).unwrap_or_else(std::env::temp_dir).join("bootstrap"))
}

/// Where the cluster's secrets and run logs live.
pub fn folder(inventory: &Inventory) -> PathBuf {
    let beside = inventory.path.parent().unwrap_or(Path::new(""));
    beside.join(files::STORE).join(inventory.cluster.as_str())
}

/// Paths in an inventory are relative to it.
fn beside(inventory: &Inventory, path: &Path) -> PathBuf {
    inventory.path.parent().unwrap_or(Path::new("")).join(path)
}

/// The hosts that `--limit` names; all without it.
fn limit(inventory: &Inventory, patterns: &[String]) -> anyhow::Result<BTreeSet<HostName>> {
    let all: BTreeSet<HostName> = inventory.hosts.iter().map(|host| host.name.clone()).collect();
    if patterns.is_empty() {
        return Ok(all);
    }
    let mut chosen = BTreeSet::new();
    for pattern in patterns {
        let words =
            range::expand(pattern).map_err(|error| UsageError(format!("--limit {pattern}: {error}")))?;
        for word in words {
            let mut named = all.iter().filter(|host| range::matches(&word, host.as_str())).peekable();
            if named.peek().is_none() {
                return Err(
                    UsageError(format!("--limit {pattern}: the inventory has no host `{word}`")).into()
                );
            }
            chosen.extend(named.cloned());
        }
    }
    Ok(chosen)
}

/// The first part makes the keys of a cluster: others that made their own would make other clusters.
fn refuse_without_keys(shard: Shard, inventory: &Inventory, folder: &Path) -> Result<(), UsageError> {
    if shard.is_first() || Secrets::are_kept(folder) {
        return Ok(());
    }
    Err(UsageError(format!(
        "--shard {shard}: the keys of `{}` are not in {}: begin with `bootstrap up {} --shard 1/{}`, which makes them, or copy them from \
         where it ran",
        inventory.cluster,
        folder.display(),
        inventory.path.display(),
        shard.of()
    )))
}

fn holder(between: Duration) -> LockHolder {
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    let machine = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    LockHolder {
        who: format!("{user}@{} pid {}", machine.unwrap_or_else(|| "unknown".into()), std::process::id()),
        since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        between,
    }
}

/// What listens for `--timings FILE`. A folder that is not there is found now, not after the run.
pub fn timings(file: Option<&Path>) -> anyhow::Result<Option<Timings>> {
    let Some(file) = file else { return Ok(None) };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() || file.is_dir() {
        let problem = if file.is_dir() { "it is a folder" } else { "its folder does not exist" };
        return Err(UsageError(format!("--timings {}: {problem}", file.display())).into());
    }
    Ok(Some(Timings::new(Timestamp::now())))
}

/// Writes the page of `--timings`. What the run came to matters more than its page: trouble is told,
/// and the exit status stays.
pub fn write_timings(file: Option<&Path>, closing: &RunResult) {
    let (Some(file), Some(timings)) = (file, &closing.timings) else { return };
    if let Err(error) = timings.write(file) {
        eprintln!("warning: cannot write the timings to {}: {error}", file.display());
    }
}

/// The password for sudo, asked for once or taken from the environment.
pub fn become_password(
    reach: &ConnectionArgs,
    environment: Option<String>,
) -> anyhow::Result<Option<BecomePassword>> {
    let text = match environment {
        Some(text) => text,
        None if reach.ask_become_pass => rpassword::prompt_password("sudo password on the hosts: ")
            .context("cannot ask for the password")?,
        None => return Ok(None),
    };
    Ok(Some(BecomePassword::new(text)?))
}

impl Global {
    pub fn color_on_stderr(&self) -> bool {
        self.color(std::io::stderr().is_terminal())
    }

    pub fn color_on_stdout(&self) -> bool {
        self.color(std::io::stdout().is_terminal())
    }

    fn color(&self, terminal: bool) -> bool {
        match self.color {
            super::ColorChoice::Always => true,
            super::ColorChoice::Never => false,
            super::ColorChoice::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
            }
        }
    }

    pub fn json(&self) -> bool {
        self.output == OutputFormat::Json
    }
}
