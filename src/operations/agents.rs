//! The agents of an inventory for commands that need one of them alone.

use super::Run;
use crate::engine::HostFailure;
use crate::model::{Endpoint, Finding};
use crate::products::Gate;
use crate::roles::WantedHost;
use crate::ssh::{ConnectOptions, Connection, Target};

/// All of them with their parts, servers before clients.
pub(super) fn agents<'w>(run: Run<'w>) -> impl Iterator<Item = (Gate, &'w WantedHost, &'w Endpoint)> {
    Gate::ALL.into_iter().flat_map(move |gate| {
        let hosts = run.wanted.hosts.iter();
        hosts.filter_map(move |wanted| Some((gate, wanted, wanted.endpoint(gate.name())?)))
    })
}

/// A connection to one host; where there is none, why.
pub(super) async fn connect(run: Run<'_>, wanted: &WantedHost) -> Result<Connection, Finding> {
    let options = ConnectOptions { deadline: run.options.connect_timeout, ..ConnectOptions::default() };
    let opened = Connection::open(&Target::from(&wanted.host), &options, run.options.password.as_ref()).await;
    opened.map_err(|error| HostFailure::Unreachable(error).finding(&wanted.host.name))
}
