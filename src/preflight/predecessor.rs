//! Whether a host already has an agent of somebody else, under the unit's name that a role would use.
//!
//! The role would stop that agent, and nobody would use its data any more. So the host is refused, with both identities. A unit alone
//! does not count: one without data is taken over. What counts is data: files that the unit's processes have open, and files in
//! the folders where packages of this product keep their data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::configuration::agents;
use super::{HostMarker, Marker, Subject, age};
use crate::model::{Arg, Call, Check, Endpoint, Finding, StepId};
use crate::products::Gate;
use crate::roles::{WantedHost, WantedRole};
use crate::script::Fields;

fn id(unit: &str) -> StepId {
    StepId(format!("preflight predecessor of {unit}"))
}

fn gate(role: &WantedRole) -> Option<Gate> {
    role.gate.as_deref().and_then(Gate::parse)
}

/// One for each agent whose product leaves traces that are known.
pub(super) fn probes(wanted: &WantedHost) -> Vec<(StepId, Call)> {
    let probe = |(role, endpoint): (&WantedRole, &Endpoint)| {
        let traces = gate(role)?.product().traces();
        let folder = |folder: &&str| match folder.starts_with('/') {
            true => (*folder).to_owned(),
            false => format!("{}/{folder}", endpoint.data),
        };
        let folders: BTreeSet<String> = traces.folders.iter().map(folder).collect();
        let words = [endpoint.unit.clone(), traces.state.join(" ")]
            .into_iter()
            .chain(folders)
            .map(|word| Arg::lossy(&word));
        (!traces.state.is_empty()).then(|| (id(&endpoint.unit), Call::new("served_probe", words)))
    };
    agents(wanted).into_iter().filter_map(probe).collect()
}

pub(super) fn judge(subject: &Subject<'_>, ours: &Marker) -> Vec<Finding> {
    let marker = subject.claim.marker.as_deref();
    // That of another cluster is reason enough.
    if marker
        .is_some_and(|text| serde_json::from_str::<Marker>(text).is_ok_and(|theirs| theirs.id != ours.id))
    {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (role, endpoint) in agents(subject.wanted) {
        let Some(gate) = gate(role) else { continue };
        let is_set_up = marker.map(|text| HostMarker::has_set_up(text, &endpoint.unit));
        let is_marked = match is_set_up {
            Some(Some(true)) => continue,
            Some(told) => told.is_none(),
            None => false,
        };
        let said = subject.observation.of(&id(&endpoint.unit).0);
        let own = gate.product().state(&endpoint.data);
        let is_own = |trace: &Trace<'_>| own.iter().any(|own| trace.path.starts_with(own));
        // A client joins anew, whatever lies about.
        let counts = |trace: &Trace<'_>| match trace.is_open {
            // Beside a marker that names no parts, what runs there may be ours.
            true => !is_marked || !is_own(trace),
            false => {
                let is_inside = trace.path.starts_with(&endpoint.data);
                gate.has_claims() && !is_own(trace) && (is_inside || is_used(&said))
            }
        };
        let found: BTreeMap<String, Trace<'_>> =
            traces(&said).filter(counts).map(|trace| (trace.path.display().to_string(), trace)).collect();
        if !found.is_empty() {
            findings.push(finding(subject, ours, role, endpoint, &said, found.values()));
        }
    }
    findings
}

/// Something that an agent has left, or has open.
struct Trace<'a> {
    path: std::path::PathBuf,
    folder: &'a str,
    /// Its name in the folder.
    name: &'a str,
    /// Seconds since 1970.
    written: &'a str,
    is_open: bool,
}

fn traces<'a>(said: &Fields<'a>) -> impl Iterator<Item = Trace<'a>> {
    // What is open stands for itself in the end.
    let all = [("kept", false), ("open", true)]
        .map(|(key, is_open)| said.all(key).map(move |line| (line, is_open)));
    all.into_iter().flatten().filter_map(|(line, is_open)| {
        let mut words = line.splitn(3, ' ');
        let (trace, written, folder) = (words.next()?, words.next()?, words.next()?);
        let name = trace.split('/').next()?;
        Some(Trace { path: Path::new(folder).join(trace), folder, name, written, is_open })
    })
}

