//! Releases: downloaded, checked, unpacked and linked, or nothing at all.

use crate::shells;
use crate::shells::server::{Page, Server};
use crate::shells::{Host, SHELLS, call, have};
use bootstrap::model::Call;
use sha2::{Digest as _, Sha256};

const ARCHIVE: &str = "/tool/1.2.3/tool_1.2.3_linux_amd64.zip";
const SUMS: &str = "/tool/1.2.3/tool_1.2.3_SHA256SUMS";

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A zip archive with one stored file; large enough to be cut.
pub(super) fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let crc = !content.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    });
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    let name_size = u16::try_from(name.len()).unwrap().to_le_bytes();
    // Version, flags, method, time, date, crc, sizes, lengths of name and extra: the same in both headers.
    let common =
        [&[10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x50][..], &crc.to_le_bytes(), &size, &size, &name_size, &[0, 0]]
            .concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let central = [b"PK\x01\x02\x14\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let offset = u32::try_from(local.len()).unwrap().to_le_bytes();
    let length = u32::try_from(central.len()).unwrap().to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length[..], &offset, &[0, 0]].concat();
    [local, central, end].concat()
}

pub(super) fn program(version: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho {version}\n{}", "# padding\n".repeat(2_000)).into_bytes()
}

/// A site that has the release, and the digest of its archive.
fn site() -> (Server, Vec<u8>) {
    let server = Server::start();
    let archive = zip("tool", &program("1.2.3"));
    server.serve(ARCHIVE, Page::new(archive.clone()));
    let sums = format!(
        "{}  tool_1.2.3_linux_arm.zip\n{}  tool_1.2.3_linux_amd64.zip\n",
        digest(b""),
        digest(&archive)
    );
    server.serve(SUMS, Page::new(sums));
    (server, archive)
}

/// As when nobody has verified the sums.
fn install(host: &Host, server: &Server, arch: &str) -> Call {
    install_only(host, server, arch, "")
}

fn install_only(host: &Host, server: &Server, arch: &str, digest: &str) -> Call {
    let site = format!("{}/tool/1.2.3", server.url);
    let archive = format!("tool_1.2.3_linux_{arch}.zip");
    call(
        "release_from_site",
        &[&site, &archive, "tool_1.2.3_SHA256SUMS", digest, &host.at("opt/tool/1.2.3"), "tool"],
    )
}

fn assert_installed(host: &Host, archive: &[u8], what: &str) {
    assert_eq!(host.names("opt/tool"), ["1.2.3"], "{what}");
    assert_eq!(host.names("opt/tool/1.2.3"), [".sha256", "tool"], "{what}");
    assert_eq!(host.read("opt/tool/1.2.3/.sha256"), format!("{}\n", digest(archive)).as_bytes(), "{what}");
    let output = std::process::Command::new(host.at("opt/tool/1.2.3/tool")).output().unwrap();
    assert_eq!(output.stdout, b"1.2.3\n", "{what}");
}

/// Each shell with each program that can download.
fn each(test: impl Fn(&'static [&'static str], Host, &str)) {
    for shell in SHELLS.into_iter().filter(|shell| have(shell[0])) {
        for (tool, other) in [("curl", "wget"), ("wget", "curl")] {
            if have(tool) {
                test(shell, Host::new().without(&[other]), &format!("{shell:?} with {tool}"));
            }
        }
    }
}

#[test]
fn a_release_is_downloaded_checked_unpacked_and_seen() {
    each(|shell, host, what| {
        let (server, archive) = site();
        let link = call("link_place", &[&host.at("bin/tool"), &host.at("opt/tool/1.2.3/tool")]);
        let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64"), link]);
        assert_eq!(status, 0, "{what}: {output}");
        assert_installed(&host, &archive, what);
        let probe = call("release_probe", &[&host.at("opt/tool/1.2.3"), &host.at("bin"), "tool", "more"]);
        let seen = host.ask(shell, probe);
        let seen = seen.of("probe");
        assert_eq!(seen.text("directory"), Some("present"), "{what}");
        assert_eq!(seen.text("archive"), Some(digest(&archive).as_str()), "{what}");
        assert_eq!(seen.all("binary").collect::<Vec<_>>(), ["tool"], "{what}");
        let link = format!("tool {}", host.at("opt/tool/1.2.3/tool"));
        assert_eq!(seen.all("link").collect::<Vec<_>>(), [link], "{what}");
    });
}

