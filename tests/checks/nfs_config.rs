//! What the roles say of inventories, and the files they make, as snapshots.

use indoc::{formatdoc, indoc};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::rendered::facts;
use bootstrap::model::HostName;
use bootstrap::report;
use bootstrap::roles::{Asked, ClusterAddresses, RoleSet, Wanted, load_inventory};

/// An inventory of a server `files`, a client `web` and one that is both, with these variables of `nfs`.
fn inventory(nfs: &str) -> String {
    let nfs: String = nfs.lines().map(|line| format!("    {line}\n")).collect();
    formatdoc!(
        "
            cluster: c
            hosts:
              files: {{ address: 10.0.0.10, roles: [nfs-server] }}
              web: {{ address: 10.0.0.21, roles: [nfs-client] }}
              both: {{ address: 10.0.0.30, roles: [nfs-server, nfs-client] }}
              idle: {{ address: 10.0.0.40 }}
            vars:
              nfs:
            {nfs}"
    )
}

fn load(nfs: &str) -> Result<(bootstrap::inventory::Inventory, String), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nfs.yaml");
    std::fs::write(&path, inventory(nfs)).unwrap();
    let shown = |problems: &[bootstrap::model::Diagnostic]| {
        let texts: Vec<_> = problems.iter().map(|problem| report::problem(problem, false)).collect();
        texts.join("\n").replace(&format!("{}/", folder.path().display()), "")
    };
    match load_inventory(&path, &RoleSet::embedded().unwrap(), None) {
        Ok((inventory, warnings)) => Ok((inventory, shown(&warnings))),
        Err(problems) => Err(shown(&problems)),
    }
}

/// Every file that the roles of each host want, and the steps in their order.
fn wanted(nfs: &str) -> String {
    let (inventory, _) = load(nfs).unwrap_or_else(|problems| panic!("{problems}"));
    let wanted = Wanted::new(&inventory, &RoleSet::embedded().unwrap(), &BTreeMap::new()).unwrap();
    let addresses: ClusterAddresses =
        inventory.hosts.iter().map(|host| (host.name.clone(), host.address.parse().unwrap())).collect();
    let mut text = String::new();
    for host in ["files", "web", "both"] {
        let host = wanted.host(&HostName::parse(host).unwrap()).unwrap();
        text += &format!("---- {}\n", host.host.name);
        for role in &host.roles {
            for resource in &role.resources {
                let resolved = wanted
                    .resolved(host, role, resource, &host.late(&facts(), &wanted.everyone(&addresses)))
                    .unwrap();
                text += &format!("==> {}\n", resolved.id());
                text += resolved.content().unwrap_or_default();
            }
        }
    }
    text
}

fn snapshots() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/nfs"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

