//! `certificate`: a certificate and its key, in one file, signed on this machine.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::seen::{self, Access};
use super::write::{self, FileWrite, SeenFile};
use super::{AccountName, Content, Error, FileMode, HostPath, call_of};
use crate::certificate::{self, Authority, Leaf, SubjectName, Usage};
use crate::facts::Facts;
use crate::model::{Call, Change, PrefetchOf, StepId};
use crate::script::Fields;

/// A certificate of an authority whose key stays on this machine, then its own key, as PEM: programs name the file for either. In one
/// file, so that nobody reads the one of before with the other of now.
///
/// Made anew where it is not of this authority, for these names and uses, or ends in `renew_days`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub path: HostPath,
    /// Certificate and key of who signs, as `generate: authority` makes them.
    pub authority: Content,
    /// Host names and addresses that it is for, between blanks; a template that may use facts.
    #[serde(default)]
    pub alternative_names: Content,
    pub common_name: String,
    #[serde(default)]
    pub organization: Option<String>,
    /// Default: both.
    #[serde(default = "both_usages")]
    pub usage: BTreeSet<Usage>,
    /// How long it is good for, in days; default 365.
    #[serde(default = "a_year", deserialize_with = "super::values::from_text")]
    pub days: u32,
    /// Made anew so many days before it ends; default 30.
    #[serde(default = "a_month", deserialize_with = "super::values::from_text")]
    pub renew_days: u32,
    /// Default `"0640"`.
    #[serde(default = "for_its_group")]
    pub mode: FileMode,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub owner: AccountName,
    /// Default `root`.
    #[serde(default = "AccountName::root")]
    pub group: AccountName,
}

fn both_usages() -> BTreeSet<Usage> {
    [Usage::Server, Usage::Client].into()
}

fn a_year() -> u32 {
    365
}

fn a_month() -> u32 {
    30
}

fn for_its_group() -> FileMode {
    FileMode::new(0o640)
}

