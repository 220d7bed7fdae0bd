//! When a unit is started, restarted or reloaded. systemd itself is left out: the two functions that speak with it are
//! replaced by ones that read a unit's state from a file and write orders down.

use crate::shells;
use std::os::unix::fs::symlink;

use crate::shells::{Host, call, holder, shells, step};
use bootstrap::model::Call;
use bootstrap::script::{Nonce, Observation, Record, Script};

/// A restart makes the unit what the test says in `after`.
const PRETENDED: &str = r#"
systemd_runs() { true; }
sleep() { [ -e "$pretended/stopping" ] || command sleep "$@"; }
unit_state() {
  state=$nl$(cat "$pretended/state")$nl
  [ -s "$pretended/stopping" ] || return 0
  read -r left <"$pretended/stopping"
  if [ "$left" -gt 0 ]; then
    state=$(echo "$state" | sed 's/^ActiveState=.*/ActiveState=deactivating/')$nl
    echo "$((left - 1))" >"$pretended/stopping"
  fi
}
unit_order() {
  echo "$*" >>"$pretended/orders"
  case $* in *restart*) cat "$pretended/after" >"$pretended/state" ;; esac
  [ ! -e "$pretended/refuses-$1" ]
}
"#;

const ACTIVE: &str = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\
                      NeedDaemonReload=no\nType=notify\nJob=\nResult=success\nConditionResult=yes\n";

/// A host with one unit that watches `conf` and `bin/tool` for a restart and `rules` for a reload.
struct UnitHost {
    host: Host,
    shell: &'static [&'static str],
}

impl UnitHost {
    fn new(shell: &'static [&'static str], state: &str) -> Self {
        let unit = Self { host: Host::new(), shell };
        unit.state(state);
        unit.after(ACTIVE);
        unit.host.write("conf", "1");
        unit.host.write("rules", "1");
        unit.host.write("opt/1/tool", "");
        std::fs::create_dir(unit.host.at("bin")).unwrap();
        symlink(unit.host.at("opt/1/tool"), unit.host.at("bin/tool")).unwrap();
        unit
    }

    fn state(&self, state: &str) {
        self.host.write("state-of-unit/state", state);
    }

    fn after(&self, state: &str) {
        self.host.write("state-of-unit/after", state);
    }

    fn run(&self, script: &Script, start: &str) -> Vec<Record> {
        let pretended = format!("pretended='{}'\n{PRETENDED}\n{start}", self.host.at("state-of-unit"));
        let text = self.host.text(script).replacen(start, &pretended, 1);
        let output = self.host.run_text(self.shell, &text);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        shells::records(script.nonce(), &output.stdout)
    }

    fn watched(&self, start: &[&str]) -> Call {
        let paths = [self.host.at("conf"), self.host.at("bin/tool"), self.host.at("rules")];
        let args: Vec<_> =
            start.iter().copied().chain(["2"]).chain(paths.iter().map(String::as_str)).collect();
        call(if start.len() == 1 { "unit_probe" } else { "unit_converge" }, &args)
    }

    /// Converges the unit: the step's status and output, and the orders that were given.
    fn converge(&self) -> (i32, String, Vec<String>) {
        let steps = [step("unit a.service", vec![self.watched(&["a.service", "true", "started"])])];
        let records = self.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
        let Some(Record::End { status, output, .. }) = records.get(1) else { panic!("{records:?}") };
        let orders = std::fs::read_to_string(self.host.at("state-of-unit/orders")).unwrap_or_default();
        self.host.write("state-of-unit/orders", "");
        let orders =
            orders.lines().filter(|order| !order.starts_with("reset-failed")).map(str::to_owned).collect();
        (*status, output.clone(), orders)
    }

    /// Whether the probe sees another fingerprint than the saved one: for restart, for reload.
    fn differs(&self) -> (bool, bool) {
        let script =
            Script::ask(&Nonce::random(), &[(step("probe", vec![]).id, self.watched(&["a.service"]))]);
        let seen = Observation::new(&self.run(&script, "main() {"));
        let seen = seen.of("probe");
        assert_eq!(seen.text("ActiveState"), Some("active"), "{seen:?}");
        (
            seen.text("restart-saved") != seen.text("restart-mark"),
            seen.text("reload-saved") != seen.text("reload-mark"),
        )
    }
}

const ENABLE: &str = "-q enable -- a.service";
const RESTART: &str = "--no-block restart -- a.service";
const RELOAD: &str = "--no-block reload-or-restart -- a.service";

