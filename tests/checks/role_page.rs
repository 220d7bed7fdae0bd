//! The example of docs/writing-a-role.md, as a reader would type it.

use indoc::formatdoc;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rendered::{addresses, files_of, wanted_by};
use crate::shells::have;
use crate::support::Lab;
use bootstrap::roles::{Asked, RoleSet, Wanted};

/// The text between the fences after the line that names a file.
fn block<'p>(page: &'p str, after: &str) -> &'p str {
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("`{after}` is not in the page"));
    let (_, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("```").unwrap().0
}

/// Writes the page's files below a folder.
fn typed(folder: &Path) -> PathBuf {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/writing-a-role.md")).unwrap();
    for file in ["roles/node-figures/role.yaml", "roles/node-figures/templates/options"] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, block(&page, &format!("`{file}`\n"))).unwrap();
    }
    let inventory = folder.join("inventory.yaml");
    fs::write(&inventory, block(&page, "like any other role:\n")).unwrap();
    inventory
}

fn bootstrap(folder: &Path, words: &[&str]) -> (i32, String) {
    let mut call = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    let output = call.current_dir(folder).env("NO_COLOR", "1").args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_role_of_the_page_is_correct() {
    let folder = tempfile::tempdir().unwrap();
    typed(folder.path());
    let (status, said) = bootstrap(folder.path(), &["check", "inventory.yaml", "--roles", "roles"]);
    assert_eq!((status, said.as_str()), (0, "1 host, 1 role: ok\n"));
    let (status, said) = bootstrap(folder.path(), &["roles", "node-figures", "--roles", "roles"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("figures.without"), "{said}");
    // What it says of types is checked against what it was given.
    let inventory = folder.path().join("inventory.yaml");
    let text = fs::read_to_string(&inventory).unwrap().replace("port: 9101", "port: 70000");
    fs::write(&inventory, text).unwrap();
    let (status, said) = bootstrap(folder.path(), &["check", "inventory.yaml", "--roles", "roles"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("70000"), "{said}");
}

#[test]
fn a_gate_that_the_program_does_not_have_is_refused_before_any_host_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    typed(folder.path());
    let role = folder.path().join("roles/node-figures/role.yaml");
    fs::write(&role, fs::read_to_string(&role).unwrap() + "\ngate: cosnul-servers\n").unwrap();
    let (status, said) =
        bootstrap(folder.path(), &["check", "--connect", "inventory.yaml", "--roles", "roles"]);
    assert_eq!(status, 2, "{said}");
    let wanted = "role `node-figures` names the unknown gate `cosnul-servers`";
    assert!(said.contains(wanted) && said.contains("role.yaml:"), "{said}");
}

#[test]
fn an_endpoint_that_cannot_be_is_shown_where_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    typed(folder.path());
    let role = folder.path().join("roles/node-figures/role.yaml");
    let text = fs::read_to_string(&role).unwrap();
    let says = |endpoint: &str| {
        fs::write(&role, format!("{text}\nendpoint: {endpoint}\n")).unwrap();
        bootstrap(folder.path(), &["check", "inventory.yaml", "--roles", "roles"])
    };
    let line = text.lines().count() + 2;
    let at = format!("role.yaml:{line}:");
    for (endpoint, wanted) in [
        (
            "{ product: cosnul, port: 1, unit: a.service, data: /a }",
            "role `node-figures` names the unknown product `cosnul`",
        ),
        (
            "{ product: consul, port: \"{{ figures.prot }}\", unit: a.service, data: /a }",
            "the endpoint of role `node-figures` names the unknown variable `figures.prot`",
        ),
        ("{ product: consul, port: 1, unit: a.service }", "an endpoint has no `data`"),
        ("{ product: consul, port: 1, unit: a.service, data: /a, prot: 2 }", "`prot`"),
        ("{ product: consul, port: many, unit: a.service, data: /a }", "a port from 1 to 65535"),
        ("{ product: consul, port: 1, scheme: ftp, unit: a.service, data: /a }", "`ftp`"),
    ] {
        let (status, said) = says(endpoint);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(wanted) && said.contains(&at), "{said}");
    }
    let (status, said) = says("{ product: consul, port: \"{{ figures.port }}\", unit: a.service, data: /a }");
    assert_eq!(status, 0, "{said}");
}

