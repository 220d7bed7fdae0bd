//! The overlay of a host: mounting it, and taking down whatever is mounted below a folder.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Error;
use super::process::wait_until;

/// Mounts `upper` over the `lower` folders (the first on top) at `target`.
pub fn overlay(lower: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> Result<(), Error> {
    let lower: Vec<_> = lower.iter().map(|path| path.display().to_string()).collect();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    mount(Some("bootstrap-lab"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(Error::system(format!("mount the overlay {}", target.display())))
}

/// Every mount at or below `folder`, the last mounted first.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    parse(&mountinfo).into_iter().rev().filter(|path| path.starts_with(folder)).collect()
}

/// Unmounts everything at or below `folder`.
pub fn unmount_below(folder: &Path) -> Result<(), Error> {
    for path in below(folder) {
        // A host that just died holds its root for a moment longer.
        let done = wait_until(Duration::from_secs(5), || umount2(&path, MntFlags::UMOUNT_NOFOLLOW).is_ok());
        if !done {
            return Err(Error::Busy { what: "a process".into(), path, seconds: 5, look: "fuser -vm PATH" });
        }
    }
    Ok(())
}

/// Removes a folder with all in it, after unmounting: never reaches through a mount.
pub fn remove_folder(folder: &Path) -> Result<(), Error> {
    unmount_below(folder)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn parse(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect()
}

/// Blanks and the like are written as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = field.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_in_order_and_unescaped() {
        let text = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /a\\040b rw - tmpfs t rw\n3 2 0:6 / /a\\040b/c rw - tmpfs t rw\n";
        assert_eq!(parse(text), [PathBuf::from("/"), "/a b".into(), "/a b/c".into()]);
    }
}
