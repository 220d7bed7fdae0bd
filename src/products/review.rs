//! Members that stand each for itself.

use super::{Answers, Response, Responses};
use crate::model::{Expected, HostName, Problem, ProblemKind, Review};

/// Every asked member by itself, and how many of them have nothing against them.
pub(super) fn count(
    expected: &Expected,
    answers: &Answers,
    what: &str,
    judge: impl Fn(&HostName, &Responses) -> Result<(), String>,
) -> Review {
    of_each(expected, answers, what, |host, said| {
        judge(host, said).err().map(|reason| Problem::of(host, reason))
    })
}

/// The same, where one problem may be graver than another: of an answer `judge` says what is wrong with it and how.
pub(super) fn of_each(
    expected: &Expected,
    answers: &Answers,
    what: &str,
    judge: impl Fn(&HostName, &Responses) -> Option<Problem>,
) -> Review {
    let problem = |host: &HostName| match answers.get(host) {
        None => Some(Problem::silent(host, "was not asked".to_owned())),
        Some(Err(reason)) => Some(Problem::silent(host, reason.clone())),
        Some(Ok(said)) => judge(host, said).map(|problem| match problem.kind {
            ProblemKind::Other if said.values().any(Response::is_refused) => {
                Problem { kind: ProblemKind::Refused, ..problem }
            }
            _ => problem,
        }),
    };
    let problems: Vec<Problem> = expected.asked.iter().filter_map(problem).collect();
    let ill = problems.iter().filter(|problem| problem.kind != ProblemKind::Behind).count();
    let (met, all) = (expected.asked.len() - ill, expected.asked.len());
    Review { detail: format!("{met} of {all} {what}"), problems }
}
