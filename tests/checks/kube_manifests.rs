//! Manifests of the roles that bring some, and what CoreDNS is told of Consul: read as the cluster would read them, each reference
//! followed. No cluster has run them here.

use crate::rendered;
use indoc::{formatdoc, indoc};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::rendered::{refused, shown, snapshots};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::model::HostName;
use bootstrap::resource::{Exec, File, Phase, Resource};
use serde_json::{Value, json};

const FOLDER: &str = "/etc/kubernetes/bootstrap";
const KEY: &str = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";

/// An application: its role, and what is written below `kube`.
type App = (&'static str, &'static str);

/// Three control planes, of which the first has these applications.
fn inventory(version: &str, apps: &[App]) -> String {
    let roles: Vec<&str> = apps.iter().map(|(role, _)| *role).collect();
    let vars: String = apps.iter().map(|(_, line)| format!("    {line}\n")).collect();
    formatdoc!(
        r#"
            cluster: k1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
            groups:
              control-planes: {{ hosts: ["node-*"], roles: [container-runtime, kube-control-plane] }}
              applications: {{ hosts: [node-1], roles: [{roles}] }}
            vars:
              kube:
                version: {version}
                cni: bridge
                endpoint: {{ address: 10.0.0.9 }}
                consul_gossip_key: "{KEY}"
            {vars}"#,
        roles = roles.join(", ")
    )
}

const METRICS: App = ("kube-metrics-server", "metrics_server: {}");
const DASHBOARD: App = ("kube-dashboard", "dashboard: {}");
const VOLUME: App =
    ("kube-nfs-volumes", "nfs_volumes: [ { name: app1, server: 10.0.0.9, path: /data/app1 } ]");
const VOLUME_ALL: App = (
    "kube-nfs-volumes",
    "nfs_volumes: [ { name: app2, server: nfs.example.org, path: /data/app2, size: 3Gi, namespace: shop, \
     mount_options: [nfsvers=4.1, \"sec=sys\"] } ]",
);
const CONSUL: App = ("kube-consul", "consul: {}");
const CONSUL_ALL: App = (
    "kube-consul",
    "consul: { name: registry, version: 1.20.6, registry: \"registry.example.org/mirror\", replicas: 5, \
     storage_class: fast, size: 2Gi, namespace: shop, datacenter: dc7, config: { log_level: warn }, \
     host: consul.example.org, ingress_class: nginx, tls_secret: consul-tls }",
);
const WEB: App = ("kube-web", "web: { claim: app1, max_replicas: 4 }");
const WEB_ALL: App = (
    "kube-web",
    "web: { name: shop, namespace: app1, folder: /data/app1, uid: 2021, pass: [/myapp, /api], node_port: 30090, tls_node_port: 30453, \
     tls_secret: shop-tls, tomcat_node_port: 38080, nginx_image: \"registry.example.org/nginx:1.28.0\", \
     tomcat_image: \"registry.example.org/tomcat:11.0.1\", tomcat_home: /opt/tomcat, nginx_replicas: 3, tomcat_replicas: 1, cpu: \"1\", \
     memory: 1Gi }",
);
const MARIADB: App = (
    "kube-mariadb",
    "mariadb: { folder: /data/db, database: shop, image: \"registry.example.org/mariadb:10.11.14\", settings: { max_connections: 50 } }\n    \
     taints: []",
);
const SHARDS: App = ("kube-shards", "shards: { image: \"registry.example.org/ssh:12.5.0\" }");
const SHARDS_ALL: App = (
    "kube-shards",
    "shards: { image: \"registry.example.org/ssh:12.5.0\", claim: folder, folder: /work, inventory: all.yaml, \
     shards: 5, timeout: 3m, run: 2, namespace: default }",
);

