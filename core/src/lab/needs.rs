//! The programs the lab calls, and getting them.

use std::path::Path;

use super::command::{SEARCH_PATH, run, succeeds};
use super::{Error, OnProgress};

/// A program (or file) and the Debian package that has it.
const NEEDS: [(&str, &str); 11] = [
    ("debootstrap", "debootstrap"),
    // Without it debootstrap would not verify what it downloads.
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("gpgv", "gpgv"),
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("iptables-restore", "iptables"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("dpkg-deb", "dpkg"),
    ("zip", "zip"),
];

/// What hosts with a kernel of their own need besides.
const MACHINE_NEEDS: [(&str, &str); 2] = [("qemu-system-x86_64", "qemu-system-x86"), ("mke2fs", "e2fsprogs")];

/// Installs what is missing where that is possible, else names it. `machines`: some hosts have a kernel of their own.
pub fn ensure(machines: bool, say: OnProgress) -> Result<(), Error> {
    let needs = NEEDS.into_iter().chain(MACHINE_NEEDS.into_iter().filter(|_| machines));
    let missing: Vec<_> = needs.filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| (*package).to_owned()).collect();
    packages.dedup();
    if !is_there("apt-get") {
        let programs = missing.iter().map(|(program, _)| (*program).to_owned()).collect();
        return Err(Error::Lacking { programs, packages });
    }
    say(&format!("installing {}", packages.join(", ")));
    let names: Vec<_> = packages.iter().map(String::as_str).collect();
    let install = [
        &["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends"],
        &names[..],
    ]
    .concat();
    // The lists of a fresh machine may be missing or too old.
    if !succeeds("env", &install) {
        run("apt-get", &["update"])?;
        run("env", &install)?;
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    // A whole path stays as it is when joined.
    SEARCH_PATH.split(':').any(|folder| Path::new(folder).join(program).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_and_files() {
        assert!(is_there("sh"));
        assert!(is_there("/etc/passwd"));
        assert!(!is_there("no-such-program"));
        assert!(!is_there("/no/such/file"));
    }
}
