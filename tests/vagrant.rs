//! The Vagrantfile: valid to Vagrant itself, and the same machines as in its inventory.

mod shells;

use std::path::Path;
use std::process::Command;

use bootstrap::roles::{RoleSet, load_inventory};
use serde_json::Value;
use shells::have;

/// Relative to the checkout.
fn at(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the Vagrantfile asks for, with these settings in the environment.
fn asked_for(settings: &[(&str, &str)]) -> Value {
    let output = Command::new("ruby")
        .args([at("tests/vagrant/machines.rb"), at("vagrant/Vagrantfile")])
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn machines(asked: &Value) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value| -> &str { value.as_str().unwrap().to_owned().leak() };
    let machines = asked["machines"].as_array().unwrap();
    machines
        .iter()
        .map(|machine| {
            assert_eq!(machine["name"], machine["host_name"]);
            (text(&machine["name"]), text(&machine["addresses"][0]))
        })
        .collect()
}

#[test]
fn the_inventory_has_the_machines_of_the_vagrantfile() {
    if !have("ruby") {
        return;
    }
    let asked = asked_for(&[]);
    let roles = RoleSet::embedded().unwrap_or_else(|problems| panic!("{problems:?}"));
    let (inventory, _) = load_inventory(&at("inventories/vagrant.yaml"), &roles, None)
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    let hosts: Vec<(&str, &str)> =
        inventory.hosts.iter().map(|host| (host.name.as_str(), host.address.as_str())).collect();
    assert_eq!(machines(&asked), hosts);
    for host in &inventory.hosts {
        assert_eq!(host.cluster_address.unwrap().to_string(), host.address, "NAT is alike on all of them");
        // Both ends of one choice: Vagrant leaves its own key in, the inventory names that key.
        assert_eq!(asked["insert_key"], false);
        assert!(host.ssh.identity_file.as_ref().unwrap().ends_with(".vagrant.d/insecure_private_key"));
        assert_eq!(
            host.ssh.known_hosts.as_ref().unwrap(),
            &at("inventories/../vagrant/.vagrant/known_hosts")
        );
    }
}

#[test]
fn its_settings_reach_every_provider() {
    if !have("ruby") {
        return;
    }
    let asked = asked_for(&[("NODES", "5"), ("NFS", "1"), ("CPUS", "3"), ("MEMORY", "2000")]);
    let names: Vec<&str> = machines(&asked).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3", "node-4", "node-5", "nfs-1"]);
    let providers = asked["providers"].as_object().unwrap();
    assert_eq!(providers.len(), 5);
    for (name, told) in providers {
        let told = told.to_string();
        assert!(told.contains('3') && told.contains("2000"), "{name}: {told}");
    }
}

#[test]
fn vagrant_takes_it() {
    if !have("vagrant") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::copy(at("vagrant/Vagrantfile"), home.path().join("Vagrantfile")).unwrap();
    let output = Command::new("vagrant")
        .args(["validate", "--ignore-provider"])
        .current_dir(home.path())
        .env("VAGRANT_HOME", home.path().join("home"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
