//! What is done for a host that joins or leaves, and what is left as it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::{HostName, JobPlan, Plan, Step, StepId};
use crate::resource::{Resource, Unit};
use crate::roles::{Wanted, WantedHost};

impl Plan {
    /// The part of it that brings a host in, and the rest.
    ///
    /// On the others only that changes without which the host could not do its work: files that a role names under
    /// `lists_hosts`, where they are to have the host's address, and the units that watch them. All other lists of hosts may
    /// stay as they are until the next `up`. Who joins asks the members, and they tell each other: an agent reads whom to
    /// join by (`retry_join`) at its own next start alone; how many servers are waited for (`bootstrap_expect`) counts until
    /// there is a first leader, and never again; below how many autopilot takes no dead server away (`min_quorum`) is
    /// taken over when the first leader starts, and a cluster keeps it. A load balancer that lacks the new server leads
    /// to the others.
    #[must_use]
    pub fn for_newcomer(self, wanted: &Wanted, newcomer: &HostName, address: Option<IpAddr>) -> (Self, Self) {
        let listing = self.lists(wanted, address.as_slice());
        let takes = |host: &HostName, step: &Step| host == newcomer || listing.contains(&key(host, step));
        let own = Self { jobs: Vec::new(), ..self.clone() }.those(takes);
        // What the newcomer shows is among it.
        (own, Self { access: Vec::new(), ..self.those(|host, step| !takes(host, step)) })
    }

    /// The part of it that follows from hosts that came or went, by their addresses, and the rest: what waited before that. Lists of
    /// hosts without which others could not work are not left, as in [`Self::for_newcomer`].
    #[must_use]
    pub fn without_waiting(
        self,
        waits: &BTreeSet<(HostName, StepId)>,
        wanted: &Wanted,
        addresses: &[IpAddr],
    ) -> (Self, Self) {
        let listing = self.lists(wanted, addresses);
        let waits = |host: &HostName, step: &Step| {
            waits.contains(&key(host, step)) && !listing.contains(&key(host, step))
        };
        let (left, jobs) = self.jobs.iter().cloned().partition(JobPlan::is_change);
        let rest = Self { access: Vec::new(), jobs: left, ..self.clone().those(waits) };
        (Self { jobs, ..self.those(|host, step| !waits(host, step)) }, rest)
    }

    /// The steps that write lists of hosts anew, now with one of these addresses, or without.
    pub fn lists(&self, wanted: &Wanted, addresses: &[IpAddr]) -> BTreeSet<(HostName, StepId)> {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let of_host = |host: &WantedHost| {
            lists(host, self, &addresses)
                .into_iter()
                .map(|id| (host.host.name.clone(), id))
                .collect::<Vec<_>>()
        };
        wanted.hosts.iter().flat_map(of_host).collect()
    }
}

fn key(host: &HostName, step: &Step) -> (HostName, StepId) {
    (host.clone(), step.id.clone())
}

/// Those of one host.
fn lists(host: &WantedHost, plan: &Plan, addresses: &[String]) -> BTreeSet<StepId> {
    let names_one =
        |line: &str| line.starts_with(['+', '-']) && addresses.iter().any(|address| has_word(line, address));
    let names_it = |id: &StepId| {
        let of_host = plan.steps().filter(|(name, step)| **name == host.host.name && step.id == *id);
        let diffs = of_host.filter_map(|(_, step)| step.change.diff.as_deref());
        diffs.flat_map(str::lines).any(names_one)
    };
    let mut ids = BTreeSet::new();
    for role in &host.roles {
        let files: Vec<&Resource> = role
            .resources
            .iter()
            .filter(|resource| {
                resource.path().is_some_and(|path| role.lists_hosts.iter().any(|list| list == path))
            })
            .filter(|resource| names_it(&resource.id()))
            .collect();
        let watches = |unit: &Unit| {
            let mut watched = unit.restart_on.iter().chain(&unit.reload_on);
            watched.any(|path| files.iter().any(|file| file.path() == Some(path.as_str())))
        };
        let units = role.resources.iter().filter(|resource| resource.unit().as_ref().is_some_and(watches));
        ids.extend(units.chain(files.iter().copied()).map(Resource::id));
    }
    ids
}

/// Whether a line has an address that is not a part of a longer one.
fn has_word(line: &str, address: &str) -> bool {
    // A port may follow one of IPv4; one of IPv6 has brackets then.
    let inside = if address.contains(':') { ".:" } else { "." };
    line.split(|c: char| !(c.is_ascii_alphanumeric() || inside.contains(c))).any(|word| word == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_whole() {
        for (line, address, found) in [
            ("+        10.77.0.14", "10.77.0.14", true),
            ("+10.244.14.0/24 via 10.77.0.14", "10.77.0.14", true),
            ("+/srv/data 10.77.0.14(rw,sync)", "10.77.0.14", true),
            ("+\tClients = 10.77.0.11, 10.77.0.14;", "10.77.0.14", true),
            ("+        10.77.0.14", "10.77.0.1", false),
            ("+        110.77.0.14", "10.77.0.14", false),
            ("+        fd00::1:4", "fd00::1", false),
            ("+        fd00::1", "fd00::1", true),
            ("+a=https://[fd00::1]:2380,b=https://10.77.0.14:2380", "fd00::1", true),
            ("+a=https://[fd00::1]:2380,b=https://10.77.0.14:2380", "10.77.0.14", true),
        ] {
            assert_eq!(has_word(line, address), found, "{address} in {line}");
        }
    }
}
