//! What hosts and clusters say of themselves -> how well they are. Pure.
//!
//! The engine asks, this judges, the report shows. Everything that is wrong has a reason and a remedy of one line.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{
    Check, ClusterState, Effect, Endpoint, Expected, Finding, HostName, Plan, Problem, ProblemKind, Review,
    Step,
};
use crate::preflight::Survey;
use crate::products::{Answers, Gate, Member, typed};
use crate::raft::{RaftState, lost_quorum, tolerance};
use crate::roles::WantedHost;

/// How well everything is at one moment.
#[derive(Clone, Debug)]
pub struct Health {
    pub clusters: Vec<ClusterHealth>,
    pub survey: Survey,
}

/// The members of one gate, such as all Consul servers.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterHealth {
    /// The gate's name.
    pub name: &'static str,
    pub stands: bool,
    /// `3 of 3 voters, leader node-2`, or what is in the way.
    pub detail: String,
    /// How many voters may fail before quorum is lost, as the product counts; `None` of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_tolerance: Option<usize>,
    pub members: Vec<MemberHealth>,
}

/// One member, as its own agent tells it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberHealth {
    pub host: HostName,
    pub answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(flatten)]
    pub standing: Option<RaftState>,
}

/// What the members of one gate said.
pub struct ClusterView<'a> {
    pub gate: Gate,
    pub expected: &'a Expected,
    pub answers: &'a Answers,
    /// Ways between its servers that are closed.
    pub cuts: &'a [Problem],
    pub cluster_state: &'a ClusterState,
    /// Whom one member takes for alive, and which member was asked.
    pub roster: Option<(HostName, Vec<Member>)>,
}

/// How a cluster is, and what is wrong with it.
pub fn of_cluster(cluster: &ClusterView<'_>, hosts: &[WantedHost]) -> (ClusterHealth, Vec<Finding>) {
    let ClusterView { gate, expected, answers, cluster_state, .. } = cluster;
    let review = gate.review(expected, answers).and(cluster.cuts);
    let member = |host: &HostName| {
        let answer = answers.get(host);
        MemberHealth {
            host: host.clone(),
            answers: answer.is_some_and(Result::is_ok),
            version: answer.and_then(|answer| gate.version(answer)),
            standing: answer.and_then(|answer| gate.raft()?.standing(answer)),
        }
    };
    let members: Vec<MemberHealth> = expected.members.keys().map(member).collect();
    let lost = lost_quorum(expected, &gate.views(answers));
    // Without quorum every server has much to complain about, and all of it comes from that.
    let mut findings = match &lost {
        Some(reason) => vec![no_quorum(*gate, reason)],
        None => problems(*gate, &review, hosts),
    };
    findings.extend(versions(*gate, &members, hosts));
    findings.extend(gone(cluster, hosts));
    if gate.has_raft() && expected.missing > 0 && cluster_state.leader.is_some() {
        let lost = tolerance(expected.members.len()).saturating_sub(cluster_state.failure_tolerance);
        let left = cluster_state.failure_tolerance;
        findings.push(Finding::warning(
            Check::Agent,
            Vec::new(),
            format!("{}: {left} more may fail, {lost} fewer than with all servers", gate.name()),
            "bring the missing servers back, or `bootstrap replace-node`".to_owned(),
        ));
    }
    let cluster = ClusterHealth {
        name: gate.name(),
        stands: review.stands(),
        detail: match (lost, review.problems.first()) {
            (Some(reason), _) => reason,
            (None, Some(first)) if !review.stands() => first.to_string(),
            (None, _) => format!("{}{}", review.detail, rolling(&review, expected)),
        },
        failure_tolerance: gate.has_raft().then_some(cluster_state.failure_tolerance),
        members,
    };
    (cluster, findings)
}

fn no_quorum(gate: Gate, reason: &str) -> Finding {
    let remedy = "bring servers back, or start their agents; if they are lost for good, `bootstrap recover`";
    Finding::error(Check::Agent, Vec::new(), format!("{}: {reason}", gate.name()), remedy.to_owned())
}

