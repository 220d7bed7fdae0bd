//! One MariaDB that fails over, on hosts with a lease in Consul, under a writer, while what can happen to it happens. Its data lies
//! on a folder that the hosts have in common.

use std::time::{Duration, Instant};

use crate::support::{Lab, bootstrap, poll};

/// MariaDB on `node-1` and `node-2`; clients ask on `node-3`, by the name. The password has all that could end a text too early.
fn with_mariadb(lab: &Lab) {
    lab.edit(
        "groups:\n",
        "groups:\n  data: { hosts: [node-1, node-2], roles: [mariadb] }\n  names: { hosts: [\"node-*\"], roles: [dns] }\n",
    );
    lab.edit(
        "vars:\n",
        &format!(
            "vars:\n  mariadb:\n    data: /shared/mariadb\n    database: shop\n    password: {PASSWORD:?}\n    backup_dir: /shared/backups\n"
        ),
    );
}

const PASSWORD: &str = "it's \\ \"secret\" #1";

/// The host that has the lease, as Consul says.
fn holder(lab: &Lab) -> Option<String> {
    let ran = lab.ssh("node-3", "consul kv get -detailed bootstrap/mariadb/lease");
    let line = |key: &str| {
        let value = ran.stdout.lines().find_map(|line| line.strip_prefix(key));
        value.map(str::trim).filter(|value| !value.is_empty() && *value != "-").map(str::to_owned)
    };
    line("Session")?;
    line("Value")
}

/// A writer by the service's name: each row is a connection of its own, which says when it was acknowledged, in milliseconds.
struct Writer<'l> {
    lab: &'l Lab,
}

/// What a client saw of one fault.
#[derive(Debug)]
struct Seen {
    /// Rows that were acknowledged, and the longest time without one.
    acknowledged: usize,
    gap: Duration,
    failed: usize,
}

impl<'l> Writer<'l> {
    fn at_node_3(lab: &'l Lab) -> Self {
        lab.asks(
            "node-3",
            &format!(
                "cat >/root/client.cnf <<'E'\n[client]\nuser=app\npassword=\"{}\"\nconnect_timeout=2\nE\n\
                 cat >/root/writer <<'E'\nn=0\nwhile [ ! -e /root/over ]; do\n  n=$((n + 1))\n  \
                 if timeout 4 mariadb --defaults-file=/root/client.cnf -h $1 shop -e \"INSERT INTO orders VALUES ('$2-$n')\" 2>/root/$2.error; \
                 then echo \"$2-$n $(($(date +%s%N) / 1000000))\" >>/root/$2.acknowledged; else echo \"$2-$n\" >>/root/$2.failed; sleep 0.1; fi\n  sleep 0.02\ndone\nE\n\
                 DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mariadb-client >/dev/null",
                // Of an option file `\\` is a backslash, and quotes keep the rest as it is.
                PASSWORD.replace('\\', "\\\\").replace('"', "\\\"")
            ),
        );
        lab.asks("node-3", "mariadb --defaults-file=/root/client.cnf -h mariadb.service.consul shop -e 'CREATE TABLE orders (id VARCHAR(40) PRIMARY KEY)'");
        let writer = Self { lab };
        writer.start();
        writer
    }

    fn start(&self) {
        self.lab.asks(
            "node-3",
            "rm -f /root/over; systemd-run -q --unit writer sh /root/writer mariadb.service.consul name",
        );
    }

    fn count(&self) -> usize {
        self.lab.asks("node-3", "cat /root/name.acknowledged 2>/dev/null | wc -l").trim().parse().unwrap()
    }

    /// Does this, and waits until rows are acknowledged again, for as long as `limit`.
    #[track_caller]
    fn during(&self, what: &str, limit: Duration, fault: impl FnOnce()) -> Seen {
        let before = self.count();
        poll("rows before", Duration::from_secs(20), || (self.count() > before + 5).then_some(()));
        let before = self.count();
        fault();
        // What is acknowledged from now on is not from before the fault.
        let after = self.count();
        poll(what, limit + Duration::from_secs(30), || (self.count() > after + 20).then_some(()));
        let rows = self.lab.asks("node-3", &format!("tail -n +{before} /root/name.acknowledged"));
        let times: Vec<u64> =
            rows.lines().map(|row| row.split_once(' ').unwrap().1.parse().unwrap()).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        let failed =
            self.lab.asks("node-3", "cat /root/name.failed 2>/dev/null | wc -l; rm -f /root/name.failed");
        let seen = Seen {
            acknowledged: times.len(),
            gap: Duration::from_millis(gap),
            failed: failed.trim().parse().unwrap(),
        };
        println!(
            "{what}: {:.1} s without a row, {} acknowledged, {} failed",
            seen.gap.as_secs_f64(),
            seen.acknowledged,
            seen.failed
        );
        assert!(seen.gap <= limit, "{what}: {seen:?}");
        seen
    }

