//! Releases on the operator's machine: signatures, downloads, the cache and bundles, against a site that fails as
//! sites do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shells::server::{Page, Server};
use crate::signer::Signer;
use bootstrap::releases::{
    BundleError, Cache, Findings, ReleaseError, SignatureError, create_bundle, fetch, file_digest,
    use_bundle, verify,
};
use bootstrap::resource::{RemoteFile, SigningKey, Sums, Trust, Via};
use sha2::{Digest as _, Sha256};

const SUMS: &str = "/tool/1.2.3/tool_1.2.3_SHA256SUMS";
const KEY: &str = "/pgp-key.txt";

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn archive_path(arch: &str) -> String {
    format!("/tool/1.2.3/tool_1.2.3_linux_{arch}.zip")
}

/// A site with a signed release, and a cache beside it.
struct Site {
    server: Server,
    signer: Signer,
    archive: Vec<u8>,
    sums: String,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let (server, signer) = (Server::start(), Signer::new());
        let archive: Vec<u8> = (0..700_u32).flat_map(|number| number.to_le_bytes()).collect();
        let other = b"for another architecture".to_vec();
        let sums = format!(
            "{}  tool_1.2.3_linux_arm64.zip\n{}  tool_1.2.3_linux_amd64.zip\n",
            digest(&other),
            digest(&archive)
        );
        server.serve(&archive_path("amd64"), Page::new(archive.clone()));
        server.serve(&archive_path("arm64"), Page::new(other));
        server.serve(SUMS, Page::new(sums.clone()));
        server.serve(&format!("{SUMS}.sig"), Page::new(signer.sign(sums.as_bytes())));
        server.serve(KEY, Page::new(signer.public()));
        Self { server, signer, archive, sums, folder: tempfile::tempdir().unwrap() }
    }

    fn download(&self, via: Via) -> RemoteFile {
        let (folder, name) = SUMS.rsplit_once('/').unwrap();
        let site = self.server.url.clone();
        let key = Some(SigningKey {
            fingerprint: self.signer.fingerprint().parse().unwrap(),
            url: Some(format!("{site}{KEY}").parse().unwrap()),
            file: None,
        });
        RemoteFile {
            what: "tool 1.2.3".to_owned(),
            arch: "amd64".to_owned(),
            folder: format!("{site}{folder}"),
            name: "tool_1.2.3_linux_amd64.zip".to_owned(),
            via,
            trust: Trust::Sums(Sums { name: name.to_owned(), scope: site.clone(), key, signed: true }),
            site,
        }
    }

    fn cache(&self) -> Cache {
        Cache::new(self.folder.path().join("cache"))
    }

    async fn verify(&self, download: &RemoteFile) -> Result<Findings, ReleaseError> {
        verify(&BTreeSet::from([download.clone()]), &self.cache(), self.folder.path()).await
    }

    async fn error(&self, download: &RemoteFile) -> ReleaseError {
        self.verify(download).await.map(drop).expect_err("it was believed")
    }

    fn requested(&self) -> Vec<String> {
        self.server.requests().into_iter().map(|(path, _)| path).collect()
    }
}

/// Everything below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What could be taken for a download: neither a lock nor something half done.
fn in_place(cache: &Cache) -> Vec<PathBuf> {
    let partial = |path: &Path| path.display().to_string().contains(".partial");
    files(cache.root()).into_iter().filter(|path| !partial(path) && !path.ends_with("lock")).collect()
}

fn sums_of(download: &mut RemoteFile) -> &mut Sums {
    match &mut download.trust {
        Trust::Sums(sums) => sums,
        other => panic!("{other:?}"),
    }
}

/// The same where a signature is only looked for, or must be there.
fn signed(mut download: RemoteFile, signed: bool) -> RemoteFile {
    sums_of(&mut download).signed = signed;
    download
}

fn for_arch(mut download: RemoteFile, arch: &str) -> RemoteFile {
    download.name = download.name.replace("amd64", arch);
    RemoteFile { arch: arch.to_owned(), ..download }
}

/// A site that is not there.
fn gone(mut download: RemoteFile) -> RemoteFile {
    // Bound and closed again: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = format!("http://127.0.0.1:{port}");
    download.folder = download.folder.replace(&download.site, &site);
    sums_of(&mut download).scope.clone_from(&site);
    download.site = site;
    download
}

