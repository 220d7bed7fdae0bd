//! Ways in on lab hosts: nginx, told by consul-template of the services of a real Consul. Needs root, and consul-template in the lab's
//! mirror (`tests/products/build`).

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Lab, poll};
use indoc::indoc;

/// Answers with a text at a port, again and again: what the base system's perl can do.
const BACKEND: &str = indoc! {r#"
    use IO::Socket::INET;
    my ($port, $says) = @ARGV;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 256, ReuseAddr => 1) or die "$port: $!";
    while (1) {
      my $client = $server->accept or next;
      sysread $client, my $request, 65536;
      syswrite $client, "HTTP/1.1 200 OK\r\nContent-Length: " . length($says) . "\r\nConnection: close\r\n\r\n$says";
    }
"#};

/// One request by a connection of its own; `None` where it was not answered with 200.
fn get(address: &str, port: u16, host: &str) -> Option<String> {
    let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let (head, body) = said.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// Starts an instance on a host.
fn start(lab: &Lab, host: &str, port: u16) {
    lab.asks(
        host,
        &format!("systemd-run -q --unit backend-{port} perl /root/backend.pl {port} {host}:{port}"),
    );
}

/// Tells the host's agent of an instance, which it looks at twice a second; `more` are keys of the service.
fn register(lab: &Lab, host: &str, name: &str, tag: &str, port: u16, more: &str) {
    let address = lab.address(host);
    let service = format!(
        r#"{{"ID":"{name}-{port}","Name":"{name}","Tags":["{tag}"],"Address":"{address}","Port":{port}{more},"Check":{{"TCP":"{address}:{port}","Interval":"500ms","Timeout":"1s","Status":"critical"}}}}"#
    );
    lab.asks(
        host,
        &format!("curl -fsS -X PUT -d '{service}' http://127.0.0.1:8500/v1/agent/service/register"),
    );
}

fn deregister(lab: &Lab, host: &str, id: &str) {
    lab.asks(host, &format!("curl -fsS -X PUT http://127.0.0.1:8500/v1/agent/service/deregister/{id}"));
}

/// The instances that pass their checks, as Consul has them.
fn passing(lab: &Lab, name: &str) -> BTreeSet<u16> {
    let said =
        lab.asks("node-3", &format!("curl -fsS 'http://127.0.0.1:8500/v1/health/service/{name}?passing'"));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let ports = said.as_array().unwrap().iter().map(|one| one["Service"]["Port"].as_u64().unwrap());
    ports.map(|port| u16::try_from(port).unwrap()).collect()
}

/// Who answers at a way in, of 60 requests.
fn served(address: &str, host: &str) -> BTreeSet<String> {
    (0..60).filter_map(|_| get(address, 80, host)).collect()
}

/// Runs: nginx: Consul's services by name and port, through consul-template: instances come and go under 200 requests a second
/// Runs: consul-template: renders what nginx serves
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_edge_serves_what_consul_has_and_loses_no_request() {
    let lab = Lab::up(&[]);
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
        let write = format!("cat >/root/backend.pl <<'END'\n{BACKEND}END");
        lab.asks(host, &write);
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
    let (tried, lost, running) = (AtomicU32::new(0), Mutex::new(Vec::new()), AtomicBool::new(true));
    let (mut came, mut went) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        for way in &ways {
            for turn in 0..4 {
                let (tried, lost, running) = (&tried, &lost, &running);
                scope.spawn(move || {
                    let mut next = Instant::now() + Duration::from_millis(10 * turn);
                    while running.load(Ordering::Relaxed) {
                        std::thread::sleep(next.saturating_duration_since(Instant::now()));
                        next += Duration::from_millis(40);
                        tried.fetch_add(1, Ordering::Relaxed);
                        if get(way, 80, WEB).is_none() {
                            lost.lock().unwrap().push(Instant::now());
                        }
                    }
                });
            }
        }
        let changes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for port in 8084..8089 {
                start(&lab, "node-3", port);
                register(&lab, "node-3", "web", "http", port, "");
                poll("it passes", Duration::from_secs(10), || {
                    passing(&lab, "web").contains(&port).then_some(())
                });
                let began = Instant::now();
                let one = format!("node-3:{port}");
                poll("it is served", Duration::from_secs(10), || {
                    served(&ways[0], WEB).contains(&one).then_some(())
                });
                came.push(began.elapsed());
                // In the order of an operator who takes care: out of the catalog, then stopped.
                deregister(&lab, "node-3", &format!("web-{port}"));
                let began = Instant::now();
                poll("it is served no more", Duration::from_secs(10), || {
                    (!served(&ways[0], WEB).contains(&one)).then_some(())
                });
                went.push(began.elapsed());
                lab.asks("node-3", &format!("sleep 1; systemctl stop backend-{port}"));
            }
        }));
        running.store(false, Ordering::Relaxed);
        changes.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (tried, lost) = (tried.into_inner(), lost.into_inner().unwrap());
    println!(
        "{tried} requests through ten changes, {} lost; served after {came:?}, no more after {went:?}",
        lost.len()
    );
    assert!(tried > 500, "{tried}");
    assert_eq!(lost.len(), 0, "of {tried} requests");
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
    let share = poll("the canary is served", Duration::from_secs(10), || {
        let got = (0..200).filter(|_| get(&ways[0], 80, WEB).as_ref() == Some(&canary)).count();
        (got > 0).then_some(got)
    });
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
    let said = poll("the port is taken", Duration::from_secs(10), || {
        let health = lab.run("health", &[]);
        let said = health.stdout + &health.stderr;
        (health.status != 0 && said.contains("port 9997 is taken")).then_some(said)
    });
    assert!(said.contains("node-1"), "{said}");
    assert!(get(&ways[0], 80, WEB).is_some(), "what served goes on serving");
    deregister(&lab, "node-2", "taken-9997-8081");
    poll("all is well again", Duration::from_secs(10), || (lab.run("health", &[]).status == 0).then_some(()));

    // One way in dies; the other one serves on.
    lab.lab(&["kill", "node-1"]);
    assert!((0..50).all(|_| get(&ways[1], 80, WEB).is_some()), "the second way in");
}
