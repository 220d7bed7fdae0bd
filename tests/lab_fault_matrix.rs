//! A living cluster under faults: whatever happens to a change, one more run converges, and no key that was written and
//! acknowledged before is lost. Long, so only `tests/run --faults` runs it.

#[path = "support/lab.rs"]
mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use support::{Lab, bootstrap, poll};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Xorshift: the same moments for the same seed.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn seed() -> u64 {
    let seed = setting("BOOTSTRAP_FAULT_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into()
    });
    eprintln!("BOOTSTRAP_FAULT_SEED={seed}");
    seed.max(1)
}

/// A cluster that lives, the keys written to it so far, and how the rounds ended.
struct Trial {
    lab: Lab,
    keys: u64,
    tried: u64,
    lost: Vec<String>,
}

impl Trial {
    fn new(hosts: &str) -> Self {
        let lab = Lab::up(&["--hosts", hosts]);
        Self { lab, keys: 0, tried: 0, lost: Vec::new() }
    }

    /// Another configuration of every agent, so that the next `up` restarts them one after another.
    fn change(&self) {
        let text = fs::read_to_string(self.lab.inventory()).unwrap();
        let (debug, info) = ("    log_level: debug\n", "    log_level: info\n");
        let text = match (text.contains(debug), text.contains(info)) {
            (true, _) => text.replace(debug, info),
            (_, true) => text.replace(info, debug),
            _ => text.replace("    datacenter: dc1\n", &format!("    datacenter: dc1\n{debug}")),
        };
        fs::write(self.lab.inventory(), text).unwrap();
    }

    fn write(&mut self) {
        let key = self.keys;
        let put = format!("consul kv put trial/{key} {key}");
        poll("a key is written", Duration::from_secs(30), || {
            (self.lab.ssh("node-1", &put).status == 0).then_some(())
        });
        self.keys += 1;
    }

    /// Kills a command at a moment of its usual time: what it said last.
    fn kill(&self, words: &[&str], moment: Duration) -> String {
        let log = fs::File::create(self.lab.folder.path().join("killed.log")).unwrap();
        let (command, options) = words.split_first().unwrap();
        let mut call = bootstrap();
        call.arg(command).arg(self.lab.inventory()).args(options).stdout(Stdio::null()).stderr(log);
        let mut running = call.spawn().unwrap();
        std::thread::sleep(moment);
        running.kill().unwrap();
        running.wait().unwrap();
        let said = fs::read_to_string(self.lab.folder.path().join("killed.log")).unwrap();
        said.lines().next_back().unwrap_or("nothing said yet").trim().to_owned()
    }

    /// One more run, with the cause of the trouble gone.
    fn judge(&mut self, what: &str, words: &[&str]) {
        self.tried += 1;
        let (command, options) = words.split_first().unwrap();
        let again = self.lab.run(command, options);
        let idle = self.lab.run("up", &[]);
        let keys = self.lab.ssh("node-1", "consul kv get -keys trial/ | wc -l").stdout;
        let flaw = if again.status != 0 {
            Some(format!("one more run ended with status {}:\n{}", again.status, again.stderr))
        } else if idle.status != 0 || !idle.stderr.contains("Nothing to do") {
            Some(format!("the up after it found work:\n{}", idle.stderr))
        } else if keys.trim() != self.keys.to_string() {
            Some(format!("{} keys were acknowledged, {} are there", self.keys, keys.trim()))
        } else {
            None
        };
        eprintln!("{what}: {}", flaw.as_deref().unwrap_or("converged"));
        self.lost.extend(flaw.map(|_| what.to_owned()));
    }

