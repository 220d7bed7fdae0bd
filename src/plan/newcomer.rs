//! What is done for a host that joins, and what is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{HostName, Plan, Step, StepId};
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
        let listing: BTreeMap<&HostName, BTreeSet<StepId>> =
            wanted.hosts.iter().map(|host| (&host.host.name, lists(host, &self, address))).collect();
        let takes = |host: &HostName, step: &Step| {
            host == newcomer || listing.get(host).is_some_and(|ids| ids.contains(&step.id))
        };
        let own = Self { jobs: Vec::new(), ..self.clone() }.those(takes);
        (own, self.those(|host, step| !takes(host, step)))
    }
}

/// The steps of a host that write a list of hosts anew, now with this address.
fn lists(host: &WantedHost, plan: &Plan, address: Option<IpAddr>) -> BTreeSet<StepId> {
    let Some(address) = address.map(|address| address.to_string()) else { return BTreeSet::new() };
    let names_it = |id: &StepId| {
        let of_host = plan.steps().filter(|(name, step)| **name == host.host.name && step.id == *id);
        let diffs = of_host.filter_map(|(_, step)| step.change.diff.as_deref());
        diffs.flat_map(str::lines).any(|line| line.starts_with('+') && has_word(line, &address))
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