    /// Ends it; every row that anybody was told is written is there.
    #[track_caller]
    fn assert_kept(self) {
        self.lab.asks("node-3", "touch /root/over; while systemctl -q is-active writer; do sleep 0.1; done");
        let lost = self.lab.asks(
            "node-3",
            "mariadb --defaults-file=/root/client.cnf -h mariadb.service.consul shop -N -e 'SELECT id FROM orders' | sort >/root/there; \
             cat /root/*.acknowledged | cut -d ' ' -f 1 | sort >/root/told; comm -23 /root/told /root/there",
        );
        assert_eq!(lost, "", "acknowledged and lost");
        println!("{} rows acknowledged, 0 lost", self.lab.asks("node-3", "wc -l </root/told").trim());
    }
}

/// In time for one that comes back by itself, and for one whose host is gone.
const SOON: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(30);

/// The other one of the two hosts.
fn other(host: &str) -> &'static str {
    if host == "node-1" { "node-2" } else { "node-1" }
}

fn other_serves(lab: &Lab, first: &str) {
    poll("the other one serves", LATE, || (holder(lab).as_deref() == Some(other(first))).then_some(()));
}

/// Its host is cut off with a client of its own: both write while they can, the old one only until it has stopped, and the other starts
/// later. `own` is the client's name.
fn cut_off(writer: &Writer<'_>, what: &str, own: &str, options: &[&str]) {
    let lab = writer.lab;
    poll("both hosts are there", Duration::from_secs(60), || {
        lab.ssh("node-3", "consul members | grep -c alive").stdout.starts_with('3').then_some(())
    });
    let first = holder(lab).unwrap();
    let address = lab.address(&first);
    lab.asks("node-3", "tar -C /root -cf /shared/client.tar client.cnf writer");
    lab.asks(
        &first,
        &format!(
            "rm -f /root/over; tar -C /root -xf /shared/client.tar; systemd-run -q --unit writer sh /root/writer {address} {own}"
        ),
    );
    writer.during(what, LATE, || {
        poll("rows on its own host", SOON, || {
            (lab.ssh(&first, &format!("test -s /root/{own}.acknowledged")).status == 0).then_some(())
        });
        lab.lab(&[&["partition", &first][..], options].concat());
        other_serves(lab, &first);
    });
    lab.asks(&first, "touch /root/over; while systemctl -q is-active writer; do sleep 0.1; done; systemctl reset-failed writer 2>/dev/null || true");
    let last_of_old: u64 = lab
        .asks(&first, &format!("tail -n 1 /root/{own}.acknowledged | cut -d ' ' -f 2"))
        .trim()
        .parse()
        .unwrap();
    let started = lab.asks(other(&first), "journalctl -u bootstrap-mariadb -o short-unix --no-pager | grep 'serves, with the lease' | tail -n 1 | cut -d ' ' -f 1");
    let started: f64 = started.trim().parse().unwrap();
    let apart = started - last_of_old as f64 / 1000.0;
    println!("{what}: the old one's last row came {apart:.1} s before the new one served");
    assert!(apart > 0.0, "two at once");
    // Its rows count too.
    lab.asks(&first, &format!("cp /root/{own}.acknowledged /shared/"));
    lab.asks("node-3", &format!("mv /shared/{own}.acknowledged /root/"));
    lab.lab(&["heal", &first]);
}

