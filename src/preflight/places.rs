//! Room for what will be installed, in places that can be written and where programs may run.

use std::collections::{BTreeMap, BTreeSet};

use super::Subject;
use crate::model::{Arg, Call, Check, Finding, HostName, StepId};
use crate::resource::{Contents, Place};
use crate::roles::WantedHost;
use crate::script::Observation;

const PROBE: &str = "preflight places";
/// Where this program keeps its marks; it is written on every host that is changed.
const STATE: &str = "/var/lib/bootstrap";

/// A folder as the host has it, or the nearest one above that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    path: String,
    writable: bool,
    room: Room,
}

/// What is left on a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Room {
    file_system: String,
    kib: u64,
    /// `None` where they are made as needed.
    inodes: Option<u64>,
}

impl Room {
    fn is_below(&self, limit: &Self, of: impl Fn(&Self) -> Option<u64>) -> bool {
        of(self).zip(of(limit)).is_some_and(|(own, limit)| own < limit)
    }
}

/// A mount and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    point: String,
    options: Vec<String>,
}

/// Every folder that some resource may write to, in a fixed order: the probe's answers have no names.
fn folders(wanted: &WantedHost) -> BTreeSet<String> {
    let resources = wanted.roles.iter().flat_map(|role| &role.resources);
    resources
        .flat_map(|resource| resource.places())
        .map(|place| place.folder)
        .chain([STATE.to_owned()])
        .collect()
}

pub(super) fn probe(wanted: &WantedHost) -> Option<(StepId, Call)> {
    if wanted.roles.is_empty() {
        return None;
    }
    let folders: Option<Vec<Arg>> = folders(wanted).into_iter().map(|folder| Arg::new(folder).ok()).collect();
    Some((StepId(PROBE.to_owned()), Call::new("places_probe", folders?)))
}

pub(super) fn judge(subject: &Subject<'_>) -> Vec<Finding> {
    let mut asked = BTreeSet::new();
    let mut needed: Vec<Place> = subject
        .wanted
        .roles
        .iter()
        .flat_map(|role| &role.resources)
        .filter(|resource| subject.changes.as_ref().is_none_or(|changes| changes.contains(&resource.id())))
        .filter(|resource| asked.insert(resource.id()))
        .flat_map(|resource| resource.places())
        .collect();
    if needed.is_empty() {
        return Vec::new();
    }
    needed.push(Place { folder: STATE.to_owned(), kib: 64, inodes: 8, holds: Contents::Files });
    let seen = seen(&folders(subject.wanted), subject.observation);
    let mounts = mounts(subject.observation.of(PROBE).text("mounts").unwrap_or_default());
    let host = subject.name();
    let mut findings = unfit(&host, &needed, &seen, &mounts);
    findings.extend(full(&host, &needed, &seen));
    findings
}

/// Below these a product that writes as it goes soon stops: raft logs and snapshots, the journal, container layers.
const SOON_FULL: Room = Room { file_system: String::new(), kib: 500 << 10, inodes: Some(5000) };
const FULL: Room = Room { file_system: String::new(), kib: 100 << 10, inodes: Some(1000) };

/// File systems that are full or nearly, whatever is still to come.
pub fn low(wanted: &WantedHost, observation: &Observation) -> Vec<Finding> {
    let mut systems: BTreeMap<String, (Folder, BTreeSet<String>)> = BTreeMap::new();
    for (name, folder) in seen(&folders(wanted), observation) {
        if !folder.room.file_system.is_empty() {
            let system = folder.room.file_system.clone();
            systems.entry(system).or_insert_with(|| (folder, BTreeSet::new())).1.insert(name);
        }
    }
    let mut findings = Vec::new();
    for (Folder { path, room, .. }, folders) in systems.into_values() {
        let left = if room.is_below(&SOON_FULL, |room| Some(room.kib)) {
            format!("{} free", size(room.kib))
        } else if room.is_below(&SOON_FULL, |room| room.inodes) {
            format!("{} inodes free", room.inodes.unwrap_or_default())
        } else {
            continue;
        };
        let folders: Vec<&str> = folders.iter().take(3).map(String::as_str).collect();
        let reason = format!("{left} where {} lie", folders.join(", "));
        let inside = path.trim_end_matches('/');
        let remedy = format!("make room: `df -h {path}`, `df -i {path}`, `du -xsh {inside}/*`");
        let full = room.is_below(&FULL, |room| Some(room.kib)) || room.is_below(&FULL, |room| room.inodes);
        let finding = if full { Finding::error } else { Finding::warning };
        findings.push(finding(Check::Disk, vec![wanted.host.name.clone()], reason, remedy));
    }
    findings
}

fn seen(folders: &BTreeSet<String>, observation: &Observation) -> BTreeMap<String, Folder> {
    let fields = observation.of(PROBE);
    let found = fields.all("folder").zip(fields.all("room")).map(|(folder, room)| {
        let (writable, path) = folder.split_once(' ').unwrap_or(("w", folder));
        Folder {
            path: path.to_owned(),
            writable: writable == "w",
            room: self::room(room).unwrap_or_default(),
        }
    });
    folders.iter().cloned().zip(found).collect()
}

