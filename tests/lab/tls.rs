//! Agents of Consul that speak TLS, on lab hosts: who gets an answer at their ports, and who does not. Needs root.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::{Lab, consul, poll};
use crate::ways::certificate;

const SERVERS: [&str; 3] = ["node-1", "node-2", "node-3"];
const ALL: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];

/// Comes to a server's port for agents in plaintext, by TLS without a certificate, or with that of a file. Then a harmless call: who
/// leads, or a vote in the term 0. Prints how many bytes came back.
const CALL: &str = r#"
import socket, ssl, sys
address, how, kind = sys.argv[1:4]
port, tls, rpc, raft = (int(word) for word in sys.argv[4:8])
def text(word):
    return bytes([0xa0 | len(word)]) + word.encode()
leader = (b"\x82" + text("ServiceMethod") + text("Status.Leader") + text("Seq") + b"\x01"
          + b"\x81" + text("Region") + text("global"))
vote = (b"\x01\x86" + text("ProtocolVersion") + b"\x03" + text("Term") + b"\x00" + text("Candidate") + b"\xa0"
        + text("LastLogIndex") + b"\x00" + text("LastLogTerm") + b"\x00" + text("LeadershipTransfer") + b"\xc2")
said = bytes([rpc]) + leader if kind == "rpc" else bytes([raft]) + vote
came = b""
try:
    link = socket.create_connection((address, port), 3)
    if how != "plain":
        link.sendall(bytes([tls]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if how != "bare":
            context.load_cert_chain(how)
        link = context.wrap_socket(link)
    link.settimeout(3)
    link.sendall(said)
    came = link.recv(4096)
except (OSError, ssl.SSLError):
    pass
print(len(came))
"#;

/// Where servers wait for agents, and the first byte of those who come: by TLS, with a call, with a message of raft.
pub struct Port([u16; 4]);

/// agent/pool/conn.go of Consul.
const CONSUL: Port = Port([8300, 3, 0, 1]);
/// helper/pool/conn.go of Nomad.
pub const NOMAD: Port = Port([4647, 4, 1, 2]);

/// Calls and messages of raft: whoever shows a certificate of the authority is answered, but a client's vote only where `client_votes`; nobody else
/// is. The files are those of [`certificates`].
#[track_caller]
pub fn assert_who_is_answered(port: &Port, lab: &Lab, files: &[String; 3], client_votes: bool) {
    let [server, client, foreign] = files.each_ref().map(String::as_str);
    for (how, kind, is_answered) in [
        (server, "rpc", true),
        (server, "raft", true),
        (client, "rpc", true),
        (client, "raft", client_votes),
        ("plain", "rpc", false),
        ("plain", "raft", false),
        ("bare", "rpc", false),
        (foreign, "rpc", false),
        (foreign, "raft", false),
    ] {
        assert_eq!(answers_at(port, lab, how, kind), is_answered, "{kind} by {how}");
    }
}

/// Whether a server answers such a call.
pub fn answers_at(port: &Port, lab: &Lab, how: &str, kind: &str) -> bool {
    let called = Command::new("python3")
        .args(["-c", CALL, &lab.address("node-1"), how, kind])
        .args(port.0.map(|number| number.to_string()))
        .output()
        .unwrap();
    assert!(called.status.success(), "{}", String::from_utf8_lossy(&called.stderr));
    String::from_utf8(called.stdout).unwrap().trim() != "0"
}

fn answers(lab: &Lab, how: &str, kind: &str) -> bool {
    answers_at(&CONSUL, lab, how, kind)
}

/// Which of these ports of a host take a connection from elsewhere.
pub fn open_ports(lab: &Lab, host: &str, ports: &[u16]) -> Vec<u16> {
    let address = lab.address(host);
    let is_open = |port: &u16| {
        let at = format!("{address}:{port}").parse().unwrap();
        std::net::TcpStream::connect_timeout(&at, Duration::from_secs(2)).is_ok()
    };
    ports.iter().copied().filter(is_open).collect()
}

/// Files with what a server and a client show, node-2 and node-4, and with what nobody's authority has signed, of a server's name.
pub fn certificates(lab: &Lab, folder: &str, name: &str) -> [String; 3] {
    let here = lab.folder.path();
    certificate(here, name);
    let foreign =
        ["cert", "key"].map(|kind| fs::read_to_string(here.join(format!("{name}-{kind}.pem"))).unwrap());
    let shown = |host: &str| lab.asks(host, &format!("cat {folder}/agent.pem"));
    [("server.pem", shown("node-2")), ("client.pem", shown("node-4")), ("foreign.pem", foreign.concat())].map(
        |(file, text)| {
            let path = here.join(file);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        },
    )
}

fn process(lab: &Lab, host: &str) -> String {
    lab.asks(host, "systemctl show -p MainPID --value consul")
}

const SERIAL: &str = "openssl x509 -noout -serial -in /etc/consul.d/tls/agent.pem";

/// Runs: Consul: agents speak TLS from the first start: plaintext, foreign certificates and, from 1.14 on, a client's vote are refused; certificates are renewed without a restart
/// Walks: `bootstrap certs renew` or `bootstrap up` makes it anew; or mend the host's clock
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_agents_speak_tls_from_the_first_start() {
    let lab = Lab::up(&["--hosts", "4"]);
    lab.edit(
        "roles: [consul-client]",
        "roles: [consul-client], vars: { consul: { client_addr: [10.77.0.14] } }",
    );
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    let before = lab.logins("node-1");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    let made = lab.logins("node-1").since(before);
    assert_eq!((made.handshakes, made.sessions), (1, 1));

    // Who has a server's certificate is answered, so that the others are refused for what they show.
    let here = lab.folder.path();
    let files = certificates(&lab, "/etc/consul.d/tls", "server.dc1.consul");
    let [server, _, foreign] = files.each_ref().map(String::as_str);
    // Consul below 1.8.15, 1.9.9 and 1.10.2 takes the vote of any of its certificates (CVE-2021-37219).
    assert_who_is_answered(&CONSUL, &lab, &files, consul() == "1.8.7");

    // By HTTP each host answers itself alone; where others may ask, by HTTPS.
    for host in SERVERS {
        assert_eq!(open_ports(&lab, host, &[8500, 8501, 8300]), [8300], "{host}");
    }
    assert_eq!(open_ports(&lab, "node-4", &[8500, 8501]), [8501]);
    let ca = here.join("ca.pem");
    fs::write(&ca, lab.asks("node-4", "cat /etc/consul.d/tls/ca.pem")).unwrap();
    let asked = Command::new("curl")
        .args(["-fsS", "--max-time", "5", "--noproxy", "*", "--cacert"])
        .arg(&ca)
        .arg("https://10.77.0.14:8501/v1/status/leader")
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));

    // The authority's key is with the operator alone, and the hosts' own are for their agents.
    let secrets = fs::read_to_string(here.join(".bootstrap/dc1/secrets.json")).unwrap();
    let secrets: serde_json::Value = serde_json::from_str(&secrets).unwrap();
    let authority = secrets["values"]["consul.ca"].as_str().unwrap();
    let key = authority.lines().skip_while(|line| !line.contains("PRIVATE KEY")).nth(1).unwrap();
    for host in ALL {
        let found =
            lab.ssh(host, &format!("grep -rlF '{key}' /etc /opt /root /tmp /var/lib /var/log || true"));
        assert_eq!(found.stdout, "", "{host}");
        let modes = lab.asks(host, "cd /etc/consul.d/tls && stat -c '%n %a %U %G' *");
        assert_eq!(modes, "agent.pem 640 root consul\nca.pem 644 root root\n", "{host}");
    }

    // Somebody else's certificate is told and replaced, and one is renewed: agents read both without a restart.
    let (agents, serials) = (ALL.map(|host| process(&lab, host)), ALL.map(|host| lab.asks(host, SERIAL)));
    let text = fs::read_to_string(foreign).unwrap();
    lab.asks("node-2", &format!("cat >/etc/consul.d/tls/agent.pem <<'END'\n{text}END"));
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("another authority signed it, CN=server.dc1.consul"), "{planned}");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    lab.run("certs renew", &["--within", "400"]).exits(0);
    lab.run("certs renew", &[]).exits(0).says("Nothing to do");
    assert_eq!(ALL.map(|host| process(&lab, host)), agents, "an agent was started again");
    for (host, serial) in ALL.iter().zip(serials) {
        assert_ne!(lab.asks(host, SERIAL), serial, "{host}");
    }
    // What came before counts no more for long, and what is dialled now shows the new one.
    assert!(answers(&lab, server, "rpc"), "it is of the same authority");
    lab.asks("node-1", "consul kv put a b");
    poll("all are members", Duration::from_secs(20), || {
        (lab.asks("node-1", "consul members").matches(" alive ").count() == 4).then_some(())
    });
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.run("health", &[]).exits(0);

    // Nobody has run `up` for long: health says so in time, and what is dialled anew fails once it is too late.
    let soon = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 5 -subj /CN=x -keyout /root/k -out /root/c \
        2>/dev/null && cat /root/c /root/k >/etc/consul.d/tls/agent.pem";
    lab.asks("node-3", soon);
    let told = lab.run("health", &[]);
    assert_eq!(told.status, 1, "{}", told.stdout);
    let told = told.stdout + &told.stderr;
    assert!(told.contains("the certificate /etc/consul.d/tls/agent.pem expires in "), "{told}");
    lab.run("up", &[]).exits(0);
    lab.run("health", &[]).exits(0);
}

