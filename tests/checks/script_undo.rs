//! What roles change, written down and put back: roles, plan and prelude together, each run from its observe
//! script to its last step. systemd itself is left out, as in `script_unit`.

use crate::shells;
use indoc::{formatdoc, indoc};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::script_release::{digest, program, zip};
use crate::shells::server::{Page, Server};
use crate::shells::{Host, account, holder, shells};
use bootstrap::facts::{ClockOffset, Facts};
use bootstrap::ledger;
use bootstrap::model::{Plan, Step};
use bootstrap::plan::{HostSeen, Seen};
use bootstrap::roles::{RoleSet, Wanted, load_inventory};
use bootstrap::script::{Nonce, Observation, Record, Script};

/// Each unit is a file with its state; orders change it and are written down.
const PRETENDED: &str = r#"
systemd_runs() { true; }
unit_state() { state=$nl$(cat "$units/$1" 2>/dev/null || printf 'LoadState=not-found\nActiveState=inactive')$nl; }
unit_order() {
  echo "$*" >>"$units/orders"
  for name in "$@"; do :; done
  case $* in
    *' enable '*) sed -i 's/UnitFileState=.*/UnitFileState=enabled/' "$units/$name" ;;
    *' disable '*) sed -i 's/UnitFileState=.*/UnitFileState=disabled/' "$units/$name" ;;
    *stop*) sed -i 's/ActiveState=.*/ActiveState=inactive/; s/SubState=.*/SubState=dead/' "$units/$name" ;;
    *restart*) sed -i 's/ActiveState=.*/ActiveState=active/; s/SubState=.*/SubState=running/' "$units/$name" ;;
  esac
}
"#;

/// A host and the roles that its inventory gives it.
pub(super) struct Site {
    pub(super) host: Host,
    pub(super) shell: &'static [&'static str],
    roles: tempfile::TempDir,
}

