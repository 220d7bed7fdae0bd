//! What the variables of a role must be beyond their types, by the names that `role.yaml` gives: what
//! no type can say, because it is about several values, or about several hosts.

use super::Rule;
use super::draft::Check;
use super::nfs;
use crate::model::Diagnostic;

/// What is wrong on the hosts that have a role with this rule.
pub fn judge(rule: Rule, check: &Check<'_>, hosts: &[usize]) -> Vec<Diagnostic> {
    match rule {
        Rule::NfsExports => nfs::exports(check, hosts),
        Rule::NfsMounts => nfs::mounts(check, hosts),
        Rule::NfsUsers => nfs::users(check, hosts),
    }
}
