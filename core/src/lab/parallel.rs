//! The same work for many hosts at once.

use std::thread;

use super::Error;
use super::layout::LabHost;

/// Hosts that are worked on at the same time: more only wait for each other.
const AT_ONCE: usize = 16;

/// Does `work` for all hosts; after all are done the first error in their order.
pub fn each(hosts: &[LabHost], work: impl Fn(LabHost) -> Result<(), Error> + Sync) -> Result<(), Error> {
    let work = &work;
    for hosts in hosts.chunks(AT_ONCE) {
        let results: Vec<_> = thread::scope(|scope| {
            let working: Vec<_> = hosts.iter().map(|&host| scope.spawn(move || work(host))).collect();
            working.into_iter().map(join).collect()
        });
        results.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

/// The thread's result; its panic goes on here.
pub fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