#[tokio::test]
async fn a_signed_release_is_believed_and_its_key_fetched_once() {
    let site = Site::new();
    let download = site.download(Via::Host);
    for (round, requests) in [(1, 3), (2, 2)] {
        let found = site.verify(&download).await.unwrap();
        assert_eq!(found.files[&download].digest, Some(digest(&site.archive)), "round {round}");
        assert_eq!(found.warnings, [] as [&str; 0]);
        assert_eq!(site.requested().len(), requests, "round {round}");
    }
}

#[tokio::test]
async fn what_is_wrongly_signed_is_refused() {
    let site = Site::new();
    let stranger = Signer::new();
    let signature = site.signer.sign(site.sums.as_bytes());
    let tampered = site.sums.replace(&digest(&site.archive), &digest(b"evil"));
    let cases: [(&str, String, Vec<u8>, &str); 4] = [
        ("another key", site.sums.clone(), stranger.sign(site.sums.as_bytes()), "another key"),
        ("tampered sums", tampered, signature.clone(), "the file was changed"),
        ("cut signature", site.sums.clone(), signature[..signature.len() / 2].to_vec(), "cannot be read"),
        ("no signature at all", site.sums.clone(), b"<html>".to_vec(), "cannot be read"),
    ];
    // A mirror that need not sign must not lie either.
    for required in [true, false] {
        for via in [Via::Host, Via::Controller] {
            for (what, sums, signature, message) in &cases {
                site.server.serve(SUMS, Page::new(sums.clone()));
                site.server.serve(&format!("{SUMS}.sig"), Page::new(signature.clone()));
                let error = site.error(&signed(site.download(via), required)).await;
                let text = error.to_string();
                assert!(text.contains(message) && text.contains(".sig is not believed"), "{what}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn an_expired_key_is_fetched_again_and_refused_while_it_is_expired() {
    let site = Site::new();
    let expired = Signer::living_days(10);
    let mut download = site.download(Via::Host);
    sums_of(&mut download).key.as_mut().unwrap().fingerprint = expired.fingerprint().parse().unwrap();
    site.server.serve(&format!("{SUMS}.sig"), Page::new(expired.sign(site.sums.as_bytes())));
    site.server.serve(KEY, Page::new(expired.public()));
    let error = site.error(&download).await;
    assert!(
        matches!(&error, ReleaseError::Signature { source: SignatureError::Expired { .. }, .. }),
        "{error}"
    );
    // It is in the cache now; the vendor prolongs it.
    site.server.serve(KEY, Page::new(expired.prolonged().public()));
    site.verify(&download).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_not_the_pinned_one_is_refused_and_not_kept() {
    let site = Site::new();
    site.server.serve(KEY, Page::new(Signer::new().public()));
    let error = site.error(&site.download(Via::Host)).await;
    assert!(matches!(&error, ReleaseError::Key { source: SignatureError::OtherKey { .. }, .. }), "{error}");
    assert_eq!(files(site.cache().root()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn the_key_may_be_a_file() {
    let site = Site::new();
    let mut download = site.download(Via::Host);
    let key = sums_of(&mut download).key.as_mut().unwrap();
    (key.url, key.file) = (None, Some("vendor.asc".into()));
    let error = site.error(&download).await;
    assert!(error.to_string().contains("vendor.asc"), "{error}");
    fs::write(site.folder.path().join("vendor.asc"), site.signer.public()).unwrap();
    site.verify(&download).await.unwrap();
    assert!(!site.requested().contains(&KEY.to_owned()));
}

#[tokio::test]
async fn without_a_signature_a_mirror_is_refused_or_warned_about() {
    let site = Site::new();
    site.server.serve(&format!("{SUMS}.sig"), Page { status: 404, ..Page::new("no\n") });
    let error = site.error(&site.download(Via::Host)).await;
    assert!(matches!(&error, ReleaseError::NoSignature { .. }), "{error}");
    let lenient = signed(site.download(Via::Host), false);
    let found = site.verify(&lenient).await.unwrap();
    assert_eq!(found.files[&lenient].digest, Some(digest(&site.archive)));
    assert!(found.warnings[0].contains("has no signature"), "{:?}", found.warnings);
    // What was kept without a signature never counts as signed.
    let lenient = RemoteFile { via: Via::Controller, ..lenient };
    site.verify(&lenient).await.unwrap();
    fetch(&lenient, &digest(&site.archive), &site.cache(), |_, _| ()).await.unwrap();
    let error = site.error(&site.download(Via::Controller)).await;
    assert!(matches!(&error, ReleaseError::NoSignature { .. }), "{error}");
}

#[tokio::test]
async fn a_signature_named_after_its_key_is_found() {
    let site = Site::new();
    let short = &site.signer.fingerprint()[32..];
    site.server.serve(&format!("{SUMS}.{short}.sig"), Page::new(site.signer.sign(site.sums.as_bytes())));
    for other in [Page { status: 404, ..Page::new("") }, Page::new(Signer::new().sign(site.sums.as_bytes()))]
    {
        site.server.serve(&format!("{SUMS}.sig"), other);
        site.verify(&site.download(Via::Host)).await.unwrap();
    }
}

#[tokio::test]
async fn a_site_out_of_reach_is_an_error_with_ways_out_or_left_to_the_hosts() {
    let site = Site::new();
    for via in [Via::Host, Via::Controller] {
        let text = site.error(&gone(site.download(via))).await.to_string();
        for word in ["cannot reach", "mirror:", "file:", "bundle", "via: controller"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
    let lenient = gone(signed(site.download(Via::Host), false));
    let found = site.verify(&lenient).await.unwrap();
    assert_eq!(found.files[&lenient].digest, None);
    assert!(found.warnings[0].contains("cannot reach"), "{:?}", found.warnings);
}

#[tokio::test]
async fn an_architecture_that_was_not_released_is_named() {
    let site = Site::new();
    let error = site.error(&for_arch(site.download(Via::Host), "riscv64")).await;
    assert!(error.to_string().contains("lists no tool_1.2.3_linux_riscv64.zip"), "{error}");
}

#[tokio::test]
async fn a_download_cut_at_any_byte_is_never_in_place_and_is_resumed() {
    let site = Site::new();
    let (download, wanted) = (site.download(Via::Controller), digest(&site.archive));
    let path = archive_path("amd64");
    for cut in (0..site.archive.len()).step_by(37) {
        let cache = Cache::new(site.folder.path().join(format!("cut-{cut}")));
        site.server.serve(&path, Page { break_after: Some(cut), ..Page::new(site.archive.clone()) });
        let error = fetch(&download, &wanted, &cache, |_, _| ()).await.unwrap_err();
        assert!(matches!(&error, ReleaseError::Broken { .. }), "cut at {cut}: {error}");
        assert_eq!(in_place(&cache), [] as [PathBuf; 0], "cut at {cut}");
        site.server.serve(&path, Page::new(site.archive.clone()));
        site.server.requests();
        let mut last = 0;
        let file = fetch(&download, &wanted, &cache, |bytes, total| {
            assert_eq!(total, Some(site.archive.len() as u64), "cut at {cut}");
            last = bytes;
        });
        let file = file.await.unwrap();
        assert_eq!(last, site.archive.len() as u64);
        assert_eq!(fs::read(file).unwrap(), site.archive, "cut at {cut}");
        let (_, range) = site.server.requests().remove(0);
        assert_eq!(range, (cut > 0).then(|| format!("bytes={cut}-")), "cut at {cut}");
        assert_eq!(in_place(&cache).len(), 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_partial_of_something_else_is_discarded() {
    let site = Site::new();
    let (download, wanted) = (site.download(Via::Controller), digest(&site.archive));
    let size = site.archive.len();
    for ranges in [true, false] {
        for partial in [vec![b'x'; 5], vec![b'x'; size], vec![b'x'; size + 5]] {
            let cache = Cache::new(site.folder.path().join(format!("{ranges}-{}", partial.len())));
            let place = cache.archive(&wanted).with_extension("partial");
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, &partial).unwrap();
            site.server.serve(&archive_path("amd64"), Page { ranges, ..Page::new(site.archive.clone()) });
            let file = fetch(&download, &wanted, &cache, |_, _| ()).await.unwrap();
            assert_eq!(fs::read(file).unwrap(), site.archive, "{ranges} {}", partial.len());
        }
    }
}

#[tokio::test]
async fn another_archive_than_the_verified_one_is_thrown_away() {
    let site = Site::new();
    site.server.serve(&archive_path("amd64"), Page::new("evil"));
    let (download, wanted) = (site.download(Via::Controller), digest(&site.archive));
    let error = fetch(&download, &wanted, &site.cache(), |_, _| ()).await.unwrap_err();
    assert!(matches!(&error, ReleaseError::WrongDigest { .. }), "{error}");
    assert!(error.to_string().contains(&digest(b"evil")), "{error}");
    assert_eq!(files(&site.cache().root().join("archives")), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_file_of_which_the_inventory_has_the_digest_is_believed_without_asking_its_site() {
    let site = Site::new();
    let manifest =
        RemoteFile { trust: Trust::Digest(digest(&site.archive)), ..site.download(Via::Controller) };
    let unknown = RemoteFile { trust: Trust::Nobody, what: "image".to_owned(), ..manifest.clone() };
    assert_eq!(site.verify(&manifest).await.unwrap().files[&manifest].digest, Some(digest(&site.archive)));
    assert_eq!(site.verify(&unknown).await.unwrap().files[&unknown].digest, None);
    assert_eq!(site.requested(), [] as [&str; 0]);
    // Both into a bundle: what nobody vouches for stays out, and that is said.
    let bundle = site.folder.path().join("bundle");
    let (contents, warnings) = create_bundle(
        &[manifest.clone(), unknown].into(),
        &site.cache(),
        site.folder.path(),
        &bundle,
        |_| (),
    )
    .await
    .unwrap();
    assert_eq!(
        contents.iter().map(|content| content.what.as_str()).collect::<Vec<_>>(),
        ["tool 1.2.3 amd64"]
    );
    assert!(warnings.len() == 1 && warnings[0].contains("the inventory has no sha256"), "{warnings:?}");
    // Where it is another than the inventory says, nothing of it is kept.
    let wrong = digest(b"else");
    let error = fetch(&manifest, &wrong, &site.cache(), |_, _| ()).await.unwrap_err().to_string();
    assert!(error.contains("but the inventory says") && error.contains(&wrong), "{error}");
}

#[tokio::test]
async fn the_cache_is_checked_on_every_use_and_needs_no_network() {
    let site = Site::new();
    let (download, cache) = (site.download(Via::Controller), site.cache());
    let found = site.verify(&download).await.unwrap();
    let wanted = found.files[&download].digest.clone().unwrap();
    let file = fetch(&download, &wanted, &cache, |_, _| ()).await.unwrap();
    site.requested();
    site.verify(&download).await.unwrap();
    fetch(&download, &wanted, &cache, |_, _| panic!("it is here")).await.unwrap();
    assert_eq!(site.requested(), [] as [&str; 0]);
    // Somebody has been at it.
    fs::write(&file, "evil").unwrap();
    site.verify(&download).await.unwrap();
    let file = fetch(&download, &wanted, &cache, |_, _| ()).await.unwrap();
    assert_eq!(fs::read(file).unwrap(), site.archive);
    let sums =
        files(&cache.root().join("sums")).into_iter().find(|path| path.ends_with(&SUMS[12..])).unwrap();
    fs::write(sums, site.sums.replace(&wanted, &digest(b"evil"))).unwrap();
    let found = site.verify(&download).await.unwrap();
    assert_eq!(found.files[&download].digest.as_deref(), Some(wanted.as_str()));
}

/// A bundle of both architectures.
async fn bundled(site: &Site) -> PathBuf {
    let bundle = site.folder.path().join("cluster.bundle");
    let downloads = ["amd64", "arm64"].map(|arch| for_arch(site.download(Via::Host), arch));
    let (contents, warnings) =
        create_bundle(&downloads.into(), &site.cache(), site.folder.path(), &bundle, |_| ()).await.unwrap();
    assert_eq!(warnings, [] as [&str; 0]);
    let what: Vec<&str> = contents.iter().map(|content| content.what.as_str()).collect();
    let key = format!("key {}", site.signer.fingerprint());
    for part in
        ["tool 1.2.3 amd64", "tool 1.2.3 arm64", "digests of tool 1.2.3", "signature of tool 1.2.3", &key]
    {
        assert!(what.contains(&part), "{part} is not in {what:?}");
    }
    bundle
}

#[tokio::test]
async fn a_bundle_does_without_the_site() {
    let site = Site::new();
    let bundle = bundled(&site).await;
    let (there, download) = (Cache::new(site.folder.path().join("there")), site.download(Via::Controller));
    site.requested();
    use_bundle(&bundle, &there).unwrap();
    let downloads = BTreeSet::from([download.clone()]);
    let found = verify(&downloads, &there, site.folder.path()).await.unwrap();
    let wanted = found.files[&download].digest.clone().unwrap();
    let file = fetch(&download, &wanted, &there, |_, _| panic!("it is here")).await.unwrap();
    assert_eq!(fs::read(file).unwrap(), site.archive);
    assert_eq!(site.requested(), [] as [&str; 0]);
    // Made twice, it is the same.
    let first = file_digest(&bundle).unwrap();
    assert_eq!(file_digest(&bundled(&site).await).unwrap(), first);
}

#[tokio::test]
async fn a_damaged_bundle_is_refused_as_a_whole() {
    let site = Site::new();
    let bundle = bundled(&site).await;
    let whole = fs::read(&bundle).unwrap();
    let damaged = site.folder.path().join("damaged.bundle");
    let good = |cache: &Cache| {
        let mut digests: Vec<String> =
            in_place(cache).iter().map(|path| file_digest(path).unwrap()).collect();
        digests.sort();
        digests
    };
    let there = Cache::new(site.folder.path().join("good"));
    use_bundle(&bundle, &there).unwrap();
    let wanted = good(&there);
    let try_it = |content: &[u8], what: String| {
        fs::write(&damaged, content).unwrap();
        let cache = Cache::new(site.folder.path().join(&what));
        match use_bundle(&damaged, &cache) {
            Ok(_) => {
                // The padding of the archive is of no meaning.
                assert_eq!(good(&cache), wanted, "{what}");
                true
            }
            Err(error) => {
                assert_eq!(files(cache.root()), [] as [PathBuf; 0], "{what}");
                let text = error.to_string();
                assert!(text.contains("damaged") || text.contains("no bundle"), "{what}: {text}");
                assert!(!matches!(error, BundleError::Io { .. }), "{what}: {text}");
                false
            }
        }
    };
    for cut in (0..whole.len()).step_by(211) {
        let accepted = try_it(&whole[..cut], format!("cut at {cut}"));
        // Only the end marks of the archive may be missing.
        assert!(!accepted || whole.len() - cut <= 1024 + 512, "cut at {cut} of {}", whole.len());
    }
    let mut refused = 0;
    for at in (0..whole.len()).step_by(97) {
        let mut content = whole.clone();
        content[at] ^= 0x20;
        refused += usize::from(!try_it(&content, format!("byte {at}")));
    }
    assert!(refused > whole.len() / 97 / 2, "only {refused} were refused");
}

#[tokio::test]
async fn a_bundle_writes_nowhere_but_into_the_cache() {
    let site = Site::new();
    let evil = b"evil";
    for name in ["../evil", "/tmp/evil", "keys/../../evil", "keys/.hidden", "lock", "sums/a/b/c"] {
        let list = serde_json::json!({ "format": "bootstrap bundle 1", "contents": [
            { "name": name, "what": "evil", "size": evil.len(), "sha256": digest(evil) }
        ]});
        let bundle = site.folder.path().join("evil.bundle");
        let mut tar = tar::Builder::new(fs::File::create(&bundle).unwrap());
        for (name, content) in [("bundle.json", list.to_string().into_bytes()), ("x", evil.to_vec())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_slice()).unwrap();
        }
        tar.finish().unwrap();
        let error = use_bundle(&bundle, &site.cache()).unwrap_err();
        assert!(error.to_string().contains("has no place in the cache"), "{name}: {error}");
        assert_eq!(files(site.cache().root()), [] as [PathBuf; 0]);
    }
}
