//! Ways in on lab hosts: fabio before the services of a real Consul, as a service of hosts and as a job of Nomad. Needs root, and a
//! real fabio in the lab's mirror, for no package registry has one: without it every test says that it is skipped. The one about jobs
//! needs a Nomad there, too.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::starters::written;
use crate::support::{Lab, poll};
use crate::ways::{Asked, bring_backend, certificate, deregister, get, start, tell_consul};
use indoc::formatdoc;
use semver::Version;

const MIRROR: &str = "/var/cache/bootstrap-lab/mirror";
/// Where hosts find it.
const SITE: &str = "http://10.77.0.1:7780";
const WEB: &str = "web.example.test";
/// The prefix of tags that are routes.
const ROUTE: &str = "urlprefix-";

/// The newest release of a product in the lab's mirror that has this file, where it is named by folder and version.
fn release(product: &str, file: impl Fn(&str, &Version) -> String) -> Option<Version> {
    let folders = fs::read_dir(Path::new(MIRROR).join(product)).ok()?.flatten();
    let version = |folder: fs::DirEntry| {
        let name = folder.file_name().into_string().ok()?;
        let version = Version::parse(name.trim_start_matches('v')).ok()?;
        Path::new(MIRROR).join(product).join(file(&name, &version)).exists().then_some(version)
    };
    folders.filter_map(version).max()
}

/// The newest fabio, or nothing; then it is said why the test does not run.
fn fabio(test: &str) -> Option<Version> {
    let version = release("fabio", |folder, version| format!("{folder}/fabio-{version}-linux_amd64"));
    if version.is_none() {
        skipped(test, "release of fabio, fabio/vVERSION/fabio-VERSION-linux_amd64 and fabio-VERSION.sha256");
    }
    version
}

fn nomad(test: &str) -> Option<Version> {
    let version = release("nomad", |folder, version| format!("{folder}/nomad_{version}_linux_amd64.zip"));
    if version.is_none() {
        skipped(test, "release of Nomad, nomad/VERSION/nomad_VERSION_linux_amd64.zip");
    }
    version
}

/// Not `eprintln!`: of a test that passes nobody would see it.
fn skipped(test: &str, lacks: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: the lab's mirror, {MIRROR}, has no {lacks}");
}

/// A request by TLS of a server that shows this certificate.
fn get_by_tls(address: &str, port: u16, name: &str, path: &str, certificate: &Path) -> Option<String> {
    let asked = Command::new("curl")
        .args(["-fsS", "--max-time", "5", "--noproxy", "*", "--cacert"])
        .arg(certificate)
        .args(["--resolve", &format!("{name}:{port}:{address}"), &format!("https://{name}:{port}{path}")])
        .output()
        .unwrap();
    asked.status.success().then(|| String::from_utf8(asked.stdout).unwrap())
}

/// Puts both files of a certificate into a folder of a host.
fn bring(lab: &Lab, host: &str, name: &str, folder: &str) {
    for file in ["cert", "key"].map(|kind| format!("{name}-{kind}.pem")) {
        let text = fs::read_to_string(lab.folder.path().join(&file)).unwrap();
        lab.asks(host, &format!("mkdir -p {folder} && cat >{folder}/{file} <<'END'\n{text}END"));
    }
}

/// Starts an instance on a host that ends TLS itself, and answers `/who` with its name.
fn start_tls(lab: &Lab, host: &str, port: u16, name: &str) {
    bring(lab, host, name, "/root/tls");
    lab.asks(
        host,
        &format!(
            "cd /root/tls && mkdir -p {name} && echo {host}:{port} >{name}/who && \
             systemd-run -q --unit backend-{port} -p WorkingDirectory=/root/tls/{name} \
             openssl s_server -quiet -4 -accept {port} -cert ../{name}-cert.pem -key ../{name}-key.pem -WWW"
        ),
    );
}

/// Tells the host's agent of an instance with these tags; `checked` ones are looked at twice a second.
fn register(lab: &Lab, host: &str, name: &str, port: u16, tags: &[&str], checked: bool) {
    let address = lab.address(host);
    let mut service = serde_json::json!({
        "ID": format!("{name}-{port}"), "Name": name, "Tags": tags, "Address": address, "Port": port,
    });
    if checked {
        service["Check"] = serde_json::json!({
            "TCP": format!("{address}:{port}"), "Interval": "500ms", "Timeout": "1s", "Status": "critical",
        });
    }
    tell_consul(lab, host, "service/register", &service.to_string());
}

