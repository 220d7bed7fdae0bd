//! Runs as an engine would tell them: events with the moment they come at, for tests and for looking.

use std::collections::BTreeMap;

use bootstrap::model::{
    Batch, Change, Event, HostName, HostOutcome, Plan, RoleName, Stage, StageName, Step, StepId, StepOutcome,
};

/// Milliseconds since the run's start, and what happens then.
pub type Run = Vec<(u64, Event)>;

const SERVERS: usize = 3;

const CONFIG: &str = r#"{
  "node_name": "NODE",
  "datacenter": "dc1",
  "data_dir": "/var/lib/consul",
  "server": true,
  "bootstrap_expect": 3,
  "bind_addr": "192.168.56.1N",
  "advertise_addr": "192.168.56.1N",
  "client_addr": "127.0.0.1",
  "retry_join": ["192.168.56.11", "192.168.56.12", "192.168.56.13"],
  "retry_interval": "1s",
  "leave_on_terminate": false,
  "skip_leave_on_interrupt": true,
  "disable_update_check": true,
  "ui_config": { "enabled": true },
  "performance": { "raft_multiplier": 1 },
  "autopilot": {
    "cleanup_dead_servers": true,
    "last_contact_threshold": "200ms",
    "max_trailing_logs": 250,
    "server_stabilization_time": "10s",
    "min_quorum": 3
  }
}"#;

pub fn host(number: usize) -> HostName {
    HostName::parse(format!("node-{number}")).unwrap()
}

fn hosts(count: usize) -> Vec<HostName> {
    (1..=count).map(host).collect()
}

fn step(role: &str, id: &str, reason: &str, diff: Option<String>) -> Step {
    let change = Change { reason: reason.into(), effect: Default::default(), diff, calls: Vec::new() };
    Step { id: StepId(id.into()), role: RoleName::parse(role).unwrap(), change, help: None }
}

fn role(number: usize) -> &'static str {
    if number <= SERVERS { "consul-server" } else { "consul-client" }
}

fn added(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("+{line}\n")).collect();
    format!(
        "--- /etc/consul.d/consul.json\n+++ /etc/consul.d/consul.json\n@@ -0,0 +1,{} @@\n{}",
        lines.len(),
        lines.concat()
    )
}

fn prepare(number: usize) -> Vec<Step> {
    let role = role(number);
    let config = CONFIG.replace("NODE", &format!("node-{number}")).replace("1N", &format!("1{number}"));
    vec![
        step(role, "package curl unzip", "absent", None),
        step(role, "user consul", "absent", None),
        step(role, "directory /etc/consul.d", "absent", None),
        step(role, "directory /var/lib/consul", "absent", None),
        step(role, "release consul 1.21.4", "absent", None),
        step(role, "file /etc/consul.d/consul.json", "absent", Some(added(&config))),
        step(role, "file /etc/consul.d/gossip.json", "absent", None),
        step(role, "file /etc/systemd/system/consul.service", "mode 0600, wanted 0644", None),
        step(
            role,
            "file /etc/hosts",
            "content differs",
            Some(
                "--- /etc/hosts\n+++ /etc/hosts\n@@ -1,2 +1,3 @@\n 127.0.0.1\tlocalhost\n-127.0.1.1 debian\n\
                 +127.0.1.1 node\n+192.168.56.11 consul\u{1b}[31m\n"
                    .into(),
            ),
        ),
    ]
}

/// The plan of a first run: everything on every host, the servers activated before the clients.
pub fn plan(count: usize) -> Plan {
    let mut stages = vec![Stage {
        quorum: false,
        name: StageName("prepare".into()),
        gate: None,
        batches: vec![Batch { steps: (1..=count).map(|n| (host(n), prepare(n))).collect() }],
    }];
    let unit = |n| (host(n), vec![step(role(n), "unit consul.service", "inactive, wanted started", None)]);
    for (name, gate, members) in [
        ("consul-server", "consul-raft", 1..=SERVERS.min(count)),
        ("consul-client", "consul-members", SERVERS + 1..=count),
    ] {
        if !members.is_empty() {
            let batches = vec![Batch { steps: members.map(unit).collect() }];
            stages.push(Stage {
                name: StageName(name.into()),
                gate: Some(gate.into()),
                quorum: true,
                batches,
            });
        }
    }
    Plan { stages, ..Plan::default() }
}

