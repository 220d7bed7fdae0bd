//! `directory`: a folder with its mode and owner.

use serde::Deserialize;

use super::seen::{Access, SeenPath};
use super::{AccountName, Error, FileMode, HostPath, call_of};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A folder. Those above it are made when missing, with mode 0755.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    pub path: HostPath,
    /// Default `"0755"`.
    #[serde(default = "default_mode")]
    pub mode: FileMode,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub owner: AccountName,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub group: AccountName,
}

fn default_mode() -> FileMode {
    FileMode::new(0o755)
}

impl Directory {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("directory {}", self.path))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let call = call_of(&self.id(), "directory_probe", [self.path.as_str()])?;
        Ok(call.with_prefetch([PrefetchOf::Path.named(self.path.as_str())]))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let reason = match SeenPath::parse(&id, seen)? {
            SeenPath::Absent => "absent".to_owned(),
            SeenPath::Directory(stat) => {
                let drift = stat.drift(&Access { mode: self.mode, owner: &self.owner, group: &self.group });
                if drift.is_empty() {
                    return Ok(None);
                }
                drift.join(", ")
            }
            other => {
                return Err(Error::WrongType {
                    path: self.path.to_string(),
                    found: other.describe(),
                    wanted: "a folder",
                });
            }
        };
        let args = [self.path.as_str(), &self.mode.to_string(), self.owner.as_str(), self.group.as_str()];
        Ok(Some(Change {
            reason,
            diff: None,
            effect: Effect::Quiet,
            calls: vec![call_of(&id, "directory_ensure", args)?],
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{calls, reason};

    #[test]
    fn absence_and_drift_are_planned() {
        let directory =
            || json!({"directory": {"path": "/opt/consul", "mode": "0700", "owner": "consul", "group": 990}});
        for (said, wanted) in [
            (&[("type", "absent")][..], "absent"),
            (&[("stat", "700 995 990 consul consul 40"), ("type", "directory")], "-"),
            (&[("stat", "755 995 990 consul consul 40"), ("type", "directory")], "mode 0755, wanted 0700"),
            (
                &[("stat", "700 0 4 root adm 40"), ("type", "directory")],
                "owner root, wanted consul, group adm, wanted 990",
            ),
            (&[("stat", "700 77 990 UNKNOWN x 40"), ("type", "directory")], "owner 77, wanted consul"),
            (
                &[("stat", "700 995 990 consul consul 40"), ("type", "file")],
                "error: /opt/consul is a file, wanted a folder; move it away, or name another path",
            ),
            (
                &[("target", "/gone"), ("type", "link")],
                "error: /opt/consul is a symbolic link to /gone, wanted a folder; move it away, or name another path",
            ),
            (&[], "error: the host said nothing about `type` of `directory /opt/consul`"),
            (
                &[("stat", "?"), ("type", "directory")],
                "error: the host's answer for `stat` of `directory /opt/consul` is not understood: `?`",
            ),
        ] {
            assert_eq!(reason(directory(), said), wanted);
        }
        assert_eq!(
            calls(directory(), &[("type", "absent")]),
            ["directory_ensure '/opt/consul' '0700' 'consul' '990'"]
        );
    }
}
