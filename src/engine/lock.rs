//! Hosts that another run works on, and letting go of those that this one worked on.
//!
//! The lock itself is taken by apply scripts and kept between them by a process on the host, which ends
//! with the connection. Where the connection is kept for the next command, somebody must say so.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{EngineError, Fleet, Options};
use crate::model::{Call, HostName, Plan, StepId};
use crate::plan::{HostSeen, Seen};
use crate::script::{Nonce, Script};

/// The probe that tells who holds the lock.
pub(crate) const PROBE: &str = "lock";

/// Refuses to begin while another run works on one of the hosts. A run of this machine that was killed
/// is none: what it left on a kept connection goes.
pub(crate) async fn refuse_others(fleet: &Fleet, seen: &Seen, options: &Options) -> Result<(), EngineError> {
    let holder = |state: &HostSeen| state.observation.of(PROBE).text("holder").map(str::to_owned);
    let held = seen.hosts.iter().filter_map(|(host, state)| Some((host.clone(), holder(state)?)));
    let (dead, living): (Vec<_>, Vec<_>) = held.partition(|(host, holder)| {
        let kept = fleet.connections.get(host).is_some_and(crate::ssh::Connection::is_kept);
        kept && has_ended(holder, &options.holder.who)
    });
    if !living.is_empty() {
        return Err(EngineError::Locked(living));
    }
    let dead: BTreeSet<HostName> = dead.into_iter().map(|(host, _)| host).collect();
    drop_locks(fleet, &dead, options).await;
    Ok(())
}

/// Lets go of the hosts' locks where the connection, with which they would go, is kept.
pub(crate) async fn release(fleet: &Fleet, plan: &Plan, options: &Options) {
    let batches = plan.stages.iter().flat_map(|stage| &stage.batches);
    let changed = batches.flat_map(|batch| batch.steps.keys().cloned());
    let_go(fleet, &changed.collect(), options).await;
}

/// The same of some hosts.
pub(crate) async fn let_go(fleet: &Fleet, hosts: &BTreeSet<HostName>, options: &Options) {
    let kept = |host: &&HostName| fleet.connections.get(*host).is_some_and(crate::ssh::Connection::is_kept);
    drop_locks(fleet, &hosts.iter().filter(kept).cloned().collect(), options).await;
}

async fn drop_locks(fleet: &Fleet, hosts: &BTreeSet<HostName>, options: &Options) {
    let connections = hosts.iter().filter_map(|host| Some((host, fleet.connections.get(host)?)));
    let dropping = stream::iter(connections).map(|(host, connection)| async move {
        let call = (StepId(PROBE.to_owned()), Call::new("lock_drop", []));
        let script = Script::ask(&Nonce::random(), &[call]);
        if let Err(error) = connection.run(&script, options.timeout, |_| ()).await {
            tracing::debug!(%host, %error, "the lock goes later, by itself");
        }
    });
    dropping.buffer_unordered(options.parallel).collect::<()>().await;
}

/// Whether the run that is named `user@machine pid N since …` was one of this machine and is over.
fn has_ended(holder: &str, own: &str) -> bool {
    let split = |text: &str| text.split_once(" pid ").map(|(who, rest)| (who.to_owned(), rest.to_owned()));
    let (Some((who, rest)), Some((own, _))) = (split(holder), split(own)) else { return false };
    let pid = rest.split(' ').next().and_then(|pid| pid.parse().ok());
    who == own && pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ended_run_of_this_machine_is_over() {
        let own = "ada@laptop pid 1";
        let living = std::process::id();
        let since = "since 2026-01-02T03:04:05Z";
        // Process numbers end below 2^22 on Linux.
        assert!(has_ended(&format!("ada@laptop pid 99999999 {since}"), own));
        assert!(!has_ended(&format!("ada@laptop pid {living} {since}"), own));
        assert!(!has_ended(&format!("ada@desk pid 99999999 {since}"), own));
        assert!(!has_ended("somebody", own));
    }
}