    #[track_caller]
    fn report(self) {
        let lost = self.lost.len() as u64;
        eprintln!("{} tried, {} converged, {lost} lost; {} keys", self.tried, self.tried - lost, self.keys);
        assert!(self.lost.is_empty(), "lost: {:?}", self.lost);
    }
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_a_rolling_change_is_killed_at_any_moment() {
    let mut state = seed();
    let mut trial = Trial::new("3");
    trial.lab.run("up", &[]).exits(0);
    trial.change();
    let began = Instant::now();
    trial.lab.run("up", &[]).exits(0);
    let whole = began.elapsed();
    for round in 1..=setting("BOOTSTRAP_FAULT_ROUNDS").unwrap_or(5) {
        trial.write();
        trial.change();
        let moment = whole.mul_f64((next(&mut state) % 10_000) as f64 / 10_000.0);
        let last = trial.kill(&["up"], moment);
        let what = format!("round {round}: up killed after {:.2} s ({last})", moment.as_secs_f64());
        trial.judge(&what, &["up"]);
    }
    trial.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_add_node_is_killed_at_any_moment() {
    let mut state = seed();
    let mut trial = Trial::new("4");
    let text = fs::read_to_string(trial.lab.inventory()).unwrap();
    let three: String =
        text.lines().filter(|line| !line.contains("node-4")).map(|line| format!("{line}\n")).collect();
    fs::write(trial.lab.inventory(), &three).unwrap();
    trial.lab.run("up", &[]).exits(0);
    let add = ["add-node", "node-4", "--address", "10.77.0.14", "--role", "consul-client"];
    let mut whole = Duration::ZERO;
    for round in 0..=setting("BOOTSTRAP_FAULT_ROUNDS").unwrap_or(5) {
        if round == 0 {
            // How long it takes undisturbed, packages and all.
            let began = Instant::now();
            trial.lab.run(add[0], &add[1..]).exits(0);
            whole = began.elapsed();
        } else {
            trial.write();
            let moment = whole.mul_f64((next(&mut state) % 10_000) as f64 / 10_000.0);
            let last = trial.kill(&add, moment);
            let what = format!("round {round}: add-node killed after {:.2} s ({last})", moment.as_secs_f64());
            let is_in = fs::read_to_string(trial.lab.inventory()).unwrap().contains("node-4");
            if is_in { trial.judge(&what, &["up"]) } else { trial.judge(&what, &add) }
        }
        trial.lab.run("remove-node", &["node-4"]).exits(0);
        assert_eq!(fs::read_to_string(trial.lab.inventory()).unwrap(), three);
        // What it keeps would have it refused, as it must be.
        trial.lab.ssh("node-4", "rm -rf /opt/consul /var/lib/bootstrap").exits(0);
    }
    trial.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_each_fault_of_a_host_passes() {
    let mut trial = Trial::new("3");
    trial.lab.asks("node-3", "mkdir -p /opt/consul && mount -t tmpfs -o size=700m none /opt/consul");
    trial.lab.run("up", &[]).exits(0);

    trial.write();
    trial.change();
    trial.lab.lab(&["kill", "node-2"]);
    assert_ne!(trial.lab.run("up", &["--timeout", "10s"]).status, 0, "a dead host");
    trial.lab.lab(&["start", "node-2"]);
    trial.judge("a host without power", &["up"]);

    trial.write();
    trial.change();
    trial.lab.lab(&["partition", "node-3", "--one-way"]);
    assert_ne!(trial.lab.run("up", &["--timeout", "15s"]).status, 0, "a partition");
    trial.lab.lab(&["heal", "node-3"]);
    trial.judge("a partition one way", &["up"]);

    trial.write();
    trial.change();
    trial.lab.asks("node-3", "dd if=/dev/zero of=/opt/consul/filler bs=1M 2>/dev/null; true");
    trial.lab.run("up", &["--timeout", "15s"]);
    trial.lab.asks("node-3", "rm /opt/consul/filler");
    trial.judge("a full disk", &["up"]);

    trial.write();
    trial.change();
    let setting = "/etc/ssh/sshd_config.d/third.conf";
    trial.lab.asks("node-1", &format!("echo 'MaxStartups 1:33:100' >{setting} && systemctl reload ssh"));
    trial.judge("every third connection is refused", &["up"]);
    poll("the refusals end", Duration::from_secs(30), || {
        (trial.lab.ssh("node-1", &format!("rm -f {setting} && systemctl reload ssh")).status == 0)
            .then_some(())
    });

    trial.write();
    trial.change();
    // Without --fresh the hosts stay, and what leads to them gets slow.
    trial.lab.lab(&["up", "--hosts", "3", "--rtt", "500"]);
    trial.judge("hosts 500 ms away", &["up"]);
    trial.lab.lab(&["up", "--hosts", "3", "--rtt", "0"]);
    trial.report();
}