impl Certificate {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("certificate {}", self.path))
    }

    /// Whether there could be one, before any host is asked.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.days <= self.renew_days {
            return Err(Error::AlwaysRenewed {
                id: self.id().0,
                days: self.days,
                renew_days: self.renew_days,
            });
        }
        self.authority().map(drop)
    }

    fn authority(&self) -> Result<Authority, Error> {
        Authority::parse(self.authority.as_str())
            .map_err(|source| Error::Certificate { id: self.id().0, source })
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let path = self.path.as_str();
        let call = call_of(&self.id(), "certificate_probe", [path])?;
        Ok(call.with_prefetch([PrefetchOf::Digest.named(path)]))
    }

    /// How many days the one that the host shows is still good for, less than none once it has expired; `None`: there is none.
    pub fn days_left(&self, seen: &Fields<'_>, facts: &Facts) -> Option<i64> {
        certificate::days_left(seen.text("certificate")?, facts.epoch)
    }

    /// A function of what it is given but for the key, which is new each time.
    pub(super) fn decide(&self, seen: &Fields<'_>, facts: &Facts) -> Result<Option<Change>, Error> {
        let id = self.id();
        let file = SeenFile::parse(&id, &self.path, seen)?;
        let authority = self.authority()?;
        let names = SubjectName::all(self.alternative_names.as_str());
        let leaf = Leaf {
            common_name: &self.common_name,
            organization: self.organization.as_deref(),
            names: &names,
            usage: &self.usage,
            days: self.days,
            renew_days: self.renew_days,
        };
        let access = Access { mode: self.mode, owner: &self.owner, group: &self.group };
        let objection = match &file.stat {
            None => Some("absent".to_owned()),
            Some(_) => match seen::text(&id, seen, "key")? {
                "yes" => {
                    authority.objection(seen.text("certificate").unwrap_or_default(), &leaf, facts.epoch)
                }
                _ => Some("there is no key in it".to_owned()),
            },
        };
        let drift = file.stat.as_ref().map(|stat| stat.drift(&access)).unwrap_or_default();
        let Some(objection) = objection else {
            return write::access_change(&id, &self.path, &access, &drift);
        };
        let issued = authority
            .issue(&leaf, facts.epoch)
            .map_err(|source| Error::Certificate { id: id.0.clone(), source })?;
        let wanted =
            FileWrite { id: &id, path: &self.path, access, content: &issued, secret: true, validate: &[] };
        let reasons: Vec<String> = [objection].into_iter().chain(drift).collect();
        wanted.replace(&file, reasons.join(", ")).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::super::testing::{decide_with, facts, reason_of, resource};
    use super::super::{Error, Resource};
    use crate::certificate::new_authority;
    use crate::model::Change;

    const PATH: &str = "/etc/x/tls.pem";

    fn wanted(authority: &str, more: serde_json::Value) -> serde_json::Value {
        let mut fields = json!({
            "path": PATH, "authority": authority, "common_name": "node-1", "alternative_names": "node-1 10.0.0.1",
        });
        for (key, value) in more.as_object().unwrap() {
            fields[key] = value.clone();
        }
        json!({ "certificate": fields })
    }

    /// What the host is sent: the file's text.
    fn sent(change: &Change) -> String {
        let text = change.calls[0].argument_of("file_write", 6).unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn it_is_made_once_and_stays_while_it_is_good() {
        let now = 1_790_000_000;
        let mut facts = facts("x86_64");
        facts.epoch = now;
        let authority = new_authority("ca", now).unwrap();
        let decide = |more: serde_json::Value, said: &[(&str, &str)]| -> Result<Option<Change>, Error> {
            decide_with(&resource(wanted(&authority, more)), said, &facts, &[])
        };
        let change = decide(json!({}), &[("type", "absent")]).unwrap().unwrap();
        assert_eq!((change.reason.as_str(), change.diff.as_deref()), ("absent", None));
        assert_eq!(
            change.calls[0].to_string(),
            format!("file_write '{PATH}' '0640' 'root' 'root' <secret> <secret> <secret>")
        );
        let text = sent(&change);
        let (public, _) = text.split_at(text.find("-----BEGIN PRIVATE KEY").unwrap());
        let shows = |stat| {
            [("stat", stat), ("type", "file"), ("sha256", "0123"), ("key", "yes"), ("certificate", public)]
        };
        let good = shows("640 0 0 root root 900");
        assert_eq!(reason_of(decide(json!({}), &good)), "-");
        assert_eq!(reason_of(decide(json!({}), &shows("644 0 0 root root 900"))), "mode 0644, wanted 0640");
        assert_eq!(
            reason_of(decide(json!({"alternative_names": "node-1"}), &good)),
            "it is for 10.0.0.1, node-1, wanted node-1"
        );
        assert_eq!(
            reason_of(decide(json!({"renew_days": 364, "days": 400}), &good)),
            "-",
            "it is good for 365 days"
        );
        let mut keyless = good;
        keyless[3] = ("key", "no");
        assert_eq!(reason_of(decide(json!({}), &keyless)), "there is no key in it");
    }

    #[test]
    fn what_cannot_be_is_told_before_any_host_is_asked() {
        let authority = new_authority("ca", 1_790_000_000).unwrap();
        for (value, says) in [
            (wanted("no PEM", json!({})), "`certificate /etc/x/tls.pem`: no authority that can sign it"),
            (
                wanted(&authority, json!({"renew_days": 400})),
                "`certificate /etc/x/tls.pem` is good for 365 days and made anew 400 days before its end",
            ),
        ] {
            let error = Resource::from_value(value).unwrap_err();
            assert!(error.to_string().starts_with(says), "{error}");
        }
        let resource = Resource::from_value(wanted(&authority, json!({}))).unwrap();
        assert!(resource.secret() && !format!("{resource:?}").contains("PRIVATE"), "{resource:?}");
    }
}
