//! Which files of the others name a host that is added, and which of them change when it joins.

use std::collections::{BTreeMap, BTreeSet};

use bootstrap::model::{Batch, Change, Effect, HostName, Plan, RoleName, Stage, StageName, Step, StepId};
use bootstrap::report::pending;
use bootstrap::resource::Resource;
use bootstrap::roles::Wanted;
use indoc::formatdoc;

use crate::rendered;

/// A cluster with a list of hosts in every place that has one.
fn inventory(new: bool) -> String {
    let (host, name) = if new { ("  node-4: { address: 10.0.0.14 }\n", ", node-4") } else { ("", "") };
    formatdoc!(
        r#"
            cluster: c1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              web-1: {{ address: 10.0.0.21 }}
              nas: {{ address: 10.0.0.31 }}
            {host}groups:
              control: {{ hosts: [node-1, node-2, node-3{name}], roles: [consul-server, nomad-server, container-runtime, kube-endpoint, kube-control-plane] }}
              workers: {{ hosts: [web-1], roles: [consul-client, nomad-client, container-runtime, kube-worker] }}
              storage: {{ hosts: [nas], roles: [nfs-server] }}
            vars:
              kube: {{ endpoint: {{ address: 10.0.0.100, port: 8443, vip: true }}, cni: bridge }}
              nomad: {{ consul: false }}
              nfs: {{ exports: [{{ path: /srv/data, clients: [node-1{name}] }}] }}
        "#
    )
}

/// The files of each host, and a unit for all that watches them, as a plan from the one inventory to the other.
fn plan(before: &Wanted, after: &Wanted) -> Plan {
    let mut steps: BTreeMap<HostName, Vec<Step>> = BTreeMap::new();
    for host in &after.hosts {
        let name = &host.host.name;
        let files = |wanted: &Wanted| match wanted.host(name) {
            Some(_) => rendered::files_of(wanted, name.as_str(), &rendered::addresses(wanted)),
            None => BTreeMap::new(),
        };
        let (old, new) = (files(before), files(after));
        let step = |id: &StepId, role: &RoleName, diff: Option<String>| Step {
            id: id.clone(),
            role: role.clone(),
            change: Change { reason: "r".to_owned(), effect: Effect::Quiet, diff, calls: Vec::new() },
            help: None,
        };
        let mut changed = BTreeSet::new();
        for role in &host.roles {
            for resource in &role.resources {
                let id = resource.id();
                let path = resource.path().unwrap_or_default();
                let (old, new) = (old.get(path), new.get(path));
                let watches = resource.unit().is_some_and(|unit| {
                    unit.restart_on.iter().chain(&unit.reload_on).any(|path| changed.contains(path.as_str()))
                });
                if (old == new && !watches)
                    || steps.get(name).is_some_and(|steps| steps.iter().any(|step| step.id == id))
                {
                    continue;
                }
                changed.insert(path);
                let diff = new.map(|new| {
                    let diff = similar::TextDiff::from_lines(old.map_or("", String::as_str), new.as_str());
                    diff.unified_diff().to_string()
                });
                steps.entry(name.clone()).or_default().push(step(&id, &role.name, diff));
            }
        }
    }
    let stage = Stage {
        name: StageName("all".to_owned()),
        gate: None,
        quorum: false,
        batches: vec![Batch { steps }],
    };
    Plan { stages: vec![stage], ..Plan::default() }
}

fn ids(plan: &Plan, host: &str) -> Vec<String> {
    let of_host = plan.steps().filter(|(name, _)| name.as_str() == host);
    of_host.map(|(_, step)| step.id.0.clone()).collect()
}

#[test]
fn others_change_only_what_a_newcomer_cannot_do_without() {
    let (before, after) = (rendered::wanted(&inventory(false)), rendered::wanted(&inventory(true)));
    let (newcomer, address) = (HostName::parse("node-4").unwrap(), "10.0.0.14".parse().unwrap());
    let all = plan(&before, &after);
    let (own, left) = all.clone().for_newcomer(&after, &newcomer, Some(address));
    assert_eq!(ids(&own, "node-4"), ids(&all, "node-4"));
    assert_eq!(ids(&left, "node-4"), Vec::<String>::new());
    let shown = |plan: &Plan| {
        let hosts = ["node-1", "web-1", "nas"]
            .map(|host| format!("{host}: {}", ids(plan, host).join(", ")).trim().to_owned());
        hosts.join("\n")
    };
    insta::assert_snapshot!(shown(&own), @"
    node-1: file /etc/keepalived/keepalived.conf, unit keepalived.service, file /etc/kubernetes/bootstrap/routes, unit kube-routes.service, file /etc/kubernetes/bootstrap/etcd-restore
    web-1: file /etc/kubernetes/bootstrap/routes, unit kube-routes.service
    nas: file /etc/exports.d/bootstrap.exports, unit nfs-server.service
    ");
    insta::assert_snapshot!(shown(&left), @"
    node-1: file /etc/consul.d/join.json, file /etc/haproxy/bootstrap.cfg, unit haproxy.service, file /etc/nomad.d/join.json
    web-1: file /etc/consul.d/join.json, file /etc/nomad.d/join.json
    nas:
    ");

    // A change of such a list that has nothing to do with the host waits too.
    let other = inventory(false).replace("clients: [node-1]", "clients: [node-2]");
    let (own, left) = plan(&before, &rendered::wanted(&other)).for_newcomer(&after, &newcomer, Some(address));
    assert_eq!((own.steps().count(), ids(&left, "nas").len()), (0, 2));
    // Whose address is not known is in no list.
    let (own, _) = all.for_newcomer(&after, &newcomer, None);
    assert!(own.steps().all(|(host, _)| *host == newcomer));
}

#[test]
fn a_list_of_hosts_is_a_file_of_its_role() {
    let wanted = rendered::wanted(&inventory(true).replace("vip: true }", "vip: true }, version: 1.34.4"));
    let mut known = BTreeSet::new();
    for role in wanted.hosts.iter().flat_map(|host| &host.roles) {
        let paths: Vec<&str> = role.resources.iter().filter_map(Resource::path).collect();
        known.extend(role.lists_hosts.iter().filter(|list| paths.contains(&list.as_str())).cloned());
    }
    let expected = [
        "/etc/exports.d/bootstrap.exports",
        "/etc/keepalived/keepalived.conf",
        "/etc/kubernetes/bootstrap/etcd-restore",
        "/etc/kubernetes/bootstrap/routes",
    ];
    assert_eq!(known, expected.map(str::to_owned).into());
}

#[test]
fn what_is_pending_is_told_by_hosts_with_the_same() {
    let (before, after) = (rendered::wanted(&inventory(false)), rendered::wanted(&inventory(true)));
    let told = pending(&plan(&before, &after));
    assert!(told.iter().any(|line| line.starts_with("pending on node-1, node-2, node-3: ")), "{told:?}");
    assert_eq!(pending(&Plan::default()), Vec::<String>::new());
}
