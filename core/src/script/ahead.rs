//! Steps that install packages -> one call that installs all of them beside the steps before them.
//!
//! To start a package manager takes a second, whatever it installs; and while it works, releases can be fetched and unpacked.

use std::collections::BTreeSet;

use crate::model::{Arg, Call, Step};

/// What fetching and unpacking needs: packages with one of these come first, alone.
const NEEDED: [&str; 3] = ["ca-certificates", "curl", "unzip"];

/// What decides where packages come from: a step that writes there comes before the packages after it.
const SOURCES: [&str; 5] = ["/etc/apk/", "/etc/apt/", "/etc/dnf/", "/etc/pki/", "/etc/yum"];

/// Packages that are installed before their turn; the steps are known by their numbers. A role's packages come after whatever it has
/// before them: it may keep a service from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Before which step it is begun.
    pub begin: usize,
    /// The first step that needs some of them.
    pub turn: usize,
    /// Of that step and of those after it.
    pub packages: Vec<String>,
}

impl Ahead {
    /// `None` where nothing is gained by it.
    pub fn of(steps: &[Step]) -> Option<Self> {
        let (mut begin, mut members) = (0, Vec::<(usize, Vec<&str>)>::new());
        let mut begun = BTreeSet::new();
        for (number, Step { role, change, .. }) in steps.iter().enumerate() {
            match packages(&change.calls) {
                Some(names) if names.iter().any(|name| NEEDED.contains(name)) => {
                    (begin, members) = (number + 1, Vec::new());
                }
                Some(names) if !begun.contains(role) => members.push((number, names)),
                Some(_) => {}
                None => {
                    begun.insert(role);
                    if change.calls.iter().any(chooses_sources) {
                        if !members.is_empty() {
                            break;
                        }
                        begin = number + 1;
                    }
                }
            }
        }
        let turn = members.first()?.0;
        let names = members.iter().flat_map(|(_, names)| names).map(|name| (*name).to_owned());
        (members.len() > 1 || begin < turn).then(|| Self { begin, turn, packages: names.collect() })
    }

    /// The call that installs them. Whether it has, each step sees by itself.
    pub fn call(&self) -> Call {
        Call::new("ahead", self.packages.iter().map(|name| Arg::lossy(name)))
    }
}

/// The packages that a step installs, without those that the distribution may not have.
fn packages(calls: &[Call]) -> Option<Vec<&str>> {
    calls.iter().find_map(|call| {
        let names = match call.arguments_of("package_install") {
            Some(names) => names,
            None => {
                let args = call.arguments_of("package_install_known")?;
                let known: usize = args.first()?.as_str().parse().ok()?;
                args.get(known + 1..)?
            }
        };
        Some(names.iter().map(Arg::as_str).collect())
    })
}

/// Whether a call may decide which packages there are, or of which version.
fn chooses_sources(call: &Call) -> bool {
    let written = ["file_write", "file_from_site", "file_from_push"].iter();
    let mut paths = written.filter_map(|function| call.argument_of(function, 0));
    call.function().starts_with("exec_")
        || paths.any(|path| SOURCES.iter().any(|folder| path.starts_with(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, Effect, RoleName, StepId};

    fn step(role: &str, function: &'static str, words: &[&str]) -> Step {
        let calls = vec![Call::new(function, words.iter().map(|word| Arg::lossy(word)))];
        let change = Change { reason: "absent".to_owned(), effect: Effect::Quiet, diff: None, calls };
        Step { id: StepId(function.to_owned()), role: RoleName::parse(role).unwrap(), change, help: None }
    }

    #[test]
    fn packages_after_those_that_releases_need_are_installed_beside_them() {
        let own = step("agent", "package_install", &["curl", "unzip"]);
        let names = step("names", "package_install", &["dnsmasq-base"]);
        let engine = step("engine", "package_install_known", &["1", "docker-cli", "docker.io"]);
        let release = step("agent", "release_from_site", &["consul"]);
        let file = step("agent", "file_write", &["/etc/consul.d/consul.json"]);
        let found = |steps: &[&Step]| {
            let steps: Vec<_> = steps.iter().map(|step| (*step).clone()).collect();
            Ahead::of(&steps).map(|ahead| (ahead.begin, ahead.turn, ahead.call().for_host()))
        };
        let both = "ahead 'dnsmasq-base' 'docker.io'".to_owned();
        assert_eq!(found(&[&own, &release, &file, &names, &file, &engine]), Some((1, 3, both.clone())));
        assert_eq!(found(&[&release, &engine]), Some((0, 1, "ahead 'docker.io'".to_owned())));
        // Nothing is gained.
        assert_eq!(found(&[&own, &release, &file]), None);
        assert_eq!(found(&[&own, &engine, &file]), None);
        assert_eq!(found(&[&engine, &own, &release]), None);
        // What a file or a command decides comes after it.
        for barrier in [
            step("agent", "file_write", &["/etc/apt/sources.list.d/vendor.sources"]),
            step("agent", "exec_run", &["add-repository"]),
        ] {
            assert_eq!(found(&[&names, &barrier, &engine]), None);
            let first = "ahead 'dnsmasq-base'".to_owned();
            assert_eq!(found(&[&file, &names, &barrier, &engine]), Some((0, 1, first)));
            assert_eq!(found(&[&file, &barrier, &names, &file, &engine]), Some((2, 2, both.clone())));
        }
        // As is what its own role has before it.
        let masked = step("engine", "link_place", &["/etc/systemd/system/docker.service", "/dev/null"]);
        assert_eq!(found(&[&own, &file, &masked, &engine]), None);
    }
}
