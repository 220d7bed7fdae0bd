//! Kubernetes on real hosts, by the real kubeadm of today. Needs root, and what `tests/products/build` puts into the lab's
//! mirror.

use crate::support;
use bootstrap::releases::file_digest;
use indoc::{formatdoc, indoc};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{HostFiles, Lab, etcd_release, poll};
use serde_json::Value;

const FOUR: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];
const CONTROL_PLANES: [&str; 3] = ["node-1", "node-2", "node-3"];
const VERSION: &str = "v1.34.4";
/// The release before it.
const EARLIER: &str = "v1.34.3";

fn build() {
    let built = Command::new("tests/products/build").status().expect("the build script");
    assert!(built.success(), "tests/products/build failed");
}

fn kubectl(lab: &Lab, host: &str, words: &str) -> String {
    lab.asks(host, &format!("kubectl --kubeconfig /etc/kubernetes/admin.conf {words}"))
}

/// Every node with its version, as one API server has it, those alone that are Ready.
fn ready(lab: &Lab, host: &str) -> Vec<(String, String)> {
    let nodes: Value = serde_json::from_str(&kubectl(lab, host, "get nodes -o json")).unwrap();
    let nodes = nodes["items"].as_array().unwrap().iter().filter(|node| {
        let conditions = node["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    nodes
        .map(|node| (text(&node["metadata"]["name"]), text(&node["status"]["nodeInfo"]["kubeletVersion"])))
        .collect()
}

/// What a control plane's own member of etcd says.
fn etcd(lab: &Lab, host: &str, path: &str, body: &str) -> String {
    let pki = "/etc/kubernetes/pki";
    lab.asks(
        host,
        &format!(
            "curl -sf --cacert {pki}/etcd/ca.crt --cert {pki}/apiserver-etcd-client.crt --key {pki}/apiserver-etcd-client.key \
             -d '{body}' https://127.0.0.1:2379{path}"
        ),
    )
}

/// The names of etcd's members as one of them has them; none may be a learner.
fn members(lab: &Lab, host: &str) -> Vec<String> {
    let said = etcd(lab, host, "/v3/cluster/member/list", "{}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let members = said["members"].as_array().unwrap().iter();
    let mut names: Vec<String> = members
        .map(|member| {
            assert_ne!(member["isLearner"], true, "{member}");
            member["name"].as_str().unwrap().to_owned()
        })
        .collect();
    names.sort();
    names
}

/// Four Ready nodes and three etcd members, by the word of every control plane.
#[track_caller]
fn assert_whole(lab: &Lab) {
    assert_whole_at(lab, VERSION);
}

#[track_caller]
fn assert_whole_at(lab: &Lab, version: &str) {
    for host in CONTROL_PLANES {
        assert_eq!(
            ready(lab, host),
            FOUR.map(|name| (name.to_owned(), version.to_owned())),
            "as {host} has it"
        );
        assert_eq!(members(lab, host), CONTROL_PLANES, "as {host} has it");
    }
}

const PAGE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: page }
spec:
  replicas: 3
  selector: { matchLabels: { app: page } }
  template:
    metadata: { labels: { app: page } }
    spec:
      # The server does not heed the request to end, so it serves on until nobody is led to it any more.
      terminationGracePeriodSeconds: 3
      # On control planes as well, so that one may die.
      tolerations: [ { operator: Exists } ]
      topologySpreadConstraints:
        - { maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: { matchLabels: { app: page } } }
      containers:
        - name: page
          image: lab.example/busybox:1
          imagePullPolicy: Never
          command: [busybox, sh, -c, 'mkdir -p /tmp/www && hostname >/tmp/www/index.html && exec busybox httpd -f -p 80 -h /tmp/www']
          readinessProbe: { httpGet: { path: /, port: 80 }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: page }
spec:
  type: NodePort
  selector: { app: page }
  ports: [ { port: 80, nodePort: 30080, protocol: TCP } ]
";

fn page(lab: &Lab, host: &str) -> Option<String> {
    served(lab, host, "/", "2")
}

/// What a node serves at port 30080, within so many seconds.
fn served(lab: &Lab, host: &str, path: &str, seconds: &str) -> Option<String> {
    let url = format!("http://{}:30080{path}", lab.address(host));
    let said = Command::new("curl").args(["-sf", "--noproxy", "*", "-m", seconds, &url]).output().unwrap();
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// How many pods of a deployment are ready.
fn replicas(lab: &Lab, deployment: &str) -> String {
    kubectl(lab, "node-1", &format!("get {deployment} -o jsonpath={{.status.readyReplicas}}"))
}

/// An autoscaler makes few pods many while a page is asked for that takes a processor's time, and few again after it.
#[track_caller]
fn scales(lab: &Lab, deployment: &str, burning: &str, (few, many): (usize, usize)) {
    let are = |wanted: usize| replicas(lab, deployment) == wanted.to_string();
    let began = Instant::now();
    let loading = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while loading.load(Ordering::Relaxed) {
                    let _ = Command::new("curl").args(["-s", "--noproxy", "*", "-m", "5", burning]).output();
                }
            });
        }
        let scaled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll("more of them under load", Duration::from_secs(150), || are(many).then_some(()));
        }));
        // Also where it never does: the threads would not end.
        loading.store(false, Ordering::Relaxed);
        scaled.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let up = began.elapsed();
    poll("fewer without load", Duration::from_secs(180), || are(few).then_some(()));
    println!("scaled from {few} to {many} in {up:?}, and back after {:?}", began.elapsed() - up);
}

/// What a service answered while something happened.
#[derive(Debug, Default)]
struct Probed {
    asked: usize,
    failed: usize,
    /// The longest time without an answer.
    silence: Duration,
}

/// Asks every 100 ms while `work` runs.
fn probing<T>(mut answers: impl FnMut() -> bool + Send, work: impl FnOnce() -> T) -> (T, Probed) {
    let working = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut probed = Probed::default();
            let mut answered = Instant::now();
            while working.load(Ordering::Relaxed) {
                let began = Instant::now();
                probed.asked += 1;
                if answers() {
                    answered = Instant::now();
                } else {
                    probed.failed += 1;
                }
                probed.silence = probed.silence.max(answered.elapsed());
                std::thread::sleep(Duration::from_millis(100).saturating_sub(began.elapsed()));
            }
            probed
        });
        // Also where the work panics: the other thread would never end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        working.store(false, Ordering::Relaxed);
        let probed = asking.join().unwrap();
        (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), probed)
    })
}

/// `NAME:VALUE ` of a node's labels, then `NAME:EFFECT ` of its taints.
fn marks(lab: &Lab, node: &str) -> String {
    let template = r#"'{{range $k, $v := .metadata.labels}}{{$k}}:{{$v}} {{end}}{{range .spec.taints}}{{.key}}:{{.effect}} {{end}}'"#;
    kubectl(lab, "node-1", &format!("get node {node} -o go-template={template}"))
}

/// Hosts of which the inventory does not know the last.
fn bare(hosts: u8) -> Lab {
    build();
    let lab = Lab::up(&["--for", "kubernetes", "--hosts", &hosts.to_string()]);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let last = format!("  node-{hosts}:");
    let known: Vec<&str> = text.lines().filter(|line| !line.starts_with(&last)).collect();
    fs::write(lab.inventory(), known.join("\n")).unwrap();
    lab
}

/// Five hosts, the last of which the inventory does not know; the page is a manifest of it.
fn lab() -> Lab {
    let lab = bare(5);
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let ours = text.replace("[node-4, node-5]", "[node-4]");
    let page: String = PAGE.lines().map(|line| format!("          {line}\n")).collect();
    let ours = formatdoc!(
        "
            {ours}
                nfs_volumes: [{{ name: shared, server: 10.77.0.1, path: /srv/shared, size: 1Gi }}]
                manifests:
                  - name: page
                    content: |
            {page}"
    );
    fs::write(lab.inventory(), ours).unwrap();
    // One image is brought by this machine, the others by the hosts.
    let archive = "lab.example_busybox_1.tar";
    let images = Path::new("/var/cache/bootstrap-lab/mirror/kubernetes/images");
    let sha256 = file_digest(&images.join(archive)).unwrap();
    lab.edit(&format!("{archive}\""), &format!("{archive}\", sha256: {sha256}, via: controller"));
    let applications = "[kube-manifests, kube-nfs-volumes]";
    lab.edit(
        "\nvars:\n",
        &format!("\n  applications: {{ hosts: [node-1], roles: {applications} }}\nvars:\n"),
    );
    lab
}

