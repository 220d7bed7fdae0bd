//! `user`: a user and its group.

use serde::Deserialize;

use super::values::{from_text, optional_from_text};
use super::{AccountName, Error, HostPath, call_of, seen};
use crate::model::{Call, Change, Effect, PrefetchOf, StepId};
use crate::script::Fields;

/// A user with its primary group. What is left out is the distribution's choice, and not compared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: AccountName,
    #[serde(default, deserialize_with = "optional_from_text")]
    pub uid: Option<u32>,
    /// Its primary group, made when missing. Default: one of the same name.
    #[serde(default, deserialize_with = "optional_from_text")]
    pub group: Option<AccountName>,
    #[serde(default, deserialize_with = "optional_from_text")]
    pub gid: Option<u32>,
    /// A number below those of people, no login shell and no home, unless they are given.
    #[serde(default, deserialize_with = "from_text")]
    pub system: bool,
    #[serde(default, deserialize_with = "optional_from_text")]
    pub home: Option<HostPath>,
    #[serde(default, deserialize_with = "optional_from_text")]
    pub shell: Option<HostPath>,
    /// Whether a new user's home is made.
    #[serde(default, deserialize_with = "from_text")]
    pub create_home: bool,
}

/// A line of passwd or group: its fields, none if the host has no such line.
struct Account<'a>(Vec<&'a str>);

impl<'a> Account<'a> {
    fn parse(line: Option<&'a str>) -> Option<Self> {
        let line = line?.trim();
        (!line.is_empty()).then(|| Self(line.split(':').collect()))
    }

