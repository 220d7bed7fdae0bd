//! What an operator gets of a command that changes hosts: what it does, on the terminal and in a log; Ctrl-C that lets the
//! step in hand end; a question where something may be lost; a summary; the page of `--timings`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::{Global, ask, explain, run};
use crate::model::Event;
use crate::operations::{COMMANDS, Door, EngineError, Operation, Outcome, Stop, change};
use crate::report::{Events, Output, RenderOptions, RunLog, events, init_tracing, render};

/// A command of the command line, and what it was told.
pub struct Session<'a> {
    /// One of [`COMMANDS`].
    pub command: &'static str,
    pub inventory: &'a Path,
    pub setup: &'a run::Setup,
    pub global: &'a Global,
    /// The operator has said so already.
    pub yes: bool,
    /// The page of `--timings`.
    pub timings: Option<&'a Path>,
    /// Another run follows where this one did what it could: then that one says how to go on.
    pub is_followed: bool,
}

impl<'a> Session<'a> {
    pub fn new(
        command: &'static str,
        inventory: &'a Path,
        setup: &'a run::Setup,
        global: &'a Global,
    ) -> Self {
        debug_assert!(COMMANDS.contains(&command), "{command} is none of the commands that change hosts");
        Self { command, inventory, setup, global, yes: false, timings: None, is_followed: false }
    }

    /// Takes an operation through the door.
    pub fn change(&self, operation: &mut impl Operation) -> anyhow::Result<Outcome> {
        let Self { command, inventory, setup, global, .. } = *self;
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
            options.log = Some(log.clone());
            options.timings = run::timings(self.timings)?;
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
            let ask = |question: &str| self.ask(question);
            let door = Door { run: setup.run(&events, &stop), ask: &ask, log: &log };
            let result = change(door, operation).await;
            watching.abort();
            // The abort drops the task's sender; the report ends when the last one is gone.
            let _ = watching.await;
            if let Ok(outcome) = &result {
                events.send(Event::RunFinished {
                    stopped: outcome.stopped,
                    unwell: outcome.unhealthy.clone().filter(|_| !outcome.stopped),
                    outcome: outcome.hosts.clone(),
                    elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    notes: notes(outcome, command, inventory, self.is_followed),
                });
            }
            drop(events);
            run::write_timings(self.timings, &printing.await?);
            let outcome = result?;
            explain::point_to(explain::Section::of_outcome(&outcome), global);
            Ok(outcome)
        })
    }

    fn ask(&self, question: &str) -> Result<(), EngineError> {
        let cluster = self.setup.wanted.cluster.as_str();
        if self.yes || ask::confirmed(question, cluster)? {
            return Ok(());
        }
        Err(EngineError::Unconfirmed("that is not the cluster's name: nothing was changed".to_owned()))
    }
}

/// Waits for what asks a program to end: Ctrl-C, the end of its service or machine, a terminal that closes.
async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => return result,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// The first such signal lets the stage in hand end, the second leaves at once.
async fn watch_for_stop(stop: Stop, events: Events, command: String, inventory: PathBuf) {
    let mut asked = false;
    loop {
        tokio::select! {
            signal = asked_to_end() => if signal.is_err() { return },
            () = events.wait_output_closed(), if !asked => {}
        }
        if asked {
            // 128 + SIGINT, as shells report it. Scripts on the hosts run to the end of their stage.
            std::process::exit(Exit::Interrupted as i32);
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
fn notes(outcome: &Outcome, command: &str, inventory: &Path, is_followed: bool) -> Vec<String> {
    let exec = format!("bootstrap exec {}", inventory.display());
    let mut notes: Vec<String> =
        outcome.notes.iter().map(|note| note.replace("bootstrap exec INVENTORY", &exec)).collect();
    if !outcome.pending.is_empty() {
        let pending = outcome.pending.join("\n");
        notes.push(format!("{pending}\n`bootstrap up {}` does it", inventory.display()));
    }
    notes.extend(outcome.held_back.iter().map(|held| format!("not done: {held}")));
    let goes_on = is_followed && matches!(Exit::of(outcome), Exit::Done | Exit::Unreachable);
    let is_over = !outcome.stopped && outcome.failures.is_empty() && outcome.unhealthy.is_none();
    if !is_over && !goes_on {
        notes.push(format!("next: {}", next(command, inventory).trim_matches('`')));
    }
    notes
}

/// What goes on where this run ended: most commands change hosts as `up` does.
fn next(command: &str, inventory: &Path) -> String {
    match command {
        "add-node" | "remove-node" | "replace-node" | "forget" | "recover" | "down" | "certs renew"
        | "snapshot restore" | "drill" => {
            format!("the same `bootstrap {command}` again")
        }
        _ => format!("`bootstrap up {}`", inventory.display()),
    }
}
