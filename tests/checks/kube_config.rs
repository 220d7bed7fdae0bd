//! What the Kubernetes roles render for each kubeadm API, as snapshots, and what differs between them.

use crate::rendered;
use indoc::{formatdoc, indoc};
use std::collections::{BTreeMap, BTreeSet};

use crate::rendered::{refused, shell_faults, shown, snapshots};
use bootstrap::model::HostName;
use bootstrap::resource::Resource;
use bootstrap::roles::Formed;
use serde_json::{Value, json};

/// `extra` are more lines of `vars.kube`.
fn inventory(version: &str, extra: &str) -> String {
    formatdoc!(
        r#"
            cluster: k1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              web-1: {{ address: 10.0.0.21 }}
            groups:
              control-planes: {{ hosts: [node-1, node-2, node-3], roles: [container-runtime, kube-control-plane] }}
              workers: {{ hosts: [web-1], roles: [container-runtime, kube-worker] }}
            vars:
              kube:
                version: {version}
                endpoint: {{ address: api.example.org, port: 8443 }}
                network: {{ url: "https://example.org/flannel.yaml", sha256: "{}" }}
            {extra}"#,
        "0".repeat(64)
    )
}

fn files(version: &str, extra: &str, host: &str) -> BTreeMap<String, String> {
    rendered::files(&inventory(version, extra), host)
}

/// The documents of kubeadm's configuration by their kind.
fn documents(text: &str) -> BTreeMap<String, Value> {
    text.split("\n---\n")
        .map(|text| serde_json::from_str(text).unwrap())
        .map(|document: Value| (document["kind"].as_str().unwrap().to_owned(), document))
        .collect()
}

fn kubeadm(version: &str, extra: &str, host: &str) -> BTreeMap<String, Value> {
    let files = files(version, extra, host);
    let mut found = documents(&files["/etc/kubernetes/bootstrap/join.yaml"]);
    if let Some(text) = files.get("/etc/kubernetes/bootstrap/kubeadm.yaml") {
        found.extend(documents(text));
    }
    found
}

const EVERYTHING: &str = "    labels: { rack: a1, zone: 2 }\n    taints: [ { key: dedicated, value: db } ]\n    \
    cert_sans: [10.0.0.9]\n    api_server_args: { v: 2, profiling: false }\n    etcd_args: { quota-backend-bytes: 8589934592 }\n    \
    image_repository: registry.example.org/k8s\n    kubelet_config: { maxPods: 50 }\n    cni: bridge\n    dns: false\n";

#[test]
fn the_files_of_a_control_plane_for_each_api_of_kubeadm() {
    for version in ["1.20.2", "1.28.15", "1.34.1"] {
        let name = format!("control-plane-{version}");
        snapshots("kube").bind(|| insta::assert_snapshot!(name, shown(&files(version, "", "node-2"))));
    }
}

#[test]
fn everything_set() {
    for (version, host) in [("1.20.2", "web-1"), ("1.34.1", "node-1")] {
        let name = format!("everything-{version}");
        let mut files = files(version, EVERYTHING, host);
        files.retain(|path, _| path.contains("bootstrap/") || path.contains("cni"));
        snapshots("kube").bind(|| insta::assert_snapshot!(name, shown(&files)));
    }
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    for version in ["1.20.2", "1.34.1"] {
        for host in ["node-1", "web-1"] {
            for extra in ["", EVERYTHING, "    kubelet_config: { healthzPort: 0 }\n    dns: false\n"] {
                assert_eq!(shell_faults(&files(version, extra, host)), "", "{version} {host} {extra}");
            }
        }
    }
}

#[test]
fn a_value_is_one_word_of_a_script() {
    let extra = "    etcd_dir: \"/data/its-etcd\"\n    ignore_preflight: [\"$(reboot)\"]\n    dns: false\n";
    let files = files("1.20.2", extra, "node-1");
    let run = &files["/etc/kubernetes/bootstrap/run"];
    assert!(
        run.contains(
            "rm -rf --one-file-system /etc/kubernetes '/data/its-etcd'/member '/data/its-etcd'.before /var/"
        ),
        "{run}"
    );
    let upgrade = &files["/etc/kubernetes/bootstrap/upgrade"];
    assert!(upgrade.contains("\nignored='$(reboot),CoreDNS"), "{upgrade}");
}

