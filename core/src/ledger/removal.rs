//! What the ledger of a host holds and nobody there wants any more -> the steps that put it back.

use std::collections::{BTreeMap, BTreeSet};

use super::thing::plain_end;
use super::{LedgerItem, PROBE};
use crate::model::{Arg, Call, Change, Effect, RoleName, Step, StepId};
use crate::resource::{
    Error, Load, Planned, Resource, State, Unit, can_be_shown, digest, encode, text_diff, without_blocks,
};
use crate::roles::WantedHost;
use crate::script::{Fields, Observation};

/// Where the originals of files stay that are not put back, because somebody changed the files.
const LEFT: &str = "/var/lib/bootstrap/left";

/// What is put back on one host.
#[derive(Debug, Default)]
pub struct Removal {
    pub steps: Vec<Step>,
    /// Roles that the host has no more; of all other roles of the steps only some things are unwanted.
    pub gone: BTreeSet<RoleName>,
}

impl Removal {
    /// Takes out what is left of a role that its host still has, if it is to be put back in that role's own turn.
    pub fn leftovers(&mut self, role: &RoleName, in_its_turn: bool) -> Vec<Step> {
        let is_left = |step: &mut Step| in_its_turn && step.role == *role && !self.gone.contains(role);
        self.steps.extract_if(.., is_left).collect()
    }
}

