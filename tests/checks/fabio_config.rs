//! What the role `edge-fabio` renders, what it refuses, and what its look at the tags of services finds; the job of Nomad beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rendered;
use crate::rendered::{addresses, facts, files_of, refused, shell_faults, shown, snapshots, wanted};
use bootstrap::inventory::Body;
use bootstrap::preflight;
use bootstrap::roles::{Formed, RoleSet, load_inventory};
use indoc::{formatdoc, indoc};
use serde_json::json;

/// `fabio` are the role's variables, as a map.
fn inventory(fabio: &str) -> String {
    formatdoc!(
        r#"
            cluster: dc1
            hosts:
              node-[1-3]: {{ address: "10.0.0.1[1-3]" }}
              way-1: {{ address: 10.0.0.21, roles: [consul-client, edge-fabio] }}
            groups:
              servers: {{ hosts: ["node-*"], roles: [consul-server] }}
            vars:
              fabio: {fabio}
        "#
    )
}

/// The role's files on its host.
fn files(fabio: &str) -> BTreeMap<String, String> {
    let mut files = rendered::files(&inventory(fabio), "way-1");
    files.retain(|path, _| path.contains("fabio"));
    files
}

const ALL: &str = "{ \
    listeners: [{ port: 80 }, { port: 443, protocol: https, certificates: shop }, { port: 8443, protocol: tcp+sni }, \
        { port: 1234, protocol: tcp }, { port: 1235, protocol: tcp, certificates: keys }], \
    certificates: [{ name: shop, path: /etc/ssl/shop }, { name: keys, consul: /fabio/keys }], \
    ui_addr: 0.0.0.0, ui_access: rw, tag_prefix: route-, settings: { proxy.strategy: rnd, log.access.target: stdout } }";

#[test]
fn by_defaults_and_with_everything_set() {
    for (name, fabio) in [("defaults", "{}"), ("everything", ALL)] {
        let mut files = files(fabio);
        assert_eq!(shell_faults(&files), "", "{name}");
        // It is not rendered.
        let tags = files.remove("/etc/bootstrap-fabio/tags.awk").unwrap();
        assert_eq!(tags, fs::read_to_string("roles/edge-fabio/templates/tags.awk").unwrap());
        snapshots("fabio").bind(|| insta::assert_snapshot!(name, shown(&files)));
    }
}

