//! What the role `docker-services` makes of containers: the part of its program that asks nobody, under each shell. Docker and Consul
//! themselves are asked in `tests/lab/containers.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use crate::rendered::{files, refused, shell_faults};
use crate::shells::shells;
use indoc::formatdoc;
use serde_json::{Value, json};

const PROGRAM: &str = "/etc/bootstrap-docker/docker-services";

fn inventory(roles: &str, variables: &str) -> String {
    formatdoc!(
        "
            cluster: dc1
            hosts:
              node-1: {{ address: 10.0.0.11, roles: [{roles}] }}
              node-2: {{ address: 10.0.0.12, roles: [consul-server] }}
            vars: {{ {variables} }}
        "
    )
}

fn usual(variables: &str) -> BTreeMap<String, String> {
    files(&inventory("consul-client, docker, docker-services", variables), "node-1")
}

/// What Docker prints of running containers by the program's template.
#[derive(Default)]
struct Said {
    text: String,
    containers: usize,
}

impl Said {
    fn line(mut self, words: &[&str]) -> Self {
        writeln!(self.text, "{}", words.join("\t")).unwrap();
        self
    }

    fn made(mut self, name: &str, image: &str, network: &str, allocation: &str) -> Self {
        self.containers += 1;
        let id = format!("{:0<64x}", self.containers);
        let (name, image) = (json!(format!("/{name}")).to_string(), json!(image).to_string());
        self.line(&["container", &id, &name, network, &image, allocation])
    }

    fn container(self, name: &str) -> Self {
        self.made(name, "registry.example.org:5000/shop/web:2", "bridge", "")
    }

    fn port(self, port: &str, address: &str, at_host: &str) -> Self {
        self.line(&["port", port, address, at_host])
    }

    fn label(self, name: &str, value: &str) -> Self {
        self.line(&["label", &json!(name).to_string(), &json!(value).to_string()])
    }

    fn variable(self, text: &str) -> Self {
        self.line(&["variable", &json!(text).to_string()])
    }
}