/// Runs: Kubernetes: bare hosts to a workload that answers on every node
/// Runs: Kubernetes: settings, labels and certificates of living nodes
/// Runs: etcd: below kubeadm: members, snapshot, restore
/// Walks: `bootstrap up` makes the cluster first
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_bare_hosts_to_a_workload_that_answers() {
    let lab = lab();
    // One that a kubelet may give itself, and one that it may not.
    let labels = "{ disk: ssd, node-role.kubernetes.io/storage: \"\" }";
    let workers = "roles: [container-runtime, kube-worker]";
    lab.edit(workers, &format!("{workers}\n    vars: {{ kube: {{ labels: {labels} }} }}"));
    let refused = lab.run("kubeconfig", &[]).exits(1).says("no host has credentials yet");
    lab.follow(&refused, "up", &["--timeout", "180s"])
        .exits(0)
        .says("3 of 3 voters")
        .says("1 of 1 workers ready");
    assert_whole(&lab);
    let given = marks(&lab, "node-4");
    assert!(given.contains("disk:ssd ") && given.contains("node-role.kubernetes.io/storage: "), "{given}");
    // The token lived for the joins alone.
    let tokens = "-n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token -o name";
    assert_eq!(kubectl(&lab, "node-1", tokens), "");
    for host in FOUR {
        poll(host, Duration::from_secs(30), || page(&lab, host));
    }
    let pods: BTreeSet<String> = (0..60).filter_map(|_| page(&lab, "node-4")).collect();
    assert_eq!(pods.len(), 3, "the service leads to all pods, on other nodes too: {pods:?}");

    let before: Vec<_> = FOUR.iter().map(|host| lab.logins(host)).collect();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in FOUR.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
    }
    lab.run("plan", &["--exit-code"]).exits(0);

    let file = lab.folder.path().join("kubeconfig");
    lab.run("kubeconfig", &["--merge", file.to_str().unwrap()]).exits(0).says("context `dc1`");
    let config = fs::read_to_string(&file).unwrap();
    assert!(config.contains("server: https://10.77.0.11:6443"), "{config}");
    let copy = lab.ssh(
        "node-4",
        &format!("cat >/root/config <<'END'\n{config}END\nkubectl --kubeconfig /root/config get nodes"),
    );
    assert_eq!(copy.exits(0).stdout.matches(" Ready ").count(), 4);

    // What kubeadm does not do.
    lab.edit("version: 1.34.4", "version: 1.36.0");
    lab.run("plan", &[]).exits(1).says("set `kube.version` to a release of 1.35 first");
    lab.edit("version: 1.36.0", "version: 1.34.4");

    // What health must see.
    let told = |status: i32| {
        let health = lab.run("health", &[]).exits(status);
        health.stdout + &health.stderr
    };
    lab.asks("node-2", "mv /etc/kubernetes/manifests/kube-apiserver.yaml /root/");
    let said = poll("the API server is gone", Duration::from_secs(60), || {
        Some(told(4)).filter(|said| said.contains("its API server does not answer"))
    });
    assert!(said.contains("node-2"), "{said}");
    lab.asks("node-2", "mv /root/kube-apiserver.yaml /etc/kubernetes/manifests/");
    lab.asks("node-3", "mv /etc/kubernetes/manifests/etcd.yaml /root/");
    let said = poll("the member is gone", Duration::from_secs(60), || {
        Some(lab.run("health", &[]).stdout).filter(|said| said.contains("etcd does not answer"))
    });
    assert!(said.contains("node-3"), "{said}");
    lab.asks("node-3", "mv /root/etcd.yaml /etc/kubernetes/manifests/");
    // An API server without its etcd ends again and again, and a kubelet waits up to 5 minutes before it starts it once more.
    let is_whole = || {
        poll("it is whole again", Duration::from_secs(330), || {
            (lab.run("health", &[]).status == 0).then_some(())
        });
    };
    is_whole();
    lab.asks("node-1", "mv /etc/kubernetes/manifests/kube-scheduler.yaml /root/");
    poll("the scheduler is gone", Duration::from_secs(60), || {
        lab.run("health", &[]).stdout.contains("its kube-scheduler is not there").then_some(())
    });
    lab.asks("node-1", "mv /root/kube-scheduler.yaml /etc/kubernetes/manifests/");
    is_whole();
    // kubeadm's certificates are good for a year.
    lab.edit("cni: bridge", "cni: bridge\n    renew_days: 400");
    let said = lab.run("health", &[]);
    let said = said.stdout + &said.stderr;
    assert!(said.contains("renew the certificates"), "{said}");
    lab.edit("\n    renew_days: 400", "");
    let signed = |host| lab.asks(host, "openssl x509 -noout -serial -in /etc/kubernetes/pki/apiserver.crt");
    let before = CONTROL_PLANES.map(signed);
    lab.run("certs renew", &["--within", "400"]).exits(0).says("3 of 3 voters");
    let after = CONTROL_PLANES.map(signed);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    lab.run("certs renew", &[]).exits(0).says("Nothing to do");

    // One control plane after another takes new settings, and its member of etcd too.
    lab.edit(
        "cni: bridge",
        "cni: bridge\n    api_server_args: { profiling: false }\n    etcd_args: { snapshot-count: 5000 }",
    );
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    for host in CONTROL_PLANES {
        for (program, flag) in [("kube-apiserver", "--profiling=false"), ("etcd", "--snapshot-count=5000")] {
            let flags = flags(&lab, host, program);
            assert!(flags.lines().any(|line| line == flag), "{host}: {flags}");
        }
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // What is no file drifts too: somebody starts the network anew.
    lab.asks(
        "node-4",
        "ip route | grep '^10.244.* via ' | while read -r route; do ip route del $route; done
         iptables -t nat -S POSTROUTING | grep '^-A POSTROUTING -s 10.244.*MASQUERADE' | while read -r _ rule; do
           iptables -t nat -D $rule
         done",
    );
    let plan = lab.run("plan", &[]).exits(0).stdout;
    assert!(plan.contains("there is no route to 10.244."), "{plan}");
    lab.run("up", &[]).exits(0);
    poll("node-4 reaches pods of others", Duration::from_secs(30), || page(&lab, "node-4"));
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Every node takes what its kubelet and its kube-proxy are told, and gets and loses labels and taints.
    kubectl(&lab, "node-1", "label node node-4 somebodys=own");
    lab.edit("imageGCHighThresholdPercent: 100", "imageGCHighThresholdPercent: 100\n      maxPods: 57");
    lab.edit("{ maxPerCore: 0 } }", "{ maxPerCore: 0 }, healthzBindAddress: \"0.0.0.0:10266\" }");
    let others = "{ disk: hdd }, taints: [{ key: slow, effect: PreferNoSchedule }]";
    lab.edit(labels, others);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let pods = kubectl(&lab, "node-2", "get nodes -o jsonpath={.items[*].status.capacity.pods}");
    assert_eq!(pods, "57 57 57 57");
    for host in FOUR {
        // It has no probe: it counts as ready before it listens there.
        let answers = "curl --silent --fail --noproxy '*' http://127.0.0.1:10266/healthz";
        poll(&format!("{host}: kube-proxy has its new address"), Duration::from_secs(60), || {
            (lab.ssh(host, answers).status == 0).then_some(())
        });
    }
    let given = marks(&lab, "node-4");
    for wanted in ["disk:hdd ", "somebodys:own ", "slow:PreferNoSchedule "] {
        assert!(given.contains(wanted), "{given}");
    }
    assert!(!given.contains("storage"), "{given}");
    assert!(marks(&lab, "node-3").contains("node-role.kubernetes.io/control-plane:NoSchedule "));
    lab.run("up", &[]).exits(0).says("Nothing to do");
    // One that no kubelet starts with: it goes on with what it had.
    lab.edit("maxPods: 57", "maxPods: -57");
    lab.run("up", &[]).exits(1).says("has its old ones again").says("-57");
    assert_whole(&lab);
    lab.edit("maxPods: -57", "maxPods: 57");
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.edit(&format!(", {}", others.split_once(", ").unwrap().1), "");
    lab.run("up", &[]).exits(0);
    assert!(!marks(&lab, "node-4").contains("slow"));

    lab.edit("cni: bridge", "cni: bridge\n    service_subnet: 10.100.0.0/16");
    lab.run("up", &[]).exits(1).says("keeps its name, endpoint and networks");
    lab.edit("\n    service_subnet: 10.100.0.0/16", "");
    lab.run("up", &[]).exits(0);

    // What is written after a snapshot is gone when it is put back.
    kubectl(&lab, "node-1", "create configmap kept");
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let file = saved.split_whitespace().last().unwrap().to_owned();
    lab.run("snapshot list", &[]).exits(0);
    kubectl(&lab, "node-1", "create configmap later");
    let command = ["snapshot restore", &file];
    let restored = lab.run(command[0], &[command[1], "--yes"]).exits(0).says("3 of 3 voters");
    assert!(restored.stdout.contains("restored index"), "{}", restored.stdout);
    let maps = kubectl(&lab, "node-2", "get configmaps -o name");
    assert!(maps.contains("configmap/kept") && !maps.contains("configmap/later"), "{maps}");
    assert_whole(&lab);

    let roles = ["--role", "container-runtime,kube-worker"];
    let more = [&["node-5", "--address", "10.77.0.15"][..], &roles].concat();
    lab.run("add-node", &more).exits(0).says("2 of 2 workers ready").says("3 of 3 voters");
    assert_eq!(ready(&lab, "node-1").len(), 5);

    lab.run("remove-node", &["node-5", "--yes"]).exits(0);
    assert_whole(&lab);
}

