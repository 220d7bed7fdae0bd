//! `bootstrap drill`: kill on purpose, and know what happens.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::exit::{Exit, UsageError};
use super::session::Session;
use super::{ConnectionArgs, Global, output, run};
use crate::lab;
use crate::model::{HostName, RoleName};
use crate::operations::{AppDrillReport, AppDriller, Drill, DrillReport, FaultReport, Power, Victim};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bootstrap drill inventory.yaml leader\n          bootstrap drill inventory.yaml host node-2 --power\n          \
bootstrap drill inventory.yaml --app mariadb --timings drill.html\n\n\
A key is written every 50 ms through another server meanwhile; what was acknowledged must be there at the end. It \
refuses where no server may fail.\n\n\
Of an application (--app) all that can happen to who serves it is done, one after the other, under a client that writes; then \
all is put back. What was interrupted the hosts put back by themselves within four minutes, and the next run at once."
)]
pub struct DrillArgs {
    /// The inventory.
    inventory: PathBuf,
    /// What is killed: the member that is `leader`, or that of a `host`; or, of a control plane, its `api-server` alone.
    #[arg(value_name = "leader|host|api-server", value_parser = ["leader", "host", "api-server"], required_unless_present = "app")]
    what: Option<String>,
    /// The host; of API servers any, without it.
    #[arg(value_name = "NAME", required_if_eq("what", "host"), value_parser = |text: &str| HostName::parse(text))]
    name: Option<HostName>,
    /// An application, by its role: all that can happen to it.
    #[arg(long, value_name = "ROLE", conflicts_with = "what", value_parser = |text: &str| RoleName::parse(text))]
    app: Option<RoleName>,
    /// Only this of it, such as `network cut`; may be given several times.
    #[arg(long, value_name = "NAME", requires = "app")]
    fault: Vec<String>,
    /// Write a page with what happened when to FILE.
    #[arg(long, value_name = "FILE", requires = "app")]
    timings: Option<PathBuf>,
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
    let switch = |host: &HostName, on: bool| {
        let switched = if on { lab::start(host.as_str()) } else { lab::kill(host.as_str()) };
        switched.map(drop).map_err(|error| error.to_string())
    };
    let power: Option<Power<'_>> = if args.power { Some(&switch) } else { None };
    let session = Session {
        yes: args.yes,
        timings: args.timings.as_deref(),
        ..Session::new("drill", &args.inventory, &setup, global)
    };
    if let Some(app) = &args.app {
        return of_app(app, args, power, &session);
    }
    let victim = match (&args.name, args.what.as_deref().unwrap_or("leader")) {
        (Some(name), "host") => Victim::Host(name.clone()),
        (name, "api-server") if args.power => {
            let host = name.as_ref().map_or_else(|| "NAME".to_owned(), ToString::to_string);
            return Err(UsageError(format!("power is cut of a whole host: `host {host} --power`")).into());
        }
        (name, program @ "api-server") => Victim::Program(program.to_owned(), name.clone()),
        (None, "leader") => Victim::Leader,
        _ => return Err(UsageError("`leader` takes no name".to_owned()).into()),
    };
    let mut drill = Drill::new(victim, power);
    if !global.json() {
        eprintln!("a drill takes about 15 s; Ctrl-C ends it early and brings back what was killed");
    }
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

fn of_app(
    app: &RoleName,
    args: &DrillArgs,
    power: Option<Power<'_>>,
    session: &Session<'_>,
) -> anyhow::Result<Exit> {
    let mut driller = AppDriller { app: app.clone(), faults: args.fault.clone(), power, drilled: None };
    let result = session.change(&mut driller);
    // What was measured before something failed is told too.
    if let Some(drilled) = &driller.drilled {
        let text = match session.global.json() {
            true => format!("{}\n", json!({ "event": "drilled", "result": drilled })),
            false => app_table(drilled),
        };
        output::print(&text)?;
    }
    let outcome = result?;
    let lost: usize =
        driller.drilled.iter().flat_map(|drilled| &drilled.faults).map(|fault| fault.lost.len()).sum();
    if lost == 0 { Ok(Exit::of(&outcome)) } else { Err(anyhow!("{lost} acknowledged writes are lost")) }
}

/// A line for each fault.
fn app_table(drilled: &AppDrillReport) -> String {
    let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    let serves = |fault: &FaultReport| {
        let last = fault.serves.iter().rev().find(|serving| !serving.hosts.is_empty());
        last.map_or_else(
            || "nobody".to_owned(),
            |serving| format!("{} after {}", serving.hosts.join(", "), seconds(serving.since_ms)),
        )
    };
    let mut rows = vec![
        ["WHAT", "HOST", "NOT SERVED", "FAILED", "WRITTEN", "LOST", "SERVES", "WELL"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for fault in &drilled.faults {
        rows.push(match &fault.not_tried {
            Some(reason) => vec![fault.fault.clone(), format!("not tried: {reason}")],
            None => vec![
                fault.fault.clone(),
                fault.host.clone(),
                seconds(fault.gap_ms),
                fault.failed.to_string(),
                fault.acknowledged.to_string(),
                fault.lost.len().to_string(),
                serves(fault),
                seconds(fault.well_ms),
            ],
        });
    }
    let width = |column: usize| {
        // What was not tried says why, as long as it takes.
        let cells = rows.iter().filter(|row| row.len() > 2).filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