impl Site {
    pub(super) fn new(shell: &'static [&'static str]) -> Self {
        let site = Self { host: Host::new(), shell, roles: tempfile::tempdir().unwrap() };
        site.role("idle", "doc: Nothing.\n");
        site
    }

    /// Writes a role; in its text `@/` is the host's folder and `@owner` who may own files there.
    pub(super) fn role(&self, name: &str, text: &str) {
        let (user, group) = account();
        let owner = format!("owner: \"{user}\", group: \"{group}\"");
        let text = text.replace("@owner", &owner).replace("@/", &self.host.at(""));
        let folder = self.roles.path().join("roles").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("role.yaml"), text).unwrap();
    }

    pub(super) fn unit(&self, name: &str, enabled: &str, active: &str, sub: &str) {
        let state = format!(
            "LoadState=loaded\nActiveState={active}\nSubState={sub}\nUnitFileState={enabled}\nNeedDaemonReload=no\n\
             Type=notify\nJob=\nResult=success\nConditionResult=yes\n"
        );
        self.host.write(&format!("units/{name}"), state);
    }

    pub(super) fn unit_is(&self, name: &str) -> String {
        let state = String::from_utf8(self.host.read(&format!("units/{name}"))).unwrap();
        let value = |key: &str| state.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        format!("{} {}", value("UnitFileState="), value("ActiveState="))
    }

    pub(super) fn run(&self, script: &Script, start: &str) -> Vec<Record> {
        let pretended = format!("units='{}'\n{PRETENDED}\n{start}", self.host.at("units"));
        let text = self.host.text(script).replacen(start, &pretended, 1);
        let output = self.host.run_text(self.shell, &text);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let records = shells::records(script.nonce(), &output.stdout);
        assert_eq!(records.last(), Some(&Record::Finished), "{}", String::from_utf8_lossy(&output.stdout));
        records
    }

    pub(super) fn plan(&self, roles: &str) -> Plan {
        let inventory = self.roles.path().join("inventory.yaml");
        std::fs::write(
            &inventory,
            formatdoc!(
                "
                cluster: c
                hosts:
                  a: {{ address: 10.0.0.1, roles: [{roles}] }}
            "
            ),
        )
        .unwrap();
        let set = RoleSet::from_dir(&self.roles.path().join("roles")).unwrap();
        let (inventory, _) = load_inventory(&inventory, &set, None).unwrap();
        let wanted = Wanted::new(&inventory, &set, &BTreeMap::new()).unwrap();
        let resources = || wanted.hosts[0].roles.iter().flat_map(|role| &role.resources);
        let mut probes = vec![ledger::probe(resources())];
        probes.extend(resources().map(|resource| (resource.id(), resource.probe().unwrap())));
        let script = Script::observe(&Nonce::random(), &[], &probes, &[]);
        let observation = Observation::new(&self.run(&script, "main() {"));
        let facts = Facts::parse(&observation.of("facts")).unwrap();
        let clock = ClockOffset::between(0, 0, &facts);
        let host = HostSeen { facts, observation, marker: Some("m".to_owned()), clock };
        let hosts = BTreeMap::from([(inventory.hosts[0].name.clone(), host)]);
        let markers = BTreeMap::from([(inventory.hosts[0].name.clone(), "m".to_owned())]);
        let seen = Seen { hosts, markers, ..Seen::default() };
        Plan::new(&wanted, &seen, bootstrap::plan::BatchSize::default())
            .unwrap_or_else(|errors| panic!("{:?}: {errors:?}", self.shell))
    }

    /// Does what is planned: the ids and reasons of its steps.
    pub(super) fn up(&self, roles: &str) -> Vec<String> {
        let plan = self.plan(roles);
        let steps = steps(&plan);
        let records = self.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
        for record in &records {
            assert!(!matches!(record, Record::End { status: 1.., .. }), "{:?}: {record:?}", self.shell);
        }
        let folder = self.host.at("");
        steps
            .iter()
            .map(|step| format!("{} ({})", step.id, step.change.reason).replace(&folder, "@/"))
            .collect()
    }

    /// Only the first calls of the steps, as of a run that was killed then.
    fn up_but_killed(&self, roles: &str, calls: usize) {
        let mut steps = steps(&self.plan(roles));
        let mut left = calls;
        for step in &mut steps {
            step.change.calls.truncate(left);
            left -= step.change.calls.len();
        }
        self.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
    }

    pub(super) fn orders(&self) -> Vec<String> {
        let orders = std::fs::read_to_string(self.host.at("units/orders")).unwrap_or_default();
        self.host.write("units/orders", "");
        orders.lines().filter(|order| !order.starts_with("reset-failed")).map(str::to_owned).collect()
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::symlink_metadata(self.host.at(path)).unwrap().mode() & 0o7777
    }

    fn set_mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.host.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Every entry that the ledger still has.
    fn ledger(&self) -> Vec<String> {
        if Path::new(&self.host.at("state/undo")).exists() { self.host.names("state/undo") } else { vec![] }
    }
}

pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    plan.stages
        .iter()
        .flat_map(|stage| &stage.batches)
        .flat_map(|batch| batch.steps.values())
        .flatten()
        .cloned()
        .collect()
}

const DNS: &str = r#"
doc: A role that changes one thing of each kind.
variables:
  dns.text: { type: string, default: ours, doc: What the files say. }
resources:
  - directory: { path: "@/srv/a/b", mode: "0750", @owner }
  - directory: { path: "@/old", mode: "0700", @owner }
  - file: { path: "@/srv/a/b/new", content: "{{ dns.text }}\n", @owner }
  - file: { path: "@/etc/theirs", content: "{{ dns.text }}\n", mode: "0644", @owner }
  - file: { path: "@/etc/mode-only", content: "same", mode: "0640", @owner }
  - file: { path: "@/etc/key", content: "{{ dns.text }}", mode: "0600", secret: true, @owner }
  - file: { path: "@/etc/resolv.conf", content: "{{ dns.text }}\n", replace_symlink: true, @owner }
  - json-merge: { path: "@/etc/daemon.json", content: '{"dns": ["{{ dns.text }}"]}' }
  - block-in-file: { path: "@/etc/hosts", marker: m, content: "{{ dns.text }}" }
  - exec:
      name: note it
      command: [touch, "@/noted"]
      creates: "@/noted"
      undo: [sh, -c, "cat '@/etc/resolv.conf' >'@/undone' ; rm -f \"$1\"", sh, "@/noted"]
  - unit: { name: new.service, restart_on: ["@/srv/a/b/new"] }
  - unit:
      name: old.service
      restart_on: ["@/etc/daemon.json"]
      reload_on: ["@/etc/hosts"]
      reload_keys: [log, a b]
      load: { name: Docker, what: container, count: [sh, -c, "echo 3 # it's \"quoted\""] }
