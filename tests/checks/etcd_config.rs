//! What the role `etcd` renders, and the control planes whose etcd is elsewhere.

use crate::rendered;
use crate::rendered::{refused, shell_faults, shown, snapshots};
use bootstrap::model::HostName;
use bootstrap::resource::Resource;
use bootstrap::roles::Formed;
use indoc::{formatdoc, indoc};

/// `external` and `etcd` are the values of `kube.external_etcd` and of `vars.etcd`.
fn inventory(external: bool, etcd: &str) -> String {
    formatdoc!(
        r#"
            cluster: k1
            hosts:
              etcd-[1-2]: {{ address: "10.0.0.3[1-2]" }}
              etcd-3: {{ address: "fd00::33" }}
              node-[1-2]: {{ address: "10.0.0.1[1-2]" }}
            groups:
              etcd: {{ hosts: ["etcd-*"], roles: [etcd] }}
              control-planes: {{ hosts: ["node-*"], roles: [container-runtime, kube-control-plane] }}
            vars:
              etcd: {etcd}
              kube: {{ version: 1.34.1, cni: bridge, external_etcd: {external}, endpoint: {{ address: 10.0.0.9 }} }}
        "#
    )
}

#[test]
fn a_member_and_who_asks_it() {
    let text = inventory(
        true,
        "{ args: { quota-backend-bytes: 8589934592, listen-metrics-urls: 'http://127.0.0.1:2381' } }",
    );
    for host in ["etcd-3", "node-1"] {
        let mut files = rendered::files(&text, host);
        assert_eq!(shell_faults(&files), "", "{host}");
        files.retain(|path, _| {
            let of_etcd = path.contains("etcd") && !path.ends_with(".key") && !path.ends_with("ca.crt");
            let about_it = ["kubeadm.yaml", "admit", "static-pods", "certificates"];
            of_etcd || about_it.iter().any(|name| path.ends_with(name))
        });
        snapshots("etcd").bind(|| insta::assert_snapshot!(host, shown(&files)));
    }
}

/// The commands of a host about etcd, with what they need to be told first.
fn commands(formed: &[&str], host: &str) -> Vec<String> {
    let wanted = rendered::wanted(&inventory(true, "{}"));
    let addresses = rendered::addresses(&wanted);
    let gates = formed.iter().map(|gate| (*gate).to_owned()).collect();
    let formed = Formed { gates, ..Formed::default() };
    let facts = rendered::facts();
    let settled = wanted.with_facts(|_| Some(&facts), &formed, &addresses).ok().unwrap();
    let host = settled.host(&HostName::parse(host).unwrap()).unwrap();
    let execs = host.roles.iter().flat_map(|role| &role.resources).filter_map(|resource| match resource {
        Resource::Exec(exec) => Some(exec.command.iter().take(2).cloned().collect::<Vec<_>>().join(" ")),
        _ => None,
    });
    execs.filter(|command| command.contains("etcd")).collect()
}

#[test]
fn the_first_member_makes_the_cluster_only_where_there_is_none() {
    let member = "/etc/etcd/bootstrap/member";
    let of = |how: &str| [format!("{member} {how}"), format!("{member} promote")];
    assert_eq!(commands(&[], "etcd-1"), of("make"));
    assert_eq!(commands(&[], "etcd-2"), of("join"));
    assert_eq!(commands(&["etcd-members"], "etcd-1"), of("join"));
    assert_eq!(commands(&[], "node-1"), [""; 0]);
}

#[test]
fn the_key_of_its_authority_stays_with_the_operator() {
    for host in ["etcd-3", "node-1"] {
        let files = rendered::files(&inventory(true, "{}"), host);
        let with_key: Vec<&String> = files
            .iter()
            .filter(|(_, text)| text.contains("kube.etcd_ca+key"))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(with_key, [""; 0], "{host}");
        assert!(files.values().any(|text| text.contains("kube.etcd_ca+cert")), "{host} knows it");
    }
    // There kubeadm signs.
    let inside = inventory(false, "{}").replace("roles: [etcd]", "roles: [consul-server]");
    let files = rendered::files(&inside, "node-1");
    assert!(files["/etc/kubernetes/pki/etcd/ca.key"].contains("kube.etcd_ca+key"));
}

