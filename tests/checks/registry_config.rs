//! What the roles `registry` and `registry-client` render, what they refuse, and how archives of images are understood.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rendered;
use crate::rendered::{refused, shell_faults, shown, snapshots};
use bootstrap::resource::{Download, Resource};
use indoc::formatdoc;
use serde_json::json;

/// A registry, a host with Docker and one with containerd; `values` are of `vars.registry`.
fn inventory(values: &str) -> String {
    formatdoc!(
        r#"
            cluster: plant
            hosts:
              node-1: {{ address: 10.0.0.11, roles: [docker, registry-client] }}
              node-2: {{ address: 10.0.0.12, roles: [container-runtime, registry-client] }}
              node-3: {{ address: 10.0.0.13, roles: [registry] }}
            vars:
              registry: {values}
        "#
    )
}

const IMAGES: &str = r#"{ images: [{ file: images/a b.tar }, { file: all.tar, image: "team/b:2" }], mirror_of: [registry.k8s.io] }"#;

#[test]
fn the_registry_and_those_who_pull() {
    let text = inventory(IMAGES);
    for host in ["node-1", "node-2", "node-3"] {
        let mut files = rendered::files(&text, host);
        assert_eq!(shell_faults(&files), "", "{host}");
        files.retain(|path, _| path.contains("registry") || path.contains("certs.d"));
        snapshots("registry").bind(|| insta::assert_snapshot!(host, shown(&files)));
    }
}

