//! `unit`: a systemd unit that is enabled and runs what it watches.

use serde::Deserialize;

use super::values::from_text;
use super::{Error, HostPath, Planned, UnitName, call_of, default_true, seen};
use crate::plan::{Change, StepId};
use crate::script::{Call, Fields};

/// A unit. It restarts because the fingerprint of what it watches is not the one saved on the host at its last good
/// start, not because a run remembers a change: a run that was killed in between still restarts it next time.
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
    fn watched(&self) -> impl Iterator<Item = String> {
        let paths = self.restart_on.iter().chain(&self.reload_on).map(HostPath::to_string);
        std::iter::once(self.restart_on.len().to_string()).chain(paths)
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, planned: &Planned<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let reasons = self.reasons(&id, seen, planned)?;
        if reasons.is_empty() {
            return Ok(None);
        }
        Ok(Some(Change { reason: reasons.join(", "), diff: None, calls: vec![self.converge(&id)?] }))
    }

    /// The call that looks at the unit again on the host and does what it then needs.
    pub(super) fn converge(&self, id: &StepId) -> Result<Call, Error> {
        let state = if self.state == State::Started { "started" } else { "stopped" };
        let start = [self.name.to_string(), self.enabled.to_string(), state.to_owned()];
        call_of(id, "unit_converge", start.into_iter().chain(self.watched()))
    }

    pub(super) fn reasons(
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