/// In this order: what serves goes on with the files of before, a unit is stopped while systemd knows
/// it, and one that ran before starts with everything back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RemovalOrder {
    File,
    Stop,
    UnitFile,
    Exec,
    Run,
    Directory,
    /// Those last for which the most folders were made.
    Release(usize),
    User,
    Group,
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
        // The list of packages of a role that is still there has just become another; and a version that was left may be the one to
        // go back to.
        LedgerItem::Left(_) | LedgerItem::Release(_) | LedgerItem::User(_) | LedgerItem::Group(_) => {
            !present.contains(&entry.role)
        }
        LedgerItem::Directory(path) => !wanted.iter().any(|resource| is_below(resource, path)),
        _ => true,
    });
    let mut planned = BTreeSet::new();
    let mut steps: Vec<(RemovalOrder, &str, Step)> = Vec::new();
    // Units last: what they watch is planned by then.
    entries.sort_by_key(|entry| matches!(entry.thing, LedgerItem::Unit(_)));
    for entry in &entries {
        let (turn, id, change) = entry.put_back(&planned).map_err(|error| (entry.id("restore"), error))?;
        planned.insert(id.clone());
        steps.push((turn, entry.thing.at(), Step { id, role: entry.role.clone(), change, help: None }));
    }
    steps.sort_by(|(turn, at, _), (other_turn, other, _)| {
        turn.cmp(other_turn).then_with(|| match turn {
            // Folders are empty when what was in them is gone.
            RemovalOrder::Directory => other.cmp(at),
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
    thing: LedgerItem,
    said: Fields<'a>,
}

impl<'a> Entry<'a> {
    fn parse(name: &'a str, said: Fields<'a>) -> Result<Self, Error> {
        let id = || format!("{PROBE} {name}");
        let word = |key| said.text(key).ok_or_else(|| Error::Unanswered { id: id(), key });
        let unknown = |key, text: &str| Error::Unknown { id: id(), key, text: text.to_owned() };
        let (role, kind, at) = (word("role")?, word("kind")?, word("at")?);
        Ok(Self {
            name,
            role: RoleName::parse(role.to_owned()).map_err(|_| unknown("role", role))?,
            thing: LedgerItem::parse(kind, at).ok_or_else(|| unknown("kind", kind))?,
            said,
        })
    }

    fn id(&self, verb: &str) -> StepId {
        let (kind, at) = (self.thing.kind(), self.thing.at());
        match self.thing {
            // It has its kind in its name.
            LedgerItem::Left(_) => StepId(format!("{verb} {at}")),
            _ => StepId(format!("{verb} {kind} {at}")),
        }
    }

    /// A call about this entry.
    fn call<T: AsRef<str>>(&self, function: &'static str, words: impl IntoIterator<Item = T>) -> Call {
        // A short secret could be guessed from its digest.
        let words = words.into_iter().map(|word| match Arg::secret(word.as_ref()) {
            Ok(digest) if self.is_secret() && is_digest(word.as_ref()) => digest,
            _ => Arg::lossy(word.as_ref()),
        });
        Call::new(function, [Arg::lossy(self.name)].into_iter().chain(words))
    }

    fn is_secret(&self) -> bool {
        self.said.text("secret") == Some("yes")
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

    fn put_back(&self, planned: &BTreeSet<StepId>) -> Result<(RemovalOrder, StepId, Change), Error> {
        let quiet =
            |reason: String, calls: Vec<Call>| Change { reason, effect: Effect::Quiet, diff: None, calls };
        let role = &self.role;
        if let Some(message) = self.said.text("error") {
            return self.unseen(message.trim());
        }
        Ok(match &self.thing {
            LedgerItem::File(path) => {
                let (id, mut change) = self.file(path)?;
                let of_systemd = path.starts_with("/etc/systemd/system/");
                if of_systemd {
                    change.calls.push(Call::new("units_reload", []));
                }
                // What a unit runs by a link stays until it has stopped.
                let is_late = of_systemd || self.said.text("type") == Some("link");
                (if is_late { RemovalOrder::UnitFile } else { RemovalOrder::File }, id, change)
            }
            LedgerItem::Directory(path) => {
                let (id, change) = self.directory(path)?;
                (RemovalOrder::Directory, id, change)
            }
            LedgerItem::Unit(name) => self.unit(name, planned)?,
            LedgerItem::Exec(_) => {
                let words: Vec<Arg> = self.said.all("word").map(Arg::lossy).collect();
                let calls = vec![Call::new("exec_run", words), self.forget()];
                (RemovalOrder::Exec, self.id("undo"), quiet(format!("role {role} ran it"), calls))
            }
            LedgerItem::Release(folder) => {
                let made: Vec<&str> = self.said.all("made").collect();
                let words = std::iter::once(folder.as_str()).chain(made.iter().copied());
                let calls = vec![self.call("release_gone", words)];
                let change = quiet(format!("role {role} unpacked it"), calls);
                (RemovalOrder::Release(made.len()), self.id("remove"), change)
            }
            LedgerItem::User(name) | LedgerItem::Group(name) => {
                let kind = self.thing.kind();
                let (turn, stays) = match kind {
                    "user" => (RemovalOrder::User, "its home is there or it runs something"),
                    _ => (RemovalOrder::Group, "it has a user"),
                };
                let reason = format!("role {role} made it; it stays while {stays}");
                let calls = vec![self.call("account_gone", [kind, name])];
                (turn, self.id("remove"), quiet(reason, calls))
            }
            LedgerItem::Left(id) => {
                let what = match id.split(' ').next().unwrap_or_default() {
                    "package" => "packages stay installed",
                    "user" => "users stay: files may be theirs",
                    "release" => "its programs stay",
                    "download" => "what was downloaded stays",
                    "sysctl" => "the live value stays until the next boot",
                    "kernel-module" => "it stays loaded until the next boot",
                    _ => "it stays",
                };
                (RemovalOrder::Left, self.id("leave"), quiet(what.to_owned(), vec![self.forget()]))
            }
        })
    }

    /// What cannot be looked at is not what the role made: a folder may be a file by now.
    fn unseen(&self, message: &str) -> Result<(RemovalOrder, StepId, Change), Error> {
        let call = match &self.thing {
            LedgerItem::File(path) => self.call("file_left", [self.copy(path)]),
            LedgerItem::Directory(_) => self.forget(),
            _ => return Err(Error::Probe { id: self.id("restore").0, message: message.to_owned() }),
        };
        let kept = match &self.thing {
            LedgerItem::File(path) if self.said.text("before") == Some("file") => {
                format!("; what it was before is kept in {LEFT}/{}", self.copy(path))
            }
            _ => String::new(),
        };
        let reason = format!("{message}{kept}");
        Ok((
            RemovalOrder::File,
            self.id("leave"),
            Change { reason, effect: Effect::Quiet, diff: None, calls: vec![call] },
        ))
    }

    /// The name of the copy of an original that is not put back: the same for the same bytes only, unless they are secret.
    fn copy(&self, path: &str) -> String {
        let digest = self.said.text("digest").filter(|_| !self.is_secret());
        format!("{}-{:.12}", plain_end(path), digest.unwrap_or(&self.thing.key()))
    }

    fn file(&self, path: &str) -> Result<(StepId, Change), Error> {
        let role = &self.role;
        let before = self.word("before")?;
        // As the prelude tells what stands at a path.
        let now = match self.word("type")? {
            "absent" => "absent".to_owned(),
            "link" => format!("link {}", self.said.text("target").unwrap_or_default()),
            "file" => match self.said.bytes("body") {
                Some(body) => digest(body),
                None => self.word("sha256")?.to_owned(),
            },
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
        if let Some(taken_out) = self.block(path, before, &now)? {
            return Ok(taken_out);
        }
        let copy = self.copy(path);
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

    /// Of a file that others write too, what is certainly of this program: no role of the host has a block there.
    fn block(&self, path: &str, before: &str, now: &str) -> Result<Option<(StepId, Change)>, Error> {
        let body = self.said.bytes("body").and_then(|body| std::str::from_utf8(body).ok());
        let Some((body, rest)) = body.and_then(|body| Some((body, without_blocks(body)?))) else {
            return Ok(None);
        };
        let role = &self.role;
        let diff = Some(text_diff(path, body, &rest));
        let quiet = |reason, calls| Change { reason, effect: Effect::Quiet, diff, calls };
        if rest.is_empty() && before == "absent" {
            let change = quiet(format!("role {role} made it"), vec![self.call("file_gone", [path, now])]);
            return Ok(Some((self.id("remove"), change)));
        }
        let stat = self.word("stat")?.split(' ').collect::<Vec<_>>();
        let [mode, owner, group, ..] = stat.as_slice() else { return Ok(None) };
        let (digest, content) = (digest(rest.as_bytes()), encode(rest.as_bytes()));
        let words = [path, mode, owner, group, now, &digest, &content].map(Arg::lossy);
        let calls = vec![Call::new("file_write", words), self.forget()];
        let reason = format!("the block of role {role} is taken out; the rest was changed since, and stays");
        Ok(Some((self.id("restore"), quiet(reason, calls))))
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

    fn unit(&self, name: &str, planned: &BTreeSet<StepId>) -> Result<(RemovalOrder, StepId, Change), Error> {
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
            return Ok((RemovalOrder::Stop, self.id("leave"), change));
        }
        let unknown = |text| Error::Unknown { id: id.0.clone(), key: "restart", text };
        let load = match self.said.all("carries").collect::<Vec<_>>().as_slice() {
            [name, what, count @ ..] => Some(Load {
                name: (*name).to_owned(),
                what: (*what).to_owned(),
                count: count.iter().map(|word| (*word).to_owned()).collect(),
            }),
            _ => None,
        };
        let state = if running { State::Started } else { State::Stopped };
        let (restart, reload) = (self.said.all("restart"), self.said.all("reload"));
        let name = name.parse().map_err(unknown)?;
        let unit = Unit::watching(name, (enabled, state), restart, reload, load).map_err(unknown)?;
        let planned = Planned { steps: planned, keys: &BTreeMap::new() };
        let mut reasons = unit.reasons(&id, &self.said, &planned)?;
        let effect = if reasons.is_empty() { Effect::Quiet } else { unit.effect(&self.said, &reasons)? };
        let (effect, loss) = unit.with_loss(&self.said, effect);
        reasons.extend(loss);
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
        let state = if running { "started" } else { "stopped" };
        let words = [unit.name.to_string(), enabled.to_string(), state.to_owned()];
        let calls = vec![self.call("unit_back", words.into_iter().chain(unit.watched()))];
        let turn = if running { RemovalOrder::Run } else { RemovalOrder::Stop };
        Ok((turn, id, Change { reason, effect, diff: None, calls }))
    }
}

fn is_digest(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{SeenValue, owned};

    const FILE: [SeenValue<'static>; 5] =
        [("role", "dns"), ("kind", "file"), ("at", "/etc/x"), ("before", "file"), ("access", "4640 7 8")];

    /// What is planned for one entry: its step's id and reason, and the calls.
    fn put_back(usual: &[SeenValue<'static>], more: &[SeenValue<'_>], planned: &[&str]) -> Vec<String> {
        let said = owned(&[usual, more].concat());
        let entry = Entry::parse("e", Fields::new(&said)).unwrap();
        let planned = planned.iter().map(|id| StepId((*id).to_owned())).collect();
        let (_, id, change) = entry.put_back(&planned).unwrap();
        let calls = change.calls.iter().map(ToString::to_string);
        std::iter::once(format!("{id} ({})", change.reason)).chain(calls).collect()
    }

    #[test]
    fn a_file_goes_back_while_it_is_what_was_written() {
        let (ours, theirs) = (digest(b"ours"), digest(b"theirs"));
        let with = |now| {
            let more =
                [("digest", theirs.as_str()), ("written", ours.as_str()), ("type", "file"), ("body", now)];
            put_back(&FILE, &more, &[])
        };
        assert_eq!(
            with("ours"),
            [
                "restore file /etc/x (as before role dns)".to_owned(),
                format!("file_back 'e' '/etc/x' '{ours}' '4640' '7' '8' '{theirs}'")
            ]
        );
        assert_eq!(with("theirs"), ["restore file /etc/x (it is as before role dns)", "undo_forget 'e'"]);
        assert_eq!(
            with("else"),
            [
                format!(
                    "leave file /etc/x (changed since role dns wrote it; what it was before is kept in \
                     /var/lib/bootstrap/left/x-{theirs:.12} (mode 4640, owner 7, group 8))"
                ),
                format!("file_left 'e' 'x-{theirs:.12}'")
            ]
        );
        let gone = [("digest", theirs.as_str()), ("written", ours.as_str()), ("type", "absent")];
        assert!(put_back(&FILE, &gone, &[])[0].starts_with("leave file /etc/x (changed since"));
        let mode_only = [
            ("digest", theirs.as_str()),
            ("written", theirs.as_str()),
            ("type", "file"),
            ("sha256", theirs.as_str()),
        ];
        assert!(put_back(&FILE, &mode_only, &[])[1].starts_with("file_back 'e'"));
        let made = [("before", "absent"), ("written", ours.as_str()), ("type", "file"), ("sha256", &ours)];
        assert_eq!(
            put_back(&FILE[..3], &made, &[]),
            ["remove file /etc/x (role dns made it)".to_owned(), format!("file_gone 'e' '/etc/x' '{ours}'")]
        );
    }

    #[test]
    fn no_digest_of_a_secret_is_shown() {
        let (ours, theirs) = (digest(b"ours"), digest(b"theirs"));
        for now in [&ours, &digest(b"else")] {
            let more = [
                ("secret", "yes"),
                ("digest", theirs.as_str()),
                ("written", ours.as_str()),
                ("type", "file"),
                ("sha256", now.as_str()),
            ];
            let shown = put_back(&FILE, &more, &[]).join("\n");
            assert!(!shown.contains(&theirs[..8]) && !shown.contains(&now[..8]), "{shown}");
        }
    }

    #[test]
    fn a_unit_becomes_what_it_was() {
        let unit = |before: [&'static str; 2], now: [&'static str; 3], planned: &[&str]| {
            let said = [
                ("role", "dns"),
                ("kind", "unit"),
                ("at", "a.service"),
                ("enabled", before[0]),
                ("active", before[1]),
                ("restart", "/etc/x"),
                ("reload", "/etc/y"),
                ("LoadState", now[0]),
                ("UnitFileState", now[1]),
                ("ActiveState", now[2]),
                ("SubState", "running"),
                ("NeedDaemonReload", "no"),
                ("restart-saved", "a"),
                ("restart-mark", "a"),
                ("reload-saved", "b"),
                ("reload-mark", "b"),
            ];
            put_back(&said, &[], planned)
        };
        let running = ["loaded", "enabled", "active"];
        let was = "before role dns it was";
        for (before, now, planned, wanted) in [
            (
                ["disabled", "inactive"],
                running,
                &[][..],
                [
                    format!("restore unit a.service (enabled, running; {was} neither enabled nor running)"),
                    "unit_back 'e' 'a.service' 'false' 'stopped' '1' '/etc/x' '/etc/y'".to_owned(),
                ],
            ),
            (
                ["enabled", "active"],
                running,
                &["restore file /etc/x"],
                [
                    format!("restore unit a.service (restart: /etc/x changes; {was} enabled and running)"),
                    "unit_back 'e' 'a.service' 'true' 'started' '1' '/etc/x' '/etc/y'".to_owned(),
                ],
            ),
            (
                ["static", "active"],
                running,
                &["remove file /etc/y"],
                [
                    format!("restore unit a.service (reload: /etc/y changes; {was} enabled and running)"),
                    "unit_back 'e' 'a.service' 'true' 'started' '1' '/etc/x' '/etc/y'".to_owned(),
                ],
            ),
            (
                ["enabled", "active"],
                ["not-found", "", "inactive"],
                &[],
                ["leave unit a.service (it is not-found)".to_owned(), "undo_forget 'e'".to_owned()],
            ),
        ] {
            assert_eq!(unit(before, now, planned), wanted);
        }
    }
}
