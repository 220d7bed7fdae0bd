//! Health -> what a person reads at a glance, and what Nagios and Prometheus read.

use std::fmt::Write as _;

use super::survey_text::survey_table;
use super::text::{Paint, count, fit};
use crate::health::{ClusterHealth, Health};
use crate::model::HostName;
use crate::preflight::Mark;

/// The clusters, a line each, then the table of hosts and checks.
pub fn health_text(health: &Health, width: usize, color: bool) -> String {
    let paint = Paint(color);
    let mut text = String::new();
    let longest = health.clusters.iter().map(|cluster| cluster.name.len()).max().unwrap_or_default();
    for cluster in &health.clusters {
        let word = if cluster.stands { paint.green("ok  ") } else { paint.red("FAIL") };
        let line = format!("{}{}", cluster.detail, tolerated(cluster));
        let room = width.saturating_sub(longest + 8).max(20);
        let line = if line.chars().count() > room { fit(&line, room) } else { line };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:longest$}  {word}  {line}", cluster.name);
    }
    if !health.clusters.is_empty() {
        text.push('\n');
    }
    text + &survey_table(&health.survey, width, color)
}

fn tolerated(cluster: &ClusterHealth) -> String {
    match cluster.failure_tolerance {
        Some(number) if cluster.stands => format!(", {number} may fail"),
        _ => String::new(),
    }
}

/// One line for Nagios and its kin: state, reason, figures.
pub fn nagios(health: &Health, cluster: &str) -> String {
    let survey = &health.survey;
    let (errors, warnings) = (survey.errors().count(), survey.findings.len() - survey.errors().count());
    let word = match (errors, warnings) {
        (0, 0) => "OK",
        (0, _) => "WARNING",
        _ => "CRITICAL",
    };
    let first = survey.findings.first();
    let said = match first {
        None => health.clusters.iter().map(|cluster| cluster.detail.clone()).collect::<Vec<_>>().join("; "),
        Some(finding) => {
            let hosts = finding.hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(",");
            let more = survey.findings.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            format!("{hosts}{}{}{more}", if hosts.is_empty() { "" } else { ": " }, finding.reason)
        }
    };
    // A bar would begin the figures.
    let said = said.replace('|', "/").replace('\n', " ");
    let reached = survey.hosts.len() - survey.silent.len();
    format!(
        "BOOTSTRAP {word} - {cluster}: {}, {said} | hosts={} reached={reached} errors={errors} warnings={warnings}\n",
        count(survey.hosts.len(), "host"),
        survey.hosts.len(),
    )
}

