//! Ways in on lab hosts: nginx, told by consul-template of the services of a real Consul. Needs root, and consul-template in the lab's
//! mirror (`tests/products/build`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{HostFiles, Lab, poll};
use crate::ways::{Asked, bring_backend, comes, deregister, goes, ill, passing, register, start, well};

/// A request at a way in.
fn get(address: &str, port: u16, host: &str) -> Option<String> {
    crate::ways::get(address, port, host, "/")
}

/// Who answers at a way in.
fn served(address: &str, host: &str) -> BTreeSet<String> {
    crate::ways::served(|| get(address, 80, host))
}

/// Runs: nginx: Consul's services by name and port, through consul-template: instances come and go under 200 requests a second
/// Runs: consul-template: renders what nginx serves
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_edge_serves_what_consul_has_and_loses_no_request() {
    let lab = Lab::up(&[]);
    lab.sets_consul("acl: auto");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let before = HostFiles::of(&lab, "node-2");
    lab.edit("groups:\n", "groups:\n  ways-in: { hosts: [node-1, node-2], roles: [edge-nginx] }\n");
    lab.edit(
        "vars:\n",
        "vars:\n  nginx: { domain: example.test }\n  consul_template: { source: { mirror: \"http://10.77.0.1:7780\" } }\n",
    );
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let ways = ["node-1", "node-2"].map(|host| lab.address(host));
    const WEB: &str = "web.example.test";
    assert_eq!(get(&ways[0], 80, WEB), None, "there is no service yet");

    for host in ["node-1", "node-2", "node-3"] {
        bring_backend(&lab, host);
    }
    for (host, port) in [("node-2", 8081), ("node-3", 8082), ("node-3", 8083)] {
        start(&lab, host, port);
        register(&lab, host, "web", "http", port, "");
    }
    let all: BTreeSet<String> =
        ["node-2:8081", "node-3:8082", "node-3:8083"].map(str::to_owned).into_iter().collect();
    for way in &ways {
        poll("all three are served", Duration::from_secs(10), || (served(way, WEB) == all).then_some(()));
    }

    // Ten changes under 100 requests a second at each way in.
    let (mut came, mut went) = (Vec::new(), Vec::new());
    let asked = Asked::during(
        &[&ways[0], &ways[1]],
        |way| get(way, 80, WEB).is_some(),
        || {
            for port in 8084..8089 {
                start(&lab, "node-3", port);
                register(&lab, "node-3", "web", "http", port, "");
                poll("it passes", Duration::from_secs(10), || {
                    passing(&lab, "web").contains(&port).then_some(())
                });
                let (one, ask) = (format!("node-3:{port}"), || get(&ways[0], 80, WEB));
                came.push(comes(ask, &one));
                // In the order of an operator who takes care: out of the catalog, then stopped.
                deregister(&lab, "node-3", &format!("web-{port}"));
                went.push(goes(ask, &one));
                lab.asks("node-3", &format!("systemctl stop backend-{port}"));
            }
        },
    );
    println!(
        "{} requests through ten changes, {} lost; served after {came:?}, no more after {went:?}",
        asked.count(),
        asked.lost()
    );
    assert!(asked.count() > 500, "{}", asked.count());
    assert_eq!(asked.lost(), 0, "of {} requests", asked.count());
    assert!(came.iter().chain(&went).all(|took| *took < Duration::from_secs(2)), "{came:?} {went:?}");

    // An instance that fails is left out by Consul's check.
    lab.asks("node-3", "systemctl stop backend-8083");
    let two: BTreeSet<String> = ["node-2:8081", "node-3:8082"].map(str::to_owned).into_iter().collect();
    poll("two are left", Duration::from_secs(10), || (passing(&lab, "web").len() == 2).then_some(()));
    poll("two are served", Duration::from_secs(5), || (served(&ways[1], WEB) == two).then_some(()));

    // Another one gets a share; a service by its port.
    start(&lab, "node-3", 8090);
    register(&lab, "node-3", "web", "http", 8090, r#","Meta":{"canary":"20"}"#);
    register(&lab, "node-2", "orders-9999", "tcp", 8081, "");
    poll("by its port", Duration::from_secs(10), || get(&ways[1], 9999, "x"));
    let canary = "node-3:8090".to_owned();
    // It counts from when nginx has it: a count that begins before is cut short.
    poll("the canary is served", Duration::from_secs(10), || {
        served(&ways[0], WEB).contains(&canary).then_some(())
    });
    let share = (0..200).filter(|_| get(&ways[0], 80, WEB).as_ref() == Some(&canary)).count();
    assert!((10..90).contains(&share), "{share} of 200, 20 % wanted");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // What cannot be served is told, and takes nothing else along.
    register(&lab, "node-2", "bills-9999", "tcp", 8081, "");
    let said = poll("it is told", Duration::from_secs(10), || {
        let health = lab.run("health", &[]);
        (health.status != 0).then(|| health.stdout + &health.stderr)
    });
    assert!(
        said.contains("\"bills-9999\" wants port 9999, which \"orders-9999\" has")
            || said.contains("\"orders-9999\" wants port"),
        "{said}"
    );
    deregister(&lab, "node-2", "bills-9999-8081");
    start(&lab, "node-1", 9997);
    register(&lab, "node-2", "taken-9997", "tcp", 8081, "");
    let said = ill(&lab, "port 9997 is taken", Duration::from_secs(10));
    assert!(said.contains("node-1"), "{said}");
    assert!(get(&ways[0], 80, WEB).is_some(), "what served goes on serving");
    deregister(&lab, "node-2", "taken-9997-8081");
    well(&lab, Duration::from_secs(10));

    // One way in dies; the other one serves on.
    lab.lab(&["kill", "node-1"]);
    assert!((0..50).all(|_| get(&ways[1], 80, WEB).is_some()), "the second way in");
    lab.lab(&["start", "node-1"]);

    // Without the role all of it goes.
    lab.edit("  ways-in: { hosts: [node-1, node-2], roles: [edge-nginx] }\n", "");
    lab.run("up", &[]).exits(0);
    // The agent's own data, what this test has put there, and what the package has: packages stay.
    let own = [
        "opt/consul",
        "root/",
        "etc/consul.d",
        "var/lib/bootstrap/",
        "etc/nginx/",
        "var/lib/nginx",
        "var/www",
    ];
    let others = |line: &String| own.iter().any(|path| line.contains(path));
    let left: Vec<String> =
        before.differences(&lab, "node-2").into_iter().filter(|line| !others(line)).collect();
    assert_eq!(left, [""; 0]);
}
