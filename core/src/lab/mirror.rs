//! The release mirror: real Consul in the vendor's layout, served over HTTP on the bridge only.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use semver::Version;
use sha2::{Digest, Sha256};
use tower_http::services::ServeDir;

use super::apt::Sources;
use super::command::{file_tail, run};
use super::layout::{CONTROLLER, MIRROR_PORT, cache, mirror_folder, state};
use super::process::{self, wait_until};
use super::{Error, OnProgress, mounts};

/// What Debian's package `consul` of [`CONSUL_SUITE`] holds.
const CONSUL_VERSION: Version = Version::new(1, 8, 7);
/// The one Debian release with a Consul.
const CONSUL_SUITE: &str = "bullseye";

/// The release of Consul that a lab has unless another is asked for.
pub fn default_consul() -> Version {
    CONSUL_VERSION
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where an archive of Consul lies in the mirror, and its sums.
fn consul_files(version: &Version) -> (PathBuf, PathBuf) {
    let folder = mirror_folder().join("consul").join(version.to_string());
    let zip = folder.join(format!("consul_{version}_linux_{}.zip", arch()));
    (zip, folder.join(format!("consul_{version}_SHA256SUMS")))
}

/// Whether Consul of this version is in the mirror, or can be put there from Debian.
pub fn check_consul(version: &Version) -> Result<(), Error> {
    let (zip, sums) = consul_files(version);
    if *version == CONSUL_VERSION || zip.exists() && sums.exists() {
        return Ok(());
    }
    let releases = fs::read_dir(mirror_folder().join("consul")).into_iter().flatten().flatten();
    let mut there: Vec<Version> = releases
        .filter_map(|entry| Version::parse(&entry.file_name().to_string_lossy()).ok())
        .filter(|version| consul_files(version).1.exists())
        .chain([CONSUL_VERSION])
        .collect();
    there.sort();
    there.dedup();
    let there: Vec<_> = there.iter().map(Version::to_string).collect();
    Err(Error::NoConsul {
        version: version.clone(),
        file: zip.display().to_string(),
        there: there.join(", "),
    })
}

/// Puts Debian's Consul into the mirror where it is asked for and not there.
pub fn fill(version: &Version, sources: &Sources, say: OnProgress) -> Result<(), Error> {
    let (archive, sums) = consul_files(version);
    if *version != CONSUL_VERSION || archive.exists() && sums.exists() {
        return Ok(());
    }
    let arch = arch();
    let folder = mirror_folder().join("consul").join(version.to_string());
    let zip = format!("consul_{CONSUL_VERSION}_linux_{arch}.zip");
    say(&format!("fetching consul {CONSUL_VERSION} for the mirror (Debian {CONSUL_SUITE})"));
    let work = cache("mirror-work");
    mounts::remove_folder(&work)?;
    make_folder(&work)?;
    let packed = pack_consul(sources, arch, &work, &zip).map_err(|error| Error::NoRelease {
        version: CONSUL_VERSION,
        reason: error.to_string(),
        file: folder.join(&zip).display().to_string(),
    })?;
    make_folder(&folder)?;
    // Both are made beside it and moved; the sums last, as they tell that the rest is there.
    fs::rename(work.join(&zip), folder.join(&zip)).map_err(Error::io("move into", &folder))?;
    fs::write(work.join("sums"), format!("{packed}  {zip}\n")).map_err(Error::io("write", &work))?;
    fs::rename(work.join("sums"), &sums).map_err(Error::io("write", &sums))?;
    mounts::remove_folder(&work)
}

/// Downloads the package with an apt that shares nothing with the machine's own, and packs its
/// program as the vendor does; the digest of the archive.
fn pack_consul(sources: &Sources, arch: &str, work: &Path, zip: &str) -> Result<String, Error> {
    for folder in ["parts", "preferences", "state/lists/partial", "cache/archives/partial", "tree"] {
        make_folder(&work.join(folder))?;
    }
    let list = work.join("sources.list");
    fs::write(&list, sources.list(CONSUL_SUITE)).map_err(Error::io("write", &list))?;
    fs::write(work.join("status"), "").map_err(Error::io("write", work))?;
    let w = work.display();
    let apt = |command: &str| {
        // The machine's own conf.d stays: it may name the proxy.
        run(
            "sh",
            &[
                "-c",
                "cd \"$1\" && shift && exec apt-get -q \"$@\"",
                "sh",
                &w.to_string(),
                &format!("-oDir::Etc::SourceList={w}/sources.list"),
                &format!("-oDir::Etc::SourceParts={w}/parts"),
                &format!("-oDir::Etc::Preferences={w}/none"),
                &format!("-oDir::Etc::PreferencesParts={w}/preferences"),
                &format!("-oDir::State={w}/state"),
                &format!("-oDir::State::status={w}/status"),
                &format!("-oDir::Cache={w}/cache"),
                &format!("-oAPT::Architecture={arch}"),
                "-oAPT::Sandbox::User=root",
                "-oAcquire::Retries=3",
                "-oAcquire::Languages=none",
                command,
                if command == "download" { "consul" } else { "-oDebug::none=1" },
            ],
        )
    };
    apt("update")?;
    apt("download")?;
    run("sh", &["-c", "dpkg-deb -x \"$1\"/consul_*.deb \"$1/tree\"", "sh", &w.to_string()])?;
    let zip = work.join(zip);
    let program = work.join("tree/usr/bin/consul");
    run("zip", &["-q", "-X", "-j", &zip.display().to_string(), &program.display().to_string()])?;
    let bytes = fs::read(&zip).map_err(Error::io("read", &zip))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("make", path))
}