/// Prometheus' text format, version 0.0.4: for a file that the node exporter's textfile collector reads.
pub fn prometheus(health: &Health, cluster: &str) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, samples: Vec<(String, f64)>| {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(text, "# HELP bootstrap_{name} {help}\n# TYPE bootstrap_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "bootstrap_{name}{{cluster=\"{cluster}\"{labels}}} {value}");
        }
    };
    let flag = |set: bool| if set { 1.0 } else { 0.0 };
    let gates = || health.clusters.iter();
    let gate = |cluster: &ClusterHealth| format!(",gate=\"{}\"", cluster.name);
    metric(
        "gate_met",
        "Whether the members of a cluster are as expected.",
        gates().map(|cluster| (gate(cluster), flag(cluster.stands))).collect(),
    );
    let tolerance = |cluster: &ClusterHealth| {
        Some((gate(cluster), f64::from(u32::try_from(cluster.failure_tolerance?).ok()?)))
    };
    metric(
        "failure_tolerance",
        "Voters that may fail before quorum is lost.",
        gates().filter_map(tolerance).collect(),
    );
    let answers = gates().flat_map(|cluster| {
        let of_member = cluster
            .members
            .iter()
            .map(|member| (format!("{},host=\"{}\"", gate(cluster), member.host), flag(member.answers)));
        of_member.collect::<Vec<_>>()
    });
    metric("agent_answers", "Whether a member's agent answers.", answers.collect());
    let survey = &health.survey;
    let checks = survey.hosts.iter().flat_map(|host| {
        let row = survey.checks.iter().zip(survey.row(host)).filter(|(_, mark)| *mark != Mark::Unknown);
        let sample = |(check, mark): (&crate::model::Check, Mark)| {
            let labels = format!(",host=\"{host}\",check=\"{}\"", check.heading());
            (labels, flag(mark != Mark::Error))
        };
        row.map(sample).collect::<Vec<_>>()
    });
    metric(
        "check_ok",
        "Whether a check of a host found no error; absent when it could not be looked at.",
        checks.collect(),
    );
    let seconds = jiff::Timestamp::now().as_second();
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
    metric("health_timestamp_seconds", "When this was seen.", vec![(String::new(), seconds as f64)]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Check, Finding};
    use crate::preflight::Survey;

    fn health(findings: Vec<Finding>) -> Health {
        let host = |name: &str| HostName::parse(name).unwrap();
        let stands = findings.is_empty();
        Health {
            clusters: vec![ClusterHealth {
                name: "consul-servers",
                stands,
                detail: if stands { "3 of 3 voters, leader n2" } else { "n1: its agent does not answer" }
                    .to_owned(),
                failure_tolerance: Some(1),
                members: Vec::new(),
            }],
            survey: Survey {
                checks: Check::HEALTH,
                hosts: vec![host("n1"), host("n2")],
                findings,
                ..Survey::default()
            },
        }
    }

    fn stopped() -> Vec<Finding> {
        let host = HostName::parse("n1").unwrap();
        let unit = Finding::error(
            Check::Units,
            vec![host.clone()],
            "consul.service: stopped".into(),
            "start it".into(),
        );
        let drift = Finding::warning(Check::Drift, vec![host], "1 thing differs".into(), "mend it".into());
        vec![unit, drift]
    }

    #[test]
    fn a_person_sees_it_at_a_glance() {
        insta::assert_snapshot!(health_text(&health(Vec::new()), 80, false), @r"
        consul-servers  ok    3 of 3 voters, leader n2, 1 may fail

        host ssh  root os   addr clock disk data units agent certs uses drift
        n1   ok   ok   ok   ok   ok    ok   ok   ok    ok    ok    ok   ok
        n2   ok   ok   ok   ok   ok    ok   ok   ok    ok    ok    ok   ok
        ");
        insta::assert_snapshot!(health_text(&health(stopped()), 80, false), @r"
        consul-servers  FAIL  n1: its agent does not answer

        host ssh  root os   addr clock disk data units agent certs uses drift
        n1   ok   ok   ok   ok   ok    ok   ok   FAIL  ok    ok    ok   warn
        n2   ok   ok   ok   ok   ok    ok   ok   ok    ok    ok    ok   ok
        ");
    }

    #[test]
    fn machines_read_it_too() {
        insta::assert_snapshot!(nagios(&health(Vec::new()), "dc1"), @"BOOTSTRAP OK - dc1: 2 hosts, 3 of 3 voters, leader n2 | hosts=2 reached=2 errors=0 warnings=0");
        insta::assert_snapshot!(nagios(&health(stopped()), "dc1"), @"BOOTSTRAP CRITICAL - dc1: 2 hosts, n1: consul.service: stopped (and 1 more) | hosts=2 reached=2 errors=1 warnings=1");
        let text = prometheus(&health(stopped()), "dc1");
        for line in [
            "# TYPE bootstrap_gate_met gauge",
            "bootstrap_gate_met{cluster=\"dc1\",gate=\"consul-servers\"} 0",
            "bootstrap_failure_tolerance{cluster=\"dc1\",gate=\"consul-servers\"} 1",
            "bootstrap_check_ok{cluster=\"dc1\",host=\"n1\",check=\"units\"} 0",
            // A warning is no failure.
            "bootstrap_check_ok{cluster=\"dc1\",host=\"n1\",check=\"drift\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "`{line}` is not in\n{text}");
        }
    }
}