fn is_active(said: &Fields<'_>) -> bool {
    matches!(said.text("ActiveState"), Some("active" | "activating" | "reloading"))
}

/// Whether a unit runs, or would at the next boot.
fn is_used(said: &Fields<'_>) -> bool {
    is_active(said) || said.text("UnitFileState").is_some_and(|state| state.starts_with("enabled"))
}

fn finding<'a>(
    subject: &Subject<'_>,
    ours: &Marker,
    role: &WantedRole,
    endpoint: &Endpoint,
    said: &Fields<'_>,
    found: impl Iterator<Item = &'a Trace<'a>>,
) -> Finding {
    let unit = &endpoint.unit;
    let (mut kept, mut moves) = (Vec::new(), BTreeSet::new());
    for Trace { path, folder, name, written, .. } in found {
        let when = age(written).map(|when| format!(", last written {when}")).unwrap_or_default();
        kept.push(format!("{}{when}", path.display()));
        moves.insert(format!("mv {folder}/{name} {folder}/{name}.left"));
    }
    let file = said.text("FragmentPath").filter(|file| !file.is_empty());
    let state = if is_active(said) { "runs there" } else { "is there, stopped" };
    let whose = match file {
        Some(file) => format!("{unit} ({file}) {state}, which this program has not set up, and it keeps"),
        None => format!("somebody else's {} has left", endpoint.product),
    };
    let answers: String = subject.claim.agents.iter().map(|agent| format!("; it says: {agent}")).collect();
    let reason = format!(
        "{whose} {}{answers}: that is not of {ours}, and role `{}` would take its place",
        kept.join(", "),
        role.name
    );
    let stop = file.map(|_| format!("systemctl disable --now {unit}; ")).unwrap_or_default();
    let remedy = format!(
        "if nothing of it is needed any more, stop it and set aside what it keeps, on that host: `{stop}{}`; then run again. To leave it \
         as it is, take the role from this host",
        moves.into_iter().collect::<Vec<_>>().join("; ")
    );
    Finding::error(Check::Data, vec![subject.name()], reason, remedy)
}

#[cfg(test)]
mod tests {
    use indoc::indoc;

    use super::*;
    use crate::facts::{ClockOffset, Facts};
    use crate::model::ClusterName;
    use crate::preflight::Claim;
    use crate::script::{Observation, Record};

