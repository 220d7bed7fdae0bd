//! `download: { file: … }`: a file at a site that becomes a file on the host, as it is.

use serde::Deserialize;

use super::remote::{RemoteFile, Trust, Via};
use super::seen::Access;
use super::write::{self, SeenFile};
use super::{AccountName, Error, FileMode, HostPath, Sha256Digest, Url, call_of, default_file_mode};
use crate::model::{Call, Change, Effect, StepId};
use crate::script::Fields;

/// A file that holds what is at an address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadedFile {
    /// Where it is put.
    pub path: HostPath,
    pub url: Url,
    /// What it must be.
    pub sha256: Sha256Digest,
    /// Who downloads it.
    #[serde(default)]
    pub via: Via,
    /// Default `"0644"`.
    #[serde(default = "default_file_mode")]
    pub mode: FileMode,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub owner: AccountName,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub group: AccountName,
}

/// The prelude's function that installs what was pushed, and which of its arguments is the digest.
pub(super) const PUSHED: (&str, usize) = ("file_from_push", 5);

impl DownloadedFile {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("download {}", self.path))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        // It may be large: nobody looks at what is in it.
        write::probe(&self.id(), &self.path, true)
    }

    pub(super) fn remote(&self) -> RemoteFile {
        let trust = Trust::Digest(self.sha256.to_string());
        RemoteFile::new(self.path.to_string(), self.url.as_str(), self.via, trust)
    }

    pub(super) fn lacking(&self, seen: &Fields<'_>) -> Option<RemoteFile> {
        // What cannot be understood is reported by `decide`.
        let seen = SeenFile::parse(&self.id(), &self.path, seen).ok()?;
        (seen.digest != self.sha256.as_str()).then(|| self.remote())
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let seen = SeenFile::parse(&id, &self.path, seen)?;
        let access = Access { mode: self.mode, owner: &self.owner, group: &self.group };
        let mut reasons = seen.stat.as_ref().map(|stat| stat.drift(&access)).unwrap_or_default();
        let call = if seen.digest == self.sha256.as_str() {
            if reasons.is_empty() {
                return Ok(None);
            }
            write::set_access(&id, &self.path, &access)?
        } else {
            reasons.insert(0, if seen.stat.is_none() { "absent" } else { "content differs" }.to_owned());
            let (mode, owner, group) = (self.mode.to_string(), self.owner.as_str(), self.group.as_str());
            let words = [self.path.as_str(), &mode, owner, group, &seen.digest, self.sha256.as_str()];
            match self.via {
                Via::Controller => call_of(&id, PUSHED.0, words)?,
                Via::Host => call_of(&id, "file_from_site", words.into_iter().chain([self.url.as_str()]))?,
            }
        };
        Ok(Some(Change { reason: reasons.join(", "), diff: None, effect: Effect::Quiet, calls: vec![call] }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{SeenValue, calls, decide, owned, reason, resource};
    use super::super::{Resource, pushed_digest};
    use crate::script::Fields;

    const SUM: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    fn manifest(via: &str) -> Value {
        json!({"download": {"file": {
            "path": "/etc/k/network.yaml", "url": "https://example.org/v1/network.yaml", "sha256": SUM, "via": via, "mode": "0600",
        }}})
    }

    fn seen(digest: &str) -> [SeenValue<'_>; 3] {
        [("type", "file"), ("stat", "600 0 0 root root 3"), ("sha256", digest)]
    }

    #[test]
    fn it_is_compared_by_its_digest() {
        assert_eq!(reason(manifest("host"), &seen(SUM)), "-");
        assert_eq!(reason(manifest("host"), &seen("d1d1")), "content differs");
        assert_eq!(reason(manifest("host"), &[("type", "absent")]), "absent");
        let open = [("type", "file"), ("stat", "644 0 0 root root 3"), ("sha256", SUM)];
        assert_eq!(reason(manifest("host"), &open), "mode 0644, wanted 0600");
        assert_eq!(calls(manifest("host"), &open), ["path_owner '/etc/k/network.yaml' '0600' 'root' 'root'"]);
    }

    #[test]
    fn it_comes_from_its_site_or_from_this_machine() {
        let place = "'/etc/k/network.yaml' '0600' 'root' 'root' 'absent'";
        let absent = [("type", "absent")];
        assert_eq!(
            calls(manifest("host"), &absent),
            [format!("file_from_site {place} '{SUM}' 'https://example.org/v1/network.yaml'")]
        );
        assert_eq!(calls(manifest("controller"), &absent), [format!("file_from_push {place} '{SUM}'")]);
        let change = decide(manifest("controller"), &absent).unwrap().unwrap();
        assert_eq!(pushed_digest(&change.calls[0]), Some(SUM));
        let lacking = |said: &[SeenValue<'_>]| {
            let said = owned(said);
            resource(manifest("host")).lacking(&Fields::new(&said), &super::super::testing::facts("x86_64"))
        };
        assert_eq!(lacking(&absent)[0].url(), "https://example.org/v1/network.yaml");
        assert_eq!(lacking(&seen(SUM)), []);
    }

    #[test]
    fn a_digest_is_64_hex_digits() {
        for wrong in ["", "d1d1", &SUM.replace('2', "x")] {
            let mut value = manifest("host");
            value["download"]["file"]["sha256"] = json!(wrong);
            assert!(Resource::from_value(value).is_err(), "{wrong}");
        }
    }
}
