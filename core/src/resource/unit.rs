//! `unit`: a systemd unit that is enabled and runs what it watches.

use serde::Deserialize;

use super::values::{from_text, optional_from_text};
use super::{Error, HostPath, Planned, UnitName, call_of, default_true, seen};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A unit. It restarts because the fingerprint of what it watches is not the one saved on the host at its last good
/// start, not because a run remembers a change: a run that was killed in between still restarts it next time.
///
/// A oneshot service needs `RemainAfterExit=yes`: one that is inactive again counts as not running.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    pub name: UnitName,
    /// Whether it starts at boot. Default true.
    #[serde(default = "default_true", deserialize_with = "from_text")]
    pub enabled: bool,
    /// Default `started`.
    #[serde(default)]
    pub state: State,
    /// Files, links and folders whose change makes it restart.
    #[serde(default)]
    pub restart_on: Vec<HostPath>,
    /// Files, links and folders whose change makes it reload, if nothing makes it restart.
    #[serde(default)]
    pub reload_on: Vec<HostPath>,
    /// Keys of the JSON files (`….json`) among those that make it restart: it takes over a change of them alone by a
    /// reload.
    #[serde(default)]
    pub reload_keys: Vec<String>,
    /// What runs in it, and stops when it restarts.
    #[serde(default)]
    pub load: Option<Load>,
    /// Seconds that a step waits until it is up. Default: no longer than it takes to see that it does not start.
    #[serde(default, deserialize_with = "optional_from_text")]
    pub wait: Option<u32>,
}

/// What stops when a unit restarts: then the plan says so, and one host is changed after another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The product, for people: `Docker`.
    pub name: String,
    /// What one of them is called: `container`.
    pub what: String,
    /// A command that prints their number while the unit runs. It only reads.
    pub count: Vec<String>,
}

impl Load {
    /// What a restart does to it; `None` if nothing stops.
    fn loss(&self, count: Option<usize>) -> Option<String> {
        let Self { name, what, .. } = self;
        match count {
            Some(0) => None,
            Some(1) => Some(format!("restarts {name}: 1 {what} stops")),
            Some(count) => Some(format!("restarts {name}: {count} {what}s stop")),
            None => Some(format!("restarts {name}: it does not say how many {what}s stop")),
        }
    }
}

/// Whether a unit runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    #[default]
    Started,
    Stopped,
}

