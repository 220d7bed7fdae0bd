//! The lab's own long-running processes: how they are started, found again and ended.
//!
//! They are found by their exact arguments in `/proc`, never by a stored pid alone: pids wrap
//! within minutes on a busy machine, and a record may be older than its process.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;

/// Pause between two looks at something that is about to change.
pub const POLL: Duration = Duration::from_millis(20);

/// Processes of this machine (not of its containers) whose arguments satisfy `is_it`.
pub fn find(is_it: impl Fn(&[String]) -> bool) -> Vec<i32> {
    let own_namespace = fs::read_link("/proc/self/ns/pid").ok();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| {
            is_it(&arguments(pid)) && fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == own_namespace
        })
        .collect()
}

/// The arguments of a process; empty for a zombie, a kernel thread or nobody.
pub fn arguments(pid: i32) -> Vec<String> {
    split_arguments(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
}

fn split_arguments(cmdline: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(cmdline);
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Whether these are the arguments of this program's hidden subcommand `bootstrap lab NAME …`.
pub fn is_service(args: &[String], name: &str) -> bool {
    matches!(args, [_, lab, service, state, ..]
        if lab == "lab" && service == name && *state == service_marker())
}

/// Tells the services of this lab from those of another program that is called alike.
fn service_marker() -> String {
    format!("--state={}", super::layout::STATE)
}

/// Starts `bootstrap lab NAME --state=… ARGS` as a detached process that writes to `log`.
pub fn start_service(name: &str, args: &[String], log: &Path) -> Result<Child, Error> {
    // Not by its path: that may have been built anew since this one started.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("bootstrap").arg("lab").arg(name).arg(service_marker()).args(args);
    spawn_logged(command, log)
}

/// Leaves the session of the command that started this service, so that neither Ctrl-C nor the end
/// of the terminal ends it.
pub fn detach() {
    // Fails only for the leader of a process group, which a service is not.
    let _ = nix::unistd::setsid();
}

/// Starts `command` with no input and its output in `log`.
fn spawn_logged(mut command: Command, log: &Path) -> Result<Child, Error> {
    let file = fs::File::create(log).map_err(Error::io("write", log))?;
    let copy = file.try_clone().map_err(Error::io("write", log))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .spawn()
        .map_err(|source| Error::Start { program, source })
}

/// Kills every process that `is_it` finds and waits until they are gone.
pub fn end(what: &str, is_it: impl Fn(&[String]) -> bool) -> Result<bool, Error> {
    let pids = find(&is_it);
    for &pid in &pids {
        // Looked at again right before: it may have ended, and its number may be another's now.
        if is_it(&arguments(pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let gone = wait_until(Duration::from_secs(10), || !pids.iter().any(|&pid| is_it(&arguments(pid))));
    if !gone {
        return Err(Error::Busy { what: what.to_owned(), path: "/proc".into(), seconds: 10, look: "ps ax" });
    }
    Ok(!pids.is_empty())
}

/// Kills the processes of this machine whose root is `folder` or below, as a chroot leaves them.
pub fn end_rooted_below(folder: &Path) -> Result<(), Error> {
    let rooted = || {
        let all = find(|args| !args.is_empty()).into_iter();
        all.filter(|pid| {
            fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|root| root.starts_with(folder))
        })
        .collect::<Vec<_>>()
    };
    let gone = wait_until(Duration::from_secs(5), || {
        let pids = rooted();
        for &pid in &pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        pids.is_empty()
    });
    let busy = || Error::Busy { what: "a process".into(), path: folder.into(), seconds: 5, look: "ps ax" };
    if gone { Ok(()) } else { Err(busy()) }
}

/// Polls until `done` or the deadline; whether it was done.
pub fn wait_until(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + deadline;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_split_at_nul() {
        assert_eq!(split_arguments(b"a\0b c\0\0"), ["a", "b c", ""]);
        assert!(split_arguments(b"").is_empty());
    }

    #[test]
    fn a_service_is_known_by_all_of_its_first_arguments() {
        assert!(is_service(&words("bootstrap lab mirror --state=/var/lib/bootstrap-lab"), "mirror"));
        assert!(!is_service(&words("bootstrap lab mirror --state=/elsewhere"), "mirror"));
        assert!(!is_service(&words("bootstrap lab relay --state=/var/lib/bootstrap-lab"), "mirror"));
        assert!(!is_service(&words("sh -c bootstrap lab mirror --state=/var/lib/bootstrap-lab"), "mirror"));
        assert!(!is_service(&[], "mirror"));
    }

    #[test]
    fn finds_and_ends_only_what_matches() {
        let mut mine = Command::new("sleep").arg("300.25").spawn().unwrap();
        let mut other = Command::new("sleep").arg("300.5").spawn().unwrap();
        let is_mine = |args: &[String]| args == ["sleep", "300.25"];
        // The child shows this program's arguments until it has become `sleep`.
        assert!(wait_until(Duration::from_secs(5), || find(is_mine) == [mine.id() as i32]));
        assert!(end("sleep", is_mine).unwrap());
        assert!(find(is_mine).is_empty());
        assert!(!end("sleep", is_mine).unwrap());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        mine.wait().unwrap();
    }
}
