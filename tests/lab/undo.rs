//! A role that is taken away again, on a real host: what it changed is as it was.

use std::fs;
use std::path::Path;

use crate::support::{HostFiles, Lab, Ran};

/// Everything that a removable role may change; outside the repository, so that it is nobody's product.
const NAMES: &str = r#"
doc: Changes one thing of each kind.
variables:
  names.text: { type: string, default: first, doc: What the files say. }
  names.extra: { type: list, of: map, default: [{ name: one, on: true }, { name: two, on: false }], doc: More files. }
resources:
  - package: { names: [figlet] }
  - directory: { path: /srv/names/deep, mode: "0750" }
  - directory: { path: /srv/theirs, mode: "0700" }
  - file: { path: /etc/names.conf, content: "{{ names.text }}\n", mode: "0600" }
  - file: { path: /etc/names.key, content: "hunter2 {{ names.text }}", mode: "0600", secret: true }
  - file: { path: /etc/names.link, content: "{{ names.text }}\n", replace_symlink: true }
  - file: { path: "/srv/names/deep/{{ item.name }}", content: "{{ item.name }} {{ names.text }}\n" }
    for_each: names.extra
    when: item.on
  - json-merge: { path: /etc/names.json, content: "{{ {'text': names.text, 'old': none} | json }}" }
  - block-in-file: { path: /etc/hosts, marker: names, content: "10.9.9.9 {{ names.text }}.example" }
  - exec: { name: note it, command: [touch, /srv/noted], creates: /srv/noted, undo: [rm, -f, /srv/noted] }
  - mount: { what: tmpfs, where: /srv/scratch/names, type: tmpfs, options: "size=1m" }
  - file:
      path: /etc/systemd/system/names.service
      content: "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
  - unit: { name: names.service, restart_on: [/etc/names.conf] }
  - unit: { name: theirs.service, restart_on: [/etc/names.json] }
"#;

/// What the role will change, as somebody left it; `theirs.service` runs, the rest is files.
const LIVED_IN: &str = r#"
set -e
printf 'no line end \377' >/etc/names.conf; chmod 4750 /etc/names.conf; chown daemon:adm /etc/names.conf
printf 'hunter1' >/etc/names.key; chmod 0440 /etc/names.key
ln -s ../run/names.target /etc/names.link; chown -h daemon /etc/names.link; echo target >/run/names.target
printf '{"old":   1,\n "text": [] }' >/etc/names.json
mkdir -m 0711 /srv/theirs
printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/theirs.service
systemctl enable -q --now theirs
"#;