#[test]
fn a_wrong_checksum_installs_nothing_and_names_both_digests() {
    each(|shell, host, what| {
        let (server, _) = site();
        let other = zip("tool", b"#!/bin/sh\nowned\n");
        let sums = format!("{}  tool_1.2.3_linux_amd64.zip\n", digest(b"else"));
        server.serve(ARCHIVE, Page::new(other.clone()));
        server.serve(SUMS, Page::new(sums));
        let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
        assert_eq!(status, 1, "{what}");
        for part in ["wrong checksum", &digest(&other), &digest(b"else"), &format!("{}{ARCHIVE}", server.url)]
        {
            assert!(output.contains(part), "{what}: {part} in {output}");
        }
        assert_eq!(host.names("opt/tool"), [] as [&str; 0], "{what}");
    });
}

#[test]
fn a_verified_digest_is_believed_and_not_the_site() {
    each(|shell, host, what| {
        let (server, archive) = site();
        let other = zip("tool", b"#!/bin/sh\nowned\n");
        // The site is consistent, and not what was verified.
        server.serve(ARCHIVE, Page::new(other.clone()));
        server.serve(SUMS, Page::new(format!("{}  tool_1.2.3_linux_amd64.zip\n", digest(&other))));
        let call = install_only(&host, &server, "amd64", &digest(&archive));
        let (status, output) = host.apply(shell, vec![call.clone()]);
        assert!(status == 1 && output.contains("wrong checksum"), "{what}: {output}");
        assert_eq!(host.names("opt/tool"), [] as [&str; 0], "{what}");
        server.serve(ARCHIVE, Page::new(archive.clone()));
        server.requests();
        let (status, output) = host.apply(shell, vec![call]);
        assert_eq!(status, 0, "{what}: {output}");
        assert_installed(&host, &archive, what);
        assert_eq!(server.requests().len(), 1, "{what}: the sums were not asked for");
    });
}

#[test]
fn a_transfer_cut_at_any_byte_installs_nothing() {
    let shell = SHELLS.into_iter().find(|shell| have(shell[0])).expect("a shell");
    let (server, archive) = site();
    let positions = (0..archive.len()).step_by(archive.len() / 40).chain([1, archive.len() - 1]);
    for cut in positions {
        let host = Host::new();
        let call = install_only(&host, &server, "amd64", &digest(&archive));
        server.serve(ARCHIVE, Page { break_after: Some(cut), ..Page::new(archive.clone()) });
        let (status, output) = host.apply(shell, vec![call.clone()]);
        assert_eq!(status, 1, "cut at {cut}: {output}");
        let left = host.names("opt/tool");
        assert!(left.iter().all(|name| name.ends_with(".partial")), "cut at {cut}: {left:?}");
        server.serve(ARCHIVE, Page::new(archive.clone()));
        let (status, output) = host.apply(shell, vec![call]);
        assert_eq!(status, 0, "cut at {cut}: {output}");
        assert_installed(&host, &archive, &format!("cut at {cut}"));
    }
}

#[test]
fn a_broken_transfer_is_resumed_by_the_next_run() {
    each(|shell, host, what| {
        let (server, archive) = site();
        server.serve(ARCHIVE, Page { break_after: Some(1000), ..Page::new(archive.clone()) });
        let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
        assert_eq!(status, 1, "{what}: {output}");
        assert!(output.contains(&format!("cannot download {}{ARCHIVE}", server.url)), "{what}: {output}");
        assert_eq!(host.names("opt/tool"), ["1.2.3.archive.partial"], "{what}");
        server.serve(ARCHIVE, Page::new(archive.clone()));
        server.requests();
        let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
        assert_eq!(status, 0, "{what}: {output}");
        assert_installed(&host, &archive, what);
        let (_, range) = server.requests().into_iter().find(|(path, _)| path == ARCHIVE).unwrap();
        assert_eq!(range.as_deref(), Some("bytes=1000-"), "{what}");
    });
}

#[test]
fn a_partial_of_another_file_is_discarded() {
    each(|shell, host, what| {
        let (server, archive) = site();
        for partial in [b"rubbish".to_vec(), vec![b'x'; archive.len()], vec![b'x'; archive.len() + 5]] {
            host.write("opt/tool/1.2.3.archive.partial", partial);
            let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
            assert_eq!(status, 0, "{what}: {output}");
            assert_installed(&host, &archive, what);
        }
    });
}

