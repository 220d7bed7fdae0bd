//! All that was found of all hosts: a table of hosts and checks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::{Check, Finding, HostName, Severity};

/// Hosts, checks, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The columns. A finding of any other check is in no cell.
    pub checks: &'static [Check],
    /// In the inventory's order.
    pub hosts: Vec<HostName>,
    /// Hosts that said nothing: what could not be looked at is not called right.
    pub silent: BTreeSet<HostName>,
    /// Hosts whose ports were tried from others.
    pub tried: BTreeSet<HostName>,
    pub findings: Vec<Finding>,
}

/// What the table says of one host and one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    Ok,
    Warning,
    Error,
    /// It was not or could not be looked at.
    Unknown,
}

impl Survey {
    pub fn mark(&self, host: &HostName, check: Check) -> Mark {
        let about = |finding: &&Finding| finding.check == check && finding.hosts.contains(host);
        match self.findings.iter().filter(about).map(|finding| finding.severity).min() {
            Some(Severity::Error) => Mark::Error,
            Some(Severity::Warning) => Mark::Warning,
            None if check == Check::Peers && !self.tried.contains(host) => Mark::Unknown,
            // A host that was reached but let nobody become root is known that far.
            None if self.silent.contains(host) && check > self.broke_at(host) => Mark::Unknown,
            None => Mark::Ok,
        }
    }

    /// The check at which a silent host fell silent.
    fn broke_at(&self, host: &HostName) -> Check {
        let of_host = self.findings.iter().filter(|finding| finding.hosts.contains(host));
        of_host.map(|finding| finding.check).min().unwrap_or(Check::Ssh)
    }

    pub fn row(&self, host: &HostName) -> Vec<Mark> {
        self.checks.iter().map(|check| self.mark(host, *check)).collect()
    }

    pub fn marks(&self) -> BTreeMap<&HostName, BTreeMap<Check, Mark>> {
        let row = |host| self.checks.iter().copied().zip(self.row(host)).collect();
        self.hosts.iter().map(|host| (host, row(host))).collect()
    }

    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_is_not_called_right() {
        let host = |name: &str| HostName::parse(name).unwrap();
        let (a, b, c) = (host("a"), host("b"), host("c"));
        let error =
            |check, host: &HostName| Finding::error(check, vec![host.clone()], "r".into(), "d".into());
        let warning = Finding::warning(Check::Clock, vec![c.clone()], "r".into(), "d".into());
        let survey = Survey {
            checks: Check::FITNESS,
            hosts: vec![a.clone(), b.clone(), c.clone()],
            silent: [a.clone(), b.clone()].into(),
            tried: [c.clone()].into(),
            findings: vec![error(Check::Ssh, &a), error(Check::Root, &b), warning],
        };
        let row = |host| Check::FITNESS.iter().map(|check| survey.mark(host, *check)).collect::<Vec<_>>();
        let (ok, no, not) = (Mark::Ok, Mark::Error, Mark::Unknown);
        assert_eq!(row(&a), [no, not, not, not, not, not, not, not, not, not, not]);
        assert_eq!(row(&b), [ok, no, not, not, not, not, not, not, not, not, not]);
        assert_eq!(row(&c), [ok, ok, ok, ok, ok, Mark::Warning, ok, ok, ok, ok, ok]);
    }
}