/// All of it, down to bytes, owner and mode.
fn look(lab: &Lab) -> String {
    lab.asks(
        "node-1",
        "cd /; find etc/names.* etc/hosts etc/systemd/system srv -printf '%p %y %l %m %U:%G\\n' | sort; \
         find etc/names.* etc/hosts etc/systemd/system srv run/names.target -type f -print0 | sort -z | \
         xargs -0r sha256sum; systemctl is-active theirs names; systemctl is-enabled theirs names 2>/dev/null; \
         findmnt -no TARGET /srv/scratch/names; true",
    )
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_removed_role_leaves_the_host_as_it_was() {
    let lab = Lab::up(&["--hosts", "1"]);
    let roles = lab.folder.path().join("roles");
    for (name, text) in [("names", NAMES), ("idle", "doc: Nothing.\n")] {
        fs::create_dir_all(roles.join(name)).unwrap();
        fs::write(roles.join(name).join("role.yaml"), text).unwrap();
    }
    let with_roles = ["--roles", roles.to_str().unwrap()];
    lab.edit("roles: [consul-server]", "roles: [names]");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), text.split("vars:").next().unwrap()).unwrap();
    lab.ssh("node-1", LIVED_IN).exits(0);
    let before = look(&lab);

    lab.run("up", &with_roles).exits(0);
    let logins = lab.logins("node-1");
    lab.run("up", &with_roles).exits(0).says("Nothing to do");
    let made = lab.logins("node-1").since(logins);
    assert_eq!((made.handshakes, made.sessions), (1, 1), "the ledger is part of the observe script");
    lab.ssh("node-1", "test -e /srv/noted && test -f /etc/names.link && test ! -e /srv/names/deep/two")
        .exits(0);
    assert_eq!(
        lab.asks("node-1", "systemctl is-active names; findmnt -no FSTYPE /srv/scratch/names"),
        "active\ntmpfs\n"
    );
    let ledger = lab.asks("node-1", "find /var/lib/bootstrap/undo -printf '%y %m\\n' | sort -u");
    assert_eq!(ledger, "d 700\nf 600\n");

    // What counts is what was there before the first change.
    fs::write(roles.join("names/role.yaml"), NAMES.replace("default: first", "default: second")).unwrap();
    lab.run("up", &with_roles).exits(0);
    assert!(lab.asks("node-1", "cat /etc/hosts").contains("10.9.9.9 second.example"));
    let pid = || lab.asks("node-1", "systemctl show -p MainPID --value theirs");
    let running = pid();

    lab.edit("roles: [names]", "roles: [idle]");
    let planned = lab.run("plan", &["--exit-code", with_roles[0], with_roles[1]]).exits(5).stdout;
    for said in [
        "remove names",
        "restore file /etc/hosts (as before role names)",
        "-10.9.9.9 second.example",
        "a symbolic link to ../run/names.target",
        "leave package figlet (packages stay installed)",
    ] {
        assert!(planned.contains(said), "`{said}` is not in\n{planned}");
    }
    assert!(!planned.contains("hunter"), "{planned}");
    lab.run("up", &with_roles).exits(0);
    assert_eq!(look(&lab), before);
    assert_ne!(pid(), running, "a unit that watched a file which is back");
    lab.ssh("node-1", "command -v figlet && test ! -e /var/lib/bootstrap/undo/* && test ! -e /srv/scratch")
        .exits(0);
    lab.run("up", &with_roles).exits(0).says("Nothing to do");

    // Once more, and this time somebody changes a file while the role is there.
    lab.edit("roles: [idle]", "roles: [names]");
    lab.run("up", &with_roles).exits(0);
    lab.ssh("node-1", "echo mine >>/etc/names.conf").exits(0);
    lab.edit("roles: [names]", "roles: []");
    let said = lab
        .run("up", &with_roles)
        .exits(0)
        .says("leave file /etc/names.conf: changed since role names")
        .stderr;
    let copy = said.split("is kept in ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(lab.asks("node-1", "cat /etc/names.conf"), "second\nmine\n");
    assert_eq!(
        lab.asks("node-1", &format!("sha256sum <{copy}")),
        lab.asks("node-1", "printf 'no line end \\377' | sha256sum")
    );
    lab.ssh("node-1", "test -L /etc/names.link && ! systemctl is-active names").exits(0);
    lab.run("up", &with_roles).exits(0).says("Nothing to do");
}

/// The inventory of the design, as far as its programs are there: `NOMAD` in a list of roles goes where they are not.
fn first_inventory(lab: &Lab) {
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let (hosts, vars) = (&text[..text.find("groups:").unwrap()], &text[text.find("vars:").unwrap()..]);
    let mirror = Path::new("/var/cache/bootstrap-lab/mirror/nomad");
    let nomad = fs::read_dir(mirror).ok().and_then(|mut versions| versions.next());
    let nomad = nomad.map(|version| version.unwrap().file_name().into_string().unwrap());
    let role = |name: &str| nomad.as_ref().map(|_| format!(", {name}")).unwrap_or_default();
    let nomad_vars = nomad.as_ref().map(|version| {
        format!("  nomad: {{ version: {version}, source: {{ mirror: 'http://10.77.0.1:7780' }} }}\n")
    });
    let text = format!(
        "{hosts}groups:\n  servers: {{ hosts: ['node-[1-3]'], roles: [consul-server{}] }}\n  \
         workers: {{ hosts: [node-4], roles: [consul-client{}, docker, dns] }}\n{vars}{}",
        role("nomad-server"),
        role("nomad-client"),
        nomad_vars.unwrap_or_default()
    );
    fs::write(lab.inventory(), text).unwrap();
}

/// What somebody has on these hosts where roles will write.
const STRANGERS: &str = r#"
set -e
mkdir -p /etc/consul.d /usr/local/bin; chmod 0701 /etc/consul.d
printf '#!/bin/sh\necho mine\n' >/usr/local/bin/consul; chmod 0750 /usr/local/bin/consul
printf 'not configuration' >/etc/consul.d/notes.txt
printf 'nameserver 10.77.0.1\n# mine' >/etc/resolv.conf
"#;