#[test]
fn a_name_stands_for_the_address() {
    let text = inventory("{ name: registry.example.org, port: 443 }");
    let files = rendered::files(&text, "node-1");
    assert_eq!(
        files["/etc/docker/certs.d/registry.example.org:443/ca.crt"],
        "-----BEGIN CERTIFICATE-----\nregistry.ca+cert\n-----END CERTIFICATE-----\n"
    );
    let files = rendered::files(&text, "node-3");
    let names = &files["certificate /etc/bootstrap-registry/pki/server.pem"];
    assert_eq!(names, "localhost node-3 10.0.0.13 registry.example.org");
    let unit = &files["/etc/systemd/system/docker-registry.service"];
    assert!(unit.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE\n"), "{unit}");
}

#[test]
fn images_are_brought_from_this_machine_and_before_who_needs_them() {
    let wanted = rendered::wanted(
        &inventory(IMAGES)
            .replace(
                "[container-runtime, registry-client] }",
                "[container-runtime, registry-client, kube-control-plane] }",
            )
            .replace("vars:\n", "vars:\n  kube: { cni: bridge, endpoint: { address: 10.0.0.12 } }\n"),
    );
    let resources = wanted.hosts.iter().flat_map(|host| &host.roles).flat_map(|role| &role.resources);
    let images: Vec<_> = resources
        .filter(|resource| matches!(resource, Resource::Download(Download::Import(_))))
        .map(|resource| {
            (resource.id().0, resource.artifact().unwrap().to_owned(), resource.artifact_is_archive())
        })
        .collect();
    assert_eq!(
        images,
        [
            ("download image images/a b.tar".to_owned(), PathBuf::from("images/a b.tar"), true),
            ("download image team/b:2".to_owned(), PathBuf::from("all.tar"), true),
        ]
    );
    let at = |name: &str| wanted.order.iter().position(|role| role.as_str() == name).unwrap();
    assert!(
        at("registry") < at("registry-client") && at("registry-client") < at("kube-control-plane"),
        "{:?}",
        wanted.order
    );
}

#[test]
fn what_cannot_be_is_refused_without_a_host() {
    for (from, to, says) in [
        ("image: \"team/b:2\"", "image: \"Team/b:2\"", "in small letters: team/b:2"),
        ("image: \"team/b:2\"", "image: team/b", "with its tag: `team/b:1.0`"),
        ("image: \"team/b:2\"", "image: \"team/b@sha256:00\"", "by its tag, without a digest"),
        ("{ file: images/a b.tar }", "{ image: \"a:1\" }", "one without `file`"),
        ("{ file: images/a b.tar }", "{ file: c.tar, image: \"team/b:2\" }", "has an image twice"),
        ("[docker, registry-client]", "[docker, registry]", "several hosts are to be the registry"),
        ("[docker, registry-client]", "[registry-client]", "nobody there would pull"),
        (
            "roles: [registry] }",
            "roles: [dns] }",
            "role `registry-client` needs `registry`, which no host has",
        ),
        ("10.0.0.13", "\"fd00::13\"", "`registry: { name: registry.example.org }`"),
        ("10.0.0.13", "10.0.0.13, cluster_interface: eth1", "one that only the host itself knows"),
        ("mirror_of:", "name: \"fd00::13\", mirror_of:", "`registry: { name: registry.example.org }`"),
        ("vars:\n", "vars:\n  container: { mirrors: { registry.k8s.io: [] } }\n", "name the same registry"),
        ("images: [", "port: 0, images: [", "a port number from 1 to 65535"),
    ] {
        let text = inventory(IMAGES);
        assert!(text.contains(from), "{from}");
        let said = refused(&text.replacen(from, to, 1));
        assert!(said.contains(says), "{to}:\n{said}");
        // With the place of it.
        assert!(said.contains("--> /inventories/inventory.yaml:"), "{to}:\n{said}");
    }
}

/// A tar archive with these files.
fn archive(path: &Path, files: &[(&str, &str)]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
}

/// Writes down what skopeo was asked for, and keeps a tag as the registry does.
const SKOPEO: &str = r#"#!/bin/sh
for last in "$@"; do source=$target target=$last; done
echo "$source $target" >>FOLDER/asked
name=${target#docker://*/}
tag=FOLDER/data/docker/registry/v2/repositories/${name%:*}/_manifests/tags/${name##*:}/current
mkdir -p "$tag"
printf 'sha256:%s' "$(sha256sum <"${source#*:}" | cut -c1-64)" >"$tag/link"
"#;

/// Has all that it is asked about.
const CURL: &str = r#"#!/bin/sh
case " $* " in *' -K - '*) sed -n 's/^url = "\(.*\)"/200 \1/p' ;; esac
"#;

/// The script `images` of a registry, with programs that only write down what they would do.
struct Images {
    folder: tempfile::TempDir,
}

impl Images {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        let values = IMAGES.replace("{ images", &format!("{{ data_dir: {at}/data, images"));
        let files = rendered::files(&inventory(&values), "node-3");
        let script = files["/etc/bootstrap-registry/images"].replace("/etc/bootstrap-registry", &at);
        fs::create_dir(folder.path().join("bin")).unwrap();
        for (name, text) in [("images", script.as_str()), ("bin/skopeo", SKOPEO), ("bin/curl", CURL)] {
            let path = folder.path().join(name);
            fs::write(&path, text.replace("FOLDER", &at)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// Its status, and what it says.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let folder = self.folder.path();
        let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
        let mut call = Command::new(folder.join("images"));
        let output = call.args(words).current_dir(folder).env("PATH", path).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// What skopeo was asked for since the last look.
    fn asked(&self) -> String {
        let path = self.folder.path().join("asked");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        text.replace("docker://10.0.0.13:5000/", "")
    }
}

#[test]
fn archives_of_images_are_understood() {
    let images = Images::new();
    let manifest = |tags: &[serde_json::Value]| {
        let of =
            |tags: &serde_json::Value| json!({ "Config": "c.json", "RepoTags": tags, "Layers": ["l.tar"] });
        serde_json::to_string_pretty(&tags.iter().map(of).collect::<Vec<_>>()).unwrap()
    };
    let one = manifest(&[json!(["lab.example/app:1"])]);
    let two = manifest(&[json!(["a:1"]), json!(["10.0.0.1:5000/team/b:2"])]);
    let tagged_twice = manifest(&[json!(["a:1", "a:latest"])]);
    let nameless = manifest(&[json!(null)]);
    let oci = json!({"manifests": [{"digest": "x", "annotations": {"io.containerd.image.name": "docker.io/team/o:3"}}]});
    let (oci, plain) = (oci.to_string(), json!({"manifests": [{"digest": "x"}]}).to_string());
    for (list, content, image, pushed) in [
        ("manifest.json", &one, "", Ok("docker-archive:x.tar app:1")),
        ("manifest.json", &one, "team/app:7", Ok("docker-archive:x.tar team/app:7")),
        ("manifest.json", &one, "registry.k8s.io/app:7", Ok("docker-archive:x.tar app:7")),
        ("manifest.json", &tagged_twice, "", Err("has 2 names in it")),
        ("manifest.json", &tagged_twice, "a:latest", Ok("docker-archive:x.tar a:latest")),
        ("manifest.json", &two, "", Err("`image` must say which of them: a:1 10.0.0.1:5000/team/b:2")),
        ("manifest.json", &two, "c:1", Err("holds no image c:1: it has a:1")),
        ("manifest.json", &nameless, "", Err("has no name in it")),
        ("manifest.json", &nameless, "a:1", Ok("docker-archive:x.tar a:1")),
        ("index.json", &oci, "", Ok("oci-archive:x.tar team/o:3")),
        ("index.json", &plain, "", Err("has no name in it")),
        ("index.json", &plain, "o:1", Ok("oci-archive:x.tar o:1")),
        ("else.json", &plain, "o:1", Err("holds no image")),
    ] {
        archive(&images.folder.path().join("x.tar"), &[("layer", "x"), (list, content.as_str())]);
        let (status, said) = images.run(&["push", "img/x.tar", image, "00", "x.tar"]);
        let asked = images.asked();
        match pushed {
            Ok(pushed) => assert_eq!((status, asked.trim_end()), (0, pushed), "{image}: {said}"),
            Err(why) => {
                assert!(status == 1 && asked.is_empty() && said.contains(why), "{image}: {status} {said}");
                assert!(said.contains("img/x.tar"), "{said}");
            }
        }
    }
}

#[test]
fn what_was_pushed_is_known_until_something_changes() {
    let images = Images::new();
    let file = |name: &str, image: &str, layer: &str| {
        let list = json!([{ "Config": "c.json", "RepoTags": [image], "Layers": ["l.tar"] }]).to_string();
        archive(&images.folder.path().join(name), &[("manifest.json", &list), ("layer", layer)]);
    };
    let has = |sum: &str| images.run(&["has", "images/a b.tar", "", sum]).0;
    let push = |sum: &str| images.run(&["push", "images/a b.tar", "", sum, "a.tar"]);
    file("a.tar", "a:1", "one");
    assert_eq!(has("01"), 1);
    assert_eq!(push("01"), (0, String::new()));
    assert_eq!((has("01"), has("02")), (0, 1), "the archive has changed");
    let (status, said) = images.run(&["check"]);
    assert!(status == 1 && said.contains("team/b:2 of all.tar was not pushed"), "{said}");
    file("b.tar", "team/b:2", "two");
    assert_eq!(images.run(&["push", "all.tar", "team/b:2", "03", "b.tar"]).0, 0);
    assert_eq!(images.run(&["check"]), (0, String::new()));
    file("a.tar", "a:1", "three");
    assert_eq!(push("02").0, 0);
    assert_eq!((has("01"), has("02")), (1, 0));

    // Somebody else's image has the name.
    file("c.tar", "a:1", "four");
    assert_eq!(images.run(&["push", "c.tar", "", "04", "c.tar"]).0, 0);
    assert_eq!(has("02"), 1);
    let (status, said) = images.run(&["check"]);
    assert!(status == 1 && said.contains("a:1 is not that of images/a b.tar any more"), "{said}");
    assert_eq!(push("02").0, 0);
    assert_eq!(images.run(&["check"]).0, 0);
    // Or nobody's.
    fs::remove_dir_all(images.folder.path().join("data")).unwrap();
    assert_eq!(has("02"), 1);
}