/// Runs: Kubernetes: a node that the inventory does not name keeps its ways to the others, and is forgotten once it is gone
/// Walks: where a host is gone for good, `bootstrap forget INVENTORY {}`
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_a_node_that_nobody_names() {
    build();
    let lab = Lab::up(&["--for", "kubernetes", "--hosts", "3"]);
    lab.edit("[node-1, node-2, node-3]", "[node-1]");
    let workers = "  workers:\n    hosts: [node-2, node-3]\n    roles: [container-runtime, kube-worker]\n";
    lab.edit("\nvars:\n", &format!("\n{workers}vars:\n"));
    lab.run("up", &["--timeout", "180s"]).exits(0).says("1 of 1 voters").says("2 of 2 workers ready");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    lab.edit("[node-2, node-3]", "[node-2]");
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("  node-3:")).collect();
    fs::write(lab.inventory(), without.join("\n")).unwrap();
    let told = "kube has nodes that the inventory does not name: node-3 (10.77.0.13)";
    let routes = "cat /etc/kubernetes/bootstrap/routes; ip route";
    let before = lab.asks("node-2", routes);
    let refused = lab.run("up", &[]).exits(1).says(told).says("/etc/kubernetes/bootstrap/routes");
    assert_eq!(lab.asks("node-2", routes), before);
    let health = lab.run("health", &[]);
    assert!((health.stdout.clone() + &health.stderr).contains(told), "{}{}", health.stdout, health.stderr);
    lab.lab(&["kill", "node-3"]);
    lab.follow(&refused, "forget", &["--yes"]).exits(0);
    assert_eq!(ready(&lab, "node-1").len(), 2);
    lab.run("up", &[]).exits(0);
    let quiet = lab.run("up", &[]).exits(0).says("Nothing to do");
    assert!(!quiet.stderr.contains("node-3"), "{}", quiet.stderr);
}

/// The cluster of [`lab`] in the earlier version; its inventory wants the later one.
fn earlier(lab: Lab) -> Lab {
    // Each image of the one version has its like of the other.
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let lines = text.lines().flat_map(|line| {
        let more = line.contains("_v1.34.4.tar").then(|| line.replace(VERSION, EARLIER));
        [Some(line.to_owned()), more].into_iter().flatten()
    });
    let text: Vec<String> = lines.collect();
    fs::write(lab.inventory(), text.join("\n")).unwrap();
    lab.edit("version: 1.34.4", "version: 1.34.3");
    lab.run("up", &["--timeout", "180s"]).exits(0).says("1 of 1 workers ready");
    assert_whole_at(&lab, EARLIER);
    lab.edit("version: 1.34.3", "version: 1.34.4");
    lab
}

/// Runs: Kubernetes: an upgrade from 1.34.3, node by node, under a probe every 100 ms of a page, and of the API by its endpoint
/// Walks: bring the others there first, by `bootstrap up` of the inventory without {host}
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_an_upgrade_node_by_node() {
    let lab = lab();
    behind_an_address(&lab);
    let lab = earlier(lab);
    let plan = lab.run("plan", &[]);
    assert!(plan.stdout.contains("v1.34.3 -> v1.34.4"), "{}", plan.stdout);
    assert!(plan.stdout.contains("kube-apiserver v1.34.3 -> v1.34.4"), "{}", plan.stdout);
    let jobs = kubectl(&lab, "node-1", "-n kube-system get jobs,events -o name");
    assert!(!jobs.contains("upgrade-health-check"), "a plan has changed something: {jobs}");
    for host in FOUR {
        poll(host, Duration::from_secs(60), || page(&lab, host));
    }
    // Nobody joins with what the others do not run yet.
    let more = ["node-5", "--address", "10.77.0.15", "--role", "container-runtime,kube-worker"];
    lab.run("add-node", &more).exits(1).says("bring the others there first, by `bootstrap up`");
    let began = Instant::now();
    // By way of a load balancer, each time by a connection of its own.
    let api = || {
        let url = "https://10.77.0.100:8443/version";
        let said = Command::new("curl").args(["-sfk", "--noproxy", "*", "-m", "5", url]).output().unwrap();
        said.status.success()
    };
    let ((upgraded, probed), through) =
        probing(api, || probing(|| page(&lab, "node-4").is_some(), || lab.run("up", &["--timeout", "180s"])));
    upgraded.exits(0).says("3 of 3 voters").says("1 of 1 workers ready");
    println!("the page while four nodes were upgraded in {:?}: {probed:?}", began.elapsed());
    println!("their API, by the endpoint: {through:?}");
    assert!(probed.failed * 100 <= probed.asked && probed.silence < Duration::from_secs(10), "{probed:?}");
    // A load balancer takes a control plane out before it stops. What is on its way in that moment is cut off: once for each.
    assert!(through.failed <= 3 && through.silence < Duration::from_secs(1), "{through:?}");
    assert_whole(&lab);
    let images =
        kubectl(&lab, "node-1", "-n kube-system get pods -o jsonpath='{.items[*].spec.containers[*].image}'");
    assert!(!images.contains(EARLIER), "{images}");
    let cordoned = kubectl(&lab, "node-1", "get nodes --field-selector spec.unschedulable=true -o name");
    assert_eq!(cordoned, "");
    for host in FOUR {
        poll(host, Duration::from_secs(60), || page(&lab, host));
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("add-node", &more).exits(0).says("2 of 2 workers ready");
    lab.run("remove-node", &["node-5", "--yes"]).exits(0);
    // And never back.
    lab.edit("version: 1.34.4", "version: 1.34.3");
    lab.run("plan", &[]).exits(1).says("does not go back");
}

/// The flags of a program on a host, as it was started.
fn flags(lab: &Lab, host: &str, program: &str) -> String {
    lab.asks(host, &format!("tr '\\0' '\\n' </proc/$(pidof -s {program})/cmdline"))
}

/// Runs: etcd: on hosts of its own: members, snapshot, restore, a dead one replaced
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_keeps_its_state_in_etcd_on_hosts_of_its_own() {
    const ETCD: [&str; 3] = ["node-1", "node-2", "node-3"];
    const API: [&str; 2] = ["node-4", "node-5"];
    let lab = bare(6);
    lab.edit(
        "[node-1, node-2, node-3]\n    roles: [container-runtime, kube-control-plane]",
        "[node-4, node-5]\n    roles: [container-runtime, kube-control-plane]",
    );
    lab.edit(
        "  workers:\n    hosts: [node-4, node-5, node-6]\n    roles: [container-runtime, kube-worker]",
        "  etcd:\n    hosts: [node-1, node-2, node-3]\n    roles: [etcd]",
    );
    // With no other node pods run on control planes.
    lab.edit(
        "\n  kube:\n",
        &format!("\n  etcd: {}\n  kube:\n    external_etcd: true\n    taints: []\n", etcd_release()),
    );
    lab.edit("endpoint: { address: 10.77.0.11 }", "endpoint: { address: 10.77.0.14 }");
    let kept = ["node-1", "node-4"];
    let bare = kept.map(|host| HostFiles::of(&lab, host));
    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters").says("2 of 2 control planes ready");
    let own = |host| {
        let list = lab.asks(host, "/etc/etcd/bootstrap/member list");
        list.lines().filter(|line| line.contains("started") && line.contains("false")).count()
    };
    assert_eq!(ETCD.map(own), [3; 3]);
    for host in API {
        assert_eq!(lab.ssh(host, "pidof etcd").status, 1, "{host} runs no member");
    }
    let all = [&ETCD[..], &API[..]].concat();
    let before: Vec<_> = all.iter().map(|host| lab.logins(host)).collect();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for (host, before) in all.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
    }

    // Whoever has no certificate of its authority learns nothing.
    let stranger = lab.ssh("node-4", "curl --silent --insecure --max-time 5 https://10.77.0.11:2379/version");
    assert_ne!(stranger.status, 0, "{}", stranger.stdout);

    kubectl(&lab, "node-4", "create configmap kept");
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let file = saved.split_whitespace().last().unwrap().to_owned();
    kubectl(&lab, "node-4", "create configmap later");
    lab.run("snapshot restore", &[&file, "--yes"])
        .exits(0)
        .says("3 of 3 voters")
        .says("2 of 2 control planes ready");
    let maps = kubectl(&lab, "node-5", "get configmaps -o name");
    assert!(maps.contains("configmap/kept") && !maps.contains("configmap/later"), "{maps}");

    lab.asks("node-2", "systemctl stop etcd.service");
    let health = lab.run("health", &[]).exits(4);
    assert!((health.stdout + &health.stderr).contains("etcd does not answer"));
    lab.run("up", &[]).exits(0).says("3 of 3 voters");

    // A node that only SSH does not reach is not dead: its kubelet says so to the API.
    lab.without_ssh("node-5", 120);
    lab.run(
        "replace-node",
        &["node-5", "--name", "node-7", "--address", "10.77.0.17", "--yes", "--timeout", "4s"],
    )
    .exits(1)
    .says("the list of nodes of kube on node-4 has node-5 as alive")
    .says("only a dead host is replaced");
    assert_eq!(ready(&lab, "node-4").len(), 2);
    poll("SSH reaches it again", Duration::from_secs(150), || {
        (lab.ssh("node-5", "true").status == 0).then_some(())
    });

    lab.lab(&["kill", "node-3"]);
    lab.run("replace-node", &["node-3", "--address", "10.77.0.16", "--timeout", "180s", "--yes"])
        .exits(0)
        .says("3 of 3 voters")
        .says("2 of 2 control planes ready");
    assert_eq!(own("node-1"), 3);
    for host in API {
        let flags = flags(&lab, host, "kube-apiserver");
        assert!(
            flags.contains("https://10.77.0.16:2379") && !flags.contains("10.77.0.13"),
            "{host}: {flags}"
        );
    }
    assert_eq!(ready(&lab, "node-4").len(), 2);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("certs renew", &["--within", "400"]).exits(0);
    lab.run("certs renew", &[]).exits(0).says("Nothing to do");

    lab.run("down", &["--purge", "--yes"]).exits(0);
    for host in all {
        let left = lab.ssh(host, "pidof etcd; ls -d /etc/kubernetes /etc/etcd/bootstrap/join.env /var/lib/etcd/member 2>/dev/null; true");
        assert_eq!(left.exits(0).stdout, "", "{host}");
    }
    for (host, bare) in kept.iter().zip(bare) {
        assert_eq!(bare.differences(&lab, host), [""; 0], "{host}");
    }
}