/// What the agent would be told of these, the same under each shell: what, which service, and the body.
fn told(program: &str, services: &Value, checks: &Value, said: &Said) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let program = file("docker-services", program);
    let answers = [
        file("services.json", &services.to_string()),
        file("checks.json", &checks.to_string()),
        file("containers", &said.text),
    ];
    let by_shell = shells().map(|shell| {
        let mut call = Command::new(shell[0]);
        let output = call.args(&shell[1..]).arg(&program).arg("plan").args(&answers).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{shell:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    let mut by_shell: Vec<String> = by_shell.collect();
    by_shell.dedup();
    let [text] = by_shell.as_slice() else { panic!("shells differ: {by_shell:#?}") };
    let three = |line: &str| {
        let mut words = line.splitn(3, '\t').map(str::to_owned);
        let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
        (next(), next(), next())
    };
    text.lines().map(three).collect()
}

/// The services that a host without any would be told of, by their ids, and what is refused.
fn services(program: &str, said: &Said) -> (BTreeMap<String, Value>, Vec<String>) {
    let (mut services, mut refused) = (BTreeMap::new(), Vec::new());
    for (what, id, body) in told(program, &json!({}), &json!({}), said) {
        match what.as_str() {
            "register" => drop(services.insert(id, serde_json::from_str(&body).unwrap())),
            "refused" => refused.push(body),
            "health" => {}
            _ => panic!("{what} {id} {body}"),
        }
    }
    (services, refused)
}

/// What somebody else sees of a service.
fn shown(service: &Value) -> String {
    let metadata = service["Meta"].as_object().unwrap().iter();
    let metadata: BTreeMap<_, _> = metadata.filter(|(key, _)| !key.starts_with("bootstrap-")).collect();
    format!(
        "{} {}:{} {} {}",
        service["Name"].as_str().unwrap(),
        service["Address"].as_str().unwrap(),
        service["Port"],
        service["Tags"],
        json!(metadata)
    )
}

#[test]
fn the_program_is_told_where_the_agent_is() {
    let files = usual("consul: { http_port: 8501 }, docker_services: { every: 3, explicit: true }");
    let program = &files[PROGRAM];
    for line in [
        "agent='http://127.0.0.1:8501'\n",
        "agent_unit='consul.service'\n",
        "host='node-1'\n",
        "address='10.0.0.11'\n",
        "every=3\n",
        "explicit=yes\n",
    ] {
        assert!(program.contains(line), "`{line}` is not in\n{program}");
    }
    assert!(program.ends_with("esac\n"));
    let unit = &files["/etc/systemd/system/docker-services.service"];
    assert!(unit.contains("\nAfter=docker.service consul.service\n"), "{unit}");
    assert_eq!(shell_faults(&files), "");
}

#[test]
fn each_published_port_is_a_service() {
    let program = &usual("")[PROGRAM];
    let none = "[]";
    for (what, said, wanted) in [
        (
            "a fixed port, for both families",
            Said::default().container("a").port("80/tcp", "0.0.0.0", "8081").port("80/tcp", "::", "8081"),
            vec![("node-1:a:80", format!("web 10.0.0.11:8081 {none} {{}}"))],
        ),
        (
            "a random port of each family",
            Said::default().container("a").port("80/tcp", "::", "32769").port("80/tcp", "0.0.0.0", "32768"),
            vec![("node-1:a:80", format!("web 10.0.0.11:32768 {none} {{}}"))],
        ),
        (
            "as later versions of Docker print no address",
            Said::default().container("a").port("80/tcp", "invalid IP", "8081"),
            vec![("node-1:a:80", format!("web 10.0.0.11:8081 {none} {{}}"))],
        ),
        (
            "at an address of its own, and at the loopback alone",
            Said::default().container("a").port("80/tcp", "10.9.9.9", "80").port("81/tcp", "127.0.0.1", "81"),
            vec![("node-1:a:80", format!("web 10.9.9.9:80 {none} {{}}"))],
        ),
        (
            "several ports",
            Said::default()
                .container("a")
                .port("53/tcp", "0.0.0.0", "53")
                .port("53/udp", "0.0.0.0", "53")
                .label("SERVICE_NAME", "names"),
            vec![
                ("node-1:a:53", format!("names-53 10.0.0.11:53 {none} {{}}")),
                ("node-1:a:53:udp", "names-53 10.0.0.11:53 [\"udp\"] {}".to_owned()),
            ],
        ),
        (
            "what is said of one port",
            Said::default()
                .container("a")
                .port("80/tcp", "0.0.0.0", "8080")
                .port("443/tcp", "0.0.0.0", "8443")
                .port("9000/tcp", "0.0.0.0", "9000")
                .label("SERVICE_80_NAME", "front")
                .label("SERVICE_443_TAGS", "https")
                .label("SERVICE_TAGS", "all")
                .label("SERVICE_9000_IGNORE", "true")
                .label("SERVICE_443_IGNORE", "false"),
            vec![
                ("node-1:a:443", "web-443 10.0.0.11:8443 [\"https\"] {}".to_owned()),
                ("node-1:a:80", "front 10.0.0.11:8080 [\"all\"] {}".to_owned()),
            ],
        ),
        (
            "labels win over variables, and any other is metadata",
            Said::default()
                .container("a")
                .port("80/tcp", "0.0.0.0", "8080")
                .variable("SERVICE_NAME=by-variable")
                .variable("SERVICE_TAGS=http, a\\,b,q\"x,")
                .variable("SERVICE_OWNER=a=b")
                .label("SERVICE_NAME", "by-label")
                .label("SERVICE_WEIGHT", "3")
                .label("SERVICE_80_CANARY", "10")
                .label("SERVICE_NOTE", "é \\ \"$(id)` \n\t'")
                .label("SERVICE_ID", "its.own:id"),
            vec![(
                "its.own:id",
                format!(
                    "by-label 10.0.0.11:8080 {} {}",
                    json!(["http", "a,b", "q\"x"]),
                    json!({"canary": "10", "note": "é \\ \"$(id)` \n\t'", "owner": "a=b", "weight": "3"})
                ),
            )],
        ),
        (
            "on the host's network what the image exposes",
            Said::default().made("a", "web@sha256:00", "host", "").line(&["exposed", "80/tcp"]),
            vec![("node-1:a:80", format!("web 10.0.0.11:80 {none} {{}}"))],
        ),
        (
            "what is exposed elsewhere is reached by nobody",
            Said::default().container("a").line(&["exposed", "80/tcp"]),
            vec![],
        ),
        (
            "Nomad registers its own",
            Said::default().made("a", "web", "bridge", "0f1e").port("80/tcp", "0.0.0.0", "80"),
            vec![],
        ),
        (
            "unless they have a name",
            Said::default()
                .made("a", "web", "bridge", "0f1e")
                .port("80/tcp", "0.0.0.0", "80")
                .label("SERVICE_NAME", "web"),
            vec![("node-1:a:80", format!("web 10.0.0.11:80 {none} {{}}"))],
        ),
    ] {
        let (services, refused) = services(program, &said);
        assert_eq!(refused, [""; 0], "{what}");
        let services: Vec<_> = services.iter().map(|(id, body)| (id.as_str(), shown(body))).collect();
        assert_eq!(services, wanted, "{what}");
    }
    let explicit = &usual("docker_services: { explicit: true }")[PROGRAM];
    let said = Said::default().container("a").port("80/tcp", "0.0.0.0", "80");
    assert_eq!(services(explicit, &said), Default::default());
}

#[test]
fn checks_are_as_the_labels_say() {
    let program = &usual("docker_services: { check_interval: 7s }")[PROGRAM];
    let tcp = |every: &str| json!({"TCP": "10.0.0.11:8080", "Interval": every, "Timeout": "5s"});
    let http = |url: &str| json!({"HTTP": url, "Interval": "7s", "Timeout": "5s"});
    for (labels, wanted) in [
        (&[("CHECK_INTERVAL", "1m30s")][..], vec![tcp("1m30s")]),
        (&[], vec![tcp("7s")]),
        (&[("CHECK_TCP", "false")], vec![]),
        (&[("CHECK_HTTP", "/well?a=b")], vec![http("http://10.0.0.11:8080/well?a=b")]),
        (&[("CHECK_HTTP", "/"), ("CHECK_TCP", "true")], vec![http("http://10.0.0.11:8080/"), tcp("7s")]),
        (&[("CHECK_TTL", "30s")], vec![json!({"TTL": "30s"})]),
        (
            &[
                ("CHECK_HTTPS", "/"),
                ("CHECK_TLS_SKIP_VERIFY", "true"),
                ("80_CHECK_INITIAL_STATUS", "Passing"),
            ],
            vec![json!({"HTTP": "https://10.0.0.11:8080/", "Interval": "7s", "Timeout": "5s",
                "TLSSkipVerify": true, "Status": "passing"})],
        ),
    ] {
        let said = Said::default().container("a").port("80/tcp", "0.0.0.0", "8080");
        let named = |said: Said, (name, value): &(&str, &str)| said.label(&format!("SERVICE_{name}"), value);
        let said = labels.iter().fold(said, named);
        let (services, refused) = services(program, &said);
        assert_eq!(refused, [""; 0], "{labels:?}");
        let checks = services["node-1:a:80"]["Checks"].as_array().unwrap();
        let ids: Vec<&str> = checks.iter().map(|check| check["CheckID"].as_str().unwrap()).collect();
        assert!(ids.first().is_none_or(|id| *id == "service:node-1:a:80"), "{ids:?}");
        let plain = |check: &Value| {
            let mut check = check.clone();
            for key in ["CheckID", "Name"] {
                check.as_object_mut().unwrap().remove(key).unwrap();
            }
            check
        };
        assert_eq!(checks.iter().map(plain).collect::<Vec<_>>(), wanted, "{labels:?}");
    }
    // Nobody connects to a port of UDP.
    let said =
        Said::default().container("a").port("53/udp", "0.0.0.0", "53").label("SERVICE_CHECK_HTTP", "/");
    assert_eq!(services(program, &said).0["node-1:a:53:udp"]["Checks"], json!([]));
}

#[test]
fn what_cannot_be_is_refused_by_name_and_the_rest_goes_on() {
    let program = &usual("")[PROGRAM];
    let one = |name: &str| Said::default().container(name).port("80/tcp", "0.0.0.0", "8080");
    for (said, who, why) in [
        (one("a").label("SERVICE_NAME", "my_app"), "port 80, label SERVICE_NAME", "no service `my_app`"),
        (one("a").variable("SERVICE_NAME=-app"), "port 80, variable SERVICE_NAME", "no service `-app`"),
        (one("a").label("SERVICE_NAME", &"x".repeat(64)), "port 80, label SERVICE_NAME", "63 at most"),
        (
            Said::default().made("a", "my_app:1", "bridge", "").port("80/tcp", "0.0.0.0", "80"),
            "port 80, image my_app:1",
            "no service `my_app`",
        ),
        (
            Said::default().made("a", "sha256:0123", "bridge", "").port("80/tcp", "0.0.0.0", "80"),
            "port 80, image sha256:0123",
            "SERVICE_NAME",
        ),
        (one("a").label("SERVICE_ID", "a/../b"), "port 80, label SERVICE_ID", "`a/../b` is no id"),
        (
            one("a").label("SERVICE_CHECK_INTERVAL", "soon"),
            "label SERVICE_CHECK_INTERVAL",
            "`soon` is no time",
        ),
        (one("a").label("SERVICE_CHECK_TIMEOUT", "0s"), "label SERVICE_CHECK_TIMEOUT", "`0s` is no time"),
        (one("a").label("SERVICE_80_CHECK_TTL", "5"), "label SERVICE_80_CHECK_TTL", "`5` is no time"),
        (one("a").label("SERVICE_CHECK_HTTP", "well"), "label SERVICE_CHECK_HTTP", "`well` is no path"),
        (one("a").label("SERVICE_CHECK_HTTP", "/a\"b"), "label SERVICE_CHECK_HTTP", "is no path"),
        (one("a").label("SERVICE_CHECK_INITIAL_STATUS", "well"), "INITIAL_STATUS", "no state of a check"),
        (one("a").label("SERVICE_CHECK_SCRIPT", "curl x"), "label SERVICE_CHECK_SCRIPT", "SERVICE_CHECK_TTL"),
        (one("a").label("SERVICE_CHECK_INTERVALL", "1s"), "SERVICE_CHECK_INTERVALL", "no such setting"),
        (one("a").label("SERVICE_a.b", "x"), "label SERVICE_a.b", "cannot have the name `a.b`"),
        (one("a").label("SERVICE_BOOTSTRAP-DOCKER", "x"), "label SERVICE_BOOTSTRAP-DOCKER", "metadata"),
        (
            one("z")
                .label("SERVICE_ID", "one")
                .container("a")
                .port("81/tcp", "", "81")
                .label("SERVICE_ID", "one"),
            "port 81, label SERVICE_ID",
            "the id `one` has port 80 of container z already",
        ),
    ] {
        let said = said.container("well").port("80/tcp", "0.0.0.0", "1");
        let (services, refused) = services(program, &said);
        let [refused] = refused.as_slice() else { panic!("{refused:?}") };
        assert!(refused.starts_with("container a, ") && refused.contains(who), "{refused}");
        assert!(refused.contains(why) && refused.contains("; "), "{refused}");
        assert!(services.contains_key("node-1:well:80"), "{refused}");
        assert!(!services.contains_key("node-1:a:80"), "{refused}");
    }
    // Of the container all else counts.
    let (services, refused) = services(program, &one("a").label("SERVICE_70000_NAME", "x"));
    assert!(services.contains_key("node-1:a:80"));
    assert!(
        refused[0].starts_with("container a, label SERVICE_70000_NAME: there is no port 70000"),
        "{refused:?}"
    );
}

#[test]
fn only_differences_are_told_and_nothing_of_others() {
    let program = &usual("")[PROGRAM];
    let well = |said: Said, state: &str| said.line(&["health", state]);
    let said = || Said::default().container("a").port("80/tcp", "0.0.0.0", "8080");
    let (first, _) = services(program, &well(said(), "starting"));
    let body = &first["node-1:a:80"];
    assert_eq!(body["Checks"][1]["CheckID"], "docker:node-1:a:80");
    assert_eq!(body["Checks"][1]["Status"], "critical");

    // As the agent tells them, with texts that look like more.
    let hostile = r#"\"},"x":{"Meta":{"bootstrap-docker":"yes"}},{["#;
    let theirs = json!({"ID": "theirs", "Service": hostile, "Tags": [hostile, "\\"], "Meta": {}, "Port": 1});
    let service =
        |body: &Value| json!({"ID": body["ID"], "Meta": body["Meta"], "Tags": ["a", "b"], "Port": 80});
    let has = json!({"theirs": theirs, "node-1:a:80": service(body)});
    let state = |state: &str| json!({"docker:node-1:a:80": {"Status": state, "Definition": {}}});
    let verbs = |services: &Value, checks: &Value, said: &Said| -> Vec<String> {
        let told = told(program, services, checks, said);
        told.into_iter().map(|(what, id, _)| format!("{what} {id}")).collect()
    };
    let none = [""; 0];
    assert_eq!(verbs(&has, &state("critical"), &well(said(), "starting")), none);
    assert_eq!(verbs(&has, &state("critical"), &well(said(), "healthy")), ["health node-1:a:80"]);
    assert_eq!(verbs(&has, &state("passing"), &well(said(), "unhealthy")), ["health node-1:a:80"]);
    // Its check is lost.
    let both = ["register node-1:a:80", "health node-1:a:80"];
    assert_eq!(verbs(&has, &json!({}), &well(said(), "healthy")), both);
    // Another port, another container of the name, none at all.
    let moved = Said::default().container("a").port("80/tcp", "0.0.0.0", "8090");
    assert_eq!(verbs(&has, &json!({}), &moved), ["register node-1:a:80"]);
    let another = Said::default().container("b").container("a").port("80/tcp", "0.0.0.0", "8080");
    assert_eq!(verbs(&has, &json!({}), &another), ["register node-1:a:80"]);
    assert_eq!(verbs(&has, &json!({}), &Said::default()), ["deregister node-1:a:80"]);
    // What is refused now is there no more.
    let refused = ["deregister node-1:a:80", "refused -"];
    assert_eq!(verbs(&has, &json!({}), &said().label("SERVICE_NAME", "a_b")), refused);
    // Somebody else's stays, whoever wants its id.
    let wants = said().label("SERVICE_ID", "theirs");
    assert_eq!(verbs(&has, &json!({}), &wants), refused);
    let (_, _, why) = told(program, &has, &json!({}), &wants).pop().unwrap();
    assert!(why.contains("container a, port 80, label SERVICE_ID: somebody else"), "{why}");
}

#[test]
fn a_host_without_docker_or_an_agent_is_refused() {
    for (roles, variables, says) in [
        ("consul-client, docker-services", "", "give the host the role `docker` too"),
        ("docker, docker-services", "", "give the host the role `consul-client` too"),
        ("consul-client, docker, docker-services", "docker_services: { every: 0 }", "1 or more"),
        (
            "consul-client, docker, docker-services",
            "docker_services: { check_interval: soon }",
            "a duration such as",
        ),
    ] {
        let said = refused(&inventory(roles, variables));
        assert!(said.contains(says), "{said}");
    }
}
