//! Releases that only the operator's machine can reach, signed ones, and bundles, with a real Consul on real hosts
//! and a signature by real GnuPG.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Lab, Ran, bootstrap, poll};

const THREE: [&str; 3] = ["node-1", "node-2", "node-3"];
const ZIP: &str = "consul_1.14.11_linux_amd64.zip";
const SUMS: &str = "consul_1.14.11_SHA256SUMS";
/// Hosts have a loopback of their own: there they find nobody.
const SITE: &str = "127.0.0.1:8098";

/// A vendor with a key made for this test, and a site that serves what it signed.
struct Vendor {
    folder: tempfile::TempDir,
    fingerprint: String,
    server: Option<Child>,
}

impl Vendor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut vendor = Self { folder, fingerprint: String::new(), server: None };
        let release = vendor.release();
        fs::create_dir_all(&release).unwrap();
        for name in [ZIP, SUMS] {
            let cached = Path::new("/var/cache/bootstrap-lab/mirror/consul/1.14.11").join(name);
            fs::copy(cached, release.join(name)).unwrap();
        }
        vendor.gpg(&["--quick-generate-key", "Vendor <vendor@example.org>", "rsa3072", "sign", "1d"]);
        let listed = vendor.gpg(&["--with-colons", "--list-keys"]);
        let line = listed.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
        vendor.fingerprint = line.split(':').nth(9).unwrap().to_owned();
        let sums = release.join(SUMS).display().to_string();
        vendor.gpg(&["--output", &format!("{sums}.sig"), "--detach-sign", &sums]);
        vendor.serve();
        vendor
    }

    fn release(&self) -> std::path::PathBuf {
        self.folder.path().join("site/consul/1.14.11")
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        let home = self.folder.path().join("gnupg");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut call = Command::new("gpg");
        call.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--homedir"])
            .arg(&home);
        let output = call.args(arguments).output().expect("gpg is needed: install gnupg");
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn serve(&mut self) {
        let server = Command::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", "8098", "--directory"])
            .arg(self.folder.path().join("site"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.unwrap());
        poll("the site listens", Duration::from_secs(10), || std::net::TcpStream::connect(SITE).ok());
    }

    /// Takes the site off the net.
    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Lets the inventory have this vendor's releases pushed, and puts the key beside it.
    fn supplies(&self, lab: &Lab) {
        fs::write(lab.folder.path().join("vendor.asc"), self.gpg(&["--armor", "--export"])).unwrap();
        let text = fs::read_to_string(lab.inventory()).unwrap();
        let start = text.find("source:").unwrap();
        let end = start + text[start..].find('\n').unwrap();
        let lines = [
            format!("source: {{ mirror: \"http://{SITE}\" }}"),
            "via: controller".to_owned(),
            "signature: required".to_owned(),
            format!("signing_key: {}", self.fingerprint),
            "signing_key_file: vendor.asc".to_owned(),
        ];
        lab.edit(&text[start..end], &lines.join("\n    "));
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.stop();
        let home = self.folder.path().join("gnupg");
        let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "gpg-agent"]).status();
    }
}

fn run(lab: &Lab, command: &str, cache: &Path) -> Ran {
    lab.run_with(command, &[], &[("XDG_CACHE_HOME", cache.to_str().unwrap())])
}

#[track_caller]
fn assert_quorum(lab: &Lab) {
    for host in THREE {
        let peers = lab.asks(host, "consul operator raft list-peers");
        assert_eq!(peers.matches("true").count(), 3, "{host}: {peers}");
        assert_eq!(peers.matches("leader").count(), 1, "{host}: {peers}");
    }
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_what_only_the_controller_reaches_is_verified_and_pushed() {
    let lab = Lab::up(&[]);
    let cache = lab.folder.path().join("cache");
    // The lab's own mirror signs nothing: hosts may use it, and the operator is told.
    let planned = run(&lab, "plan", &cache).exits(0).says("has no signature");
    assert!(
        planned.stdout.contains("release_from_site") || planned.stdout.contains("release consul 1.14.11")
    );
    let mut vendor = Vendor::new();
    vendor.supplies(&lab);

    let sums = vendor.release().join(SUMS);
    let genuine = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, genuine.replace("  ", " *")).unwrap();
    run(&lab, "up", &cache).exits(1).says("is not believed").says("the file was changed");
    fs::write(&sums, &genuine).unwrap();
    let zip = vendor.release().join(ZIP);
    let whole = fs::read(&zip).unwrap();
    fs::write(&zip, &whole[..whole.len() / 2]).unwrap();
    run(&lab, "up", &cache).exits(1).says("wrong checksum");
    fs::write(&zip, &whole).unwrap();
    for host in THREE {
        lab.ssh(
            host,
            "test ! -e /var/lib/bootstrap/incoming && test ! -e /opt/bootstrap && test ! -e /etc/consul.d",
        )
        .exits(0);
    }

    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    run(&lab, "up", &cache).exits(0).says("leader").says(ZIP);
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!(made.handshakes, 1, "{host}: first up");
        // Observe, push, prepare, activate.
        assert!(made.sessions <= 5, "{host}: first up took {} sessions", made.sessions);
    }
    assert_quorum(&lab);
    for host in THREE {
        assert_eq!(lab.asks(host, "ls -A /var/lib/bootstrap/incoming"), "", "{host}: pushed files stay");
    }

    // Nothing to do needs neither site nor cache.
    vendor.stop();
    fs::remove_dir_all(&cache).unwrap();
    let before: Vec<_> = THREE.iter().map(|host| lab.logins(host)).collect();
    run(&lab, "up", &cache).exits(0).says("Nothing to do");
    for (host, before) in THREE.iter().zip(before) {
        let made = lab.logins(host).since(before);
        assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
    }
    assert!(!cache.exists(), "up with nothing to do has fetched something");
}

#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_a_bundle_sets_up_a_cluster_without_its_site() {
    let lab = Lab::up(&[]);
    let mut vendor = Vendor::new();
    vendor.supplies(&lab);
    let bundle = lab.folder.path().join("cluster.bundle");
    let bundle_command = |words: &[&str], cache: &Path| {
        let mut call = bootstrap();
        call.arg("bundle").args(words).env("XDG_CACHE_HOME", cache);
        let output = call.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &said)
    };
    let (here, there) = (lab.folder.path().join("here"), lab.folder.path().join("there"));
    let inventory = lab.inventory().display().to_string();
    let file = bundle.display().to_string();
    let (made, said) = bundle_command(&["create", &inventory, &file], &here);
    assert!(made && said.contains("consul 1.14.11 amd64") && said.contains(&vendor.fingerprint), "{said}");
    vendor.stop();

    let whole = fs::read(&bundle).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for broken in [&damaged[..], &whole[..whole.len() / 2]] {
        fs::write(&bundle, broken).unwrap();
        let (used, said) = bundle_command(&["use", &file], &there);
        assert!(!used && said.contains("is damaged"), "{said}");
        run(&lab, "up", &there).exits(1).says("cannot reach").says("bundle");
    }
    fs::write(&bundle, whole).unwrap();
    let (used, said) = bundle_command(&["use", &file], &there);
    assert!(used, "{said}");
    run(&lab, "up", &there).exits(0).says("leader");
    assert_quorum(&lab);
    run(&lab, "up", &there).exits(0).says("Nothing to do");
}