/// Runs: Kubernetes: what goes wrong on the way is carried on from
/// Walks: if nothing of it is of use any more, this ends what runs there
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_what_goes_wrong_on_the_way_is_told_and_carried_on_from() {
    let lab = lab();
    // Somebody's node already.
    lab.asks(
        "node-4",
        "mkdir -p /etc/kubernetes/pki /var/lib/kubelet/pki && echo theirs >/etc/kubernetes/kubelet.conf && \
         echo theirs >/etc/kubernetes/pki/ca.crt && echo theirs >/var/lib/kubelet/pki/kubelet-client-current.pem",
    );
    let refused = lab.run("up", &[]);
    let text = refused.stdout.clone() + &refused.stderr;
    assert_ne!(refused.status, 0, "{text}");
    assert!(text.contains("node-4") && text.contains("/etc/kubernetes/kubelet.conf"), "{text}");
    assert_eq!(lab.asks("node-4", "cat /etc/kubernetes/kubelet.conf"), "theirs\n");
    assert_ne!(lab.ssh("node-1", "test -e /etc/kubernetes").status, 0, "nothing was done anywhere");
    // All that must go, in one command.
    let start = text.find("`systemctl stop kubelet;").expect("a command that makes room");
    let command = text[start + 1..].split('`').next().unwrap();
    for place in ["/etc/kubernetes/kubelet.conf", "/etc/kubernetes/pki", "/var/lib/kubelet/pki"] {
        assert!(command.contains(place), "{command}");
    }
    lab.ssh("node-4", command).exits(0);

    // A control plane dies when the first has made the cluster.
    lab.asks(
        "node-4",
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends iptables >/dev/null",
    );
    lab.asks("node-4", "iptables -I OUTPUT -p tcp -d 10.77.0.11 --dport 6443 -j REJECT");
    let went = std::thread::scope(|scope| {
        let up = scope.spawn(|| lab.run("up", &["--timeout", "120s"]));
        let made = "test -e /etc/kubernetes/admin.conf && test ! -e /var/lib/bootstrap/kubeadm-began";
        poll("the first has made the cluster", Duration::from_secs(240), || {
            (lab.ssh("node-1", made).status == 0).then_some(())
        });
        lab.lab(&["kill", "node-2"]);
        up.join().unwrap()
    });
    went.exits(1).says("a first quorum needs all its servers");
    assert_eq!(members(&lab, "node-1"), ["node-1"]);

    // As if it had died a moment later: a member that never ran. Since 1.29 kubeadm has it learn before it votes.
    lab.lab(&["start", "node-2"]);
    let learner = "{\"peerURLs\":[\"https://10.77.0.12:2380\"],\"isLearner\":true}";
    etcd(&lab, "node-1", "/v3/cluster/member/add", learner);
    // It carries on, up to a control plane whose kubeadm finds something in its way; that stays.
    lab.asks("node-3", "mkdir -p /var/lib/etcd/of-before");
    let went = lab.run("up", &["--timeout", "180s"]).exits(1);
    let text = went.stdout + &went.stderr;
    assert!(text.contains("DirAvailable--var-lib-etcd"), "kubeadm's own words: {text}");
    assert_eq!(members(&lab, "node-1"), ["node-1", "node-2"]);
    lab.asks("node-3", "rmdir /var/lib/etcd/of-before");

    // A worker that does not reach the endpoint.
    let went = lab.run("up", &["--timeout", "180s"]).exits(1);
    let text = went.stdout + &went.stderr;
    assert!(text.contains("the endpoint 10.77.0.11:6443 is not reached from here"), "{text}");
    assert_eq!(members(&lab, "node-1"), CONTROL_PLANES);
    let left = lab.ssh("node-4", "ls -d /etc/kubernetes/kubelet.conf /var/lib/bootstrap/kubeadm-began");
    assert_ne!(left.status, 0, "half a node: {}", left.stdout);
    lab.asks("node-4", "iptables -D OUTPUT -p tcp -d 10.77.0.11 --dport 6443 -j REJECT");

    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters").says("1 of 1 workers ready");
    assert_whole(&lab);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Load balancers on the control planes, and an address that moves between them.
fn behind_an_address(lab: &Lab) {
    lab.edit(
        "[container-runtime, kube-control-plane]",
        "[container-runtime, kube-endpoint, kube-control-plane]",
    );
    lab.edit(
        "endpoint: { address: 10.77.0.11 }",
        "endpoint: { address: 10.77.0.100, port: 8443, vip: true }",
    );
}

/// Runs: Kubernetes: a control plane dies and is replaced, behind an address that moves (haproxy, keepalived)
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_a_control_plane_is_replaced_behind_an_address_that_moves() {
    let lab = lab();
    behind_an_address(&lab);
    let bare = FOUR.map(|host| HostFiles::of(&lab, host));
    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters").says("1 of 1 workers ready");
    assert_whole(&lab);
    for host in FOUR {
        poll(host, Duration::from_secs(30), || page(&lab, host));
    }
    poll("the volume and its claim have found each other", Duration::from_secs(30), || {
        (kubectl(&lab, "node-1", "get pvc shared -o jsonpath={.status.phase}") == "Bound").then_some(())
    });
    let has_address = |host: &&str| lab.ssh(host, "ip -o address show | grep -q 10.77.0.100/").status == 0;
    let holder = *CONTROL_PLANES.iter().find(|host| has_address(host)).expect("somebody has the address");

    // One API server of three is killed: who writes through the address waits for the load balancer alone.
    let drilled = lab.run("drill", &["api-server", holder, "--yes", "--timeout", "180s"]).exits(0).stdout;
    println!("{drilled}");
    assert!(drilled.contains(": its API server") && drilled.contains("lost             0"), "{drilled}");

    lab.lab(&["kill", holder]);
    let other = *CONTROL_PLANES.iter().find(|host| **host != holder).unwrap();
    poll("the address has moved", Duration::from_secs(30), || {
        let ready = "curl -sf -m 2 --insecure --noproxy '*' https://10.77.0.100:8443/readyz";
        (lab.ssh("node-4", ready).status == 0).then_some(())
    });
    let (replaced, probed) = probing(
        || page(&lab, "node-4").is_some(),
        || lab.run("replace-node", &[holder, "--address", "10.77.0.15", "--timeout", "180s", "--yes"]),
    );
    replaced.exits(0).says("3 of 3 voters");
    println!("the page while {holder} was replaced: {probed:?}");
    // A pod that was on the dead host is led to until its node is known to be gone: some of the questions, 2 s each, never all.
    assert!(probed.silence < Duration::from_secs(30), "nobody served: {probed:?}");
    assert_eq!(ready(&lab, other).len(), 4);
    assert_eq!(members(&lab, other), CONTROL_PLANES);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    lab.run("down", &["--yes"]).exits(0);
    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters").says("1 of 1 workers ready");
    lab.run("down", &["--purge", "--yes"]).exits(0);
    for host in FOUR {
        let left = lab.ssh(
            host,
            "ctr -n k8s.io tasks ls -q; ls -d /etc/kubernetes /var/lib/etcd/member 2>/dev/null; true",
        );
        assert_eq!(left.exits(0).stdout, "", "{host}");
    }
    // The worker and the load balancers of the control planes leave nothing either.
    for (host, bare) in FOUR.iter().zip(bare).filter(|(host, _)| **host != holder) {
        assert_eq!(bare.differences(&lab, host), [""; 0], "{host}");
    }
}

/// Runs: Kubernetes: a drill of a control plane, and of one API server, under a writer; control planes that have lost their quorum for good: recovered on two of four, a third one joins
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_quorum_that_is_lost_for_good() {
    let lab = bare(6);
    // Of four two are no quorum, and one of the two can join the other.
    lab.edit("[node-1, node-2, node-3]", "[node-1, node-2, node-3, node-4]");
    lab.edit("[node-4, node-5, node-6]", "[node-5]");
    lab.run("up", &["--timeout", "180s"]).exits(0).says("4 of 4 voters").says("1 of 1 workers ready");
    kubectl(&lab, "node-1", "create configmap first");
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let snapshot = saved.split_whitespace().last().unwrap().to_owned();
    kubectl(&lab, "node-1", "create configmap second");

    // All that a control plane runs is killed at once, under a writer, and comes back.
    let drilled = lab.run("drill", &["host", "node-2", "--yes", "--timeout", "180s"]).exits(0).stdout;
    assert!(drilled.contains(": its control plane") && drilled.contains("lost             0"), "{drilled}");

    // One API server alone, as those notice it who come by the endpoint: that is this one here.
    let drilled = lab.run("drill", &["api-server", "node-1", "--yes", "--timeout", "180s"]).exits(0).stdout;
    assert!(
        drilled.contains("node-1: its API server") && drilled.contains("lost             0"),
        "{drilled}"
    );
    assert!(!drilled.contains("new leader"), "{drilled}");
    assert_eq!(kubectl(&lab, "node-2", "-n kube-system get configmaps -l bootstrap-drill=true -o name"), "");

    for host in ["node-3", "node-4"] {
        lab.lab(&["kill", host]);
    }
    poll("the survivors have no leader", Duration::from_secs(30), || {
        (lab.ssh("node-1", "kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 3s get nodes")
            .status
            != 0)
            .then_some(())
    });
    let health = lab.run("health", &[]).exits(4);
    assert!((health.stdout + &health.stderr).contains("bootstrap recover"), "health names the way out");
    lab.run("recover", &["--yes", "--timeout", "180s"]).exits(0).says("2 of 2 voters");
    for host in ["node-1", "node-2"] {
        assert_eq!(members(&lab, host), ["node-1", "node-2"]);
        kubectl(&lab, host, "get configmap second");
    }
    assert_eq!(flags(&lab, "node-1", "etcd").matches("force-new-cluster").count(), 0);

    // What is lost goes, and another one comes.
    // The first of the two is out, and the inventory still names the other.
    lab.run("remove-node", &["node-3", "--yes", "--timeout", "10s"]).exits(3).says("node-4 cannot take part");
    lab.run("replace-node", &["node-4", "--address", "10.77.0.16", "--yes", "--timeout", "180s"])
        .exits(0)
        .says("3 of 3 voters");
    assert_eq!(members(&lab, "node-2"), ["node-1", "node-2", "node-4"]);
    assert_eq!(ready(&lab, "node-2").len(), 4);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // The script for it was of another inventory until now.
    lab.asks("node-2", "sed -i s/node-4=/node-9=/ /etc/kubernetes/bootstrap/etcd-restore");
    lab.run("snapshot restore", &[&snapshot, "--yes", "--timeout", "180s"]).exits(0).says("3 of 3 voters");
    let maps = kubectl(&lab, "node-4", "get configmaps -o name");
    assert!(maps.contains("configmap/first") && !maps.contains("configmap/second"), "{maps}");

    // A worker that loses its role is drained, and no node any more.
    lab.edit("[container-runtime, kube-worker]", "[container-runtime]");
    lab.run("up", &["--yes", "--timeout", "180s"]).exits(0).says("reset kubeadm");
    let nodes = ready(&lab, "node-2");
    assert!(nodes.iter().all(|(name, _)| name != "node-5"), "{nodes:?}");
    lab.ssh("node-5", "test ! -e /etc/kubernetes/kubelet.conf && ! pgrep -x kubelet").exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Runs: Kubernetes: an upgrade in which the program, a node and a member of etcd are killed
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_an_upgrade_that_is_cut_short_three_times() {
    let lab = earlier(lab());
    // The one of them that is upgraded.
    let at_work = |hosts: &[&'static str]| {
        let began = "test -e /var/lib/bootstrap/kubeadm-upgrade-began";
        poll("one of them is upgraded", Duration::from_secs(300), || {
            hosts.iter().copied().find(|host| lab.ssh(host, began).status == 0)
        })
    };
    let version = |host: &str| lab.asks(host, "kubelet --version");
    // What was begun on a host ends there, whatever becomes of the program; until then nobody else works on it.
    let again = |timeout: &str| {
        poll("the host is free", Duration::from_secs(180), || {
            let went = lab.run("up", &["--timeout", timeout]);
            (!went.stderr.contains("locked by")).then_some(went)
        })
    };

    // The program.
    let mut up = support::bootstrap();
    up.arg("up").arg(lab.inventory()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut up = up.spawn().unwrap();
    let first = at_work(&CONTROL_PLANES);
    up.kill().unwrap();
    up.wait().unwrap();

    // A node: one that is not the endpoint, while it is upgraded.
    let next = CONTROL_PLANES.into_iter().skip(1).find(|host| *host != first).unwrap();
    std::thread::scope(|scope| {
        let up = scope.spawn(|| again("120s"));
        at_work(&[next]);
        lab.lab(&["kill", next]);
        let went = up.join().unwrap();
        assert_ne!(went.status, 0, "{}{}", went.stdout, went.stderr);
    });
    // What is on its way is no failure of those that are there.
    let health = lab.run("health", &[]);
    let said = health.stdout + &health.stderr;
    assert!(said.contains("3 of 3 voters, 2 answer") && said.contains("rolling: "), "{said}");
    lab.lab(&["start", next]);

    // A member of etcd: that of a control plane which is not being upgraded itself.
    let went = std::thread::scope(|scope| {
        let up = scope.spawn(|| again("180s"));
        at_work(&FOUR.map(|host| if host == first { next } else { host }));
        lab.asks(first, "kill -9 $(pidof etcd)");
        up.join().unwrap()
    });
    println!("up while etcd of {first} was killed: status {}", went.status);
    // One more at the most.
    lab.run("up", &["--timeout", "180s"]).exits(0);
    assert_whole(&lab);
    for host in FOUR {
        assert_eq!(version(host).trim(), format!("Kubernetes {VERSION}"));
        poll(host, Duration::from_secs(60), || page(&lab, host));
    }
    let cordoned = kubectl(&lab, "node-1", "get nodes --field-selector spec.unschedulable=true -o name");
    assert_eq!(cordoned, "");
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

const VOLUMES: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: local }
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
";

/// Burns a little of the CPU for each question.
const BURNER: &str = indoc! {r#"
    apiVersion: apps/v1
    kind: Deployment
    metadata: { name: burner }
    spec:
      selector: { matchLabels: { app: burner } }
      template:
        metadata: { labels: { app: burner } }
        spec:
          terminationGracePeriodSeconds: 1
          containers:
            - name: burner
              image: lab.example/busybox:1
              imagePullPolicy: Never
              command:
                - busybox
                - sh
                - -c
                - |
                  mkdir -p /tmp/www/cgi-bin
                  printf '#!/usr/bin/busybox sh\ni=0\nwhile [ $i -lt 30000 ]; do i=$((i+1)); done\nprintf "\\n"\n' >/tmp/www/cgi-bin/burn
                  busybox chmod 755 /tmp/www/cgi-bin/burn
                  exec busybox httpd -f -p 80 -h /tmp/www
              resources: { requests: { cpu: 50m } }
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: burner }
    spec:
      type: NodePort
      selector: { app: burner }
      ports: [ { port: 80, nodePort: 30081, protocol: TCP } ]
    ---
    apiVersion: autoscaling/v2
    kind: HorizontalPodAutoscaler
    metadata: { name: burner }
    spec:
      scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: burner }
      minReplicas: 1
      maxReplicas: 3
      metrics: [ { type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 60 } } } ]
      behavior: { scaleDown: { stabilizationWindowSeconds: 0 } }