/// How far a change of version has come, where it is on its way.
fn rolling(review: &Review, expected: &Expected) -> String {
    let all = expected.asked.len();
    match expected.versions.values().max() {
        Some(wanted) if !review.problems.is_empty() => {
            format!("; rolling: {} of {all} at {wanted}", all - review.problems.len())
        }
        _ => String::new(),
    }
}

/// The same problem of several members is one finding.
fn problems(gate: Gate, review: &Review, hosts: &[WantedHost]) -> Vec<Finding> {
    let endpoint = hosts.iter().find_map(|host| host.endpoint(gate.name()));
    let mut found: Vec<(&Problem, Finding)> = Vec::new();
    // Versions have a warning of their own.
    for problem in review.problems.iter().filter(|problem| problem.kind != ProblemKind::Behind) {
        match found.iter_mut().find(|(known, _)| known.reason == problem.reason) {
            Some((_, finding)) => {
                finding.hosts.extend(problem.about.clone());
                finding.hosts.sort();
                finding.hosts.dedup();
            }
            None => {
                let reason = format!("{}: {}", gate.name(), problem.reason);
                let hosts = problem.about.iter().cloned().collect();
                found.push((
                    problem,
                    Finding::error(Check::Agent, hosts, reason, remedy(gate, endpoint, problem)),
                ));
            }
        }
    }
    found.into_iter().map(|(_, finding)| finding).collect()
}

fn remedy(gate: Gate, endpoint: Option<&Endpoint>, problem: &Problem) -> String {
    let unit = endpoint.map(|endpoint| endpoint.unit.as_str()).unwrap_or_default();
    match (problem.kind, gate.raft()) {
        (ProblemKind::Silent, _) => {
            format!(
                "`systemctl status {unit}`, `journalctl -u {unit} -e` on it; `bootstrap up` starts what is stopped"
            )
        }
        (ProblemKind::Refused, _) => "let whoever asks without a token read of agents, nodes and the operator's API; or take back what \
             denies it, or the proxy before it"
            .to_owned(),
        (ProblemKind::Split, Some(raft)) => format!(
            "split brain: stop clients from writing, restart nothing; `{}` on each server tells which side has the majority",
            typed(&raft.stale_command(), endpoint).replace("INVENTORY", "INVENTORY HOST")
        ),
        (ProblemKind::Cut, _) => {
            "open that port on the way between them, in that direction; `bootstrap check --connect` tries all ports"
                .to_owned()
        }
        (_, Some(raft)) => format!(
            "`{}` and `journalctl -u {unit} -e` on it, and the network between servers",
            typed(raft.members_command(), endpoint)
        ),
        (_, None) => format!("`journalctl -u {unit} -e` on it, and the network to the servers"),
    }
}

/// Agents of another version than the inventory asks for.
fn versions(gate: Gate, members: &[MemberHealth], hosts: &[WantedHost]) -> Vec<Finding> {
    let mut found: BTreeMap<(String, String), Vec<HostName>> = BTreeMap::new();
    for member in members {
        let host = hosts.iter().find(|wanted| wanted.host.name == member.host);
        let wanted = host.and_then(|wanted| wanted.endpoint(gate.name())?.version.as_deref());
        if let (Some(runs), Some(wanted)) = (&member.version, wanted)
            && runs.trim_start_matches('v') != wanted
        {
            found.entry((runs.clone(), wanted.to_owned())).or_default().push(member.host.clone());
        }
    }
    let finding = |((runs, wanted), hosts): ((String, String), Vec<HostName>)| {
        let reason = format!("{} {runs} runs, the inventory says {wanted}", gate.product().name());
        Finding::warning(
            Check::Agent,
            hosts,
            reason,
            "`bootstrap up` rolls it out, one server at a time".to_owned(),
        )
    };
    found.into_iter().map(finding).collect()
}