/// One server restarted after the other: a plan of batches.
pub fn rolling_plan() -> Plan {
    let reason = "a watched file changed: /etc/consul.d/consul.json";
    let batch = |n| Batch {
        steps: BTreeMap::from([(host(n), vec![step("consul-server", "unit consul.service", reason, None)])]),
    };
    let (name, gate) = (StageName("consul-server".into()), Some("consul-raft".into()));
    Plan {
        stages: vec![Stage { name, gate, quorum: true, batches: vec![batch(2), batch(3), batch(1)] }],
        ..Plan::default()
    }
}

/// A role that two hosts have no more.
pub fn removal_plan() -> Plan {
    let diff = "--- a/etc/hosts\n+++ b/etc/hosts\n@@ -1,2 +1 @@\n localhost\n-10.0.0.1 a\n".to_owned();
    let steps = vec![
        step("dns", "restore file /etc/hosts", "as before role dns", Some(diff)),
        step("dns", "remove file /etc/dns.conf", "role dns made it", None),
        step(
            "dns",
            "restore unit dns.service",
            "running; before role dns it was neither enabled nor running",
            None,
        ),
        step("dns", "undo exec tell resolvconf", "role dns ran it", None),
        step("dns", "leave package dnsmasq", "packages stay installed", None),
    ];
    let batches = vec![Batch { steps: [1, 2].map(|n| (host(n), steps.clone())).into() }];
    Plan {
        stages: vec![Stage { name: StageName("remove dns".into()), gate: None, quorum: false, batches }],
        ..Plan::default()
    }
}

/// Some spread between hosts, the same in every run.
fn spread(number: usize, salt: u64, most: u64) -> u64 {
    let mixed = (number as u64 * 0x9e37_79b9 + salt * 0x85eb_ca6b) ^ ((number as u64) << 7);
    mixed % most.max(1)
}

fn start(count: usize) -> Run {
    let run = Event::RunStarted { command: "up".into(), cluster: "dc1".into(), hosts: hosts(count) };
    vec![(0, run)]
}

/// Connects and observes; returns when the last host has answered.
fn observe(run: &mut Run, count: usize, unreachable: &[usize]) -> u64 {
    let mut last = 0;
    for n in 1..=count {
        if unreachable.contains(&n) {
            let error = format!(
                "192.168.56.1{n}:22 does not answer: connection timed out\nis it switched on, and is the address right?"
            );
            run.push((3000, Event::HostFailed { host: host(n), error }));
            last = last.max(3000);
            continue;
        }
        let connected = 180 + spread(n, 1, 300);
        let observed = connected + 250 + spread(n, 2, 400);
        run.push((connected, Event::HostConnected { host: host(n), elapsed_ms: connected }));
        run.push((observed, Event::HostObserved { host: host(n), elapsed_ms: observed }));
        last = last.max(observed);
    }
    last + 20
}

fn cost(step: &str, n: usize) -> u64 {
    match step.split(' ').next() {
        Some("package") => 3800 + spread(n, 3, 1500) + if n.is_multiple_of(17) { 6000 } else { 0 },
        Some("release") => 1900 + spread(n, 4, 1400),
        Some("unit") => 700 + spread(n, 5, 500),
        _ => 60 + spread(n, step.len() as u64, 60),
    }
}