#[test]
fn only_low_ports_need_a_privilege() {
    let unit = |fabio: &str| files(fabio).remove("/etc/systemd/system/edge-fabio.service").unwrap();
    for (fabio, has) in [("{}", false), ("{ listeners: [{ port: 9999 }, { port: 443 }] }", true)] {
        let unit = unit(fabio);
        assert!(unit.contains("\nUser=fabio\n"), "{unit}");
        assert_eq!(unit.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"), has, "{unit}");
    }
}

#[test]
fn each_listener_is_a_port_that_another_role_may_want() {
    let of = |fabio: &str| -> Vec<(u16, String)> {
        let wanted = wanted(&inventory(fabio));
        let roles = wanted.hosts.iter().flat_map(|host| &host.roles);
        let ports = roles.filter(|role| role.name.as_str() == "edge-fabio").flat_map(|role| &role.ports);
        ports.map(|port| (port.number, port.at[0].unwrap().to_string())).collect()
    };
    let port = |number: u16, address: &str| (number, address.to_owned());
    assert_eq!(of("{}"), [port(9999, "0.0.0.0"), port(9998, "127.0.0.1")]);
    let two = "{ listeners: [{ port: 80 }, { port: 8443, protocol: tcp+sni }], ui_port: 9000 }";
    assert_eq!(of(two), [port(80, "0.0.0.0"), port(8443, "0.0.0.0"), port(9000, "127.0.0.1")]);

    let text = inventory("{ listeners: [{ port: 8500 }] }");
    let found: Vec<String> =
        preflight::of_inventory(&wanted(&text)).into_iter().map(|finding| finding.reason).collect();
    assert_eq!(
        found,
        [
            "roles `consul-agent` (HTTP API and UI) and `edge-fabio` (A listener, for everybody) both want port 8500/tcp on 127.0.0.1"
        ]
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let cases = [
        ("no listener", "{ listeners: [] }"),
        ("a port twice", "{ listeners: [{ port: 80 }, { port: 80, protocol: tcp }] }"),
        ("the UI's port", "{ listeners: [{ port: 9998 }] }"),
        ("https without certificates", "{ listeners: [{ port: 443, protocol: https }] }"),
        (
            "certificates that nobody needs",
            "{ listeners: [{ port: 80, certificates: shop }], certificates: [{ name: shop, path: /etc/shop }] }",
        ),
        ("an unknown source", "{ listeners: [{ port: 443, protocol: https, certificates: shop }] }"),
        ("a source without a listener", "{ certificates: [{ name: shop, path: /etc/shop }] }"),
        (
            "a source that is both",
            "{ listeners: [{ port: 443, protocol: https, certificates: shop }], \
               certificates: [{ name: shop, path: /etc/shop, consul: /shop }] }",
        ),
        (
            "a source twice",
            "{ listeners: [{ port: 443, protocol: https, certificates: shop }], \
               certificates: [{ name: shop, path: /etc/shop }, { name: shop, consul: /shop }] }",
        ),
        ("a setting that has its own variable", "{ settings: { proxy.addr: ':80' } }"),
        ("a package", "{ source: package }"),
        ("a protocol that fabio does not have", "{ listeners: [{ port: 80, protocol: udp }] }"),
    ];
    let mut text: String =
        cases.iter().map(|(name, fabio)| format!("-- {name}\n{}", refused(&inventory(fabio)))).collect();
    let alone = indoc! {r#"
        cluster: dc1
        hosts:
          node-[1-3]: { address: "10.0.0.1[1-3]", roles: [consul-server] }
          way-1: { address: 10.0.0.21, roles: [edge-fabio] }
    "#};
    text += &format!("-- no agent of Consul\n{}", refused(alone));
    snapshots("fabio").bind(|| insta::assert_snapshot!("refused", text));
}

/// What the look at tags prints of these services, by each awk that is here.
fn judged(catalog: &serde_json::Value, listeners: &str) -> String {
    let mut said: Vec<String> = Vec::new();
    for awk in [&["mawk"][..], &["busybox", "awk"], &["gawk"]] {
        let run = Command::new(awk[0])
            .args(&awk[1..])
            .args(["-v", "prefix=urlprefix-", "-v", &format!("listeners={listeners}")])
            .args(["-f", "roles/edge-fabio/templates/tags.awk"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut run) = run else { continue };
        std::io::Write::write_all(&mut run.stdin.take().unwrap(), catalog.to_string().as_bytes()).unwrap();
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{awk:?}");
        said.push(String::from_utf8(output.stdout).unwrap());
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:#?}");
    said.remove(0)
}

const LISTENERS: &str = "http:9999 https:443 tcp:9000 tcp+sni:8443";

#[test]
fn tags_that_fabio_understands_are_fine() {
    for tag in [
        "urlprefix-/web",
        "urlprefix-/web strip=/web",
        "urlprefix-*.example.org/a/b weight=.1 host=dst",
        "urlprefix-shop.example.org:443/ proto=https tlsskipverify=true",
        "urlprefix-shop.example.org/ proto=tcp pxyproto=true",
        "urlprefix-shop.example.org",
        "urlprefix-:9000 proto=tcp",
        "urlprefix-/old redirect=301,https://www.example.org/new?a=1&b=$path",
        "urlprefix-/in allow=ip:10.0.0.0/8,ip:fe80::/10 auth=staff register=in prepend=/v1",
        " urlprefix-/blanks   strip=/blanks ",
        "v2 \"quoted\", of a service without routes",
    ] {
        let said = judged(&json!({ "consul": [], "a": [tag] }), LISTENERS);
        assert!(!said.contains("wrong"), "{tag}: {said}");
    }
    let both = json!({ "a-1": ["urlprefix-:9000 proto=tcp", "urlprefix-:9000 proto=tcp pxyproto=true"], "b_2": ["x"] });
    assert_eq!(judged(&both, LISTENERS), "service a-1\n");
}

#[test]
fn tags_that_fabio_takes_otherwise_are_told() {
    const BLOCKS: &str = "; until it is right fabio takes no change of any route";
    for (tag, why) in [
        ("urlprefix-", format!("it names neither a host nor a path{BLOCKS}")),
        ("urlprefix-/a weight=ten", format!("`weight` is a number such as 0.1{BLOCKS}")),
        ("urlprefix-/a[b", format!("a bracket in it is not closed{BLOCKS}")),
        ("urlprefix-/a host=\"b\"", format!("it has quotes{BLOCKS}")),
        ("urlprefix-/a stripp=/a", "fabio knows no option `stripp`".to_owned()),
        ("urlprefix-/a strip=a", "`strip` begins with a slash".to_owned()),
        (
            "urlprefix-/a proto=tcp+sni",
            "`tcp+sni` is what a listener is of: a service says `proto=tcp`".to_owned(),
        ),
        ("urlprefix-/a proto=udp", "fabio knows no `proto=udp`".to_owned()),
        ("urlprefix-/a proto=grpc", "there is no listener of grpc".to_owned()),
        ("urlprefix-/a redirect=https://b", "`redirect` is CODE,URL, with a code from 300 to 399".to_owned()),
        (
            "urlprefix-/a allow=10.0.0.0/8",
            "`allow` is a list of `ip:ADDRESS` with commas between them: `10.0.0.0/8` counts for nothing"
                .to_owned(),
        ),
        (
            "urlprefix-/a allow=ip:10.0.0.1 deny=ip:10.0.0.2",
            "`allow` and `deny` together: neither counts, and everybody is let in".to_owned(),
        ),
        ("urlprefix-/a tlsskipverify", "`tlsskipverify` counts as `true` alone".to_owned()),
        ("urlprefix-/a auth=", "`auth` has no value".to_owned()),
        ("urlprefix-9000", "a port stands behind a colon: `:9000 proto=tcp`".to_owned()),
        ("urlprefix-:9001 proto=tcp", "there is no listener of tcp at port 9001".to_owned()),
        ("urlprefix-:port proto=tcp", "`:port` is no port: `:PORT proto=tcp`".to_owned()),
        (
            "urlprefix-a.example.org/b proto=tcp",
            "TLS that is passed through has a name and no path: `NAME/ proto=tcp`".to_owned(),
        ),
    ] {
        let said = judged(&json!({ "web": ["x", tag] }), LISTENERS);
        assert_eq!(said, format!("wrong web: `{tag}`: {why}\nservice web\n"), "{tag}");
    }
    // What listeners there are decides.
    for (tag, listeners, why) in [
        ("urlprefix-/a", "tcp:9000", "there is no listener of http or https"),
        (
            "urlprefix-a/ proto=tcp",
            "tcp:9000",
            "there is no listener of tcp+sni; a listener of tcp serves `:PORT`",
        ),
    ] {
        let said = judged(&json!({ "web": [tag] }), listeners);
        assert_eq!(said, format!("wrong web: `{tag}`: {why}\nservice web\n"));
    }
    let two = json!({ "orders": ["urlprefix-:9000 proto=tcp"], "bills": ["urlprefix-:9000 proto=tcp"] });
    let said = judged(&two, LISTENERS);
    assert!(said.contains("orders wants port 9000 too: each gets connections of the other\n"), "{said}");
    // Beside a route other tags must not have quotes either.
    let said = judged(&json!({ "web": ["say \"hi\"", "urlprefix-/web"] }), LISTENERS);
    assert!(
        said.contains(&format!(
            "wrong web: `say \"hi\"`: a tag with quotes, beside one that is a route{BLOCKS}\n"
        )),
        "{said}"
    );
}

/// The job takes the role's listeners and certificates, and what Nomad fills in on each client stays as it is.
#[test]
fn the_job_takes_what_the_role_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    let text = indoc! {r#"
        cluster: dc1
        hosts:
          node-[1-3]: { address: "10.0.0.1[1-3]", roles: [consul-server, nomad-server] }
        jobs:
          - ready: fabio
            variables:
              listeners: [{ port: 443, protocol: https, certificates: shop }]
              certificates: [{ name: shop, consul: /fabio/shop }]
    "#};
    fs::write(&path, text).unwrap();
    let (inventory, _) = load_inventory(&path, &RoleSet::embedded().unwrap(), None).unwrap();
    let Body::Hcl(job) = &inventory.jobs[0].body else { panic!("a job in HCL") };
    for line in [
        r#"default = [{"port":443,"protocol":"https","certificates":"shop"}]"#,
        r#"default = [{"name":"shop","consul":"/fabio/shop"}]"#,
        "fabio-${var.version}-linux_$${attr.cpu.arch}",
    ] {
        assert!(job.contains(line), "`{line}` is not in\n{job}");
    }
    // Both are of one release.
    let version = |text: &str| -> String {
        let (_, after) = text.split_once("version").unwrap();
        let number = after.split("default").nth(1).unwrap();
        number
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(|c| !c.is_whitespace() && *c != '"')
            .collect()
    };
    let role = fs::read_to_string(Path::new("roles/edge-fabio/role.yaml")).unwrap();
    let (_, role) = role.split_once("fabio.version:").unwrap();
    let (_, job) = job.split_once("variable \"version\"").unwrap();
    assert_eq!(version(&format!("version{role}")), version(&format!("version{job}")));
}

/// Facts and addresses of hosts change nothing of it but where it registers itself.
#[test]
fn the_ui_is_registered_where_others_reach_it() {
    let properties = |fabio: &str| {
        let wanted = wanted(&inventory(fabio));
        let (addresses, facts) = (addresses(&wanted), facts());
        let wanted = wanted.with_facts(|_| Some(&facts), &Formed::default(), &addresses).unwrap();
        files_of(&wanted, "way-1", &addresses).remove("/etc/bootstrap-fabio/fabio.properties").unwrap()
    };
    for (fabio, registered, addr) in [
        ("{}", "false", None),
        ("{ ui_addr: '::1' }", "false", None),
        ("{ ui_addr: 0.0.0.0 }", "true", Some("10.0.0.21:9998")),
        ("{ ui_addr: 10.0.0.21 }", "true", Some("10.0.0.21:9998")),
        ("{ ui_addr: 'fd00::21' }", "true", Some("[fd00::21]:9998")),
    ] {
        let text = properties(fabio);
        assert!(text.contains(&format!("\nregistry.consul.register.enabled = {registered}\n")), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix("registry.consul.register.addr = "));
        assert_eq!(line, addr, "{text}");
    }
}
