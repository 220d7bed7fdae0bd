//! A command of the operator on a host that has what it needs there.

use super::Run;
use super::agents::{agents, connect};
use crate::engine::{EngineError, HostFailure};
use crate::model::{Check, Finding, HostName};
use crate::products::Client;
use crate::roles::WantedHost;

/// How a command of the operator ended.
#[derive(Debug)]
pub struct Executed {
    /// `None`: a signal ended it.
    pub status: Option<i32>,
    /// The last that it said on stderr.
    pub said: String,
}

/// Runs a command as root on `host`, or else on the first that answers of those whose agent it is for; the products' own programs find their
/// agents by variables. `on_line` hears what it prints.
///
/// # Errors
/// There is no such host, or none answers.
pub async fn execute(
    run: Run<'_>,
    host: Option<&HostName>,
    words: &[String],
    mut on_line: impl FnMut(&[u8]),
) -> Result<Executed, EngineError> {
    let mut places = places(run, host);
    // Those first for whose agents it is.
    let program = words.first().map_or("", String::as_str);
    places.sort_by_key(|(_, clients)| !clients.iter().any(|client| client.program == program));
    if places.is_empty() {
        let reason = match host {
            Some(host) => format!("the inventory has no host `{host}`"),
            None => "no host of the inventory has an agent".to_owned(),
        };
        let help = "`bootstrap check` lists the hosts of an inventory".to_owned();
        return Err(EngineError::Unfit(vec![Finding::error(Check::Agent, Vec::new(), reason, help)]));
    }
    let mut silent = Vec::new();
    for (wanted, clients) in places {
        let connection = match connect(run, wanted).await {
            Ok(connection) => connection,
            Err(finding) => {
                silent.push(finding);
                continue;
            }
        };
        let variables: Vec<_> = clients.into_iter().flat_map(|client| client.variables).collect();
        let executed = connection.execute(&variables, words, &mut on_line).await;
        let (status, said) = executed.map_err(|source| {
            let failure = HostFailure::Link { doing: "running it".to_owned(), source };
            EngineError::Unfit(vec![failure.finding(&wanted.host.name)])
        })?;
        // What the host did is done, however its connection ends.
        let _ = connection.close().await;
        return Ok(Executed { status, said });
    }
    Err(EngineError::Unfit(silent))
}

/// Hosts with the programs that find an agent there, servers first.
fn places<'w>(run: Run<'w>, named: Option<&HostName>) -> Vec<(&'w WantedHost, Vec<Client>)> {
    let mut found: Vec<(&WantedHost, Vec<Client>)> = Vec::new();
    let taking_part = |wanted: &WantedHost| match named {
        Some(named) => wanted.host.name == *named,
        None => run.options.hosts.contains(&wanted.host.name),
    };
    for (gate, wanted, endpoint) in agents(run).filter(|(_, wanted, _)| taking_part(wanted)) {
        let Some(mut client) = gate.product().client(endpoint) else { continue };
        // What changes everything is shown to servers alone: they know it anyway.
        let tokens = &endpoint.tokens;
        let token = if gate.has_raft() { &tokens.manage } else { &tokens.observe };
        if let (Some(name), Some(token)) = (gate.product().token_variable(), token) {
            client.variables.push((name, token.reveal().to_owned()));
        }
        match found.iter_mut().find(|(known, _)| known.host.name == wanted.host.name) {
            Some((_, clients)) if clients.contains(&client) => {}
            Some((_, clients)) => clients.push(client),
            None => found.push((wanted, vec![client])),
        }
    }
    if let (Some(named), true) = (named, found.is_empty()) {
        found.extend(run.wanted.host(named).map(|wanted| (wanted, Vec::new())));
    }
    found
}
