//! NFS on real hosts: by the kernel on hosts that have one of their own, and, where the lab's kernel has neither nfsd nor an NFS client,
//! by NFS-Ganesha and the programs of libnfs.

use std::fs;
use std::time::Duration;

use crate::support::{Lab, Ran, poll};

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

/// Runs: NFS: files go round through a server in user space
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
fn lab_a_kernel_without_nfs_is_told() {
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
}

/// By the kernel: server `node-1`, client `node-2`. Root of the client is nobody on the server.
const BY_THE_KERNEL: &str = "groups:
  files: { hosts: [node-1], roles: [nfs-server] }
  web: { hosts: [node-2], roles: [nfs-client] }
vars:
  nfs:
    users: [{ name: www, uid: 2020 }]
    exports:
      - { path: /data/app1, clients: [node-2], options: [rw], owner: www, mode: \"2775\" }
    mounts:
      - { server: node-1, export: /data/app1, path: /srv/app1 }
";

/// As `www`, uid 2020, on a host.
fn as_www(lab: &Lab, host: &str, command: &str) -> Ran {
    lab.ssh(host, &format!("setpriv --reuid=2020 --regid=2020 --clear-groups sh -c '{command}'"))
}

/// Runs: NFS: the kernel's server and client, on hosts with a kernel of their own
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_the_kernel_serves_and_mounts() {
    let lab = Lab::up(&["--hosts", "2", "--kernel", "node-1,node-2"]);
    write(&lab, BY_THE_KERNEL);
    // An export that somebody wrote by hand stays.
    lab.ssh(
        "node-1",
        "mkdir -p /data/hand && echo '/data/hand 192.0.2.7(ro,sync,no_subtree_check)' >/etc/exports",
    )
    .exits(0);
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    assert_eq!(
        lab.asks("node-2", "findmnt -no FSTYPE,SOURCE /srv/app1 | tr -s ' '"),
        "nfs4 10.77.0.11:/data/app1\n"
    );
    let exported = lab.asks("node-1", "exportfs -s");
    assert!(
        exported.contains("/data/hand  192.0.2.7(") && exported.contains("/data/app1  10.77.0.12("),
        "{exported}"
    );

    // Files belong to www on both sides; root of the client is nobody, so it may not write there.
    as_www(&lab, "node-2", "echo from-client >/srv/app1/file").exits(0);
    assert_eq!(
        lab.asks("node-1", "cat /data/app1/file; stat -c '%U %u %G %g' /data/app1/file"),
        "from-client\nwww 2020 www 2020\n"
    );
    let refused = lab.ssh("node-2", "echo root >/srv/app1/by-root");
    assert!(refused.status != 0 && refused.stderr.contains("Permission denied"), "{}", refused.stderr);

    // The server's power is cut under a writer and comes back: what was acknowledged is there, and nothing failed.
    lab.ssh(
        "node-2",
        "systemd-run -q --unit writer --uid 2020 --gid 2020 sh -c \
         'n=0; while n=$((n + 1)); do echo $n | dd of=/srv/app1/rows oflag=append conv=notrunc,fsync status=none && echo $n >>/tmp/acknowledged || echo $n >>/tmp/failed; done'",
    )
    .exits(0);
    let acknowledged =
        || lab.asks("node-2", "wc -l </tmp/acknowledged || echo 0").trim().parse::<u32>().unwrap();
    poll("ten rows", Duration::from_secs(60), || (acknowledged() >= 10).then_some(()));
    lab.lab(&["kill", "node-1"]);
    // In time, and without a word that all is well.
    lab.run("health", &["--timeout", "20s"]).exits(1);
    lab.lab(&["start", "node-1"]);
    let before = acknowledged();
    poll("rows after the server is back", Duration::from_secs(180), || {
        (acknowledged() >= before + 10).then_some(())
    });
    lab.ssh("node-2", "systemctl stop writer").exits(0);
    lab.ssh("node-2", "test ! -e /tmp/failed").exits(0);
    lab.ssh("node-2", "rm -f /tmp/lost; while read -r n; do grep -qx $n /srv/app1/rows || echo $n >>/tmp/lost; done </tmp/acknowledged; test ! -e /tmp/lost").exits(0);
    println!(
        "NFS by the kernel: {} rows acknowledged across a cut of the server's power, 0 lost, 0 failed",
        acknowledged()
    );
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Another export, of other rights: the server that runs takes it in.
    lab.edit("options: [rw], owner: www", "options: [ro], owner: www");
    lab.run("up", &[]).exits(0);
    let refused = as_www(&lab, "node-2", "echo x >/srv/app1/read-only");
    assert!(refused.stderr.contains("Read-only file system"), "{}", refused.stderr);
    lab.edit("options: [ro], owner: www", "options: [rw], owner: www");
    lab.run("up", &[]).exits(0);
    as_www(&lab, "node-2", "echo x >/srv/app1/again").exits(0);

    // A mount that is in use when it is to go is told, by whom, and not forgotten.
    lab.ssh("node-2", "cd /srv/app1 && (setsid sleep 10000 >/dev/null 2>&1 </dev/null &)").exits(0);
    lab.edit("path: /srv/app1 }", "path: /srv/moved }");
    let said = lab.run("up", &[]).exits(1);
    said.says("/srv/app1").says("sleep");
    lab.ssh("node-2", "pkill sleep").exits(0);
    lab.run("up", &[]).exits(0);
    assert_eq!(lab.asks("node-2", "findmnt -rno TARGET -t nfs4"), "/srv/moved\n");
    lab.ssh("node-2", "test ! -e /etc/systemd/system/srv-app1.mount").exits(0);

    // What no server exports, and a server that is not there: told by the host, and soon.
    lab.edit("export: /data/app1, path: /srv/moved", "export: /data/app1, path: /srv/moved, options: [vers=4.2] }\n      - { server: 10.77.0.99, export: /vol, path: /srv/nowhere");
    lab.edit("  nfs:\n", "  nfs:\n    mount_seconds: 10\n");
    lab.run("up", &[]).exits(1).says("srv-nowhere.mount").says("node-2");
    lab.edit("server: 10.77.0.99, export: /vol", "server: 10.77.0.11, export: /data/hand");
    let said = lab.run("up", &[]).exits(1).says("srv-nowhere.mount");
    let said = said.stdout + &said.stderr;
    // By NFS 4 a client does not see what it may not have; mount then asks by NFS 3, if that is answered in time.
    assert!(said.contains("denied") || said.contains("No such file or directory"), "{said}");
    assert!(!said.contains("could not be put back"), "{said}");

    // Without the roles everything is as it was, but for what others put into the folders.
    write(&lab, "groups: {}\n");
    lab.run("up", &[]).exits(0);
    assert_eq!(lab.asks("node-2", "findmnt -rno TARGET -t nfs4 || true"), "");
    assert_eq!(
        lab.asks("node-1", "cat /etc/exports; ls /data/app1; systemctl is-enabled nfs-server || true"),
        "/data/hand 192.0.2.7(ro,sync,no_subtree_check)\nagain\nfile\nrows\ndisabled\n"
    );
}
