//! Names of Consul on real hosts of each kind: a plain resolv.conf, resolvconf, systemd-resolved. The name server for all
//! other names is the test's own, at the lab's own address.

use indoc::formatdoc;
use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use crate::support::{Lab, poll};

/// This machine as the hosts see it.
const SERVER: &str = "10.77.0.1";
const PLAIN: &str = "node-1";
const RESOLVCONF: &str = "node-2";
const RESOLVED: &str = "node-3";
/// It has no agent, and a forwarder before its systemd-resolved.
const BARE: &str = "node-4";
const ALL: [&str; 4] = [PLAIN, RESOLVCONF, RESOLVED, BARE];
const OUTSIDE: &str = "outside.lab.test";

/// Answers for the one name outside with 192.0.2.7, and denies all others.
fn serve_outside() {
    // The bridge comes and goes with each lab; a socket that is bound to its address outlives it.
    static SERVED: Once = Once::new();
    SERVED.call_once(serve_for_good);
}

fn serve_for_good() {
    let socket = UdpSocket::bind((SERVER, 53)).expect("port 53 of the lab's bridge is free");
    thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            let Some(end) = query[12..length].iter().position(|byte| *byte == 0).map(|at| 12 + at + 5) else {
                continue;
            };
            let name = query[12..end - 5].to_ascii_lowercase();
            let known = name == b"\x07outside\x03lab\x04test";
            let is_a = query[end - 4..end] == [0, 1, 0, 1];
            let mut reply = query[..end].to_vec();
            reply[2..12].copy_from_slice(&[
                0x81,
                if known { 0x80 } else { 0x83 },
                0,
                1,
                0,
                u8::from(known && is_a),
                0,
                0,
                0,
                0,
            ]);
            if known && is_a {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 7]);
            }
            let _ = socket.send_to(&reply, asker);
        }
    });
}

/// A lab with a host of each kind, and a fourth without an agent.
fn hosts_of_each_kind(options: &[&str]) -> Lab {
    let lab = Lab::up(&[&["--hosts", "4"], options].concat());
    serve_outside();
    let install = |package: &str| {
        format!("DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install {package} 2>&1")
    };
    // The mirror's address, for the time when the test's own server is asked.
    let list = lab.asks(PLAIN, "cat /etc/apt/sources.list");
    let mirror = list.split_once("://").map(|(_, rest)| rest.split(['/', ':', ' ']).next().unwrap()).unwrap();
    let address =
        (mirror, 80).to_socket_addrs().ok().and_then(|mut all| all.find(|address| address.is_ipv4()));
    if let Some(address) = address {
        for host in ALL {
            lab.ssh(host, &format!("echo '{} {mirror}' >>/etc/hosts", address.ip())).exits(0);
        }
    }
    let plain = format!(
        "printf 'nameserver {SERVER}\nsearch lab.test\noptions timeout:1 rotate\n' >/etc/resolv.conf"
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            lab.ssh(PLAIN, &format!("apt-get -q update && {}; {plain}", install("isc-dhcp-client"))).exits(0)
        });
        scope.spawn(|| {
            let setup = "printf 'nameserver 10.77.0.1\nsearch lab.test\n' >/etc/resolvconf/resolv.conf.d/base; \
                         rm -f /run/resolvconf/interface/*; resolvconf --enable-updates; resolvconf -u";
            lab.ssh(RESOLVCONF, &format!("apt-get -q update && {} && {setup}", install("resolvconf"))).exits(0)
        });
        for host in [RESOLVED, BARE] {
            let lab = &lab;
            scope.spawn(move || {
                let setup = "sed -i 's/^DHCP=no/DHCP=no\\nDNS=10.77.0.1/' /etc/systemd/network/10-host0.network; \
                             systemctl restart systemd-networkd systemd-resolved";
                lab.ssh(host, &format!("apt-get -q update && {} && {setup}", install("systemd-resolved")))
                    .exits(0)
            });
        }
    });
    assert!(lab.asks(RESOLVCONF, "readlink /etc/resolv.conf").contains("/run/resolvconf/"));
    assert!(lab.asks(RESOLVED, "readlink /etc/resolv.conf").contains("stub-resolv.conf"));
    for host in ALL {
        poll(&format!("{host} resolves {OUTSIDE}"), Duration::from_secs(15), || {
            resolves(&lab, host, OUTSIDE)
        });
    }
    lab.edit("roles: [consul-server]", "roles: [consul-server, dns]");
    lab.edit("roles: [consul-client]", "roles: [dns]");
    lab.edit("node-4: {", "node-4: { vars: { dns: { mode: forwarder } },");
    // Hosts without an agent ask the servers.
    lab.edit(
        "datacenter: dc1\n",
        &formatdoc!(
            "
            datacenter: dc1
                client_addr: [0.0.0.0]
              dns: {{ outside_name: {OUTSIDE} }}
        "
        ),
    );
    lab
}

