//! `bootstrap up`: bare hosts to a running cluster.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::exit::Exit;
use super::{Global, Reach, load, run};
use crate::engine::{self, EngineError, Outcome, Stop};
use crate::report::{Event, Events, Output, RenderOptions, RunLog, events, init_tracing, render};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: bootstrap up inventory.yaml\n\nRunning it again carries on where a run ended: \
the hosts themselves are the state."
)]
pub struct UpArgs {
    /// The inventory.
    pub inventory: PathBuf,
    /// Write a page that shows what each host did when, also of a run that failed.
    #[arg(long, value_name = "FILE.html")]
    pub timings: Option<PathBuf>,
    #[command(flatten)]
    pub reach: Reach,
}

pub fn run(args: &UpArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let loaded = load::load(&args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let setup = run::Setup::new(&loaded, &args.reach, password)?;
    bring_up("up", args, global, &setup)
}

/// Brings every host to what `setup` wants, for a command that is called `command`.
pub fn bring_up(command: &str, args: &UpArgs, global: &Global, setup: &run::Setup) -> anyhow::Result<Exit> {
    let log = RunLog::create(&setup.folder.join("logs"), command)
        .with_context(|| format!("cannot write a run log below {}", setup.folder.display()))?;
    init_tracing(global.verbose, global.color_on_stderr(), Some(&log));
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(converge(command, args, global, setup, log))?;
    Ok(Exit::of(&outcome))
}

async fn converge(
    command: &str,
    args: &UpArgs,
    global: &Global,
    setup: &run::Setup,
    log: RunLog,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let inventory = args.inventory.as_path();
    let (events, receiver) = events();
    let terminal = console::Term::stderr().is_term();
    let mut options = RenderOptions::new(Output::choose(global.json(), global.verbose, terminal));
    options.color = global.color_on_stderr();
    options.verbose = global.verbose > 0;
    options.log = Some(log);
    options.timings = run::timings(args.timings.as_deref())?;
    let printing = tokio::spawn(render(receiver, options));
    events.send(Event::RunStarted {
        command: command.to_owned(),
        cluster: setup.wanted.cluster.to_string(),
        hosts: setup
            .wanted
            .hosts
            .iter()
            .map(|host| host.host.name.clone())
            .filter(|name| setup.options.hosts.contains(name))
            .collect(),
    });
    let stop = Stop::default();
    let watching = tokio::spawn(watch_for_stop(stop.clone(), events.clone(), inventory.to_owned()));
    let result = engine::up(&setup.wanted, &setup.marker, &setup.options, &events, &stop, || {
        setup.secrets.save(&setup.folder).map_err(EngineError::from)
    })
    .await;
    watching.abort();
    // The abort drops the task's sender; the report ends when the last one is gone.
    let _ = watching.await;
    if let Ok(outcome) = &result {
        events.send(Event::RunFinished {
            outcome: outcome.hosts.clone(),
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            notes: notes(outcome, inventory),
        });
    }
    drop(events);
    run::write_timings(args.timings.as_deref(), &printing.await?);
    Ok(result?)
}

/// The first Ctrl-C lets the stage in hand end, the second leaves at once.
async fn watch_for_stop(stop: Stop, events: Events, inventory: PathBuf) {
    let mut asked = false;
    loop {
        tokio::select! {
            signal = tokio::signal::ctrl_c() => if signal.is_err() { return },
            () = events.wait_output_closed(), if !asked => {}
        }
        if asked {
            // 128 + SIGINT, as shells report it. Scripts on the hosts run to the end of their stage.
            std::process::exit(130);
        }
        asked = true;
        stop.request();
        let message = format!(
            "stopping when the steps in hand have ended; `bootstrap up {}` carries on from there. \
             Ctrl-C again leaves at once",
            inventory.display()
        );
        events.send(Event::Warning { host: None, message });
    }
}

/// What stands, what was not done, and the next command.
fn notes(outcome: &Outcome, inventory: &Path) -> Vec<String> {
    let mut notes = outcome.notes.clone();
    notes.extend(outcome.held_back.iter().map(|held| format!("not done: {held}")));
    if outcome.stopped || !outcome.failures.is_empty() || outcome.unhealthy.is_some() {
        notes.push(format!("next: bootstrap up {}", inventory.display()));
    }
    notes
}
