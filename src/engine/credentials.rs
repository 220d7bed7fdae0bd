//! What a member of a cluster keeps for whoever governs it.

use super::snapshot::Keeper;
use super::{EngineError, Options};
use crate::inventory::HostName;
use crate::preflight::{Check, Finding};
use crate::script::{Arg, Call, Nonce, Observation, Script};

const PROBE: &str = "credentials";

impl Keeper {
    /// The credentials of the first member that has them, with its name; `None` if the inventory has no such cluster.
    ///
    /// # Errors
    /// Nobody has them.
    pub async fn credentials(&self, options: &Options) -> Result<Option<(HostName, String)>, EngineError> {
        let mut last = None;
        for heard in &self.observed.heard {
            let Some(path) = heard.gate.credentials() else { continue };
            // Those that are well first.
            let mut hosts: Vec<_> = heard.expected.asked.iter().collect();
            hosts.sort_by_key(|host| !heard.answers.get(*host).is_some_and(Result::is_ok));
            for host in hosts {
                let Some(connection) = self.fleet.connections.get(host) else { continue };
                let path = Arg::new(path).expect("a literal path");
                let call = (crate::plan::StepId(PROBE.to_owned()), Call::new("file_read", [path]));
                let script = Script::ask(&Nonce::random(), &[call]);
                last = Some(heard.gate);
                let Ok(records) = connection.run(&script, options.script_timeout, |_| ()).await else {
                    continue;
                };
                if let Some(text) = Observation::new(&records).of(PROBE).text("body") {
                    return Ok(Some((host.clone(), text.to_owned())));
                }
            }
        }
        match last {
            None => Ok(None),
            Some(gate) => Err(EngineError::Unfit(vec![Finding::error(
                Check::Agent,
                Vec::new(),
                format!("{}: no host has credentials yet", gate.name()),
                "`bootstrap up` makes the cluster first".to_owned(),
            )])),
        }
    }
}