/// The manifests as they are on the host, without what else lies there.
fn files(version: &str, apps: &[App]) -> BTreeMap<String, String> {
    let mut files = rendered::files(&inventory(version, apps), "node-1");
    let is_of_a_set =
        |path: &str| path.strip_prefix(FOLDER).is_some_and(|rest| rest.matches('/').count() == 2);
    files.retain(|path, _| is_of_a_set(path) && path.ends_with(".yaml"));
    files
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Every object of one manifest, its secret part included.
fn objects_of(version: &str, app: App) -> Vec<Value> {
    files(version, &[app]).values().flat_map(|text| documents(text)).collect()
}

fn objects(app: App) -> Vec<Value> {
    objects_of("1.34.1", app)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The object of this kind and name.
fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let same = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(same).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The only object of this kind.
fn only<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

#[test]
fn texts_as_they_are_on_the_host() {
    snapshots("kube-manifests").bind(|| {
        insta::assert_snapshot!("consul", shown(&files("1.34.1", &[CONSUL_ALL])));
        insta::assert_snapshot!("nfs-volume", shown(&files("1.34.1", &[VOLUME_ALL])));
        insta::assert_snapshot!("web", shown(&files("1.34.1", &[WEB_ALL])));
        insta::assert_snapshot!("mariadb", shown(&files("1.34.1", &[MARIADB])));
        insta::assert_snapshot!("shards", shown(&files("1.34.1", &[SHARDS])));
    });
}

/// What Kubernetes 1.34 serves and has not deprecated.
const CURRENT: [(&str, &str); 20] = [
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
    ("v1", "PersistentVolume"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apiregistration.k8s.io/v1", "APIService"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "Job"),
    ("coordination.k8s.io/v1", "Lease"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("networking.k8s.io/v1", "Ingress"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];

const CLUSTER_WIDE: [&str; 5] =
    ["APIService", "ClusterRole", "ClusterRoleBinding", "Namespace", "PersistentVolume"];

const ALL: [App; 8] = [METRICS, DASHBOARD, VOLUME, VOLUME_ALL, CONSUL, CONSUL_ALL, WEB, MARIADB];

#[test]
fn every_object_is_of_a_current_api_and_made_once() {
    for manifest in ALL.into_iter().chain([SHARDS]) {
        let mut made = BTreeSet::new();
        let mut namespaces = BTreeSet::from(["default", "kube-system"]);
        let objects = objects(manifest);
        assert!(objects.len() >= 2, "{manifest:?}");
        for object in &objects {
            let (api, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
            assert!(CURRENT.contains(&(api, kind)), "{api} {kind}");
            let name = text(&object["metadata"]["name"]);
            assert!(made.insert((kind, name)), "{kind} {name} twice");
            let namespace = &object["metadata"]["namespace"];
            assert_eq!(namespace.is_null(), CLUSTER_WIDE.contains(&kind), "{kind} {name}");
            // In the order in which they are applied: the secret part of Consul comes first.
            if kind == "Namespace" {
                namespaces.insert(name);
            } else if !namespace.is_null() {
                assert!(namespaces.contains(text(namespace)), "{kind} {name}");
            }
        }
    }
}

/// The pod templates with their object and the labels of their pods.
fn workloads(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let runs = |object: &&Value| object["kind"] == "Deployment" || object["kind"] == "StatefulSet";
    objects.iter().filter(runs).map(|object| (object, &object["spec"]["template"])).collect()
}

/// Whether labels have all that a selector asks for.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels[key] == *value))
}

#[test]
fn what_refers_to_something_finds_it() {
    for manifest in ALL {
        let objects = objects(manifest);
        let workloads = workloads(&objects);
        let pods = |selector: &Value| -> Vec<&Value> {
            let selected = workloads.iter().filter(|(_, pod)| selects(selector, &pod["metadata"]["labels"]));
            selected.map(|(_, pod)| *pod).collect()
        };
        for (object, pod) in &workloads {
            let (name, spec) = (text(&object["metadata"]["name"]), &pod["spec"]);
            assert_eq!(pods(&object["spec"]["selector"]["matchLabels"]), [*pod], "{name}");
            match spec["serviceAccountName"].as_str() {
                Some(account) => drop(find(&objects, "ServiceAccount", account)),
                None => assert_eq!(spec["automountServiceAccountToken"], false, "{name}"),
            }
            let claims = list(&object["spec"]["volumeClaimTemplates"]).iter();
            let claims = claims.map(|claim| text(&claim["metadata"]["name"]));
            let volumes: BTreeSet<&str> =
                list(&spec["volumes"]).iter().map(|volume| text(&volume["name"])).chain(claims).collect();
            for source in
                list(&spec["volumes"]).iter().flat_map(|volume| list(&volume["projected"]["sources"]))
            {
                for (key, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
                    if let Some(name) = source[key]["name"].as_str() {
                        find(&objects, kind, name);
                    }
                }
            }
            for volume in list(&spec["volumes"]) {
                if let Some(name) = volume["configMap"]["name"].as_str() {
                    find(&objects, "ConfigMap", name);
                }
                if let Some(name) = volume["secret"]["secretName"].as_str() {
                    find(&objects, "Secret", name);
                }
            }
            let [container] = list(&spec["containers"]) else { panic!("{name} has one container") };
            let ports: Vec<(&Value, &Value)> = list(&container["ports"])
                .iter()
                .map(|port| (&port["containerPort"], &port["protocol"]))
                .collect();
            // The same port twice needs its protocols written, or a server-side apply takes them for one.
            let each: BTreeSet<String> =
                ports.iter().map(|(port, protocol)| format!("{port}{protocol}")).collect();
            assert_eq!(each.len(), ports.len(), "{name}");
            assert!(ports.iter().all(|(_, protocol)| protocol.is_string()), "{name}");
            let mounted: BTreeSet<&str> =
                list(&container["volumeMounts"]).iter().map(|mount| text(&mount["name"])).collect();
            assert_eq!(mounted, volumes, "{name}");
            for probe in ["livenessProbe", "readinessProbe"] {
                let Some(get) = container[probe].get("httpGet") else { continue };
                assert!(has_port(container, &get["port"], "TCP"), "{name} {probe}");
            }
            assert!(container.get("readinessProbe").is_some(), "{name}");
        }
        for service in objects.iter().filter(|object| object["kind"] == "Service") {
            let name = text(&service["metadata"]["name"]);
            if service["spec"]["selector"].is_null() {
                // Who serves writes its address there.
                let slice = only(&objects, "EndpointSlice");
                assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], name);
                continue;
            }
            let [pod] = pods(&service["spec"]["selector"])[..] else {
                panic!("{name} leads to one kind of pods")
            };
            assert!(!list(&service["spec"]["ports"]).is_empty());
            for port in list(&service["spec"]["ports"]) {
                assert!(text(&port["name"]).len() <= 15, "{port}");
                let container = &pod["spec"]["containers"][0];
                assert!(has_port(container, &port["targetPort"], text(&port["protocol"])), "{name} {port}");
            }
        }
        for budget in objects.iter().filter(|object| object["kind"] == "PodDisruptionBudget") {
            assert_eq!(pods(&budget["spec"]["selector"]["matchLabels"]).len(), 1);
        }
        for service in objects.iter().filter(|object| object["kind"] == "APIService") {
            let spec = &service["spec"];
            let behind = find(&objects, "Service", text(&spec["service"]["name"]));
            assert_eq!(behind["metadata"]["namespace"], spec["service"]["namespace"]);
            // The port that is asked where none is named.
            assert!(list(&behind["spec"]["ports"]).iter().any(|port| port["port"] == 443));
            let name = format!("{}.{}", text(&spec["version"]), text(&spec["group"]));
            assert_eq!(service["metadata"]["name"], name);
        }
        for ingress in objects.iter().filter(|object| object["kind"] == "Ingress") {
            let [rule] = list(&ingress["spec"]["rules"]) else { panic!("{ingress}") };
            let [path] = list(&rule["http"]["paths"]) else { panic!("{rule}") };
            let backend = &path["backend"]["service"];
            let service = find(&objects, "Service", text(&backend["name"]));
            assert!(
                list(&service["spec"]["ports"]).iter().any(|port| port["name"] == backend["port"]["name"])
            );
            assert_eq!(path["pathType"], "Prefix");
        }
        for binding in objects.iter().filter(|object| text(&object["kind"]).ends_with("Binding")) {
            let role = &binding["roleRef"];
            assert_eq!(role["apiGroup"], "rbac.authorization.k8s.io");
            // What every cluster has.
            let there = ["system:auth-delegator", "extension-apiserver-authentication-reader"];
            if !there.contains(&text(&role["name"])) {
                find(&objects, text(&role["kind"]), text(&role["name"]));
            }
            for subject in list(&binding["subjects"]) {
                let account = find(&objects, text(&subject["kind"]), text(&subject["name"]));
                assert_eq!(account["metadata"]["namespace"], subject["namespace"]);
            }
        }
    }
}

fn has_port(container: &Value, wanted: &Value, protocol: &str) -> bool {
    list(&container["ports"]).iter().any(|port| port["name"] == *wanted && port["protocol"] == protocol)
}

#[test]
fn no_container_may_do_more_than_it_needs() {
    let mut seen = 0;
    for object in ALL.into_iter().flat_map(objects) {
        let pod = &object["spec"]["template"]["spec"];
        for container in list(&pod["containers"]) {
            seen += 1;
            let name = text(&container["name"]);
            let (of_pod, of_container) = (&pod["securityContext"], &container["securityContext"]);
            assert_eq!(of_pod["runAsNonRoot"], true, "{name}");
            assert!(of_pod["runAsUser"].as_u64().unwrap() > 0, "{name}");
            assert_eq!(of_pod["seccompProfile"], json!({ "type": "RuntimeDefault" }), "{name}");
            let strict = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] } });
            assert_eq!(*of_container, strict, "{name}");
            let (_, tag) = text(&container["image"]).rsplit_once(':').unwrap();
            let number = tag.trim_start_matches('v').split('-').next().unwrap();
            assert!(
                number.split('.').count() == 3 && number.split('.').all(|part| part.parse::<u32>().is_ok()),
                "{tag}"
            );
            assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
        }
        // Nobody is made an administrator.
        for rule in list(&object["rules"]) {
            let mut words = ["apiGroups", "resources", "verbs"].into_iter().flat_map(|key| list(&rule[key]));
            assert!(!words.any(|word| word == "*"), "{rule}");
            let reads_all_secrets = list(&rule["resources"]).contains(&json!("secrets"))
                && list(&rule["resourceNames"]).is_empty();
            assert!(!reads_all_secrets, "{rule}");
        }
        assert_ne!(object["roleRef"]["name"], "cluster-admin");
    }
    assert_eq!(seen, 8);
}