    fn field(&self, index: usize) -> &'a str {
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl User {
    pub(super) fn id(&self) -> StepId {
        StepId(format!("user {}", self.name))
    }

    /// Its primary group.
    pub fn group(&self) -> &str {
        self.group.as_ref().unwrap_or(&self.name).as_str()
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let (name, group) = (self.name.as_str(), self.group());
        let (uid, gid) = (number(self.uid), number(self.gid));
        let call = call_of(&self.id(), "user_probe", [name, group, &uid, &gid])?;
        let numbers = [PrefetchOf::User.named(uid), PrefetchOf::Group.named(gid)];
        let numbers = numbers.into_iter().filter(|number| !number.name.is_empty());
        Ok(call
            .with_prefetch([PrefetchOf::User.named(name), PrefetchOf::Group.named(group)])
            .with_prefetch(numbers))
    }

    pub(super) fn decide(&self, seen: &Fields<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let user = Account::parse(Some(seen::text(&id, seen, "user")?));
        let group = Account::parse(Some(seen::text(&id, seen, "group")?));
        self.check_numbers("uid", self.uid, self.name.as_str(), user.as_ref(), seen.text("uid-owner"))?;
        self.check_numbers("gid", self.gid, self.group(), group.as_ref(), seen.text("gid-owner"))?;
        let mut reasons = Vec::new();
        let mut calls = Vec::new();
        if group.is_none() {
            reasons.push(format!("group {} absent", self.group()));
            let gid = self.gid.map(|gid| gid.to_string()).unwrap_or_default();
            calls.push(call_of(&id, "group_add", [self.group(), &gid, &self.system.to_string()])?);
        }
        match user {
            None => {
                reasons.insert(0, "absent".to_owned());
                calls.push(self.add(&id)?);
            }
            Some(user) => {
                let drift = self.drift(&user, seen.text("primary-group").unwrap_or_default());
                if !drift.is_empty() {
                    reasons.extend(drift);
                    calls.push(self.change(&id)?);
                }
            }
        }
        Ok((!calls.is_empty()).then(|| Change {
            reason: reasons.join(", "),
            diff: None,
            effect: Effect::Quiet,
            calls,
        }))
    }

    /// A number must be free or ours, and is never changed under files that carry it.
    fn check_numbers(
        &self,
        what: &'static str,
        wanted: Option<u32>,
        name: &str,
        account: Option<&Account<'_>>,
        owner: Option<&str>,
    ) -> Result<(), Error> {
        let Some(wanted) = wanted else { return Ok(()) };
        if let Some(owner) = Account::parse(owner).filter(|owner| owner.field(0) != name) {
            let owner = owner.field(0).to_owned();
            return Err(Error::NumberTaken { what, number: wanted, wanted: name.to_owned(), owner });
        }
        match account.map(|account| account.field(2)) {
            Some(found) if found != wanted.to_string() => {
                Err(Error::NumberDiffers { what, name: name.to_owned(), found: found.to_owned(), wanted })
            }
            _ => Ok(()),
        }
    }

    fn drift(&self, user: &Account<'_>, primary_group: &str) -> Vec<String> {
        let wanted = [
            ("group", primary_group, self.group.as_ref().map(AccountName::as_str)),
            ("home", user.field(5), self.home.as_ref().map(HostPath::as_str)),
            ("shell", user.field(6), self.shell.as_ref().map(HostPath::as_str)),
        ];
        let differs = wanted.into_iter().filter_map(|(what, found, wanted)| Some((what, found, wanted?)));
        differs
            .filter(|(_, found, wanted)| found != wanted)
            .map(|(what, found, wanted)| format!("{what} {found}, wanted {wanted}"))
            .collect()
    }

    fn add(&self, id: &StepId) -> Result<Call, Error> {
        let uid = self.uid.map(|uid| uid.to_string()).unwrap_or_default();
        let (system, create_home) = (self.system.to_string(), self.create_home.to_string());
        let path = |path: &Option<HostPath>| path.as_ref().map(HostPath::to_string).unwrap_or_default();
        let args = [
            self.name.as_str(),
            &uid,
            self.group(),
            &system,
            &path(&self.home),
            &path(&self.shell),
            &create_home,
        ];
        call_of(id, "user_add", args)
    }

    fn change(&self, id: &StepId) -> Result<Call, Error> {
        let path = |path: &Option<HostPath>| path.as_ref().map(HostPath::to_string).unwrap_or_default();
        let group = self.group.as_ref().map(AccountName::as_str).unwrap_or_default();
        call_of(id, "user_change", [self.name.as_str(), group, &path(&self.home), &path(&self.shell)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{calls, reason};

    #[test]
    fn absence_and_drift_are_planned() {
        let user = || json!({"user": {"name": "consul", "system": "true", "home": "/opt/consul"}});
        let absent = [("user", ""), ("group", "")];
        assert_eq!(reason(user(), &absent), "absent, group consul absent");
        assert_eq!(
            calls(user(), &absent),
            ["group_add 'consul' '' 'true'", "user_add 'consul' '' 'consul' 'true' '/opt/consul' '' 'false'"]
        );
        let line = |home: &str| format!("consul:x:995:990::{home}:/usr/sbin/nologin");
        let (right, other) = (line("/opt/consul"), line("/home/consul"));
        let said = |user| [("user", user), ("primary-group", "consul"), ("group", "consul:x:990:")];
        assert_eq!(reason(user(), &said(&right)), "-");
        assert_eq!(reason(user(), &said(&other)), "home /home/consul, wanted /opt/consul");
        assert_eq!(calls(user(), &said(&other)), ["user_change 'consul' '' '/opt/consul' ''"]);
    }

    #[test]
    fn a_number_is_free_or_ours() {
        let user = || json!({"user": {"name": "www", "uid": "2020", "gid": 2020}});
        let absent = |uid, gid| [("user", ""), ("group", ""), ("uid-owner", uid), ("gid-owner", gid)];
        assert_eq!(reason(user(), &absent("", "")), "absent, group www absent");
        assert_eq!(
            reason(user(), &absent("ada:x:2020:100::/home/ada:/bin/sh", "")),
            "error: uid 2020 of `www` belongs to `ada` on this host; choose another number, or rename that one"
        );
        assert_eq!(
            reason(user(), &absent("", "staff:x:2020:")),
            "error: gid 2020 of `www` belongs to `staff` on this host; choose another number, or rename that one"
        );
        let said = [
            ("user", "www:x:33:2020::/:/bin/sh"),
            ("primary-group", "www"),
            ("group", "www:x:2020:"),
            ("uid-owner", ""),
            ("gid-owner", "www:x:2020:"),
        ];
        assert_eq!(
            reason(user(), &said),
            "error: `www` has the uid 33, wanted 2020: what it owns would be orphaned, so change it by hand first"
        );
    }
}