/// `FILE-SYSTEM FREE-BLOCKS BLOCK-SIZE INODES FREE-INODES`
fn room(line: &str) -> Option<Room> {
    let mut words = line.split(' ');
    let file_system = words.next()?.to_owned();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (blocks, size, inodes, free) = (number()?, number()?, number()?, number()?);
    Some(Room { file_system, kib: blocks.saturating_mul(size) / 1024, inodes: (inodes > 0).then_some(free) })
}

/// Lines of `POINT OPTION,…`, spaces and the like in octal.
fn mounts(text: &str) -> Vec<Mount> {
    let unescape = |point: &str| {
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(point.to_owned(), |text, (code, plain)| text.replace(code, plain))
    };
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(point, options)| Mount {
            point: unescape(point),
            options: options.split(',').map(str::to_owned).collect(),
        })
        .collect()
}

/// The mount that a path is on: the longest that leads to it, the last of those over one another.
fn mount_of<'m>(mounts: &'m [Mount], path: &str) -> Option<&'m Mount> {
    let leads = |mount: &&Mount| {
        let rest = path.strip_prefix(mount.point.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts.iter().filter(leads).max_by_key(|mount| mount.point.len())
}

impl Mount {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

fn unfit(
    host: &HostName,
    needed: &[Place],
    seen: &BTreeMap<String, Folder>,
    mounts: &[Mount],
) -> Vec<Finding> {
    let mut read_only: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut locked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut no_programs: BTreeMap<(Contents, &str), BTreeSet<&str>> = BTreeMap::new();
    for place in needed {
        let Some(folder) = seen.get(&place.folder) else { continue };
        let mount = mount_of(mounts, &folder.path);
        if let Some(mount) = mount.filter(|mount| mount.has("ro")) {
            read_only.entry(&mount.point).or_default().insert(&place.folder);
        } else if !folder.writable {
            locked.entry(&folder.path).or_default().insert(&place.folder);
        }
        if let Some(mount) = mount.filter(|mount| mount.has("noexec") && place.holds != Contents::Files) {
            no_programs.entry((place.holds, &mount.point)).or_default().insert(&place.folder);
        }
    }
    let list = |folders: &BTreeSet<&str>| folders.iter().copied().collect::<Vec<_>>().join(", ");
    let hosts = || vec![host.clone()];
    let mut findings = Vec::new();
    for (point, folders) in read_only {
        findings.push(Finding::error(
            Check::Paths,
            hosts(),
            format!("{} cannot be written: the mount at {point} is read-only", list(&folders)),
            format!(
                "`mount -o remount,rw {point}` and /etc/fstab; if the kernel did it, `dmesg` tells of disk errors"
            ),
        ));
    }
    for (path, folders) in locked {
        findings.push(Finding::error(
            Check::Paths,
            hosts(),
            format!("{} cannot be written: root may not write to {path}", list(&folders)),
            format!("is it immutable? `lsattr -d {path}`, then `chattr -i {path}`"),
        ));
    }
    for ((holds, point), folders) in no_programs {
        let remedy = format!("`mount -o remount,exec {point}`, and take `noexec` out of /etc/fstab");
        findings.push(match holds {
            Contents::Programs => Finding::error(
                Check::Paths,
                hosts(),
                format!("programs in {} cannot run: the mount at {point} is noexec", list(&folders)),
                remedy,
            ),
            // What a link leads to decides whether it runs.
            Contents::Links | Contents::Files => Finding::warning(
                Check::Paths,
                hosts(),
                format!(
                    "the mount at {point} is noexec: links to programs work in {}, programs do not",
                    list(&folders)
                ),
                remedy,
            ),
        });
    }
    findings
}

fn full(host: &HostName, needed: &[Place], seen: &BTreeMap<String, Folder>) -> Vec<Finding> {
    let mut by_system: BTreeMap<&str, (&Folder, u64, u64, BTreeSet<&str>)> = BTreeMap::new();
    for place in needed {
        let Some(folder) = seen.get(&place.folder).filter(|folder| !folder.room.file_system.is_empty())
        else {
            continue;
        };
        let sum = by_system.entry(&folder.room.file_system).or_insert((folder, 0, 0, BTreeSet::new()));
        sum.1 += place.kib;
        sum.2 += place.inodes;
        sum.3.insert(&place.folder);
    }
    let mut findings = Vec::new();
    for (Folder { path, room, .. }, kib, inodes, folders) in by_system.into_values() {
        let folders: Vec<&str> = folders.into_iter().collect();
        let mut short = |what: String| {
            let reason = format!("{what} for what goes to {}", folders.join(", "));
            let inside = path.trim_end_matches('/');
            let remedy = format!("make room: `df -h {path}`, `df -i {path}`, `du -xsh {inside}/*`");
            findings.push(Finding::error(Check::Disk, vec![host.clone()], reason, remedy));
        };
        if room.kib < kib {
            short(format!("{} free, {} needed", size(room.kib), size(kib)));
        }
        if let Some(free) = room.inodes.filter(|free| *free < inodes) {
            short(format!("{free} inodes free, {inodes} needed"));
        }
    }
    findings
}

fn size(kib: u64) -> String {
    if kib < 1024 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/ rw,relatime\n/usr/local rw,relatime\n/usr/local/bin ro,noexec\n/usr/local/bin rw,noexec\n\
        /srv/a\\040b ro,nosuid\n/opt rw,nosuid,noexec\n/boot ro\n";

    fn place(folder: &str, kib: u64, inodes: u64, holds: Contents) -> Place {
        Place { folder: folder.into(), kib, inodes, holds }
    }

    fn folder(path: &str, writable: bool, room: &str) -> (String, Folder) {
        let folder = Folder { path: path.into(), writable, room: room_of(room) };
        (path.into(), folder)
    }

    fn room_of(line: &str) -> Room {
        room(line).unwrap()
    }

    fn tell(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{:?}: {}", finding.severity, finding.reason)).collect()
    }

    #[test]
    fn the_mount_of_a_path() {
        let mounts = mounts(MOUNTS);
        for (path, point, option) in [
            ("/", "/", "rw"),
            ("/bootstrap", "/", "rw"),
            ("/usr/local/bin", "/usr/local/bin", "noexec"),
            ("/usr/local/binary", "/usr/local", "rw"),
            // The later of two over one another.
            ("/usr/local/bin/x", "/usr/local/bin", "rw"),
            ("/srv/a b/c", "/srv/a b", "ro"),
        ] {
            let mount = mount_of(&mounts, path).unwrap();
            assert_eq!(mount.point, point, "{path}");
            assert!(mount.has(option), "{path}: {mount:?}");
        }
        assert_eq!(mount_of(&[], "/x"), None);
    }

    #[test]
    fn places_that_cannot_be_used() {
        let mounts = mounts(MOUNTS);
        let seen = BTreeMap::from([
            folder("/etc", true, "1 0 0 0 0"),
            folder("/etc/locked", false, "1 0 0 0 0"),
            folder("/boot", false, "1 0 0 0 0"),
            folder("/opt", true, "1 0 0 0 0"),
            folder("/usr/local/bin", true, "1 0 0 0 0"),
        ]);
        let host = HostName::parse("n1").unwrap();
        for (folder, holds, found) in [
            ("/etc", Contents::Programs, vec![]),
            ("/opt", Contents::Files, vec![]),
            (
                "/opt",
                Contents::Programs,
                vec!["Error: programs in /opt cannot run: the mount at /opt is noexec"],
            ),
            (
                "/usr/local/bin",
                Contents::Links,
                vec![
                    "Warning: the mount at /usr/local/bin is noexec: links to programs work in /usr/local/bin, \
                     programs do not",
                ],
            ),
            (
                "/boot",
                Contents::Files,
                vec!["Error: /boot cannot be written: the mount at /boot is read-only"],
            ),
            (
                "/etc/locked",
                Contents::Files,
                vec!["Error: /etc/locked cannot be written: root may not write to /etc/locked"],
            ),
        ] {
            let found_now = unfit(&host, &[place(folder, 0, 0, holds)], &seen, &mounts);
            assert_eq!(tell(&found_now), found, "{folder} {holds:?}");
        }
    }

    #[test]
    fn what_goes_to_one_file_system_is_added_up() {
        let host = HostName::parse("n1").unwrap();
        // 100 MiB and 50 inodes free on each; the third makes inodes as it needs them.
        let seen = BTreeMap::from([
            folder("/a", true, "1 25600 4096 1000 50"),
            folder("/b", true, "1 25600 4096 1000 50"),
            folder("/c", true, "3 25600 4096 0 0"),
        ]);
        for (needed, found) in [
            (
                vec![place("/a", 60 << 10, 1, Contents::Files), place("/c", 60 << 10, 1, Contents::Files)],
                vec![],
            ),
            (
                vec![place("/a", 60 << 10, 1, Contents::Files), place("/b", 60 << 10, 1, Contents::Files)],
                vec!["Error: 100 MiB free, 120 MiB needed for what goes to /a, /b"],
            ),
            (
                vec![place("/a", 1, 51, Contents::Files), place("/c", 1, 51, Contents::Files)],
                vec!["Error: 50 inodes free, 51 needed for what goes to /a"],
            ),
        ] {
            assert_eq!(tell(&full(&host, &needed, &seen)), found, "{needed:?}");
        }
    }

    #[test]
    fn what_a_host_says_of_its_places() {
        assert_eq!(
            room_of("fd01 100 4096 10 7"),
            Room { file_system: "fd01".into(), kib: 400, inodes: Some(7) }
        );
        assert_eq!(room("fd01 100 4096"), None);
        assert_eq!((size(512), size(2048)), ("512 KiB".into(), "2 MiB".into()));
    }
}
