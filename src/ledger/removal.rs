//! What the ledger of a host holds and nobody there wants any more -> the steps that put it back.

use std::collections::{BTreeMap, BTreeSet};

use super::thing::plain_end;
use super::{PROBE, Thing};
use crate::inventory::RoleName;
use crate::plan::{Change, Effect, Step, StepId};
use crate::resource::{Error, Planned, Resource, State, Unit, can_be_shown, text_diff};
use crate::roles::WantedHost;
use crate::script::{Arg, Call, Fields, Observation};

/// Where the originals of files stay that are not put back, because somebody changed the files.
const LEFT: &str = "/var/lib/bootstrap/left";

/// What is put back on one host.
#[derive(Debug, Default)]
pub struct Removal {
    pub steps: Vec<Step>,
    /// Roles that the host has no more; of all other roles of the steps only some things are unwanted.
    pub gone: BTreeSet<RoleName>,
}

/// In this order: what serves goes on with the files of before, a unit is stopped while systemd knows
/// it, and one that ran before starts with everything back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    File,
    Stop,
    UnitFile,
    Exec,
    Run,
    Directory,
    Left,
}

/// The steps for everything that the ledger says of a host and that none of its roles wants.
pub fn removal(host: &WantedHost, observation: &Observation) -> Result<Removal, (StepId, Error)> {
    if let Some(message) = observation.of(PROBE).text("error") {
        let id = StepId("the ledger".to_owned());
        let error = Error::Probe { id: id.0.clone(), message: message.trim().to_owned() };
        return Err((id, error));
    }
    let present: BTreeSet<&RoleName> =
        host.roles.iter().flat_map(|role| role.parts.iter().chain([&role.name])).collect();
    let wanted: Vec<&Resource> = host.roles.iter().flat_map(|role| &role.resources).collect();
    let mut entries: Vec<Entry<'_>> = observation
        .under(&format!("{PROBE} "))
        .map(|(name, said)| {
            Entry::parse(name, said).map_err(|error| (StepId(format!("{PROBE} {name}")), error))
        })
        .collect::<Result<_, _>>()?;
    entries.retain(|entry| match &entry.thing {
        // The list of packages of a role that is still there has just become another.
        Thing::Left(_) => !present.contains(&entry.role),
        Thing::Directory(path) => !wanted.iter().any(|resource| is_below(resource, path)),
        _ => true,
    });
    let mut planned = BTreeSet::new();
    let mut steps: Vec<(Turn, &str, Step)> = Vec::new();
    // Units last: what they watch is planned by then.
    entries.sort_by_key(|entry| matches!(entry.thing, Thing::Unit(_)));
    for entry in &entries {
        let (turn, id, change) = entry.put_back(&planned).map_err(|error| (entry.id("restore"), error))?;
        planned.insert(id.clone());
        steps.push((turn, entry.thing.at(), Step { id, role: entry.role.clone(), change }));
    }
    steps.sort_by(|(turn, at, _), (other_turn, other, _)| {
        turn.cmp(other_turn).then_with(|| match turn {
            // Folders are empty when what was in them is gone.
            Turn::Directory => other.cmp(at),
            _ => at.cmp(other),
        })
    });
    let gone =
        entries.iter().map(|entry| &entry.role).filter(|role| !present.contains(role)).cloned().collect();
    Ok(Removal { steps: steps.into_iter().map(|(_, _, step)| step).collect(), gone })
}

/// Whether a resource writes into a folder.
fn is_below(resource: &Resource, folder: &str) -> bool {
    let inside = |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    resource.file().is_some_and(|path| inside(&path)) || resource.folder().is_some_and(inside)
}

/// A thing of the ledger that nobody wants.
struct Entry<'a> {
    name: &'a str,
    role: RoleName,
    thing: Thing,
    said: Fields<'a>,
}

impl<'a> Entry<'a> {
    fn parse(name: &'a str, said: Fields<'a>) -> Result<Self, Error> {
        let id = || format!("{PROBE} {name}");
        if let Some(message) = said.text("error") {
            return Err(Error::Probe { id: id(), message: message.trim().to_owned() });
        }
        let word = |key| said.text(key).ok_or_else(|| Error::Unanswered { id: id(), key });
        let unknown = |key, text: &str| Error::Unknown { id: id(), key, text: text.to_owned() };
        let (role, kind, at) = (word("role")?, word("kind")?, word("at")?);
        Ok(Self {
            name,
            role: RoleName::parse(role.to_owned()).map_err(|_| unknown("role", role))?,
            thing: Thing::parse(kind, at).ok_or_else(|| unknown("kind", kind))?,
            said,
        })
    }

