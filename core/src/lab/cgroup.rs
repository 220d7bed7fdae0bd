//! One own cgroup per host in every hierarchy, under a folder `bootstrap-lab`.
//!
//! With `--keep-unit` nspawn makes `payload` under the caller's cgroup. Were all hosts started from
//! one cgroup they would share it, and with it each other's services and containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::wait_until;
use super::{Error, layout::LabHost};

const FOLDER: &str = "bootstrap-lab";
/// How deep below a hierarchy's root a leftover folder is looked for.
const SEARCH_DEPTH: usize = 5;

/// A mounted hierarchy and where this process is in it.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Relative to the mount.
    current: String,
    unified: bool,
}

/// Puts this process into the host's own cgroup everywhere, for what it becomes by exec.
pub fn enter(host: LabHost) -> Result<(), Error> {
    for hierarchy in hierarchies()? {
        let parent = hierarchy.mount.join(parent_of(&hierarchy.current));
        let folder = parent.join(FOLDER);
        let own = folder.join(host.name());
        if hierarchy.unified {
            fs::create_dir_all(&own).map_err(Error::io("make the cgroup", &own))?;
            // What the machine hands down to this folder is handed on; the rest the hosts do without.
            for controller in ["cpu", "cpuset", "io", "memory", "pids"] {
                let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        } else {
            for (level, above) in [(&folder, &parent), (&own, &folder)] {
                fs::create_dir_all(level).map_err(Error::io("make the cgroup", level))?;
                // A new cpuset of cgroup v1 is empty and takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if let Ok(value) = fs::read(above.join(file)) {
                        fs::write(level.join(file), value).map_err(Error::io("write", level.join(file)))?;
                    }
                }
            }
        }
        let procs = own.join("cgroup.procs");
        fs::write(&procs, "0").map_err(Error::io("join the cgroup", &procs))?;
    }
    Ok(())
}

/// Removes one host's cgroups, or with `None` all that any lab left.
pub fn remove(host: Option<LabHost>) -> Result<(), Error> {
    for hierarchy in hierarchies()? {
        for folder in find_folders(&hierarchy.mount, SEARCH_DEPTH) {
            let path = host.map_or(folder.clone(), |host| folder.join(host.name()));
            // The kernel needs a moment to bury the last process of a group.
            if !wait_until(Duration::from_secs(5), || remove_tree(&path)) {
                return Err(Error::Busy {
                    what: "a process".into(),
                    path,
                    seconds: 5,
                    look: "cat cgroup.procs",
                });
            }
        }
    }
    Ok(())
}

/// Whether nothing is left of the group and those below it.
fn remove_tree(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return !path.exists() };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    fs::remove_dir(path).is_ok() || !path.exists()
}

fn find_folders(at: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(at) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .flat_map(|entry| match entry.file_name() == FOLDER {
            true => vec![entry.path()],
            false if depth > 0 => find_folders(&entry.path(), depth - 1),
            false => Vec::new(),
        })
        .collect()
}

fn hierarchies() -> Result<Vec<Hierarchy>, Error> {
    let read = |path: &str| fs::read_to_string(path).map_err(Error::io("read", path));
    Ok(parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?))
}

/// Joins `/proc/self/cgroup` (`4:memory:/a/b`) with the cgroup mounts of `/proc/self/mountinfo`.
fn parse(cgroup: &str, mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let [root, mount] = match left.split(' ').collect::<Vec<_>>()[..] {
            [_, _, _, root, mount, ..] => [root, mount],
            _ => continue,
        };
        let right: Vec<_> = right.split(' ').collect();
        let [kind, _, options] = right[..] else { continue };
        let unified = kind == "cgroup2";
        if !unified && kind != "cgroup" {
            continue;
        }
        let membership = cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_it = match unified {
                true => id == "0",
                // Any one controller tells the hierarchy: each belongs to exactly one.
                false => {
                    let first = controllers.split(',').next()?;
                    !first.is_empty() && options.split(',').any(|option| option == first)
                }
            };
            is_it.then_some(path)
        });
        let Some(current) = membership.map(|path| path.strip_prefix(root).unwrap_or(path)) else { continue };
        if found.iter().all(|known| known.mount != Path::new(mount)) {
            let current = current.trim_matches('/').to_owned();
            found.push(Hierarchy { mount: mount.into(), current, unified });
        }
    }
    found
}

/// Below which cgroup the lab's folder goes: the current one, so that limits set on the caller hold
/// for its lab, but not one of systemd's, which ends with the login session.
fn parent_of(current: &str) -> &str {
    let is_systemds = current.split('/').any(|part| part.ends_with(".slice") || part.ends_with(".scope"));
    // A host's own folder means that this runs inside of a launch already.
    match current.split_once(FOLDER) {
        Some((above, _)) => above.trim_end_matches('/'),
        None if is_systemds => "",
        None => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indoc::indoc;

    #[test]
    fn finds_version_1_hierarchies_and_the_unified_one() {
        let cgroup = indoc! {"
            9:name=systemd:/
            4:memory:/process/a1
            2:cpu,cpuacct:/
            0::/
        "};
        let mountinfo = "\
24 1 0:21 / /proc rw - proc proc rw\n\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
32 30 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found: Vec<_> = parse(cgroup, mountinfo)
            .into_iter()
            .map(|h| (h.mount.display().to_string(), h.current, h.unified))
            .collect();
        let expected = [
            ("/sys/fs/cgroup/cpu,cpuacct", "", false),
            ("/sys/fs/cgroup/memory", "process/a1", false),
            ("/sys/fs/cgroup/systemd", "", false),
            ("/sys/fs/cgroup/unified", "", true),
        ];
        assert_eq!(found, expected.map(|(mount, current, v2)| (mount.to_owned(), current.to_owned(), v2)));
    }

    #[test]
    fn a_login_session_is_no_place_for_hosts() {
        assert_eq!(parent_of("user.slice/user-0.slice/session-3.scope"), "");
        assert_eq!(parent_of("ci/job-7"), "ci/job-7");
        assert_eq!(parent_of("ci/bootstrap-lab/node-1"), "ci");
        assert_eq!(parent_of("bootstrap-lab/node-1"), "");
        assert_eq!(parent_of(""), "");
    }
}
