//! What `tests/products/build` does where it cannot build: one clear error, and nothing half in the mirror. Needs Go, root and
//! the Go module proxy.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The quickest to build.
const PRODUCT: &str = "consul-template";

/// The script and one product's pins, and folders of their own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for folder in [PRODUCT, "work", "mirror"] {
            fs::create_dir_all(place.0.path().join(folder)).unwrap();
        }
        for file in ["build", "image", "consul-template/go.mod", "consul-template/go.sum"] {
            fs::copy(Path::new("tests/products").join(file), place.0.path().join(file)).unwrap();
        }
        place
    }

    fn build(&self, words: &[&str]) -> Command {
        let mut build = Command::new(self.0.path().join("build"));
        build.args(words).stdin(Stdio::null());
        build.env("BOOTSTRAP_MIRROR", self.0.path().join("mirror"));
        build.env("BOOTSTRAP_PRODUCTS_WORK", self.0.path().join("work"));
        build
    }

    /// What the mirror has of the product.
    fn made(&self) -> Vec<String> {
        let folders = fs::read_dir(self.0.path().join("mirror").join(PRODUCT)).into_iter().flatten();
        let names = |path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = folders
            .flat_map(|folder| names(folder.unwrap().path()))
            .map(|name| name.into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
}

#[test]
#[ignore = "lab: builds a program; run by tests/run"]
fn lab_products_that_cannot_be_built_are_named_and_not_half_there() {
    let place = Place::new();
    refused(
        &place.build(&["consull"]).output().unwrap(),
        &["there is no product consull", "consul-template"],
    );
    refused(
        &place.build(&["--check", PRODUCT]).output().unwrap(),
        &["consul-template", "tests/products/build makes them"],
    );

    // Without a compiler.
    let tools = place.0.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ["bash", "dirname", "cat", "sha256sum", "cut", "uname", "sed"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(tool), tools.join(tool)).unwrap();
    }
    let bare = Command::new("/bin/bash")
        .arg(place.0.path().join("build"))
        .arg(PRODUCT)
        .env_clear()
        .env("PATH", &tools)
        .env("BOOTSTRAP_MIRROR", place.0.path().join("mirror"))
        .output()
        .unwrap();
    refused(&bare, &["go is not there", "install golang-go"]);

    // Without room.
    let work = place.0.path().join("work");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=10m", "none"]).arg(&work).status();
    assert!(mounted.unwrap().success());
    let full = place.build(&[PRODUCT]).output().unwrap();
    assert!(Command::new("umount").arg(&work).status().unwrap().success());
    refused(&full, &["10 MiB are free", "9000 MiB are needed"]);

    // Another archive than the one that was pinned.
    let sums = place.0.path().join("consul-template/go.sum");
    let pinned = fs::read_to_string(&sums).unwrap();
    let line =
        pinned.lines().find(|line| line.starts_with("github.com/hashicorp/consul-template v")).unwrap();
    let (name, digest) = line.rsplit_once("h1:").unwrap();
    let other: String = digest.chars().rev().filter(|c| *c != '=').chain(['=']).collect();
    fs::write(&sums, pinned.replace(line, &format!("{name}h1:{other}"))).unwrap();
    refused(
        &place.build(&[PRODUCT]).output().unwrap(),
        &["checksum mismatch", "consul-template could not be built"],
    );

    // A pin that there is not.
    fs::write(&sums, &pinned).unwrap();
    let module = place.0.path().join("consul-template/go.mod");
    let text = fs::read_to_string(&module).unwrap();
    fs::write(&module, text.replace("consul-template v0", "consul-template v99")).unwrap();
    refused(&place.build(&[PRODUCT]).output().unwrap(), &["consul-template could not be built"]);
    fs::write(&module, text).unwrap();
    assert_eq!(place.made(), [""; 0]);

    // Stopped in the middle; the next one goes on.
    let mut build = place.build(&[PRODUCT]).stdout(Stdio::null()).spawn().unwrap();
    let log = work.join("consul-template.log");
    let began = Instant::now();
    while !log.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    assert_eq!(place.made(), [""; 0]);
    let done = place.build(&[PRODUCT]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let made = place.made();
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made[0].ends_with("_SHA256SUMS") && made[1].ends_with("_linux_amd64.zip"), "{made:?}");
    assert!(place.build(&["--check", PRODUCT]).status().unwrap().success());
    let again = place.build(&[PRODUCT]).output().unwrap();
    assert!(again.status.success() && again.stdout.is_empty(), "nothing is built twice");
}