/// What the pods of MariaDB run is a script in a ConfigMap.
#[test]
fn the_supervisor_in_pods_is_shell_without_faults() {
    let objects = objects(MARIADB);
    let config = find(&objects, "ConfigMap", "mariadb-config");
    let guard = text(&config["data"]["guard"]).to_owned();
    let faults = rendered::shell_faults(&BTreeMap::from([("guard".to_owned(), guard)]));
    assert_eq!(faults, "");
    let start = text(&find(&objects, "Secret", "mariadb-start")["data"]["start.sql"]);
    let start = String::from_utf8(STANDARD.decode(start).unwrap()).unwrap();
    assert!(
        start.starts_with("CREATE DATABASE") && start.contains("GRANT ALL ON `shop`.* TO 'app'@'%';\n"),
        "{start}"
    );
}

#[test]
fn applications_that_cannot_be_are_refused() {
    for (app, said) in [
        (("kube-web", "web: {}"), "nowhere, or at two places"),
        (("kube-web", "web: { claim: a, folder: /b }"), "nowhere, or at two places"),
        (("kube-web", "web: { claim: a, name: Shop }"), "no name for things in the cluster"),
        (("kube-web", "web: { claim: a, max_replicas: 1 }"), "more at least than at most"),
        (("kube-mariadb", "mariadb: { claim: a }"), "a map with `image`"),
        (("kube-mariadb", "mariadb: { claim: a, image: m }"), "and there is one at most"),
        (("kube-mariadb", "mariadb: { image: m }\n    taints: []"), "nowhere, or at two places"),
        (
            (
                "kube-mariadb",
                "mariadb: { claim: a, image: m }\n    taints: []\n    mariadb_password: \"a\\nb\"",
            ),
            "more than one line",
        ),
    ] {
        let problems = refused(&inventory("1.34.1", &[app]));
        assert!(problems.contains(said), "{said}: {problems}");
    }
}

#[test]
fn images_come_from_the_registry_that_is_named() {
    let images = |app: App| -> Vec<String> {
        let objects = objects(app);
        let pods = workloads(&objects).into_iter().map(|(_, pod)| &pod["spec"]["containers"][0]["image"]);
        pods.map(|image| text(image).to_owned()).collect()
    };
    assert_eq!(images(METRICS), ["registry.k8s.io/metrics-server/metrics-server:v0.8.0"]);
    assert_eq!(
        images(DASHBOARD),
        ["docker.io/kubernetesui/dashboard:v2.7.0", "docker.io/kubernetesui/metrics-scraper:v1.0.8"]
    );
    assert_eq!(images(CONSUL), ["docker.io/hashicorp/consul:1.21.4"]);
    assert_eq!(images(CONSUL_ALL), ["registry.example.org/mirror/hashicorp/consul:1.20.6"]);
    let other = (METRICS.0, "metrics_server: { registry: \"registry.example.org/m\", version: 0.7.1 }");
    assert_eq!(images(other), ["registry.example.org/m/metrics-server/metrics-server:v0.7.1"]);
    let other = (DASHBOARD.0, "dashboard: { registry: registry.example.org }");
    assert!(images(other).iter().all(|image| image.starts_with("registry.example.org/kubernetesui/")));
}