"#;

const DAEMON: &str = "{\"log\":   1,\n \"dns\": []}";

/// A host on which each of those things is there in another way.
fn lived_in(shell: &'static [&'static str]) -> Site {
    let site = Site::new(shell);
    site.role("dns", DNS);
    let host = &site.host;
    host.write("etc/theirs", b"theirs\xff\x00 no line end");
    host.write("etc/mode-only", "same");
    host.write("etc/key", "hunter2");
    host.write("etc/daemon.json", DAEMON);
    host.write("etc/hosts", "127.0.0.1 localhost\n");
    host.write("run/stub", "nameserver 127.0.0.53\n");
    symlink("../run/stub", host.at("etc/resolv.conf")).unwrap();
    std::fs::create_dir(host.at("old")).unwrap();
    for (path, mode) in [("old", 0o755), ("etc/theirs", 0o4711), ("etc/mode-only", 0o604), ("etc/key", 0o640)]
    {
        site.set_mode(path, mode);
    }
    site.unit("new.service", "disabled", "inactive", "dead");
    site.unit("old.service", "enabled", "active", "running");
    site
}

/// Everything is as `lived_in` made it.
#[track_caller]
fn assert_as_before(site: &Site) {
    let (host, shell) = (&site.host, site.shell);
    assert_eq!(host.read("etc/theirs"), b"theirs\xff\x00 no line end", "{shell:?}");
    assert_eq!(host.read("etc/mode-only"), b"same", "{shell:?}");
    assert_eq!(host.read("etc/key"), b"hunter2", "{shell:?}");
    assert_eq!(host.read("etc/daemon.json"), DAEMON.as_bytes(), "{shell:?}");
    assert_eq!(host.read("etc/hosts"), b"127.0.0.1 localhost\n", "{shell:?}");
    assert_eq!(std::fs::read_link(host.at("etc/resolv.conf")).unwrap(), Path::new("../run/stub"));
    assert_eq!(host.read("run/stub"), b"nameserver 127.0.0.53\n", "{shell:?}");
    for (path, mode) in [("old", 0o755), ("etc/theirs", 0o4711), ("etc/mode-only", 0o604), ("etc/key", 0o640)]
    {
        assert_eq!(site.mode(path), mode, "{shell:?} {path}");
    }
    assert!(!Path::new(&host.at("srv")).exists(), "{shell:?}: folders above were made too");
    assert!(!Path::new(&host.at("noted")).exists(), "{shell:?}");
    assert_eq!(host.names("etc"), ["daemon.json", "hosts", "key", "mode-only", "resolv.conf", "theirs"]);
    assert_eq!(site.unit_is("new.service"), "disabled inactive", "{shell:?}");
    assert_eq!(site.unit_is("old.service"), "enabled active", "{shell:?}");
    assert_eq!(site.ledger(), [""; 0], "{shell:?}");
}

