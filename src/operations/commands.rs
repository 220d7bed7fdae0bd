//! Single commands on a host, beside the steps of a plan.

use std::time::Duration;

use super::observed_hosts::ObservedHosts;
use crate::engine::observe::LEFT_PROBE;
use crate::engine::{EngineError, Run, lock};
use crate::model::{Arg, Call, Event, HostName, StepId};
use crate::script::{Nonce, Observation, Script};

const ANSWER: Duration = Duration::from_secs(60);
const COMMAND: &str = "command";

impl ObservedHosts {
    /// What a command prints on a host.
    pub(super) async fn output(&self, host: &HostName, words: &[String]) -> Result<String, String> {
        let said = self.ask(host, "exec_output", words).await?;
        let fields = said.of(COMMAND);
        match (fields.text("output"), fields.text("failed").or(fields.text("error"))) {
            (Some(output), _) => Ok(output.to_owned()),
            (None, trouble) => {
                Err(format!("{host}: `{}`: {}", words.join(" "), trouble.unwrap_or("no answer").trim()))
            }
        }
    }

    /// Has a host do something.
    pub(super) async fn step(
        &self,
        host: &HostName,
        function: &'static str,
        words: &[String],
    ) -> Result<(), String> {
        match self.ask(host, function, words).await?.of(COMMAND).text("error") {
            Some(trouble) => Err(format!("{host}: `{}`: {}", words.join(" "), trouble.trim())),
            None => Ok(()),
        }
    }

    /// Holds the locks of all hosts, as long as their connections stand.
    pub(super) async fn hold(&self, run: Run<'_>) -> Result<(), String> {
        for (host, connection) in &self.fleet.connections {
            let script = Script::apply(&Nonce::random(), &run.options.holder, &[]);
            let held = connection.run(&script, ANSWER, |_| ()).await;
            held.map_err(|error| format!("{host}: {error}"))?;
        }
        Ok(())
    }

    /// Puts back what a drill that was interrupted has left on hosts; whether there was something.
    pub(super) async fn end_drills(&self, run: Run<'_>) -> Result<bool, EngineError> {
        let hosts = self.observed.seen.hosts.iter();
        let left = hosts.filter(|(_, state)| state.observation.of(LEFT_PROBE).text("left").is_some());
        let left: Vec<&HostName> = left.map(|(host, _)| host).collect();
        if left.is_empty() {
            return Ok(false);
        }
        self.refuse_foreign()?;
        // Whose drill is still at work holds them.
        lock::refuse_others(&self.fleet, &self.observed.seen, run.options).await?;
        for host in left {
            let message = match self.step(host, "drill_end", &[]).await {
                Ok(()) => "what a drill that was interrupted had done is put back".to_owned(),
                Err(reason) => {
                    format!("what a drill that was interrupted had done could not be put back: {reason}")
                }
            };
            run.events.send(Event::Warning { host: Some(host.clone()), message });
        }
        Ok(true)
    }

    async fn ask(
        &self,
        host: &HostName,
        function: &'static str,
        words: &[String],
    ) -> Result<Observation, String> {
        let connection = self.fleet.connections.get(host).ok_or(format!("{host} does not answer"))?;
        let arguments: Result<Vec<Arg>, _> = words.iter().map(|word| Arg::new(word.as_str())).collect();
        let call = Call::new(function, arguments.map_err(|error| error.to_string())?);
        let script = Script::ask(&Nonce::random(), &[(StepId(COMMAND.to_owned()), call)]);
        let records = connection.run(&script, ANSWER, |_| ()).await.map_err(|error| error.to_string())?;
        Ok(Observation::new(&records))
    }
}
