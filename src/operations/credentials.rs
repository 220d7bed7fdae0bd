//! What a member of a cluster keeps for whoever governs it.

use super::observed_hosts::ObservedHosts;
use crate::engine::{EngineError, Options, file};
use crate::model::{Check, Finding, HostName};

impl ObservedHosts {
    /// The credentials of the first member that has them, with its name; `None` if the inventory has no such cluster.
    ///
    /// # Errors
    /// Nobody has them.
    pub async fn credentials(&self, options: &Options) -> Result<Option<(HostName, String)>, EngineError> {
        let mut last = None;
        for cluster in &self.observed.clusters {
            let Some(path) = cluster.gate.credentials() else { continue };
            // Those that are well first.
            let mut hosts: Vec<_> = cluster.expected.asked.iter().collect();
            hosts.sort_by_key(|host| !cluster.answers.get(*host).is_some_and(Result::is_ok));
            for host in hosts {
                let Some(connection) = self.fleet.connections.get(host) else { continue };
                last = Some(cluster.gate);
                if let Some(text) = file::read(connection, path, options).await {
                    return Ok(Some((host.clone(), text)));
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
