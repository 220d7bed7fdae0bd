//! Packages of several roles, by a pretended package manager.

use std::os::unix::fs::PermissionsExt;

use crate::shells::{Host, call, holder, shells, step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bootstrap::model::{RoleName, Step};
use bootstrap::releases::file_digest;
use bootstrap::script::{Nonce, Record, Script};
use indoc::formatdoc;

/// A host with an apt that knows all packages but `unknown`, and says when it has begun.
fn host() -> Host {
    let host = Host::new().without(&[]);
    let folder = host.at("");
    let apt = formatdoc! {r#"
        #!/bin/sh
        case " $* " in *' install '*) ;; *) exit 0 ;; esac
        while [ "$1" != --no-install-recommends ]; do shift; done
        shift
        echo "$*" >>'{folder}/calls'
        : >"{folder}/began-$1"
        case " $* " in *' unknown '*) echo 'E: Unable to locate package unknown'; exit 100 ;; esac
        for name; do echo "$name installed" >>'{folder}/installed'; done
    "#};
    let query = formatdoc! {r#"
        #!/bin/sh
        cat '{folder}/installed'
    "#};
    for (tool, text) in [("apt-get", apt), ("dpkg-query", query)] {
        let path = host.at(&format!("tools/{tool}"));
        drop(std::fs::remove_file(&path));
        host.write(&format!("tools/{tool}"), text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    host.write("installed", "");
    host.write("calls", "");
    host
}

fn packages(role: &str, names: &[&str]) -> Step {
    let step = step(&format!("package {}", names.join(" ")), vec![call("package_install", names)]);
    Step { role: RoleName::parse(role).unwrap(), ..step }
}

/// A step of another role that is through once the package manager has begun.
fn waits(host: &Host) -> Step {
    let (user, group) = crate::shells::account();
    let source = host.write("source", "text");
    let digest = file_digest(source.as_ref()).unwrap();
    let (path, began) = (host.at("file"), host.at("began-dnsmasq"));
    let until = "left=100; until [ -e \"$1\" ]; do left=$((left - 1)); [ \"$left\" -gt 0 ] || exit 9; sleep 0.1; done";
    let words = [
        &path,
        "0644",
        &user,
        &group,
        "absent",
        &digest,
        &STANDARD.encode("text"),
        "sh",
        "-c",
        until,
        "sh",
        &began,
    ];
    step("file", vec![call("file_write", &words)])
}

fn ends(records: &[Record]) -> Vec<(String, i32, String)> {
    let end = |record: &Record| match record {
        Record::End { id, status, output } => Some((id.clone(), *status, output.clone())),
        _ => None,
    };
    records.iter().filter_map(end).collect()
}

#[test]
fn one_call_installs_those_of_several_roles_while_other_steps_are_taken() {
    for shell in shells() {
        let host = host();
        let steps = [
            packages("agent", &["curl"]),
            waits(&host),
            packages("names", &["dnsmasq"]),
            packages("engine", &["docker"]),
        ];
        let records = host.run(shell, &Script::apply(&Nonce::random(), &holder(), &steps));
        assert!(ends(&records).iter().all(|(_, status, _)| *status == 0), "{shell:?}: {records:?}");
        assert_eq!(ends(&records).len(), 4, "{shell:?}: {records:?}");
        let calls = String::from_utf8(host.read("calls")).unwrap();
        assert_eq!(calls, "curl\ndnsmasq docker\n", "{shell:?}");
    }
}

#[test]
fn where_one_of_them_cannot_be_had_its_own_step_says_so() {
    for shell in shells() {
        let host = host();
        let steps =
            [packages("names", &["dnsmasq"]), packages("engine", &["unknown"]), packages("files", &["nfs"])];
        let records = host.run(shell, &Script::apply(&Nonce::random(), &holder(), &steps));
        let ends = ends(&records);
        assert_eq!(ends.len(), 2, "{shell:?}: {ends:?}");
        assert_eq!((ends[0].0.as_str(), ends[0].1), ("package dnsmasq", 0), "{shell:?}: {ends:?}");
        assert!(
            ends[1].1 != 0 && ends[1].2.contains("Unable to locate package unknown"),
            "{shell:?}: {ends:?}"
        );
        assert_eq!(String::from_utf8(host.read("installed")).unwrap(), "dnsmasq installed\n", "{shell:?}");
        let calls = String::from_utf8(host.read("calls")).unwrap();
        assert!(calls.starts_with("dnsmasq unknown nfs\n"), "{shell:?}: {calls}");
    }
}