"#};

/// Between these words of a text.
fn section<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no `{from}` in\n{text}"));
    let end = text[start..].find(to).unwrap_or_else(|| panic!("no `{to}` after `{from}` in\n{text}"));
    &text[start..start + end]
}

/// Servers of Consul on three nodes, outside of Kubernetes and inside: the inventory that comes with the program, with the lab's hosts and
/// releases.
///
/// Runs: Consul: on Kubernetes and on hosts: two datacenters, each of which resolves what the other has
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_beside_consul_on_hosts_and_with_consul_inside() {
    let lab = &bare(4);
    let own = fs::read_to_string(lab.inventory()).unwrap();
    let ours = fs::read_to_string("inventories/kubernetes-with-consul.yaml").unwrap();
    let line = |key: &str| format!("{}\n", section(&ours, &format!("    {key}: "), "\n"));
    let text = [
        section(&own, "", "groups:"),
        section(&ours, "groups:", "\n  consul: "),
        "\n  consul: { version: 1.14.11, source: { mirror: \"http://10.77.0.1:7780\" }, dns_addr: [0.0.0.0] }\n",
        section(&own, "  container:", "    endpoint: "),
        &line("endpoint").replace("10.0.0.10", "10.77.0.100"),
        section(&own, "    cni: ", "\n    kubelet_config:"),
        "\n",
        &line("taints"),
        &line("consul").replace("{ datacenter", "{ version: 1.14.11, size: 1Gi, datacenter"),
        &own[own.find("    kubelet_config:").unwrap()..],
    ];
    fs::write(lab.inventory(), text.concat()).unwrap();
    let began = Instant::now();
    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters").says("2 uses on 1 host");
    println!("Consul on hosts and in Kubernetes, joined, in {:?}", began.elapsed());
    lab.run("up", &[]).exits(0).says("Nothing to do");
    // Any pod: its names are those of the cluster's DNS.
    kubectl(
        lab,
        "node-1",
        "run page --image lab.example/busybox:1 --image-pull-policy Never --command -- busybox sleep 100000",
    );

    let inside = |words: &str| kubectl(lab, "node-1", &format!("-n consul exec consul-1 -- consul {words}"));
    inside("services register -name=inside -port=8080");
    lab.asks(
        "node-2",
        "curl -fsS -X PUT -d '{\"Name\":\"outside\",\"Port\":9090}' http://127.0.0.1:8500/v1/agent/service/register",
    );
    poll("a host finds what is in Kubernetes", Duration::from_secs(30), || {
        let said =
            lab.asks("node-3", "curl -fsS 'http://127.0.0.1:8500/v1/catalog/service/inside?dc=kubernetes'");
        said.contains("\"ServicePort\":8080").then_some(())
    });
    poll("Kubernetes finds what is on a host", Duration::from_secs(30), || {
        inside("catalog nodes -service=outside -datacenter=dc1").contains("node-2").then_some(())
    });
    // By their names, from a pod like any other.
    for (name, of) in
        [("inside.service.kubernetes.consul", "10.244."), ("outside.service.dc1.consul", "10.77.0.12")]
    {
        poll(name, Duration::from_secs(30), || {
            let asked = format!(
                "kubectl --kubeconfig /etc/kubernetes/admin.conf exec page -- busybox nslookup {name}"
            );
            let said = lab.ssh("node-1", &asked);
            (said.status == 0 && said.stdout.contains(of)).then_some(())
        });
    }
}

