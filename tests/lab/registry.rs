//! A registry of images on lab hosts, with what pulls from it: the Docker engine and containerd, as Debian has them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::{Lab, poll};
use crate::ways::{bring_backend, start};

/// The registry is on the third host; `images` are lines of `registry.images`.
fn with_registry(lab: &Lab, images: &str) {
    lab.edit(
        "groups:\n",
        "groups:\n  registry: { hosts: [node-3], roles: [registry] }\n  \
         docker: { hosts: [node-1], roles: [docker, registry-client] }\n  \
         containerd: { hosts: [node-2], roles: [container-runtime, registry-client] }\n",
    );
    lab.edit(
        "vars:\n",
        &format!(
            "vars:\n  docker: {{ daemon: {{ storage-driver: vfs }} }}\n  container: {{ crictl: present }}\n  \
             registry: {{ images: [{images}] }}\n"
        ),
    );
}

/// Makes the archive of an image beside the inventory: `cat`, and a page that says `text`.
fn make_image(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let folder = lab.folder.path().join("images");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("page"), text).unwrap();
    let made = Command::new("python3")
        .args(["tests/products/image", folder.to_str().unwrap(), name])
        .args(["--root", "/var/cache/bootstrap-lab/bookworm", "/usr/bin/cat"])
        .arg(format!("{}=/page", folder.join("page").display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder.join(name.replace(['/', ':'], "_") + ".tar")
}

/// What a container of an image says that Docker pulls anew.
#[track_caller]
fn page(lab: &Lab, image: &str) -> String {
    lab.asks("node-1", &format!("docker pull -q {image} >/dev/null && docker run --rm {image} cat /page"))
}

/// What Docker says of an image that it cannot pull.
#[track_caller]
fn pull_fails(lab: &Lab, image: &str) -> String {
    let ran = lab.ssh("node-1", &format!("docker pull {image}"));
    assert_ne!(ran.status, 0, "{image} was pulled: {}", ran.stdout);
    ran.stderr
}

/// As the kubelet's runtime does it, by the files of its folder of certificates. No overlay: the lab's hosts are overlays themselves.
fn containerd_pull(image: &str) -> String {
    format!("ctr images pull --snapshotter native --hosts-dir /etc/containerd/certs.d {image}")
}

/// The process of the registry.
fn registry(lab: &Lab) -> String {
    lab.asks("node-3", "systemctl show -p MainPID docker-registry.service")
}

/// Runs: docker-registry: images pushed from archives, pulled by Docker and containerd over TLS by the cluster's own authority
/// Runs: containerd: pulls from a registry that it knows by a file
#[test]
#[ignore = "lab: needs root; run by tests/run"]
fn lab_images_come_from_a_registry_of_the_cluster() {
    let lab = Lab::up(&[]);
    with_registry(&lab, "{ file: images/lab.example_page_1.tar }");
    let archive = make_image(&lab, "lab.example/page:1", "one\n");
    let image = format!("{}:5000/page:1", lab.address("node-3"));

    // What is not there, or no archive, is told before anything is changed.
    let bare = || lab.asks("node-3", "ls -A /etc/systemd/system /var/lib/bootstrap 2>&1 || true");
    let before = bare();
    let away = archive.with_extension("away");
    fs::rename(&archive, &away).unwrap();
    lab.run("up", &[]).exits(1).says("lab.example_page_1.tar").says("No such file");
    fs::write(&archive, "<html>please log in</html>").unwrap();
    lab.run("up", &[]).exits(1).says("lab.example_page_1.tar").says("it is no tar archive");
    fs::rename(&away, &archive).unwrap();
    bring_backend(&lab, "node-3");
    start(&lab, "node-3", 5000);
    poll("the port is taken", Duration::from_secs(10), || {
        (lab.ssh("node-3", "ss -Hltn sport = :5000 | grep -q .").status == 0).then_some(())
    });
    let refused = lab.run("up", &[]);
    assert_ne!(refused.status, 0);
    let refused = refused.says("port 5000/tcp is taken by");
    assert!(refused.stderr.contains("node-3"), "{}", refused.stderr);
    assert_eq!(bare(), before, "nothing was changed");
    lab.asks("node-3", "systemctl stop backend-5000");

    lab.run("up", &[]).exits(0).says("3 of 3 voters");
    assert_eq!(page(&lab, &image), "one\n");
    lab.asks("node-2", &containerd_pull(&image));
    // Without that folder it does not know whose certificate that is.
    let stranger = lab.ssh("node-2", &format!("ctr images pull --snapshotter native {image}"));
    assert!(stranger.status != 0 && stranger.stderr.contains("x509"), "{}", stranger.stderr);
    // The authority's key is nowhere but with the operator.
    let modes = lab.asks("node-3", "cd /etc/bootstrap-registry/pki && stat -c '%n %a %U %G' *");
    assert_eq!(modes, "server.pem 640 root docker-registry\n");
    let idle = || {
        let before = ["node-1", "node-2", "node-3"].map(|host| (host, lab.logins(host)));
        lab.run("up", &[]).exits(0).says("Nothing to do");
        for (host, before) in before {
            let made = lab.logins(host).since(before);
            assert_eq!((made.handshakes, made.sessions), (1, 1), "{host}: up with nothing to do");
        }
    };
    idle();
    lab.run("health", &[]).exits(0);

    // An authority that is not the cluster's, which the next run puts right.
    let trusted = format!("/etc/docker/certs.d/{}:5000/ca.crt", lab.address("node-3"));
    lab.asks(
        "node-1",
        &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=other \
             -keyout /dev/null -out {trusted} 2>&1"
        ),
    );
    let said = pull_fails(&lab, &image);
    assert!(said.contains("x509"), "{said}");
    lab.run("health", &[]).exits(1).says("the registry is there, with a certificate of its authority");
    lab.run("up", &[]).exits(0);
    assert_eq!(page(&lab, &image), "one\n");

    // So is a certificate that is another's, and one that is to be renewed.
    let shows = || {
        let asks =
            "openssl s_client -connect 127.0.0.1:5000 </dev/null 2>/dev/null | openssl x509 -noout -serial";
        lab.asks("node-3", &asks.replace("127.0.0.1", &lab.address("node-3")))
    };
    let first = shows();
    lab.asks(
        "node-3",
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=other \
           -keyout /root/key -out /root/crt 2>&1 && cat /root/crt /root/key >/etc/bootstrap-registry/pki/server.pem",
    );
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("another authority signed it, CN=other"), "{planned}");
    lab.run("up", &[]).exits(0);
    let second = shows();
    lab.run("certs renew", &["--within", "400"]).exits(0);
    let third = shows();
    assert!(first != second && second != third, "{first} {second} {third}");
    lab.run("certs renew", &[]).exits(0).says("Nothing to do");
    assert_eq!(page(&lab, &image), "one\n");
    idle();

    // Another archive under the same name: that alone is brought and pushed, and nothing restarts.
    let running = registry(&lab);
    make_image(&lab, "lab.example/page:1", "two\n");
    let planned = lab.run("plan", &[]).exits(0).stdout;
    assert!(planned.contains("not yet from images/lab.example_page_1.tar as it is"), "{planned}");
    lab.run("up", &[]).exits(0);
    assert_eq!(page(&lab, &image), "two\n");
    assert_eq!(registry(&lab), running, "the registry was restarted");
    assert_eq!(lab.asks("node-3", "ls /var/lib/bootstrap/incoming"), "", "an archive was left behind");
    idle();
    // A registry that has lost its data gets it again.
    lab.asks("node-3", "rm -r /var/lib/docker-registry/docker && systemctl restart docker-registry");
    lab.run("up", &[]).exits(0);
    assert_eq!(page(&lab, &image), "two\n");

    // An archive without any image: named, and what is there goes on being served.
    let other = lab.folder.path().join("images/other.tar");
    let made = Command::new("tar")
        .arg("-cf")
        .arg(&other)
        .arg("-C")
        .arg(lab.folder.path())
        .arg("images/page")
        .status();
    assert!(made.unwrap().success());
    let images = "{ file: images/lab.example_page_1.tar }";
    lab.edit(images, &format!("{images}, {{ file: images/other.tar, image: \"other:1\" }}"));
    lab.run("up", &[]).exits(1).says("node-3").says("images/other.tar holds no image");
    assert_eq!(page(&lab, &image), "two\n");
    lab.edit(", { file: images/other.tar, image: \"other:1\" }", "");
    lab.run("up", &[]).exits(0);

    // A name instead of the address: another certificate, other folders of certificates.
    for host in ["node-1", "node-2", "node-3"] {
        lab.asks(host, &format!("echo {} registry.example.test >>/etc/hosts", lab.address("node-3")));
    }
    lab.edit("registry: { images", "registry: { name: registry.example.test, images");
    lab.run("up", &[]).exits(0);
    let named = "registry.example.test:5000/page:1";
    assert_eq!(page(&lab, named), "two\n");
    lab.asks("node-2", &containerd_pull(named));
    lab.ssh("node-1", &format!("test ! -e {trusted}")).exits(0);
    assert_ne!(registry(&lab), running, "the registry runs with its old certificate");
    idle();

    // Without its roles all of it goes, but for the images.
    for (with, without) in [
        ("  registry: { hosts: [node-3], roles: [registry] }\n", ""),
        ("[docker, registry-client]", "[docker]"),
        ("[container-runtime, registry-client]", "[container-runtime]"),
    ] {
        lab.edit(with, without);
    }
    let text = fs::read_to_string(lab.inventory()).unwrap();
    let line = text.lines().find(|line| line.starts_with("  registry: {")).unwrap().to_owned();
    lab.edit(&format!("{line}\n"), "");
    lab.run("up", &[]).exits(0);
    assert_eq!(lab.ssh("node-3", "systemctl is-active docker-registry").stdout, "inactive\n");
    lab.asks(
        "node-3",
        "test ! -e /etc/bootstrap-registry && test ! -e /etc/systemd/system/docker-registry.service",
    );
    lab.asks("node-3", "test -d /var/lib/docker-registry/docker/registry/v2/repositories/page");
    lab.asks("node-1", "test ! -e /etc/docker/certs.d && systemctl is-active docker");
    lab.asks("node-2", "test -z \"$(ls /etc/containerd/certs.d)\"");
    let said = pull_fails(&lab, &image);
    assert!(!said.is_empty());
    lab.run("up", &[]).exits(0).says("Nothing to do");
}