#[test]
fn a_removed_role_leaves_the_host_as_it_was() {
    for shell in shells() {
        let site = lived_in(shell);
        site.up("dns");
        assert_eq!(site.up("dns"), [""; 0], "{shell:?}: nothing to do");
        assert_eq!(site.host.read("etc/resolv.conf"), b"ours\n");
        assert_eq!(site.unit_is("new.service"), "enabled active");
        // Changed again: what counts is what was there first.
        site.role("dns", &DNS.replace("default: ours", "default: other"));
        site.up("dns");
        assert_eq!(site.host.read("etc/theirs"), b"other\n");
        site.orders();

        let plan = site.plan("idle");
        assert_eq!(plan.stages[0].name.0, "remove dns");
        let diff = |id: &str| {
            let step = steps(&plan).into_iter().find(|step| step.id.0.ends_with(id)).unwrap();
            step.change.diff.map(|diff| diff.lines().skip(2).collect::<Vec<_>>().join("\n"))
        };
        assert_eq!(diff("etc/hosts").unwrap().lines().last(), Some("-# <<< bootstrap: m"));
        assert_eq!(diff("a/b/new").as_deref(), Some("@@ -1 +0,0 @@\n-other"));
        assert_eq!(diff("etc/key"), None, "a secret");
        assert_eq!(
            site.up("idle"),
            [
                "restore file @/etc/daemon.json (as before role dns)",
                "restore file @/etc/hosts (as before role dns)",
                "restore file @/etc/key (as before role dns)",
                "restore file @/etc/mode-only (as before role dns)",
                "restore file @/etc/resolv.conf (a symbolic link to ../run/stub, as before role dns)",
                "restore file @/etc/theirs (as before role dns)",
                "remove file @/srv/a/b/new (role dns made it)",
                "restore unit new.service (enabled, running; before role dns it was neither enabled nor running)",
                "undo exec note it (role dns ran it)",
                "restore unit old.service (restart: @/etc/daemon.json changes, restarts Docker: 3 containers stop; before role dns it was enabled and running)",
                "remove directory @/srv/a/b (role dns made it; it stays if anything is in it)",
                "restore directory @/old (mode 0755 and owner as before role dns)",
            ]
            .map(|line| line.to_owned()),
            "{shell:?}"
        );
        assert_eq!(
            site.orders(),
            ["-q disable -- new.service", "stop -- new.service", "--no-block restart -- old.service"],
            "{shell:?}"
        );
        assert_eq!(site.host.read("undone"), b"nameserver 127.0.0.53\n", "{shell:?}: files are back before");
        assert_as_before(&site);
        assert_eq!(site.up("idle"), [""; 0], "{shell:?}: nothing to do");
    }
}

#[test]
fn killed_anywhere_the_next_runs_are_still_right() {
    for (index, shell) in shells().enumerate() {
        // Each shell at other places: together they are nearly all.
        for calls in (index * 3..60).step_by(9) {
            let site = lived_in(shell);
            site.up_but_killed("dns", calls);
            if calls % 2 == 0 {
                site.up("dns");
                assert_eq!(site.up("dns"), [""; 0], "{shell:?}: nothing to do");
            }
            // Twice: what is killed is the removal now.
            site.up_but_killed("idle", calls / 2);
            site.up("idle");
            assert_as_before(&site);
            assert_eq!(site.up("idle"), [""; 0], "{shell:?}: nothing to do");
        }
    }
}

/// A run that ends in the middle of a step's function, where the text of the prelude has `at`.
fn up_but_cut(site: &Site, roles: &str, at: &str) {
    let steps = steps(&site.plan(roles));
    let script = Script::apply(&Nonce::random(), &holder(), &steps);
    let text = site.host.text(&script);
    assert!(text.contains(at), "{at} is not in the script");
    let text = text.replace(at, "exit 9").replacen(
        "run_steps() {",
        &format!("units='{}'\n{PRETENDED}\nrun_steps() {{", site.host.at("units")),
        1,
    );
    site.host.run_text(site.shell, &text);
}