    /// What is found of a unit that said this, on a host with this marker.
    fn found(role: &str, unit: &str, marker: Option<&str>, said: &[(&str, &str)]) -> Vec<String> {
        let text = indoc! {"
            cluster: dc1
            hosts:
              n1: { address: 10.0.0.11, roles: [ROLE] }
            vars:
              kube: { external_etcd: true }
        "};
        let server = if role == "consul-client" {
            "  n2: { address: 10.0.0.12, roles: [consul-server] }\n"
        } else {
            ""
        };
        let text = text.replace("ROLE", role).replace("vars:", &format!("{server}vars:"));
        let wanted = crate::roles::testing::wanted(&text);
        let seen = said.iter().map(|(key, value)| Record::Seen {
            id: id(unit).0,
            key: (*key).to_owned(),
            value: value.as_bytes().to_vec(),
        });
        let observation = Observation::new(&seen.collect::<Vec<_>>());
        let claim = Claim { marker: marker.map(str::to_owned), ..Claim::default() };
        let subject = Subject {
            wanted: &wanted.hosts[0],
            facts: &Facts::example(),
            observation: &observation,
            clock: ClockOffset { ms: 0, error_ms: 0 },
            claim,
            node_id: None,
            changes: None,
        };
        let ours = Marker { cluster: ClusterName::parse("dc1").unwrap(), id: "aa".into() };
        judge(&subject, &ours)
            .iter()
            .map(|finding| format!("{}\n{}", finding.reason, finding.remedy))
            .collect()
    }

    #[test]
    fn who_keeps_something_is_not_taken_over() {
        const RUNS: [(&str, &str); 3] = [
            ("ActiveState", "active"),
            ("UnitFileState", "enabled"),
            ("FragmentPath", "/lib/systemd/system/etcd.service"),
        ];
        const RESTS: [(&str, &str); 3] = [
            ("ActiveState", "inactive"),
            ("UnitFileState", "disabled"),
            ("FragmentPath", "/lib/systemd/system/etcd.service"),
        ];
        fn etcd(marker: Option<&str>, unit: &[(&str, &str)], said: &[(&str, &str)]) -> Vec<String> {
            found("etcd", "etcd.service", marker, &[unit, said].concat())
        }
        let debian = [
            ("open", "member 1767323045 /var/lib/etcd/default"),
            ("kept", "member 1767323045 /var/lib/etcd/default"),
        ];
        let said = etcd(None, &RUNS, &debian);
        assert_eq!(
            said,
            [
                "etcd.service (/lib/systemd/system/etcd.service) runs there, which this program has not set up, and it keeps \
                 /var/lib/etcd/default/member, last written 2026-01-02 03:04 UTC: that is not of cluster `dc1` (id aa), and role `etcd` \
                 would take its place\nif nothing of it is needed any more, stop it and set aside what it keeps, on that host: `systemctl \
                 disable --now etcd.service; mv /var/lib/etcd/default/member /var/lib/etcd/default/member.left`; then run again. To leave \
                 it as it is, take the role from this host"
            ]
        );
        // A unit that keeps nothing is nobody's.
        assert!(etcd(None, &RUNS, &[]).is_empty());
        // In our own folder it is in the way whether it runs or not; elsewhere only if it is used.
        assert_eq!(etcd(None, &RESTS, &debian[1..]).len(), 1);
        assert!(
            etcd(None, &[], &debian[1..])[0]
                .starts_with("somebody else's etcd has left /var/lib/etcd/default/member")
        );
        let elsewhere = [("kept", "member 1 /srv/etcd")];
        assert!(etcd(None, &RESTS, &elsewhere).is_empty());
        assert_eq!(etcd(None, &RUNS, &elsewhere).len(), 1);
        // The place of our own is judged by the marker alone.
        assert!(etcd(None, &RESTS, &[("kept", "member 1 /var/lib/etcd")]).is_empty());
        let ours = r#"{"cluster":"dc1","id":"aa"}"#;
        let with = |unit: &str| {
            format!(
                r#"{{"cluster":"dc1","id":"aa","parts":{{"p":{{"role":"r","api":"a","unit":"{unit}","data":"/d"}}}}}}"#
            )
        };
        let own = [("open", "member 1 /var/lib/etcd")];
        assert!(etcd(Some(&with("etcd.service")), &RUNS, &own).is_empty());
        assert!(etcd(Some(ours), &RUNS, &own).is_empty());
        assert_eq!(etcd(Some(&with("consul.service")), &RUNS, &own).len(), 1);
        assert_eq!(etcd(Some(ours), &RUNS, &debian).len(), 1);
        assert!(etcd(Some(r#"{"cluster":"other","id":"bb"}"#), &RUNS, &debian).is_empty());

        // A client joins anew, but not in the place of one that lives elsewhere.
        let client = |said: &[(&str, &str)]| {
            found("consul-client", "consul.service", None, &[&RUNS[..2], said].concat())
        };
        assert!(client(&[("kept", "raft/raft.db 1 /var/lib/consul")]).is_empty());
        assert_eq!(client(&[("open", "serf/local.snapshot 1 /var/lib/consul")]).len(), 1);
    }
}
