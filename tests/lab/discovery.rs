//! Three hosts, each with containers that find one another by name, and two ways in at one address: the inventory `consul-docker-edge`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::starters::written;
use crate::support::{Lab, poll};
use crate::ways::{ADDRESS, Asked, HASTY, PATIENT, get, get_within, holders, tell_consul, well};
use indoc::indoc;

const HOSTS: [&str; 3] = ["node-1", "node-2", "node-3"];

/// An image without any registry: a web server whose page says in which container it is, and one that asks another service for its
/// page.
const IMAGE: &str = indoc! {r#"
    set -e
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends busybox-static >/dev/null
    mkdir -p /tmp/image/bin /tmp/image/www/cgi-bin /tmp/image/etc
    cp /bin/busybox /tmp/image/bin/busybox
    ln -sf busybox /tmp/image/bin/sh
    printf '#!/bin/sh\nprintf "\\r\\n"; busybox wget -q -O - http://httpbackend.service.consul:8081/\n' >/tmp/image/www/cgi-bin/ask
    chmod 755 /tmp/image/www/cgi-bin/*
    tar -C /tmp/image -c . | docker import -c 'EXPOSE 80' \
      -c 'CMD ["sh", "-c", "busybox hostname >/www/index.html; exec busybox httpd -f -p 80 -h /www"]' - page
"#};

/// Starts a container on a host.
fn run(lab: &Lab, host: &str, name: &str, options: &str) {
    lab.asks(
        host,
        &format!("docker run -d --restart always --name {name} --hostname {name}.{host} {options} page"),
    );
}

/// What is answered through a way in, of 60 requests.
fn answers(address: &str, host: &str, path: &str) -> BTreeSet<String> {
    crate::ways::served(|| get(address, 80, host, path).map(|page| page.trim().to_owned()))
}

/// Runs: Docker: three hosts whose containers find one another by name, behind two ways in at one address: the inventory `consul-docker-edge`
/// Runs: nginx: before containers at fixed and random ports; their host loses its power
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_discovery_of_containers_behind_an_address_that_moves() {
    let lab = written(
        "consul-docker-edge",
        3,
        &[
            ("192.168.0.[129-131]", "10.77.0.1[1-3]"),
            ("192.168.0.128", ADDRESS),
            ("live-restore: true", "live-restore: true, storage-driver: vfs"),
            ("  nginx: {", "  consul_template: { source: { mirror: 'http://10.77.0.1:7780' } }\n  nginx: {"),
        ],
    );
    lab.run("check", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A service inside at a fixed port, one outside at random ports that asks it by its name, one by its own port.
    for host in HOSTS {
        lab.asks(host, IMAGE);
        run(&lab, host, "back", "-p 8081:80 -l SERVICE_NAME=httpbackend -l SERVICE_CHECK_INTERVAL=1s");
        run(
            &lab,
            host,
            "front",
            "-P -l SERVICE_NAME=httpfront -l SERVICE_TAGS=http -l SERVICE_CHECK_INTERVAL=1s",
        );
        run(
            &lab,
            host,
            "tcp",
            "-P -l SERVICE_NAME=tcpfront-9999 -l SERVICE_TAGS=tcp -l SERVICE_CHECK_INTERVAL=1s",
        );
    }
    let on = |name: &str, hosts: &[&str]| -> BTreeSet<String> {
        hosts.iter().map(|host| format!("{name}.{host}")).collect()
    };
    const FRONT: &str = "httpfront.example.org";
    poll("all fronts are served", Duration::from_secs(20), || {
        (answers(ADDRESS, FRONT, "/") == on("front", &HOSTS)).then_some(())
    });
    // Names are answered in turn: each front reaches all three.
    let (mut pages, deadline) = (String::new(), Instant::now() + Duration::from_secs(30));
    while on("back", &HOSTS).iter().any(|one| !pages.contains(one)) {
        assert!(Instant::now() < deadline, "not all backends are reached by their name: {pages}");
        pages.extend(get(ADDRESS, 80, FRONT, "/cgi-bin/ask"));
    }
    for host in HOSTS {
        let addresses =
            lab.asks(host, "getent ahostsv4 consul.service.dc1.consul | cut -d ' ' -f 1 | sort -u | wc -l");
        assert_eq!(addresses.trim(), "3", "{host}");
    }
    poll("by its port", Duration::from_secs(10), || get(ADDRESS, 9999, "x", "/"));
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("health", &[]).exits(0);

    // Containers go and come under load, in the order of who takes care: one stops after it has been taken out.
    let ask = |way: &str| get_within(PATIENT, way, 80, FRONT, "/").is_some();
    let asked = Asked::during(&[ADDRESS], ask, || {
        for turn in 0..3 {
            run(
                &lab,
                "node-3",
                &format!("more-{turn}"),
                "-P -l SERVICE_NAME=httpfront -l SERVICE_TAGS=http -l SERVICE_CHECK_INTERVAL=1s",
            );
            let one = format!("more-{turn}.node-3");
            poll("it is served", Duration::from_secs(10), || {
                answers(ADDRESS, FRONT, "/").contains(&one).then_some(())
            });
            // An operator who takes care: into maintenance, then away.
            let id = format!("node-3:more-{turn}:80");
            tell_consul(&lab, "node-3", &format!("service/maintenance/{id}?enable=true&reason=test"), "");
            poll("it is served no more", Duration::from_secs(10), || {
                (!answers(ADDRESS, FRONT, "/").contains(&one)).then_some(())
            });
            lab.asks("node-3", &format!("docker rm -f more-{turn}"));
        }
    });
    println!("{} requests while containers came and went, {} lost", asked.count(), asked.lost());
    assert!(asked.count() > 500, "{}", asked.count());
    assert_eq!(asked.lost(), 0, "of {} requests", asked.count());

    // The host that has the address loses its power, and two containers with it.
    let holder = holders(&lab, &HOSTS).pop().expect("somebody has the address");
    let left: Vec<&str> = HOSTS.into_iter().filter(|host| *host != holder).collect();
    let ask = |way: &str| get_within(HASTY, way, 80, FRONT, "/").is_some();
    let asked = Asked::during(&[ADDRESS], ask, || {
        lab.lab(&["kill", holder]);
        poll("the address has moved", Duration::from_secs(10), || {
            (!holders(&lab, &left).is_empty()).then_some(())
        });
        std::thread::sleep(Duration::from_secs(5));
    });
    println!(
        "{holder} lost its power: silent for {:?}, {} of {} lost",
        asked.silence(),
        asked.lost(),
        asked.count()
    );
    poll("the others are served, and they alone", Duration::from_secs(30), || {
        (answers(ADDRESS, FRONT, "/") == on("front", &left)).then_some(())
    });
    lab.lab(&["start", holder]);
    well(&lab, Duration::from_secs(90));
    poll("all fronts are served again", Duration::from_secs(30), || {
        (answers(ADDRESS, FRONT, "/").len() >= 3).then_some(())
    });
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