/// What the page's inventory wants, with these changes to it.
fn wanted(folder: &Path, from: &str, to: &str) -> Wanted {
    let inventory = typed(folder);
    let text = fs::read_to_string(&inventory).unwrap();
    assert!(text.contains(from));
    fs::write(&inventory, text.replace(from, to)).unwrap();
    let roles = RoleSet::load(Some(&folder.join("roles"))).unwrap_or_else(|problems| panic!("{problems:?}"));
    wanted_by(&inventory, &roles)
}

#[test]
fn it_writes_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = wanted(folder.path(), "[wifi]", "[wifi, zfs]");
    let files = files_of(&wanted, "node-1", &addresses(&wanted));
    assert_eq!(
        files["/etc/default/prometheus-node-exporter"],
        "# Written by bootstrap for node-1.\n\
         ARGS=\"--web.listen-address=:9101 --no-collector.wifi --no-collector.zfs\"\n"
    );
    let role = &wanted.hosts[0].roles[0];
    assert!(role.removable, "without a word");
    let ids: Vec<String> = role.resources.iter().map(|resource| resource.id().0).collect();
    assert_eq!(
        ids,
        [
            "package prometheus-node-exporter",
            "file /etc/default/prometheus-node-exporter",
            "unit prometheus-node-exporter.service"
        ]
    );
    assert_eq!(role.ports[0].number, 9101);
}

#[test]
fn its_proof_tells_a_host_that_works_from_one_that_does_not() {
    if !have("perl") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let wanted = wanted(folder.path(), "port: 9101", &format!("port: {port}"));
    let Asked::Command(command) = &wanted.hosts[0].roles[0].proofs[0].proof.asked else {
        panic!("a command")
    };
    let ask = || Command::new(&command[0]).args(&command[1..]).output().unwrap();
    assert!(ask().status.success(), "{command:?}: {:?}", ask());
    drop(listener);
    let silent = ask();
    assert!(!silent.status.success());
    let said = String::from_utf8_lossy(&silent.stderr);
    assert_eq!(said.trim(), format!("nobody listens at port {port}"));
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_it_is_set_up_and_taken_away_again() {
    let lab = Lab::up(&["--hosts", "3"]);
    let folder = tempfile::tempdir().unwrap();
    typed(folder.path());
    let roles = folder.path().join("roles");
    let options = ["--roles", roles.to_str().unwrap()];
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let with_role = text.replace("[consul-server]", "[consul-server, node-figures]")
        + "\n  figures: { port: 9101, without: [wifi] }\n";
    fs::write(lab.inventory(), with_role).unwrap();
    lab.run("up", &options).exits(0).says("3 uses on 3 hosts");
    let figures = lab.asks("node-2", "curl -s http://127.0.0.1:9101/metrics");
    assert!(figures.contains("\nnode_load1 ") && !figures.contains("collector=\"wifi\""), "{figures}");
    lab.run("up", &options).exits(0).says("Nothing to do");

    fs::write(lab.inventory(), text).unwrap();
    lab.run("up", &options).exits(0);
    assert_ne!(lab.ssh("node-2", "systemctl is-active prometheus-node-exporter").status, 0);
    lab.run("up", &options).exits(0).says("Nothing to do");
}

#[test]
fn the_types_that_it_lists_are_types() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/writing-a-role.md")).unwrap();
    let (_, sentence) = page.split_once("Types: ").unwrap();
    let (sentence, _) = sentence.split_once(". ").unwrap();
    let words: Vec<&str> = sentence.split('`').skip(1).step_by(2).collect();
    let with = |word: &str| match word {
        "choice" => "choices: [a, b], ",
        "list" => "of: string, ",
        _ => "",
    };
    let types = words.iter().filter(|word| !["choices", "of", "fields"].contains(word));
    let lines: Vec<String> = types
        .map(|word| format!("  all.{word}: {{ type: {word}, {}optional: true, doc: One. }}\n", with(word)))
        .collect();
    assert!(lines.len() > 12, "{words:?}");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("roles/all")).unwrap();
    let role = formatdoc!(
        "
        doc: All types.
        variables:
        {}resources: []
    ",
        lines.concat()
    );
    fs::write(folder.path().join("roles/all/role.yaml"), role).unwrap();
    let (status, said) = bootstrap(folder.path(), &["roles", "all", "--roles", "roles"]);
    assert_eq!(status, 0, "{said}");
}