#[test]
fn a_unit_restarts_when_what_it_watches_is_not_what_it_started_with() {
    for shell in shells() {
        let unit =
            UnitHost::new(shell, &ACTIVE.replace("=active", "=inactive").replace("=enabled", "=disabled"));
        assert_eq!(
            unit.converge(),
            (0, String::new(), vec![ENABLE.into(), RESTART.into()]),
            "{shell:?}: first start"
        );
        assert_eq!(unit.differs(), (false, false), "{shell:?}");
        assert_eq!(unit.converge().2, [] as [&str; 0], "{shell:?}: nothing changed");

        unit.host.write("conf", "2");
        assert_eq!(unit.differs(), (true, false), "{shell:?}");
        assert_eq!(unit.converge().2, [RESTART], "{shell:?}: a file changed");
        assert_eq!(unit.differs(), (false, false), "{shell:?}");

        unit.host.write("rules", "2");
        assert_eq!(unit.differs(), (false, true), "{shell:?}");
        assert_eq!(unit.converge().2, [RELOAD], "{shell:?}: a rule changed");
        assert_eq!(unit.differs(), (false, false), "{shell:?}");

        unit.host.write("opt/2/tool", "");
        std::fs::remove_file(unit.host.at("bin/tool")).unwrap();
        symlink(unit.host.at("opt/2/tool"), unit.host.at("bin/tool")).unwrap();
        assert_eq!(unit.differs(), (true, false), "{shell:?}");
        assert_eq!(unit.converge().2, [RESTART], "{shell:?}: a link moved");
    }
}

#[test]
fn a_running_unit_that_was_never_started_here_restarts() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        assert_eq!(unit.differs(), (true, true), "{shell:?}");
        assert_eq!(unit.converge().2, [RESTART], "{shell:?}");
    }
}

#[test]
fn a_unit_that_fails_is_reported_and_started_by_the_next_run() {
    for shell in shells() {
        for broken in [
            ACTIVE.replace("=active", "=failed").replace("=running", "=failed"),
            ACTIVE.replace("=active", "=activating").replace("=running", "=auto-restart"),
        ] {
            let unit = UnitHost::new(shell, ACTIVE);
            unit.after(&broken);
            let (status, output, orders) = unit.converge();
            assert_eq!((status, orders), (1, vec![RESTART.into()]), "{shell:?}: {output}");
            assert!(output.starts_with("a.service does not run: "), "{shell:?}: {output}");
            // Between two attempts of a unit that starts over and over it may look well.
            unit.state(ACTIVE);
            unit.after(ACTIVE);
            assert_eq!(unit.differs(), (true, true), "{shell:?}");
            assert_eq!(unit.converge().2, [RESTART], "{shell:?}: once more");
        }
    }
}

#[test]
fn an_agent_that_waits_for_its_peers_is_left_to_the_gate() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        unit.after(
            &ACTIVE.replace("=active", "=activating").replace("=running", "=start").replace("Job=", "Job=77"),
        );
        let (status, output, _) = unit.converge();
        assert_eq!((status, output.as_str()), (0, ""), "{shell:?}");
    }
}

#[test]
fn a_job_that_is_still_queued_is_not_taken_for_the_old_process() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        // For the whole watch the unit shows its old process; had that been believed, it would have ended at once.
        unit.after(&ACTIVE.replace("Job=", "Job=77"));
        let began = std::time::Instant::now();
        assert_eq!(unit.converge().0, 0, "{shell:?}");
        assert!(began.elapsed() >= std::time::Duration::from_secs(3), "{shell:?}: {:?}", began.elapsed());
    }
}

#[test]
fn an_old_process_that_is_slow_to_stop_is_waited_for() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        unit.host.write("state-of-unit/stopping", "80\n");
        let (status, output, orders) = unit.converge();
        assert_eq!(status, 0, "{shell:?}: {output}");
        assert_eq!(orders, ["--no-block restart -- a.service"], "{shell:?}");
        let left = std::fs::read_to_string(unit.host.at("state-of-unit/stopping")).unwrap();
        assert_eq!(left, "0\n", "{shell:?}: the step ended while the old process was running");

        unit.host.write("state-of-unit/stopping", "5000\n");
        unit.host.write("conf", "2");
        let (status, output, _) = unit.converge();
        assert_eq!(status, 1, "{shell:?}");
        assert!(output.contains("a.service does not run: deactivating"), "{shell:?}: {output}");
    }
}

/// The same unit, watching one JSON file of which some keys need no restart.
fn of_json(unit: &UnitHost, function: &'static str, start: &[&str]) -> Call {
    let path = unit.host.at("conf.json");
    let keyed = format!("json:debug,a b:{path}");
    let args: Vec<&str> = start.iter().copied().chain(["a.service"]).collect();
    let more: &[&str] = if function == "unit_converge" { &["true", "started"] } else { &[] };
    let args: Vec<&str> = args.into_iter().chain(more.iter().copied()).chain(["1", &keyed, &path]).collect();
    call(function, &args)
}

