//! Instances of services, and clients that count what ways in answer: what the tests of all ways in have in common.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Lab, poll};
use indoc::indoc;

/// A client that waits this long has given up, where a way in must never be silent.
pub const PATIENT: Duration = Duration::from_secs(5);

/// How long a client waits where it must be seen when an address is served again.
pub const HASTY: Duration = Duration::from_millis(300);

/// The address that moves: the lab gives it to no host.
pub const ADDRESS: &str = "10.77.0.200";

/// Answers with a text at a port, and with the path where that is not `/`: what the base system's perl can do. Who only looks whether
/// it listens, and goes at once, does not end it; nor does one whose host has lost its power before it asked.
const BACKEND: &str = indoc! {r#"
    use IO::Socket::INET;
    use Socket;
    $SIG{PIPE} = "IGNORE";
    my ($port, $says) = @ARGV;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 256, ReuseAddr => 1) or die "$port: $!";
    while (1) {
      my $client = $server->accept or next;
      setsockopt $client, SOL_SOCKET, SO_RCVTIMEO, pack "l!l!", 1, 0;
      sysread $client, my $request, 65536 or next;
      my ($path) = $request =~ m{^\S+ /(\S+)};
      my $body = defined $path ? "$says /$path" : $says;
      syswrite $client, "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    }
"#};

/// Brings what [`start`] starts.
pub fn bring_backend(lab: &Lab, host: &str) {
    lab.asks(host, &format!("cat >/root/backend.pl <<'END'\n{BACKEND}END"));
}

/// Starts an instance on a host that answers with `HOST:PORT`.
pub fn start(lab: &Lab, host: &str, port: u16) {
    lab.asks(
        host,
        &format!("systemd-run -q --unit backend-{port} perl /root/backend.pl {port} {host}:{port}"),
    );
}

/// Tells the host's agent of an instance, which it looks at twice a second; `more` are keys of the service.
pub fn register(lab: &Lab, host: &str, name: &str, tag: &str, port: u16, more: &str) {
    let address = lab.address(host);
    let service = format!(
        r#"{{"ID":"{name}-{port}","Name":"{name}","Tags":["{tag}"],"Address":"{address}","Port":{port}{more},"Check":{{"TCP":"{address}:{port}","Interval":"500ms","Timeout":"1s","Status":"critical"}}}}"#
    );
    tell_consul(lab, host, "service/register", &service);
}

pub fn deregister(lab: &Lab, host: &str, id: &str) {
    tell_consul(lab, host, &format!("service/deregister/{id}"), "");
}

/// A request of a host's agent.
pub fn tell_consul(lab: &Lab, host: &str, path: &str, body: &str) {
    lab.asks(host, &format!("curl -fsS -X PUT -d '{body}' 'http://127.0.0.1:8500/v1/agent/{path}'"));
}

/// The instances that pass their checks, as Consul has them.
pub fn passing(lab: &Lab, name: &str) -> BTreeSet<u16> {
    let said =
        lab.asks("node-3", &format!("curl -fsS 'http://127.0.0.1:8500/v1/health/service/{name}?passing'"));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let ports = said.as_array().unwrap().iter().map(|one| one["Service"]["Port"].as_u64().unwrap());
    ports.map(|port| u16::try_from(port).unwrap()).collect()
}

/// Those of the hosts that have the address that moves.
pub fn holders<'a>(lab: &Lab, hosts: &[&'a str]) -> Vec<&'a str> {
    let has = |host: &&str| lab.ssh(host, &format!("ip -o address show | grep -q ' {ADDRESS}/'")).status == 0;
    hosts.iter().copied().filter(has).collect()
}

/// What `health` says while it fails and has these words.
#[track_caller]
pub fn ill(lab: &Lab, words: &str, limit: Duration) -> String {
    poll(&format!("health says `{words}`"), limit, || {
        let health = lab.run("health", &[]);
        let said = health.stdout + &health.stderr;
        (health.status != 0 && said.contains(words)).then_some(said)
    })
}

