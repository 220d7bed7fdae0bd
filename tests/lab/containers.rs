//! Containers of a real Docker as services of a real Consul, through all that may happen to either.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{HostFiles, Lab, poll};
use serde_json::Value;

/// It has the containers; node-1 is the server, whose catalog is asked.
const HOST: &str = "node-2";

/// A container of the image `probe`, which serves HTTP at 8080 inside.
fn start(lab: &Lab, name: &str, options: &str) {
    lab.asks(
        HOST,
        &format!(
            "docker run -d --stop-signal KILL --name {name} {options} probe /busybox httpd -f -p 8080 -h /"
        ),
    );
}

/// What the server answers.
fn asks_server(lab: &Lab, path: &str) -> Vec<Value> {
    let said = lab.asks("node-1", &format!("curl -fsS 'http://127.0.0.1:8500{path}'"));
    serde_json::from_str(&said).unwrap()
}

/// The instances of a service as the catalog has them.
fn catalog(lab: &Lab, name: &str) -> Vec<Value> {
    asks_server(lab, &format!("/v1/catalog/service/{name}"))
}

/// The ports of a service's instances that pass their checks.
fn passing(lab: &Lab, name: &str) -> BTreeSet<u16> {
    let all = asks_server(lab, &format!("/v1/health/service/{name}?passing"));
    all.iter().map(|one| u16::try_from(one["Service"]["Port"].as_u64().unwrap()).unwrap()).collect()
}

/// Where Docker publishes a port of a container.
fn published(lab: &Lab, container: &str, port: u16) -> u16 {
    let said = lab.asks(HOST, &format!("docker port {container} {port} | head -n 1"));
    said.trim().rsplit(':').next().unwrap().parse().unwrap()
}

/// Tells the agent of a service that is no container's.
fn register_theirs(lab: &Lab) {
    let theirs =
        r#"{"ID":"theirs","Name":"theirs","Tags":["a\"}"],"Port":7,"Check":{"TTL":"1h","Status":"passing"}}"#;
    lab.asks(
        HOST,
        &format!("curl -fsS -X PUT -d '{theirs}' http://127.0.0.1:8500/v1/agent/service/register"),
    );
}

#[track_caller]
fn comes(lab: &Lab, name: &str, port: u16) {
    poll(&format!("{name} is served at {port}"), Duration::from_secs(20), || {
        (passing(lab, name) == BTreeSet::from([port])).then_some(())
    });
}

#[track_caller]
fn goes(lab: &Lab, name: &str) {
    poll(&format!("{name} has left the catalog"), Duration::from_secs(20), || {
        catalog(lab, name).is_empty().then_some(())
    });
}

/// Milliseconds from the end of a command on the host until the catalog has a service there, or has it no more.
fn takes(lab: &Lab, command: &str, name: &str, is_there: bool) -> u32 {
    let negation = if is_there { "" } else { "! " };
    let said = lab.asks(
        HOST,
        &format!(
            "{command} >/dev/null; began=$(date +%s%N) tries=0; \
             until {negation}curl -fsS 'http://127.0.0.1:8500/v1/catalog/service/{name}?consistent' | grep -q ServiceID; do \
             tries=$((tries + 1)); [ $tries -lt 300 ] || break; sleep 0.02; done; \
             echo $((($(date +%s%N) - began) / 1000000))"
        ),
    );
    said.trim().parse().unwrap()
}

/// What `health` says while it fails.
#[track_caller]
fn ill(lab: &Lab, words: &str) -> String {
    crate::ways::ill(lab, words, Duration::from_secs(20))
}

#[track_caller]
fn well(lab: &Lab) {
    crate::ways::well(lab, Duration::from_secs(30));
}