/// Starts the server as a detached process, unless it runs.
pub fn start() -> Result<(), Error> {
    let address = SocketAddr::from((CONTROLLER, MIRROR_PORT));
    if is_running() {
        return Ok(());
    }
    let log = state("mirror.log");
    let mut child = process::start_service("mirror", &[], &log)?;
    let mut ended = false;
    let ready = wait_until(Duration::from_secs(10), || {
        ended = matches!(child.try_wait(), Ok(Some(_)));
        ended || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
    });
    match (ended, ready) {
        (true, _) => Err(Error::ServiceDied { what: "mirror", tail: file_tail(&log) }),
        (_, false) => Err(Error::ServiceSilent { what: "mirror", seconds: 10, log }),
        _ => Ok(()),
    }
}

pub fn is_running() -> bool {
    !process::find(|args| process::is_service(args, "mirror")).is_empty()
}

pub fn stop() -> Result<(), Error> {
    process::end("the mirror", |args| process::is_service(args, "mirror")).map(drop)
}

/// Serves `folder` on `address` until killed. Ranges are answered, so that downloads can resume.
pub async fn serve(folder: &Path, address: SocketAddr) -> std::io::Result<()> {
    accept(tokio::net::TcpListener::bind(address).await?, folder).await
}

async fn accept(listener: tokio::net::TcpListener, folder: &Path) -> std::io::Result<()> {
    let service = TowerToHyperService::new(ServeDir::new(folder));
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service.clone());
        // A client that goes away in the middle is its own business.
        tokio::spawn(async move { connection.await.ok() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn serves_files_ranges_and_404_but_nothing_outside() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("served")).unwrap();
        fs::write(folder.path().join("served/file.zip"), "0123456789").unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = folder.path().join("served");
        tokio::spawn(async move { accept(listener, &served).await });

        let client = crate::http::site().unwrap();
        let whole = client.get(format!("{base}/file.zip")).send().await.unwrap();
        assert_eq!(whole.text().await.unwrap(), "0123456789");
        let rest = client.get(format!("{base}/file.zip")).header("Range", "bytes=7-").send().await.unwrap();
        assert_eq!(rest.status(), 206);
        assert_eq!(rest.text().await.unwrap(), "789");
        for missing in ["nothing", "%2e%2e/secret", "..%2fsecret"] {
            let answer = client.get(format!("{base}/{missing}")).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{missing}");
        }
    }
}