#[test]
fn metrics_server_fits_the_cluster() {
    for (cluster, version) in [
        ("1.20.2", "0.5.2"),
        ("1.25.0", "0.6.4"),
        ("1.26.15", "0.6.4"),
        ("1.27.0", "0.7.2"),
        ("1.31.0", "0.8.0"),
    ] {
        let objects = objects_of(cluster, METRICS);
        let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        assert!(text(&pod["containers"][0]["image"]).ends_with(&format!(":v{version}")), "{cluster}");
        assert_eq!(pod["priorityClassName"], "system-cluster-critical");
        let rules = find(&objects, "ClusterRole", "system:metrics-server")["rules"].to_string();
        assert_eq!(rules.contains("nodes/metrics"), version != "0.5.2", "{rules}");
        assert_eq!(rules.contains("nodes/stats"), version == "0.5.2", "{rules}");
    }
    let arguments = |app: App| {
        let objects = objects(app);
        list(&only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]).to_vec()
    };
    let unseen = json!("--kubelet-insecure-tls");
    assert!(arguments(METRICS).contains(&unseen));
    let looks = (METRICS.0, "metrics_server: { verify_kubelets: true }");
    assert!(!arguments(looks).contains(&unseen));
}

#[test]
fn the_dashboard_is_inside_and_fills_its_own_secrets() {
    let objects = objects(DASHBOARD);
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        assert_eq!(service["spec"]["type"], "ClusterIP");
    }
    let secrets: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Secret").collect();
    assert_eq!(secrets.len(), 3);
    // Written here, each `up` would set them back.
    assert!(secrets.iter().all(|secret| secret.get("data").is_none() && secret.get("stringData").is_none()));
    let named: BTreeSet<&str> = secrets.iter().map(|secret| text(&secret["metadata"]["name"])).collect();
    let rules = &only(&objects, "Role")["rules"];
    let allowed: BTreeSet<&str> = list(&rules[0]["resourceNames"]).iter().map(text).collect();
    assert_eq!(named, allowed);
}

#[test]
fn an_nfs_volume_and_its_claim_are_for_each_other() {
    for (manifest, name, namespace, size, options) in [
        (VOLUME, "app1", "default", "10Gi", json!(["nfsvers=4.2"])),
        (VOLUME_ALL, "app2", "shop", "3Gi", json!(["nfsvers=4.1", "sec=sys"])),
    ] {
        let objects = objects(manifest);
        let (volume, claim) = (only(&objects, "PersistentVolume"), only(&objects, "PersistentVolumeClaim"));
        assert_eq!((&volume["metadata"]["name"], &claim["metadata"]["name"]), (&json!(name), &json!(name)));
        assert_eq!(claim["metadata"]["namespace"], namespace);
        assert_eq!(claim["spec"]["volumeName"], volume["metadata"]["name"]);
        for spec in [&volume["spec"], &claim["spec"]] {
            assert_eq!(spec["accessModes"], json!(["ReadWriteMany"]));
            assert_eq!(spec["storageClassName"], format!("bootstrap-{name}"));
        }
        // The cluster writes into it, and each `up` would take that out.
        assert!(volume["spec"].get("claimRef").is_none());
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        assert_eq!(volume["spec"]["mountOptions"], options);
        assert_eq!(volume["spec"]["capacity"]["storage"], size);
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], size);
    }
    assert_eq!(
        only(&objects(VOLUME), "PersistentVolume")["spec"]["nfs"],
        json!({ "server": "10.0.0.9", "path": "/data/app1" })
    );
    assert!(objects(VOLUME).iter().all(|object| object["kind"] != "Namespace"));
}

/// The servers' configuration.
fn configuration(objects: &[Value]) -> Value {
    serde_json::from_str(text(&only(objects, "ConfigMap")["data"]["server.json"])).unwrap()
}