    fn id(&self, verb: &str) -> StepId {
        let (kind, at) = (self.thing.kind(), self.thing.at());
        match self.thing {
            // It has its kind in its name.
            Thing::Left(_) => StepId(format!("{verb} {at}")),
            _ => StepId(format!("{verb} {kind} {at}")),
        }
    }

    /// A call about this entry.
    fn call<T: AsRef<str>>(&self, function: &'static str, words: impl IntoIterator<Item = T>) -> Call {
        let words = words.into_iter().map(|word| Arg::lossy(word.as_ref()));
        Call::new(function, [Arg::lossy(self.name)].into_iter().chain(words))
    }

    fn forget(&self) -> Call {
        self.call("undo_forget", [""; 0])
    }

    fn word(&self, key: &'static str) -> Result<&'a str, Error> {
        self.said.text(key).ok_or_else(|| Error::Unanswered { id: self.id("restore").0, key })
    }

    /// Words that are parted by spaces: mode, owner and group.
    fn access(&self) -> Result<[&'a str; 3], Error> {
        let text = self.word("access")?;
        let words: Vec<&str> = text.split(' ').collect();
        words.try_into().map_err(|_| Error::Unknown {
            id: self.id("restore").0,
            key: "access",
            text: text.to_owned(),
        })
    }

    fn put_back(&self, planned: &BTreeSet<StepId>) -> Result<(Turn, StepId, Change), Error> {
        let quiet =
            |reason: String, calls: Vec<Call>| Change { reason, effect: Effect::Quiet, diff: None, calls };
        let role = &self.role;
        Ok(match &self.thing {
            Thing::File(path) => {
                let (id, mut change) = self.file(path)?;
                let of_systemd = path.starts_with("/etc/systemd/system/");
                if of_systemd {
                    change.calls.push(Call::new("units_reload", []));
                }
                (if of_systemd { Turn::UnitFile } else { Turn::File }, id, change)
            }
            Thing::Directory(path) => {
                let (id, change) = self.directory(path)?;
                (Turn::Directory, id, change)
            }
            Thing::Unit(name) => self.unit(name, planned)?,
            Thing::Exec(_) => {
                let words: Vec<Arg> = self.said.all("word").map(Arg::lossy).collect();
                let calls = vec![Call::new("exec_run", words), self.forget()];
                (Turn::Exec, self.id("undo"), quiet(format!("role {role} ran it"), calls))
            }
            Thing::Left(id) => {
                let what = match id.split(' ').next().unwrap_or_default() {
                    "package" => "packages stay installed",
                    "user" => "users stay: files may be theirs",
                    "release" => "its programs stay",
                    "sysctl" => "the live value stays until the next boot",
                    "kernel-module" => "it stays loaded until the next boot",
                    _ => "it stays",
                };
                (Turn::Left, self.id("leave"), quiet(what.to_owned(), vec![self.forget()]))
            }
        })
    }

    fn file(&self, path: &str) -> Result<(StepId, Change), Error> {
        let role = &self.role;
        let before = self.word("before")?;
        // As the prelude tells what stands at a path.
        let now = match self.word("type")? {
            "absent" => "absent".to_owned(),
            "link" => format!("link {}", self.said.text("target").unwrap_or_default()),
            "file" => self.word("sha256")?.to_owned(),
            other => other.to_owned(),
        };
        let original = match before {
            "absent" => "absent".to_owned(),
            "link" => format!("link {}", self.word("link")?),
            _ => self.word("digest")?.to_owned(),
        };
        let quiet = |reason: String, call: Call| Change {
            reason,
            effect: Effect::Quiet,
            diff: None,
            calls: vec![call],
        };
        // Also a file of which only mode and owner were changed.
        if self.said.all("written").any(|written| written == now) {
            let (id, reason, call) = match before {
                "absent" => (
                    self.id("remove"),
                    format!("role {role} made it"),
                    self.call("file_gone", [path, now.as_str()]),
                ),
                "link" => {
                    let (target, [_, owner, group]) = (self.word("link")?, self.access()?);
                    let words = [path, now.as_str(), target, owner, group];
                    let reason = format!("a symbolic link to {target}, as before role {role}");
                    (self.id("restore"), reason, self.call("link_back", words))
                }
                _ => {
                    let [mode, owner, group] = self.access()?;
                    let words = [path, now.as_str(), mode, owner, group, original.as_str()];
                    (self.id("restore"), format!("as before role {role}"), self.call("file_back", words))
                }
            };
            return Ok((id, Change { diff: self.diff(path, before), ..quiet(reason, call) }));
        }
        if now == original {
            // A run was ended between the change and its word for it, or somebody put it back.
            return Ok((self.id("restore"), quiet(format!("it is as before role {role}"), self.forget())));
        }
        let copy = format!("{}-{original:.12}", plain_end(path));
        let reason = match before {
            "absent" => format!("changed since role {role} made it"),
            "link" => {
                format!(
                    "changed since role {role} wrote it; before it was a symbolic link to {}",
                    self.word("link")?
                )
            }
            _ => {
                let [mode, owner, group] = self.access()?;
                format!(
                    "changed since role {role} wrote it; what it was before is kept in {LEFT}/{copy} \
                     (mode {mode}, owner {owner}, group {group})"
                )
            }
        };
        Ok((self.id("leave"), quiet(reason, self.call("file_left", [copy]))))
    }

    fn diff(&self, path: &str, before: &str) -> Option<String> {
        let text = |key| std::str::from_utf8(self.said.bytes(key)?).ok();
        let now = text("body")?;
        let original = if before == "file" { text("original")? } else { "" };
        (can_be_shown(now) && can_be_shown(original) && now != original)
            .then(|| text_diff(path, now, original))
    }

    fn directory(&self, path: &str) -> Result<(StepId, Change), Error> {
        let role = &self.role;
        let (verb, reason, call) = match self.word("before")? {
            "absent" => {
                let paths = std::iter::once(path).chain(self.said.all("made"));
                let reason = format!("role {role} made it; it stays if anything is in it");
                ("remove", reason, self.call("directory_gone", paths))
            }
            _ if self.word("type")? != "directory" => {
                ("leave", "it is no folder any more".to_owned(), self.forget())
            }
            _ => {
                let [mode, owner, group] = self.access()?;
                let reason = format!("mode {mode:0>4} and owner as before role {role}");
                ("restore", reason, self.call("directory_back", [path, mode, owner, group]))
            }
        };
        Ok((self.id(verb), Change { reason, effect: Effect::Quiet, diff: None, calls: vec![call] }))
    }

    fn unit(&self, name: &str, planned: &BTreeSet<StepId>) -> Result<(Turn, StepId, Change), Error> {
        let role = &self.role;
        let id = self.id("restore");
        let enabled = !["", "disabled"].contains(&self.word("enabled")?);
        let running = ["active", "activating", "reloading"].contains(&self.word("active")?);
        let (load, active) = (self.word("LoadState")?, self.word("ActiveState")?);
        if load == "masked" || load == "no-systemd" || (load == "not-found" && active == "inactive") {
            let change = Change {
                reason: format!("it is {load}"),
                effect: Effect::Quiet,
                diff: None,
                calls: vec![self.forget()],
            };
            return Ok((Turn::Stop, self.id("leave"), change));
        }
        let paths = |key| self.said.all(key).map(str::parse).collect::<Result<Vec<_>, _>>();
        let unknown = |text| Error::Unknown { id: id.0.clone(), key: "restart", text };
        let unit = Unit {
            name: name.parse().map_err(unknown)?,
            enabled,
            state: if running { State::Started } else { State::Stopped },
            restart_on: paths("restart").map_err(unknown)?,
            reload_on: paths("reload").map_err(unknown)?,
        };
        let reasons = unit.reasons(&id, &self.said, &Planned(planned))?;
        let was = match (enabled, running) {
            (true, true) => "enabled and running",
            (true, false) => "enabled and not running",
            (false, true) => "running and not enabled",
            (false, false) => "neither enabled nor running",
        };
        let reason = match reasons.as_slice() {
            [] => format!("{was}, as before role {role}"),
            reasons => format!("{}; before role {role} it was {was}", reasons.join(", ")),
        };
        let effect = if reasons.is_empty() { Effect::Quiet } else { unit.effect(&self.said, &reasons)? };
        let state = if running { "started" } else { "stopped" };
        let words = [unit.name.to_string(), enabled.to_string(), state.to_owned()];
        let calls = vec![self.call("unit_back", words.into_iter().chain(unit.watched()))];
        let turn = if running { Turn::Run } else { Turn::Stop };
        Ok((turn, id, Change { reason, effect, diff: None, calls }))
    }
}

/// The name of the stage that puts back, from the removals of all hosts: `remove dns, leftovers of nfs-client`.
pub fn stage_name<'r>(removals: impl IntoIterator<Item = &'r Removal>) -> String {
    let mut roles: BTreeMap<&RoleName, bool> = BTreeMap::new();
    for removal in removals {
        for step in &removal.steps {
            *roles.entry(&step.role).or_default() |= removal.gone.contains(&step.role);
        }
    }
    let (gone, there): (Vec<_>, Vec<_>) = roles.into_iter().partition(|(_, gone)| *gone);
    let names = gone.into_iter().map(|(role, _)| role.to_string());
    let leftovers = there.into_iter().map(|(role, _)| format!("leftovers of {role}"));
    format!("remove {}", names.chain(leftovers).collect::<Vec<_>>().join(", "))
}
