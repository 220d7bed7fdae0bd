//! How many hosts can be worked on at once with the open files that this machine allows a process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::exit::UsageError;

/// Those of the program itself: terminal, log, runtime, what is read meanwhile.
const OWN: usize = 40;
/// Of a host that is connected, as long as the run lasts.
const CONNECTED: usize = 1;
/// Of one that is worked on, besides: the pipes of its session, and of the ssh that connects to it.
const WORKED_ON: usize = 8;
/// Below this nothing would be seen to move.
const LEAST: usize = 4;

/// How many of `hosts` can be worked on at once, at most `wanted`. Allows itself more open files where the machine lets it.
///
/// # Errors
/// Too few open files for any sensible number.
pub fn parallel(hosts: usize, wanted: usize) -> Result<usize, UsageError> {
    let at_once = wanted.min(hosts);
    let needed = needed(hosts, at_once);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(wanted) };
    let allowed = match (needed as u64) <= soft {
        true => soft,
        // No more than that: some programs that are started close as many as they may have.
        false => {
            let more = hard.min(needed as u64);
            if setrlimit(Resource::RLIMIT_NOFILE, more, hard).is_ok() { more } else { soft }
        }
    };
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let parallel = fitting(hosts, wanted, allowed).ok_or_else(|| {
        UsageError(format!(
            "this machine lets a process open {allowed} files, and {hosts} hosts need {} or more: `ulimit -n {needed}` before it, by \
             root where it is refused; or take a part of the hosts, by `--limit` or `up --shard`",
            self::needed(hosts, LEAST.min(hosts))
        ))
    })?;
    if parallel < at_once {
        eprintln!(
            "warning: this machine lets a process open {allowed} files: {parallel} hosts are worked on at once instead of {at_once}; \
             `ulimit -n {needed}` before it changes that"
        );
    }
    Ok(parallel)
}

fn needed(hosts: usize, at_once: usize) -> usize {
    OWN + hosts * CONNECTED + at_once * WORKED_ON
}

/// `None`: there are too few.
fn fitting(hosts: usize, wanted: usize, allowed: usize) -> Option<usize> {
    let at_once = allowed.checked_sub(needed(hosts, 0))? / WORKED_ON;
    (at_once >= LEAST.min(hosts).min(wanted)).then(|| at_once.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_are_files_for() {
        for (hosts, wanted, allowed, expected) in [
            (3, 100, 1024, Some(100)),
            (100, 100, 1024, Some(100)),
            (100, 100, 256, Some(14)),
            (1000, 100, 1024, None),
            (1000, 100, 2048, Some(100)),
            (1000, 100, 1100, Some(7)),
            // Who wants one at a time gets that.
            (100, 1, 150, Some(1)),
            (3, 100, 60, None),
        ] {
            assert_eq!(fitting(hosts, wanted, allowed), expected, "{hosts} {wanted} {allowed}");
        }
    }
}
