//! The inventories that come with the program, for `init --template`, and what they need beside them.

use std::path::Path;

use clap::builder::PossibleValue;

use crate::inventory;

/// What `init` writes if nobody says which.
pub const USUAL: &str = "starter";

/// Inventories by name. Listed one by one: an operator who runs `bootstrap` in a checkout leaves secrets beside them,
/// which must not end up in the program.
const INVENTORIES: &[(&str, &str)] = &[
    (USUAL, include_str!("../../inventories/starter.yaml")),
    ("consul-three-servers", include_str!("../../inventories/consul-three-servers.yaml")),
    ("consul-servers-and-clients", include_str!("../../inventories/consul-servers-and-clients.yaml")),
    ("consul-with-names", include_str!("../../inventories/consul-with-names.yaml")),
    ("consul-names-on-port-53", include_str!("../../inventories/consul-names-on-port-53.yaml")),
    ("consul-docker", include_str!("../../inventories/consul-docker.yaml")),
    ("consul-docker-edge", include_str!("../../inventories/consul-docker-edge.yaml")),
    ("consul-haproxy", include_str!("../../inventories/consul-haproxy.yaml")),
    ("consul-fabio", include_str!("../../inventories/consul-fabio.yaml")),
    ("consul-nomad-docker", include_str!("../../inventories/consul-nomad-docker.yaml")),
    ("consul-nomad-fabio", include_str!("../../inventories/consul-nomad-fabio.yaml")),
    ("nomad-on-consul", include_str!("../../inventories/nomad-on-consul.yaml")),
    ("kubernetes", include_str!("../../inventories/kubernetes.yaml")),
    ("kubernetes-with-etcd", include_str!("../../inventories/kubernetes-with-etcd.yaml")),
    ("kubernetes-with-consul", include_str!("../../inventories/kubernetes-with-consul.yaml")),
    ("kubernetes-applications", include_str!("../../inventories/kubernetes-applications.yaml")),
    ("mariadb", include_str!("../../inventories/mariadb.yaml")),
    ("nfs-shared-data", include_str!("../../inventories/nfs-shared-data.yaml")),
    ("nfs-applications", include_str!("../../inventories/nfs-applications.yaml")),
    ("air-gapped", include_str!("../../inventories/air-gapped.yaml")),
    ("lab", include_str!("../../inventories/lab.yaml")),
    ("vagrant", include_str!("../../inventories/vagrant.yaml")),
];

/// Job files, by the paths that inventories give.
const JOBS: &[(&str, &str)] = &[
    ("jobs/hello.nomad.hcl", include_str!("../../inventories/jobs/hello.nomad.hcl")),
    ("jobs/shop.nomad.hcl", include_str!("../../inventories/jobs/shop.nomad.hcl")),
];

const VAGRANTFILE: (&str, &str) = ("Vagrantfile", include_str!("../../vagrant/Vagrantfile"));

/// The text of an inventory.
pub fn text(name: &str) -> Option<&'static str> {
    INVENTORIES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// What the inventory of this name needs beside it: paths from its folder, and texts.
pub fn companions(name: &str) -> Vec<(&'static str, &'static str)> {
    let (draft, _) = inventory::parse(text(name).unwrap_or_default(), Path::new(name));
    let jobs = draft.into_iter().flat_map(|draft| draft.jobs).filter(|job| job.is_file);
    let jobs = jobs.filter_map(|job| JOBS.iter().find(|(path, _)| *path == job.source.value));
    jobs.copied().chain((name == "vagrant").then_some(VAGRANTFILE)).collect()
}

/// Their names, each with what its first comment says, for clap.
pub fn choices() -> Vec<PossibleValue> {
    INVENTORIES.iter().map(|(name, text)| PossibleValue::new(*name).help(about(text))).collect()
}

/// The first sentence of a file.
fn about(text: &str) -> String {
    let comment = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    let comment: Vec<&str> = comment.take_while(|line| !line.is_empty()).collect();
    let comment = comment.join(" ");
    comment.split_once(". ").map_or(comment.trim_end_matches('.'), |(first, _)| first).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn files(folder: &str, ending: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories").join(folder);
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter_map(|name| Some(name.to_str()?.strip_suffix(ending)?.to_owned())).collect()
    }

    #[test]
    fn every_inventory_and_every_job_is_a_template() {
        let names = INVENTORIES.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(files("", ".yaml"), names.collect());
        let jobs = JOBS.iter().map(|(path, _)| path.trim_start_matches("jobs/").to_owned());
        assert_eq!(files("jobs", ""), jobs.collect());
    }

    #[test]
    fn each_says_in_a_line_what_it_is_for() {
        for choice in choices() {
            let help = choice.get_help().unwrap().to_string();
            assert!((20..140).contains(&help.len()), "{}: {help}", choice.get_name());
        }
    }

    #[test]
    fn jobs_and_machines_come_along() {
        let paths = |name| companions(name).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(paths("consul-nomad-docker"), ["jobs/hello.nomad.hcl"]);
        assert_eq!(paths("vagrant"), ["Vagrantfile"]);
        assert!(paths(USUAL).is_empty());
    }
}