/// Runs: MariaDB: one on two hosts, by a lease: killed, its host's power and network cut under a writer; a backup restored
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_one_mariadb_fails_over() {
    let lab = standing();
    lab.run("up", &[]).exits(0).says("Nothing to do");
    for host in ["node-1", "node-2", "node-3"] {
        let shown = lab.asks(host, "ps axww; journalctl --no-pager -o cat; cat /etc/bootstrap-mariadb/my.cnf /etc/bootstrap-mariadb/guard 2>/dev/null; true");
        assert!(!shown.contains("secret\""), "the password is seen on {host}");
    }

    let writer = Writer::at_node_3(&lab);
    let first = holder(&lab).unwrap();
    writer.during("MariaDB killed", SOON, || drop(lab.asks(&first, "pkill -9 mariadbd")));
    writer.during("its supervisor killed", SOON, || {
        lab.asks(&first, "kill -9 $(systemctl show -P MainPID bootstrap-mariadb)");
    });
    let first = holder(&lab).unwrap();
    writer.during("its host's power cut", LATE, || {
        lab.lab(&["kill", &first]);
        other_serves(&lab, &first);
    });
    lab.lab(&["start", &first]);
    cut_off(&writer, "its network cut", "near", &[]);
    writer.assert_kept();
    lab.run("up", &[]).exits(0);

    // A backup, restored into an instance of its own.
    let first = holder(&lab).unwrap();
    let file = lab
        .asks(&first, "systemctl start bootstrap-mariadb-backup && ls /shared/backups/*.sql.gz")
        .trim()
        .to_owned();
    assert_eq!(lab.asks(&first, &format!("stat -c '%a %U' {file}")), "600 root\n");
    let rows = lab.asks("node-3", "wc -l </root/there").trim().to_owned();
    let restored = lab.asks(
        other(&first),
        &format!(
            "set -e; mariadb-install-db --no-defaults --user=mysql --datadir=/tmp/restored --auth-root-authentication-method=socket >/dev/null 2>&1; \
             setpriv --reuid=3306 --regid=3306 --clear-groups mariadbd --no-defaults --datadir=/tmp/restored --socket=/tmp/restored/s --skip-networking 2>/dev/null & \
             for n in $(seq 60); do mariadb-admin --no-defaults -S /tmp/restored/s ping >/dev/null 2>&1 && break; sleep 1; done; \
             zcat {file} | mariadb --no-defaults -S /tmp/restored/s; mariadb --no-defaults -S /tmp/restored/s shop -N -e 'SELECT COUNT(*) FROM orders'; \
             mariadb-admin --no-defaults -S /tmp/restored/s shutdown; rm -rf /tmp/restored"
        ),
    );
    assert_eq!(restored.trim(), rows, "rows of the backup");
}

/// Runs: MariaDB: its supervisor hangs, it is stopped, its agent is restarted and stopped, its network cut one way
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_one_mariadb_and_what_else_can_happen_to_it() {
    let lab = standing();
    let writer = Writer::at_node_3(&lab);
    let first = holder(&lab).unwrap();
    writer.during("its supervisor hangs", LATE, || {
        let process = || lab.asks(&first, "systemctl show -P MainPID bootstrap-mariadb");
        let hangs = process();
        lab.asks(&first, &format!("kill -STOP {hangs}"));
        poll("it is killed", LATE, || (process() != hangs).then_some(()));
    });
    let first = holder(&lab).unwrap();
    // Under load it may be away for as long as one that is gone; then MariaDB starts again with the same session.
    writer.during("its agent restarted", SOON, || drop(lab.asks(&first, "systemctl restart consul")));
    writer.during("stopped", SOON, || drop(lab.asks(&first, "systemctl stop bootstrap-mariadb")));
    other_serves(&lab, &first);
    lab.asks(&first, "systemctl start bootstrap-mariadb");
    let first = holder(&lab).unwrap();
    writer.during("its agent stopped", LATE, || {
        lab.asks(&first, "systemctl stop consul");
        other_serves(&lab, &first);
    });
    lab.asks(&first, "systemctl start consul");
    cut_off(&writer, "its network cut one way", "beside", &["--one-way"]);
    writer.assert_kept();
}

/// Two servers of Consul and MariaDB and one more, as above, without a client of the test's own.
fn standing() -> Lab {
    let lab = Lab::up(&["--hosts", "3"]);
    lab.sets_consul("acl: auto");
    with_mariadb(&lab);
    lab.asks("node-1", "install -d -m 0750 -o 3306 -g 3306 /shared/mariadb");
    let began = Instant::now();
    lab.run("up", &[]).exits(0);
    println!("from bare hosts to MariaDB: {:.0} s", began.elapsed().as_secs_f64());
    lab
}