/// What the C library says of a name.
fn resolves(lab: &Lab, host: &str, name: &str) -> Option<String> {
    let ran = lab.ssh(host, &format!("getent ahostsv4 {name}"));
    (ran.status == 0).then(|| ran.stdout.split(' ').next().unwrap_or_default().to_owned())
}

/// Everything that a host's names hang on: links, modes and bytes.
fn snapshot(lab: &Lab, host: &str) -> String {
    lab.asks(
        host,
        "find /etc/resolv.conf /etc/resolvconf /etc/systemd/resolved.conf* /etc/systemd/system /etc/dnssec-trust-anchors.d \
           /etc/dhcp /etc/dhcpcd* /etc/NetworkManager /etc/bootstrap-dns /var/lib/bootstrap/resolver \
           -printf '%p %M %u:%g %l\\n' 2>/dev/null | grep -v consul.service | sort; \
         find /etc/resolv.conf /etc/resolvconf /etc/systemd/resolved.conf* /etc/dhcp /etc/dhcpcd* -type f \
           -exec sha256sum {} + 2>/dev/null | sort -k 2; \
         cat /etc/resolv.conf; systemctl is-active systemd-resolved bootstrap-dns resolvconf || true",
    )
}

fn every_kind_of_host(options: &[&str]) {
    let lab = hosts_of_each_kind(options);
    let bare = ALL.map(|host| snapshot(&lab, host));

    // What cannot be is told with what was seen, and nothing is changed.
    lab.ssh(PLAIN, "mv /etc/resolv.conf /opt/own.conf && ln -s /opt/own.conf /etc/resolv.conf").exits(0);
    let refused = lab.run("up", &[]);
    assert_ne!(refused.status, 0);
    refused
        .says("node-1")
        .says("who resolves names there is unknown: /etc/resolv.conf is a link to /opt/own.conf");
    lab.ssh(PLAIN, "rm /etc/resolv.conf && mv /opt/own.conf /etc/resolv.conf").exits(0);
    lab.ssh(PLAIN, "mount --bind /etc/resolv.conf /etc/resolv.conf").exits(0);
    lab.run("plan", &[]).says("/etc/resolv.conf cannot be replaced: it is mounted");
    lab.ssh(PLAIN, "umount /etc/resolv.conf").exits(0);
    lab.edit("outside_name:", "listen: 127.0.0.1, outside_name:");
    lab.edit("client_addr: [0.0.0.0]", "client_addr: [0.0.0.0]\n    dns_port: 53");
    lab.run("plan", &[])
        .says("roles `consul-agent` (DNS) and `dns` (Forwarder of names) both want port 53/tcp");
    lab.edit("listen: 127.0.0.1, ", "");
    lab.edit("\n    dns_port: 53", "");
    assert_eq!(ALL.map(|host| snapshot(&lab, host)), bare, "a refused run has changed something");

    let before = ALL.map(|host| lab.logins(host));
    lab.run("up", &[]).exits(0).says("leader").says("dns in use");
    for (host, before) in ALL.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!(made.handshakes, 1, "{host}: first up");
    }
    let names =
        "consul.service.consul consul.service.dc1.consul node-2.node.consul outside.lab.test none.lab.test";
    for host in ALL {
        let found = lab.asks(
            host,
            &format!("for name in {names}; do set -- $(getent ahostsv4 $name); echo \"$name $1\"; done"),
        );
        let of = |name: &str| {
            let line =
                found.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).map(str::to_owned);
            line.unwrap_or_else(|| panic!("{host}: {found}"))
        };
        for name in ["consul.service.consul", "consul.service.dc1.consul"] {
            let servers = ["node-1", "node-2", "node-3"].map(|server| lab.address(server));
            assert!(servers.contains(&of(name)), "{host}: {found}");
        }
        assert_eq!(of("node-2.node.consul"), lab.address("node-2"), "{host}: {found}");
        assert_eq!(of(OUTSIDE), "192.0.2.7", "{host}: {found}");
        assert_eq!(of("none.lab.test"), "", "{host}: {found}");
    }
    lab.ssh(PLAIN, "grep -q '^nameserver 127.0.0.1$' /etc/resolv.conf && ! grep -q rotate /etc/resolv.conf")
        .exits(0);
    lab.ssh(RESOLVED, "grep -q 'DNS=127.0.0.1:8600' /etc/systemd/resolved.conf.d/bootstrap-consul.conf")
        .exits(0);

    // A second run has nothing to do, and asks the lookups in its one session.
    let before = ALL.map(|host| lab.logins(host));
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in ALL.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
    }

    // DHCP does not undo it, and the forwarder learns what the network says.
    let kept = lab.asks(PLAIN, "sha256sum /etc/resolv.conf");
    let renew = format!(
        "reason=RENEW interface=host0 old_ip_address={0} new_ip_address={0} new_domain_name_servers={SERVER} \
         new_domain_name=dhcp.test /sbin/dhclient-script",
        lab.address(PLAIN)
    );
    lab.ssh(PLAIN, &renew).exits(0);
    assert_eq!(lab.asks(PLAIN, "sha256sum /etc/resolv.conf"), kept, "dhclient has rewritten it");
    assert_eq!(lab.asks(PLAIN, "cat /run/bootstrap-dns/dhcp"), format!("nameserver {SERVER}\n"));
    lab.ssh(RESOLVCONF, &format!("echo nameserver {SERVER} | resolvconf -a host0.dhclient")).exits(0);
    lab.ssh(RESOLVCONF, "grep -m 1 '^nameserver' /etc/resolv.conf | grep -q 127.0.0.1").exits(0);

    // Names outside do not need Consul, nor the forwarder.
    for host in &ALL[..3] {
        lab.ssh(host, "systemctl stop consul").exits(0);
    }
    for host in ALL {
        assert_eq!(resolves(&lab, host, OUTSIDE).as_deref(), Some("192.0.2.7"), "{host} without Consul");
    }
    for host in [PLAIN, RESOLVCONF, BARE] {
        lab.ssh(host, "systemctl stop bootstrap-dns").exits(0);
        assert_eq!(
            resolves(&lab, host, OUTSIDE).as_deref(),
            Some("192.0.2.7"),
            "{host} without its forwarder"
        );
    }
    let said = lab.run("health", &["--timeout", "5s"]).exits(4);
    assert!(said.stderr.contains("`bootstrap up` sets the role up again"), "{}", said.stderr);
    lab.follow(&said, "up", &[]).exits(0).says("dns in use");

    // What somebody breaks is seen by a run that has nothing else to do.
    lab.ssh(RESOLVED, "rm /etc/resolv.conf && echo nameserver 10.77.0.1 >/etc/resolv.conf").exits(0);
    let judged = lab.run("up", &["--timeout", "3s"]).exits(4);
    judged.says("node-3: `consul.service.consul` has no address here");
    lab.ssh(RESOLVED, "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf").exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // What it was set up as it stays, until the role has been away.
    lab.edit("mode: forwarder", "mode: resolved");
    let refused = lab.run("up", &[]).exits(1).says("node-4").says("it is set up there as `forwarder`");
    lab.edit("roles: [dns]", "roles: []");
    lab.follow(&refused, "up", &[]).exits(0);
    lab.edit("roles: []", "roles: [dns]");
    lab.run("up", &[]).exits(0).says("uses on 4 hosts");
    lab.ssh(BARE, "grep -q 'DNS=.*:8600' /etc/systemd/resolved.conf.d/bootstrap-consul.conf").exits(0);
    assert_eq!(resolves(&lab, BARE, OUTSIDE).as_deref(), Some("192.0.2.7"));

    // Without the role every file is as it was.
    lab.edit("roles: [consul-server, dns]", "roles: [consul-server]");
    lab.edit("roles: [dns]", "roles: []");
    lab.run("up", &[]).exits(0);
    for (host, bare) in ALL.into_iter().zip(bare) {
        assert_eq!(snapshot(&lab, host), bare, "{host}");
        assert_eq!(resolves(&lab, host, OUTSIDE).as_deref(), Some("192.0.2.7"), "{host}");
        assert_eq!(resolves(&lab, host, "consul.service.consul"), None, "{host}");
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Hosts' DNS: systemd-resolved, resolvconf and a plain resolv.conf
/// Walks: take the role away from the host and run `bootstrap up`
/// Walks: `bootstrap up` sets the role up again and says what stands in the way
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_names_on_every_kind_of_host_on_bookworm() {
    every_kind_of_host(&[]);
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_names_on_every_kind_of_host_on_trixie() {
    every_kind_of_host(&["--suite", "trixie"]);
}

/// Walks: `bootstrap up` after each boot writes it again
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_consul_itself_on_port_53() {
    let lab = Lab::up(&["--hosts", "1"]);
    serve_outside();
    lab.ssh(PLAIN, "apt-get -q update && apt-get -q -y --no-install-recommends install dnsmasq-base")
        .exits(0);
    lab.ssh(PLAIN, &format!("echo nameserver {SERVER} >/etc/resolv.conf")).exits(0);
    lab.edit("roles: [consul-server]", "roles: [consul-server, dns]");
    let address = lab.address(PLAIN);
    let settings = formatdoc!(
        "
            datacenter: dc1
                dns_port: 53
                recursors: [{SERVER}]
                client_addr: [{address}]
              dns: {{ outside_name: {OUTSIDE} }}
        "
    );
    lab.edit("datacenter: dc1\n", &settings);
    lab.run("up", &[]).exits(0).says("dns in use");
    for name in ["consul.service.consul", "node-1.node.consul"] {
        assert_eq!(resolves(&lab, PLAIN, name), Some(address.clone()), "{name}");
    }
    assert_eq!(resolves(&lab, PLAIN, OUTSIDE).as_deref(), Some("192.0.2.7"));
    lab.run("up", &[]).exits(0).says("Nothing to do");
    // Who is given the agent's address finds both kinds of names.
    lab.ssh(PLAIN, &format!("cp /etc/resolv.conf /run/kept && echo nameserver {address} >/etc/resolv.conf"))
        .exits(0);
    assert_eq!(resolves(&lab, PLAIN, "consul.service.consul"), Some(address.clone()));
    assert_eq!(resolves(&lab, PLAIN, OUTSIDE).as_deref(), Some("192.0.2.7"));
    lab.ssh(PLAIN, "cat /run/kept >/etc/resolv.conf").exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Where cloud-init writes the file at each boot, that is said beforehand, and what is to be done then helps.
    lab.ssh(PLAIN, "mkdir -p /etc/cloud && echo 'manage_resolv_conf: true' >/etc/cloud/cloud.cfg").exits(0);
    let warned =
        lab.run("up", &[]).exits(0).says("cloud-init writes /etc/resolv.conf anew when the host boots");
    lab.ssh(PLAIN, &format!("echo nameserver {SERVER} >/etc/resolv.conf")).exits(0);
    assert_eq!(resolves(&lab, PLAIN, "consul.service.consul"), None);
    lab.follow(&warned, "up", &[]).exits(0);
    assert_eq!(resolves(&lab, PLAIN, "consul.service.consul"), Some(address));
}
