//! What the roles of an inventory's host render, without any host.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use bootstrap::certificate::new_authority;
use bootstrap::facts::{Facts, Init, Resolver};
use bootstrap::inventory::Inventory;
use bootstrap::model::HostName;
use bootstrap::report;
use bootstrap::roles::{
    ClusterAddresses, Formed, Generate, RoleSet, Wanted, WantedError, load_inventory, variables_to_generate,
};

pub fn facts() -> Facts {
    Facts {
        os_id: "debian".into(),
        os_version: "12".into(),
        os_name: "Debian GNU/Linux 12".into(),
        arch: "x86_64".into(),
        hostname: "node-1".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        kernel: "6.1.0".into(),
        addresses: vec![("eth0".into(), "10.0.0.11".parse().unwrap())],
        ssh_server_address: None,
        epoch: 1_700_000_000,
        epoch_ms: 1_700_000_000_000,
        clock_step_ms: 1,
        package_manager: None,
        init: Init::Systemd,
        user: "root".into(),
        resolver: Resolver::default(),
        resolv_conf_fixed: None,
        resolver_writers: Vec::new(),
        cgroup_version: 2,
        swap: false,
        networks: vec!["10.0.0.11/24".parse().unwrap()],
        product_uuid: String::new(),
        macs: Vec::new(),
    }
}

/// What an inventory's hosts should be, with the built-in roles and a gossip key.
pub fn wanted(inventory: &str) -> Wanted {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    std::fs::write(&path, inventory).unwrap();
    wanted_by(&path, &RoleSet::embedded().unwrap())
}

/// The same of an inventory's file, with these roles.
pub fn wanted_by(path: &Path, roles: &RoleSet) -> Wanted {
    let (inventory, _) = load_inventory(path, roles, None).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| report::problem(problem, false)).collect::<String>())
    });
    with_secrets(&inventory, roles).unwrap()
}

/// The same of an inventory in which nothing is wrong by itself.
pub fn with_secrets(inventory: &Inventory, roles: &RoleSet) -> Result<Wanted, WantedError> {
    let key = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=".to_owned();
    let names = [
        "consul.gossip_key",
        "nomad.gossip_key",
        "mariadb.password",
        "mariadb.drill_password",
        "kube.mariadb_password",
        "kube.mariadb_drill_password",
    ];
    let mut generated: BTreeMap<String, String> = names.map(|name| (name.to_owned(), key.clone())).into();
    for name in ["kube.ca", "kube.front_proxy_ca"] {
        let name_of_file = name.trim_start_matches("kube.");
        let both = pem("CERTIFICATE", &format!("{name_of_file}+cert"))
            + &pem("PRIVATE KEY", &format!("{name_of_file}+key"));
        generated.insert(name.to_owned(), both);
    }
    for (name, certificate, key) in &*AUTHORITIES {
        generated.insert((*name).to_owned(), format!("{certificate}{key}"));
    }
    let pair = pem("PRIVATE KEY", "sa+key") + &pem("PUBLIC KEY", "sa+pub");
    generated.insert("kube.sa_key".to_owned(), pair);
    generated.insert("kube.token".to_owned(), "abcdef.0123456789abcdef".to_owned());
    for (name, kind) in variables_to_generate(inventory, roles) {
        if matches!(kind, Generate::Uuid | Generate::HostUuid) {
            let token = format!("token-{}", name.replace(' ', "-"));
            generated.insert(name, token);
        }
    }
    Wanted::new(inventory, roles, &generated)
}

/// Those that sign certificates of resources: the name of each, its certificate and its key.
static AUTHORITIES: LazyLock<Vec<(&str, String, String)>> = LazyLock::new(|| {
    let made = ["kube.etcd_ca", "registry.ca", "consul.ca", "nomad.ca"].map(|name| {
        let both = new_authority(name, facts().epoch).unwrap();
        let (certificate, key) = both.split_at(both.find("-----BEGIN PRIVATE KEY").unwrap());
        (name, certificate.to_owned(), key.to_owned())
    });
    made.into()
});

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// A text with the names of authorities and keys in their place, the same in every run.
fn with_names(text: &str) -> String {
    AUTHORITIES.iter().fold(text.to_owned(), |text, (name, certificate, key)| {
        text.replace(certificate, &pem("CERTIFICATE", &format!("{name}+cert")))
            .replace(key, &pem("PRIVATE KEY", &format!("{name}+key")))
    })
}

/// What is wrong with an inventory, as the operator reads it.
pub fn refused(inventory: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    std::fs::write(&path, inventory).unwrap();
    let roles = RoleSet::embedded().unwrap();
    let problems = load_inventory(&path, &roles, None).unwrap_err();
    let text: String = problems.iter().map(|problem| report::problem(problem, false) + "\n").collect();
    text.replace(&folder.path().display().to_string(), "/inventories")
}

/// The addresses of hosts that have no other for the cluster.
pub fn addresses(wanted: &Wanted) -> ClusterAddresses {
    let hosts = wanted.hosts.iter().map(|wanted| &wanted.host);
    hosts.map(|host| (host.name.clone(), host.address.parse().unwrap())).collect()
}

/// Every file that a host's roles want, by path.
pub fn files(inventory: &str, host: &str) -> BTreeMap<String, String> {
    let wanted = wanted(inventory);
    files_of(&wanted, host, &addresses(&wanted))
}

/// The same of a `Wanted`, for hosts at these addresses.
pub fn files_of(wanted: &Wanted, host: &str, addresses: &ClusterAddresses) -> BTreeMap<String, String> {
    try_files_of(wanted, host, addresses).unwrap()
}

/// The same, or the first that cannot be rendered.
pub fn try_files_of(
    wanted: &Wanted,
    host: &str,
    addresses: &ClusterAddresses,
) -> Result<BTreeMap<String, String>, WantedError> {
    let facts = facts();
    // Of a new cluster.
    let wanted = wanted
        .with_facts(|_| Some(&facts), &Formed::default(), addresses)
        .map_err(|mut errors| errors.remove(0))?;
    let of_host = wanted.host(&HostName::parse(host).unwrap()).unwrap();
    let mut files = BTreeMap::new();
    let late = of_host.late(&facts, &wanted.everyone(addresses));
    for role in &of_host.roles {
        for resource in &role.resources {
            let resolved = wanted.resolved(of_host, role, resource, &late)?;
            if let Some(content) = resolved.content() {
                files.insert(resolved.id().0.replace("file ", ""), with_names(content));
            }
        }
    }
    Ok(files)
}

pub fn snapshots(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../cases/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

pub fn shown(files: &BTreeMap<String, String>) -> String {
    files.iter().map(|(path, content)| format!("==> {path}\n{content}\n")).collect()
}

/// What shellcheck finds in the scripts among a host's files; nothing where there is no shellcheck (`tests/run` installs it).
pub fn shell_faults(files: &BTreeMap<String, String>) -> String {
    let mut found = String::new();
    for (path, text) in files.iter().filter(|(_, text)| text.starts_with("#!/bin/sh\n")) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(path.replace('/', "_"));
        std::fs::write(&file, text).unwrap();
        match Command::new("shellcheck").args(["-s", "sh"]).arg(&file).output() {
            Ok(output) => found += &String::from_utf8_lossy(&output.stdout),
            Err(error) => eprintln!("not checked: {path}: {error}"),
        }
    }
    found
}
