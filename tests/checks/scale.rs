//! What a run costs grows in line with its hosts: counted in bytes that are asked of the allocator, which no load of this machine
//! changes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::rendered::{addresses, facts, wanted_by};
use bootstrap::roles::RoleSet;

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

/// Bytes that reading, checking and rendering an inventory of so many hosts asks for.
fn bytes(hosts: usize, roles: &RoleSet) -> usize {
    let mut text = String::from("cluster: big\nhosts:\n");
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
    let before = ASKED.get();
    let wanted = wanted_by(&path, roles);
    let (addresses, facts) = (addresses(&wanted), facts());
    let wanted = wanted.with_facts(|_| Some(&facts), &BTreeSet::new(), &addresses).ok().unwrap();
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