#[test]
fn a_site_without_ranges_sends_all_of_it_again() {
    each(|shell, host, what| {
        let (server, archive) = site();
        server.serve(ARCHIVE, Page { ranges: false, ..Page::new(archive.clone()) });
        host.write("opt/tool/1.2.3.archive.partial", &archive[..1000]);
        let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
        assert_eq!(status, 0, "{what}: {output}");
        assert_installed(&host, &archive, what);
    });
}

#[test]
fn a_missing_release_says_so() {
    each(|shell, host, what| {
        let server = Server::start();
        let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
        assert_eq!(status, 1, "{what}");
        assert!(output.contains("404"), "{what}: {output}");
        assert!(output.contains(&format!("cannot download {}{SUMS}", server.url)), "{what}: {output}");
        assert_eq!(host.names("opt/tool"), [] as [&str; 0], "{what}");
    });
}

#[test]
fn an_architecture_without_a_release_says_so() {
    each(|shell, host, what| {
        let (server, _) = site();
        let (status, output) = host.apply(shell, vec![install(&host, &server, "riscv64")]);
        assert_eq!(status, 1, "{what}");
        assert!(
            output.contains(&format!("{SUMS} lists no tool_1.2.3_linux_riscv64.zip")),
            "{what}: {output}"
        );
        assert_eq!(server.requests().len(), 1, "{what}: the archive was not asked for");
    });
}

#[test]
fn a_pushed_file_is_checked_and_unpacked() {
    for shell in shells::shells() {
        // Some vendors put all of it into one folder.
        for (content, archive) in [
            (zip("tool", &program("1.2.3")), true),
            (zip("tool-v1.2.3-linux-amd64/tool", &program("1.2.3")), true),
            (program("1.2.3"), false),
        ] {
            let host = Host::new();
            let directory = host.at("opt/tool/1.2.3");
            let install = call("release_from_push", &[&digest(&content), &directory, "tool"]);
            let pushed = format!("state/incoming/{}", digest(&content));
            let (status, output) = host.apply(shell, vec![install.clone()]);
            assert!(status == 1 && output.contains("was not pushed"), "{shell:?}: {output}");
            host.write(&pushed, b"half of it");
            let (status, output) = host.apply(shell, vec![install.clone()]);
            assert!(status == 1 && output.contains("wrong checksum"), "{shell:?}: {output}");
            host.write(&pushed, &content);
            let (status, output) = host.apply(shell, vec![install]);
            assert_eq!(status, 0, "{shell:?} archive {archive}: {output}");
            assert_installed(&host, &content, &format!("{shell:?} archive {archive}"));
            assert_eq!(host.names("state/incoming"), [] as [&str; 0], "{shell:?}");
        }
    }
}

#[test]
fn a_file_comes_whole_and_as_the_inventory_says_or_not_at_all() {
    each(|shell, host, what| {
        let server = Server::start();
        let manifest = "kind: List\n".repeat(4_000).into_bytes();
        let wanted = digest(&manifest);
        let path = host.at("network.yaml");
        let url = format!("{}/network.yaml", server.url);
        let (user, group) = crate::shells::account();
        let (user, group) = (user.as_str(), group.as_str());
        let fetch = |seen: &str| call("file_from_site", &[&path, "0640", user, group, seen, &wanted, &url]);
        server.serve("/network.yaml", Page::new(b"kind: Owned\n".to_vec()));
        let (status, output) = host.apply(shell, vec![fetch("absent")]);
        assert!(status == 1 && output.contains("wrong checksum"), "{what}: {output}");
        for part in [wanted.as_str(), "but the inventory says", url.as_str()] {
            assert!(output.contains(part), "{what}: {part} in {output}");
        }
        assert!(!std::path::Path::new(&path).exists(), "{what}");
        server.serve("/network.yaml", Page::new(manifest.clone()));
        let (status, output) = host.apply(shell, vec![fetch("absent")]);
        assert_eq!(status, 0, "{what}: {output}");
        assert_eq!(std::fs::read(&path).unwrap(), manifest, "{what}");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o640, "{what}");
        assert_eq!(host.names("state/incoming"), [] as [&str; 0], "{what}");
        // What an operator wrote there since it was looked at is not lost.
        host.write("network.yaml", b"mine");
        let (status, output) = host.apply(shell, vec![fetch(&wanted)]);
        assert!(status == 1 && output.contains("plan again"), "{what}: {output}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine", "{what}");
        // The same, brought by this machine.
        host.write(&format!("state/incoming/{wanted}"), &manifest);
        let push = call("file_from_push", &[&path, "0640", user, group, &digest(b"mine"), &wanted]);
        let (status, output) = host.apply(shell, vec![push]);
        assert_eq!(status, 0, "{what}: {output}");
        assert_eq!(std::fs::read(&path).unwrap(), manifest, "{what}");
    });
}