#[test]
fn gates_follow_from_where_etcd_is() {
    let gates = |text: &str| -> Vec<String> {
        let wanted = rendered::wanted(text);
        let mut gates: Vec<String> =
            wanted.hosts.iter().flat_map(|host| &host.roles).filter_map(|role| role.gate.clone()).collect();
        gates.sort();
        gates.dedup();
        gates
    };
    assert_eq!(gates(&inventory(true, "{}")), ["etcd-members", "kube-api-servers"]);
    let inside = indoc! {"
        cluster: k1
        hosts: { n: { address: 10.0.0.1, roles: [container-runtime, kube-control-plane] } }
        vars: { kube: { cni: bridge, endpoint: { address: 10.0.0.1 } } }
    "};
    assert_eq!(gates(inside), ["kube-control-planes"]);
}

#[test]
fn it_is_said_once_where_etcd_is() {
    let text = refused(&inventory(false, "{}"));
    assert!(text.contains("`kube.external_etcd` says that control planes do"), "{text}");
    assert!(text.contains("`kube.external_etcd` says one thing"), "{text}");
    let text = refused(&inventory(true, "{ version: 3.3.27 }"));
    assert!(text.contains("set `etcd.version` to 3.4 or later"), "{text}");
}

/// Where it is cut short before any of its renames, the next try ends as if nothing had been, and what the member had is there.
#[test]
fn a_restore_that_was_cut_short_keeps_what_the_member_had() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let data = at("data").display().to_string();
    let files = rendered::files(&inventory(true, &format!("{{ data_dir: {data} }}")), "etcd-3");
    let script = &files["/etc/etcd/bootstrap/etcd-restore"];
    let does = |text: &str, verb: &str| {
        let output =
            std::process::Command::new("sh").args(["-c", text, "etcd-restore", verb]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let run = |text: &str| does(text, "take");
    let renames: Vec<&str> = script.lines().filter(|line| line.contains("mv \"$")).collect();
    assert_eq!(renames.len(), 4, "{script}");
    let (take, back) = renames.split_at(2);
    for cut in take {
        for name in ["data", "data.before", "data.restored"] {
            let _ = std::fs::remove_dir_all(at(name));
        }
        for (name, text) in [("data", "old"), ("data.before", "older"), ("data.restored/data", "new")] {
            std::fs::create_dir_all(at(name).join("member")).unwrap();
            std::fs::write(at(name).join("member/db"), text).unwrap();
        }
        assert_eq!(run(&script.replace(cut, "exit 9")), (Some(9), String::new()), "{cut}");
        assert_eq!(run(script), (Some(0), String::new()), "{cut}");
        let db = |name: &str| std::fs::read_to_string(at(name).join("member/db")).unwrap();
        assert_eq!((db("data"), db("data.before")), ("new".to_owned(), "old".to_owned()), "{cut}");

        // What was taken does not serve.
        for cut in back.iter().map(|line| line.trim()) {
            assert_eq!(does(&script.replace(cut, "exit 9"), "back"), (Some(9), String::new()), "{cut}");
            assert_eq!(does(script, "back"), (Some(0), String::new()), "{cut}");
            assert_eq!(db("data"), "old", "{cut}");
            // And once more, when all is done.
            assert_eq!(does(script, "back"), (Some(0), String::new()), "{cut}");
            assert_eq!(db("data"), "old", "{cut}");
            std::fs::create_dir_all(at("data.before").join("member")).unwrap();
            std::fs::write(at("data.before").join("member/db"), "old").unwrap();
            std::fs::write(at("data").join("member/db"), "new").unwrap();
        }
    }
    // One that has not taken anything keeps what it has, whatever lies beside it from an earlier time.
    for (name, text) in [("data", "old"), ("data.before", "older"), ("data.restored/data", "new")] {
        std::fs::create_dir_all(at(name).join("member")).unwrap();
        std::fs::write(at(name).join("member/db"), text).unwrap();
    }
    assert_eq!(does(script, "back"), (Some(0), String::new()));
    assert_eq!(std::fs::read_to_string(at("data").join("member/db")).unwrap(), "old");
}
