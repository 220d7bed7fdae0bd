//! `package`: packages of the distribution that are installed.

use serde::Deserialize;

use super::{Error, PackageName, PartName, call_of, seen};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// Packages that should be installed, by one call of apt, dnf or apk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    pub names: Vec<PackageName>,
    /// Installed with the others where the distribution has them: some split in two what others ship as one.
    #[serde(default)]
    pub where_known: Vec<PackageName>,
    /// Those of the names that only systems with apt have: on others they are refused where they are lacking, before any change.
    #[serde(default)]
    pub apt_only: Vec<PackageName>,
    /// They start nothing and want no file of this role before them: they come with the first packages of the host, by one call.
    #[serde(default)]
    pub early: bool,
    /// A program that does for all of them: who has it on the PATH, from wherever, keeps it.
    #[serde(default)]
    pub unless_program: Option<PartName>,
}

impl Package {
    /// Takes the names of another, which is then needed no more.
    pub fn extend(&mut self, other: Self) {
        let lists = [
            (&mut self.names, other.names),
            (&mut self.where_known, other.where_known),
            (&mut self.apt_only, other.apt_only),
        ];
        for (own, more) in lists {
            for name in more {
                if !own.contains(&name) {
                    own.push(name);
                }
            }
        }
    }

    pub fn id(&self) -> StepId {
        let names: Vec<_> = self.names.iter().map(PackageName::as_str).collect();
        StepId(format!("package {}", names.join(" ")))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let names = self.names.iter().map(PackageName::as_str);
        match &self.unless_program {
            None => {
                let call = call_of(&self.id(), "package_probe", names.clone())?;
                Ok(call.with_prefetch(names.map(|name| PrefetchOf::Package.named(name))))
            }
            // Where the program is there nobody asks for packages.
            Some(program) => {
                call_of(&self.id(), "package_program_probe", [program.as_str()].into_iter().chain(names))
            }
        }
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        if self.unless_program.is_some() && seen::text(&id, seen, "program")? != "absent" {
            return Ok(None);
        }
        if seen::text(&id, seen, "manager")?.is_empty() {
            return Err(Error::NoPackageManager { id: id.0 });
        }
        let said = |key: &str, name: &PackageName| seen.all(key).any(|said| said == name.as_str());
        if self.names.iter().any(|name| !said("missing", name) && !said("installed", name)) {
            return Err(Error::Unanswered { id: id.0, key: "installed" });
        }
        let missing: Vec<_> =
            self.names.iter().filter(|name| said("missing", name)).map(PackageName::as_str).collect();
        if missing.is_empty() {
            return Ok(None);
        }
        let reason = format!("not installed: {}", missing.join(" "));
        let call = if self.where_known.is_empty() {
            call_of(&id, "package_install", missing)?
        } else {
            let known: Vec<_> = self.where_known.iter().map(PackageName::as_str).collect();
            let count = known.len().to_string();
            call_of(&id, "package_install_known", [count.as_str()].into_iter().chain(known).chain(missing))?
        };
        Ok(Some(Change { reason, diff: None, effect: Effect::Quiet, calls: vec![call] }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{calls, reason, resource};

    #[test]
    fn what_is_missing_is_installed_by_one_call() {
        let package = || json!({"package": {"names": ["curl", "unzip", "jq"]}});
        let some = [("manager", "apt"), ("installed", "curl"), ("missing", "unzip"), ("missing", "jq")];
        let all = [("manager", "apt"), ("installed", "curl"), ("installed", "unzip"), ("installed", "jq")];
        assert_eq!(reason(package(), &all), "-");
        assert_eq!(reason(package(), &some), "not installed: unzip jq");
        assert_eq!(calls(package(), &some), ["package_install 'unzip' 'jq'"]);
    }

    #[test]
    fn a_program_that_is_there_is_left_alone() {
        let engine = || json!({"package": {"names": ["docker.io"], "where_known": ["docker-cli"], "unless_program": "dockerd"}});
        let absent = [("program", "absent"), ("manager", "apt"), ("missing", "docker.io")];
        assert_eq!(
            resource(engine()).probe().unwrap().to_string(),
            "package_program_probe 'dockerd' 'docker.io'"
        );
        assert_eq!(reason(engine(), &[("program", "/opt/bin/dockerd")]), "-");
        assert_eq!(reason(engine(), &absent), "not installed: docker.io");
        assert_eq!(calls(engine(), &absent), ["package_install_known '1' 'docker-cli' 'docker.io'"]);
        assert_eq!(
            reason(engine(), &absent[1..]),
            "error: the host said nothing about `program` of `package docker.io`"
        );
    }

    #[test]
    fn an_answer_that_is_cut_short_is_not_taken_for_absent() {
        let package = || json!({"package": {"names": ["curl", "jq"]}});
        assert_eq!(
            reason(package(), &[]),
            "error: the host said nothing about `manager` of `package curl jq`"
        );
        assert_eq!(
            reason(package(), &[("manager", "apt"), ("installed", "curl")]),
            "error: the host said nothing about `installed` of `package curl jq`"
        );
        assert_eq!(
            reason(package(), &[("manager", "")]),
            "error: `package curl jq` needs a package manager: apt, dnf or apk"
        );
        assert_eq!(
            reason(package(), &[("error", "dpkg: no database\n")]),
            "error: `package curl jq` could not be looked at: dpkg: no database"
        );
    }
}