#[test]
fn consuls_servers_find_each_other_by_the_names_of_their_pods() {
    for (manifest, name, namespace, servers) in
        [(CONSUL, "consul", "consul", 3), (CONSUL_ALL, "registry", "shop", 5)]
    {
        let objects = objects(manifest);
        let set = only(&objects, "StatefulSet");
        assert_eq!((&set["metadata"]["name"], &set["spec"]["replicas"]), (&json!(name), &json!(servers)));
        let service = find(&objects, "Service", text(&set["spec"]["serviceName"]));
        assert_eq!(service["spec"]["clusterIP"], "None");
        assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
        let service = text(&service["metadata"]["name"]);
        let config = configuration(&objects);
        let peers: Vec<String> = (0..servers)
            .map(|number| format!("{name}-{number}.{service}.{namespace}.svc.cluster.local"))
            .collect();
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(peers));
        // What the pod's shell makes of them: all but its own.
        let words: Vec<&str> = list(&container["command"]).iter().map(text).collect();
        let fake = words[2].replace("exec consul", "printf '%s\\n'");
        let said = std::process::Command::new("sh")
            .args(["-ec", &fake, "consul"])
            .args(&peers)
            .env("POD_NAME", format!("{name}-1"))
            .env("POD_IP", "10.244.1.2")
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let asked: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("-retry-join=")).collect();
        let others: Vec<&String> =
            peers.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, peer)| peer).collect();
        assert_eq!(asked, others, "{said}");
        assert!(said.contains(&format!("-node={name}-1\n")), "{said}");
        assert_eq!(config["bootstrap_expect"], servers);
        assert_eq!(config["autopilot"]["min_quorum"], servers);
        assert_eq!(
            (&config["leave_on_terminate"], &config["skip_leave_on_interrupt"]),
            (&json!(false), &json!(true))
        );

        let pod = &set["spec"]["template"];
        let [rule] = list(
            &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
        ) else {
            panic!("{pod}")
        };
        assert_eq!(rule["topologyKey"], "kubernetes.io/hostname");
        assert_eq!(rule["labelSelector"]["matchLabels"], pod["metadata"]["labels"]);
        assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
        assert_eq!(set["spec"]["updateStrategy"]["type"], "RollingUpdate");
        let container = &pod["spec"]["containers"][0];
        assert!(container.get("lifecycle").is_none() && container.get("livenessProbe").is_none());
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/v1/health/service/consul");
        assert_eq!(only(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
        assert_eq!(only(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
        let mounts = list(&container["volumeMounts"]).iter();
        let at: BTreeMap<&str, &str> =
            mounts.map(|mount| (text(&mount["name"]), text(&mount["mountPath"]))).collect();
        assert_eq!(config["data_dir"], at["data"]);
        let command = text(&list(&container["command"])[2]);
        for (volume, file) in [("config", "server.json"), ("gossip", "gossip.json")] {
            assert!(command.contains(&format!("-config-file={}/{file} ", at[volume])), "{command}");
        }
    }
}

#[test]
fn what_is_set_for_consul_is_in_its_objects() {
    let objects = objects(CONSUL_ALL);
    let claim = &only(&objects, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
    assert_eq!(claim["resources"]["requests"]["storage"], "2Gi");
    let config = configuration(&objects);
    assert_eq!((&config["datacenter"], &config["log_level"]), (&json!("dc7"), &json!("warn")));
    let ingress = &only(&objects, "Ingress")["spec"];
    assert_eq!(ingress["ingressClassName"], "nginx");
    assert_eq!(ingress["rules"][0]["host"], "consul.example.org");
    assert_eq!(ingress["tls"], json!([{ "hosts": ["consul.example.org"], "secretName": "consul-tls" }]));

    let plain = self::objects(CONSUL);
    let claim = &only(&plain, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"];
    assert!(claim.get("storageClassName").is_none(), "the cluster's default: {claim}");
    assert!(plain.iter().all(|object| object["kind"] != "Ingress"));
    // The field came to every cluster with 1.25, and older kubectls refuse what they do not know.
    let ready_for =
        |version: &str| only(&objects_of(version, CONSUL), "StatefulSet")["spec"]["minReadySeconds"].clone();
    assert_eq!((ready_for("1.24.17"), ready_for("1.25.0")), (Value::Null, json!(10)));
}

#[test]
fn pods_of_consul_restart_when_their_configuration_changes() {
    let mark = |app: App| {
        let objects = objects(app);
        only(&objects, "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["configuration"].clone()
    };
    assert!(mark(CONSUL).is_string());
    assert_eq!(mark(CONSUL), mark((CONSUL.0, "consul: { size: 99Gi }")));
    assert_ne!(mark(CONSUL), mark((CONSUL.0, "consul: { config: { log_level: debug } }")));
}

#[test]
fn the_gossip_key_is_in_the_secret_part_alone() {
    let files = files("1.34.1", &[CONSUL]);
    let secret = only(&documents(&files[&format!("{FOLDER}/consul/consul.secret.yaml")]), "Secret").clone();
    let written = STANDARD.decode(text(&secret["data"]["gossip.json"])).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json!({ "encrypt": KEY }));
    let rest = &files[&format!("{FOLDER}/consul/consul.yaml")];
    assert!(!rest.contains(KEY) && !rest.contains(text(&secret["data"]["gossip.json"])));
}

/// The resources of `node-1` that this picks, of all applications in their order.
fn resources<T>(apps: &[App], pick: impl Fn(&Resource) -> Option<T>) -> Vec<T> {
    resources_of("1.34.1", apps, pick)
}

fn resources_of<T>(version: &str, apps: &[App], pick: impl Fn(&Resource) -> Option<T>) -> Vec<T> {
    let wanted = rendered::wanted(&inventory(version, apps));
    let host = wanted.host(&HostName::parse("node-1").unwrap()).unwrap();
    let is_of_them = |name: &str| apps.iter().any(|(role, _)| *role == name);
    let roles = host.roles.iter().filter(|role| is_of_them(role.name.as_str()));
    roles.flat_map(|role| &role.resources).filter_map(pick).collect()
}

const PAGE: &str = "{ name: page, content: \"kind: ConfigMap\" }";
const MANIFESTS: App = (
    "kube-manifests",
    "manifests: [ { name: fetched, url: \"https://example.org/x.yaml\", \
     sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae }, \
     { name: page, content: \"kind: ConfigMap\" }, { name: token, content: \"kind: Secret\" }, \
     { name: hidden, content: \"kind: ConfigMap\", secret: true } ]",
);

#[test]
fn nobody_else_reads_the_files_and_no_plan_shows_secrets() {
    let files =
        resources(&[METRICS, DASHBOARD, VOLUME, CONSUL, SHARDS, MANIFESTS], |resource| match resource {
            Resource::File(File { path, mode, secret, .. }) => {
                Some((path.to_string(), (mode.to_string(), *secret)))
            }
            _ => None,
        });
    let files: BTreeMap<String, (String, bool)> = files.into_iter().collect();
    for (name, secret) in [
        ("metrics-server/metrics-server.yaml", false),
        ("dashboard/dashboard.yaml", false),
        ("nfs-volumes/app1.yaml", false),
        ("consul/consul.yaml", false),
        ("consul/consul.secret.yaml", true),
        ("shards/shards.yaml", false),
        ("manifests/page.yaml", false),
        ("manifests/token.yaml", true),
        ("manifests/hidden.yaml", true),
    ] {
        assert_eq!(files[&format!("{FOLDER}/{name}")], ("0600".to_owned(), secret), "{name}");
    }
}

#[test]
fn they_are_applied_in_their_order_and_again_when_their_text_changes() {
    let execs = resources(&[MANIFESTS, CONSUL, METRICS], |resource| match resource {
        Resource::Exec(exec) if exec.phase == Phase::Activate => Some(exec.clone()),
        _ => None,
    });
    let words = |exec: &Exec| (exec.command.join(" "), exec.unless.clone().unwrap().join(" "));
    let script = "/etc/kubernetes/bootstrap/manifest";
    let of = |arguments: &str| {
        let arguments = arguments.replace("F/", &format!("{FOLDER}/"));
        (format!("{script} apply {arguments}"), format!("{script} check {arguments}"))
    };
    let strays = |names: &str| (format!("{script} prune {names}"), format!("{script} strays {names}"));
    // A certificate is brought by a script of its own.
    let applied = execs.iter().filter(|exec| exec.command[0] == script);
    assert_eq!(
        applied.map(words).collect::<Vec<_>>(),
        [
            of("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae F/manifests/fetched.yaml"),
            of("- F/manifests/page.yaml"),
            of("- F/manifests/token.yaml"),
            of("- F/manifests/hidden.yaml"),
            strays("manifests fetched page token hidden"),
            of("- F/consul/consul.secret.yaml F/consul/consul.yaml"),
            strays("consul consul"),
            of("- F/metrics-server/metrics-server.yaml"),
            strays("metrics-server metrics-server"),
        ]
    );
    for exec in execs {
        for word in exec.command.iter().filter(|word| word.ends_with(".yaml")) {
            assert!(exec.reads.iter().any(|path| path.as_str() == word), "{word}");
        }
    }
}

#[test]
fn what_kubectl_finds_is_shown_where_no_secret_can_be_in_it() {
    let shown = |version: &str| -> Vec<String> {
        resources_of(version, &[METRICS, DASHBOARD, VOLUME, MANIFESTS], |resource| match resource {
            Resource::Exec(exec) if exec.diff => exec.name.strip_prefix("apply ").map(str::to_owned),
            _ => None,
        })
    };
    let always = ["metrics-server", "the NFS volume app1", "the manifest page"];
    let old = shown("1.21.14");
    assert_eq!(old, always);
    let new = shown("1.22.0");
    let more = ["the dashboard", "the manifest token", "the manifest fetched"];
    assert_eq!(
        new.iter().collect::<BTreeSet<_>>(),
        always.into_iter().chain(more).map(str::to_owned).collect::<Vec<_>>().iter().collect()
    );
}

#[test]
fn a_job_has_each_part_once_and_settings_make_another() {
    let job = |app: App| only(&objects(app), "Job").clone();
    let (plain, all) = (job(SHARDS), job(SHARDS_ALL));
    for (job, parts) in [(&plain, 3), (&all, 5)] {
        let spec = &job["spec"];
        assert_eq!(spec["completionMode"], "Indexed");
        assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(parts), &json!(parts)));
        let container = &spec["template"]["spec"]["containers"][0];
        let words: Vec<&str> = list(&container["command"]).iter().map(text).collect();
        // What the pod's shell makes of them.
        let fake = words[2].replace("exec ", "printf '%s\\n' ");
        let said = Command::new("sh")
            .arg("-c")
            .arg(fake)
            .args(&words[3..])
            .env("JOB_COMPLETION_INDEX", "2")
            .output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        let shard = format!("--shard\n3/{parts}\n");
        assert!(said.contains(&shard), "{said}");
        assert!(said.starts_with(&format!("{}/bootstrap\nup\n", words[3])), "{said}");
    }
    let volume = |job: &Value| job["spec"]["template"]["spec"]["volumes"][0].clone();
    assert_eq!(volume(&plain)["hostPath"]["path"], "/srv/bootstrap");
    assert_eq!(volume(&all)["persistentVolumeClaim"]["claimName"], "folder");
    let name = |line: &'static str| job((SHARDS.0, line))["metadata"]["name"].clone();
    let first = name("shards: { image: a }");
    for other in ["shards: { image: b }", "shards: { image: a, run: 2 }", "shards: { image: a, shards: 4 }"] {
        assert_ne!(first, name(other), "{other}");
    }
    assert_eq!(first, name("shards: { image: a, namespace: default }"));
}

#[test]
fn mistakes_are_told_before_any_host_is_asked() {
    let mistake = |app: App, message: &str, help: &str| {
        let told = refused(&inventory("1.34.1", &[app]));
        assert!(told.contains(message) && told.contains(help), "{app:?}: `{message}`, `{help}`\n{told}");
        assert_eq!(told.matches("error: ").count(), 1, "{told}");
    };
    for (line, message, help) in [
        (
            "nfs_volumes: [ { name: a, server: 10.0.0.9 } ]",
            "got one without `path`",
            "The folder that the server exports",
        ),
        ("nfs_volumes: [ { name: a, path: /data/a } ]", "got one without `server`", "as nodes find it"),
        (
            "nfs_volumes: [ { name: a, server: 10.0.0.9, path: data/a } ]",
            "must be an absolute path, got",
            "The folder that the server exports",
        ),
        ("nfs_volumes: [ { name: A, server: s, path: /a } ]", "is no name for things", "with a letter first"),
    ] {
        mistake((VOLUME.0, line), message, help);
    }
    for (line, message, help) in [
        ("consul: { replicas: 4 }", "an even number survives no more", "3, 5 or 7"),
        ("consul: { replicas: 0 }", "an even number survives no more", "3, 5 or 7"),
        (
            "consul: { ingress_class: nginx }",
            "an Ingress to Consul's UI has no name",
            "host: consul.example.org",
        ),
        ("consul: { tls_secret: x }", "an Ingress to Consul's UI has no name", "host: consul.example.org"),
        ("consul: { replica: 3 }", "got `replica`", "did you mean `replicas`?"),
        ("consul: { name: 1st }", "is no name for things", "with a letter first"),
    ] {
        mistake((CONSUL.0, line), message, help);
    }
    mistake((METRICS.0, "metrics_server: { size: 1Gi }"), "got `size`", "metrics_server");
    mistake((SHARDS.0, "shards: { image: a, shards: 0 }"), "has one part or more", "the number of pods");
    mistake((SHARDS.0, "shards: { shards: 3 }"), "kube.shards.image", "An image with");
    for (manifest, message, help) in [
        (
            "{ name: m }",
            "nothing that could be applied, or more than one thing",
            "give each one of `content`",
        ),
        ("{ name: m, ready: metrics-server }", "got `ready`", ""),
        ("{ name: m, url: \"https://example.org/m\" }", "has no `sha256`", "what `sha256sum` says"),
        ("{ name: ../m, content: x }", "is no name for a file", "with a letter first"),
        ("{ name: 1m, content: x }", "is no name for a file", "with a letter first"),
        ("{ name: m-, content: x }", "is no name for a file", "with a letter first"),
        ("{ name: \"\", content: x }", "is no name for a file", "with a letter first"),
    ] {
        let line = format!("manifests: [ {PAGE}, {manifest} ]");
        mistake((MANIFESTS.0, Box::leak(line.into_boxed_str())), message, help);
    }
    let old = refused(&inventory("1.20.2", &[CONSUL]));
    assert!(old.contains("written for Kubernetes 1.21 and later"), "{old}");
    // Of which nothing is wrong.
    for fine in [CONSUL_ALL, (CONSUL.0, "consul: { replicas: 1 }"), MANIFESTS, SHARDS_ALL] {
        rendered::wanted(&inventory("1.34.1", &[fine]));
    }
}

#[test]
fn the_readmes_example_is_one() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = |with: &str| {
        let blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        blocks
            .into_iter()
            .find(|block| block.contains(with))
            .unwrap_or_else(|| panic!("no block with {with}"))
    };
    let manifests = block("nfs_volumes:");
    let inventory = formatdoc!(
        r#"
            cluster: k1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]", roles: [container-runtime, kube-control-plane, consul-server] }}
            {}"#,
        manifests.replace("  kube:\n", "  kube:\n    cni: bridge\n    endpoint: { address: 10.0.0.9 }\n")
    );
    let files = rendered::files(&inventory, "node-1");
    for name in ["metrics-server/metrics-server", "dashboard/dashboard", "nfs-volumes/app1", "consul/consul"]
    {
        assert!(!documents(&files[&format!("{FOLDER}/{name}.yaml")]).is_empty(), "{name}");
    }
    assert!(
        files["/etc/kubernetes/bootstrap/consul-names"]
            .contains("forward . 10.0.0.11:8600 10.0.0.12:8600 10.0.0.13:8600")
    );
}

