//! An address that moves between two ways in on lab hosts, the inventory `consul-haproxy`: keepalived before haproxy, which finds services
//! in a real Consul. Needs root.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::starters::written;
use crate::support::{Lab, poll};
use crate::ways::{
    ADDRESS, Asked, HASTY, PATIENT, bring_backend, comes, deregister, get_within, goes, passing, register,
    start, tell_consul, well,
};

/// One request at the address.
fn ask(port: u16, limit: Duration) -> Option<String> {
    get_within(limit, ADDRESS, port, "edge", "/")
}

/// Who answers at a port of the address.
fn served(port: u16) -> BTreeSet<String> {
    crate::ways::served(|| ask(port, PATIENT))
}

/// Asks the address while something is done.
fn while_asked(limit: Duration, done: impl FnOnce()) -> Asked {
    Asked::during(&[ADDRESS], |way| get_within(limit, way, 80, "edge", "/").is_some(), done)
}

/// Which of the ways in have the address.
fn holders(lab: &Lab) -> Vec<&'static str> {
    crate::ways::holders(lab, &["node-1", "node-2"])
}

/// The one that has it.
fn holder(lab: &Lab) -> &'static str {
    poll("one host has the address", Duration::from_secs(10), || match holders(lab).as_slice() {
        [one] => Some(*one),
        _ => None,
    })
}

