//! An inventory's ssh settings -> the configuration file and the arguments ssh is started with.
//!
//! In an ssh configuration the first value wins. So what the inventory says stands first, then comes
//! the user's own configuration, then what we would like when nobody says anything. The file also
//! governs the jump hosts; the arguments only the target.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Target};
use crate::inventory::HostKeys;

/// The file for `ssh -F`.
///
/// `kex` has the key exchange algorithms to propose first; the local ssh must know all of them.
pub(super) fn text(target: &Target, kex: &[String]) -> Result<String, Error> {
    let settings = &target.settings;
    let mut lines = vec![
        "# What the inventory says, or must be so for a run without a person at the keyboard.".to_owned(),
        "BatchMode yes".to_owned(),
        match settings.host_keys {
            HostKeys::Strict => "StrictHostKeyChecking yes".to_owned(),
            HostKeys::AcceptNew => "StrictHostKeyChecking accept-new".to_owned(),
        },
        // Many connections at once would write the user's known_hosts over each other.
        "UpdateHostKeys no".to_owned(),
        // The user's own forwards would collide from the second host on.
        "ClearAllForwardings yes".to_owned(),
        "RemoteCommand none".to_owned(),
    ];
    if let Some(file) = &settings.known_hosts {
        lines.push(format!("UserKnownHostsFile {}", path(target, "known_hosts", file)?));
    }
    // In front of ssh's own list, not instead of it: a host that has none of these is still reached.
    let kex = (!kex.is_empty()).then(|| format!("KexAlgorithms ^{}", kex.join(",")));
    if !settings.kex.is_empty() {
        lines.extend(kex.clone());
    }
    lines.push("# The user's own configuration.".to_owned());
    match &settings.config {
        Some(file) if file == Path::new("none") => {}
        Some(file) => lines.push(format!("Include {}", path(target, "config", file)?)),
        None => {
            lines.push("Include ~/.ssh/config".to_owned());
            lines.extend(system(Path::new("/etc/ssh/ssh_config"), 0));
        }
    }
    lines.push("# When nobody says anything.".to_owned());
    lines.extend(["ConnectTimeout 10", "ServerAliveInterval 5", "ServerAliveCountMax 3"].map(str::to_owned));
    if settings.kex.is_empty() {
        lines.extend(kex);
    }
    if let (Some(file), false) = (&settings.identity_file, settings.jump.is_empty()) {
        // A jump host may know this key, or those that ssh takes when no key is named at all.
        lines.push(format!("IdentityFile {}", path(target, "identity_file", file)?));
        lines.extend(["ed25519", "ecdsa", "rsa"].map(|kind| format!("IdentityFile ~/.ssh/id_{kind}")));
    }
    Ok(lines.join("\n") + "\n")
}

/// The arguments after `ssh -F …`, the destination last.
pub(super) fn arguments(target: &Target) -> Result<Vec<OsString>, Error> {
    let settings = &target.settings;
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(user) = &settings.user {
        let plain = !user.starts_with('-') && !user.chars().any(|c| c.is_whitespace() || c.is_control());
        check(target, "user", user, plain && !user.is_empty(), "no user name")?;
        arguments.extend(["-l".into(), user.into()]);
    }
    if let Some(port) = settings.port {
        arguments.extend(["-p".into(), port.to_string().into()]);
    }
    if let Some(file) = &settings.identity_file {
        // Otherwise an agent with many keys uses up the server's MaxAuthTries first.
        arguments.extend(["-o".into(), "IdentitiesOnly=yes".into()]);
        let file = path(target, "identity_file", file)?;
        arguments.extend(["-o".into(), format!("IdentityFile={file}").into()]);
    }
    if !settings.jump.is_empty() {
        for jump in &settings.jump {
            check(target, "jump host", jump, is_address(jump), "no [user@]host[:port]")?;
        }
        arguments.extend(["-J".into(), settings.jump.join(",").into()]);
    }
    check(target, "address", &target.address, is_address(&target.address), "no IP address or name")?;
    arguments.extend(["--".into(), (&target.address).into()]);
    Ok(arguments)
}

/// ssh hands jump hosts to a shell, so only what an address may be made of gets there.
fn is_address(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:@[]%".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(allowed)
}

fn check(
    target: &Target,
    what: &'static str,
    value: &str,
    good: bool,
    reason: &'static str,
) -> Result<(), Error> {
    if good {
        return Ok(());
    }
    Err(Error::Setting { host: target.host.clone(), what, value: value.to_owned(), reason })
}

/// What lets ssh read its system's configuration. Where that is another user's, as below Nix or without root, ssh itself takes it and yet
/// refuses to include it: then its lines stand here. `depth`: how many files deep.
fn system(file: &Path, depth: usize) -> Vec<String> {
    let is_fit = |meta: &fs::Metadata| {
        let owner = meta.uid();
        (owner == 0 || owner == nix::unistd::geteuid().as_raw()) && meta.mode() & 0o022 == 0
    };
    let text =
        fs::metadata(file).ok().filter(|meta| !is_fit(meta)).and_then(|_| fs::read_to_string(file).ok());
    match text {
        None => vec![format!("Include {}", file.display())],
        // What comes after it is for all hosts again.
        Some(text) => inline(&text, file, depth).into_iter().chain(["Match all".to_owned()]).collect(),
    }
}

