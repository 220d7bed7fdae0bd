//! `bootstrap lab …`: bare hosts on this machine.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};

use super::{ConnectionArgs, Global};
use crate::lab::{self, Fault, MAX_HOSTS, Purpose, Status, Suite, UpOptions};

/// Bare hosts on this machine, to try a cluster on: containers with their own systemd and sshd.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bootstrap lab up --converge\n          bootstrap lab down\n\nIt needs root, on Linux."
)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make the hosts, or add to and switch on those there are, and write their inventory
    #[command(after_help = "Examples: bootstrap lab up --hosts 5 --converge\n          \
bootstrap lab up --suite trixie --user ops --rtt 50\n          \
bootstrap lab up --hosts 2 --kernel node-1,node-2")]
    Up(UpArgs),
    /// Take everything away again: hosts, network, rules, mounts
    #[command(after_help = "Example: bootstrap lab down --purge")]
    Down {
        /// Remove the cached base roots, packages and releases too, also those that were built there or put there by hand
        #[arg(long)]
        purge: bool,
    },
    /// Show the hosts and how they are
    #[command(after_help = "Example: bootstrap lab status")]
    Status,
    /// Cut a host's power: nothing on it gets to say goodbye
    #[command(after_help = "Example: bootstrap lab kill node-2")]
    Kill { host: String },
    /// Switch a host on again
    #[command(after_help = "Example: bootstrap lab start node-2")]
    Start { host: String },
    /// Cut a host off from the other hosts; ssh from this machine still works
    #[command(after_help = "Example: bootstrap lab partition node-2 --one-way")]
    Partition {
        host: String,
        /// Only what it sends is lost; it still hears the others
        #[arg(long)]
        one_way: bool,
        /// Cut it off from this machine and the world as well
        #[arg(long, conflicts_with = "one_way")]
        from_controller: bool,
        /// Only what it sends to this host is lost
        #[arg(long, value_name = "HOST", conflicts_with_all = ["one_way", "from_controller"])]
        to: Option<String>,
        /// Of that only what is for this port, of TCP and UDP
        #[arg(long, requires = "to", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
    /// End a host's partition
    #[command(after_help = "Example: bootstrap lab heal node-2")]
    Heal { host: String },
    #[command(hide = true)]
    Launch {
        #[command(flatten)]
        own: ServiceArgs,
        /// Known to the process table only: it tells one host's process from another's
        #[arg(long)]
        directory: String,
        host: String,
        #[arg(long)]
        suite: Suite,
        #[arg(long)]
        kernel: bool,
    },
    #[command(hide = true)]
    Mirror {
        #[command(flatten)]
        own: ServiceArgs,
    },
    #[command(hide = true)]
    Relay {
        #[command(flatten)]
        own: ServiceArgs,
        #[arg(long)]
        rtt: u32,
    },
}

/// What the lab finds its own processes by.
#[derive(Debug, Args)]
struct ServiceArgs {
    #[arg(long)]
    state: String,
}

#[derive(Debug, Args)]
struct UpArgs {
    /// How many hosts [default: 3, or as many as there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_HOSTS)))]
    hosts: Option<u8>,
    /// Round trip between this machine and the hosts, in milliseconds [default: none]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    rtt: Option<u32>,
    /// The Debian release on the hosts [default: bookworm]
    #[arg(long)]
    suite: Option<Suite>,
    /// Hosts that get a kernel of their own, as virtual machines: for what this machine's lacks, such as NFS. Minutes to boot without KVM
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    kernel: Vec<String>,
    /// What the hosts are for [default: agents]
    #[arg(long = "for", value_name = "PURPOSE")]
    purpose: Option<Purpose>,
    /// Who logs in: a user who uses sudo [default: root]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Let sudo ask for this password; without it sudo asks for none
    #[arg(long, value_name = "PASSWORD", requires = "user")]
    sudo_password: Option<String>,
    /// The release of Consul on the hosts: Debian's, or one that lies in the lab's mirror [default: 1.8.7]
    #[arg(long, value_name = "VERSION")]
    consul: Option<semver::Version>,
    /// Take away the lab that is there and start anew
    #[arg(long)]
    fresh: bool,
    /// Then bring them up: `bootstrap up` on their inventory
    #[arg(long)]
    converge: bool,
}