/// The script that tells CoreDNS of Consul, if there is one on this host. `more` are variables.
fn consul_names(roles: &str, host: &str, more: &str) -> Option<String> {
    let inventory = formatdoc!(
        r#"
            cluster: k1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]", roles: [container-runtime, kube-control-plane] }}
              db-[1-3]: {{ address: "10.0.0.2[1-3]" }}
            groups:
            {roles}vars:
              kube: {{ cni: bridge, endpoint: {{ address: 10.0.0.9 }} }}
            {more}"#
    );
    rendered::files(&inventory, host).remove("/etc/kubernetes/bootstrap/consul-names")
}

const APART: &str = "  servers: { hosts: [\"db-*\"], roles: [consul-server] }\n";
const AGENTS: &str = "  servers: { hosts: [\"db-*\"], roles: [consul-server] }\n  agents: { hosts: [\"node-*\"], roles: [consul-client] }\n";
const OPEN: &str = "  consul: { dns_addr: [0.0.0.0] }\n";

#[test]
fn coredns_asks_who_answers() {
    let asked = |roles: &str, more: &str| -> Option<String> {
        let script = consul_names(roles, "node-1", more)?;
        let block = script.split("block=$(cat <<'END'\n").nth(1).unwrap().split("\nEND\n").next().unwrap();
        Some(block.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let block = |zone: &str, at: &str| Some(format!("{zone}:53 {{ errors cache 30 forward . {at} }}"));
    let own = "10.0.0.11:8600 10.0.0.12:8600 10.0.0.13:8600";
    let apart = "10.0.0.21:8600 10.0.0.22:8600 10.0.0.23:8600";
    assert_eq!(asked(AGENTS, OPEN), block("consul", own));
    assert_eq!(asked(APART, OPEN), block("consul", apart));
    let widest = "  consul: { client_addr: [\"::\"] }\n";
    assert_eq!(asked(AGENTS, widest), block("consul", own));
    // On the loopback no pod would find them, and what one host's agent does says nothing of the others'.
    assert_eq!(asked(AGENTS, ""), None);
    assert_eq!(asked(AGENTS, "  consul: { dns_addr: [10.0.0.11] }\n"), None);
    assert_eq!(asked("  db: { hosts: [\"db-*\"], roles: [container-runtime, kube-worker] }\n", ""), None);

    let ours = "  consul: { dns_addr: [0.0.0.0], domain: example, extra_config: { ports: { dns: 5353 } } }\n";
    let ports = own.replace("8600", "5353");
    assert_eq!(asked(AGENTS, ours), block("example", &ports));
    let named = |words: &str| {
        let script = consul_names(
            &AGENTS.replace(
                "servers:",
                &format!("k: {{ hosts: [\"node-*\"], vars: {{ kube: {{ {words} }} }} }}\n  servers:"),
            ),
            "node-1",
            OPEN,
        )?;
        script.lines().find(|line| line.contains("forward")).map(|line| line.trim().to_owned())
    };
    assert_eq!(
        named("consul_dns: [192.0.2.1, \"2001:db8::1\"]").unwrap(),
        "forward . 192.0.2.1:8600 [2001:db8::1]:8600"
    );
    assert_eq!(named("consul_dns: [192.0.2.1], consul_dns_port: 53").unwrap(), "forward . 192.0.2.1:53");
    assert_eq!(named("consul_dns: []"), None);
    assert_eq!(named("dns: false"), None);
    // One is enough, and it is the one that made the cluster.
    assert_eq!(consul_names(AGENTS, "node-2", OPEN), None);
}

/// As kubeadm writes it.
const COREFILE: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
";

const KUBECTL: &str = "#!/bin/sh
case \" $* \" in
  *' get configmap coredns '*) cat \"$COREFILE\" ;;
  *' create configmap coredns '*) cat ;;
  *' apply '*) cat >\"$COREFILE.new\" && mv \"$COREFILE.new\" \"$COREFILE\" && echo applied >>\"$COREFILE.log\" ;;
  *) exit 1 ;;
