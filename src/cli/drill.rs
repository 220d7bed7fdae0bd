//! `bootstrap drill`: kill on purpose, and know what happens.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::exit::{Exit, INTERRUPTED, UsageError};
use super::{Global, Reach, ask, load, problems, run};
use crate::engine::{self, Drill, Drilled, Power, Stop, Victim};
use crate::lab;
use crate::model::HostName;
use crate::report::{events, init_tracing};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bootstrap drill inventory.yaml leader\n          bootstrap drill inventory.yaml host node-2 --power\n\n\
A key is written every 50 ms through another server meanwhile; what was acknowledged must be there at the end. It \
refuses where no server may fail."
)]
pub struct DrillArgs {
    /// The inventory.
    inventory: PathBuf,
    /// What is killed: `leader`, or `host` with its name.
    #[arg(value_name = "leader|host", value_parser = ["leader", "host"])]
    what: String,
    /// The host.
    #[arg(value_name = "NAME", required_if_eq("what", "host"), value_parser = |text: &str| HostName::parse(text))]
    name: Option<HostName>,
    /// Cut the host's power instead of killing its agent: of lab hosts.
    #[arg(long)]
    power: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &DrillArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let loaded = load::load(&args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let setup = run::Setup::new(&loaded, &args.reach, password)?;
    let victim = match (&args.name, args.what.as_str()) {
        (Some(name), "host") => Victim::Host(name.clone()),
        (None, "leader") => Victim::Leader,
        _ => return Err(UsageError("`leader` takes no name".to_owned()).into()),
    };
    let who = match &victim {
        Victim::Leader => "the leader".to_owned(),
        Victim::Host(host) => host.to_string(),
    };
    let how = if args.power { "loses its power" } else { "has its agent killed" };
    let question = format!("In cluster `{}` {who} {how}, now.", setup.marker.cluster);
    if !args.yes && !ask::confirmed(&question, setup.marker.cluster.as_str())? {
        return Err(UsageError("nothing was killed".to_owned()).into());
    }
    init_tracing(global.verbose, global.color_on_stderr(), None);
    let switch = |host: &HostName, on: bool| {
        let switched = if on { lab::start(host.as_str()) } else { lab::kill(host.as_str()) };
        switched.map(drop).map_err(|error| error.to_string())
    };
    let power: Power<'_> = &switch;
    let drill = Drill { victim, power: args.power.then_some(power) };
    if !global.json() {
        eprintln!("a drill takes about 15 s; Ctrl-C ends it early and brings back what was killed");
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let drilled = runtime.block_on(async {
        let ((events, _), stop) = (events(), Stop::default());
        let asked = stop.clone();
        // The first ends it early and brings back what was killed, the second leaves at once.
        let watching = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                asked.request();
                let _ = tokio::signal::ctrl_c().await;
                std::process::exit(INTERRUPTED);
            }
        });
        let run = setup.run(&events, &stop);
        let clusters = engine::clusters(run).await?;
        let drilled = clusters.drill(run, &drill).await;
        clusters.close().await;
        watching.abort();
        drilled
    })?;
    if global.json() {
        problems::print(&format!("{}\n", json!({ "event": "drilled", "result": drilled })))?;
    } else {
        problems::print(&table(&drilled))?;
    }
    if drilled.lost.is_empty() {
        Ok(Exit::Done)
    } else {
        Err(anyhow!("{} acknowledged writes are lost: {:?}", drilled.lost.len(), drilled.lost))
    }
}

fn table(drilled: &Drilled) -> String {
    let seconds = |ms: u64| format!("{}.{:02} s", ms / 1000, ms % 1000 / 10);
    let led = if drilled.led { ", the leader" } else { ", a follower" };
    let election = drilled.election_ms.map_or("none was needed".to_owned(), seconds);
    let mut rows = vec![("killed", format!("{}{led}", drilled.victim)), ("new leader", election)];
    if drilled.writes > 0 {
        rows.push(("writes", format!("{} tried, {} acknowledged", drilled.writes, drilled.acknowledged)));
        rows.push(("longest silence", seconds(drilled.gap_ms)));
        rows.push(("lost", drilled.lost.len().to_string()));
    }
    rows.push(("well again", format!("{} after it was brought back", seconds(drilled.recovery_ms))));
    rows.into_iter().map(|(what, value)| format!("{what:<16} {value}\n")).collect()
}
