//! `mount`: a file system that is mounted, by a systemd unit.

use serde::Deserialize;

use super::seen::Access;
use super::write::{FileWrite, SeenFile};
use super::{AccountName, Error, HostPath, Planned, State, Unit, UnitName, call_of, default_file_mode};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A mount, now and at boot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// A device, `server:/export`, or what the type takes.
    pub what: String,
    pub r#where: HostPath,
    /// `nfs`, `ext4`, …
    pub r#type: String,
    /// As in fstab, separated by commas. Default: none.
    #[serde(default)]
    pub options: String,
}

impl Mount {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("mount {}", self.r#where))
    }

    fn unit_name(&self) -> String {
        unit_name(self.r#where.as_str(), "mount")
    }

    pub(super) fn unit_file(&self) -> Result<HostPath, Error> {
        self.value(&format!("/etc/systemd/system/{}", self.unit_name()))
    }

    /// The unit, which is mounted anew when its file changes.
    pub(super) fn unit(&self) -> Result<Unit, Error> {
        Ok(Unit {
            name: self.value::<UnitName>(&self.unit_name())?,
            enabled: true,
            state: State::Started,
            restart_on: vec![self.unit_file()?],
            reload_on: vec![],
            reload_keys: Vec::new(),
            load: None,
            wait: None,
        })
    }

    fn value<T: std::str::FromStr<Err = String>>(&self, text: &str) -> Result<T, Error> {
        text.parse().map_err(|_| Error::Unknown { id: self.id().0, key: "where", text: text.to_owned() })
    }

    fn unit_text(&self) -> String {
        let escape = |text: &str| text.replace('%', "%%");
        let network = if ["nfs", "nfs4", "cifs"].contains(&self.r#type.as_str()) {
            "After=network-online.target\nWants=network-online.target\n"
        } else {
            ""
        };
        let options = if self.options.is_empty() {
            String::new()
        } else {
            format!("Options={}\n", escape(&self.options))
        };
        format!(
            "[Unit]\nDescription=Mount of {} by bootstrap\n{network}\n[Mount]\nWhat={}\nWhere={}\nType={}\n{options}\n\
             [Install]\nWantedBy=multi-user.target\n",
            escape(self.r#where.as_str()),
            escape(&self.what),
            escape(self.r#where.as_str()),
            self.r#type
        )
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let (file, unit) = (self.unit_file()?, self.unit_name());
        let call = call_of(&self.id(), "mount_probe", [file.as_str(), &unit])?;
        Ok(call.with_prefetch([PrefetchOf::Content.named(file.as_str()), PrefetchOf::Unit.named(unit)]))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, planned: &Planned<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let (path, unit, text, root) =
            (self.unit_file()?, self.unit()?, self.unit_text(), AccountName::root());
        let file = FileWrite {
            id: &id,
            path: &path,
            access: Access { mode: default_file_mode(), owner: &root, group: &root },
            content: &text,
            secret: false,
            validate: &[],
        };
        let written = file.decide(&SeenFile::parse(&id, &path, seen)?)?;
        let reasons = unit.reasons(&id, seen, planned)?;
        if written.is_none() && reasons.is_empty() {
            return Ok(None);
        }
        let (mut all, diff, mut calls) = match written {
            Some(change) => (vec![format!("unit file {}", change.reason)], change.diff, change.calls),
            None => (vec![], None, vec![]),
        };
        all.extend(reasons);
        calls.push(call_of(&id, "mount_point", [self.r#where.as_str()])?);
        calls.push(unit.converge(&id)?);
        Ok(Some(Change { reason: all.join(", "), diff, effect: Effect::Start, calls }))
    }
}

/// The name systemd insists on for the unit of a path: `/srv/app-1` -> `srv-app\\x2d1.mount`.
pub fn unit_name(path: &str, r#type: &str) -> String {
    let path = path.trim_start_matches('/');
    let escaped: String = path.bytes().enumerate().fold(String::new(), |name, (index, byte)| match byte {
        b'/' => name + "-",
        b'.' if index > 0 => name + ".",
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' => name + &char::from(byte).to_string(),
        _ => name + &format!("\\x{byte:02x}"),
    });
    format!("{escaped}.{type}", r#type = r#type)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{calls, reason, resource};
    use super::*;

    fn mount() -> Mount {
        Mount {
            what: "10.0.0.1:/data/app1".into(),
            r#where: "/srv/app-1".parse().unwrap(),
            r#type: "nfs".into(),
            options: "rw,hard".into(),
        }
    }

    #[test]
    fn the_unit_has_the_name_systemd_wants() {
        // As `systemd-escape -p --suffix=mount` prints them.
        for (path, name) in [
            ("/srv/app-1", "srv-app\\x2d1.mount"),
            ("/srv/.hidden/a.b", "srv-.hidden-a.b.mount"),
            ("/.top", "\\x2etop.mount"),
            ("/a b/ü", "a\\x20b-\\xc3\\xbc.mount"),
        ] {
            assert_eq!(Mount { r#where: path.parse().unwrap(), ..mount() }.unit_name(), name);
        }
    }

    #[test]
    fn file_and_unit_are_compared() {
        let json = || json!({"mount": {"what": "10.0.0.1:/data/app1", "where": "/srv/app-1", "type": "nfs", "options": "rw,hard"}});
        assert_eq!(
            resource(json()).probe().unwrap().to_string(),
            "mount_probe '/etc/systemd/system/srv-app\\x2d1.mount' 'srv-app\\x2d1.mount'"
        );
        let absent = [
            ("type", "absent"),
            ("LoadState", "not-found"),
            ("ActiveState", "inactive"),
            ("SubState", "dead"),
            ("UnitFileState", ""),
            ("NeedDaemonReload", "no"),
            ("restart-saved", "none"),
            ("restart-mark", "aa"),
        ];
        assert_eq!(reason(json(), &absent), "unit file absent, not enabled, not running");
        let calls = calls(json(), &absent);
        assert!(
            calls[0].starts_with("file_write '/etc/systemd/system/srv-app\\x2d1.mount' '0644'"),
            "{}",
            calls[0]
        );
        assert_eq!(calls[1], "mount_point '/srv/app-1'");
        assert!(
            calls[2].starts_with("unit_converge 'srv-app\\x2d1.mount' 'true' 'started' '1'"),
            "{}",
            calls[2]
        );
        let text = mount().unit_text();
        let stat = format!("644 0 0 root root {}", text.len());
        let right = [
            ("stat", stat.as_str()),
            ("type", "file"),
            ("body", text.as_str()),
            ("LoadState", "loaded"),
            ("ActiveState", "active"),
            ("SubState", "mounted"),
            ("UnitFileState", "enabled"),
            ("NeedDaemonReload", "no"),
            ("restart-saved", "aa"),
            ("restart-mark", "aa"),
        ];
        assert_eq!(reason(json(), &right), "-");
        assert!(
            text.contains("Options=rw,hard\n") && text.contains("After=network-online.target\n"),
            "{text}"
        );
    }
}