/// Members that the cluster takes for gone, be they in the inventory or not.
fn gone(cluster: &ClusterView<'_>, hosts: &[WantedHost]) -> Vec<Finding> {
    let Some((asked, members)) = &cluster.roster else { return Vec::new() };
    let product = cluster.gate.product().name();
    // A host that does not answer has an error of its own.
    let is_missed = |host: &HostName| !cluster.expected.asked.contains(host);
    let known = |member: &Member| {
        cluster.expected.members.iter().find(|(_, ip)| Some(**ip) == member.address).map(|(host, _)| host)
    };
    // An agent of another part, of which that part tells.
    let is_of_others = |member: &Member| {
        let name = member.name.split('.').next();
        hosts.iter().any(|host| Some(host.host.name.as_str()) == name)
    };
    let forget = |member: &Member| cluster.gate.forget_command(&member.name);
    // Who left, and is in no inventory any more, is where it should be: gossip remembers it for some days.
    let is_found = |member: &Member| match known(member) {
        Some(host) => !is_missed(host),
        // A peer that no inventory names has an error of its own.
        None => member.status != "left" && !is_of_others(member) && forget(member).is_some(),
    };
    let gone = members.iter().filter(|member| member.status != "alive" && is_found(member));
    let finding = |member: &Member| {
        let at = member.address.map_or(String::new(), |address| format!(" ({address})"));
        let known = known(member);
        let (source, name, status) = (cluster.gate.roster().source(), &member.name, &member.status);
        let reason = format!("{product}: {source} of {asked} has `{name}`{at} as {status}");
        let remedy = match (known, forget(member)) {
            (None, Some(forget)) => {
                let endpoint = hosts.iter().find_map(|host| host.endpoint(cluster.gate.name()));
                let forget = typed(&forget, endpoint);
                format!("if it is gone for good: `{forget}`")
            }
            _ => {
                "start its agent, or take the host out of the cluster with `bootstrap remove-node`".to_owned()
            }
        };
        Finding::warning(Check::Agent, known.into_iter().cloned().collect(), reason, remedy)
    };
    gone.map(finding).collect()
}

/// Units that do not run, and how much else is not as the inventory says.
pub fn of_plan(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut drift: BTreeMap<&HostName, Vec<&Step>> = BTreeMap::new();
    for (host, step) in plan.steps() {
        match step.id.0.strip_prefix("unit ") {
            Some(unit) if step.change.effect == Effect::Start => {
                let remedy = format!(
                    "`systemctl status {unit}`, `journalctl -u {unit} -e` on it; `bootstrap up` starts it"
                );
                let reason = format!("{unit}: {}", step.change.reason);
                findings.push(Finding::error(Check::Units, vec![host.clone()], reason, remedy));
            }
            _ => drift.entry(host).or_default().push(step),
        }
    }
    for (host, steps) in drift {
        let first = steps.iter().take(2).map(|step| format!("{} ({})", step.id, step.change.reason));
        let more = match steps.len() {
            0..=2 => String::new(),
            number => format!(" and {} more", number - 2),
        };
        let differs = if steps.len() == 1 {
            "1 thing differs".to_owned()
        } else {
            format!("{} things differ", steps.len())
        };
        let reason = format!("{differs}: {}{more}", first.collect::<Vec<_>>().join(", "));
        let remedy = format!("`bootstrap plan --limit {host}` shows it, `bootstrap up` mends it");
        findings.push(Finding::warning(Check::Drift, vec![host.clone()], reason, remedy));
    }
    findings
}

/// Certificates that end before long, in days: `up` makes them anew weeks before, so nobody has run it.
const SOON: i64 = 45;
const AT_ONCE: i64 = 14;

/// Certificates, by how many days each is still good for.
pub fn of_certificates(left: Vec<(HostName, String, i64)>) -> Vec<Finding> {
    let mut found: BTreeMap<(i64, String), Vec<HostName>> = BTreeMap::new();
    for (host, path, days) in left.into_iter().filter(|(_, _, days)| *days < SOON) {
        found.entry((days, path)).or_default().push(host);
    }
    let finding = |((days, path), hosts): ((i64, String), Vec<HostName>)| {
        let reason = match days {
            ..0 => format!("the certificate {path} has expired"),
            0 => format!("the certificate {path} expires within a day"),
            1 => format!("the certificate {path} expires tomorrow"),
            _ => format!("the certificate {path} expires in {days} days"),
        };
        let kind = if days < AT_ONCE { Finding::error } else { Finding::warning };
        let remedy = "`bootstrap certs renew` or `bootstrap up` makes it anew; or mend the host's clock";
        kind(Check::Certificates, hosts, reason, remedy.to_owned())
    };
    found.into_iter().map(finding).collect()
}