const SHARED: &str = "users: [{ name: www, uid: 2020 }]
exports:
  - { path: /data/app1, clients: [10.0.0.0/24, web, nfs.example.org], options: [rw, no_root_squash], owner: www, mode: \"2775\" }
  - { path: /data/reports, clients: [both], options: [ro, all_squash, anonuid=2020, anongid=2020, sec=krb5:krb5p, insecure], owner: 2020 }
  - { path: /srv/as-it-is, clients: [10.0.0.0/24], create: false }
mounts:
  - { server: files, export: /data/app1, path: /srv/app1 }
  - { server: both, export: /data/reports, path: /srv/reports, options: [ro, soft, vers=3, timeo=50], automount: true }
  - { server: nas.example.org, export: /vol/1, path: /mnt/nas-1 }
  - { server: \"fd00::7\", export: /vol/2, path: /mnt/nas.2 }
";

#[test]
fn the_kernel_serves_and_mounts() {
    snapshots().bind(|| insta::assert_snapshot!("kernel", wanted(SHARED)));
}

#[test]
fn ganesha_serves_and_libnfs_reads() {
    let nfs = formatdoc!(
        "
        implementation: ganesha
        client: libnfs
        grace_seconds: 0
        {SHARED}"
    );
    snapshots().bind(|| insta::assert_snapshot!("ganesha", wanted(&nfs)));
}

#[test]
fn every_mistake_has_its_message() {
    let cases = [
        ("relative-path", "exports: [{ path: data, clients: [10.0.0.0/24] }]\nmounts: []\n"),
        (
            "unusable-paths",
            indoc! {r#"
                exports:
                  - { path: /, clients: [10.0.0.0/24] }
                  - { path: /data/, clients: [10.0.0.0/24] }
                  - { path: "/my data", clients: [10.0.0.0/24] }
                mounts: []
            "#},
        ),
        (
            "clients",
            indoc! {r#"
                exports:
                  - { path: /a, clients: [10.0.0.0/33, 10.0.0.5/24, 10.0.0, "*", 0.0.0.0/0] }
                  - { path: /b, clients: [] }
                mounts: []
            "#},
        ),
        (
            "everyone-if-meant",
            indoc! {r#"
                allow_everyone: true
                exports: [{ path: /a, clients: ["*"] }]
                mounts: []
            "#},
        ),
        (
            "options",
            indoc! {r#"
                exports:
                  - { path: /a, clients: [10.0.0.0/8], options: [rw, no_rootsquash, ro, "sync,wdelay", anonuid=www] }
                mounts: []
            "#},
        ),
        (
            "ganesha-lacks",
            indoc! {"
                implementation: ganesha
                exports:
                  - { path: /a, clients: [10.0.0.0/255.0.0.0], options: [rw, async] }
                mounts: []
            "},
        ),
        (
            "ganesha-numbers",
            indoc! {"
                implementation: ganesha
                exports:
                  - { path: /a, clients: [10.0.0.0/8], id: 7 }
                  - { path: /b, clients: [10.0.0.0/8], id: 7 }
                mounts: []
            "},
        ),
        (
            "inside-another",
            indoc! {"
                exports:
                  - { path: /data, clients: [10.0.0.0/8], options: [ro] }
                  - { path: /data/app1, clients: [10.0.0.0/8], options: [rw, no_root_squash] }
                  - { path: /data/app1/same, clients: [10.0.0.0/8], options: [no_root_squash, sync, rw] }
                  - { path: /database, clients: [10.0.0.0/8] }
                mounts: []
            "},
        ),
        (
            "twice",
            indoc! {"
                exports:
                  - { path: /a, clients: [10.0.0.0/8] }
                  - { path: /a, clients: [10.0.0.0/8] }
                mounts: []
            "},
        ),
        (
            "fields",
            indoc! {r#"
                exports:
                  - { pth: /a, clients: 10.0.0.0/8, owner: "a b", mode: 755 }
                  - { path: /b }
                mounts: []
            "#},
        ),
        (
            "mounts",
            indoc! {r#"
                exports: [{ path: /data/app1, clients: [10.0.0.0/24] }]
                mounts:
                  - { server: files, export: /data/ap1, path: /a }
                  - { server: fles, export: /data/app1, path: /b }
                  - { server: idle, export: /data/app1, path: /c }
                  - { server: files, export: /data/app1/below, path: /d }
                  - { server: files, export: /data/app1, path: /d }
                  - { server: files, export: /data/app1, path: /e, options: ["ro,soft"] }
            "#},
        ),
        (
            "not-let-in",
            "exports: [{ path: /a, clients: [10.1.0.0/16, both] }]\nmounts: [{ server: files, export: /a, path: /a }]\n",
        ),
        (
            "numbers",
            indoc! {"
                implementation: ganesha
                grace_seconds: 600
                exports: [{ path: /a, clients: [10.0.0.0/24], id: 0 }]
                mounts: []
            "},
        ),
        (
            "over-its-own",
            "exports: [{ path: /data/app1, clients: [10.0.0.0/24] }]\nmounts: [{ server: files, export: /data/app1, path: /data/app1 }]\n",
        ),
        (
            "users",
            indoc! {"
                users:
                  - { name: www, uid: 2020 }
                  - { name: web, uid: 2020 }
                  - { name: www, uid: 2021 }
                exports: []
                mounts: []
            "},
        ),
        ("nothing-set", "users: []\n"),
    ];
    snapshots().bind(|| {
        for (name, nfs) in cases {
            let found =
                load(nfs).map_or_else(|problems| problems, |(_, warnings)| format!("accepted\n\n{warnings}"));
            insta::assert_snapshot!(name, found);
        }
    });
}

/// Runs what a host's roles are verified by, with these programs in the place of its own: `-`, or what is wrong.
fn verified(nfs: &str, host: &str, programs: &[(&str, &str)]) -> Vec<String> {
    let (inventory, _) = load(nfs).unwrap_or_else(|problems| panic!("{problems}"));
    let wanted = Wanted::new(&inventory, &RoleSet::embedded().unwrap(), &BTreeMap::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in programs {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let host = wanted.host(&HostName::parse(host).unwrap()).unwrap();
    let proofs = host.roles.iter().flat_map(|role| &role.proofs);
    proofs
        .map(|wanted| {
            let Asked::Command(words) = &wanted.proof.asked else { panic!("{}", wanted.proof.name) };
            let ran = Command::new(&words[0]).args(&words[1..]).env("PATH", &path).output().unwrap();
            let said = [ran.stdout, ran.stderr].concat();
            match ran.status.success() {
                true => "-".to_owned(),
                false => format!("{}: {}", wanted.proof.name, String::from_utf8(said).unwrap().trim()),
            }
        })
        .collect()
}

#[test]
fn what_a_host_has_from_itself_needs_no_nfs() {
    let (inventory, _) = load(
        "exports: [{ path: /a, clients: [10.0.0.0/24] }]\nmounts: [{ server: both, export: /a, path: /b }]\n",
    )
    .unwrap();
    let wanted = Wanted::new(&inventory, &RoleSet::embedded().unwrap(), &BTreeMap::new()).unwrap();
    let needs = |host: &str| {
        let roles = &wanted.host(&HostName::parse(host).unwrap()).unwrap().roles;
        let count = roles.iter().map(|role| role.proofs.len()).sum::<usize>();
        let names = roles.iter().flat_map(|role| &role.filesystems).map(|filesystem| filesystem.name.clone());
        (names.collect::<Vec<_>>(), count)
    };
    assert_eq!(needs("both"), (vec!["nfsd".to_owned()], 1));
    assert_eq!(needs("web"), (vec!["nfs".to_owned()], 2));
}

#[test]
fn what_does_not_work_is_told() {
    let nfs = indoc! {"
        exports: [{ path: /data/app1, clients: [10.0.0.0/24] }, { path: /data/app, clients: [10.0.0.0/24] }]
        mounts:
          - { server: files, export: /data/app1/images, path: /srv/images }
          - { server: nas.example.org, export: /vol/1, path: /srv/nas }
    "};
    let list = |paths: &str| format!("printf '%s 10.0.0.0/24\\n' {paths}");
    let all = list("/data/app1 /data/app /vol/1");
    for (host, client, showmount, others, wanted) in [
        ("files", "kernel", all.as_str(), [("findmnt", "true"), ("ls", "true")], vec!["-"]),
        (
            "files",
            "kernel",
            &list("/data/app1 /data/app1/app"),
            [("findmnt", "true"), ("ls", "true")],
            vec!["what is exported: /data/app is not exported"],
        ),
        (
            "files",
            "kernel",
            "echo down >&2; exit 1",
            [("findmnt", "true"), ("ls", "true")],
            vec!["what is exported: down"],
        ),
        ("web", "kernel", &all, [("findmnt", "true"), ("ls", "true")], vec!["-", "-"]),
        (
            "web",
            "kernel",
            "case $3 in 10.0.0.10) echo /data/app1 10.0.0.0/24 ;; esac",
            [("findmnt", "[ \"$3\" = /srv/images ]"), ("ls", "true")],
            vec![
                "what the servers list: nas.example.org lists no /vol/1",
                "what is mounted: /srv/nas is not mounted",
            ],
        ),
        (
            "web",
            "kernel",
            &list("/data/app1/images/x /data /vol/1"),
            [("findmnt", "true"), ("ls", "echo \"ls: $1: stale\" >&2; exit 2")],
            vec!["-", "what is mounted: ls: /srv/images: stale"],
        ),
        (
            "web",
            "libnfs",
            &all,
            [
                (
                    "nfs-ls",
                    "[ \"$1\" = 'nfs://10.0.0.10/data/app1/images?version=4' ] || { echo \"no $1\"; exit 1; } >&2",
                ),
                ("ls", "true"),
            ],
            vec!["-", "what `nfs-ls` reads: no nfs://nas.example.org/vol/1?version=4"],
        ),
    ] {
        let programs = [("showmount", showmount)].into_iter().chain(others).collect::<Vec<_>>();
        assert_eq!(
            verified(&format!("client: {client}\n{nfs}"), host, &programs),
            wanted,
            "{host} {client} {showmount}"
        );
    }
}

#[test]
fn the_root_of_a_server_is_mounted_where_there_is_one() {
    let refused = |nfs: &str| load(nfs).err();
    let root = "exports: [{ path: /srv/all, clients: [10.0.0.0/24], options: [rw, fsid=0] }]\n";
    for (nfs, said) in [
        // Somebody else's server.
        ("exports: []\nmounts: [{ server: 192.0.2.9, export: /, path: /a }]\n".to_owned(), None),
        (format!("{root}mounts: [{{ server: files, export: /, path: /a }}]\n"), None),
        (format!("{root}mounts: [{{ server: files, export: /app, path: /a }}]\n"), None),
        (format!("{root}mounts: [{{ server: files, export: /srv/all/app, path: /a }}]\n"), None),
        (
            "exports: [{ path: /srv/all, clients: [10.0.0.0/24] }]\nmounts: [{ server: files, export: /, path: /a }]\n".to_owned(),
            Some("`files` does not export `/`"),
        ),
        (format!("{root}mounts: [{{ server: 192.0.2.9, export: /a, path: / }}]\n"), Some("`/` cannot be shared by NFS")),
    ] {
        let refusal = refused(&nfs);
        match said {
            None => assert_eq!(refusal, None, "{nfs}"),
            Some(said) => assert!(refusal.is_some_and(|text| text.contains(said)), "{nfs}"),
        }
    }
}