/// Walks: set `consul: { tls: auto }`; a cluster without TLS is made anew, after `bootstrap down --purge`
/// Runs: Consul: agents without TLS stay as they are until the cluster is made anew
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_agents_that_speak_no_tls_stay_as_they_are() {
    let lab = Lab::up(&["--hosts", "4"]);
    lab.edit("  consul:\n", "  consul:\n    tls: off\n");
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert!(answers(&lab, "plain", "rpc"));
    let said = lab.run("up", &[]).exits(0).says("Nothing to do").says("speak with each other without TLS");
    assert_eq!(said.stderr.matches("without TLS").count(), 1, "{}", said.stderr);
    let told = lab.run("health", &[]).exits(0);
    assert!((told.stdout + &told.stderr).contains("speak with each other without TLS"));
    let agents = ALL.map(|host| process(&lab, host));
    lab.edit("tls: off", "tls: on");
    lab.run("up", &[]).exits(1).says("speak with each other without TLS").says("tls: auto");
    lab.edit("tls: on", "tls: auto");
    lab.run("up", &[]).exits(0).says("Nothing to do");
    // By what the client says of itself, where no server is asked; and while it rests.
    lab.run("up", &["--limit", "node-4"]).exits(0).says("Nothing to do");
    lab.asks("node-4", "systemctl stop consul");
    lab.run("up", &["--limit", "node-4"]).exits(0).says("1 of 1 clients joined");
    // Also while all of them rest: what lies on the hosts says what they speak.
    for host in ALL {
        lab.asks(host, "systemctl stop consul");
    }
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert!(answers(&lab, "plain", "rpc"));
    assert_ne!(ALL.map(|host| process(&lab, host)), agents);

    lab.run("down", &["--purge", "--yes"]).exits(0);
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert!(!answers(&lab, "plain", "rpc"));
    lab.run("up", &[]).exits(0).says("Nothing to do");
    lab.edit("tls: auto", "tls: off");
    lab.run("up", &[]).exits(1).says("speak TLS with each other").says("tls: auto");
    lab.edit("tls: off", "tls: auto");
    for host in ALL {
        lab.asks(host, "systemctl stop consul");
    }
    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert!(!answers(&lab, "plain", "rpc"));
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
