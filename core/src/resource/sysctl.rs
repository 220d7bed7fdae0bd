//! `sysctl`: a kernel parameter, now and at boot.

use serde::Deserialize;

use super::seen::Access;
use super::values::from_text;
use super::write::{FileWrite, SeenFile};
use super::{AccountName, Error, HostPath, SysctlKey, call_of, default_file_mode, seen};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A kernel parameter, in a file of its own under /etc/sysctl.d, and live.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    pub key: SysctlKey,
    #[serde(deserialize_with = "from_text")]
    pub value: String,
}

impl Sysctl {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("sysctl {}", self.key))
    }

    /// Sorts after the distribution's own files.
    pub(super) fn file(&self) -> Result<HostPath, Error> {
        let path = format!("/etc/sysctl.d/90-bootstrap-{}.conf", self.key.as_str().replace('/', "-"));
        path.parse().map_err(|_| Error::Unknown { id: self.id().0, key: "key", text: self.key.to_string() })
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let file = self.file()?;
        let call = call_of(&self.id(), "sysctl_probe", [self.key.as_str(), file.as_str()])?;
        Ok(call.with_prefetch([PrefetchOf::Content.named(file.as_str())]))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        seen::check(&id, seen)?;
        // The kernel separates the parts of a value by tabs.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = words(&self.value);
        let live = seen.text("live").map(words);
        let (path, root) = (self.file()?, AccountName::root());
        let content = format!("{} = {wanted}\n", self.key);
        let file = FileWrite {
            id: &id,
            path: &path,
            access: Access { mode: default_file_mode(), owner: &root, group: &root },
            content: &content,
            secret: false,
            validate: &[],
        };
        let (mut reasons, mut calls, mut diff) = (Vec::new(), Vec::new(), None);
        if let Some(change) = file.decide(&SeenFile::parse(&id, &path, seen)?)? {
            reasons.push(format!("{path} {}", change.reason));
            calls.extend(change.calls);
            diff = change.diff;
        }
        if live.as_ref() != Some(&wanted) {
            // Absent until its module is loaded, which an earlier step may do.
            let found = live.unwrap_or_else(|| "absent".to_owned());
            reasons.push(format!("live value {found}, wanted {wanted}"));
            calls.push(call_of(&id, "sysctl_set", [self.key.as_str(), &wanted])?);
        }
        Ok((!calls.is_empty()).then(|| Change {
            reason: reasons.join(", "),
            diff,
            effect: Effect::Quiet,
            calls,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{calls, reason};

    #[test]
    fn file_and_live_value_are_compared() {
        let sysctl = || json!({"sysctl": {"key": "net.ipv4.tcp_rmem", "value": "4096  87380\t99"}});
        let body = "net.ipv4.tcp_rmem = 4096 87380 99\n";
        let stat = format!("644 0 0 root root {}", body.len());
        let said = |live| [("live", live), ("stat", stat.as_str()), ("type", "file"), ("body", body)];
        assert_eq!(reason(sysctl(), &said("4096\t87380\t99\n")), "-");
        assert_eq!(reason(sysctl(), &said("1 2 3")), "live value 1 2 3, wanted 4096 87380 99");
        assert_eq!(calls(sysctl(), &said("1 2 3")), ["sysctl_set 'net.ipv4.tcp_rmem' '4096 87380 99'"]);
        assert_eq!(
            reason(sysctl(), &[("live-missing", "/proc/sys/x"), ("type", "absent")]),
            "/etc/sysctl.d/90-bootstrap-net.ipv4.tcp_rmem.conf absent, live value absent, wanted 4096 87380 99"
        );
    }
}
