//! What documents and help texts say is there: links, paths, commands with their options, modules.

use indoc::indoc;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bootstrap::cli::Cli;
use bootstrap::operations::COMMANDS;
use clap::{Command, CommandFactory};

const PAGES: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/errors.md",
    "docs/installing.md",
    "docs/writing-a-role.md",
    "vagrant/README.md",
];

/// Relative to the checkout.
pub fn at(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page(path: impl AsRef<Path>) -> String {
    fs::read_to_string(at(path)).unwrap()
}

/// The name that a link to a heading has.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    for name in PAGES {
        let text = page(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { at(name) } else { at(name).parent().unwrap().join(path) };
            assert!(target.exists(), "{name}: {link}");
            if !heading.is_empty() {
                let there = fs::read_to_string(&target).unwrap();
                let mut headings = there.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|anchor| anchor == heading), "{name}: {link}");
            }
            followed += 1;
        }
    }
    assert!(followed >= 10, "{followed}");
}

/// Words between single backquotes, outside of fenced blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn paths_are_there() {
    const FOLDERS: [&str; 8] =
        ["core/", "src/", "tests/", "docs/", "roles/", "inventories/", "vagrant/", ".ci/"];
    let mut found = 0;
    for name in PAGES {
        let text = page(name);
        for word in quoted(&text) {
            let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains(['*', ' ']);
            // `roles/NAME/role.yaml` is a pattern, and the page's own example lies elsewhere.
            if !is_path || word.contains("NAME") || word.starts_with("roles/node-figures") || word == "roles/"
            {
                continue;
            }
            let (path, _) = word.split_once('#').unwrap_or((word, ""));
            assert!(at(path).exists(), "{name}: `{word}`");
            found += 1;
        }
    }
    assert!(found >= 15, "{found}");
}

/// The commands in a line: `cd x && bootstrap up FILE   # why` has one. Without the program's name.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ");
    let line = line.split(" #").next().unwrap().split("  ").next().unwrap();
    let parts = line.split(" && ").flat_map(|part| part.split(" | ")).flat_map(|part| part.split(" > "));
    let ours = |part: &str| {
        let part = part.trim().trim_start_matches("sudo ");
        let rest = part.strip_prefix("bootstrap ").or(part.strip_prefix("cargo run --release -- "))?;
        Some(rest.split_whitespace().map(str::to_owned).collect())
    };
    parts.filter_map(ours).collect()
}

/// Whether the program understands these words; `…`, `a|b` and `[NAME]` are for people.
#[track_caller]
fn is_understood(words: &[String], place: &str) {
    if words.iter().any(|word| word.contains(['…', '[', '|', '\''])) {
        return;
    }
    let words = ["bootstrap"].into_iter().chain(words.iter().map(String::as_str));
    if let Err(error) = Cli::command().try_get_matches_from(words) {
        let fine = matches!(
            error.kind(),
            clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
        );
        assert!(fine, "{place}: {error}");
    }
}