#[test]
fn labels_and_taints_are_words() {
    let said = refused(&inventory("1.20.2", "    labels: { rack: \"a 1\" }\n"));
    assert!(said.contains("a label or a taint has a blank in it"), "{said}");
    // Of the project's own domains a kubelet may not give itself all.
    let labels = "    labels: { rack: a1, node-role.kubernetes.io/storage: \"\", example.org/zone: 2 }\n";
    let join = &kubeadm("1.20.2", labels, "web-1")["JoinConfiguration"];
    let given = &join["nodeRegistration"]["kubeletExtraArgs"]["node-labels"];
    assert_eq!(given, "rack=a1,example.org/zone=2");
}

/// The fields of kubeadm's API by the name of the map that holds them: a name that is not there is refused by kubeadm or,
/// worse, ignored.
///
/// Compared on 2026-11-21 with what Kubernetes publishes: for v1beta2 and v1beta3 the `json` tags of
/// `cmd/kubeadm/app/apis/kubeadm/*/types.go` at commits 046d201c and 008b3652 of kubernetes/kubernetes, for v1beta4 the page
/// `kubeadm-config.v1beta4.md` of kubernetes/website at 020646fa, as of Kubernetes 1.31. Fields that came to v1beta4 later
/// are not here. Kinds that no role writes are left out, and so are the kubelet's and kube-proxy's, which nothing compares.
fn documented(api: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    const COMPONENT: [&str; 2] = ["extraArgs", "extraVolumes"];
    const IMAGE: [&str; 2] = ["imageRepository", "imageTag"];
    let mut fields = BTreeMap::from([
        ("", vec!["apiVersion", "kind"]),
        (
            "InitConfiguration",
            vec!["bootstrapTokens", "nodeRegistration", "localAPIEndpoint", "certificateKey"],
        ),
        ("JoinConfiguration", vec!["nodeRegistration", "caCertPath", "discovery", "controlPlane"]),
        ("bootstrapTokens", vec!["token", "description", "ttl", "expires", "usages", "groups"]),
        (
            "nodeRegistration",
            vec!["name", "criSocket", "taints", "kubeletExtraArgs", "ignorePreflightErrors"],
        ),
        ("localAPIEndpoint", vec!["advertiseAddress", "bindPort"]),
        ("controlPlane", vec!["localAPIEndpoint", "certificateKey"]),
        ("discovery", vec!["bootstrapToken", "file", "tlsBootstrapToken"]),
        ("bootstrapToken", vec!["token", "apiServerEndpoint", "caCertHashes", "unsafeSkipCAVerification"]),
        ("file", vec!["kubeConfigPath"]),
        (
            "ClusterConfiguration",
            vec![
                "etcd",
                "networking",
                "kubernetesVersion",
                "controlPlaneEndpoint",
                "apiServer",
                "controllerManager",
                "scheduler",
                "dns",
                "certificatesDir",
                "imageRepository",
                "featureGates",
                "clusterName",
            ],
        ),
        ("networking", vec!["serviceSubnet", "podSubnet", "dnsDomain"]),
        ("etcd", vec!["local", "external"]),
        ("local", [&IMAGE[..], &["dataDir", "extraArgs", "serverCertSANs", "peerCertSANs"]].concat()),
        ("external", vec!["endpoints", "caFile", "certFile", "keyFile"]),
        ("apiServer", [&COMPONENT[..], &["certSANs"]].concat()),
        ("controllerManager", COMPONENT.to_vec()),
        ("scheduler", COMPONENT.to_vec()),
        ("extraVolumes", vec!["name", "hostPath", "mountPath", "readOnly", "pathType"]),
        ("dns", IMAGE.to_vec()),
        // Of the core API.
        ("taints", vec!["key", "value", "effect", "timeAdded"]),
    ]);
    let mut more = |kind: &'static str, names: &[&'static str]| fields.entry(kind).or_default().extend(names);
    if api == "v1beta2" {
        more("ClusterConfiguration", &["useHyperKubeImage"]);
        more("dns", &["type"]);
    } else {
        more("InitConfiguration", &["skipPhases", "patches"]);
        more("JoinConfiguration", &["skipPhases", "patches"]);
        more("nodeRegistration", &["imagePullPolicy"]);
        more("patches", &["directory"]);
    }
    if api == "v1beta4" {
        more("InitConfiguration", &["dryRun", "timeouts"]);
        more("JoinConfiguration", &["dryRun", "timeouts"]);
        more(
            "timeouts",
            &[
                "controlPlaneComponentHealthCheck",
                "kubeletHealthCheck",
                "kubernetesAPICall",
                "etcdAPICall",
                "tlsBootstrap",
                "discovery",
                "upgradeManifests",
            ],
        );
        more("nodeRegistration", &["imagePullSerial"]);
        more(
            "ClusterConfiguration",
            &["proxy", "encryptionAlgorithm", "certificateValidityPeriod", "caCertificateValidityPeriod"],
        );
        more("dns", &["disabled"]);
        more("proxy", &["disabled"]);
        for kind in ["apiServer", "controllerManager", "scheduler", "local"] {
            more(kind, &["extraEnvs"]);
        }
    } else {
        // Both became `timeouts`.
        more("apiServer", &["timeoutForControlPlane"]);
        more("discovery", &["timeout"]);
    }
    fields
}

