//! Clocks that differ: leases, certificates and logs go by them.

use crate::facts::ClockOffset;
use crate::model::{Check, Finding, HostName};

/// Beyond these, in milliseconds from the median, what is measured of the round trip taken off.
const FAILS: i64 = 5000;
const WARNS: i64 = 1000;

pub(super) fn judge(clocks: &[(HostName, ClockOffset)]) -> Vec<Finding> {
    let mut sorted: Vec<i64> = clocks.iter().map(|(_, clock)| clock.ms).collect();
    if sorted.len() < 2 {
        return Vec::new();
    }
    if sorted.len().is_multiple_of(2) {
        // Of two clocks nobody can tell which is wrong; the operator's own is one more.
        sorted.push(0);
    }
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2];
    clocks.iter().filter_map(|(host, clock)| one(host, *clock, median)).collect()
}

fn one(host: &HostName, clock: ClockOffset, median: i64) -> Option<Finding> {
    let skew = clock.ms - median;
    let least = skew.abs() - clock.error_ms;
    if least <= WARNS {
        return None;
    }
    let reason = format!(
        "its clock is {} {} the median of all hosts (± {})",
        seconds(skew.abs()),
        if skew > 0 { "ahead of" } else { "behind" },
        seconds(clock.error_ms)
    );
    let remedy =
        "let something keep its time: `timedatectl set-ntp true` (package systemd-timesyncd or chrony)";
    let finding = if least > FAILS { Finding::error } else { Finding::warning };
    Some(finding(Check::Clock, vec![host.clone()], reason, remedy.to_owned()))
}

fn seconds(ms: i64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(clocks: &[(i64, i64)]) -> Vec<String> {
        let clocks: Vec<_> = clocks
            .iter()
            .zip(1..)
            .map(|((ms, error_ms), number)| {
                let host = HostName::parse(format!("n{number}")).unwrap();
                (host, ClockOffset { ms: *ms, error_ms: *error_ms })
            })
            .collect();
        let tell = |finding: Finding| {
            let clock = finding.reason.split(" the median").next().unwrap_or_default().to_owned();
            format!("{:?} {} {clock}", finding.severity, finding.hosts[0])
        };
        judge(&clocks).into_iter().map(tell).collect()
    }

    #[test]
    fn skew_from_the_median() {
        for (clocks, found) in [
            (vec![(0, 10), (0, 10), (0, 10)], vec![]),
            // The operator's clock does not matter: all hosts agree.
            (vec![(9000, 10), (9010, 10), (9005, 10)], vec![]),
            (vec![(0, 10), (1010, 10), (0, 10)], vec![]),
            (vec![(0, 10), (1011, 10), (0, 10)], vec!["Warning n2 its clock is 1.01 s ahead of"]),
            (vec![(0, 10), (5010, 10), (0, 10)], vec!["Warning n2 its clock is 5.01 s ahead of"]),
            (vec![(0, 10), (5011, 10), (0, 10)], vec!["Error n2 its clock is 5.01 s ahead of"]),
            (vec![(-7_200_000, 10), (0, 10), (0, 10)], vec!["Error n1 its clock is 7200.00 s behind"]),
            // A slow link says less.
            (vec![(0, 10), (5500, 600), (0, 10)], vec!["Warning n2 its clock is 5.50 s ahead of"]),
            (vec![(0, 10), (1500, 600), (0, 10)], vec![]),
            // Of two, the one that differs from ours.
            (vec![(0, 10), (60_000, 10)], vec!["Error n2 its clock is 60.00 s ahead of"]),
            // One host alone has nothing to differ from.
            (vec![(60_000, 10)], vec![]),
            (vec![], vec![]),
        ] {
            assert_eq!(judged(&clocks), found, "{clocks:?}");
        }
    }
}