/// Real uses that do not work.
pub fn of_uses(wrong: Vec<(HostName, String)>) -> Vec<Finding> {
    let mut found: BTreeMap<String, Vec<HostName>> = BTreeMap::new();
    for (host, reason) in wrong {
        found.entry(reason).or_default().push(host);
    }
    let finding = |(reason, hosts)| {
        let remedy = "`bootstrap up` sets the role up again and says what stands in the way".to_owned();
        Finding::error(Check::Uses, hosts, reason, remedy)
    };
    found.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gossip_tells_of_those_that_are_gone_and_not_of_those_that_left() {
        let server = HostName::parse("a").unwrap();
        let expected = Expected {
            members: [(server.clone(), [10, 0, 0, 1].into())].into(),
            asked: [server.clone()].into(),
            missing: 0,
            versions: BTreeMap::new(),
        };
        let told = |name: &str, last: u8, status: &str| {
            let member = Member {
                name: name.to_owned(),
                address: Some([10, 0, 0, last].into()),
                status: status.to_owned(),
            };
            let view = ClusterView {
                gate: crate::products::consul::SERVERS,
                expected: &expected,
                answers: &Answers::new(),
                cuts: &[],
                cluster_state: &ClusterState::default(),
                roster: Some((server.clone(), vec![member])),
            };
            gone(&view, &[]).into_iter().map(|finding| finding.remedy).collect::<Vec<_>>()
        };
        assert_eq!(told("a", 1, "alive"), Vec::<String>::new());
        assert!(told("a", 1, "left")[0].starts_with("start its agent"));
        assert_eq!(told("z", 9, "failed"), ["if it is gone for good: `consul force-leave z`"]);
        // The way out leads here.
        assert_eq!(told("z", 9, "left"), Vec::<String>::new());
    }

    #[test]
    fn certificates_that_end_are_told_in_time() {
        let host = |name: &str| HostName::parse(name).unwrap();
        let left = [("a", 3), ("b", 3), ("c", -1), ("d", 44), ("e", 45), ("f", 0)];
        let left = left.map(|(name, days)| (host(name), "/x.pem".to_owned(), days));
        let told: Vec<(bool, usize, String)> = of_certificates(left.to_vec())
            .into_iter()
            .map(|finding| (finding.is_error(), finding.hosts.len(), finding.reason))
            .collect();
        let says = |text: &str| format!("the certificate /x.pem {text}");
        assert_eq!(
            told,
            [
                (true, 1, says("has expired")),
                (true, 1, says("expires within a day")),
                (true, 2, says("expires in 3 days")),
                (false, 1, says("expires in 44 days")),
            ]
        );
    }

    #[test]
    fn a_change_of_version_on_its_way_is_told_and_no_error() {
        let hosts: Vec<HostName> =
            (1..=5).map(|host| HostName::parse(format!("node-{host}")).unwrap()).collect();
        let expected = Expected {
            members: hosts.iter().map(|host| (host.clone(), [10, 0, 0, 1].into())).collect(),
            asked: hosts.iter().cloned().collect(),
            missing: 0,
            versions: hosts.iter().map(|host| (host.clone(), "1.34.4".to_owned())).collect(),
        };
        let behind = |host: &HostName| Problem {
            host: Some(host.clone()),
            about: Some(host.clone()),
            kind: ProblemKind::Behind,
            reason: "its kubelet is v1.34.3, wanted v1.34.4".to_owned(),
        };
        let review = Review {
            detail: "3 of 3 voters".to_owned(),
            problems: hosts.iter().skip(2).map(behind).collect(),
        };
        assert_eq!(rolling(&review, &expected), "; rolling: 2 of 5 at 1.34.4");
        assert!(review.stands());
        assert_eq!(problems(crate::products::kubernetes::CONTROL_PLANES, &review, &[]), Vec::new());
        // All of them are there, or nobody was told which version it has to be.
        assert_eq!(rolling(&Review { problems: Vec::new(), ..review.clone() }, &expected), "");
        assert_eq!(rolling(&review, &Expected { versions: BTreeMap::new(), ..expected }), "");
    }
}
