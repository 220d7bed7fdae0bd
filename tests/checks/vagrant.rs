//! The Vagrantfile: valid to Vagrant itself for each provider, and the same machines as in its inventory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::shells::have;
use bootstrap::inventory::Inventory;
use bootstrap::roles::{RoleSet, parse_inventory};
use serde_json::Value;

const PROVIDERS: [&str; 5] = ["virtualbox", "libvirt", "vmware_desktop", "parallels", "qemu"];
const HOME: &str = "/home/operator";

/// Relative to the checkout.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the Vagrantfile asks for, with these settings in the environment.
fn asked_for(settings: &[(&str, &str)]) -> Value {
    let output = Command::new("ruby")
        .args([at("tests/vagrant/machines.rb"), at("vagrant/Vagrantfile")])
        .env("HOME", HOME)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names and addresses.
fn machines(asked: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let machines = asked["machines"].as_array().unwrap().iter();
    machines
        .map(|machine| {
            assert_eq!(machine["name"], machine["host_name"]);
            (text(&machine["name"]), text(&machine["addresses"][0]))
        })
        .collect()
}

fn inventory(text: &str) -> Inventory {
    let roles = RoleSet::embedded().unwrap_or_else(|problems| panic!("{problems:?}"));
    parse_inventory(text, &at("inventories/vagrant.yaml"), &roles, Some(Path::new(HOME)))
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .0
}

fn hosts(inventory: &Inventory) -> Vec<(String, String)> {
    inventory.hosts.iter().map(|host| (host.name.to_string(), host.address.clone())).collect()
}

#[test]
fn the_inventory_has_the_machines_of_the_vagrantfile() {
    if !have("ruby") {
        return;
    }
    let asked = asked_for(&[]);
    let text = std::fs::read_to_string(at("inventories/vagrant.yaml")).unwrap();
    let three = inventory(&text);
    assert_eq!(machines(&asked), hosts(&three));
    assert_eq!(three.hosts.len(), 3);
    for host in &three.hosts {
        assert_eq!(host.cluster_address.unwrap().to_string(), host.address, "NAT is alike on all of them");
        // Both ends of one choice: Vagrant leaves its own key in, the inventory names that key.
        assert_eq!(asked["insert_key"], false);
        let key = Path::new(HOME).join(".vagrant.d/insecure_private_key");
        assert_eq!(host.ssh.identity_file.as_ref(), Some(&key));
        assert_eq!(host.ssh.known_hosts.as_deref(), asked["known_hosts"].as_str().map(Path::new));
    }
    // As its comments say it.
    let more =
        text.replace("node-[1-3]", "node-[1-5]").replace("1[1-3]", "1[1-5]").replace("  # nfs", "  nfs");
    assert_eq!(machines(&asked_for(&[("NODES", "5"), ("NFS", "1")])), hosts(&inventory(&more)));
}

#[test]
fn its_settings_reach_every_provider() {
    if !have("ruby") {
        return;
    }
    let asked = asked_for(&[("CPUS", "3"), ("MEMORY", "2000")]);
    let providers = asked["providers"].as_object().unwrap();
    assert_eq!(providers.keys().collect::<Vec<_>>(), PROVIDERS);
    for (name, told) in providers {
        let told = told.to_string();
        assert!(told.contains('3') && told.contains("2000"), "{name}: {told}");
    }
    assert_eq!(asked["boxes"]["virtualbox"], "bento/debian-12");
    assert_eq!(asked["boxes"]["libvirt"], "cloud-image/debian-12");
    let boxes = asked_for(&[("BOX", "mine")])["boxes"].clone();
    assert!(boxes.as_object().unwrap().values().all(|name| name == "mine"), "{boxes}");
    let emulated = asked_for(&[("DRIVER", "qemu")]);
    assert_eq!(emulated["providers"]["libvirt"]["driver"], "qemu", "where a /dev/kvm is of no use");
    let roomy = asked_for(&[("KUBERNETES", "1")]);
    assert_eq!(roomy["providers"]["virtualbox"]["cpus"], 2, "less is refused by kubeadm");
}

/// `vagrant validate` of a file by a provider, which need not be here.
fn validate(file: &Path, provider: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(at("tests/vagrant/Vagrantfile"), folder.path().join("Vagrantfile")).unwrap();
    Command::new("vagrant")
        .arg("validate")
        .current_dir(folder.path())
        .env("CHECKED", file)
        .env("VAGRANT_DEFAULT_PROVIDER", provider)
        .env("VAGRANT_HOME", folder.path().join("home"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap()
}

#[test]
fn vagrant_takes_it_for_every_provider() {
    if !have("vagrant") {
        return;
    }
    for provider in PROVIDERS {
        let output = validate(&at("vagrant/Vagrantfile"), provider);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{provider}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn vagrant_refuses_settings_that_a_provider_has_not() {
    if !have("vagrant") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(at("vagrant/Vagrantfile")).unwrap();
    let file = folder.path().join("Vagrantfile");
    for (provider, right, wrong) in [
        ("virtualbox", "machine.linked_clone =", "machine.link_clone ="),
        ("libvirt", "machine.driver =", "machine.diver ="),
        ("qemu", "machine.smp =", "machine.cpus ="),
    ] {
        assert!(text.contains(right));
        std::fs::write(&file, text.replace(right, wrong)).unwrap();
        let output = validate(&file, provider);
        assert!(!output.status.success(), "{provider} takes {wrong}");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let setting = wrong.trim_start_matches("machine.").trim_end_matches(" =");
        assert!(said.contains(setting), "{provider}: {said}");
    }
}