impl Unit {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("unit {}", self.name))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let unit = [self.name.to_string()].into_iter().chain(self.watched());
        let call = match &self.load {
            None => call_of(&self.id(), "unit_probe", unit),
            Some(Load { count, .. }) => {
                let command = std::iter::once(count.len().to_string()).chain(count.iter().cloned());
                call_of(&self.id(), "unit_load_probe", command.chain(unit))
            }
        }?;
        let files = self.restart_on.iter().chain(self.reloading());
        let files = files.map(|path| PrefetchOf::Digest.named(path.as_str()));
        Ok(call.with_prefetch(files.chain([PrefetchOf::Unit.named(self.name.to_string())])))
    }

    /// How many paths make it restart, those, then the others. Of a JSON file the keys that need no restart are told
    /// apart from all others.
    pub(crate) fn watched(&self) -> impl Iterator<Item = String> {
        let restart = self.restart_on.iter().map(|path| match self.takes_over_keys(path) {
            true => format!("json:{}:{path}", self.reload_keys.join(",")),
            false => path.to_string(),
        });
        let reload = self.reloading().map(HostPath::to_string);
        std::iter::once(self.restart_on.len().to_string()).chain(restart).chain(reload)
    }

    fn takes_over_keys(&self, path: &HostPath) -> bool {
        !self.reload_keys.is_empty() && path.as_str().ends_with(".json")
    }

    /// What makes it reload.
    fn reloading(&self) -> impl Iterator<Item = &HostPath> {
        self.restart_on.iter().filter(|path| self.takes_over_keys(path)).chain(&self.reload_on)
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, planned: &Planned<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let mut reasons = self.reasons(&id, seen, planned)?;
        if reasons.is_empty() {
            return Ok(None);
        }
        let effect = self.effect(seen, &reasons)?;
        let (effect, loss) = self.with_loss(seen, effect);
        reasons.extend(loss);
        let mut calls = vec![self.converge_to(&id, effect)?];
        if let (Some(seconds), State::Started) = (self.wait, self.state) {
            calls.push(call_of(&id, "unit_await", [self.name.as_str(), &seconds.to_string()])?);
        }
        Ok(Some(Change { reason: reasons.join(", "), diff: None, effect, calls }))
    }

    /// What a restart does to what runs in it, in words, and that it does.
    pub(crate) fn with_loss(&self, seen: &Fields<'_>, effect: Effect) -> (Effect, Option<String>) {
        let count = seen.text("load").and_then(|count| count.trim().parse().ok());
        let loss = self.load.as_ref().filter(|_| effect == Effect::Restart).and_then(|load| load.loss(count));
        (if loss.is_some() { Effect::Stop } else { effect }, loss)
    }

    /// A unit that runs or not, from what [`Self::watched`] gave, those that make it restart first.
    pub(crate) fn watching<'w>(
        name: UnitName,
        (enabled, state): (bool, State),
        restart: impl Iterator<Item = &'w str>,
        reload: impl Iterator<Item = &'w str>,
        load: Option<Load>,
    ) -> Result<Self, String> {
        let mut reload_keys: Vec<String> = Vec::new();
        let mut paths = Vec::new();
        for word in restart {
            let path = match word.strip_prefix("json:").and_then(|rest| rest.split_once(':')) {
                Some((keys, path)) => {
                    reload_keys = keys.split(',').map(str::to_owned).collect();
                    path
                }
                None => word,
            };
            paths.push(path.parse()?);
        }
        let reload = reload.map(str::parse).collect::<Result<Vec<HostPath>, _>>()?;
        let mut unit = Self {
            name,
            enabled,
            state,
            restart_on: paths,
            reload_on: Vec::new(),
            reload_keys,
            load,
            wait: None,
        };
        let known: Vec<HostPath> = unit.reloading().cloned().collect();
        unit.reload_on = reload.into_iter().filter(|path| !known.contains(path)).collect();
        Ok(unit)
    }

    /// The call that looks at the unit again on the host and does what it then needs.
    pub(crate) fn converge(&self, id: &StepId) -> Result<Call, Error> {
        self.converge_to(id, Effect::Start)
    }

    /// The same that restarts or reloads it in any case, since that is what was planned.
    fn converge_to(&self, id: &StepId, effect: Effect) -> Result<Call, Error> {
        let state = match (self.state, effect) {
            (State::Stopped, _) => "stopped",
            (State::Started, Effect::Restart | Effect::Stop) => "restarted",
            (State::Started, Effect::Reload) => "reloaded",
            (State::Started, Effect::Quiet | Effect::Start) => "started",
        };
        let start = [self.name.to_string(), self.enabled.to_string(), state.to_owned()];
        call_of(id, "unit_converge", start.into_iter().chain(self.watched()))
    }

    pub(crate) fn reasons(
        &self,
        id: &StepId,
        seen: &Fields<'_>,
        planned: &Planned<'_>,
    ) -> Result<Vec<String>, Error> {
        match seen::text(id, seen, "LoadState")? {
            "no-systemd" => return Err(Error::NoSystemd { unit: self.name.to_string() }),
            "masked" => return Err(Error::Masked { unit: self.name.to_string() }),
            _ => {}
        }
        let mut reasons = Vec::new();
        reasons.extend(self.enablement(seen::text(id, seen, "UnitFileState")?));
        let active = seen::text(id, seen, "ActiveState")?;
        let sub = seen::text(id, seen, "SubState")?;
        if self.state == State::Stopped {
            reasons.extend((!["inactive", "failed"].contains(&active)).then(|| "running".to_owned()));
            return Ok(reasons);
        }
        if seen::text(id, seen, "NeedDaemonReload")? == "yes" {
            reasons.push("its unit file changed since systemd read it".to_owned());
        }
        let other_file = seen.text("other-file").map(|path| format!("restart: systemd has it from {path}"));
        reasons.extend(match active {
            "failed" => Some("failed".to_owned()),
            "inactive" | "deactivating" => Some("not running".to_owned()),
            _ if sub.starts_with("auto-restart") => Some("starts over and over".to_owned()),
            _ => match other_file {
                Some(reason) => Some(reason),
                None => self.change_reason(id, seen, planned)?,
            },
        });
        Ok(reasons)
    }

    /// What converging does to the unit as it was seen.
    pub(crate) fn effect(&self, seen: &Fields<'_>, reasons: &[String]) -> Result<Effect, Error> {
        let active = seen::text(&self.id(), seen, "ActiveState")?;
        Ok(if self.state == State::Stopped {
            Effect::Restart
        } else if active != "active" && active != "activating" && active != "reloading" {
            Effect::Start
        } else if reasons.iter().any(|reason| reason.starts_with("reload")) {
            Effect::Reload
        } else if reasons
            .iter()
            .any(|reason| reason.starts_with("restart") || reason.starts_with("starts over"))
        {
            Effect::Restart
        } else {
            Effect::Quiet
        })
    }

    fn enablement(&self, state: &str) -> Option<String> {
        match (self.enabled, state) {
            // Without an [Install] section there is nothing to enable.
            (true, "enabled" | "static" | "alias" | "generated" | "indirect") => None,
            (true, _) => Some("not enabled".to_owned()),
            (false, "enabled" | "enabled-runtime") => Some("enabled".to_owned()),
            (false, _) => None,
        }
    }

    /// Why a running unit restarts or reloads.
    fn change_reason(
        &self,
        id: &StepId,
        seen: &Fields<'_>,
        planned: &Planned<'_>,
    ) -> Result<Option<String>, Error> {
        let by_keys = |path: &HostPath| {
            self.takes_over_keys(path) && planned.only_changes(path.as_str(), &self.reload_keys)
        };
        let touched = |path: &&&HostPath| planned.touches_path(path.as_str());
        let restart: Vec<&HostPath> = self.restart_on.iter().collect();
        let reload: Vec<&HostPath> = self.reloading().collect();
        for (verb, paths, mark, saved) in [
            ("restart", restart, "restart-mark", "restart-saved"),
            ("reload", reload, "reload-mark", "reload-saved"),
        ] {
            if paths.is_empty() {
                continue;
            }
            let (mark, saved) = (seen::text(id, seen, mark)?, seen::text(id, seen, saved)?);
            let mut planned = paths.iter().filter(touched);
            let fits = |path: &&&HostPath| verb == "reload" || !by_keys(path);
            if let Some(path) = planned.clone().find(fits) {
                return Ok(Some(format!("{verb}: {path} changes")));
            }
            // Somebody else started it since. When one of its files is written again, the host cannot tell that any
            // more, and restarts it.
            if seen.all("fresh").any(|fresh| fresh == verb) && planned.next().is_none() {
                continue;
            }
            if saved == "none" {
                return Ok(Some(format!("{verb}: what it runs with is not known yet")));
            }
            if saved != mark {
                return Ok(Some(format!("{verb}: what it watches changed since its last start")));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use super::super::Planned;
    use super::super::testing::{SeenValue, calls, decide_planned, decide_with, facts, reason_of, resource};
    use crate::model::{Effect, StepId};

    const RUNNING: [SeenValue<'static>; 9] = [
        ("LoadState", "loaded"),
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("UnitFileState", "enabled"),
        ("NeedDaemonReload", "no"),
        ("restart-saved", "aa"),
        ("restart-mark", "aa"),
        ("reload-saved", "bb"),
        ("reload-mark", "bb"),
    ];
    /// Said of some units only.
    const OPTIONAL: [&str; 3] = ["load", "fresh", "other-file"];

    /// A running unit that is as wanted, but for these values.
    fn but(changes: &[SeenValue<'static>]) -> Vec<SeenValue<'static>> {
        let value = |key| changes.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let more = changes.iter().filter(|(key, _)| OPTIONAL.contains(key)).copied();
        RUNNING.iter().map(|(key, usual)| (*key, value(*key).unwrap_or(usual))).chain(more).collect()
    }

    fn unit() -> serde_json::Value {
        json!({"unit": {"name": "a.service", "restart_on": ["/etc/a.json"], "reload_on": ["/etc/a.d"]}})
    }

    #[test]
    fn each_state_has_its_reason() {
        for (changes, wanted) in [
            (&[][..], "-"),
            (&[("UnitFileState", "disabled")], "not enabled"),
            (&[("UnitFileState", "static")], "-"),
            (&[("UnitFileState", ""), ("ActiveState", "inactive")], "not enabled, not running"),
            (&[("ActiveState", "failed")], "failed"),
            (&[("ActiveState", "activating"), ("SubState", "start")], "-"),
            (&[("ActiveState", "activating"), ("SubState", "auto-restart")], "starts over and over"),
            (&[("NeedDaemonReload", "yes")], "its unit file changed since systemd read it"),
            (&[("restart-mark", "cc")], "restart: what it watches changed since its last start"),
            (
                &[("other-file", "/lib/systemd/system/a.service")],
                "restart: systemd has it from /lib/systemd/system/a.service",
            ),
            (&[("restart-saved", "none")], "restart: what it runs with is not known yet"),
            (&[("reload-mark", "cc")], "reload: what it watches changed since its last start"),
            (
                &[("reload-mark", "cc"), ("restart-mark", "cc")],
                "restart: what it watches changed since its last start",
            ),
            (&[("LoadState", "masked")], "error: unit `a.service` is masked; unmask it on the host first"),
            (
                &[("LoadState", "no-systemd")],
                "error: unit `a.service` needs systemd, which does not run on this host",
            ),
        ] {
            assert_eq!(
                reason_of(decide_with(&resource(unit()), &but(changes), &facts("x86_64"), &[])),
                wanted,
                "{changes:?}"
            );
        }
    }

    #[test]
    fn a_planned_file_restarts_what_watches_it() {
        let planned = |id| reason_of(decide_with(&resource(unit()), &RUNNING, &facts("x86_64"), &[id]));
        assert_eq!(planned("file /etc/a.json"), "restart: /etc/a.json changes");
        assert_eq!(planned("file /etc/a.d/1.rule"), "reload: /etc/a.d changes");
        assert_eq!(planned("file /etc/b.json"), "-");
    }

    fn docker() -> serde_json::Value {
        json!({"unit": {
            "name": "a.service",
            "restart_on": ["/etc/d.json"],
            "reload_keys": ["debug", "labels"],
            "load": {"name": "Docker", "what": "container", "count": ["count", "-q"]},
            "wait": 60,
        }})
    }

    #[test]
    fn some_keys_of_a_file_need_no_restart() {
        let planned = |keys: &[&str], changes: &[SeenValue<'static>]| {
            let steps = BTreeSet::from([StepId("json-merge /etc/d.json".to_owned())]);
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            let planned =
                Planned { steps: &steps, keys: &BTreeMap::from([("/etc/d.json".to_owned(), keys)]) };
            let change = decide_planned(&resource(docker()), &but(changes), &facts("x86_64"), &planned);
            let change = change.unwrap().unwrap();
            (change.reason, change.effect)
        };
        let (reload, restart) = ("reload: /etc/d.json changes", "restart: /etc/d.json changes");
        let loss = "restarts Docker: 3 containers stop";
        let stale = ("restart-mark", "cc");
        for (keys, changes, reason, effect) in [
            (&["debug"][..], &[][..], reload.to_owned(), Effect::Reload),
            (&["debug", "dns"], &[("load", "0")], restart.to_owned(), Effect::Restart),
            (&["dns"], &[("load", "3\n")], format!("{restart}, {loss}"), Effect::Stop),
            (
                &["dns"],
                &[("load", "1")],
                format!("{restart}, restarts Docker: 1 container stops"),
                Effect::Stop,
            ),
            (
                &["dns"],
                &[("load", "")],
                format!("{restart}, restarts Docker: it does not say how many containers stop"),
                Effect::Stop,
            ),
            (&["dns"], &[("load", ""), ("ActiveState", "inactive")], "not running".to_owned(), Effect::Start),
            // The host will find that the file is younger than the daemon, and restart it.
            (
                &["debug"],
                &[stale, ("load", "0"), ("fresh", "restart")],
                "restart: what it watches changed since its last start".to_owned(),
                Effect::Restart,
            ),
        ] {
            assert_eq!(planned(keys, changes), (reason, effect), "{keys:?} {changes:?}");
        }
    }

    #[test]
    fn what_somebody_else_started_since_the_last_change_is_left_running() {
        let decided = |changes: &[SeenValue<'static>]| {
            reason_of(decide_with(&resource(docker()), &but(changes), &facts("x86_64"), &[]))
        };
        assert_eq!(
            decided(&[("restart-saved", "none"), ("reload-saved", "none"), ("load", "0")]),
            "restart: what it runs with is not known yet"
        );
        let unknown = [("restart-saved", "none"), ("reload-saved", "none"), ("fresh", "restart")];
        assert_eq!(decided(&unknown), "reload: what it runs with is not known yet");
        assert_eq!(decided(&[unknown.as_slice(), &[("fresh", "reload")]].concat()), "-");
        assert_eq!(decided(&[("restart-mark", "cc"), ("fresh", "restart")]), "-");
    }

    #[test]
    fn the_host_is_told_what_to_watch_not_what_to_do() {
        assert_eq!(
            calls(unit(), &but(&[("restart-mark", "cc")])),
            ["unit_converge 'a.service' 'true' 'restarted' '1' '/etc/a.json' '/etc/a.d'"]
        );
        assert_eq!(
            calls(unit(), &but(&[("reload-mark", "cc")])),
            ["unit_converge 'a.service' 'true' 'reloaded' '1' '/etc/a.json' '/etc/a.d'"]
        );
        assert_eq!(
            calls(unit(), &but(&[("ActiveState", "failed")])),
            ["unit_converge 'a.service' 'true' 'started' '1' '/etc/a.json' '/etc/a.d'"]
        );
        let watched = "'1' 'json:debug,labels:/etc/d.json' '/etc/d.json'";
        assert_eq!(
            resource(docker()).probe().unwrap().to_string(),
            format!("unit_load_probe '2' 'count' '-q' 'a.service' {watched}")
        );
        assert_eq!(
            calls(docker(), &but(&[("restart-mark", "cc")])),
            [
                format!("unit_converge 'a.service' 'true' 'restarted' {watched}"),
                "unit_await 'a.service' '60'".to_owned()
            ]
        );
    }

    #[test]
    fn a_unit_may_be_wanted_stopped() {
        let unit = json!({"unit": {"name": "a.service", "enabled": false, "state": "stopped"}});
        let decided = |said: &[SeenValue<'static>]| {
            reason_of(decide_with(&resource(unit.clone()), said, &facts("x86_64"), &[]))
        };
        assert_eq!(decided(&RUNNING), "enabled, running");
        assert_eq!(decided(&but(&[("UnitFileState", "disabled"), ("ActiveState", "inactive")])), "-");
        assert_eq!(
            decided(&but(&[("UnitFileState", ""), ("ActiveState", "inactive"), ("LoadState", "not-found")])),
            "-"
        );
    }
}