/// Who answers at a way in.
fn served(address: &str) -> BTreeSet<String> {
    crate::ways::served(|| get(address, 80, WEB, "/"))
}

/// What `health` says while it fails.
#[track_caller]
fn ill(lab: &Lab, words: &str) -> String {
    crate::ways::ill(lab, words, Duration::from_secs(15))
}

#[track_caller]
fn well(lab: &Lab) {
    crate::ways::well(lab, Duration::from_secs(15));
}

/// Runs: fabio: routes by tags, TLS ended with certificates of a folder and of Consul and passed through by name, ports of tcp, the inventory `consul-fabio`: instances leave under 200 requests a second
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_fabio_serves_what_tags_ask_for_and_loses_no_request() {
    let Some(version) = fabio("lab_fabio_serves_what_tags_ask_for_and_loses_no_request") else { return };
    let ours = format!("version: {version}\n    source: {{ mirror: '{SITE}/fabio' }}");
    let lab =
        written("consul-fabio", 3, &[("10.0.0.1[1-3]", "10.77.0.1[1-3]"), ("version: 1.7.3", ours.as_str())]);
    lab.run("check", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let ways = ["node-1", "node-2"].map(|host| lab.address(host));
    assert_eq!(get(&ways[0], 80, WEB, "/"), None, "there is no service yet");
    // Ports below 1024, and its account is not root.
    assert_eq!(lab.asks("node-1", "ps -o user= -C fabio").trim(), "fabio");
    // Nobody reaches the UI but the host itself.
    assert_eq!(lab.asks("node-1", "curl -fsS http://127.0.0.1:9998/health").trim(), "OK");
    let ui: SocketAddr = format!("{}:9998", ways[0]).parse().unwrap();
    assert!(TcpStream::connect_timeout(&ui, Duration::from_secs(1)).is_err(), "the UI is open to others");

    // Listeners of https, once there are certificates for them.
    let here = lab.folder.path();
    for name in ["folder.example.test", "keys.example.test", "passed.example.test", "inner.example.test"] {
        certificate(here, name);
    }
    for host in ["node-1", "node-2"] {
        bring(&lab, host, "folder.example.test", "/etc/ssl/ways-in");
    }
    bring(&lab, "node-3", "keys.example.test", "/root/keys");
    lab.asks(
        "node-3",
        "for file in /root/keys/*.pem; do \
           curl -fsS -X PUT --data-binary @$file http://127.0.0.1:8500/v1/kv/fabio/keys/${file##*/} || exit; done",
    );
    lab.edit(
        "      - { port: 80 }\n",
        "      - { port: 80 }\n      - { port: 443, protocol: https, certificates: folder }\n      \
         - { port: 444, protocol: https, certificates: keys }\n",
    );
    lab.edit(
        "    listeners:\n",
        "    certificates: [{ name: folder, path: /etc/ssl/ways-in }, { name: keys, consul: /fabio/keys }]\n    listeners:\n",
    );
    // A key that is root's alone is told by name.
    lab.asks("node-1", "chmod 600 /etc/ssl/ways-in/*-key.pem");
    let refused = lab.run("up", &["--timeout", "15s"]);
    let said = refused.stdout + &refused.stderr;
    assert!(refused.status != 0 && said.contains("the account fabio cannot read"), "{said}");
    for host in ["node-1", "node-2"] {
        lab.asks(host, "chgrp fabio /etc/ssl/ways-in/*-key.pem && chmod 640 /etc/ssl/ways-in/*-key.pem");
    }
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    for host in ["node-2", "node-3"] {
        bring_backend(&lab, host);
    }
    let web = [format!("{ROUTE}{WEB}/"), format!("{ROUTE}/shop strip=/shop")];
    let web: Vec<&str> = web.iter().map(String::as_str).collect();
    for (host, port) in [("node-2", 8081), ("node-3", 8082), ("node-3", 8083), ("node-3", 8084)] {
        start(&lab, host, port);
        register(&lab, host, "web", port, &web, true);
    }
    let all: BTreeSet<String> =
        ["node-2:8081", "node-3:8082", "node-3:8083", "node-3:8084"].map(str::to_owned).into();
    for way in &ways {
        poll("all four are served", Duration::from_secs(10), || (served(way) == all).then_some(()));
    }
    let stripped = get(&ways[0], 80, "other.example.test", "/shop/list").unwrap();
    assert!(stripped.ends_with(" /list"), "{stripped}");

    // https: ended with a certificate of a folder, and with one of Consul; before a service that speaks TLS itself; passed through.
    start_tls(&lab, "node-3", 7443, "inner.example.test");
    start_tls(&lab, "node-2", 7444, "passed.example.test");
    let inner = format!("{ROUTE}folder.example.test/ proto=https tlsskipverify=true");
    let passed = format!("{ROUTE}passed.example.test/ proto=tcp");
    register(&lab, "node-3", "inner", 7443, &[&inner], true);
    // Of a port that is not the usual one the name has it too.
    register(&lab, "node-3", "plain", 8082, &[&format!("{ROUTE}keys.example.test:444/")], true);
    register(&lab, "node-2", "passed", 7444, &[&passed], true);
    let shows = |name: &str| here.join(format!("{name}-cert.pem"));
    for (port, name, path, body) in [
        (443, "folder.example.test", "/who", "node-3:7443\n"),
        (444, "keys.example.test", "/x", "node-3:8082 /x"),
        (8443, "passed.example.test", "/who", "node-2:7444\n"),
    ] {
        for way in &ways {
            let said =
                poll(name, Duration::from_secs(15), || get_by_tls(way, port, name, path, &shows(name)));
            assert_eq!(said, body, "{name} at {way}");
        }
    }
    // Another certificate in Consul counts without a restart.
    let first = fs::read(shows("keys.example.test")).unwrap();
    certificate(here, "keys.example.test");
    bring(&lab, "node-3", "keys.example.test", "/root/keys");
    lab.asks(
        "node-3",
        "for file in /root/keys/*.pem; do \
           curl -fsS -X PUT --data-binary @$file http://127.0.0.1:8500/v1/kv/fabio/keys/${file##*/} || exit; done",
    );
    assert_ne!(fs::read(shows("keys.example.test")).unwrap(), first);
    poll("the new certificate is shown", Duration::from_secs(15), || {
        get_by_tls(&ways[1], 444, "keys.example.test", "/x", &shows("keys.example.test"))
    });

    // By its port.
    register(&lab, "node-2", "orders", 8081, &[&format!("{ROUTE}:9000 proto=tcp")], true);
    let said = poll("by its port", Duration::from_secs(10), || get(&ways[1], 9000, "x", "/o"));
    assert_eq!(said, "node-2:8081 /o");

    // Instances leave under 100 requests a second at each way in: one into maintenance, one out of the catalog.
    let mut went = Vec::new();
    let asked = Asked::during(
        &[&ways[0], &ways[1]],
        |way| get(way, 80, WEB, "/").is_some(),
        || {
            for (port, call) in
                [(8083, "maintenance/web-8083?enable=true&reason=test"), (8084, "deregister/web-8084")]
            {
                tell_consul(&lab, "node-3", &format!("service/{call}"), "");
                let began = Instant::now();
                let one = format!("node-3:{port}");
                for way in &ways {
                    poll("it is served no more", Duration::from_secs(10), || {
                        (!served(way).contains(&one)).then_some(())
                    });
                }
                went.push(began.elapsed());
                lab.asks("node-3", &format!("sleep 1; systemctl stop backend-{port}; sleep 1"));
            }
        },
    );
    println!(
        "{} requests while two instances left, {} lost; no more after {went:?}",
        asked.count(),
        asked.lost()
    );
    assert!(asked.count() > 500, "{}", asked.count());
    assert_eq!(asked.lost(), 0, "of {} requests", asked.count());
    deregister(&lab, "node-3", "web-8083");
    well(&lab);

    // What fabio does not understand is told by the names of service and tag, and takes nothing else along.
    let unknown = format!("{ROUTE}/bills stripp=/bills");
    register(&lab, "node-2", "bills", 8081, &[&unknown], true);
    ill(&lab, &format!("bills: `{unknown}`: fabio knows no option `stripp`"));
    assert!(get(&ways[0], 80, WEB, "/").is_some(), "what served goes on serving");
    deregister(&lab, "node-2", "bills-8081");
    register(&lab, "node-3", "rival", 8082, &[&format!("{ROUTE}:9000 proto=tcp")], true);
    ill(&lab, "wants port 9000 too");
    deregister(&lab, "node-3", "rival-8082");
    register(&lab, "node-3", "unchecked", 8082, &[&format!("{ROUTE}/unchecked")], false);
    ill(&lab, "unchecked has no check");
    deregister(&lab, "node-3", "unchecked-8082");
    well(&lab);
    // One of those that keep every other change from counting.
    register(&lab, "node-2", "heavy", 8081, &[&format!("{ROUTE}/heavy weight=ten")], true);
    ill(&lab, "fabio takes no change of any route");
    register(&lab, "node-3", "late", 8082, &[&format!("{ROUTE}/late")], true);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(get(&ways[0], 80, "x", "/late"), None, "it is not as bad as the message says");
    assert!(get(&ways[0], 80, WEB, "/").is_some(), "what served goes on serving");
    deregister(&lab, "node-2", "heavy-8081");
    poll("the change counts", Duration::from_secs(10), || get(&ways[0], 80, "x", "/late"));
    well(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // One way in dies; the other one serves on.
    lab.lab(&["kill", "node-1"]);
    assert!((0..50).all(|_| get(&ways[1], 80, WEB, "/").is_some()), "the second way in");
    lab.lab(&["start", "node-1"]);
    poll("it serves again", Duration::from_secs(60), || get(&ways[0], 80, WEB, "/"));

    // What the role has made goes with it.
    lab.edit("  ways-in: { hosts: [\"node-[1-2]\"], roles: [edge-fabio] }\n", "");
    lab.run("up", &[]).exits(0);
    for host in ["node-1", "node-2"] {
        let left = lab.asks(
            host,
            "ls -d /etc/bootstrap-fabio /opt/bootstrap/fabio /usr/local/bin/fabio /etc/systemd/system/edge-fabio.service \
             /etc/systemd/system/*.wants/edge-fabio.service 2>/dev/null; pgrep -l fabio; true",
        );
        assert_eq!(left, "", "{host}");
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: fabio: as a job of Nomad on three hosts, checked against the sums of its release
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_fabio_as_a_job_serves_other_jobs() {
    const NAME: &str = "lab_fabio_as_a_job_serves_other_jobs";
    let (Some(version), Some(nomad)) = (fabio(NAME), nomad(NAME)) else { return };
    let lab = Lab::up(&["--hosts", "3"]);
    lab.sets_consul("acl: auto");
    lab.edit("roles: [consul-server]", "roles: [consul-server, nomad-server, nomad-client]");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let source = text.lines().find_map(|line| line.trim().strip_prefix("source: ")).unwrap();
    // The disk is the machine's: where it is four fifths full, clients throw away the logs of what has ended.
    let more = formatdoc! {"
          nomad:
            version: {nomad}
            source: {source}
            extra_config: {{ client: {{ gc_disk_usage_threshold: 100 }} }}
            drivers: [raw_exec]
        jobs:
          - ready: fabio
            variables: {{ driver: raw_exec, version: {version}, site: '{SITE}/fabio', tcp: [1234] }}
          - {{ ready: demo-http, variables: {{ driver: raw_exec, count: 2, route: /demo strip=/demo, text: hello }} }}
          - {{ ready: demo-tcp, variables: {{ driver: raw_exec }} }}
    "};
    fs::write(lab.inventory(), text + &more).unwrap();
    lab.run("up", &[]).exits(0).says("job fabio").says("3 of 3 clients ready");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    let ways = ["node-1", "node-2", "node-3"].map(|host| lab.address(host));
    let at =
        |way: &str| -> BTreeSet<String> { (0..20).filter_map(|_| get(way, 9999, "x", "/demo/")).collect() };
    for way in &ways {
        let pages = poll("both are served", Duration::from_secs(20), || {
            let pages = at(way);
            (pages.len() == 2).then_some(pages)
        });
        assert!(pages.iter().all(|page| page.starts_with("hello\nnode-")), "{pages:?}");
        let mut tcp = TcpStream::connect((way.as_str(), 1234)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut said = [0; 8];
        tcp.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"demo-tcp");
        let ui: SocketAddr = format!("{way}:9998").parse().unwrap();
        assert!(TcpStream::connect_timeout(&ui, Duration::from_secs(1)).is_err(), "the UI is open to others");
    }
    let known = lab.asks("node-1", "curl -fsS 'http://127.0.0.1:8500/v1/health/service/fabio?passing'");
    let known: serde_json::Value = serde_json::from_str(&known).unwrap();
    assert_eq!(known.as_array().unwrap().len(), 3, "{known}");

    // One instance more gets its share.
    lab.edit("count: 2", "count: 3");
    lab.run("up", &[]).exits(0).says("job demo-http");
    poll("all three are served", Duration::from_secs(20), || (at(&ways[0]).len() == 3).then_some(()));
}
