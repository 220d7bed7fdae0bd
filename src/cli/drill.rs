//! `bootstrap drill`: kill on purpose, and know what happens.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::exit::{Exit, UsageError};
use super::session::Session;
use super::{ConnectionArgs, Global, output, run};
use crate::lab;
use crate::model::HostName;
use crate::operations::{Drill, DrillReport, Power, Victim};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bootstrap drill inventory.yaml leader\n          bootstrap drill inventory.yaml host node-2 --power\n\n\
A key is written every 50 ms through another server meanwhile; what was acknowledged must be there at the end. It \
refuses where no server may fail."
)]
pub struct DrillArgs {
    /// The inventory.
    inventory: PathBuf,
    /// What is killed: the member that is `leader`, or that of a `host`; or, of a control plane, its `api-server` alone.
    #[arg(value_name = "leader|host|api-server", value_parser = ["leader", "host", "api-server"])]
    what: String,
    /// The host; of API servers any, without it.
    #[arg(value_name = "NAME", required_if_eq("what", "host"), value_parser = |text: &str| HostName::parse(text))]
    name: Option<HostName>,
    /// Cut the host's power instead of killing its agent: of lab hosts.
    #[arg(long)]
    power: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: ConnectionArgs,
}

pub fn run(args: &DrillArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let setup = run::Setup::load(&args.inventory, &args.reach, global, password)?;
    let victim = match (&args.name, args.what.as_str()) {
        (Some(name), "host") => Victim::Host(name.clone()),
        (name, "api-server") if args.power => {
            let host = name.as_ref().map_or_else(|| "NAME".to_owned(), ToString::to_string);
            return Err(UsageError(format!("power is cut of a whole host: `host {host} --power`")).into());
        }
        (name, program @ "api-server") => Victim::Program(program.to_owned(), name.clone()),
        (None, "leader") => Victim::Leader,
        _ => return Err(UsageError("`leader` takes no name".to_owned()).into()),
    };
    let switch = |host: &HostName, on: bool| {
        let switched = if on { lab::start(host.as_str()) } else { lab::kill(host.as_str()) };
        switched.map(drop).map_err(|error| error.to_string())
    };
    let power: Power<'_> = &switch;
    let mut drill = Drill::new(victim, args.power.then_some(power));
    if !global.json() {
        eprintln!("a drill takes about 15 s; Ctrl-C ends it early and brings back what was killed");
    }
    let session = Session { yes: args.yes, ..Session::new("drill", &args.inventory, &setup, global) };
    let outcome = session.change(&mut drill)?;
    let Some(drilled) = drill.drilled else { return Ok(Exit::of(&outcome)) };
    if global.json() {
        output::print(&format!("{}\n", json!({ "event": "drilled", "result": drilled })))?;
    } else {
        output::print(&table(&drilled))?;
    }
    if drilled.lost.is_empty() {
        Ok(Exit::Done)
    } else {
        Err(anyhow!("{} acknowledged writes are lost: {:?}", drilled.lost.len(), drilled.lost))
    }
}

fn table(drilled: &DrillReport) -> String {
    let seconds = |ms: u64| format!("{}.{:02} s", ms / 1000, ms % 1000 / 10);
    let led = match drilled.led {
        Some(true) => ", the leader",
        Some(false) => ", a follower",
        None => "",
    };
    let mut rows = vec![("killed", format!("{}{led}: {}", drilled.victim, drilled.killed))];
    if drilled.led.is_some() {
        rows.push(("new leader", drilled.election_ms.map_or("none was needed".to_owned(), seconds)));
    }
    if drilled.writes > 0 {
        rows.push(("writes", format!("{} tried, {} acknowledged", drilled.writes, drilled.acknowledged)));
        rows.push(("longest silence", seconds(drilled.gap_ms)));
        rows.push(("lost", drilled.lost.len().to_string()));
    }
    rows.push(("well again", format!("{} after it was brought back", seconds(drilled.recovery_ms))));
    rows.into_iter().map(|(what, value)| format!("{what:<16} {value}\n")).collect()
}
