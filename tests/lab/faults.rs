//! Faults on real hosts: whatever happens to a run, one more converges, and no key that was written and acknowledged before
//! is lost. Long, so only `tests/run --faults` runs them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{ETCDCTL, Lab, Ran, Writer, bootstrap, poll};

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Makes a host bare again, much quicker than a new one would be. Packages stay.
const RESET: &str = "flock -w 60 /run/bootstrap.lock true; systemctl disable -q --now consul 2>/dev/null; \
    rm -rf /etc/consul.d /opt/consul /opt/bootstrap /usr/local/bin/consul /var/lib/bootstrap \
    /etc/systemd/system/consul.service; userdel consul 2>/dev/null; groupdel consul 2>/dev/null; \
    systemctl daemon-reload; systemctl reset-failed; \
    ! getent passwd consul && test -z \"$(find /opt /etc/consul.d -mindepth 1 2>/dev/null)\"";

/// What every run of the same inventory writes alike, with its digests. Keys are others each time.
const WRITTEN: &str = "find /opt/bootstrap /usr/local/bin /etc/consul.d /etc/systemd/system -type f \
    ! -name secrets.json ! -name acl.json ! -path '*/tls/*' -print0 | sort -z | xargs -0r sha256sum; \
    ls /etc/consul.d/tls; readlink /usr/local/bin/consul";

/// What only runs in progress have.
const LEFT: &str = "find /etc /opt /usr/local /var/lib/bootstrap /tmp -xdev \\( -name '*.partial' \
    -o -name '.*.bootstrap' -o -name '*.part.*' -o -name 'bootstrap.*' -o -name '.*.new' \\)";

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Of each test that kills.
fn rounds() -> u64 {
    setting("BOOTSTRAP_FAULT_ROUNDS").unwrap_or(17)
}

/// Random moments of a run, the same ones for the same seed.
struct Moments {
    state: u64,
    /// How long the run takes undisturbed.
    whole: Duration,
}

impl Moments {
    /// Measures the run.
    fn of(run: impl FnOnce()) -> Self {
        let seed = setting("BOOTSTRAP_FAULT_SEED").unwrap_or_else(|| {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into()
        });
        let began = Instant::now();
        run();
        let whole = began.elapsed();
        eprintln!("BOOTSTRAP_FAULT_SEED={seed}, {:.2} s undisturbed", whole.as_secs_f64());
        Self { state: seed.max(1), whole }
    }

    /// Xorshift.
    fn next(&mut self) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.whole.mul_f64((self.state % 10_000) as f64 / 10_000.0)
    }
}

/// Starts a command and kills it at a moment: when, and what it had said last.
fn kill(lab: &Lab, words: &[&str], moment: Duration) -> String {
    signal(lab, words, moment, "KILL").0
}

