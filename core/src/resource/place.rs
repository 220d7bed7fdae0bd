//! Where on a host a resource writes, and the room it may take there.

use super::{Download, Release, Resource, Source};

/// A folder that a resource writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Need not exist yet.
    pub folder: String,
    /// Room it takes at most, while it is written and after.
    pub kib: u64,
    pub inodes: u64,
    pub holds: Contents,
}

/// What is put into a folder: it decides what its mount must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contents {
    Files,
    /// Links to programs that are elsewhere.
    Links,
    Programs,
}

const MIB: u64 = 1024;
/// An archive of some 60 MiB and the program of some 180 MiB unpacked from it, side by side until the
/// archive is removed. The products' releases of this decade are not larger.
const RELEASE: u64 = 300 * MIB;
/// Where archives lie before they are unpacked.
const INCOMING: &str = "/var/lib/bootstrap/incoming";
/// One of them.
const PUSHED: u64 = 100 * MIB;
/// Installed files of the small packages that roles name, with what these need.
const PACKAGES: u64 = 64 * MIB;
/// Lists and archives of a package manager that has never fetched any.
const PACKAGE_CACHE: u64 = 128 * MIB;
/// A file, its staged successor, and the folder of that one.
const FILE: u64 = 64;

/// A product as the distribution's package is as large as its release unpacked.
const PACKAGED_PRODUCT: u64 = 200 * MIB;

impl Resource {
    /// Every folder that it writes to when it has to be changed. Of what an `exec` does nothing is known.
    pub fn places(&self) -> Vec<Place> {
        let files = |folder: &str| place(folder, FILE, 4, Contents::Files);
        match self {
            Self::Package(_) => packages(PACKAGES),
            Self::User(_) => vec![files("/etc")],
            Self::Directory(directory) => vec![place(directory.path.as_str(), 4, 1, Contents::Files)],
            Self::File(file) => vec![files(file.path.folder())],
            Self::Certificate(certificate) => vec![files(certificate.path.folder())],
            Self::JsonMerge(merge) => vec![files(merge.path.folder())],
            Self::BlockInFile(block) => vec![files(block.path.folder())],
            Self::Download(Download::Release(release)) => release_places(release),
            Self::Download(Download::File(file)) => vec![files(file.path.folder())],
            Self::Download(Download::Images(_) | Download::Import(_)) => {
                vec![place(INCOMING, PUSHED, 2, Contents::Files)]
            }
            Self::Unit(_) | Self::Mount(_) => vec![files("/etc/systemd/system")],
            Self::Sysctl(_) => vec![files("/etc/sysctl.d")],
            Self::KernelModule(_) => vec![files("/etc/modules-load.d")],
            Self::Exec(_) => Vec::new(),
        }
    }
}

fn release_places(release: &Release) -> Vec<Place> {
    let mut places = match release.source {
        Source::Package => packages(PACKAGED_PRODUCT),
        _ => vec![place(release.install_dir.as_str(), RELEASE, 32, Contents::Programs)],
    };
    if matches!(release.source, Source::File(_)) {
        places.push(place(INCOMING, PUSHED, 2, Contents::Files));
    }
    places.push(place(release.bin_dir.as_str(), 4, 4, Contents::Links));
    places
}

fn packages(installed: u64) -> Vec<Place> {
    vec![
        place("/usr", installed, 2000, Contents::Programs),
        place("/var/cache", PACKAGE_CACHE, 200, Contents::Files),
    ]
}

fn place(folder: &str, kib: u64, inodes: u64, holds: Contents) -> Place {
    Place { folder: folder.to_owned(), kib, inodes, holds }
}
