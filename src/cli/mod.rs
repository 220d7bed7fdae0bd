//! The command line: arguments in, exit code out. The only home of anyhow and of the environment.

mod add_node;
mod ask;
mod bundle;
mod certs;
mod check;
mod completions;
mod down;
mod drill;
mod error;
mod exec;
mod exit;
mod explain;
mod forget;
mod health;
mod history;
mod init;
mod kubeconfig;
mod lab;
mod load;
mod man;
mod node;
mod open_files;
mod output;
mod plan;
mod problems;
mod recover;
mod roles;
mod run;
mod schema;
mod session;
mod shard;
mod snapshot;
mod starter;
mod templates;
mod ui;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use exit::Exit;

/// Bare hosts to a running Consul, Nomad or Kubernetes cluster, over SSH; done only when quorum stands.
#[derive(Debug, Parser)]
#[command(name = "bootstrap", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples: bootstrap init inventory.yaml
          bootstrap check inventory.yaml
          bootstrap up inventory.yaml

Exit status: 0 done or nothing to do, 1 a host failed, 2 usage or inventory, 3 a host is unreachable, \
4 no quorum or unhealthy, 5 `plan --exit-code` found changes, 130 stopped by the operator.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// What to print: text for people, JSON for machines; `health` has more.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    pub output: OutputFormat,
    /// Show the log instead of progress bars; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colours: never the only carrier of a meaning. `auto` heeds NO_COLOR.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Take roles from this folder as well; one of the same name replaces the built-in one.
    #[arg(long, global = true, value_name = "DIR")]
    pub roles: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
    /// One line and an exit status for Nagios and its kin; `health` alone.
    Nagios,
    /// Prometheus' text format; `health` alone.
    Prometheus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

const PARALLEL: u16 = 100;
const TIMEOUT: &str = "2m";

impl Default for ConnectionArgs {
    fn default() -> Self {
        let timeout = parse_duration(TIMEOUT).expect("the default is a duration");
        Self { limit: Vec::new(), parallel: PARALLEL, timeout, ask_become_pass: false }
    }
}

/// Options of the commands that connect to hosts.
#[derive(Clone, Debug, Args)]
pub struct ConnectionArgs {
    /// Only these hosts: names, ranges or globs, separated by commas.
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    pub limit: Vec<String>,
    /// How many hosts to work on at once.
    #[arg(long, value_name = "N", default_value_t = PARALLEL, value_parser = clap::value_parser!(u16).range(1..))]
    pub parallel: u16,
    /// How long a gate may take to be met, and how long to try to connect: `90s`, `5m`.
    #[arg(long, value_name = "DURATION", default_value = TIMEOUT, value_parser = parse_duration)]
    pub timeout: Duration,
    /// Ask once for the password that sudo wants on the hosts. BOOTSTRAP_BECOME_PASSWORD in the
    /// environment does the same without asking.
    #[arg(long)]
    pub ask_become_pass: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented inventory to start from.
    Init(init::InitArgs),
    /// Check an inventory; with `--connect`, its hosts too. Changes nothing.
    Check(check::CheckArgs),
    /// Show what `up` would change, host by host, as diffs. Changes nothing.
    Plan(plan::PlanArgs),
    /// Bring every host to what the inventory says; done when quorum stands.
    Up(up::UpArgs),
    /// Add a host to an inventory and to its running cluster.
    AddNode(add_node::AddNodeArgs),
    /// Take a host out of its clusters and of the inventory.
    RemoveNode(node::RemoveNodeArgs),
    /// Let a new host take the place of a dead one.
    ReplaceNode(node::ReplaceNodeArgs),
    /// Have the clusters take out a member that is gone for good and that the inventory does not name.
    Forget(forget::ForgetArgs),
    /// How well the clusters and their hosts are. Changes nothing.
    Health(health::HealthArgs),
    /// When quorum is lost for good: let the servers that are left be the cluster.
    Recover(recover::RecoverArgs),
    /// Save, list and restore the state of Consul, Nomad and etcd.
    Snapshot(snapshot::SnapshotArgs),
    /// The credentials of a Kubernetes cluster, for kubectl on this machine.
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// A product's own pages in a browser on this machine, through SSH.
    Ui(ui::UiArgs),
    /// Run a command on a host, where the products' own programs find their agents.
    Exec(exec::ExecArgs),
    /// Renew the certificates of a cluster's hosts.
    Certs(certs::CertsArgs),
    /// Kill a server or a host, and measure what clients notice.
    Drill(drill::DrillArgs),
    /// Stop every agent of a cluster.
    Down(down::DownArgs),
    /// Carry releases to places without a network, in one verified file.
    Bundle(bundle::BundleArgs),
    /// List the roles, or one role's variables.
    Roles(roles::RolesArgs),
    /// Print the JSON Schema of inventories, for editors.
    Schema(schema::SchemaArgs),
    /// Bare hosts on this machine, to try all of it without any VM.
    Lab(lab::LabArgs),
    /// Say more about an error: the sections of the documentation that messages name.
    Explain(explain::ExplainArgs),
    /// Print a shell's completion script.
    Completions(completions::CompletionsArgs),
    /// Write the manual: a page for each command.
    Man(man::ManArgs),
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let password = std::env::var(run::PASSWORD_VARIABLE).ok();
    // SAFETY: nothing else runs yet, so nobody reads the environment while it changes.
    unsafe { std::env::remove_var(run::PASSWORD_VARIABLE) };
    let cli = Cli::parse();
    let global = &cli.global;
    if matches!(global.output, OutputFormat::Nagios | OutputFormat::Prometheus)
        && !matches!(cli.command, Command::Health(_))
    {
        let error = exit::UsageError("only `bootstrap health` has an output for monitoring".to_owned());
        return error::report(&error.into(), global);
    }
    let result = match cli.command {
        Command::Init(args) => init::run(args, global),
        Command::Check(args) => check::run(&args, global, password),
        Command::Plan(args) => plan::run(&args, global, password).map(ExitCode::from),
        Command::Up(args) => up::run(&args, global, password).map(ExitCode::from),
        Command::AddNode(args) => add_node::run(args, global, password).map(ExitCode::from),
        Command::RemoveNode(args) => node::remove(args, global, password).map(ExitCode::from),
        Command::ReplaceNode(args) => node::replace_node(args, global, password).map(ExitCode::from),
        Command::Forget(args) => forget::run(&args, global, password).map(ExitCode::from),
        Command::Health(args) => health::run(&args, global, password),
        Command::Recover(args) => recover::run(&args, global, password).map(ExitCode::from),
        Command::Drill(args) => drill::run(&args, global, password).map(ExitCode::from),
        Command::Down(args) => down::run(&args, global, password).map(ExitCode::from),
        Command::Kubeconfig(args) => kubeconfig::run(&args, global, password),
        Command::Exec(args) => exec::run(&args, global, password),
        Command::Ui(args) => ui::run(&args, global, password),
        Command::Certs(args) => certs::run(args, global, password).map(ExitCode::from),
        Command::Snapshot(args) => snapshot::run(args, global, password),
        Command::Bundle(args) => bundle::run(args, global),
        Command::Roles(args) => roles::run(args, global),
        Command::Schema(args) => schema::run(args, global),
        Command::Lab(args) => lab::run(args, global),
        Command::Explain(args) => explain::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    result.unwrap_or_else(|error| error::report(&error, global))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration; write `90s` or `5m`"))?;
    Duration::try_from(span).map_err(|_| format!("`{text}` is negative"))
}
