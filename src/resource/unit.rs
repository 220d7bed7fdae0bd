//! `unit`: a systemd unit that is enabled and runs what it watches.

use serde::Deserialize;

use super::values::from_text;
use super::{Error, HostPath, Planned, UnitName, call_of, default_true, seen};
use crate::plan::{Change, Effect, StepId};
use crate::script::{Call, Fields};

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
        call_of(&self.id(), "unit_probe", [self.name.to_string()].into_iter().chain(self.watched()))
    }

    /// How many paths make it restart, those, then the others.
    pub(crate) fn watched(&self) -> impl Iterator<Item = String> {
        let paths = self.restart_on.iter().chain(&self.reload_on).map(HostPath::to_string);
        std::iter::once(self.restart_on.len().to_string()).chain(paths)
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, planned: &Planned<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let reasons = self.reasons(&id, seen, planned)?;
        if reasons.is_empty() {
            return Ok(None);
        }
        Ok(Some(Change {
            reason: reasons.join(", "),
            diff: None,
            effect: self.effect(seen, &reasons)?,
            calls: vec![self.converge(&id)?],
        }))
    }

    /// The call that looks at the unit again on the host and does what it then needs.
    pub(crate) fn converge(&self, id: &StepId) -> Result<Call, Error> {
        let state = if self.state == State::Started { "started" } else { "stopped" };
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
        reasons.extend(match active {
            "failed" => Some("failed".to_owned()),
            "inactive" | "deactivating" => Some("not running".to_owned()),
            _ if sub.starts_with("auto-restart") => Some("starts over and over".to_owned()),
            _ => self.change_reason(id, seen, planned)?,
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
        let watches = [
            ("restart", &self.restart_on, "restart-mark", "restart-saved"),
            ("reload", &self.reload_on, "reload-mark", "reload-saved"),
        ];
        for (verb, paths, mark, saved) in watches {
            if paths.is_empty() {
                continue;
            }
            let (mark, saved) = (seen::text(id, seen, mark)?, seen::text(id, seen, saved)?);
            if let Some(path) = paths.iter().find(|path| planned.touches_path(path.as_str())) {
                return Ok(Some(format!("{verb}: {path} changes")));
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
    use serde_json::json;

    use super::super::testing::{Said, calls, decide_with, facts, reason_of, resource};

    const RUNNING: [Said<'static>; 9] = [
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

    /// A running unit that is as wanted, but for these values.
    fn but(changes: &[Said<'static>]) -> Vec<Said<'static>> {
        let value = |key| changes.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        RUNNING.iter().map(|(key, usual)| (*key, value(*key).unwrap_or(usual))).collect()
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

    #[test]
    fn the_host_is_told_what_to_watch_not_what_to_do() {
        assert_eq!(
            calls(unit(), &but(&[("restart-mark", "cc")])),
            ["unit_converge 'a.service' 'true' 'started' '1' '/etc/a.json' '/etc/a.d'"]
        );
    }

    #[test]
    fn a_unit_may_be_wanted_stopped() {
        let unit = json!({"unit": {"name": "a.service", "enabled": false, "state": "stopped"}});
        let decided = |said: &[Said<'static>]| {
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