/// Runs: CoreDNS: pods resolve services and Consul's names
/// Runs: metrics-server: `kubectl top`, and an autoscaler that scales under load and back
/// Runs: Consul: on Kubernetes: three servers on three nodes, a pod deleted, a node drained
/// Runs: crictl: the release's own, for kubeadm
/// Walks: its node takes no pods; `kubectl uncordon {host}` ends that
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_manifests_that_come_with_the_program_do_what_they_claim() {
    let lab = bare(5);
    lab.edit("[node-4, node-5]", "[node-4]");
    let volumes = CONTROL_PLANES.iter().fold(VOLUMES.to_owned(), |text, node| {
        lab.asks(node, "mkdir -p /data/consul");
        formatdoc!(
            "
                {text}---
                apiVersion: v1
                kind: PersistentVolume
                metadata: {{ name: consul-{node} }}
                spec:
                  capacity: {{ storage: 1Gi }}
                  accessModes: [ReadWriteOnce]
                  storageClassName: local
                  local: {{ path: /data/consul }}
                  nodeAffinity: {{ required: {{ nodeSelectorTerms: [ {{ matchExpressions: [ {{ key: kubernetes.io/hostname, operator: In, values: [{node}] }} ] }} ] }} }}
            "
        )
    });
    let indented = |text: &str| text.lines().map(|line| format!("          {line}\n")).collect::<String>();
    let manifests = format!(
        "\n    consul: {{ version: 1.14.11, storage_class: local, size: 1Gi }}\n    \
         manifests:\n      - name: volumes\n        content: |\n{}      \
         - name: page\n        content: |\n{}      - name: burner\n        content: |\n{}",
        indented(&volumes),
        indented(PAGE),
        indented(BURNER)
    );
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), text + &manifests).unwrap();
    lab.edit(
        "[container-runtime, kube-control-plane]",
        "[container-runtime, kube-control-plane, consul-server]",
    );
    lab.edit("cni: bridge", "cni: bridge\n    taints: []");
    let consul = indoc! {r#"
        consul:
            version: 1.14.11
            source: { mirror: "http://10.77.0.1:7780" }
            dns_addr: [0.0.0.0]"#};
    lab.edit(
        "\nvars:\n",
        &format!(
            "\n  applications:\n    hosts: [node-1]\n    roles: [kube-manifests, kube-metrics-server, kube-consul]\nvars:\n  \
             {consul}\n"
        ),
    );
    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters").says("1 of 1 workers ready");
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Names of services, and Consul's on the hosts, from a pod.
    let resolves = |name: &str| {
        let asked = format!("exec deployment/page -- busybox nslookup {name}");
        poll(name, Duration::from_secs(30), || {
            let said = lab.ssh("node-1", &format!("kubectl --kubeconfig /etc/kubernetes/admin.conf {asked}"));
            (said.status == 0).then_some(said.stdout)
        })
    };
    assert!(resolves("kubernetes.default.svc.cluster.local").contains("10.96.0.1"));
    assert!(resolves("consul.service.consul").contains("10.77.0.1"));
    assert!(resolves("consul-ui.consul.svc.cluster.local").contains("Address"));

    // Three servers on three nodes, each with its data.
    let consul = |pod: u8, words: &str| {
        lab.ssh(
            "node-1",
            &format!("kubectl --kubeconfig /etc/kubernetes/admin.conf -n consul exec consul-{pod} -- consul {words}"),
        )
    };
    let voters = |pod: u8| {
        poll("three voters", Duration::from_secs(90), || {
            let said = consul(pod, "operator raft list-peers");
            (said.status == 0
                && said.stdout.matches(" true ").count() == 3
                && said.stdout.contains(" leader "))
            .then_some(())
        });
    };
    let get = |pod: u8, what: &str| {
        kubectl(&lab, "node-1", &format!("-n consul get pod consul-{pod} -o jsonpath={{{what}}}"))
    };
    (0..3).for_each(voters);
    let nodes: BTreeSet<String> = (0..3).map(|pod| get(pod, ".spec.nodeName")).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    consul(0, "kv put kept yes").exits(0);
    let before = get(1, ".metadata.uid");
    kubectl(&lab, "node-1", "-n consul delete pod consul-1");
    poll("another pod of this name is ready", Duration::from_secs(120), || {
        let ready = get(1, ".status.containerStatuses[0].ready");
        (ready == "true" && get(1, ".metadata.uid") != before).then_some(())
    });
    voters(1);
    assert_eq!(consul(1, "kv get kept").exits(0).stdout.trim(), "yes");
    // A node goes for a while, and its server with it; the others are a quorum.
    let node = get(2, ".spec.nodeName");
    kubectl(&lab, "node-1", &format!("drain {node} --ignore-daemonsets --delete-emptydir-data --timeout 2m"));
    consul(0, "kv put later yes").exits(0);
    let health = lab.run("health", &[]);
    let said = health.stdout + &health.stderr;
    assert!(said.contains(&format!("its node takes no pods; `kubectl uncordon {node}` ends that")), "{said}");
    kubectl(&lab, "node-1", &format!("uncordon {node}"));
    voters(2);
    assert_eq!(consul(2, "kv get later").exits(0).stdout.trim(), "yes");

    // What metrics-server is for.
    let top = poll("figures of all nodes", Duration::from_secs(90), || {
        let said =
            lab.ssh("node-1", "kubectl --kubeconfig /etc/kubernetes/admin.conf top nodes --no-headers");
        (said.status == 0 && !said.stdout.contains("unknown") && said.stdout.lines().count() == 4)
            .then_some(said.stdout)
    });
    println!("{top}");
    assert_eq!(replicas(&lab, "deployment burner"), "1");
    scales(&lab, "deployment burner", "http://10.77.0.14:30081/cgi-bin/burn", (1, 3));
    for _ in 0..5 {
        lab.run("plan", &["--exit-code"]).exits(0);
    }

    // A workload that does not run is no \"done\", whoever looks and whenever.
    let command = "command: [busybox, sh, -c, 'mkdir -p /tmp/www";
    lab.edit(
        command,
        "command: [busybox, sh, -c, 'echo no database at db.example; exit 3; mkdir -p /tmp/www",
    );
    let began = Instant::now();
    lab.run("up", &[]).exits(1).says("CrashLoopBackOff").says("no database at db.example");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    lab.run("up", &[]).exits(1).says("no database at db.example");
    let plan = lab.run("plan", &["--exit-code"]).exits(5);
    assert!(plan.stdout.contains("no database at db.example"), "{}", plan.stdout);
    lab.run("health", &[]).exits(1).says("no database at db.example");
    lab.edit("echo no database at db.example; exit 3; ", "");
    let image = format!("- name: page\n{}image: lab.example/busybox:", " ".repeat(20));
    lab.edit(&format!("{image}1"), &format!("{image}2"));
    let began = Instant::now();
    lab.run("up", &[]).exits(1).says("lab.example/busybox:2");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    lab.edit("busybox:2", "busybox:1");
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A kubelet that somebody else has told where it is.
    lab.asks(
        "node-4",
        "ip address add 10.77.9.14/32 dev host0 && \
         echo KUBELET_EXTRA_ARGS=--node-ip=10.77.9.14 >/etc/default/kubelet && systemctl restart kubelet",
    );
    let said = poll("health sees it", Duration::from_secs(60), || {
        let health = lab.run("health", &[]);
        let said = health.stdout + &health.stderr;
        said.contains("inside the cluster, wanted 10.77.0.14").then_some((health.status, said))
    });
    assert_eq!(said.0, 4, "{}", said.1);
    assert!(said.1.contains("/etc/default/kubelet"), "{}", said.1);
    lab.asks(
        "node-4",
        "ip address delete 10.77.9.14/32 dev host0 && rm /etc/default/kubelet && systemctl restart kubelet",
    );
    poll("it is whole again", Duration::from_secs(60), || (lab.run("health", &[]).status == 0).then_some(()));
}

