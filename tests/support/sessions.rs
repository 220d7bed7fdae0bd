//! Many connections at once, as a run opens them.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use bootstrap::model::HostName;
use bootstrap::ssh::{BecomePassword, ConnectOptions, Connection, Error, Target};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

/// Open connections by host; a host that could not be reached is not in it.
#[derive(Default)]
pub struct Sessions(BTreeMap<HostName, Connection>);

impl Sessions {
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
        let mut decided = stream::iter(opening).buffer_unordered(parallel);
        while let Some((Target { host, .. }, opened)) = decided.next().await {
            on_host(host, opened.as_ref().map(|_| ()));
            match opened {
                Ok(connection) => drop(sessions.0.insert(host.clone(), connection)),
                Err(error) => drop(failed.insert(host.clone(), error)),
            }
        }
        (sessions, failed)
    }

    pub fn of(&self, host: &HostName) -> Option<&Connection> {
        self.0.get(host)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HostName, &Connection)> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub async fn close(self) {
        for closed in join_all(self.0.into_values().map(Connection::close)).await {
            closed.expect("a connection that closes");
        }
    }
}