/// The same with any signal; and its exit status and all that it said, where the signal found it at work and let it end by itself.
fn signal(lab: &Lab, words: &[&str], moment: Duration, name: &str) -> (String, Option<Ran>) {
    let path = lab.folder.path().join("killed.log");
    let (command, options) = words.split_first().unwrap();
    let mut call = bootstrap();
    call.args(command.split(' ')).arg(lab.inventory()).args(options).stdout(Stdio::null());
    let mut running = call.stderr(fs::File::create(&path).unwrap()).spawn().unwrap();
    std::thread::sleep(moment);
    let works = running.try_wait().unwrap().is_none();
    if works {
        let sent = Command::new("kill").args(["-s", name, &running.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
    let status = running.wait().unwrap().code();
    let said = fs::read_to_string(path).unwrap();
    let last = said.lines().next_back().unwrap_or("nothing said yet").trim();
    let when = if works { format!("got {name}") } else { "had ended".to_owned() };
    let what = format!("{command} {when} after {:.2} s ({last})", moment.as_secs_f64());
    let ended = status.filter(|_| works);
    (what, ended.map(|status| Ran { status, stdout: String::new(), stderr: said.clone() }))
}

/// How the rounds ended.
#[derive(Default)]
struct Score {
    tried: u64,
    lost: Vec<String>,
}

impl Score {
    /// `flaw` is why one more run did not converge.
    fn count(&mut self, what: &str, flaw: Option<String>) {
        self.tried += 1;
        eprintln!("{}. {what}: {}", self.tried, flaw.as_deref().unwrap_or("converged"));
        self.lost.extend(flaw.map(|_| what.to_owned()));
    }

    #[track_caller]
    fn report(self) {
        let lost = self.lost.len() as u64;
        eprintln!("{} tried, {} converged, {lost} lost", self.tried, self.tried - lost);
        assert!(self.lost.is_empty(), "lost: {:#?}", self.lost);
    }
}

fn reset(lab: &Lab) {
    for host in THREE {
        lab.ssh(host, RESET).exits(0);
    }
    let _ = fs::remove_dir_all(lab.folder.path().join(".bootstrap"));
}

/// Why the hosts are not as one undisturbed run leaves them.
fn flaw(lab: &Lab, reference: &[String]) -> Option<String> {
    let first = lab.run("up", &[]);
    if first.status != 0 || !first.stderr.contains("leader") {
        return Some(format!("the next up ended with status {}:\n{}", first.status, first.stderr));
    }
    let second = lab.run("up", &[]);
    if second.status != 0 || !second.stderr.contains("Nothing to do") {
        return Some(format!("the up after it found work:\n{}", second.stderr));
    }
    THREE.iter().zip(reference).find_map(|(host, expected)| {
        let written = lab.asks(host, WRITTEN);
        if written != *expected {
            return Some(format!("{host} has\n{written}instead of\n{expected}"));
        }
        Some(lab.asks(host, LEFT))
            .filter(|left| !left.is_empty())
            .map(|left| format!("{host}: left over {left}"))
    })
}

/// Runs: Consul: killed at random moments
#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_killed_at_any_moment_the_next_up_converges() {
    let lab = Lab::up(&[]);
    // The first also installs packages, which takes a time of its own.
    lab.run("up", &[]).exits(0);
    reset(&lab);
    let mut moments = Moments::of(|| drop(lab.run("up", &[]).exits(0)));
    let reference: Vec<String> = THREE.iter().map(|host| lab.asks(host, WRITTEN)).collect();
    let mut score = Score::default();
    for _ in 0..rounds() {
        reset(&lab);
        let what = kill(&lab, &["up"], moments.next());
        score.count(&what, flaw(&lab, &reference));
    }
    score.report();
}

/// Why one more run did not end what was begun, or the `up` after it was not idle.
fn unsettled(again: &Ran, idle: &Ran) -> Option<String> {
    if again.status != 0 {
        Some(format!("one more run ended with status {}:\n{}", again.status, again.stderr))
    } else if idle.status != 0 || !idle.stderr.contains("Nothing to do") {
        Some(format!("the up after it found work:\n{}", idle.stderr))
    } else {
        None
    }
}

/// A cluster that lives, the keys written to it so far, and how the rounds ended.
struct Trial {
    lab: Lab,
    keys: u64,
    score: Score,
}

impl Trial {
    fn of(options: &[&str]) -> Self {
        Self { lab: Lab::up(options), keys: 0, score: Score::default() }
    }

    /// Another configuration of every agent, so that the next `up` restarts them one after another.
    fn change(&self) {
        let text = fs::read_to_string(self.lab.inventory()).unwrap();
        let (debug, info) = ("    log_level: debug\n", "    log_level: info\n");
        let changed = match (text.contains(debug), text.contains(info)) {
            (true, _) => text.replace(debug, info),
            (_, true) => text.replace(info, debug),
            _ => text.replace("    datacenter: dc1\n", &format!("    datacenter: dc1\n{debug}")),
        };
        assert_ne!(changed, text);
        fs::write(self.lab.inventory(), changed).unwrap();
    }

    fn write(&mut self) {
        let key = self.keys;
        let put = format!("consul kv put trial/{key} {key}");
        poll("a key is written", Duration::from_secs(30), || {
            (self.lab.ssh("node-1", &put).status == 0).then_some(())
        });
        self.keys += 1;
    }

    /// One more run, with the cause of the trouble gone.
    fn judge(&mut self, what: &str, words: &[&str]) {
        let (command, options) = words.split_first().unwrap();
        let again = self.lab.run(command, options);
        let idle = self.lab.run("up", &[]);
        let keys = self.lab.ssh("node-1", "consul kv get -keys trial/ | wc -l").stdout;
        let flaw = if let Some(flaw) = unsettled(&again, &idle) {
            Some(flaw)
        } else if keys.trim() != self.keys.to_string() {
            Some(format!("{} keys were acknowledged, {} are there", self.keys, keys.trim()))
        } else {
            None
        };
        self.score.count(what, flaw);
    }
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_a_rolling_change_is_killed_at_any_moment() {
    let mut trial = Trial::of(&["--hosts", "3"]);
    trial.lab.run("up", &[]).exits(0);
    trial.change();
    let mut moments = Moments::of(|| drop(trial.lab.run("up", &[]).exits(0)));
    for _ in 0..rounds() {
        trial.write();
        trial.change();
        let what = kill(&trial.lab, &["up"], moments.next());
        trial.judge(&what, &["up"]);
    }
    trial.score.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_add_node_is_killed_at_any_moment() {
    let mut trial = Trial::of(&["--hosts", "4"]);
    let text = fs::read_to_string(trial.lab.inventory()).unwrap();
    let three: String =
        text.lines().filter(|line| !line.contains("node-4")).map(|line| format!("{line}\n")).collect();
    fs::write(trial.lab.inventory(), &three).unwrap();
    trial.lab.run("up", &[]).exits(0);
    let add = ["add-node", "node-4", "--address", "10.77.0.14", "--role", "consul-client"];
    let take_out = |lab: &Lab| {
        lab.run("remove-node", &["node-4", "--yes"]).exits(0);
        assert_eq!(fs::read_to_string(lab.inventory()).unwrap(), three);
        // What it keeps would have it refused, as it must be.
        lab.ssh("node-4", "rm -rf /opt/consul /var/lib/bootstrap").exits(0);
    };
    // The first also installs packages, which takes a time of its own.
    trial.lab.run(add[0], &add[1..]).exits(0);
    take_out(&trial.lab);
    let mut moments = Moments::of(|| drop(trial.lab.run(add[0], &add[1..]).exits(0)));
    take_out(&trial.lab);
    for _ in 0..rounds() {
        trial.write();
        let what = kill(&trial.lab, &add, moments.next());
        let is_in = fs::read_to_string(trial.lab.inventory()).unwrap().contains("node-4");
        trial.judge(&what, if is_in { &["up"] } else { &add });
        take_out(&trial.lab);
    }
    trial.score.report();
}

/// The inventory without a host's own line; its groups name it nowhere.
fn leave_out(lab: &Lab, host: &str) {
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let others: String =
        text.lines().filter(|line| !line.contains(host)).map(|line| format!("{line}\n")).collect();
    fs::write(lab.inventory(), others).unwrap();
}

/// A server takes the place of a dead one, again and again.
#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_replace_node_is_killed_at_any_moment() {
    let mut trial = Trial::of(&["--hosts", "4"]);
    leave_out(&trial.lab, "node-4");
    trial.lab.run("up", &[]).exits(0);
    let (mut lives, mut spare) = ("node-3", "node-4");
    let address = |host: &str| format!("10.77.0.1{}", host.trim_start_matches("node-"));
    let mut moments = None;
    // The first round is undisturbed, and measured.
    for _ in 0..=rounds() {
        trial.write();
        trial.lab.lab(&["kill", lives]);
        let at = address(spare);
        let words = ["replace-node", lives, "--name", spare, "--address", &at, "--yes"];
        match &mut moments {
            None => moments = Some(Moments::of(|| drop(trial.lab.run(words[0], &words[1..]).exits(0)))),
            Some(moments) => {
                let what = kill(&trial.lab, &words, moments.next());
                let is_in = fs::read_to_string(trial.lab.inventory()).unwrap().contains(&format!("{spare}:"));
                trial.judge(&what, if is_in { &["up"] } else { &words });
            }
        }
        trial.lab.lab(&["start", lives]);
        trial.lab.ssh(lives, RESET).exits(0);
        std::mem::swap(&mut lives, &mut spare);
    }
    trial.score.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_remove_node_is_killed_at_any_moment() {
    let mut trial = Trial::of(&["--hosts", "4"]);
    trial.lab.edit("[node-1, node-2, node-3], roles", "[node-1, node-2, node-3, node-4], roles");
    let text = fs::read_to_string(trial.lab.inventory()).unwrap();
    let servers: String =
        text.lines().filter(|line| !line.contains("clients:")).map(|line| format!("{line}\n")).collect();
    fs::write(trial.lab.inventory(), servers).unwrap();
    trial.lab.run("up", &[]).exits(0).says("4 of 4 voters");
    let remove = ["remove-node", "node-4", "--yes"];
    let take_in = |lab: &Lab| {
        lab.ssh("node-4", RESET).exits(0);
        lab.run("add-node", &["node-4", "--address", "10.77.0.14", "--role", "consul-server"]).exits(0);
    };
    let mut moments = Moments::of(|| drop(trial.lab.run(remove[0], &remove[1..]).exits(0)));
    for _ in 0..rounds() {
        take_in(&trial.lab);
        trial.write();
        let what = kill(&trial.lab, &remove, moments.next());
        let is_in = fs::read_to_string(trial.lab.inventory()).unwrap().contains("node-4");
        trial.judge(&what, if is_in { &remove } else { &["up"] });
    }
    trial.score.report();
}

/// Every member takes the snapshot at once: that of etcd, which has no other way.
#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_a_restore_is_killed_at_any_moment() {
    let lab = Lab::of_etcd(3);
    lab.run("up", &[]).exits(0);
    lab.etcdctl("node-1", "put state saved");
    let saved = lab.run("snapshot save", &[]).exits(0).stdout;
    let snapshot = saved.split_whitespace().last().unwrap().to_owned();
    let restore = ["snapshot restore", &snapshot, "--yes"];
    let mut moments = Moments::of(|| drop(lab.run(restore[0], &restore[1..]).exits(0)));
    let mut score = Score::default();
    for _ in 0..rounds() {
        lab.etcdctl("node-1", "put state later");
        let what = kill(&lab, &restore, moments.next());
        let again = lab.run(restore[0], &restore[1..]);
        let idle = lab.run("up", &[]);
        let others = || {
            let states = THREE.map(|host| lab.etcdctl(host, "get --print-value-only state"));
            (states != ["saved"; 3]).then(|| format!("the members have {states:?}"))
        };
        let flaw = unsettled(&again, &idle).or_else(others);
        score.count(&what, flaw);
    }
    score.report();
}

/// Two of four members are lost, and what makes the other two the cluster is killed: the same command again goes on.
#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_recover_is_killed_at_any_moment() {
    let lab = Lab::of_etcd(4);
    let brief = ["--timeout", "4s"];
    let recover = ["recover", "--yes", "--timeout", "30s"];
    lab.run("up", &[]).exits(0);
    let mut moments = None;
    let mut score = Score::default();
    for round in 0..=rounds() {
        lab.etcdctl("node-1", &format!("put round {round}"));
        let dead = ["node-3", "node-4"];
        dead.iter().for_each(|host| lab.lab(&["kill", host]));
        poll("nobody leads", Duration::from_secs(30), || {
            let health = lab.run("health", &brief);
            (health.stdout + &health.stderr).contains("bootstrap recover").then_some(())
        });
        match &mut moments {
            None => moments = Some(Moments::of(|| drop(lab.run(recover[0], &recover[1..]).exits(0)))),
            Some(moments) => {
                let what = kill(&lab, &recover, moments.next());
                // Where it had stopped them all, the first starts them, and the second goes on.
                let mut again = lab.run(recover[0], &recover[1..]);
                if again.stderr.contains("its servers are started") {
                    again = lab.run(recover[0], &recover[1..]);
                }
                let stands = again.status == 0 || again.stderr.contains("quorum stands");
                let states = ["node-1", "node-2"]
                    .map(|host| lab.ssh(host, &format!("{ETCDCTL} get --print-value-only round")).stdout);
                let all = [format!("{round}\n"), format!("{round}\n")];
                let flaw = if !stands {
                    Some(format!("one more run ended with status {}:\n{}", again.status, again.stderr))
                } else {
                    (states != all).then(|| format!("the members have {states:?}"))
                };
                score.count(&what, flaw);
            }
        }
        for host in dead {
            lab.lab(&["start", host]);
            lab.asks(
                host,
                "systemctl stop etcd; mv /var/lib/etcd/member /var/lib/etcd/member.left-$(date +%s)",
            );
        }
        lab.run("up", &[]).exits(0).says("4 of 4 voters");
    }
    score.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_a_rolling_change_is_ended_by_a_signal_at_any_moment() {
    let mut trial = Trial::of(&["--hosts", "3"]);
    trial.lab.run("up", &[]).exits(0);
    trial.change();
    let mut moments = Moments::of(|| drop(trial.lab.run("up", &[]).exits(0)));
    for round in 0..rounds() {
        trial.write();
        trial.change();
        let name = ["TERM", "HUP", "INT"][usize::try_from(round % 3).unwrap()];
        let (what, ended) = signal(&trial.lab, &["up"], moments.next(), name);
        // It may have been through but for its last words.
        if let Some(ran) = ended.filter(|ran| ran.status != 0) {
            assert_eq!(ran.status, 130, "{what}: {}", ran.stderr);
            ran.says("stopped");
        }
        trial.judge(&what, &["up"]);
    }
    trial.score.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_a_host_loses_its_power_at_any_moment_of_a_rolling_change() {
    let mut trial = Trial::of(&["--hosts", "3"]);
    trial.lab.run("up", &[]).exits(0);
    trial.change();
    let mut moments = Moments::of(|| drop(trial.lab.run("up", &[]).exits(0)));
    for round in 0..rounds() {
        trial.write();
        trial.change();
        let host = THREE[usize::try_from(round % 3).unwrap()];
        let moment = moments.next();
        let mut up = bootstrap();
        up.arg("up").arg(trial.lab.inventory()).args(["--timeout", "15s"]);
        let mut running = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        trial.lab.lab(&["kill", host]);
        running.wait().unwrap();
        trial.lab.lab(&["start", host]);
        trial.judge(&format!("{host} lost its power after {:.2} s", moment.as_secs_f64()), &["up"]);
    }
    trial.score.report();
}

/// No key that was acknowledged is lost while five servers change one after another and the program is killed again and again.
#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_five_servers_roll_under_a_writer_and_the_run_is_killed_ten_times() {
    let trial = Trial::of(&["--hosts", "6"]);
    trial.lab.edit("[node-1, node-2, node-3], roles", "[node-1, node-2, node-3, node-4, node-5], roles");
    trial.lab.edit("[node-4, node-5, node-6], roles", "[node-6], roles");
    trial.lab.run("up", &[]).exits(0).says("5 of 5 voters");
    trial.change();
    let mut moments = Moments::of(|| drop(trial.lab.run("up", &[]).exits(0)));
    trial.change();
    let writer = Writer::at(&trial.lab, "node-6");
    for _ in 0..10.min(rounds()) {
        eprintln!("{}", kill(&trial.lab, &["up"], moments.next()));
        // Each time there is something to change.
        trial.change();
    }
    trial.lab.run("up", &[]).exits(0).says("5 of 5 voters");
    writer.assert_kept();
    trial.lab.run("up", &[]).exits(0).says("Nothing to do");
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_each_fault_of_a_host_passes() {
    let mut trial = Trial::of(&["--hosts", "3"]);
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
    trial.lab.lab(&["partition", "node-2"]);
    assert_ne!(trial.lab.run("up", &["--timeout", "15s"]).status, 0, "a partition");
    trial.lab.lab(&["heal", "node-2"]);
    trial.judge("a partition both ways", &["up"]);

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

    trial.score.report();
}

#[test]
#[ignore = "lab: needs root and minutes; run by tests/run --faults"]
fn lab_a_slow_way_to_the_hosts_passes() {
    let mut trial = Trial::of(&["--hosts", "3", "--rtt", "500"]);
    trial.lab.run("up", &[]).exits(0);
    trial.write();
    trial.change();
    trial.judge("hosts 500 ms away", &["up"]);
    trial.score.report();
}