/// A larger inventory has two more hosts: pods set up its three parts.
///
/// Runs: Kubernetes: pods set up the hosts of a larger inventory in three parts
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_pods_set_up_a_larger_inventory() {
    let lab = &bare(7);
    lab.edit("[node-4, node-5, node-6, node-7]", "[node-4]");
    lab.edit("cni: bridge", "cni: bridge\n    taints: []\n    shards: { image: \"lab.example/ssh:1\", inventory: all.yaml, timeout: 3m }");
    lab.edit(
        "[container-runtime, kube-control-plane]",
        "[container-runtime, kube-control-plane, consul-server]",
    );
    let consul = indoc! {r#"
        consul:
            version: 1.14.11
            source: { mirror: "http://10.77.0.1:7780" }"#};
    lab.edit("\nvars:\n", &format!("\nvars:\n  {consul}\n"));
    lab.run("up", &["--timeout", "180s"]).exits(0).says("3 of 3 voters");

    let folder = lab.folder.path();
    lab.edit("\nvars:\n", "\n  parts: { hosts: [node-1], roles: [kube-shards] }\nvars:\n");
    let all = fs::read_to_string(lab.inventory()).unwrap();
    let clients = "\n  clients: { hosts: [node-5, node-6], roles: [consul-client] }\nvars:\n";
    let all = all.replace("\nvars:\n", clients).replace("/var/lib/bootstrap-lab/", "/srv/bootstrap/");
    fs::write(folder.join("all.yaml"), &all).unwrap();
    // With `sh`, `ssh` and authorities, and the libraries of the program, which is of this machine.
    fs::write(folder.join("passwd"), "root:x:0:0:root:/tmp:/bin/sh\n").unwrap();
    let image = Command::new("python3")
        .args(["tests/products/image", folder.to_str().unwrap(), "lab.example/ssh:1"])
        .args(["--root", "/var/cache/bootstrap-lab/bookworm"])
        .args([
            "/usr/bin/dash",
            "/bin/sh",
            "/usr/bin/ssh",
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/etc/ssl/certs/ca-certificates.crt=/etc/ssl/certs/ca-certificates.crt",
        ])
        .arg(format!("{}=/etc/passwd", folder.join("passwd").display()))
        .output()
        .unwrap();
    assert!(image.status.success(), "{}", String::from_utf8_lossy(&image.stderr));
    for node in FOUR {
        let copy = format!(
            "tar -C {} -cf - all.yaml .bootstrap lab.example_ssh_1.tar -C /var/lib/bootstrap-lab id_ed25519 known_hosts -C {} bootstrap |
             ssh -o UserKnownHostsFile=/var/lib/bootstrap-lab/known_hosts -i /var/lib/bootstrap-lab/id_ed25519 root@{} \\
               'mkdir -p /srv/bootstrap && tar -C /srv/bootstrap --no-same-owner -xf - &&
                ctr -n k8s.io images import /srv/bootstrap/lab.example_ssh_1.tar'",
            folder.display(),
            Path::new(env!("CARGO_BIN_EXE_bootstrap")).parent().unwrap().display(),
            lab.address(node),
        );
        let copied = Command::new("sh").args(["-ec", &copy]).output().unwrap();
        assert!(copied.status.success(), "{node}: {}", String::from_utf8_lossy(&copied.stderr));
    }
    lab.run("up", &[]).exits(0);
    let job = poll("the Job has ended", Duration::from_secs(240), || {
        let jobs = kubectl(lab, "node-1", "-n bootstrap get jobs -o json");
        let jobs: Value = serde_json::from_str(&jobs).unwrap();
        let status = jobs["items"][0]["status"].clone();
        let ended = status["conditions"].as_array().is_some_and(|all| {
            all.iter().any(|one| ["Complete", "Failed"].map(Value::from).contains(&one["type"]))
        });
        ended.then_some(status)
    });
    let logs = || {
        kubectl(
            lab,
            "node-1",
            "-n bootstrap logs -l app.kubernetes.io/name=bootstrap-shards --tail 40 --prefix",
        )
    };
    assert_eq!((&job["succeeded"], &job["completedIndexes"]), (&3.into(), &"0-2".into()), "{}", logs());
    let members = lab.asks("node-1", "consul members");
    assert_eq!(members.matches(" alive ").count(), 5, "{members}");
    // Here too the larger inventory has nothing to do.
    fs::write(lab.inventory(), all.replace("/srv/bootstrap/", "/var/lib/bootstrap-lab/")).unwrap();
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// Two objects of their own, and one that is somebody else's.
const LISTED: &str = "apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: prices, namespace: shop }
data: { apple: '1' }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: hours, namespace: shop }
data: { opens: '8' }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: theirs, namespace: default }
data: { ours: 'yes' }
";