esac
";

#[test]
fn the_corefile_gets_a_block_and_keeps_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("kubectl"), KUBECTL).unwrap();
    fs::set_permissions(at("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("script"), consul_names(AGENTS, "node-1", OPEN).unwrap()).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = |verb: &str| {
        let mut command = Command::new("sh");
        command.arg(at("script")).arg(verb).env("PATH", &path).env("COREFILE", at("Corefile"));
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        output.status.code().unwrap()
    };
    // What a Corefile becomes, and how often it was written.
    let applied = |before: &str| -> (String, usize) {
        fs::write(at("Corefile"), before).unwrap();
        fs::write(at("Corefile.log"), "").unwrap();
        let missing = run("check");
        assert_eq!(run("apply"), 0);
        assert_eq!(run("check"), 0, "the block is there");
        assert_eq!(run("apply"), 0);
        let writes = fs::read_to_string(at("Corefile.log")).unwrap().lines().count();
        assert_eq!(missing, i32::from(writes > 0), "`check` says whether there is something to do");
        (fs::read_to_string(at("Corefile")).unwrap(), writes)
    };
    let block = indoc! {"
        consul:53 {
            errors
            cache 30
            forward . 10.0.0.11:8600 10.0.0.12:8600 10.0.0.13:8600
        }
    "};
    assert_eq!(applied(COREFILE), (format!("{COREFILE}{block}"), 1));
    assert_eq!(applied(COREFILE.trim_end()), (format!("{COREFILE}{block}"), 1));

    // An older block of ours is replaced where it is; what stands around it is somebody's.
    let around = indoc! {"
        # by hand: consul:53 {
        example.org:53 { # not consul
            forward . 192.0.2.53
        }
    "};
    let older = indoc! {"
            consul:53 {
                errors
                forward . 10.9.9.9:8600 {
                   max_concurrent 10
                }
            }
        "};
    let between = format!("{around}{older}{COREFILE}");
    assert_eq!(applied(&between), (format!("{around}{block}{COREFILE}"), 1));
    let twice = format!("{older}{COREFILE}{older}");
    assert_eq!(applied(&twice), (format!("{block}{COREFILE}"), 1), "CoreDNS refuses two of a zone");

    // Of somebody else for the same names: theirs counts.
    for theirs in ["consul {", "consul.:53 {", "dns://consul:53 {", "a.example, Consul:5353 {"] {
        let corefile = format!("{COREFILE}{theirs}\n    forward . 192.0.2.1\n}}\n");
        assert_eq!(applied(&corefile), (corefile, 0), "{theirs}");
    }
    // Names that only look alike are no reason.
    let alike = format!("{COREFILE}service.consul:53 {{\n    forward . 192.0.2.1\n}}\n");
    assert_eq!(applied(&alike), (format!("{alike}{block}"), 1));
}

#[test]
fn a_manifest_that_was_not_downloaded_whole_is_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Says what it was asked, and knows of two things that the files create.
    let kubectl = r#"#!/bin/sh
echo "$*" | head -n 1 | cut -d '{' -f 1 >>"$SAID"
case " $* " in
  *' --no-headers '*) printf 'StatefulSet shop consul\nAPIService <none> v1.x\nSecret shop s\n' ;;
  *' rollout '*) echo "$ROLLOUT" ;;
  *' diff '*) exit "$DIFFERS" ;;