/// Runs one stage; `refused` is a step that fails. Returns when it is over.
fn stage(
    run: &mut Run,
    plan: &Plan,
    index: usize,
    begin: u64,
    left_out: &[usize],
    refused: Option<(usize, &str, &str)>,
) -> u64 {
    let stage = &plan.stages[index];
    let all: Vec<(&HostName, &Vec<Step>)> = stage.batches.iter().flat_map(|batch| &batch.steps).collect();
    let (hosts, steps) =
        (all.iter().map(|(host, _)| (*host).clone()).collect(), all.iter().map(|(_, s)| s.len()).sum());
    run.push((begin, Event::StageStarted { stage: stage.name.clone(), hosts, steps }));
    let mut last = begin;
    for (name, steps) in all {
        let n = name.as_str()["node-".len()..].parse().unwrap();
        if left_out.contains(&n) {
            continue;
        }
        let mut at = begin + 90 + spread(n, 6, 120);
        for step in steps {
            let (host, stage, id) = (name.clone(), stage.name.clone(), step.id.clone());
            run.push((at, Event::StepStarted { host: host.clone(), stage: stage.clone(), step: id.clone() }));
            let elapsed_ms = cost(&id.0, n);
            at += elapsed_ms;
            let failure = refused.filter(|(bad, step, _)| *bad == n && id.0.contains(step));
            let outcome = match failure {
                Some((_, _, output)) => StepOutcome::Failed { output: output.into() },
                None => StepOutcome::Changed,
            };
            run.push((at, Event::StepFinished { host: host.clone(), stage, step: id, outcome, elapsed_ms }));
            if failure.is_some() {
                run.push((at + 5, Event::HostFailed { host, error: "the new file was refused by `consul validate`; what was there stays in use\nmend `consul.config` in the inventory and run `up` again".into() }));
                break;
            }
        }
        last = last.max(at);
    }
    last + 30
}

fn waiting(gate: &str, reason: &str) -> Event {
    Event::GateWaiting { gate: gate.into(), reason: reason.into() }
}

fn stage_finished(plan: &Plan, index: usize, begin: u64, end: u64) -> (u64, Event) {
    (end, Event::StageFinished { stage: plan.stages[index].name.clone(), elapsed_ms: end - begin })
}

fn finish(
    mut run: Run,
    at: u64,
    outcome: impl Fn(usize) -> HostOutcome,
    count: usize,
    notes: &[&str],
) -> Run {
    let outcome = (1..=count).map(|n| (host(n), outcome(n))).collect();
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    run.push((at, Event::RunFinished { stopped: false, unwell: None, outcome, elapsed_ms: at, notes }));
    // Stable: what happens at one moment stays in the order it was told.
    run.sort_by_key(|(at, _)| *at);
    run
}

const QUORUM: [&str; 4] = [
    "leader: node-1 (192.168.56.11)",
    "voters: node-1, node-2, node-3",
    "ui: http://192.168.56.11:8500/ui",
    "next: bootstrap health inventory.yaml",
];

/// Bare hosts become a cluster.
pub fn first(count: usize) -> Run {
    let plan = plan(count);
    let mut run = start(count);
    let planned = observe(&mut run, count, &[]);
    run.push((planned, Event::PlanReady { plan: plan.clone() }));
    let message = "its clock is 1.2 s behind this machine's; set up time synchronisation".into();
    run.push((planned + 10, Event::Warning { host: Some(host(2)), message }));
    let mut at = planned + 20;
    for index in 0..plan.stages.len() {
        let begin = at;
        at = stage(&mut run, &plan, index, begin, &[], None);
        if let Some(gate) = plan.stages[index].gate.as_deref() {
            let (reasons, detail) = match gate {
                "consul-raft" => (["no leader yet", "2 of 3 voters"], "3 voters, leader node-1"),
                _ => (["3 members missing", "1 member missing"], "all members alive"),
            };
            run.push((at + 100, waiting(gate, reasons[0])));
            run.push((at + 1200, waiting(gate, reasons[1])));
            run.push((
                at + 3400,
                Event::GateMet { gate: gate.into(), detail: detail.into(), elapsed_ms: 3300 },
            ));
            at += 3420;
        }
        run.push(stage_finished(&plan, index, begin, at));
    }
    let steps = plan
        .steps_by_host()
        .into_iter()
        .map(|(host, steps)| (host.clone(), steps))
        .collect::<BTreeMap<_, _>>();
    finish(run, at + 40, |n| HostOutcome::Changed { steps: steps[&host(n)] }, count, &QUORUM)
}