/// Runs: Kubernetes: what is taken out of the manifests goes from the cluster, what holds data or was there before stays
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_what_is_taken_out_of_the_manifests_goes() {
    build();
    let lab = Lab::up(&["--for", "kubernetes", "--hosts", "1"]);
    let indented = |text: &str| text.lines().map(|line| format!("          {line}\n")).collect::<String>();
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let listed = format!("      - name: listed\n        content: |\n{}", indented(LISTED));
    let page = format!("      - name: page\n        content: |\n{}", indented(PAGE));
    fs::write(lab.inventory(), text.trim_end().to_owned() + "\n    manifests:\n" + &page + &listed).unwrap();
    lab.edit("cni: bridge", "cni: bridge\n    taints: []");
    lab.edit("\nvars:\n", "\n  manifests:\n    hosts: [node-1]\n    roles: [kube-manifests]\nvars:\n");
    lab.edit(&listed, "");
    lab.run("up", &["--timeout", "180s"]).exits(0).says("1 of 1 voters");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    kubectl(&lab, "node-1", "create configmap theirs --from-literal=old=yes");
    lab.edit(&page, &format!("{page}{listed}"));
    lab.run("up", &[]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let there = |what: &str| {
        lab.ssh("node-1", &format!("kubectl --kubeconfig /etc/kubernetes/admin.conf get {what}")).status == 0
    };
    assert_eq!(
        kubectl(&lab, "node-1", "get configmap theirs -o jsonpath={.data}"),
        r#"{"old":"yes","ours":"yes"}"#
    );

    // One object of a manifest; what somebody has deleted is made again, and is ours as before.
    let hours = "          ---\n          apiVersion: v1\n          kind: ConfigMap\n          metadata: { name: hours, namespace: shop }\n          data: { opens: '8' }\n";
    kubectl(&lab, "node-1", "-n shop delete configmap prices");
    lab.edit(hours, "");
    lab.run("up", &[]).exits(0);
    assert!(there("-n shop configmap prices") && !there("-n shop configmap hours"));
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // A whole one: its plan says what goes and what stays.
    let less = indented(LISTED).replace(hours, "");
    lab.edit(&format!("      - name: listed\n        content: |\n{less}"), "");
    let plan = lab.run("plan", &["--exit-code"]).exits(5).stdout;
    for said in [
        "-ConfigMap shop/prices",
        "Namespace shop stays",
        "remove file /etc/kubernetes/bootstrap/manifests/listed.yaml",
    ] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    assert!(!plan.contains("ConfigMap default/theirs"), "{plan}");
    lab.run("up", &[]).exits(0);
    assert!(!there("-n shop configmap prices") && there("namespace shop") && there("configmap theirs"));
    lab.ssh("node-1", "test -e /etc/kubernetes/bootstrap/manifests/listed.yaml").exits(1);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // The last one, with what runs.
    lab.edit(&format!("    manifests:\n{page}"), "    manifests: []\n");
    lab.run("up", &[]).exits(0);
    assert!(!there("deployment page") && !there("service page") && there("service kubernetes"));
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Mirrors of registries, which the runtime reads at each pull.
    let mirrors = "    mirrors: { quay.io: [\"https://mirror.example.org\"] }\n";
    lab.edit("  container:\n", &format!("  container:\n{mirrors}"));
    lab.run("up", &[]).exits(0);
    lab.asks("node-1", "grep -q mirror.example.org /etc/containerd/certs.d/quay.io/hosts.toml");
    lab.edit(mirrors, "");
    lab.run("up", &[]).exits(0);
    lab.ssh("node-1", "test -e /etc/containerd/certs.d/quay.io").exits(1);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// The end of the inventory, below `kube`.
const APPLICATIONS: &str = r#"
    web:
      folder: /shared/app1
      nginx_image: lab.example/web:1.0.0
      tomcat_image: lab.example/web:1.0.0
      tomcat_home: /usr/share/tomcat10
      tomcat_node_port: 31080
      max_replicas: 3
      cpu: 200m
      memory: 256Mi
    mariadb: { folder: /shared/mariadb, image: "lab.example/mariadb:1.0.0", database: shop }
"#;

/// A page that says which pod serves it, and leaves a file.
const INDEX: &str = r#"<%@ page contentType="text/plain" import="java.nio.file.*" %><%
String pod = System.getenv("HOSTNAME");
Files.writeString(Path.of("/srv/app/static/from-tomcat.txt"), "written by " + pod);
%>served by <%= pod %>
"#;

/// A page that takes 80 ms of a processor.
const BURN: &str = r#"<%@ page contentType="text/plain" %><%
double x = 0;
for (long end = System.nanoTime() + 80000000L; System.nanoTime() < end;) x += Math.sqrt(x + 1);
%>burnt
"#;

/// The applications of the posts on a folder that all nodes have: nginx with Tomcat, and one MariaDB. The images are of Debian's programs.
fn applications() -> Lab {
    let lab = bare(5);
    lab.edit("[node-1, node-2, node-3]", "[node-1]");
    lab.edit("[node-4, node-5]", "[node-2, node-3, node-4]");
    let images: String = ["web", "mariadb"]
        .map(|name| {
            let url = format!("http://10.77.0.1:7780/kubernetes/images/lab.example_{name}_1.0.0.tar");
            format!("      - {{ image: \"lab.example/{name}:1.0.0\", url: \"{url}\" }}\n")
        })
        .concat();
    lab.edit("    images:\n", &format!("    images:\n{images}"));
    lab.edit(
        "\nvars:\n",
        "\n  applications: { hosts: [node-1], roles: [kube-metrics-server, kube-web, kube-mariadb] }\nvars:\n",
    );
    let text = fs::read_to_string(lab.inventory()).unwrap();
    fs::write(lab.inventory(), text + APPLICATIONS).unwrap();
    lab.asks(
        "node-1",
        &format!(
            "install -d -o 3306 -g 3306 -m 0750 /shared/mariadb; cd /shared && install -d -o 2020 -g 2020 app1 && cd app1
             install -d -o 2020 -g 2020 images static ROOT ROOT/myapp && echo picture >images/one.txt
             cat >ROOT/myapp/index.jsp <<'END'\n{INDEX}END\n             cat >ROOT/myapp/burn.jsp <<'END'\n{BURN}END\n"
        ),
    );
    lab
}

/// What a node serves at nginx's port.
fn web(lab: &Lab, host: &str, path: &str) -> Option<String> {
    // A page is compiled when a pod is first asked for it.
    served(lab, host, path, "10")
}

/// Runs: Kubernetes: nginx and Tomcat on files in common, scaled under load and back, a node drained without a lost request
/// Runs: MariaDB: in two pods of Kubernetes, by a Lease: a pod deleted, the power of its node cut under a writer
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_applications_on_files_in_common() {
    let lab = applications();
    lab.run("up", &["--timeout", "180s"]).exits(0);
    lab.run("up", &[]).exits(0).says("Nothing to do");

    // Files by nginx, pages by Tomcat, and what one has written the other reads.
    assert_eq!(web(&lab, "node-4", "/images/one.txt").as_deref(), Some("picture"));
    let page = web(&lab, "node-4", "/myapp/").expect("a page of Tomcat");
    assert!(page.starts_with("served by web-tomcat-"), "{page}");
    let written = web(&lab, "node-2", "/static/from-tomcat.txt").expect("what Tomcat has written");
    assert!(written.starts_with("written by web-tomcat-"), "{written}");
    assert_eq!(web(&lab, "node-4", "/elsewhere"), None);
    lab.ssh("node-4", "curl -sf --noproxy '*' http://10.77.0.12:31080/myapp/").exits(0);
    for (name, keys) in [("nginx", ["method", "uri", "status"]), ("tomcat", ["method", "path", "statusCode"])]
    {
        let selector = format!("app.kubernetes.io/component={name}");
        let log = kubectl(&lab, "node-1", &format!("-n web logs --tail 200 --selector {selector}"));
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(
            lines.iter().any(|line| keys.iter().all(|key| !line[*key].is_null())),
            "{name} logs requests as JSON: {log}"
        );
    }

    // A node is drained under requests.
    let pod =
        "-n web get pods --selector app.kubernetes.io/component=tomcat -o jsonpath={.items[0].spec.nodeName}";
    let node = kubectl(&lab, "node-1", pod);
    let ((), probed) = probing(
        || web(&lab, "node-1", "/myapp/").is_some() && web(&lab, "node-1", "/images/one.txt").is_some(),
        || {
            kubectl(
                &lab,
                "node-1",
                &format!("drain {node} --ignore-daemonsets --delete-emptydir-data --timeout 2m"),
            );
            kubectl(&lab, "node-1", &format!("uncordon {node}"));
        },
    );
    println!("{node} drained: {probed:?}");
    assert_eq!(probed.failed, 0, "{probed:?}");
    poll("all is well", Duration::from_secs(120), || (lab.run("health", &[]).status == 0).then_some(()));

    // More pods under load, and fewer after it.
    let tomcat = "-n web deployment web-tomcat";
    poll("it is at rest", Duration::from_secs(180), || (replicas(&lab, tomcat) == "2").then_some(()));
    scales(&lab, tomcat, "http://10.77.0.14:30080/myapp/burn.jsp", (2, 3));
    // The pod that is one too many by then may still be ending.
    poll("all is well again", Duration::from_secs(60), || (lab.run("health", &[]).status == 0).then_some(()));

    assert_mariadb_survives(&lab, &["pod deleted", "power cut"]);
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// All that can happen to MariaDB on Kubernetes, for the table in the documentation.
#[test]
#[ignore = "lab: needs root; run by tests/run --kubernetes"]
fn lab_kubernetes_a_drill_of_all_that_can_happen_to_mariadb() {
    let lab = applications();
    lab.edit("[kube-metrics-server, kube-web, kube-mariadb]", "[kube-mariadb]");
    lab.run("up", &["--timeout", "180s"]).exits(0);
    assert_mariadb_survives(&lab, &[]);
}

/// Drills it, by these faults or by all: no row is lost, and it serves again in time.
#[track_caller]
fn assert_mariadb_survives(lab: &Lab, faults: &[&str]) {
    let mut words = vec!["--app", "kube-mariadb", "--power", "--yes", "--output", "json"];
    words.extend(faults.iter().flat_map(|fault| ["--fault", fault]));
    let said = lab.run("drill", &words).exits(0).stdout;
    let line = said.lines().find(|line| line.contains("\"drilled\"")).expect("the result");
    let result: Value = serde_json::from_str(line).unwrap();
    let seen = result["result"]["faults"].as_array().unwrap();
    for fault in seen {
        let (name, gap) = (fault["fault"].as_str().unwrap(), fault["gap_ms"].as_u64().unwrap());
        println!("{name}: {fault}");
        let is_soon = ["task killed", "container killed", "pod deleted"].contains(&name);
        assert!(gap <= if is_soon { 10_000 } else { 30_000 }, "{name}: {fault}");
        assert_eq!(fault["lost"], Value::Array(Vec::new()), "{name}");
        assert!(fault["not_tried"].is_null(), "{fault}");
        assert!(fault["acknowledged"].as_u64().unwrap() > 20, "{fault}");
    }
    assert!(seen.len() >= faults.len().max(2), "{result}");
}