#[test]
fn cut_in_the_middle_of_a_change_the_next_runs_are_still_right() {
    const ONE: &str = indoc! {r#"
        doc: One file.
        resources:
          - file: { path: "@/etc/f", content: TEXT, @owner }
    "#};
    for shell in shells() {
        let site = Site::new(shell);
        site.role("one", &ONE.replace("TEXT", "first"));
        site.host.write("etc/f", "theirs");
        site.set_mode("etc/f", 0o600);
        // Written down in part, then whole, but not yet changed.
        for at in [r#""$record" now "$@""#, r#"into_place "$staged" "$path""#] {
            up_but_cut(&site, "one", at);
            assert_eq!(site.host.read("etc/f"), b"theirs", "{shell:?} {at}");
        }
        assert_eq!(site.up("idle").len(), 1, "{shell:?}: forgotten");
        assert_eq!((site.host.read("etc/f"), site.ledger()), (b"theirs".to_vec(), vec![]), "{shell:?}");

        // Somebody else's change between two tries is what was there before.
        up_but_cut(&site, "one", r#"into_place "$staged" "$path""#);
        site.up("idle");
        site.host.write("etc/f", "theirs too");
        site.up("one");
        // A second text of ours: written down, but the file has the first.
        site.role("one", &ONE.replace("TEXT", "second"));
        up_but_cut(&site, "one", r#"into_place "$staged" "$path""#);
        assert_eq!(site.host.read("etc/f"), b"first", "{shell:?}");
        // Put back, but not forgotten.
        up_but_cut(&site, "idle", r#"undo_forget "$1""#);
        assert_eq!((site.host.read("etc/f"), site.mode("etc/f")), (b"theirs too".to_vec(), 0o600));
        assert_eq!(site.up("idle"), ["restore file @/etc/f (it is as before role one)"], "{shell:?}");
        assert_eq!((site.host.read("etc/f"), site.ledger()), (b"theirs too".to_vec(), vec![]), "{shell:?}");
    }
}

#[test]
fn what_was_written_down_in_part_goes_with_the_next_thing_that_is_forgotten() {
    let one = |file: &str| {
        formatdoc! {r#"
            doc: One file.
            resources:
              - file: {{ path: "@/etc/{file}", content: text, @owner }}
        "#}
    };
    for shell in shells() {
        let site = Site::new(shell);
        site.role("one", &one("f"));
        site.role("two", &one("g"));
        site.host.write("etc/f", "theirs");
        up_but_cut(&site, "one", r#""$record" now "$@""#);
        site.up("two");
        assert_eq!(site.ledger().len(), 2, "{shell:?}");
        site.up("idle");
        assert_eq!(site.ledger(), [] as [&str; 0], "{shell:?}");
        assert_eq!(site.host.read("etc/f"), b"theirs", "{shell:?}");
    }
}

#[test]
fn what_a_power_cut_has_left_empty_counts_as_never_written() {
    const ONE: &str = indoc! {r#"
        doc: x
        resources:
          - file: { path: "@/d/f", content: TEXT, @owner }
    "#};
    for shell in shells() {
        for part in ["what", "now", "ask"] {
            let site = Site::new(shell);
            site.role("one", &ONE.replace("TEXT", "first"));
            site.host.write("d/x", "");
            site.up("one");
            let entry = format!("state/undo/{}", site.ledger()[0]);
            site.host.write(&format!("{entry}/{part}"), "");
            site.role("one", &ONE.replace("TEXT", "second"));
            site.up("one");
            site.host.write(&format!("{entry}/{part}"), "");
            assert_eq!(site.up("idle"), [""; 0], "{shell:?}, {part}");
            assert_eq!(site.host.read("d/f"), b"second", "{shell:?}, {part}");
        }
    }
}

#[test]
fn a_file_that_somebody_changed_is_left_and_its_original_kept() {
    for shell in shells() {
        let site = lived_in(shell);
        site.up("dns");
        let modes = |path: &str| {
            let folder = Path::new(&site.host.at(path)).to_owned();
            let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            let modes = files.map(|path| std::fs::metadata(path).unwrap().mode() & 0o777);
            (
                std::fs::metadata(folder).unwrap().mode() & 0o777,
                modes.collect::<std::collections::BTreeSet<_>>(),
            )
        };
        assert_eq!(modes("state/undo"), (0o700, [0o700].into()), "{shell:?}");
        for entry in site.ledger() {
            assert_eq!(modes(&format!("state/undo/{entry}")), (0o700, [0o600].into()), "{shell:?} {entry}");
        }

        site.host.write("etc/theirs", "mine now");
        site.host.write("etc/key", "mine too");
        site.host.write("srv/a/b/new", "and this");
        let hosts = String::from_utf8(site.host.read("etc/hosts")).unwrap();
        site.host.write("etc/hosts", hosts + "10.0.0.7 mine\n");
        site.set_mode("etc/hosts", 0o664);
        std::fs::remove_file(site.host.at("etc/resolv.conf")).unwrap();
        std::fs::remove_dir_all(site.host.at("old")).unwrap();
        site.host.write("old", "a file by now");
        let plan = site.plan("idle");
        let left: Vec<_> = plan.warnings().map(|(_, step)| step.change.reason.clone()).collect();
        assert_eq!(left.len(), 5, "{left:?}");
        assert!(left.iter().any(|reason| reason.contains("restarts Docker: 3 containers stop")), "{left:?}");
        let copy = |path: &str| {
            let reason = left.iter().find(|reason| reason.contains(path)).unwrap();
            let copy = reason.split("/var/lib/bootstrap/").nth(1).unwrap().split(' ').next().unwrap();
            format!("state/{copy}")
        };
        let (theirs, key) = (copy("left/theirs-"), copy("left/key-"));
        let done = site.up("idle").join("\n");
        for line in [
            "leave file @/etc/resolv.conf (changed since role dns wrote it; before it was a symbolic link to ../run/stub)",
            "leave file @/srv/a/b/new (changed since role dns made it)",
            "restore file @/etc/hosts (the block of role dns is taken out; the rest was changed since, and stays)",
        ] {
            assert!(done.contains(line), "{shell:?}: {done}");
        }
        assert!(done.contains("(mode 4711, owner 0, group 0)") || account().0 != "0", "{shell:?}: {done}");
        assert_eq!(site.host.read("etc/hosts"), b"127.0.0.1 localhost\n10.0.0.7 mine\n", "{shell:?}");
        assert_eq!(site.mode("etc/hosts"), 0o664, "{shell:?}");
        assert_eq!(site.host.read("etc/theirs"), b"mine now", "{shell:?}");
        assert_eq!(site.host.read("etc/key"), b"mine too", "{shell:?}");
        assert_eq!(
            site.host.read("srv/a/b/new"),
            b"and this",
            "{shell:?}: a folder with something in it stays"
        );
        assert_eq!(site.host.read(&theirs), b"theirs\xff\x00 no line end", "{shell:?}");
        assert_eq!(site.host.read(&key), b"hunter2", "{shell:?}");
        assert_eq!(modes("state/left"), (0o700, [0o600].into()), "{shell:?}");
        assert_eq!(site.up("idle"), [""; 0], "{shell:?}: nothing to do");
        assert_eq!(site.ledger(), [""; 0], "{shell:?}");
    }
}

#[test]
fn what_another_role_wants_too_stays_and_what_no_role_wants_goes() {
    const ONE: &str = indoc! {r#"
        doc: x
        resources:
          - directory: { path: "@/d", @owner }
          - block-in-file: { path: "@/etc/hosts", marker: one, content: one }
          - unit: { name: a.service }
    "#};
    const TWO: &str = indoc! {r#"
        doc: x
        resources:
          - directory: { path: "@/d/e", @owner }
          - block-in-file: { path: "@/etc/hosts", marker: two, content: two }
          - unit: { name: a.service }
    "#};
    const MANY: &str = indoc! {r#"
        doc: x
        variables:
          many.names: { type: list, default: [NAMES], doc: x }
        resources:
          - file: { path: "@/etc/{{ item }}", content: "{{ item }}", @owner }
            for_each: many.names
    "#};
    for shell in shells() {
        let site = Site::new(shell);
        site.role("one", ONE);
        site.role("two", TWO);
        site.host.write("etc/hosts", "localhost\n");
        site.unit("a.service", "disabled", "inactive", "dead");
        site.up("one");
        site.up("one, two");
        assert_eq!(site.up("one, two"), [""; 0], "{shell:?}");
        assert_eq!(site.up("two"), [""; 0], "{shell:?}: nothing that only one of them has");
        assert!(Path::new(&site.host.at("d/e")).exists(), "{shell:?}");
        assert_eq!(site.unit_is("a.service"), "enabled active", "{shell:?}");
        assert_eq!(site.plan("idle").stages[0].name.0, "remove one, two");
        site.up("idle");
        assert_eq!(site.host.read("etc/hosts"), b"localhost\n", "{shell:?}: as before the first of them");
        assert_eq!(site.unit_is("a.service"), "disabled inactive", "{shell:?}");
        assert!(!Path::new(&site.host.at("d")).exists(), "{shell:?}");

        // The role is still there, but not all that it wanted.
        site.host.write("etc/b", "theirs");
        site.role("many", &MANY.replace("NAMES", "a, b"));
        site.up("many");
        site.role("many", &MANY.replace("NAMES", "c"));
        let plan = site.plan("many");
        assert_eq!(plan.stages[0].name.0, "remove leftovers of many");
        site.up("many");
        assert_eq!(site.host.names("etc"), ["b", "c", "hosts"], "{shell:?}");
        assert_eq!(site.host.read("etc/b"), b"theirs", "{shell:?}");
        assert_eq!(site.up("many"), [""; 0], "{shell:?}");

        // A voter gives it up when it is its turn.
        site.role("many", &MANY.replace("NAMES", "d").replacen("doc: x", "doc: x\nquorum: true", 1));
        let names: Vec<_> = site.plan("many").stages.iter().map(|stage| stage.name.0.clone()).collect();
        assert_eq!(names, ["prepare", "many"], "{shell:?}");
        site.up("many");
        assert_eq!(site.host.names("etc"), ["b", "d", "hosts"], "{shell:?}");
    }
}

#[test]
fn versions_of_a_release_go_with_their_link() {
    const TOOL: &str = indoc! {r#"
        doc: x
        resources:
          - download:
              release:
                product: tool
                version: VERSION
                source: { mirror: "URL" }
                install_dir: "@/opt/programs"
                bin_dir: "@/bin"
    "#};
    let site_of_tool = Server::start();
    for version in ["1.2.3", "1.2.4"] {
        let archive = zip("tool", &program(version));
        let name = format!("tool_{version}_linux_amd64.zip");
        let sums = format!("{}  {name}\n", digest(&archive));
        site_of_tool.serve(&format!("/tool/{version}/{name}"), Page::new(archive));
        site_of_tool.serve(&format!("/tool/{version}/tool_{version}_SHA256SUMS"), Page::new(sums));
    }
    for shell in shells() {
        let site = Site::new(shell);
        let tool = TOOL.replace("URL", &site_of_tool.url);
        site.host.write("bin/tool", "theirs");
        for version in ["1.2.3", "1.2.4"] {
            site.role("tool", &tool.replace("VERSION", version));
            assert_eq!(site.up("tool").len(), 1, "{shell:?}: the one before stays, to go back to");
            let link = std::fs::read_link(site.host.at("bin/tool")).unwrap();
            assert_eq!(link, Path::new(&site.host.at(&format!("opt/programs/tool/{version}/tool"))));
        }
        let made = "(role tool unpacked it)";
        assert_eq!(
            site.up("idle"),
            [
                "restore file @/bin/tool (as before role tool)".to_owned(),
                format!("remove release @/opt/programs/tool/1.2.4 {made}"),
                format!("remove release @/opt/programs/tool/1.2.3 {made}"),
            ],
            "{shell:?}"
        );
        assert_eq!(site.host.read("bin/tool"), b"theirs", "{shell:?}");
        assert!(!Path::new(&site.host.at("opt")).exists(), "{shell:?}: folders above were made too");
        assert_eq!((site.up("idle"), site.ledger()), (vec![], vec![]), "{shell:?}");
    }
}

#[test]
fn what_cannot_be_looked_at_any_more_is_left() {
    for shell in shells() {
        let site = Site::new(shell);
        site.role(
            "one",
            indoc! {r#"
                doc: x
                resources:
                  - file: { path: "@/d/f", content: x, @owner }
            "#},
        );
        site.host.write("d/f", "theirs");
        site.up("one");
        std::fs::remove_dir_all(site.host.at("d")).unwrap();
        site.host.write("d", "a file by now");
        let done = site.up("idle").join("\n");
        assert!(done.starts_with("leave file @/d/f (cannot look below @/d: "), "{shell:?}: {done}");
        assert!(done.contains("is kept in /var/lib/bootstrap/left/f-"), "{shell:?}: {done}");
        assert_eq!((site.up("idle"), site.ledger()), (vec![], vec![]), "{shell:?}");
    }
}
