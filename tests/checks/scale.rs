//! What a run costs grows in line with its hosts: counted in bytes that are asked of the allocator, and in instructions, which no
//! load of this machine changes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;

use crate::rendered::{addresses, facts, wanted_by};
use crate::shells::{Host, have};
use bootstrap::facts::{ClockOffset, Facts};
use bootstrap::ledger;
use bootstrap::model::Plan;
use bootstrap::plan::{BatchSize, HostSeen, Seen};
use bootstrap::roles::{Formed, RoleSet, Wanted, WantedHost};
use bootstrap::script::{Nonce, Observation, Record, Script};

/// The system's own, counted by thread: tests run beside one another.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is done by the system's allocator; the counter is a plain cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an inventory of so many hosts wants, of which three are servers.
fn wanted_of(hosts: usize, vars: &str, roles: &RoleSet) -> Wanted {
    let mut text = format!("cluster: big\n{vars}hosts:\n");
    for number in 0..hosts {
        let own = if number < 3 {
            "consul-server, nomad-server"
        } else {
            "consul-client, nomad-client, docker, dns"
        };
        let (third, last) = (number / 250, number % 250 + 1);
        writeln!(text, "  n{number}: {{ address: 10.0.{third}.{last}, roles: [{own}] }}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    std::fs::write(&path, text).unwrap();
    wanted_by(&path, roles)
}

/// Bytes that reading, checking and rendering an inventory of so many hosts asks for.
fn bytes(hosts: usize, roles: &RoleSet) -> usize {
    let before = ASKED.get();
    let wanted = wanted_of(hosts, "", roles);
    let (addresses, facts) = (addresses(&wanted), facts());
    let wanted = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).ok().unwrap();
    let everyone = wanted.everyone(&addresses);
    for host in &wanted.hosts {
        let late = host.late(&facts, &everyone);
        for role in &host.roles {
            for resource in &role.resources {
                wanted.resolved(host, role, resource, &late).unwrap();
            }
        }
    }
    ASKED.get() - before
}

#[test]
fn ten_times_the_hosts_cost_ten_times_as_much() {
    let roles = RoleSet::embedded().unwrap();
    let (few, many) = (bytes(20, &roles), bytes(200, &roles));
    println!("20 hosts: {few} bytes, 200 hosts: {many}");
    assert!(many < few * 12, "20 hosts ask for {few} bytes, 200 for {many}");
}

/// The plan for hosts that are as this machine is.
#[inline(never)]
fn counted_plan(wanted: &Wanted, seen: &Seen) -> Plan {
    let facts = |host: &_| seen.hosts.get(host).map(|seen| &seen.facts);
    let wanted = wanted.with_facts(facts, &Formed::default(), &seen.addresses).ok().unwrap();
    Plan::new(&wanted, seen, BatchSize::default()).unwrap()
}

/// What a shell of this machine says to a look at this host.
fn look(wanted: &WantedHost) -> Observation {
    let resources = || wanted.roles.iter().flat_map(|role| &role.resources);
    let mut probes = vec![ledger::probe(resources())];
    probes.extend(resources().map(|resource| (resource.id(), resource.probe().unwrap())));
    let records = Host::new().run(&["dash"], &Script::observe(&Nonce::random(), &[], &probes, &[]));
    // This machine may have no systemd; there are no such units on a bare host that has.
    let without_systemd = |record: Record| match record {
        Record::Seen { id, value, .. } if value == b"no-systemd" => {
            let said = [
                ("LoadState", "not-found"),
                ("ActiveState", "inactive"),
                ("SubState", "dead"),
                ("UnitFileState", ""),
                ("NeedDaemonReload", "no"),
                ("restart-saved", "none"),
                ("reload-mark", "none"),
                ("restart-mark", "none"),
                ("reload-saved", "none"),
            ];
            said.map(|(key, value)| Record::Seen { id: id.clone(), key: key.into(), value: value.into() })
                .to_vec()
        }
        record => vec![record],
    };
    Observation::new(&records.into_iter().flat_map(without_systemd).collect::<Vec<_>>())
}

/// Run by [`instructions_of_a_plan_grow_in_line_with_its_hosts`] with a number of hosts.
#[test]
fn a_plan_is_made() {
    let hosts = std::env::var("BOOTSTRAP_TEST_HOSTS").ok().and_then(|hosts| hosts.parse().ok()).unwrap_or(4);
    // Packages, since nobody asks a site what a release has.
    let vars = "vars: { consul: { source: package }, nomad: { source: package } }\n";
    let wanted = wanted_of(hosts, vars, &RoleSet::embedded().unwrap());
    let (server, client) = (look(&wanted.hosts[0]), look(&wanted.hosts[3]));
    let facts = || Facts::parse(&client.of("facts")).unwrap();
    let seen = wanted.hosts.iter().enumerate().map(|(number, host)| {
        let observation = if number < 3 { server.clone() } else { client.clone() };
        let clock = ClockOffset::between(0, 0, &facts());
        (
            host.host.name.clone(),
            HostSeen { facts: facts(), observation, marker: Some("m".to_owned()), clock },
        )
    });
    let hosts: BTreeMap<_, _> = seen.collect();
    let markers = hosts.keys().map(|host| (host.clone(), "m".to_owned())).collect();
    let seen = Seen { hosts, markers, addresses: addresses(&wanted), ..Seen::default() };
    let plan = counted_plan(&wanted, &seen);
    assert!(!black_box(plan).is_empty());
}

#[test]
fn instructions_of_a_plan_grow_in_line_with_its_hosts() {
    if !have("valgrind") {
        return;
    }
    let counted = |hosts: u64| -> u64 {
        let mut callgrind = Command::new("valgrind");
        callgrind.args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*counted_plan*",
        ]);
        callgrind.arg(std::env::current_exe().unwrap()).args(["--exact", "scale::a_plan_is_made"]);
        let output = callgrind.env("BOOTSTRAP_TEST_HOSTS", hosts.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
        let collected = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count);
        collected.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    let (few, some, many) = (counted(4), counted(8), counted(16));
    println!("4 hosts: {few} instructions, 8 hosts: {some}, 16 hosts: {many}");
    let (first, second) = ((some - few) / 4, (many - some) / 8);
    assert!(second < first * 11 / 10, "a host costs {first} instructions among 8, {second} among 16");
}
