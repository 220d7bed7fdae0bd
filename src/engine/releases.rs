//! Downloads on their way: verified before the plan, brought here before the first change, pushed before the steps
//! that install them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};

use super::{EngineError, Fleet, HostFailure, Run, Stop, elapsed_ms};
use crate::model::{Batch, Event, HostName, Step};
use crate::plan::{Seen, lacking};
use crate::releases;
use crate::report::Events;
use crate::resource::{Verified, Via, pushed_digest};

/// More often nobody can read.
const TICK: Duration = Duration::from_millis(250);

/// Adds what can be known here of the files that hosts lack. Where none lacks any, nothing is asked of any site.
pub(crate) async fn verify(run: Run<'_>, seen: Seen) -> Result<Seen, EngineError> {
    let lacking = lacking(run.wanted, &seen.hosts);
    if lacking.is_empty() {
        return Ok(seen);
    }
    let found = releases::verify(&lacking, &run.options.cache, &run.options.artifacts).await?;
    for message in found.warnings {
        run.events.send(Event::Warning { host: None, message });
    }
    Ok(Seen { downloads: found.files, ..seen })
}

/// The same for a plan that is only looked at: nobody asks a site, and nothing may be installed by it.
pub(crate) fn as_named(run: Run<'_>, seen: Seen) -> Seen {
    let named = |file| (file, Verified { digest: Some("not-asked-for".to_owned()) });
    Seen { downloads: lacking(run.wanted, &seen.hosts).into_iter().map(named).collect(), ..seen }
}

/// Brings to this machine what it will push. When the operator asks to stop, what has come stays for the next run.
pub(crate) async fn fetch(seen: &Seen, run: Run<'_>) -> Result<(), EngineError> {
    for (file, verified) in seen.downloads.iter().filter(|(file, _)| file.via == Via::Controller) {
        let Some(digest) = &verified.digest else { continue };
        let mut transfer = Transfer::new(None, file.name.clone(), run.events);
        let fetching = releases::fetch(file, digest, &run.options.cache, |bytes, total| {
            transfer.progress(bytes, total);
        });
        tokio::select! {
            fetched = fetching => fetched?,
            () = stopped(run.stop) => return Ok(()),
        };
        transfer.finish();
    }
    Ok(())
}

async fn stopped(stop: &Stop) {
    while !stop.requested() {
        tokio::time::sleep(TICK).await;
    }
}

/// Brings the files that steps of this batch install from this machine to their hosts: one more session on hosts
/// that need one.
pub(crate) async fn push(fleet: &mut Fleet, run: Run<'_>, seen: &Seen, batch: &Batch) {
    let sources = sources(run, seen);
    let mut failed = Vec::new();
    {
        let connections = &fleet.connections;
        let sources = &sources;
        let work = batch.steps.iter().flat_map(|(host, steps)| {
            let connection = connections.get(host);
            needed(steps)
                .into_iter()
                .filter_map(move |digest| Some((host, connection?, digest, sources.get(digest)?)))
        });
        let mut pushing = stream::iter(work)
            .map(|(host, connection, digest, source)| async move {
                let mut transfer = Transfer::new(Some(host), source.name.clone(), run.events);
                let total = std::fs::metadata(&source.path).ok().map(|file| file.len());
                let pushed =
                    connection.upload(&source.path, digest, |bytes| transfer.progress(bytes, total)).await;
                if pushed.is_ok() {
                    transfer.finish();
                }
                (host.clone(), &source.name, pushed)
            })
            .buffer_unordered(run.options.parallel);
        while let Some((host, name, result)) = pushing.next().await {
            if let Err(source) = result {
                failed.push((host, HostFailure::Link { doing: format!("pushing {name}"), source }));
            }
        }
    }
    for (host, failure) in failed {
        fleet.set_aside(&host, failure, run.events).await;
    }
}

/// A file on this machine, and its name for people.
struct Source {
    path: PathBuf,
    name: String,
}

/// Everything that may be pushed, by digest.
fn sources(run: Run<'_>, seen: &Seen) -> BTreeMap<String, Source> {
    let resources = run.wanted.hosts.iter().flat_map(|host| &host.roles).flat_map(|role| &role.resources);
    let files = resources.filter_map(|resource| {
        let (file, digest) = (resource.artifact()?, resource.artifact_digest()?);
        let source = Source { path: run.options.artifacts.join(file), name: file.display().to_string() };
        Some((digest.to_owned(), source))
    });
    let fetched = seen.downloads.iter().filter_map(|(file, verified)| {
        let digest = verified.digest.clone()?;
        let source = Source { path: run.options.cache.archive(&digest), name: file.name.clone() };
        Some((digest, source))
    });
    fetched.chain(files).collect()
}

/// Digests of the files that these steps expect on their host.
fn needed(steps: &[Step]) -> BTreeSet<&str> {
    steps.iter().flat_map(|step| &step.change.calls).filter_map(pushed_digest).collect()
}

/// One file on its way, as the events tell it.
struct Transfer<'a> {
    host: Option<&'a HostName>,
    file: String,
    events: &'a Events,
    started: Instant,
    told: Option<Instant>,
    bytes: u64,
    moved: bool,
}

impl<'a> Transfer<'a> {
    fn new(host: Option<&'a HostName>, file: String, events: &'a Events) -> Self {
        Self { host, file, events, started: Instant::now(), told: None, bytes: 0, moved: false }
    }

    fn progress(&mut self, bytes: u64, total: Option<u64>) {
        (self.bytes, self.moved) = (bytes, true);
        if self.told.is_some_and(|told| told.elapsed() < TICK) {
            return;
        }
        self.told = Some(Instant::now());
        let (host, file) = (self.host.cloned(), self.file.clone());
        self.events.send(Event::TransferProgress { host, file, bytes, total });
    }

    /// Nothing is said of what was in place already.
    fn finish(self) {
        if self.moved {
            let (host, file, bytes) = (self.host.cloned(), self.file, self.bytes);
            let elapsed_ms = elapsed_ms(self.started);
            self.events.send(Event::TransferFinished { host, file, bytes, elapsed_ms });
        }
    }
}