/// Two hosts, Docker on the second, its containers' image, and a service that somebody else has told the agent of.
fn set_up() -> (Lab, HostFiles) {
    let lab = Lab::up(&["--hosts", "2"]);
    lab.edit("[consul-client]", "[consul-client, docker]");
    lab.edit("vars:\n", "vars:\n  docker: { daemon: { storage-driver: vfs } }\n");
    lab.run("up", &[]).exits(0);
    // A health check of Docker is run by a shell.
    lab.asks(
        HOST,
        "DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends busybox-static && \
         mkdir -p /tmp/image/bin && cp /bin/busybox /tmp/image/busybox && cp /bin/busybox /tmp/image/bin/sh && \
         tar -C /tmp/image -c . | docker import -c 'EXPOSE 8080' - probe",
    );
    let before = HostFiles::of(&lab, HOST);
    register_theirs(&lab);
    lab.edit("[consul-client, docker]", "[consul-client, docker, docker-services]");
    lab.edit("vars:\n", "vars:\n  docker_services: { check_interval: 1s, check_timeout: 1s }\n");
    lab.run("up", &[]).exits(0).says("uses on");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    (lab, before)
}

/// Runs: Docker: containers are services of Consul by their labels, through restarts and kills of agent, daemon and host
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_containers_are_services_by_their_labels() {
    let (lab, before) = set_up();
    let lab = &lab;
    let address = lab.address(HOST);

    // A fixed port with all that a label says, a random one, two of one container.
    let weight = "-l SERVICE_WEIGHT=3 -l 'SERVICE_NOTE=a \"b\" \\c'";
    start(
        lab,
        "back",
        &format!("--restart always -p 8081:8080 -l SERVICE_NAME=back -l SERVICE_TAGS=http,v2 {weight}"),
    );
    start(
        lab,
        "front",
        "--restart always -P -e SERVICE_NAME=front -e SERVICE_TAGS=variable -l SERVICE_TAGS=label",
    );
    start(
        lab,
        "both",
        "-p 8080 -p 8443 -l SERVICE_NAME=both -l SERVICE_8080_NAME=plain -l SERVICE_8443_CHECK_TCP=false \
         -l SERVICE_8443_TAGS=tls",
    );
    start(lab, "unnamed", "-p 8082:8080");
    start(lab, "hidden", "-p 8083:8080 -l SERVICE_NAME=hidden -l SERVICE_IGNORE=true");
    comes(lab, "back", 8081);
    let [back]: [Value; 1] = catalog(lab, "back").try_into().unwrap();
    assert_eq!(back["ServiceID"], format!("{HOST}:back:8080"));
    assert_eq!(back["ServiceAddress"], address);
    assert_eq!(back["ServiceTags"], serde_json::json!(["http", "v2"]));
    assert_eq!(back["ServiceMeta"]["weight"], "3");
    assert_eq!(back["ServiceMeta"]["note"], "a \"b\" \\c");
    comes(lab, "front", published(lab, "front", 8080));
    assert_eq!(catalog(lab, "front")[0]["ServiceTags"], serde_json::json!(["label"]));
    comes(lab, "plain", published(lab, "both", 8080));
    comes(lab, "both-8443", published(lab, "both", 8443));
    assert_eq!(catalog(lab, "both-8443")[0]["ServiceTags"], serde_json::json!(["tls"]));
    comes(lab, "probe", 8082);
    assert!(catalog(lab, "hidden").is_empty());

    // How a check by HTTP and one that fails turn out, and what the image says of its health.
    start(lab, "page", "-p 8084:8080 -l SERVICE_NAME=page -l SERVICE_CHECK_HTTP=/busybox");
    start(lab, "deaf", "-p 8085:9 -l SERVICE_NAME=deaf");
    start(
        lab,
        "ill",
        "-p 8086:8080 -l SERVICE_NAME=ill --health-interval 1s --health-retries 1 --health-cmd '/busybox test -e /well'",
    );
    comes(lab, "page", 8084);
    poll("what fails is there", Duration::from_secs(10), || (catalog(lab, "deaf").len() == 1).then_some(()));
    lab.asks(HOST, "sleep 3");
    assert!(passing(lab, "deaf").is_empty() && passing(lab, "ill").is_empty());
    lab.asks(HOST, "docker exec ill /busybox touch /well");
    comes(lab, "ill", 8086);
    lab.asks(HOST, "docker exec ill /busybox rm /well");
    poll("it is ill again", Duration::from_secs(10), || passing(lab, "ill").is_empty().then_some(()));

    // How long it takes.
    let times: Vec<(u32, u32)> = (0..5)
        .map(|turn| {
            let run = "docker run -d --name quick -p 8090:8080 -l SERVICE_NAME=quick probe /busybox httpd -f -p 8080";
            let came = takes(lab, run, "quick", true);
            // By its end, by being paused and by being removed.
            let end = ["docker kill quick", "docker pause quick", "docker rm -f quick"][turn % 3];
            let went = takes(lab, end, "quick", false);
            lab.asks(HOST, "docker rm -f quick 2>/dev/null || true");
            (came, went)
        })
        .collect();
    println!("milliseconds until the catalog has a container, and has it no more: {times:?}");
    assert!(times.iter().all(|(came, went)| *came < 1000 && *went < 1000), "{times:?}");

    // Several events of one moment are few comparisons, and a name is another service.
    lab.asks(HOST, "docker rename unnamed named");
    poll("it has another id", Duration::from_secs(5), || {
        let now = catalog(lab, "probe");
        (now.len() == 1 && now[0]["ServiceID"] == format!("{HOST}:named:8080").as_str()).then_some(())
    });

    // What cannot be is told, with container, label and the way out; the rest goes on.
    start(lab, "bad", "-p 8087:8080 -l SERVICE_NAME=bad_name");
    let said = ill(lab, "container bad, port 8080, label SERVICE_NAME: DNS knows no service `bad_name`");
    assert!(said.contains(HOST) && said.contains("letters, digits and `-`"), "{said}");
    lab.asks(HOST, "docker rm -f bad");
    start(lab, "taker", "-p 8088:8080 -l SERVICE_NAME=taker -l SERVICE_ID=theirs");
    ill(lab, "container taker, port 8080, label SERVICE_ID: somebody else has told the agent of a service");
    assert_eq!(catalog(lab, "theirs")[0]["ServicePort"], 7);
    lab.asks(HOST, "docker rm -f taker");
    start(lab, "twin", "-p 8089:8080 -l SERVICE_NAME=twin -l SERVICE_ID=one");
    start(lab, "other", "-p 8091:8080 -l SERVICE_NAME=twin -l SERVICE_ID=one");
    ill(
        lab,
        "container other, port 8080, label SERVICE_ID: the id `one` has port 8080 of container twin already",
    );
    comes(lab, "twin", 8089);
    lab.asks(HOST, "docker rm -f twin");
    comes(lab, "twin", 8091);
    // What this program does not judge, the agent does.
    let long = "x".repeat(600);
    start(lab, "wordy", &format!("-p 8092:8080 -l SERVICE_NAME=wordy -l SERVICE_NOTE={long}"));
    ill(lab, "the agent of Consul refuses it");
    lab.asks(HOST, "docker rm -f wordy");
    well(lab);

    // The agent is killed. Meanwhile one container ends and another one starts.
    start(lab, "early", "-p 8093:8080 -l SERVICE_NAME=early");
    comes(lab, "early", 8093);
    lab.asks(
        HOST,
        "systemctl kill -s KILL consul; docker kill early; \
         docker run -d --name late -p 8094:8080 -l SERVICE_NAME=late probe /busybox httpd -f -p 8080",
    );
    comes(lab, "late", 8094);
    goes(lab, "early");
    // It forgets all it had, but for what is written in its configuration.
    lab.asks(
        HOST,
        "systemctl stop consul; sleep 2; rm -rf /opt/consul/services /opt/consul/checks; systemctl start consul",
    );
    comes(lab, "back", 8081);
    comes(lab, "late", 8094);
    register_theirs(lab);

    // The program itself is killed.
    lab.asks(HOST, "systemctl kill -s KILL docker-services; docker rm -f late");
    goes(lab, "late");

    // The daemon is stopped: nobody starts it again for a question, and what it had does not serve.
    lab.asks(HOST, "systemctl stop docker.service");
    ill(lab, "docker.service does not run");
    poll("nothing of it passes", Duration::from_secs(10), || passing(lab, "back").is_empty().then_some(()));
    assert_eq!(lab.ssh(HOST, "systemctl is-active docker.service").stdout, "inactive\n");
    lab.asks(HOST, "systemctl start docker.service");
    comes(lab, "back", 8081);
    comes(lab, "front", published(lab, "front", 8080));
    // What has no policy of restarts stays stopped.
    goes(lab, "page");
    // Where containers run on without the daemon, so do their services.
    lab.asks(
        HOST,
        "systemctl reset-failed docker.service; sed -i 's/{/{ \"live-restore\": true,/' /etc/docker/daemon.json && \
         systemctl restart docker.service && \
         systemctl kill -s KILL docker.service",
    );
    poll("the daemon is back", Duration::from_secs(30), || {
        (lab.ssh(HOST, "docker info -f '{{.LiveRestoreEnabled}}'").stdout == "true\n").then_some(())
    });
    comes(lab, "back", 8081);
    lab.asks(
        HOST,
        "sed -i 's/{ \"live-restore\": true,/{/' /etc/docker/daemon.json && systemctl reload docker.service",
    );
    well(lab);

    // The power goes, and comes back.
    lab.lab(&["kill", HOST]);
    lab.lab(&["start", HOST]);
    poll("it is back", Duration::from_secs(60), || {
        (lab.ssh(HOST, "systemctl is-active docker").status == 0).then_some(())
    });
    comes(lab, "back", 8081);
    comes(lab, "front", published(lab, "front", 8080));
    goes(lab, "both-8443");
    goes(lab, "named");
    assert_eq!(catalog(lab, "theirs").len(), 1, "what others have registered is never touched");
    well(lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Without the role all of it goes, and nothing else.
    lab.edit(", docker-services]", "]");
    lab.run("up", &[]).exits(0);
    goes(lab, "back");
    goes(lab, "front");
    assert_eq!(catalog(lab, "theirs").len(), 1);
    let running = lab.asks(HOST, "docker ps --format '{{.Names}}' | sort | tr '\\n' ' '");
    assert_eq!(running, "back front ");
    assert_ne!(lab.ssh(HOST, "systemctl cat docker-services.service").status, 0);
    lab.ssh(HOST, "test ! -e /run/bootstrap-docker && test ! -e /var/lib/bootstrap/docker-services").exits(0);
    // The agent's own data, and what is kept of the other roles.
    let others = |line: &String| {
        let path = line.trim_start_matches('/');
        path.starts_with("opt/consul") || path.starts_with("var/lib/bootstrap")
    };
    let left: Vec<String> = before.differences(lab, HOST).into_iter().filter(|line| !others(line)).collect();
    assert_eq!(left, [""; 0]);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// With the role goes its agent: nobody is left who could be told, and all is well.
///
/// Runs: Docker: a host of such containers leaves its cluster
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_containers_leave_with_their_host() {
    let (lab, _) = set_up();
    start(&lab, "back", "-p 8081:8080 -l SERVICE_NAME=back");
    comes(&lab, "back", 8081);
    // Another who registers the same containers is warned about.
    lab.asks(
        HOST,
        "printf '[Service]\\nExecStart=/usr/local/bin/registrator consul://127.0.0.1:8500\\n' >/etc/systemd/system/theirs.service",
    );
    let planned = lab.run("plan", &[]);
    let said = planned.stdout + &planned.stderr;
    assert!(said.contains("registrator registers the same containers"), "{said}");
    lab.asks(HOST, "rm /etc/systemd/system/theirs.service");
    lab.run("remove-node", &[HOST, "--yes"]).exits(0);
    goes(&lab, "back");
    lab.ssh(HOST, "test ! -e /etc/bootstrap-docker && test ! -e /var/lib/bootstrap/docker-services").exits(0);
    assert_ne!(lab.ssh(HOST, "systemctl cat docker-services.service").status, 0);
}