/// Waits until `health` is content.
#[track_caller]
pub fn well(lab: &Lab, limit: Duration) {
    poll("all is well", limit, || (lab.run("health", &[]).status == 0).then_some(()));
}

/// One request by a connection of its own, which takes this long at most; `None` where it was not answered with 200.
pub fn get_within(limit: Duration, address: &str, port: u16, host: &str, path: &str) -> Option<String> {
    let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    // In one piece: the backends answer to the first that they read.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let (head, body) = said.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// The same of a client with patience.
pub fn get(address: &str, port: u16, host: &str, path: &str) -> Option<String> {
    get_within(PATIENT, address, port, host, path)
}

/// Who answers, of 60 requests.
pub fn served(ask: impl Fn() -> Option<String>) -> BTreeSet<String> {
    (0..60).filter_map(|_| ask()).collect()
}

/// How long it takes until this one answers too.
pub fn comes(ask: impl Fn() -> Option<String>, one: &str) -> Duration {
    let began = Instant::now();
    poll(&format!("{one} is served"), Duration::from_secs(20), || {
        (ask().as_deref() == Some(one)).then_some(())
    });
    began.elapsed()
}

/// How long this one still answers: until its last answer, where none follows for a second and a half.
pub fn goes(ask: impl Fn() -> Option<String>, one: &str) -> Duration {
    let began = Instant::now();
    let mut last = Duration::ZERO;
    while began.elapsed() < last + Duration::from_millis(1500) {
        assert!(last < Duration::from_secs(20), "{one} is served all the time");
        if ask().as_deref() == Some(one) {
            last = began.elapsed();
        }
    }
    last
}

/// Requests that were sent while something was done: when, and whether they were answered.
pub struct Asked(Vec<(Instant, bool)>);

impl Asked {
    /// Asks 200 times a second, each of the ways in as often as the others.
    pub fn during(ways: &[&str], ask: impl Fn(&str) -> bool + Sync, done: impl FnOnce()) -> Self {
        let (asked, running) = (Mutex::new(Vec::new()), AtomicBool::new(true));
        std::thread::scope(|scope| {
            for (turn, way) in (0..8).zip(ways.iter().cycle()) {
                let (asked, running, ask) = (&asked, &running, &ask);
                scope.spawn(move || {
                    let mut next = Instant::now() + Duration::from_millis(5 * turn);
                    while running.load(Ordering::Relaxed) {
                        std::thread::sleep(next.saturating_duration_since(Instant::now()));
                        let at = Instant::now();
                        let answered = ask(way);
                        asked.lock().unwrap().push((at, answered));
                        // Who has waited does not ask for what it has missed.
                        next = (next + Duration::from_millis(40)).max(Instant::now());
                    }
                });
            }
            // Also where it panics: the threads would never end.
            let ended = catch_unwind(AssertUnwindSafe(done));
            running.store(false, Ordering::Relaxed);
            ended.unwrap_or_else(|panic| resume_unwind(panic));
        });
        let mut asked = asked.into_inner().unwrap();
        asked.sort_unstable();
        Self(asked)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn lost(&self) -> usize {
        self.0.iter().filter(|(_, answered)| !answered).count()
    }

    /// From the first request that failed to the first that was answered after the last one that failed.
    pub fn silence(&self) -> Duration {
        let failed = || self.0.iter().filter(|(_, answered)| !answered).map(|(at, _)| *at);
        let Some((first, last)) = failed().next().zip(failed().next_back()) else { return Duration::ZERO };
        let again = self.0.iter().find(|(at, answered)| *answered && *at > last).expect("it is served again");
        again.0 - first
    }
}

/// A certificate of this name, signed by itself, in `NAME-cert.pem` and `NAME-key.pem`.
pub fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout", &format!("{name}-key.pem"), "-out", &format!("{name}-cert.pem")])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