/// Runs: haproxy: services of Consul by its DNS, of hosts by their role, and by address, the inventory `consul-haproxy`: instances come and go, and its configuration changes, under 200 requests a second
/// Runs: keepalived: an address moves between ways in when its host loses its power, and when haproxy stops there
/// Walks: say in `haproxy.services` what it serves, and move the file away
/// Walks: let other hosts have its addresses, and move the file away
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_edge_address_moves_and_haproxy_loses_no_request() {
    let addresses = [
        ("192.168.0.[129-131]", "10.77.0.1[1-3]"),
        ("192.168.0.128", ADDRESS),
        ("192.168.0.131", "10.77.0.13"),
    ];
    let lab = written("consul-haproxy", 3, &addresses);
    lab.run("check", &[]).exits(0);
    // What somebody else has configured there.
    for (folder, file, content) in [
        ("/etc/haproxy", "haproxy.cfg", "frontend mine\\n  bind *:8080\\n"),
        ("/etc/keepalived", "keepalived.conf", "vrrp_instance mine {\\n}\\n"),
    ] {
        lab.asks("node-1", &format!("mkdir -p {folder} && printf '{content}' >{folder}/{file}"));
        let said = lab.run("check", &["--connect"]).exits(1);
        assert!(said.stderr.contains(&format!("{folder}/{file}:1 says")), "{}", said.stderr);
        lab.follow_on("node-1", &said, "mv ");
        lab.run("check", &["--connect"]).exits(0);
        lab.asks("node-1", &format!("rm {folder}/{file}.off"));
    }
    // A stranger has the address.
    lab.asks("node-3", "ip address add 10.77.0.200/24 dev host0");
    let said = lab.run("up", &[]).exits(1);
    assert!(said.stderr.contains("10.77.0.200 answers already"), "{}", said.stderr);
    lab.asks("node-3", "ip address del 10.77.0.200/24 dev host0");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(ask(80, PATIENT), None, "there is no service yet");

    for host in ["node-1", "node-2", "node-3"] {
        bring_backend(&lab, host);
        start(&lab, host, 8081);
    }
    // All of them where no way in is, so that what is lost is lost by these.
    for port in [8082, 8083] {
        start(&lab, "node-3", port);
        register(&lab, "node-3", "web", "http", port, "");
    }
    let names =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let both = names(&["node-3:8082", "node-3:8083"]);
    poll("both are served", Duration::from_secs(10), || (served(80) == both).then_some(()));
    let three = names(&["node-1:8081", "node-2:8081", "node-3:8081"]);
    poll("hosts by their role", Duration::from_secs(10), || (served(9999) == three).then_some(()));
    assert_eq!(served(9998), names(&["node-3:8082"]));

    // Instances come and go, and another service comes.
    let master = |host: &str| lab.asks(host, "systemctl show -p MainPID --value edge-haproxy");
    let masters = ["node-1", "node-2"].map(master);
    let (mut came, mut went) = (Vec::new(), Vec::new());
    let asked = while_asked(PATIENT, || {
        for port in 8084..8088 {
            start(&lab, "node-3", port);
            register(&lab, "node-3", "web", "http", port, "");
            poll("it passes", Duration::from_secs(10), || passing(&lab, "web").contains(&port).then_some(()));
            let one = format!("node-3:{port}");
            came.push(comes(|| ask(80, PATIENT), &one));
            // In the order of an operator who takes care: out of the catalog, then stopped.
            deregister(&lab, "node-3", &format!("web-{port}"));
            went.push(goes(|| ask(80, PATIENT), &one));
            lab.asks("node-3", &format!("systemctl stop backend-{port}"));
        }
        lab.edit(
            "    services:\n",
            "    services:\n      - { name: new, port: 9997, mode: http, consul: web }\n",
        );
        lab.run("up", &[]).exits(0);
        assert_eq!(served(9997), both);
    });
    println!(
        "{} requests, {} lost; served after {came:?}, no more after {went:?}",
        asked.count(),
        asked.lost()
    );
    assert!(asked.count() > 1000, "{}", asked.count());
    assert_eq!(asked.lost(), 0, "of {}", asked.count());
    assert!(came.iter().chain(&went).all(|took| *took < Duration::from_secs(2)), "{came:?} {went:?}");
    assert_eq!(["node-1", "node-2"].map(master), masters, "a change of services restarts nothing");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // An instance that answers, and fails its check in Consul all the same.
    start(&lab, "node-3", 8090);
    let body = r#"{"ID":"web-8090","Name":"web","Address":"10.77.0.13","Port":8090,"Check":{"TTL":"1h","Status":"passing"}}"#;
    tell_consul(&lab, "node-3", "service/register", body);
    let ill = "node-3:8090".to_owned();
    poll("it is served", Duration::from_secs(10), || served(80).contains(&ill).then_some(()));
    tell_consul(&lab, "node-3", "check/fail/service:web-8090", "");
    let last = goes(|| ask(80, PATIENT), &ill);
    println!("an instance got its last request {last:?} after it had failed its check");
    assert!(last < Duration::from_secs(1), "{last:?}");

    // The host that has the address loses its power.
    let (gone, stays) = match holder(&lab) {
        "node-1" => ("node-1", "node-2"),
        _ => ("node-2", "node-1"),
    };
    let asked = while_asked(HASTY, || {
        lab.lab(&["kill", gone]);
        poll("the address has moved", Duration::from_secs(10), || (holders(&lab) == [stays]).then_some(()));
        // What is lost later counts as well.
        std::thread::sleep(Duration::from_secs(3));
    });
    println!("{gone} lost its power: silent for {:?}, {} requests lost", asked.silence(), asked.lost());
    assert!(asked.silence() < Duration::from_secs(3), "{:?}", asked.silence());
    assert_eq!(served(80), both);
    assert!(ask(9999, PATIENT).is_some() && ask(9998, PATIENT).is_some());

    // It comes back, and takes nothing.
    lab.lab(&["start", gone]);
    poll("it is well", Duration::from_secs(60), || {
        let well = "systemctl is-active keepalived edge-haproxy && /etc/bootstrap-edge-address/check";
        (lab.ssh(gone, well).status == 0).then_some(())
    });
    let back = Instant::now();
    while back.elapsed() < Duration::from_secs(5) {
        assert_eq!(holders(&lab), [stays], "it stays where it serves");
    }

    // haproxy stops where the address is.
    let asked = while_asked(HASTY, || {
        lab.asks(stays, "systemctl stop edge-haproxy");
        poll("the address has moved", Duration::from_secs(10), || (holders(&lab) == [gone]).then_some(()));
        std::thread::sleep(Duration::from_secs(3));
    });
    println!("haproxy stopped: silent for {:?}, {} requests lost", asked.silence(), asked.lost());
    assert!(asked.silence() < Duration::from_secs(3), "{:?}", asked.silence());
    let health = lab.run("health", &[]);
    assert!(health.status != 0 && (health.stdout + &health.stderr).contains(stays), "it is told");
    lab.asks(stays, "systemctl start edge-haproxy");
    well(&lab, Duration::from_secs(20));
    assert_eq!(holders(&lab), [gone]);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Without the role nobody has it.
    lab.edit("[edge-haproxy, edge-address]", "[edge-haproxy]");
    lab.run("up", &["--yes"]).exits(0);
    assert_eq!(holders(&lab), [""; 0]);
    assert_eq!(lab.ssh("node-1", "systemctl is-active keepalived").stdout, "inactive\n");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