#[test]
fn keys_of_a_json_file_that_need_no_restart_are_told_apart() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        let converge = |text: &str| {
            unit.host.write("conf.json", text);
            let steps = [step("unit a.service", vec![of_json(&unit, "unit_converge", &[])])];
            unit.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
            let orders = std::fs::read_to_string(unit.host.at("state-of-unit/orders")).unwrap_or_default();
            unit.host.write("state-of-unit/orders", "");
            orders.lines().filter(|order| !order.starts_with("reset-failed")).collect::<Vec<_>>().join("\n")
        };
        for (text, order) in [
            (r#"{"dns": ["1", "2"], "o": {"debug": 1}, "s": "a \\\" , \"debug\": 2}"}"#, RESTART),
            ("", RESTART),
            (r#"{"dns": ["1"]}"#, RESTART),
            (r#"{"dns": ["1"], "debug": true}"#, RELOAD),
            (r#"{"debug": [{"x": [1]}, "}"], "dns": ["1"], "a b": {}}"#, RELOAD),
            (r#"{"dns": ["1"], "debugs": 1}"#, RESTART),
            (r#"{"dns": ["1 "], "debugs": 1}"#, RESTART),
        ] {
            assert_eq!(converge(text), order, "{shell:?}: {text}");
        }
        assert_eq!(converge("{\"debugs\": 1,\n\t\"dns\": [ \"1 \" ]}"), RESTART, "{shell:?}: another order");
        assert_eq!(converge("{\r\n\"debugs\":1, \"dns\":[\"1 \"] }\n"), RELOAD, "{shell:?}: white space");
    }
}

#[test]
fn what_somebody_else_started_since_its_files_changed_is_left_alone() {
    let started = |at: &str| format!("{ACTIVE}ExecMainStartTimestamp={at}\n");
    for shell in shells() {
        let unit = UnitHost::new(shell, &started("Sat 2001-09-08 01:46:40 UTC"));
        let fresh = || {
            let script =
                Script::ask(&Nonce::random(), &[(step("probe", vec![]).id, unit.watched(&["a.service"]))]);
            let seen = Observation::new(&unit.run(&script, "main() {"));
            seen.of("probe").all("fresh").map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(fresh(), "", "{shell:?}: started long before");
        for at in ["", "n/a", "soon"] {
            unit.state(&started(at));
            assert_eq!(fresh(), "", "{shell:?}: {at}");
        }
        unit.state(&started("Fri 2100-01-01 00:00:00 UTC"));
        assert_eq!(fresh(), "restart reload", "{shell:?}: started after");
        assert_eq!(unit.converge().2, [] as [&str; 0], "{shell:?}");
        assert_eq!(unit.differs(), (false, false), "{shell:?}: from now on it is known");
        unit.host.write("conf", "2");
        std::fs::remove_file(unit.host.at("bin/tool")).unwrap();
        assert_eq!(fresh(), "", "{shell:?}: when it went is not known");
    }
}

#[test]
fn who_stops_with_a_unit_is_counted() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        let load = |command: &[&str]| {
            let count = command.len().to_string();
            let start: Vec<&str> = [count.as_str()].into_iter().chain(command.iter().copied()).collect();
            let probe = of_json(&unit, "unit_load_probe", &start);
            let script = Script::ask(&Nonce::random(), &[(step("probe", vec![]).id, probe)]);
            let seen = Observation::new(&unit.run(&script, "main() {"));
            let seen = seen.of("probe");
            assert_eq!(seen.text("ActiveState"), Some("active"), "{shell:?}: {seen:?}");
            seen.text("load").map(str::to_owned)
        };
        assert_eq!(load(&["echo", "3"]).as_deref(), Some("3"), "{shell:?}");
        assert_eq!(load(&["sh", "-c", "echo $# \"$1\"", "x", "it's a b"]).as_deref(), Some("1 it's a b"));
        assert_eq!(load(&["sh", "-c", "echo no >&2; exit 3"]).as_deref(), Some(""), "{shell:?}");
        assert_eq!(load(&["no-such-program"]).as_deref(), Some(""), "{shell:?}");
    }
}

#[test]
fn a_unit_is_waited_for() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        let wait = |state: &str| {
            unit.state(state);
            let steps = [step("unit a.service", vec![call("unit_await", &["a.service", "1"])])];
            let records = unit.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
            let Some(Record::End { status, .. }) = records.get(1) else { panic!("{records:?}") };
            *status
        };
        assert_eq!(wait(ACTIVE), 0, "{shell:?}");
        assert_eq!(wait(&ACTIVE.replace("=active", "=activating")), 1, "{shell:?}");
        assert_eq!(wait(&ACTIVE.replace("=active", "=failed")), 1, "{shell:?}");
        // A restart that is queued has not begun.
        assert_eq!(wait(&ACTIVE.replace("Job=", "Job=7")), 1, "{shell:?}");
    }
}

#[test]
fn a_changed_unit_file_is_read_again_before_the_restart() {
    for shell in shells() {
        let unit = UnitHost::new(shell, &ACTIVE.replace("NeedDaemonReload=no", "NeedDaemonReload=yes"));
        assert_eq!(unit.converge().2, ["daemon-reload", RESTART], "{shell:?}");
    }
}

#[test]
fn unit_files_besides_its_own_are_read_again() {
    for (path, orders) in [
        ("systemd/system/a.service", vec![RESTART]),
        ("systemd/system/a.service.d/first.conf", vec!["daemon-reload", RESTART]),
        ("systemd/system/data.mount", vec!["daemon-reload", RESTART]),
        ("conf", vec![RESTART]),
    ] {
        for shell in shells() {
            let unit = UnitHost::new(shell, ACTIVE);
            let path = unit.host.write(path, "1");
            let converge = call("unit_converge", &["a.service", "true", "started", "1", &path]);
            let steps = [step("unit a.service", vec![converge])];
            unit.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
            let given = String::from_utf8(unit.host.read("state-of-unit/orders")).unwrap();
            let given: Vec<_> = given.lines().filter(|order| !order.starts_with("reset-failed")).collect();
            assert_eq!(given, orders, "{shell:?} {path}");
        }
    }
}

#[test]
fn what_is_stopped_for_good_has_not_failed() {
    for shell in shells() {
        let unit = UnitHost::new(shell, ACTIVE);
        let stop = || {
            let steps = [step("stop", vec![call("unit_stop", &["a.service"])])];
            let records = unit.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
            let Some(Record::End { status, .. }) = records.get(1) else { panic!("{records:?}") };
            let orders = String::from_utf8(unit.host.read("state-of-unit/orders")).unwrap();
            unit.host.write("state-of-unit/orders", "");
            (*status, orders)
        };
        let both = "disable --now a.service\nreset-failed a.service\n".to_owned();
        assert_eq!(stop(), (0, both.clone()), "{shell:?}");
        // systemd does not know it any more.
        unit.host.write("state-of-unit/refuses-reset-failed", "");
        assert_eq!(stop(), (0, both), "{shell:?}");
        unit.host.write("state-of-unit/refuses-disable", "");
        assert_eq!(stop(), (1, "disable --now a.service\n".to_owned()), "{shell:?}");
    }
}

#[test]
fn a_restart_that_is_planned_happens_and_is_seen() {
    for shell in shells() {
        let first = format!("{ACTIVE}InvocationID=1\n");
        let unit = UnitHost::new(shell, &first);
        let planned = |state| {
            let steps = [step("unit a.service", vec![unit.watched(&["a.service", "true", state])])];
            let records = unit.run(&Script::apply(&Nonce::random(), &holder(), &steps), "run_steps() {");
            let Some(Record::End { status, output, .. }) = records.get(1) else { panic!("{records:?}") };
            let orders = std::fs::read_to_string(unit.host.at("state-of-unit/orders")).unwrap_or_default();
            unit.host.write("state-of-unit/orders", "");
            let orders: Vec<String> = orders
                .lines()
                .filter(|order| order.ends_with("service") && !order.starts_with("reset"))
                .map(str::to_owned)
                .collect();
            (*status, output.clone(), orders)
        };
        // It runs on as the process that it was: no mark says that it has the new files.
        unit.after(&first);
        let (status, output, _) = planned("restarted");
        assert!(status != 0 && output.contains("runs on as before"), "{shell:?}: {status} {output}");
        assert_eq!(unit.differs(), (true, true), "{shell:?}");

        unit.after(&format!("{ACTIVE}InvocationID=2\n"));
        assert_eq!(planned("restarted"), (0, String::new(), vec![RESTART.to_owned()]), "{shell:?}");
        assert_eq!(unit.differs(), (false, false), "{shell:?}");
        // Somebody started it with a file of his own; now the file is again what the mark says.
        unit.after(&format!("{ACTIVE}InvocationID=3\n"));
        assert_eq!(planned("restarted").2, [RESTART], "{shell:?}");
        assert_eq!(planned("reloaded").2, [RELOAD], "{shell:?}");
        assert_eq!(planned("started").2, [] as [&str; 0], "{shell:?}");
    }
}
