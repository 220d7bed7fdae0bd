//! What a host's kernel must have for its roles.

use crate::model::{Arg, Call, Check, Finding, StepId};
use crate::roles::{WantedFilesystem, WantedHost};
use crate::script::Observation;

const PROBE: &str = "preflight kernel";

fn needed(wanted: &WantedHost) -> impl Iterator<Item = &WantedFilesystem> {
    wanted.roles.iter().flat_map(|role| &role.filesystems)
}

pub(super) fn probe(wanted: &WantedHost) -> Option<(StepId, Call)> {
    let names: Vec<Arg> =
        needed(wanted).filter_map(|filesystem| Arg::new(filesystem.name.as_str()).ok()).collect();
    (!names.is_empty()).then(|| (StepId(PROBE.to_owned()), Call::new("filesystems_probe", names)))
}

pub(super) fn judge(wanted: &WantedHost, observation: &Observation, kernel: &str) -> Vec<Finding> {
    let fields = observation.of(PROBE);
    let missing: Vec<&str> = fields.all("missing").collect();
    needed(wanted)
        .filter(|filesystem| missing.contains(&filesystem.name.as_str()))
        .map(|filesystem| {
            let reason = format!(
                "its kernel ({kernel}) has no `{}`, which role `{}` needs",
                filesystem.name, filesystem.role
            );
            let host = wanted.host.name.clone();
            Finding::error(Check::System, vec![host], reason, filesystem.remedy.clone())
        })
        .collect()
}
