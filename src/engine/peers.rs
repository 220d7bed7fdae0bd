//! One more session on every host, all at the same time: ports are tried between hosts.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::members::members;
use super::{Fleet, Run, observe};
use crate::model::StepId;
use crate::plan::Seen;
use crate::preflight::Subject;
use crate::preflight::peers::{PortProbes, ProbeResult};
use crate::script::{Nonce, Observation, Script};

const PROBE: &str = "preflight peers";

pub(crate) async fn try_ports(fleet: &Fleet, run: Run<'_>, seen: &Seen) -> ProbeResult {
    let gates = members(run.wanted);
    let subjects: Vec<Subject<'_>> = run
        .wanted
        .hosts
        .iter()
        .filter_map(|wanted| Some((wanted, seen.hosts.get(&wanted.host.name)?)))
        .map(|(wanted, seen)| observe::subject(&gates, wanted, seen, None))
        .collect();
    let visits = PortProbes::new(&subjects, &seen.addresses);
    let token = Nonce::random();
    let calls = visits.calls(token.as_str());
    // Not `parallel` at a time: they wait for one another.
    let sessions = calls.into_iter().filter_map(|(host, call)| {
        let connection = fleet.connections.get(&host)?;
        let script = Script::ask(&Nonce::random(), &[(StepId(PROBE.to_owned()), call)]);
        Some(async move {
            let records = connection.run(&script, run.options.script_timeout, |_| ()).await;
            (host, records.map(|records| Observation::new(&records)).map_err(|error| error.to_string()))
        })
    });
    let said: BTreeMap<_, Result<Observation, String>> = join_all(sessions).await.into_iter().collect();
    let said = said
        .iter()
        .map(|(host, said)| {
            let fields = said.as_ref().map(|observation| observation.of(PROBE));
            (host.clone(), fields.map_err(Clone::clone))
        })
        .collect();
    visits.judge(&said)
}