/// The lines of a file, and of the files that it includes.
fn inline(text: &str, file: &Path, depth: usize) -> Vec<String> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let included = |line: &str| {
        let (word, files) = line.trim_start().split_once(char::is_whitespace)?;
        word.eq_ignore_ascii_case("include").then(|| files.to_owned())
    };
    text.lines()
        .flat_map(|line| match included(line) {
            None => vec![line.to_owned()],
            // ssh goes no deeper than 16 itself.
            Some(_) if depth >= 16 => Vec::new(),
            Some(files) => files
                .split_whitespace()
                .flat_map(|pattern| matching(&folder.join(pattern.trim_matches('"'))))
                .flat_map(|file| system(&file, depth + 1))
                .collect(),
        })
        .collect()
}

/// The files of a pattern whose last part may have a star.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let (Some((start, end)), Some(folder)) = (name.split_once('*'), pattern.parent()) else {
        return vec![pattern.to_owned()];
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    let mut files: Vec<PathBuf> = entries.filter(fits).collect();
    files.sort();
    files
}

/// A path as ssh_config takes it: quoted, `%` doubled; ssh expands a leading `~`.
fn path(target: &Target, what: &'static str, path: &Path) -> Result<String, Error> {
    let text = path.to_string_lossy();
    let good = path.to_str().is_some() && !text.contains(|c: char| c == '"' || c == '\\' || c.is_control());
    check(target, what, &text, good, "quotes, backslashes and control characters do not fit")?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::SshSettings;
    use crate::model::HostName;

    fn target(settings: SshSettings) -> Target {
        Target { host: HostName::parse("node-1").unwrap(), address: "10.0.0.1".into(), settings }
    }

    fn position(text: &str, line: &str) -> usize {
        text.lines().position(|found| found == line).unwrap_or_else(|| panic!("no line {line:?} in\n{text}"))
    }

    #[test]
    fn the_inventory_wins_over_the_user_and_the_user_over_our_wishes() {
        let settings = SshSettings { known_hosts: Some("/lab/known%hosts".into()), ..Default::default() };
        let wished = ["mlkem768x25519-sha256".to_owned()];
        let text = text(&target(settings.clone()), &wished).unwrap();
        let user = position(&text, "Include ~/.ssh/config");
        assert!(position(&text, "StrictHostKeyChecking yes") < user);
        assert!(position(&text, "UserKnownHostsFile \"/lab/known%%hosts\"") < user);
        assert!(position(&text, "ServerAliveInterval 5") > user);
        assert!(position(&text, "KexAlgorithms ^mlkem768x25519-sha256") > user);
        let named = SshSettings { kex: vec!["curve25519-sha256".into()], ..settings };
        let text = super::text(&target(named), &["curve25519-sha256".to_owned()]).unwrap();
        assert!(
            position(&text, "KexAlgorithms ^curve25519-sha256") < position(&text, "Include ~/.ssh/config")
        );
    }

    #[test]
    fn a_systems_configuration_of_another_user_stands_here() {
        let folder = tempfile::tempdir().unwrap();
        let (file, more) = (folder.path().join("ssh_config"), folder.path().join("ssh_config.d"));
        fs::create_dir(&more).unwrap();
        fs::write(&file, "Include ssh_config.d/*.conf\nHost a\n  Port 1\n").unwrap();
        fs::write(more.join("one.conf"), "User one\n").unwrap();
        fs::write(more.join("two.off"), "User two\n").unwrap();
        assert_eq!(system(&file, 0), [format!("Include {}", file.display())]);
        let open = |path: &Path| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap()
        };
        open(&file);
        let one = format!("Include {}", more.join("one.conf").display());
        assert_eq!(system(&file, 0), [one.as_str(), "Host a", "  Port 1", "Match all"]);
        open(&more.join("one.conf"));
        assert_eq!(system(&file, 0), ["User one", "Match all", "Host a", "  Port 1", "Match all"]);
    }

    #[test]
    fn arguments_name_only_what_the_inventory_says() {
        let plain = arguments(&target(SshSettings::default())).unwrap();
        assert_eq!(plain, ["--", "10.0.0.1"]);
        let full = SshSettings {
            user: Some("deploy".into()),
            port: Some(2222),
            identity_file: Some("~/key".into()),
            jump: vec!["a@one:22".into(), "two".into()],
            ..Default::default()
        };
        let full = arguments(&target(full)).unwrap();
        let expected =
            "-l deploy -p 2222 -o IdentitiesOnly=yes -o IdentityFile=\"~/key\" -J a@one:22,two -- 10.0.0.1";
        assert_eq!(full.join(std::ffi::OsStr::new(" ")), expected);
    }

    #[test]
    fn nothing_that_a_shell_or_ssh_could_misread_gets_through() {
        let jump = |jump: &str| SshSettings { jump: vec![jump.into()], ..Default::default() };
        let user = |user: &str| SshSettings { user: Some(user.into()), ..Default::default() };
        let key = |key: &str| SshSettings { identity_file: Some(key.into()), ..Default::default() };
        let bad = [jump("-oProxyCommand=x"), jump("a$(id)"), jump(""), user("-x"), user("a b"), key("a\"b")];
        for settings in bad {
            let failed = arguments(&target(settings.clone()));
            assert!(matches!(failed, Err(Error::Setting { .. })), "{settings:?} got through");
        }
        let target = Target { address: "-oProxyCommand=x".into(), ..target(SshSettings::default()) };
        assert!(matches!(arguments(&target), Err(Error::Setting { what: "address", .. })));
    }
}
