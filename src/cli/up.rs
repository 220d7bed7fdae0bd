//! `bootstrap up`: bare hosts to a running cluster.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::exit::{Exit, INTERRUPTED};
use super::history::History;
use super::{Global, Reach, explain, load, problems, run};
use crate::engine::{self, EngineError, Options, Outcome, Run, Stop};
use crate::inventory::yaml;
use crate::model::Event;
use crate::plan::Share;
use crate::report::{Events, Output, RenderOptions, RunLog, events, init_tracing, render};

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
    /// Interrupt so many clients at once: a number, or a part of them. Servers always go one at a time.
    #[arg(long, value_name = "N|N%", default_value = "10%")]
    pub batch: Share,
    /// Go back to the inventory that the last run before this one brought the hosts to. The file itself stays.
    #[arg(long)]
    pub rollback: bool,
    #[command(flatten)]
    pub reach: Reach,
}

impl UpArgs {
    /// Another command's: all as usual.
    pub fn of(inventory: PathBuf, reach: Reach) -> Self {
        Self { inventory, timings: None, batch: Share::default(), rollback: false, reach }
    }
}

pub fn run(args: &UpArgs, global: &Global, password: Option<String>) -> anyhow::Result<Exit> {
    let text = yaml::read(&args.inventory).map_err(|problem| problems::refuse(*problem, global))?;
    let loaded = load::parse(&text, &args.inventory, global)?;
    let password = run::become_password(&args.reach, password)?;
    let history = History::new(&run::folder(&loaded.inventory));
    let (text, loaded) = if args.rollback {
        let before = history.before(&text)?;
        eprintln!("Back to what was brought up {}:\n{}", before.when, before.difference(&text));
        let loaded = load::parse(&before.text, &args.inventory, global)?;
        (before.text, loaded)
    } else {
        (text, loaded)
    };
    let setup = run::Setup::new(&loaded, &args.reach, password)?;
    let exit = bring_up("up", args, global, &setup)?;
    // A part of the hosts is no state of the whole.
    if exit == Exit::Done && args.reach.limit.is_empty() {
        history.remember(&text);
    }
    if args.rollback {
        eprintln!(
            "{} still says the newer: the next `up` without --rollback goes there again",
            args.inventory.display()
        );
    }
    Ok(exit)
}

/// Brings every host to what `setup` wants, for a command that is called `command`.
pub fn bring_up(command: &str, args: &UpArgs, global: &Global, setup: &run::Setup) -> anyhow::Result<Exit> {
    let options = Options { share: args.batch, ..setup.options.clone() };
    let work = async |events: &Events, stop: &Stop| {
        engine::up(Run { options: &options, ..setup.run(events, stop) }, || {
            setup.secrets.save(&setup.folder).map_err(EngineError::from)
        })
        .await
    };
    let outcome = reported(command, &args.inventory, args.timings.as_deref(), global, setup, work)?;
    Ok(Exit::of(&outcome))
}

/// Runs `work` with all that an operator gets of a run: what it does on the terminal and in a log, Ctrl-C that lets
/// the step in hand end, a summary, the page of `--timings`.
pub fn reported(
    command: &str,
    inventory: &Path,
    timings: Option<&Path>,
    global: &Global,
    setup: &run::Setup,
    work: impl AsyncFnOnce(&Events, &Stop) -> Result<Outcome, EngineError>,
) -> anyhow::Result<Outcome> {
    let log = RunLog::create(&setup.folder.join("logs"), command)
        .with_context(|| format!("cannot write a run log below {}", setup.folder.display()))?;
    init_tracing(global.verbose, global.color_on_stderr(), Some(&log));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let started = Instant::now();
        let (events, receiver) = events();
        let terminal = console::Term::stderr().is_term();
        let mut options = RenderOptions::new(Output::choose(global.json(), global.verbose, terminal));
        options.color = global.color_on_stderr();
        options.verbose = global.verbose > 0;
        options.log = Some(log);
        options.timings = run::timings(timings)?;
        let printing = tokio::spawn(render(receiver, options));
        let hosts = setup.wanted.hosts.iter().map(|host| host.host.name.clone());
        events.send(Event::RunStarted {
            command: command.to_owned(),
            cluster: setup.wanted.cluster.to_string(),
            hosts: hosts.filter(|name| setup.options.hosts.contains(name)).collect(),
        });
        let stop = Stop::default();
        let watching = tokio::spawn(watch_for_stop(
            stop.clone(),
            events.clone(),
            command.to_owned(),
            inventory.to_owned(),
        ));
        let result = work(&events, &stop).await;
        watching.abort();
        // The abort drops the task's sender; the report ends when the last one is gone.
        let _ = watching.await;
        if let Ok(outcome) = &result {
            events.send(Event::RunFinished {
                outcome: outcome.hosts.clone(),
                elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                notes: notes(outcome, command, inventory),
            });
        }
        drop(events);
        run::write_timings(timings, &printing.await?);
        let outcome = result?;
        explain::point_to(explain::Section::of_outcome(&outcome), global);
        Ok(outcome)
    })
}

/// The first Ctrl-C lets the stage in hand end, the second leaves at once.
async fn watch_for_stop(stop: Stop, events: Events, command: String, inventory: PathBuf) {
    let mut asked = false;
    loop {
        tokio::select! {
            signal = tokio::signal::ctrl_c() => if signal.is_err() { return },
            () = events.wait_output_closed(), if !asked => {}
        }
        if asked {
            // 128 + SIGINT, as shells report it. Scripts on the hosts run to the end of their stage.
            std::process::exit(INTERRUPTED);
        }
        asked = true;
        stop.request();
        let message = format!(
            "stopping when the steps in hand have ended; {} carries on from there. Ctrl-C again leaves at once",
            next(&command, &inventory)
        );
        events.send(Event::Warning { host: None, message });
    }
}

/// What stands, what was not done, and the next command.
fn notes(outcome: &Outcome, command: &str, inventory: &Path) -> Vec<String> {
    let mut notes = outcome.notes.clone();
    notes.extend(outcome.held_back.iter().map(|held| format!("not done: {held}")));
    if outcome.stopped || !outcome.failures.is_empty() || outcome.unhealthy.is_some() {
        notes.push(format!("next: {}", next(command, inventory).trim_matches('`')));
    }
    notes
}

/// What goes on where this run ended: most commands change hosts as `up` does.
fn next(command: &str, inventory: &Path) -> String {
    match command {
        "remove-node" | "replace-node" | "recover" | "down" | "certs renew" | "snapshot restore" => {
            format!("the same `bootstrap {command}` again")
        }
        _ => format!("`bootstrap up {}`", inventory.display()),
    }
}