/// Bad input for what serves already, and the role taken away.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_what_would_cost_data_is_told() {
    let lab = standing();
    lab.asks("node-1", "systemctl stop bootstrap-mariadb");
    lab.asks("node-2", "systemctl stop bootstrap-mariadb");
    for (spoil, mend, said) in [
        (
            "echo 'mariadb of elsewhere' >/shared/mariadb/owner",
            "echo 'mariadb of dc1' >/shared/mariadb/owner",
            "belongs to mariadb of elsewhere",
        ),
        (
            "echo 99.1.0-MariaDB >/shared/mariadb/release",
            "rm /shared/mariadb/release",
            "was written by MariaDB 99.1",
        ),
        ("mv /shared/mariadb /shared/away", "mv /shared/away /shared/mariadb", "is not there"),
        (
            "chown 0:0 /shared/mariadb",
            "chown 3306:3306 /shared/mariadb",
            "may not be read by the account mysql, number 3306",
        ),
    ] {
        lab.asks("node-1", spoil);
        lab.run("up", &["--timeout", "5s"]).exits(4).says(said).says("node-1");
        lab.asks("node-1", mend);
        lab.run("up", &[]).exits(0);
        lab.asks("node-1", "systemctl stop bootstrap-mariadb");
        lab.asks("node-2", "systemctl stop bootstrap-mariadb");
    }

    // Without the role its programs' data stays, and nothing else.
    lab.edit("roles: [mariadb]", "roles: []");
    lab.run("up", &[]).exits(0);
    lab.asks("node-1", "test ! -e /etc/bootstrap-mariadb && test ! -e /etc/systemd/system/bootstrap-mariadb.service && test -d /shared/mariadb/db");
    assert_eq!(holder(&lab), None);
}

/// What is cut is put back, also by the next run where the drill itself was killed; who may not be drilled is told why.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_drill_of_an_application_is_put_back() {
    let lab = standing();
    lab.run("drill", &["--app", "mariadb", "--fault", "flood"]).exits(4).says("it can be: task killed, ");
    lab.run("drill", &["--app", "dns"]).exits(4).says("those that can be: mariadb");
    let ran = lab
        .run("drill", &["--app", "mariadb", "--fault", "network cut", "--fault", "task killed", "--yes"])
        .exits(0);
    println!("{}", ran.stdout);
    for line in ["task killed", "network cut"] {
        assert!(ran.stdout.contains(line), "{}", ran.stdout);
    }
    let routes = || ["node-1", "node-2", "node-3"].map(|host| lab.asks(host, "ip route show type blackhole"));
    assert_eq!(routes().concat(), "");

    // Killed in the middle: the next run puts back what it finds.
    let mut drill = bootstrap()
        .args([
            "drill",
            lab.inventory().to_str().unwrap(),
            "--app",
            "mariadb",
            "--fault",
            "network cut",
            "--yes",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    poll("the network is cut", Duration::from_secs(60), || {
        routes().iter().all(|host| !host.is_empty()).then_some(())
    });
    // Another operator leaves it alone while it is at work.
    lab.run("up", &[]).exits(1).says("locked by");
    drill.kill().unwrap();
    drill.wait().unwrap();
    poll("the locks go with it", Duration::from_secs(60), || {
        let ran = lab.run("up", &[]);
        (!ran.stderr.contains("locked by")).then_some(ran)
    })
    .says("what a drill that was interrupted had done is put back")
    .exits(0);
    assert_eq!(routes().concat(), "");
    // Nor does its client go on.
    for host in ["node-1", "node-2", "node-3"] {
        lab.ssh(host, "systemctl is-active -q bootstrap-drill-client").exits(3);
    }
    lab.run("up", &[]).exits(0).says("Nothing to do");
}

/// All that can happen to it, for the table in the documentation.
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_drill_of_all_that_can_happen() {
    let lab = standing();
    let page = lab.folder.path().join("drill.html");
    let ran = lab
        .run("drill", &["--app", "mariadb", "--power", "--yes", "--timings", page.to_str().unwrap()])
        .exits(0);
    println!("{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 8, "{}", ran.stdout);
    std::fs::copy(page, "target/drill.html").unwrap();
}
