//! The connections of a run.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;

use super::{BecomePassword, ConnectOptions, Connection, Error, Target};
use crate::model::HostName;

/// Open connections by host; a host that could not be reached is not in it.
#[derive(Debug, Default)]
pub struct Sessions {
    open: BTreeMap<HostName, Connection>,
}

impl Sessions {
    /// How many hosts connect at once unless the user says otherwise.
    pub const PARALLEL: usize = 100;

    /// Connects to all targets, at most `parallel` at a time. `on_host` hears of each as it is decided.
    pub async fn open(
        targets: &[Target],
        options: &ConnectOptions,
        password: Option<&BecomePassword>,
        parallel: usize,
        mut on_host: impl FnMut(&HostName, Result<(), &Error>),
    ) -> (Self, BTreeMap<HostName, Error>) {
        Connection::sweep(options);
        let mut sessions = Self::default();
        let mut failed = BTreeMap::new();
        let one = |target| async move { (target, Connection::open(target, options, password).await) };
        // Gathered first: a stream that still maps references is not `Send`.
        let opening: Vec<_> = targets.iter().map(one).collect();
        let mut decided = stream::iter(opening).buffer_unordered(parallel.max(1));
        while let Some((Target { host, .. }, opened)) = decided.next().await {
            on_host(host, opened.as_ref().map(|_| ()));
            match opened {
                Ok(connection) => drop(sessions.open.insert(host.clone(), connection)),
                Err(error) => drop(failed.insert(host.clone(), error)),
            }
        }
        (sessions, failed)
    }

    pub fn of(&self, host: &HostName) -> Option<&Connection> {
        self.open.get(host)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HostName, &Connection)> {
        self.open.iter()
    }

    /// Takes a connection out, to close it or when it is lost.
    pub fn remove(&mut self, host: &HostName) -> Option<Connection> {
        self.open.remove(host)
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Closes all connections; what goes wrong at that is not worth a failed run.
    pub async fn close(self) {
        let closing = self.open.into_values().map(Connection::close);
        stream::iter(closing)
            .buffer_unordered(Self::PARALLEL)
            .for_each(async |closed| {
                if let Err(error) = closed {
                    tracing::debug!(host = %error.host(), %error, "not closed");
                }
            })
            .await;
    }
}