#[test]
fn commands_of_the_documents_are_understood() {
    let mut seen = 0;
    for name in PAGES {
        let text = page(name);
        // Blocks: indented or fenced. Output in them does not begin with a command.
        let fenced = text.split("```").skip(1).step_by(2).flat_map(str::lines);
        let indented = text.lines().filter(|line| line.starts_with("    "));
        for words in fenced.chain(indented).flat_map(commands) {
            is_understood(&words, name);
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen}");
}

/// A message may leave out what its reader knows, but what it names must be there: the command and each option.
#[test]
fn commands_that_messages_name_are_there() {
    let mut root = Cli::command();
    root.build();
    let mut seen = 0;
    for (path, text) in code().into_iter().chain(sources(&at("roles"))) {
        for named in quoted(&text).iter().filter_map(|words| words.strip_prefix("bootstrap ")) {
            // A sketch, for those who read the code.
            if named.contains('…') {
                continue;
            }
            let mut command = &root;
            for word in named.split_whitespace() {
                let place = format!("{}: `bootstrap {named}`", path.display());
                if let Some(option) = word.strip_prefix("--") {
                    let option = option.split('=').next().unwrap();
                    let mut options = command.get_arguments().filter_map(clap::Arg::get_long);
                    assert!(options.any(|long| long == option), "{place}: no option --{option}");
                } else if command.has_subcommands() && word.starts_with(char::is_lowercase) {
                    let inner = command.find_subcommand(word);
                    command = inner.unwrap_or_else(|| panic!("{place}: no command {word}"));
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 80, "{seen}");
}

/// A command and all below it, by their whole names; hidden ones are nobody's business.
fn all(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
    found.push((name.to_owned(), command.clone()));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        all(inner, &format!("{name} {}", inner.get_name()), found);
    }
}

#[test]
fn every_help_has_an_example_that_works() {
    let mut found = Vec::new();
    let mut root = Cli::command();
    root.build();
    all(&root, "bootstrap", &mut found);
    assert!(found.len() > 25);
    for (name, mut command) in found {
        let help = command.render_long_help().to_string();
        let Some((_, examples)) = help.split_once("Example") else { panic!("{name} --help has no example") };
        let lines = examples.lines().map(|line| line.trim_start_matches("s:").trim_start_matches(':'));
        let examples: Vec<Vec<String>> = lines.flat_map(commands).collect();
        let own: Vec<&str> = name.split(' ').skip(1).collect();
        assert!(
            examples.iter().any(|words| words
                .iter()
                .map(String::as_str)
                .take(own.len())
                .eq(own.iter().copied())),
            "{name}: {examples:?}"
        );
        for words in examples {
            is_understood(&words, &name);
        }
    }
}

#[test]
fn the_readme_lists_every_command() {
    let readme = page("README.md");
    let (_, table) = readme.split_once("| command | what it does |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| !line.is_empty());
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let words = cells.flat_map(quoted).filter_map(|words| words.split(' ').next());
    let listed: BTreeSet<&str> = words.filter(|word| word.starts_with(char::is_lowercase)).collect();
    let cli = Cli::command();
    let there: BTreeSet<&str> = cli.get_subcommands().map(Command::get_name).collect();
    assert_eq!(listed, there);
}

/// The folders of sources of the two crates.
const CRATES: [&str; 2] = ["core/src", "src"];

/// The modules of both crates.
fn modules() -> BTreeSet<String> {
    let libs = CRATES.map(|root| page(format!("{root}/lib.rs")));
    let lines = libs.iter().flat_map(|lib| lib.lines());
    lines.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

/// Every source file of both crates, with its text; what only tests use is left out.
pub fn code() -> Vec<(PathBuf, String)> {
    CRATES.iter().flat_map(|root| sources(&at(root))).collect()
}

/// A source file's path in its crate.
fn in_crate(path: &Path) -> &Path {
    CRATES.iter().find_map(|root| path.strip_prefix(at(root)).ok()).unwrap()
}

/// Every source file below a folder, or this file, with its text; what only tests use is left out.
pub fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_file() {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        return vec![(path.to_owned(), code)];
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rs"))
        .filter(|path| path.file_stem().is_none_or(|stem| stem != "tests" && stem != "testing"))
        .flat_map(|path| sources(&path))
        .collect()
}

/// The module of `lib.rs` that a source file belongs to.
fn module(path: &Path) -> String {
    in_crate(path).iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Each module, with those that its sources import.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> =
        modules().into_iter().map(|module| (module, BTreeSet::new())).collect();
    for (path, text) in code() {
        let importer = module(&path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for named in code.flat_map(|line| line.split("crate::").skip(1)) {
            let end = named.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(named.len());
            if named[..end] != *importer && found.contains_key(&named[..end]) {
                found.get_mut(&importer).unwrap().insert(named[..end].to_owned());
            }
        }
    }
    found
}

/// The column `imports` of the architecture's table of modules.
fn listed_imports() -> BTreeMap<String, BTreeSet<String>> {
    let text = page("ARCHITECTURE.md");
    let (_, table) = text.split_once("| module |").unwrap();
    let rows = table.split("\n\n").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let names =
            |cell: &str| cell.split_whitespace().map(|name| name.trim_matches('`').to_owned()).collect();
        (cells[1].trim_matches('`').to_owned(), names(cells[4]))
    };
    rows.map(row).collect()
}

#[test]
fn modules_import_what_the_architecture_lists() {
    assert_eq!(imports(), listed_imports());
}

/// No module imports another that imports it, by whatever way.
#[test]
fn no_imports_go_round() {
    let mut left = imports();
    while !left.is_empty() {
        let leaves: Vec<String> =
            left.iter().filter(|(_, imports)| imports.is_empty()).map(|(module, _)| module.clone()).collect();
        assert!(!leaves.is_empty(), "these import one another: {left:?}");
        for leaf in leaves {
            left.remove(&leaf);
            left.values_mut().for_each(|imports| {
                imports.remove(&leaf);
            });
        }
    }
}

/// The same of the files of each module: what they name by `super::`.
#[test]
fn no_imports_go_round_inside_of_a_module() {
    let mut looked_at = 0;
    let entries = CRATES.iter().flat_map(|root| fs::read_dir(at(root)).unwrap());
    for module in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let files: Vec<PathBuf> = fs::read_dir(&module).unwrap().map(|entry| entry.unwrap().path()).collect();
        let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
        let names: BTreeSet<String> = files.iter().map(|path| name(path)).collect();
        let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in files.iter().filter(|path| path.is_file() && name(path) != "mod") {
            let text = fs::read_to_string(file).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let code = code.join("\n");
            let mut imported = BTreeSet::new();
            for rest in code.split("super::").skip(1) {
                let list = match rest.strip_prefix('{') {
                    Some(list) => list.split("};").next().unwrap(),
                    None => rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap(),
                };
                let words = list.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                imported.extend(words.filter(|word| names.contains(*word)).map(str::to_owned));
            }
            imported.remove(&name(file));
            looked_at += imported.len();
            left.insert(name(file), imported);
        }
        while !left.is_empty() {
            let leaves: Vec<String> = left
                .iter()
                .filter(|(_, imported)| imported.iter().all(|name| !left.contains_key(name)))
                .map(|(name, _)| name.clone())
                .collect();
            assert!(!leaves.is_empty(), "{}: {left:?}", module.display());
            leaves.iter().for_each(|name| drop(left.remove(name)));
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}

/// Where a product is named outside its folder, and why.
const NAMES: [(&str, &str); 21] = [
    ("cli/add_node.rs", "an example in a help text"),
    ("cli/certs.rs", "the command is about kubeadm's certificates"),
    ("cli/init.rs", "examples in a help text"),
    ("cli/kubeconfig.rs", "the command is about kubectl's file"),
    ("cli/lab.rs", "the lab's options"),
    ("cli/mod.rs", "the command `kubeconfig`"),
    ("cli/roles.rs", "an example in a help text"),
    ("cli/snapshot.rs", "an example in a help text; the kinds of snapshot files"),
    ("cli/starter.rs", "what `init` offers to set up"),
    ("cli/templates.rs", "the starters' names"),
    ("engine/jobs.rs", "jobs are Nomad's: to become a capability of the product"),
    ("inventory/jobs/ready.rs", "the ready jobs' files"),
    ("inventory/shape.rs", "examples in messages"),
    ("kubeconfig.rs", "kubectl's file"),
    ("lib.rs", "the module of kubectl's file"),
    ("operations/snapshot.rs", "messages about the one gateway that sends a state in pieces"),
    ("preflight/duplicate_ids.rs", "the page that says why"),
    ("report/plan_text.rs", "jobs are Nomad's"),
    ("resource/values.rs", "an example in a message"),
    ("roles/check.rs", "jobs need a role of Nomad's"),
    ("roles/parse.rs", "examples in messages"),
];

#[test]
fn products_are_named_in_their_folders_alone() {
    const PRODUCTS: [&str; 4] = ["consul", "nomad", "etcd", "kube"];
    let names = |text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.map(str::to_lowercase).any(|line| PRODUCTS.iter().any(|product| line.contains(product)))
    };
    let found: BTreeSet<String> = code()
        .into_iter()
        .map(|(path, text)| (in_crate(&path).display().to_string(), text))
        .filter(|(path, text)| !path.starts_with("products/") && !path.starts_with("lab/") && names(text))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(found, NAMES.map(|(path, _)| path.to_owned()).into());
}

#[test]
fn imports_run_the_way_that_the_architecture_says() {
    // What is imported, and who alone may.
    const ALONE: [(&str, &[&str]); 5] = [
        ("crate::engine", &["engine", "operations"]),
        ("crate::cli", &["cli"]),
        ("crate::lab", &["cli", "lab"]),
        ("openssh::", &["ssh"]),
        ("anyhow::", &["cli"]),
    ];
    for (path, text) in code() {
        let first = module(&path);
        for (import, allowed) in ALONE {
            let named = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(import));
            assert!(!named || allowed.contains(&first.as_str()), "{} names {import}", path.display());
        }
    }
}

/// The names of all commands that have no commands below them, as they are typed.
fn typed(command: &Command, before: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    let names: Vec<String> =
        below.flat_map(|below| typed(below, &format!("{before} {}", below.get_name()))).collect();
    if names.is_empty() { vec![before.trim().to_owned()] } else { names }
}

#[test]
fn every_command_that_changes_hosts_goes_through_the_door() {
    // The others change none, or those of this machine's lab.
    const OTHERS: [&str; 26] = [
        "bundle create",
        "bundle use",
        "check",
        "completions",
        // What it does is the operator's own.
        "exec",
        "explain",
        "health",
        "init",
        "kubeconfig",
        "lab down",
        "lab heal",
        "lab kill",
        "lab launch",
        "lab mirror",
        "lab partition",
        "lab relay",
        "lab start",
        "lab status",
        "lab up",
        "man",
        "plan",
        "roles",
        "schema",
        "snapshot list",
        "snapshot save",
        "ui",
    ];
    let listed: BTreeSet<String> = COMMANDS.iter().chain(&OTHERS).map(|name| (*name).to_owned()).collect();
    assert_eq!(typed(&Cli::command(), "").into_iter().collect::<BTreeSet<_>>(), listed);
    // Whoever reaches the hosts otherwise only looks.
    const LOOKS: [&str; 10] =
        ["change", "check", "close", "credentials", "execute", "health", "look", "open_ui", "plan", "save"];
    let mut reaching: BTreeSet<String> = BTreeSet::new();
    for (path, text) in sources(&at("src/operations")) {
        let public = text.split("pub async fn ").skip(1);
        reaching.extend(public.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()));
        assert!(!text.contains("pub(crate) async fn"), "{}", path.display());
    }
    assert!(reaching.remove("snapshot_sources"));
    assert_eq!(reaching, LOOKS.map(str::to_owned).into());
}

#[test]
fn errors_point_to_the_page_and_the_page_is_in_the_program() {
    let bootstrap = |words: &[&str]| {
        let mut call = assert_cmd::Command::cargo_bin("bootstrap").unwrap();
        let output = call.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, stderr) = bootstrap(&["plan", "tests/cases/inventory/unknown-role.yaml"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.ends_with("\nmore: docs/errors.md#inventory (`bootstrap explain inventory`)\n"),
        "{stderr}"
    );

    // Nobody is asked: there is no such name.
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("inventory.yaml");
    fs::write(
        &inventory,
        indoc! {"
        cluster: c1
        hosts:
          a: { address: a.invalid, roles: [consul-client] }
          b: { address: b.invalid, roles: [consul-server] }
    "},
    )
    .unwrap();
    let inventory = inventory.to_str().unwrap();
    for command in ["plan", "check --connect"] {
        let words: Vec<&str> = command.split(' ').chain([inventory]).collect();
        let (code, _, stderr) = bootstrap(&words);
        assert_eq!(code, Some(3), "{stderr}");
        let pointers: Vec<&str> = stderr.lines().filter(|line| line.starts_with("more: ")).collect();
        assert_eq!(pointers, ["more: docs/errors.md#ssh (`bootstrap explain ssh`)"], "{command}: {stderr}");
    }

    let (code, stdout, _) = bootstrap(&["explain", "ssh", "clock"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with("ssh\n\nThe host was not reached") && stdout.contains("\nclock\n\n"),
        "{stdout}"
    );
    let (code, _, stderr) = bootstrap(&["explain", "clocks"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("a similar value exists: 'clock'"), "{stderr}");
}

/// What a pinned module of `tests/products` is built as.
fn pinned(product: &str, module: &str) -> String {
    let pins = page(format!("tests/products/{product}/go.mod"));
    let line = pins.lines().map(str::trim_start).find(|line| line.starts_with(&format!("{module} v")));
    let version =
        line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("{module} is not pinned"));
    version.trim_start_matches('v').to_owned()
}

/// What stands behind `/// MARK: ` above the tests on lab hosts, each with the text of its test and of the functions beside it that
/// it calls.
pub fn lab_lines(mark: &str) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(at("tests/lab")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mark = format!("/// {mark}: ");
    let mut found = Vec::new();
    for text in files.iter().map(|path| fs::read_to_string(path).unwrap()) {
        for (start, line) in text.match_indices(&mark) {
            let said = text[start + line.len()..].lines().next().unwrap().to_owned();
            let mut below = text[start..].lines().skip_while(|line| line.starts_with("///"));
            assert_eq!(below.next(), Some("#[test]"), "`{said}` stands above no test");
            let mut test: String = below.take_while(|line| *line != "}").collect();
            for helper in text.split("\nfn ").skip(1) {
                let name = helper.split(['(', '<']).next().unwrap();
                if !name.starts_with("lab_") && test.contains(&format!("{name}(")) {
                    test.push_str(helper.split("\n}\n").next().unwrap());
                }
            }
            found.push((said, test));
        }
    }
    found
}

/// Each product with its version and what the lab's tests run of it: lines `/// Runs: PRODUCT: WHAT` above a test.
fn table() -> String {
    let versions = [
        (
            "Consul",
            format!(
                "{}; the short ones on Debian's 1.8.7 too",
                pinned("consul", "github.com/hashicorp/consul")
            ),
        ),
        (
            "Nomad",
            "where one was put into the lab's mirror: no package registry has it, so CI runs none of this"
                .to_owned(),
        ),
        ("Kubernetes", pinned("kubernetes-1.34.4", "k8s.io/kubernetes")),
        ("etcd", pinned("etcd", "go.etcd.io/etcd/server/v3")),
        ("CoreDNS", pinned("coredns", "github.com/coredns/coredns")),
        ("metrics-server", pinned("metrics-server", "sigs.k8s.io/metrics-server")),
        ("crictl", pinned("crictl", "sigs.k8s.io/cri-tools")),
        ("Docker", "Debian's".to_owned()),
        ("containerd", "Debian's".to_owned()),
        ("docker-registry", "Debian's".to_owned()),
        ("Hosts' DNS", "Debian 11, 12 and 13".to_owned()),
        ("consul-template", pinned("consul-template", "github.com/hashicorp/consul-template")),
        ("nginx", "Debian's".to_owned()),
        ("haproxy", "Debian's".to_owned()),
        ("keepalived", "Debian's".to_owned()),
        (
            "fabio",
            "where one was put into the lab's mirror: no package registry has it, so CI runs none of this"
                .to_owned(),
        ),
        ("NFS", "Debian's kernel and nfs-ganesha".to_owned()),
        ("MariaDB", "Debian's".to_owned()),
    ];
    let runs = lab_lines("Runs");
    let runs: Vec<(&str, &str)> =
        runs.iter().map(|(what, _)| what.split_once(": ").expect("PRODUCT: WHAT")).collect();
    for (product, what) in &runs {
        assert!(versions.iter().any(|(known, _)| known == product), "{product} ({what}) has no version");
    }
    let mut table = "| product | version | what the tests run, for real |\n|---|---|---|\n".to_owned();
    for (product, version) in versions {
        let what: Vec<&str> = runs.iter().filter(|(of, _)| *of == product).map(|(_, what)| *what).collect();
        assert!(!what.is_empty(), "nothing runs {product}");
        table.push_str(&format!("| {product} | {version} | {} |\n", what.join("; ")));
    }
    table
}

#[test]
fn the_table_of_products_is_that_of_the_tests() {
    let readme = page("README.md");
    let start = readme.find("| product | version |").expect("the README has the table");
    let stands: String = readme[start..]
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    let wanted = table();
    assert_eq!(stands, wanted, "put this table into README.md:\n{wanted}");
}
