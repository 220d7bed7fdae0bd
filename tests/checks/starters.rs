//! The inventories that come with the program, as an operator gets them: by `bootstrap init --template`.

use crate::rendered;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::rendered::{files_of, wanted_by};
use bootstrap::inventory::Inventory;
use bootstrap::roles::{ClusterAddresses, Formed, RoleSet, Wanted, load_inventory};

fn bootstrap(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut call = assert_cmd::Command::cargo_bin("bootstrap").unwrap();
    let output = call.current_dir(folder).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The files of `inventories/`.
fn names() -> Vec<String> {
    let entries = fs::read_dir("inventories").unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> =
        entries.filter_map(|name| Some(name.to_str()?.strip_suffix(".yaml")?.to_owned())).collect();
    names.sort();
    names
}

#[test]
fn init_writes_each_of_them_with_all_that_it_needs() {
    let names = names();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let folder = tempfile::tempdir().unwrap();
        let (code, _, stderr) = bootstrap(folder.path(), &["init", "--template", &name, "mine.yaml"]);
        assert_eq!(code, Some(0), "{stderr}");
        let written = fs::read_to_string(folder.path().join("mine.yaml")).unwrap();
        assert_eq!(written, fs::read_to_string(format!("inventories/{name}.yaml")).unwrap());
        let (code, stdout, stderr) = bootstrap(folder.path(), &["check", "mine.yaml"]);
        // No warning either.
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}: {stdout}");
        assert!(written.starts_with("# "), "{name} says what it is");
    }
}

#[test]
fn what_somebody_wrote_stays() {
    let folder = tempfile::tempdir().unwrap();
    let init = |options: &[&str]| {
        bootstrap(folder.path(), &[&["init", "--template", "consul-nomad-docker"], options].concat())
    };
    fs::create_dir(folder.path().join("jobs")).unwrap();
    let job = folder.path().join("jobs/hello.nomad.hcl");
    fs::write(&job, "mine").unwrap();
    let (code, _, stderr) = init(&[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("jobs/hello.nomad.hcl is there already"), "{stderr}");
    assert!(!folder.path().join("inventory.yaml").exists(), "half of it is written");
    assert_eq!(fs::read_to_string(&job).unwrap(), "mine");
    assert_eq!(init(&["--force"]).0, Some(0));
    // What is as it should be is in nobody's way.
    assert_eq!(init(&["other.yaml"]).0, Some(0));
    let (code, _, stderr) = bootstrap(folder.path(), &["init", "--template", "consul-nomad-doker"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("similar value") && stderr.contains("consul-nomad-docker"), "{stderr}");
}

fn load(name: &str) -> Inventory {
    let roles = RoleSet::embedded().unwrap_or_else(|problems| panic!("{problems:?}"));
    let path = format!("inventories/{name}.yaml");
    load_inventory(Path::new(&path), &roles, None).unwrap_or_else(|problems| panic!("{problems:?}")).0
}

#[test]
fn they_are_what_they_say() {
    let cases: [(&str, &[(&str, usize)]); 6] = [
        ("consul-three-servers", &[("consul-server", 3)]),
        (
            "consul-nomad-docker",
            &[("consul-server", 3), ("nomad-server", 3), ("nomad-client", 3), ("dns", 3), ("docker", 3)],
        ),
        ("consul-servers-and-clients", &[("consul-server", 5), ("consul-client", 20)]),
        (
            "air-gapped",
            &[
                ("consul-server", 3),
                ("consul-client", 4),
                ("nomad-server", 3),
                ("nomad-client", 4),
                ("dns", 7),
            ],
        ),
        (
            "nfs-applications",
            &[
                ("consul-client", 1),
                ("nfs-server", 1),
                ("consul-server", 3),
                ("nomad-server", 3),
                ("nomad-client", 3),
                ("dns", 3),
                ("docker", 3),
                ("nfs-client", 3),
            ],
        ),
        ("lab", &[("consul-server", 3), ("dns", 3), ("docker", 3)]),
    ];
    for (name, roles) in cases {
        let inventory = load(name);
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for role in inventory.hosts.iter().flat_map(|host| &host.roles) {
            *found.entry(role.as_str()).or_default() += 1;
        }
        assert_eq!(found, roles.iter().copied().collect(), "{name}");
    }
    let distant = load("consul-servers-and-clients");
    assert!(distant.hosts.iter().all(|host| host.ssh.jump == ["bastion.example.org"]));
}

/// Theirs where the inventory says so, else some.
fn addresses(wanted: &Wanted) -> ClusterAddresses {
    let hosts = wanted.hosts.iter().map(|wanted| &wanted.host).zip(1..);
    let address = |host: &bootstrap::inventory::Host, number: u8| {
        host.cluster_address
            .or_else(|| host.address.parse().ok())
            .unwrap_or(IpAddr::from([10, 99, 0, number]))
    };
    hosts.map(|(host, number)| (host.name.clone(), address(host, number))).collect()
}

#[test]
fn every_file_of_every_host_of_theirs_is_rendered() {
    let roles = RoleSet::embedded().unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut rendered = BTreeSet::new();
    for name in names() {
        let wanted = wanted_by(Path::new(&format!("inventories/{name}.yaml")), &roles);
        let (addresses, facts) = (addresses(&wanted), rendered::facts());
        let wanted = wanted
            .with_facts(|_| Some(&facts), &Formed::default(), &addresses)
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        for host in &wanted.hosts {
            let files = files_of(&wanted, host.host.name.as_str(), &addresses);
            assert!(!files.is_empty(), "{name}: {}", host.host.name);
            rendered.extend(files.into_keys());
        }
    }
    for path in
        ["/etc/consul.d/consul.json", "/etc/nomad.d/nomad.json", "/etc/systemd/system/data-app1.mount"]
    {
        assert!(rendered.contains(path), "{rendered:?}");
    }
}

#[test]
fn applications_start_behind_the_data_that_they_serve() {
    let roles = RoleSet::embedded().unwrap_or_else(|problems| panic!("{problems:?}"));
    let wanted = wanted_by(Path::new("inventories/nfs-applications.yaml"), &roles);
    let (addresses, facts) = (addresses(&wanted), rendered::facts());
    let wanted = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).unwrap();
    let files = files_of(&wanted, "web-1", &addresses);
    let unit = &files["/etc/systemd/system/nomad.service"];
    assert!(unit.contains("\nAfter=data-app1.mount\n"), "{unit}");
    let of_host = wanted.hosts.iter().find(|host| host.host.name.as_str() == "web-1").unwrap();
    let order: Vec<&str> = of_host.roles.iter().map(|role| role.name.as_str()).collect();
    let at = |name: &str| order.iter().position(|role| *role == name).unwrap();
    assert!(at("nfs-client") < at("nomad-client") && at("docker") < at("nomad-client"), "{order:?}");
}