/// Where the command fails, the file stays for the next try.
#[test]
fn what_was_pushed_is_handed_to_a_command_and_goes() {
    for shell in shells::shells() {
        let host = Host::new();
        let (content, taken) = (b"layers".to_vec(), host.at("taken"));
        let sum = digest(&content);
        let pushed = host.at(&format!("state/incoming/{sum}"));
        let take = |status: u8| {
            let text = format!("{{ echo \"$2 $3\"; cat \"$3\"; }} >\"$1\"; exit {status}");
            host.apply(shell, vec![call("import_from_push", &[&sum, "sh", "-c", &text, "take", &taken])])
        };
        let (status, output) = take(0);
        assert!(status == 1 && output.contains("was not pushed to this host"), "{shell:?}: {output}");
        host.write(&format!("state/incoming/{sum}"), &content);
        assert_eq!(take(1).0, 1, "{shell:?}");
        assert_eq!(host.names("state/incoming"), [sum.as_str()], "{shell:?}");
        assert_eq!(take(0).0, 0, "{shell:?}");
        assert_eq!(std::fs::read_to_string(&taken).unwrap(), format!("{sum} {pushed}\nlayers"), "{shell:?}");
        assert_eq!(host.names("state/incoming"), [] as [&str; 0], "{shell:?}");
    }
}

#[test]
fn what_is_no_release_is_refused() {
    for shell in shells::shells() {
        for (content, message) in [
            (b"<html>please log in</html>".to_vec(), "neither a zip or tar.gz archive nor a program"),
            (zip("other", b"#!/bin/sh\n"), "holds no tool"),
        ] {
            let host = Host::new();
            host.write(&format!("state/incoming/{}", digest(&content)), &content);
            let install = call("release_from_push", &[&digest(&content), &host.at("opt/tool/1.2.3"), "tool"]);
            let (status, output) = host.apply(shell, vec![install]);
            assert!(status == 1 && output.contains(message), "{shell:?}: {output}");
            assert!(!std::path::Path::new(&host.at("opt/tool/1.2.3")).exists(), "{shell:?}");
        }
    }
}

#[test]
fn a_zip_archive_is_unpacked_by_what_the_host_has() {
    let content = zip("tool", &program("1.2.3"));
    for (missing, unpacker) in [(&["busybox", "python3"][..], "unzip"), (&["unzip"][..], "busybox")] {
        if !have(unpacker) || !have("dash") {
            continue;
        }
        let host = Host::new().without(missing);
        host.write(&format!("state/incoming/{}", digest(&content)), &content);
        let install = call("release_from_push", &[&digest(&content), &host.at("opt/tool/1.2.3"), "tool"]);
        let (status, output) = host.apply(&["dash"], vec![install]);
        assert_eq!(status, 0, "{unpacker}: {output}");
        assert_installed(&host, &content, unpacker);
    }
}

#[test]
fn the_tools_of_busybox_do_too() {
    if !have("busybox") {
        return;
    }
    let host = Host::new().without(&["curl", "python3"]).with_busybox_tools();
    let shell = &["busybox", "sh"];
    let (server, archive) = site();
    server.serve(ARCHIVE, Page { break_after: Some(1000), ..Page::new(archive.clone()) });
    let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
    assert_eq!(status, 1, "{output}");
    assert_eq!(host.names("opt/tool"), ["1.2.3.archive.partial"], "{output}");
    server.serve(ARCHIVE, Page::new(archive.clone()));
    let (status, output) = host.apply(shell, vec![install(&host, &server, "amd64")]);
    assert_eq!(status, 0, "{output}");
    assert_installed(&host, &archive, "busybox");
    let missing = Server::start();
    let (status, output) = host.apply(shell, vec![install(&host, &missing, "amd64")]);
    assert!(status == 1 && output.contains("404"), "{output}");
    // It would take any certificate.
    let https = server.with_url(&server.url.replace("http:", "https:"));
    let (status, output) = host.apply(shell, vec![install(&host, &https, "amd64")]);
    assert!(status == 1 && output.contains("verifies no certificates; install curl"), "{output}");
}
