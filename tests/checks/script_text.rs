//! The text of scripts, as it is shown and as it is sent.

use bootstrap::model::{Arg, Call, Change, RoleName, Step, StepId};
use bootstrap::script::{LockHolder, Nonce, Script};

fn call(function: &'static str, args: &[&str]) -> Call {
    Call::new(function, args.iter().map(|arg| Arg::new(*arg).unwrap()))
}

/// A script as it is shown, and the end of what is sent: all but the prelude.
fn texts(script: &Script) -> String {
    let sent = script.for_host();
    let own = ["\nrun_steps() {", "\nmain() {"].iter().find_map(|first| sent.find(first)).unwrap() + 1;
    let own = &sent[own..];
    format!("--- shown\n{script}--- sent, after the prelude\n{own}")
}

fn assert_snapshot(name: &str, script: &Script) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/script");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, texts(script)));
}

#[test]
fn observe() {
    let probes = [
        (StepId("file /etc/it's here".into()), call("file_probe", &["/etc/it's here", "read"])),
        (StepId("unit a.service".into()), call("unit_probe", &["a.service", "1", "/etc/a.json"])),
    ];
    let beside = [(StepId("slow".into()), call("say", &["it's", "slow"]))];
    assert_snapshot("observe", &Script::observe(&Nonce::fixed("00000000000000ff"), &[], &probes, &beside));
}

#[test]
fn apply() {
    let step = |id: &str, calls| Step {
        id: StepId(id.into()),
        role: RoleName::parse("test").unwrap(),
        change: Change { reason: "absent".into(), effect: Default::default(), diff: None, calls },
        help: None,
    };
    let key = [Arg::new("/etc/key").unwrap(), Arg::secret("hunter2").unwrap()];
    let steps = [
        step("directory /opt/a b", vec![call("directory_ensure", &["/opt/a b", "0750", "root", "adm"])]),
        step("file /etc/key", vec![Call::new("file_write", key)]),
        step("user a", vec![call("group_add", &["a", "", "true"]), call("user_add", &["a", "", "a"])]),
    ];
    let holder = LockHolder {
        who: "ada@laptop 4711".into(),
        since: "2026-01-02T03:04:05Z".into(),
        between: std::time::Duration::from_secs(90),
    };
    assert_snapshot("apply", &Script::apply(&Nonce::fixed("00000000000000ff"), &holder, &steps));
}
