//! A product's own pages in a browser of this machine, and its programs on the hosts. Needs root.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{Lab, bootstrap};

/// `bootstrap ui`, which ends with the test.
struct Ui {
    child: Child,
    link: String,
}

impl Ui {
    fn open(lab: &Lab, words: &[&str]) -> Self {
        let mut child = bootstrap()
            .arg("ui")
            .arg(lab.inventory())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut link = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut link).unwrap();
        Self { child, link: link.trim().to_owned() }
    }

    /// `http://127.0.0.1:PORT`, as the link begins.
    fn site(&self) -> &str {
        self.link.rsplit_once('/').unwrap().0
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What curl gets: the status, and the body.
fn curl(words: &[&str]) -> (String, String) {
    let asked = Command::new("curl")
        .args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"])
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8(asked.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// Runs: Consul: its own pages in a browser of the operator's machine, for that browser alone, and nothing is changed from there unasked
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_ui_is_for_one_browser_and_changes_nothing_unasked() {
    let lab = Lab::up(&[]);
    lab.sets_consul("acl: auto");
    lab.run("ui", &["nomad"]).exits(1).says("no host of the inventory has an agent of nomad");
    lab.run("ui", &[]).exits(1).says("its agent does not answer").says("node-3");
    lab.run("up", &[]).exits(0);
    // The first that answers.
    lab.asks("node-1", "systemctl stop consul");
    let ui = Ui::open(&lab, &[]);
    let jar = lab.folder.path().join("jar").display().to_string();
    let page = format!("{}/ui/", ui.site());
    assert_eq!(curl(&[&page]).0, "403", "without the link");
    assert_eq!(curl(&["-c", &jar, &ui.link]).0, "303");
    assert_eq!(curl(&[&ui.link]).0, "410", "the link counts once");
    let (status, text) = curl(&["-b", &jar, "-L", &page]);
    assert!(status == "200" && text.contains("<title>Consul"), "{status} {text}");
    // A page of elsewhere that has its name led here.
    assert_eq!(curl(&["-b", &jar, "-H", "Host: evil.example.test", &page]).0, "421");
    let leader = format!("{}/v1/status/leader", ui.site());
    let (status, text) = curl(&["-b", &jar, &leader]);
    assert!(status == "200" && text.contains(":8300"), "{status} {text}");
    let key = format!("{}/v1/kv/from-ui", ui.site());
    let put = ["-b", &jar, "-X", "PUT", "-d", "1", &key];
    assert_eq!(curl(&put).0, "403");
    // Who looks on is shown what agents say of themselves, and no keys; the browser shows nothing for it.
    let (status, text) = curl(&["-b", &jar, &format!("{}/v1/agent/self", ui.site())]);
    assert!(status == "200" && text.contains("\"NodeName\":\"node-2\""), "{status} {text}");
    let (status, text) = curl(&["-b", &jar, "-H", "X-Consul-Token;", &key]);
    assert!(status != "200" && text.contains("Permission denied"), "{status} {text}");
    lab.ssh("node-2", "consul kv get from-ui").exits(1).says("No key exists");
    drop(ui);

    let ui = Ui::open(&lab, &["consul", "--write"]);
    curl(&["-c", &jar, &ui.link]);
    let key = format!("{}/v1/kv/from-ui", ui.site());
    assert_eq!(curl(&["-b", &jar, "-X", "PUT", "-d", "1", &key]), ("200".to_owned(), "true".to_owned()));
    drop(ui);

    lab.asks("node-1", "systemctl start consul");
    lab.run("up", &[]).exits(0);
    // Programs of the hosts find their agents; of the first that answers, or of the one that is named.
    let exec = |words: &[&str]| lab.run("exec", words);
    let said = exec(&["--", "consul", "kv", "get", "from-ui"]).exits(0);
    assert_eq!(said.stdout, "1\n");
    let said = exec(&[
        "node-3",
        "--",
        "sh",
        "-c",
        "hostname; echo \"$1\" $CONSUL_HTTP_ADDR; exit 7",
        "x",
        "it's  $(a)",
    ]);
    assert_eq!(said.stdout, "node-3\nit's  $(a) http://127.0.0.1:8500\n", "{}", said.stderr);
    assert_eq!(said.status, 7);
    exec(&["--", "consul", "kv", "get", "nothing"]).exits(1).says("No key exists");
    exec(&["node-9", "--", "true"]).exits(1).says("the inventory has no host `node-9`");
    exec(&["node-2", "--", "no-such-program"]).exits(127);

    // Where it is switched off that is told.
    lab.edit("  consul:\n", "  consul:\n    ui: false\n");
    lab.run("up", &[]).exits(0);
    lab.run("ui", &["consul"]).exits(1).says("has no UI").says("`ui: false`");
}