esac
"#;
    fs::write(at("kubectl"), kubectl).unwrap();
    fs::set_permissions(at("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    let files = rendered::files(&inventory("1.34.1", &[MANIFESTS]), "node-1");
    fs::write(at("script"), &files["/etc/kubernetes/bootstrap/manifest"]).unwrap();
    fs::write(at("x.yaml"), "x").unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = |words: &[&str], differs: &str| -> (i32, Vec<String>) {
        fs::write(at("said"), "").unwrap();
        let mut command = Command::new("sh");
        command.arg("script").args(words).current_dir(folder.path());
        command.env("PATH", &path).env("SAID", at("said")).env("DIFFERS", differs);
        command.env("ROLLOUT", "statefulset rolling update complete 3 pods at revision consul-1");
        let status = command.output().unwrap().status.code().unwrap();
        let said = fs::read_to_string(at("said")).unwrap();
        let own = "--kubeconfig /etc/kubernetes/admin.conf --request-timeout 20s ";
        let said = said.lines().map(|line| line.replace(own, ""));
        (status, said.collect())
    };
    let digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    let asked = "diff --server-side --force-conflicts -f x.yaml".to_owned();
    // What runs is looked at too, and what differs once is looked at again.
    let looks = [
        "get -f x.yaml --no-headers --output custom-columns=A:.kind,B:.metadata.namespace,C:.metadata.name",
        "--namespace shop rollout status StatefulSet/consul --watch=false",
        "get apiservice v1.x --output go-template=",
    ]
    .map(str::to_owned);
    assert_eq!(run(&["check", "-", "x.yaml"], "0"), (0, [&[asked.clone()][..], &looks].concat()));
    assert_eq!(run(&["check", digest, "x.yaml"], "1"), (1, vec![asked.clone(), asked]));
    assert_eq!(run(&["check", "0123", "x.yaml"], "0"), (1, vec![]));
    assert_eq!(run(&["apply", "0123", "x.yaml"], "0"), (1, vec![]));
    let (status, said) = run(&["apply", "-", "x.yaml", "y z.yaml"], "0");
    assert_eq!(status, 0);
    assert_eq!(
        said,
        [
            "get -f x.yaml -f y z.yaml --ignore-not-found --output go-template=",
            "apply --server-side --force-conflicts -f x.yaml -f y z.yaml",
            "get -f x.yaml -f y z.yaml --no-headers --output custom-columns=A:.kind,B:.metadata.namespace,C:.metadata.name",
            looks[1].as_str(),
            looks[2].as_str(),
        ]
    );
}