/// Every host is as wanted.
pub fn nothing_to_do(count: usize) -> Run {
    let mut run = start(count);
    let planned = observe(&mut run, count, &[]);
    run.push((planned, Event::PlanReady { plan: Plan::default() }));
    finish(run, planned + 20, |_| HostOutcome::Unchanged, count, &QUORUM)
}

/// Ctrl-C while the first stage runs: its steps are ended, and none is begun after them.
pub fn interrupted() -> Run {
    let plan = plan(3);
    let mut run = start(3);
    let planned = observe(&mut run, 3, &[]);
    run.push((planned, Event::PlanReady { plan: plan.clone() }));
    let end = stage(&mut run, &plan, 0, planned + 20, &[], None);
    run.push(stage_finished(&plan, 0, planned + 20, end));
    let outcome = |_| HostOutcome::Changed { steps: 9 };
    finish(run, end + 20, outcome, 3, &["resume: bootstrap up inventory.yaml"])
}

/// One host cannot be reached, another refuses its configuration; the rest is prepared.
pub fn failed_host(count: usize) -> Run {
    let (away, bad) = (count, count - 1);
    let mut plan = plan(count);
    plan.stages[0].batches[0].steps.remove(&host(away));
    plan.stages.truncate(1);
    let mut run = start(count);
    let planned = observe(&mut run, count, &[away]);
    run.push((planned, Event::PlanReady { plan: plan.clone() }));
    let output = "Config validation failed: failed to parse /etc/consul.d/.consul.json.new:\n1 error occurred:\n\t* invalid config key bootstrap_expct\n";
    let end = stage(&mut run, &plan, 0, planned + 20, &[away], Some((bad, "consul.json", output)));
    run.push(stage_finished(&plan, 0, planned + 20, end));
    let outcome = |n| match n {
        n if n == away => HostOutcome::Failed { error: "does not answer".into() },
        n if n == bad => HostOutcome::Failed { error: "the new file was refused".into() },
        _ => HostOutcome::Changed { steps: 9 },
    };
    finish(run, end + 20, outcome, count, &["next: bootstrap up inventory.yaml"])
}

/// The servers start and never agree.
pub fn gate_timeout() -> Run {
    let mut plan = plan(3);
    plan.stages.remove(0);
    let mut run = start(3);
    let planned = observe(&mut run, 3, &[]);
    run.push((planned, Event::PlanReady { plan: plan.clone() }));
    let begin = planned + 20;
    let end = stage(&mut run, &plan, 0, begin, &[], None);
    run.push((end + 100, waiting("consul-raft", "no leader yet")));
    run.push((end + 1200, waiting("consul-raft", "2 of 3 voters: node-3 is missing")));
    let output = "node-3 consul[412]: agent: Join cluster failed, will retry\nnode-3 consul[412]: agent: (LAN) couldn't join: number_of_nodes=0\n";
    let failed = Event::GateFailed {
        gate: "consul-raft".into(),
        reason: "2 of 3 voters: node-3 is missing".into(),
        output: output.into(),
        elapsed_ms: 90_000,
    };
    run.push((end + 90_100, failed));
    run.push(stage_finished(&plan, 0, begin, end + 90_110));
    let next = "next: bootstrap up inventory.yaml";
    finish(run, end + 90_120, |_| HostOutcome::Changed { steps: 1 }, 3, &[next])
}