/// Every field below `value` that is not documented, by the name of the map that it is in.
fn unknown(value: &Value, within: &str, fields: &BTreeMap<&str, Vec<&str>>, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| unknown(item, within, fields, found)),
        Value::Object(map) => {
            for (name, value) in map {
                let known = fields.get(within).is_some_and(|names| names.contains(&name.as_str()));
                if !known && !fields[""].contains(&name.as_str()) {
                    found.insert(format!("{within}.{name}"));
                }
                // Flags are the programs' own.
                if !matches!(name.as_str(), "extraArgs" | "kubeletExtraArgs") {
                    unknown(value, name, fields, found);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn no_field_is_written_that_the_api_does_not_have() {
    for (version, api) in [
        ("1.20.2", "v1beta2"),
        ("1.21.14", "v1beta2"),
        ("1.22.0", "v1beta3"),
        ("1.30.9", "v1beta3"),
        ("1.31.0", "v1beta4"),
        ("1.34.1", "v1beta4"),
    ] {
        let fields = documented(api);
        for (host, extra) in [("node-1", ""), ("node-2", EVERYTHING), ("web-1", EVERYTHING)] {
            for (kind, document) in kubeadm(version, extra, host) {
                if kind.starts_with("Kube") {
                    continue;
                }
                assert_eq!(document["apiVersion"], format!("kubeadm.k8s.io/{api}"), "{kind} {version}");
                let mut found = BTreeSet::new();
                unknown(&document, &kind, &fields, &mut found);
                assert_eq!(found, BTreeSet::new(), "{kind} of {version} on {host}");
            }
        }
    }
}

#[test]
fn flags_are_maps_of_texts_and_later_lists_of_pairs() {
    let of = |version: &str| kubeadm(version, EVERYTHING, "node-1");
    let (old, new) = (of("1.30.9"), of("1.31.0"));
    assert_eq!(
        old["ClusterConfiguration"]["apiServer"]["extraArgs"],
        json!({"shutdown-delay-duration": "6s", "v": "2", "profiling": "false"})
    );
    assert_eq!(
        new["ClusterConfiguration"]["apiServer"]["extraArgs"],
        json!([{"name": "shutdown-delay-duration", "value": "6s"}, {"name": "v", "value": "2"}, {"name": "profiling", "value": "false"}])
    );
    let labels = json!({"node-ip": "10.0.0.11", "node-labels": "rack=a1,zone=2"});
    assert_eq!(old["InitConfiguration"]["nodeRegistration"]["kubeletExtraArgs"], labels);
    assert_eq!(old["JoinConfiguration"]["nodeRegistration"]["kubeletExtraArgs"], labels);
    assert_eq!(
        new["JoinConfiguration"]["nodeRegistration"]["kubeletExtraArgs"][1],
        json!({"name": "node-labels", "value": "rack=a1,zone=2"})
    );
}

/// The commands of a host once it and the others have said what there is.
fn commands(formed: &[&str], host: &str) -> Vec<String> {
    let wanted = rendered::wanted(&inventory("1.20.2", EVERYTHING));
    let addresses = rendered::addresses(&wanted);
    let gates = formed.iter().map(|gate| (*gate).to_owned()).collect();
    let formed = Formed { gates, ..Formed::default() };
    let facts = rendered::facts();
    let settled = wanted.with_facts(|_| Some(&facts), &formed, &addresses).ok().unwrap();
    let host = settled.host(&HostName::parse(host).unwrap()).unwrap();
    let resources = host.roles.iter().flat_map(|role| &role.resources);
    let execs = resources.filter_map(|resource| match resource {
        Resource::Exec(exec) if exec.name.contains("cluster") => {
            let help = exec.delegated.as_ref().map_or("", |delegated| delegated.by.as_str());
            Some(format!("{} ({help})", exec.command.join(" ")))
        }
        _ => None,
    });
    execs.collect()
}

#[test]
fn the_first_makes_the_cluster_only_where_there_is_none() {
    let run = "/etc/kubernetes/bootstrap/run";
    let init = format!("{run} init /etc/kubernetes/bootstrap/kubeadm.yaml addon/coredns ()");
    let join = format!("{run} join /etc/kubernetes/bootstrap/join.yaml (kube-control-plane)");
    assert_eq!(commands(&[], "node-1"), [init]);
    for (formed, host) in [(&[][..], "node-2"), (&["kube-control-planes"], "node-1"), (&[], "web-1")] {
        assert_eq!(commands(formed, host), std::slice::from_ref(&join), "{formed:?} {host}");
    }
}

#[test]
fn the_load_balancer_leads_to_every_control_plane_and_its_address_has_one_holder() {
    let inventory = indoc! {r#"
        cluster: k1
        hosts:
          node-[1-3]: { address: "10.0.0.1[1-3]" }
        groups:
          all: { hosts: [node-1, node-2, node-3], roles: [container-runtime, kube-endpoint, kube-control-plane] }
        vars:
          kube: { cni: bridge, endpoint: { address: 10.0.0.9, port: 8443, vip: true } }
    "#};
    let of = |host: &str| {
        let mut files = rendered::files(inventory, host);
        files.retain(|path, _| path.contains("haproxy") || path.contains("keepalived"));
        files
    };
    snapshots("kube").bind(|| insta::assert_snapshot!("endpoint", shown(&of("node-1"))));
    let priority = |host: &str| {
        let files = of(host);
        let line =
            files["/etc/keepalived/keepalived.conf"].lines().find(|line| line.contains("priority")).unwrap();
        line.trim().to_owned()
    };
    let all: BTreeSet<String> = ["node-1", "node-2", "node-3"].map(priority).into();
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn what_cannot_become_a_cluster_is_told_before_any_host_is_asked() {
    let with = |roles: &str, kube: &str| {
        refused(&formatdoc!(
            r#"
                cluster: k1
                hosts:
                  node-[1-3]: {{ address: "10.0.0.1[1-3]", roles: {roles} }}
                vars:
                  kube: {{ {kube} }}
            "#
        ))
    };
    let both = "[container-runtime, kube-control-plane]";
    let endpoint = "endpoint: { address: 10.0.0.9 }";
    for (roles, kube, message) in [
        ("[kube-control-plane]", format!("{endpoint}, cni: bridge"), "needs a container runtime"),
        (both, endpoint.to_owned(), "nothing brings a network for pods"),
        (
            both,
            format!("{endpoint}, network: {{ url: 'https://x.org/y' }}"),
            "takes `url` with `sha256`, or `content`",
        ),
        (both, "cni: bridge".to_owned(), "`kube.endpoint.address` is not set"),
        (both, format!("{endpoint}, cni: bridge, version: 1.19.16"), "older than what these roles know"),
        ("[container-runtime, kube-worker]", format!("{endpoint}, cni: bridge"), "kube-control-plane"),
        (
            "[container-runtime, kube-endpoint, kube-control-plane]",
            format!("{endpoint}, cni: bridge"),
            "cannot listen at the same port of one host",
        ),
        (
            "[container-runtime, kube-endpoint, kube-control-plane]",
            "endpoint: { address: api.example.org, port: 8443, vip: true }, cni: bridge".to_owned(),
            "moves an address, and `kube.endpoint.address` is a name",
        ),
    ] {
        let text = with(roles, &kube);
        assert!(text.contains(message), "`{message}` is not in\n{text}");
    }
}

#[test]
fn the_manifest_of_the_network_may_be_in_the_inventory() {
    let text = inventory("1.34.1", "");
    let from = text.find("network:").unwrap();
    let to = from + text[from..].find('\n').unwrap();
    let text = text.replacen(&text[from..to], "network: { content: \"kind: List\\n\" }", 1);
    let files = rendered::files(&text, "node-1");
    assert_eq!(files["/etc/kubernetes/bootstrap/network.yaml"], "kind: List\n");
}

#[test]
fn hosts_on_which_no_kubelet_starts_are_refused() {
    let reasons = |version: &str, extra: &str, facts: bootstrap::facts::Facts| -> Vec<String> {
        let wanted = rendered::wanted(&inventory(version, extra));
        let addresses = rendered::addresses(&wanted);
        let settled = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).ok().unwrap();
        let roles = settled.host(&HostName::parse("web-1").unwrap()).unwrap().roles.clone();
        roles.iter().flat_map(|role| &role.refused).map(|refused| refused.reason.clone()).collect()
    };
    let facts = |swap, cgroup_version| bootstrap::facts::Facts { swap, cgroup_version, ..rendered::facts() };
    assert_eq!(reasons("1.20.2", "", facts(false, 1)), [""; 0]);
    assert_eq!(reasons("1.35.0", "", facts(false, 2)), [""; 0]);
    assert_eq!(reasons("1.35.0", "", facts(false, 1)).len(), 1);
    assert!(reasons("1.34.1", "", facts(true, 2))[0].contains("swap is on"));
    let allowed = "    kubelet_config: { failSwapOn: false }\n";
    assert_eq!(reasons("1.34.1", allowed, facts(true, 2)), [""; 0]);
    // A resolver that pods would look for in themselves.
    let mut own = facts(false, 2);
    own.resolver.nameservers = vec!["127.0.0.1".to_owned()];
    assert!(reasons("1.34.1", "", own.clone())[0].contains("CoreDNS would ask itself"));
    let given = "    kubelet_config: { resolvConf: /etc/bootstrap-dns/upstream.conf }\n";
    for extra in [given, "    dns: false\n"] {
        assert_eq!(reasons("1.34.1", extra, own.clone()), [""; 0]);
    }
    own.resolver.kind = bootstrap::facts::ResolverKind::SystemdResolved;
    assert_eq!(reasons("1.34.1", "", own), [""; 0]);
}

#[test]
fn addresses_that_collide_are_refused_without_a_host() {
    let text = |second: &str, kube: &str| {
        formatdoc!(
            r#"
            cluster: k1
            hosts:
              node-1: {{ address: 10.1.1.11 }}
              node-2: {{ address: {second} }}
              node-3: {{ address: 10.1.3.13 }}
            groups:
              all: {{ hosts: ["node-*"], roles: [container-runtime, kube-control-plane] }}
            vars:
              kube: {{ version: 1.34.1, cni: bridge, {kube} }}
            "#
        )
    };
    let here = "endpoint: { address: 10.1.1.100 }";
    rendered::wanted(&text("10.1.2.12", here));
    for (second, kube, said) in [
        ("10.1.2.11", here, "two nodes have the same"),
        ("10.244.2.12", here, "its address lies in the network of pods"),
        ("10.100.2.12", here, "its address lies in the network of pods or of services"),
        (
            "10.1.2.12",
            "endpoint: { address: 10.96.0.1 }",
            "`kube.endpoint.address` lies in the network of pods or of services",
        ),
        ("10.1.2.12", "endpoint: { address: 10.1.1.100 }, pod_subnet: 10.0.0.0/8", "overlap"),
        ("10.1.2.12", "endpoint: { address: 10.1.1.100 }, service_subnet: 10.244.8.0/24", "overlap"),
    ] {
        let refusal = refused(&text(second, kube));
        assert!(refusal.contains(said), "{second} {kube}: {refusal}");
        assert_eq!(
            refusal.matches("two nodes have the same").count(),
            usize::from(second == "10.1.2.11"),
            "{refusal}"
        );
    }
}

#[test]
fn an_address_that_moves_must_be_of_the_hosts_network() {
    let reasons = |address: &str| -> Vec<String> {
        let text = formatdoc!(
            r#"
                cluster: k1
                hosts:
                  node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
                groups:
                  all: {{ hosts: ["node-*"], roles: [container-runtime, kube-endpoint, kube-control-plane] }}
                vars:
                  kube: {{ cni: bridge, endpoint: {{ address: {address}, port: 8443, vip: true }} }}
            "#
        );
        let wanted = rendered::wanted(&text);
        let addresses = rendered::addresses(&wanted);
        let facts = rendered::facts();
        let settled = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).ok().unwrap();
        let roles = settled.host(&HostName::parse("node-1").unwrap()).unwrap().roles.clone();
        roles.iter().flat_map(|role| &role.refused).map(|refused| refused.reason.clone()).collect()
    };
    assert_eq!(reasons("10.0.0.9"), [""; 0]);
    assert_eq!(
        reasons("10.0.1.9"),
        ["the endpoint's address 10.0.1.9 is in none of the host's networks, 10.0.0.11/24"]
    );
}
