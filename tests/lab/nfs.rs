//! NFS on real hosts. The lab's kernel has neither nfsd nor an NFS client: NFS-Ganesha serves, the programs of libnfs
//! read and write, and the kernel's server is tried as far as it goes.

use std::fs;

use crate::support::Lab;

/// Server `node-1`, client `node-2`.
const SHARED: &str = "groups:
  files: { hosts: [node-1], roles: [nfs-server] }
  web: { hosts: [node-2], roles: [nfs-client] }
vars:
  nfs:
    implementation: ganesha
    client: libnfs
    grace_seconds: 0
    users: [{ name: www, uid: 2020 }]
    exports:
      - { path: /data/app1, clients: [NETWORK], options: [rw, no_root_squash], owner: www, mode: \"2775\" }
      - { path: /data/reports, clients: [node-1], options: [ro], owner: 2020 }
    mounts:
      - { server: node-1, export: /data/app1, path: /data/app1 }
";

/// The lab's hosts with these groups and variables.
fn write(lab: &Lab, rest: &str) {
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let hosts = &text[..text.find("groups:").unwrap()];
    let network = format!("{}.0/24", lab.address("node-1").rsplit_once('.').unwrap().0);
    fs::write(lab.inventory(), format!("{hosts}{}", rest.replace("NETWORK", &network))).unwrap();
}

/// Everything below /etc with its owner, mode and digest, but what packages bring and what systems change by themselves.
fn configuration(lab: &Lab, host: &str) -> String {
    lab.asks(
        host,
        "find /etc /data -xdev ! -name '.pwd.lock' ! -path '/etc/ssl/*' ! -name 'ld.so.cache' ! -name '*-' \
         \\( -type f -printf '%p %m %u %g ' -exec sh -c 'sha256sum <\"$1\"' _ {} \\; -o -printf '%p %y %m %u %g %l\\n' \\) | sort",
    )
}

/// Runs: NFS: files go round through a server in user space; the kernel's own is not run
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_files_go_round_through_ganesha() {
    round_trip(Lab::up(&["--hosts", "2"]));
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_files_go_round_on_trixie() {
    round_trip(Lab::up(&["--hosts", "2", "--suite", "trixie"]));
}

fn round_trip(lab: Lab) {
    let server = lab.address("node-1");
    // The packages stay when a role is removed, so they are no part of what is compared.
    lab.ssh(
        "node-1",
        "DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends netbase nfs-ganesha nfs-ganesha-vfs \
         nfs-common rpcbind && systemctl disable -q --now nfs-ganesha && groupadd --system --gid 2020 www && useradd --system --gid www --uid 2020 \
         --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin www && mkdir /data/hand",
    )
    .exits(0);
    // An export that somebody wrote by hand.
    lab.ssh(
        "node-1",
        "echo 'EXPORT { Export_Id = 7; Path = /data/hand; Pseudo = /data/hand; Protocols = 3, 4; Access_Type = RO; \
         SecType = sys; FSAL { Name = VFS; } }' >>/etc/ganesha/ganesha.conf",
    )
    .exits(0);
    let before = configuration(&lab, "node-1");

    write(&lab, SHARED);
    lab.run("up", &[]).exits(0).says("nfs-serve").says("nfs-clien").says("met: ");
    let logins: Vec<_> = ["node-1", "node-2"].map(|host| lab.logins(host)).into();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in ["node-1", "node-2"].into_iter().zip(logins) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}");
    }

    // What a client lists, writes and reads, by both versions of the protocol; the files are those of www on both sides.
    let listed = lab.asks("node-2", &format!("showmount --no-headers -e {server}"));
    assert!(listed.contains("/data/app1"), "{listed}");
    assert_eq!(lab.asks("node-2", "id -u www; id -g www"), "2020\n2020\n");
    for version in [3, 4] {
        let url =
            format!("nfs://{server}/data/app1/from-client-{version}?version={version}&uid=2020&gid=2020");
        lab.ssh("node-2", &format!("echo 'from the client' >/tmp/file && nfs-cp /tmp/file '{url}'")).exits(0);
        let file = format!("/data/app1/from-client-{version}");
        assert_eq!(
            lab.asks("node-1", &format!("cat {file}; stat -c '%U %u %g' {file}")),
            "from the client\nwww 2020 2020\n"
        );
        lab.ssh("node-1", &format!("echo 'from the server' >/data/app1/back-{version}")).exits(0);
        let url = format!("nfs://{server}/data/app1/back-{version}?version={version}");
        assert_eq!(lab.asks("node-2", &format!("nfs-cat '{url}'")), "from the server\n");
    }
    assert_eq!(
        lab.asks("node-1", "stat -c '%a %U %G' /data/app1 /data/reports"),
        "2775 www www\n755 www www\n"
    );
    // Who is not named is not let in.
    for version in [3, 4] {
        let ran = lab.ssh("node-2", &format!("nfs-ls 'nfs://{server}/data/reports?version={version}'"));
        assert_ne!(ran.status, 0, "version {version}: {}", ran.stdout);
        lab.ssh("node-2", &format!("nfs-ls 'nfs://{server}/data/hand?version={version}'")).exits(0);
    }

    // Another list is taken in by the server that runs.
    let started = lab.asks("node-1", "systemctl show -P ActiveEnterTimestampMonotonic nfs-ganesha");
    lab.edit("path: /data/reports, clients: [node-1]", "path: /data/public, clients: [node-2]");
    lab.run("up", &[]).exits(0).says("nfs-server in use");
    assert_eq!(lab.asks("node-1", "systemctl show -P ActiveEnterTimestampMonotonic nfs-ganesha"), started);
    lab.ssh("node-2", &format!("nfs-ls 'nfs://{server}/data/public?version=4'")).exits(0);
    lab.ssh("node-2", &format!("! nfs-ls 'nfs://{server}/data/reports?version=4'")).exits(0);
    lab.ssh("node-2", &format!("nfs-ls 'nfs://{server}/data/hand?version=4'")).exits(0);
    assert_eq!(
        lab.asks("node-1", "ls /data"),
        "app1\nhand\npublic\n",
        "an export that is gone takes its empty folder along"
    );

    // A server that was stopped is started again. What cannot be read is told by the next run, with the reason.
    lab.ssh("node-1", "systemctl stop nfs-ganesha").exits(0);
    lab.run("up", &[]).exits(0);
    lab.edit("export: /data/app1, path: /data/app1", "export: /data/public/none, path: /data/app1");
    lab.run("up", &["--timeout", "4s"]).exits(4).says("what `nfs-ls` reads is not so").says("node-2");

    // Without the role everything is as it was, but for what others put into the folders.
    write(&lab, "groups: {}\n");
    lab.run("up", &[]).exits(0);
    lab.ssh("node-1", "systemctl is-active nfs-ganesha").exits(3);
    lab.ssh("node-1", "ls /data/app1/back-3 && rm -r /data/app1").exits(0);
    assert_eq!(configuration(&lab, "node-1"), before);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_the_kernel_as_far_as_it_goes() {
    let lab = Lab::up(&["--hosts", "2"]);
    write(&lab, SHARED);
    lab.edit("implementation: ganesha", "implementation: kernel");
    lab.edit("client: libnfs", "client: kernel");
    // Neither half of NFS is in the kernel: both are told, with what to do, and nothing is changed.
    let bare = configuration(&lab, "node-1");
    lab.run("up", &[])
        .exits(1)
        .says("has no `nfsd`, which role `nfs-server` needs")
        .says("nfs: { implementation: ganesha }")
        .says("has no `nfs`, which role `nfs-client` needs")
        .says("nfs: { client: libnfs }");
    assert_eq!(configuration(&lab, "node-1"), bare);

    // A uid that belongs to somebody else is told before anything is written, too.
    lab.edit("implementation: kernel", "implementation: ganesha");
    lab.edit("client: kernel", "client: libnfs");
    lab.ssh("node-1", "useradd --uid 2020 ada").exits(0);
    lab.run("up", &[]).exits(1).says("uid 2020 of `www` belongs to `ada` on this host");
    lab.ssh("node-1", "userdel ada").exits(0);
    assert_eq!(configuration(&lab, "node-2").matches("www").count(), 0);

    // With a kernel that claims to have nfsd, all but the server itself works: exportfs takes the drop-in, and what
    // somebody wrote by hand stays.
    lab.edit("implementation: ganesha", "implementation: kernel");
    lab.edit("roles: [nfs-client]", "roles: []");
    lab.ssh(
        "node-1",
        "mkdir /data/hand && printf '/data/hand 192.0.2.7(ro,sync,no_subtree_check)\\n' >/etc/exports && \
         (cat /proc/filesystems; printf 'nodev\\tnfsd\\n') >/run/filesystems && mount --bind /run/filesystems /proc/filesystems",
    )
    .exits(0);
    lab.run("up", &[]).exits(1).says("unit nfs-server.service").says("Dependency failed for");
    let exported = lab.asks("node-1", "exportfs -ra && exportfs -s");
    for line in [
        "/data/hand  192.0.2.7(sync,wdelay,hide,no_subtree_check,sec=sys,ro,",
        "sec=sys,rw,no_root_squash,no_all_squash)",
        &format!("/data/reports  {}(", lab.address("node-1")),
    ] {
        assert!(exported.contains(line), "`{line}` is not in\n{exported}");
    }
    assert_eq!(lab.asks("node-1", "cat /etc/exports"), "/data/hand 192.0.2.7(ro,sync,no_subtree_check)\n");
    lab.run("plan", &[]).exits(0);

    write(&lab, "groups: {}\n");
    lab.run("up", &[]).exits(0);
    assert_eq!(
        lab.asks("node-1", "ls /etc/exports.d /data; cat /etc/exports"),
        "/data:\nhand\n/data/hand 192.0.2.7(ro,sync,no_subtree_check)\n"
    );
}
