//! What removable roles change, written down and put back: roles, plan and prelude together, each run from its observe
//! script to its last step. systemd itself is left out, as in `script_unit`.

mod shells;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use bootstrap::facts::{ClockOffset, Facts};
use bootstrap::ledger;
use bootstrap::plan::{HostSeen, Plan, Seen, Step};
use bootstrap::roles::{RoleSet, Wanted, load_inventory};
use bootstrap::script::{Nonce, Observation, Record, Script};
use shells::{Host, account, holder, shells};

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
struct Site {
    host: Host,
    shell: &'static [&'static str],
    roles: tempfile::TempDir,
}

impl Site {
    fn new(shell: &'static [&'static str]) -> Self {
        let site = Self { host: Host::new(), shell, roles: tempfile::tempdir().unwrap() };
        site.role("idle", "doc: Nothing.\n");
        site
    }

    /// Writes a role; in its text `@/` is the host's folder and `@owner` who may own files there.
    fn role(&self, name: &str, text: &str) {
        let (user, group) = account();
        let owner = format!("owner: \"{user}\", group: \"{group}\"");
        let text = text.replace("@owner", &owner).replace("@/", &self.host.at(""));
        let folder = self.roles.path().join("roles").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("role.yaml"), text).unwrap();
    }

    fn unit(&self, name: &str, enabled: &str, active: &str, sub: &str) {
        let state = format!(
            "LoadState=loaded\nActiveState={active}\nSubState={sub}\nUnitFileState={enabled}\nNeedDaemonReload=no\n\
             Type=notify\nJob=\nResult=success\nConditionResult=yes\n"
        );
        self.host.write(&format!("units/{name}"), state);
    }

    fn unit_is(&self, name: &str) -> String {
        let state = String::from_utf8(self.host.read(&format!("units/{name}"))).unwrap();
        let value = |key: &str| state.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        format!("{} {}", value("UnitFileState="), value("ActiveState="))
    }

    fn run(&self, script: &Script, start: &str) -> Vec<Record> {
        let pretended = format!("units='{}'\n{PRETENDED}\n{start}", self.host.at("units"));
        let text = self.host.text(script).replacen(start, &pretended, 1);
        let output = self.host.run_text(self.shell, &text);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let records = shells::records(script.nonce(), &output.stdout);
        assert_eq!(records.last(), Some(&Record::Finished), "{}", String::from_utf8_lossy(&output.stdout));
        records
    }

    fn plan(&self, roles: &str) -> Plan {
        let inventory = self.roles.path().join("inventory.yaml");
        std::fs::write(
            &inventory,
            format!("cluster: c\nhosts:\n  a: {{ address: 10.0.0.1, roles: [{roles}] }}\n"),
        )
        .unwrap();
        let set = RoleSet::from_dir(&self.roles.path().join("roles")).unwrap();
        let (inventory, _) = load_inventory(&inventory, &set, None).unwrap();
        let wanted = Wanted::new(&inventory, &set, &BTreeMap::new()).unwrap();
        let resources = || wanted.hosts[0].roles.iter().flat_map(|role| &role.resources);
        let mut probes = vec![ledger::probe(resources())];
        probes.extend(resources().map(|resource| (resource.id(), resource.probe().unwrap())));
        let script = Script::observe(&Nonce::random(), &probes);
        let observation = Observation::new(&self.run(&script, "main() {"));
        let facts = Facts::parse(&observation.of("facts")).unwrap();
        let clock = ClockOffset::between(0, 0, &facts);
        let host = HostSeen { facts, observation, marker: Some("m".to_owned()), clock };
        let hosts = BTreeMap::from([(inventory.hosts[0].name.clone(), host)]);
        let seen = Seen { hosts, marker: "m".to_owned(), ..Seen::default() };
        Plan::new(&wanted, &seen).unwrap_or_else(|errors| panic!("{:?}: {errors:?}", self.shell))
    }

    /// Does what is planned: the ids and reasons of its steps.
    fn up(&self, roles: &str) -> Vec<String> {
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

    fn orders(&self) -> Vec<String> {
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

fn steps(plan: &Plan) -> Vec<Step> {
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
removable: true
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
      undo: [sh, -c, "cat '@/etc/resolv.conf' >'@/undone' && rm -f \"$1\"", sh, "@/noted"]
  - unit: { name: new.service, restart_on: ["@/srv/a/b/new"] }
  - unit: { name: old.service, restart_on: ["@/etc/daemon.json"], reload_on: ["@/etc/hosts"] }
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
                "restore unit old.service (restart: @/etc/daemon.json changes; before role dns it was enabled and running)",
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
