//! `kernel-module`: a module that is loaded, now and at boot.

use serde::Deserialize;

use super::seen::Access;
use super::write::{FileWrite, SeenFile};
use super::{AccountName, Error, HostPath, PartName, call_of, default_file_mode, seen};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A kernel module, in a file of its own under /etc/modules-load.d, and loaded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelModule {
    pub name: PartName,
}

impl KernelModule {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("kernel-module {}", self.name))
    }

    pub(super) fn file(&self) -> Result<HostPath, Error> {
        let path = format!("/etc/modules-load.d/bootstrap-{}.conf", self.name);
        path.parse().map_err(|_| Error::Unknown { id: self.id().0, key: "name", text: self.name.to_string() })
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let file = self.file()?;
        let call = call_of(&self.id(), "module_probe", [self.name.as_str(), file.as_str()])?;
        Ok(call.with_prefetch([PrefetchOf::Content.named(file.as_str())]))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let (path, root) = (self.file()?, AccountName::root());
        let content = format!("{}\n", self.name);
        let file = FileWrite {
            id: &id,
            path: &path,
            access: Access { mode: default_file_mode(), owner: &root, group: &root },
            content: &content,
            secret: false,
            validate: &[],
        };
        let (mut reasons, mut calls) = (Vec::new(), Vec::new());
        if let Some(change) = file.decide(&SeenFile::parse(&id, &path, seen)?)? {
            reasons.push(format!("{path} {}", change.reason));
            calls.extend(change.calls);
        }
        if seen::text(&id, seen, "loaded")? == "no" {
            reasons.push("not loaded".to_owned());
            calls.push(call_of(&id, "module_load", [self.name.as_str()])?);
        }
        Ok((!calls.is_empty()).then(|| Change {
            reason: reasons.join(", "),
            diff: None,
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
    fn file_and_kernel_are_compared() {
        let module = || json!({"kernel-module": {"name": "overlay"}});
        let said =
            [("loaded", "yes"), ("stat", "644 0 0 root root 8"), ("type", "file"), ("body", "overlay\n")];
        assert_eq!(reason(module(), &said), "-");
        let absent = [("loaded", "no"), ("type", "absent")];
        assert_eq!(
            reason(module(), &absent),
            "/etc/modules-load.d/bootstrap-overlay.conf absent, not loaded"
        );
        assert_eq!(calls(module(), &absent)[1], "module_load 'overlay'");
    }
}