/// Runs `bootstrap lab …`. Blocks until it is done.
pub fn run(args: LabArgs, global: &Global) -> anyhow::Result<ExitCode> {
    match args.command {
        LabCommand::Up(args) => return up(args, global),
        LabCommand::Down { purge } => {
            let report = lab::down(purge, &say)?;
            match report.was_there {
                true => say(&format!("the lab is gone ({} hosts)", report.hosts)),
                false => say("there was no lab"),
            }
        }
        LabCommand::Status => match lab::status()? {
            Some(status) => print!("{}", table(&status)),
            None => return Err(lab::Error::NoLab.into()),
        },
        LabCommand::Kill { host } => match lab::kill(&host)? {
            true => say(&format!("{host} is off")),
            false => say(&format!("{host} was off already")),
        },
        LabCommand::Start { host } => match lab::start(&host)? {
            true => say(&format!("{host} is on and answers ssh")),
            false => say(&format!("{host} was on already")),
        },
        LabCommand::Partition { host, one_way, from_controller, to, port } => {
            let fault = match (to, one_way, from_controller) {
                (Some(to), ..) => lab::way(&to, port)?,
                (None, true, _) => Fault::OneWay,
                (None, _, true) => Fault::Everything,
                _ => Fault::Hosts,
            };
            lab::partition(&host, fault)?;
            say(&format!("{host}: {}; `bootstrap lab heal {host}` ends it", fault.description()));
        }
        LabCommand::Heal { host } => {
            lab::heal(&host)?;
            say(&format!("{host} is reached again"));
        }
        LabCommand::Launch { host, suite, kernel, .. } => lab::launch(&host, suite, kernel)?,
        LabCommand::Mirror { .. } => lab::serve_mirror()?,
        LabCommand::Relay { rtt, .. } => lab::serve_relay(rtt)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(args: UpArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let proxies = ["http_proxy", "https_proxy"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?)))
        .collect();
    let report = lab::up(
        &UpOptions {
            hosts: args.hosts,
            kernels: args.kernel.into_iter().collect(),
            suite: args.suite,
            user: args.user,
            sudo_password: args.sudo_password,
            rtt_ms: args.rtt,
            purpose: args.purpose,
            consul: args.consul,
            fresh: args.fresh,
            proxies,
        },
        &say,
    )?;
    let inventory = report.inventory.display();
    match report.started.len() {
        0 => say(&format!("all {} hosts were running already", report.hosts)),
        count => say(&format!(
            "{count} of {} hosts started, all answer ssh as {} ({:.1} s); releases at {}",
            report.hosts,
            report.settings.user,
            started.elapsed().as_secs_f64(),
            report.mirror
        )),
    }
    if args.converge {
        let args = super::up::UpArgs::of(report.inventory, ConnectionArgs::default());
        return super::up::run(&args, global, report.settings.sudo_password).map(ExitCode::from);
    }
    let ask = if report.settings.sudo_password.is_some() { " --ask-become-pass" } else { "" };
    say(&format!("next: bootstrap up {inventory}{ask}"));
    Ok(ExitCode::SUCCESS)
}

/// Progress is for people: standard error.
fn say(text: &str) {
    eprintln!("lab: {text}");
}

fn table(status: &Status) -> String {
    let mut text =
        format!("{:<10} {:<13} {:<7} {:<7} {:<8} NOTE\n", "HOST", "ADDRESS", "POWER", "SSH", "PID");
    for host in &status.hosts {
        let power = if host.pid.is_some() { "on" } else { "off" };
        let ssh = if host.ssh { "answers" } else { "silent" };
        let pid = host.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let note = host.fault.map_or_else(String::new, Fault::description);
        let line =
            format!("{:<10} {:<13} {power:<7} {ssh:<7} {pid:<8} {note}", host.name, host.address.to_string());
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let Status { suite, user, rtt_ms, inventory, mirror, network, .. } = status;
    let mirror = mirror.as_deref().unwrap_or("not served");
    let network = if *network { "" } else { "; the network is gone, `bootstrap lab up` makes it again" };
    text.push_str(&format!(
        "\n{suite}, user {user}, round trip {rtt_ms} ms, releases {mirror}{network}\ninventory {}\n",
        inventory.display()
    ));
    text
}