/// Somebody's key of gossip, as Serf keeps it.
const KEYRING: &str = r#"["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]"#;

/// What `init` writes for three answers, with what only a lab needs: its key, its host keys, its releases.
fn starter(lab: &Lab) -> Ran {
    let written = fs::read_to_string(lab.inventory()).unwrap();
    let of_lab = |key: &str| {
        let line = written.lines().map(str::trim).find(|line| line.starts_with(key));
        line.unwrap_or_else(|| panic!("no `{key}` in\n{written}")).to_owned()
    };
    let answers = ["--force", "--hosts", "10.77.0.1[1-4]", "--user", "root", "--for", "consul"];
    let said = lab.run("init", &answers).exits(0);
    lab.edit(
        "  # identity_file: ~/.ssh/id_ed25519",
        &format!("  {}\n  {}", of_lab("identity_file:"), of_lab("known_hosts:")),
    );
    lab.edit("    version: 1.21.4", &format!("    {}\n    {}", of_lab("version:"), of_lab("source:")));
    said
}

/// The inventory of the design comes up on bare hosts by defaults alone, and all of it goes again: one host by `remove-node`, the
/// others by `down --purge`. So does the starter, on the same hosts.
fn comes_and_goes(suite: &str) {
    let lab = Lab::up(&["--hosts", "4", "--suite", suite]);
    first_inventory(&lab);
    lab.asks("node-1", STRANGERS);
    let hosts = ["node-1", "node-2", "node-3", "node-4"];
    let before = hosts.map(|host| HostFiles::of(&lab, host));
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("health", &[]).exits(0);

    lab.run("remove-node", &["node-4", "--yes"]).exits(0);
    let left = before[3].differences(&lab, "node-4");
    // What is set aside, and whose it is.
    let by_design =
        |line: &String| ["/opt/consul", "/opt/nomad", "user consul"].iter().any(|own| line.contains(own));
    let left: Vec<_> = left.into_iter().filter(|line| !by_design(line)).collect();
    assert_eq!(left, [""; 0], "node-4 of {suite}, by remove-node");

    lab.run("down", &["--purge", "--yes"]).exits(0);
    for (host, before) in hosts.iter().zip(&before).take(3) {
        assert_eq!(before.differences(&lab, host), [""; 0], "{host} of {suite}, by down --purge");
    }

    // The host that has left is nobody's: another cluster may have it.
    let said = starter(&lab);
    let before = hosts.map(|host| HostFiles::of(&lab, host));
    // Keys of an older cluster, as an earlier version of this program left them there, would keep it out.
    lab.ssh("node-4", "test -e /opt/consul/node-id && test ! -e /opt/consul/serf/local.keyring").exits(0);
    lab.asks(
        "node-4",
        &format!("mkdir -p /opt/consul/serf && echo '{KEYRING}' >/opt/consul/serf/local.keyring"),
    );
    let refused = lab.follow(&said, "up", &[]).exits(1).says("that are not the inventory's");
    lab.follow_on("node-4", &refused, "rm -f /opt/consul/serf/local.keyring");
    lab.follow(&said, "up", &[]).exits(0).says("3 of 3 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("down", &["--purge", "--yes"]).exits(0);
    for (host, before) in hosts.iter().zip(&before) {
        let left = before.differences(&lab, host).into_iter();
        // What the client of the first cluster had there went with the second one's.
        let left: Vec<_> = left.filter(|line| *host != "node-4" || !line.contains("opt/consul")).collect();
        assert_eq!(left, [""; 0], "{host} of {suite}, the starter by down --purge");
    }
}

/// Walks: if it was a member of a cluster that is no more, `rm -f {}` on it; then run again
/// Walks: `bootstrap plan {file}` shows what would be done, `bootstrap up {file}` does it
/// Runs: Consul: servers, clients, containers and names come up by defaults on Debian 11, 12 and 13, and all that was changed is put back
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_the_first_inventory_comes_and_goes() {
    comes_and_goes("bookworm");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_the_first_inventory_comes_and_goes_on_bullseye() {
    comes_and_goes("bullseye");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_the_first_inventory_comes_and_goes_on_trixie() {
    comes_and_goes("trixie");
}
