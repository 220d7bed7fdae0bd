//! Members that stand each for itself.

use super::{Answers, Responses};
use crate::model::{Complaint, ComplaintKind, Expected, HostName, Review};

impl Review {
    /// Every asked member by itself, and how many of them have nothing against them.
    pub(super) fn count(
        expected: &Expected,
        answers: &Answers,
        what: &str,
        judge: impl Fn(&HostName, &Responses) -> Result<(), String>,
    ) -> Self {
        Self::of_each(expected, answers, what, |host, said| {
            judge(host, said).err().map(|reason| Complaint::of(host, reason))
        })
    }

    /// The same, where one complaint may be graver than another: of an answer `judge` says what is wrong with it and how.
    pub(super) fn of_each(
        expected: &Expected,
        answers: &Answers,
        what: &str,
        judge: impl Fn(&HostName, &Responses) -> Option<Complaint>,
    ) -> Self {
        let complaint = |host: &HostName| match answers.get(host) {
            None => Some(Complaint::silent(host, "was not asked".to_owned())),
            Some(Err(reason)) => Some(Complaint::silent(host, reason.clone())),
            Some(Ok(said)) => judge(host, said),
        };
        let complaints: Vec<Complaint> = expected.asked.iter().filter_map(complaint).collect();
        let ill = complaints.iter().filter(|complaint| complaint.kind != ComplaintKind::Behind).count();
        let (met, all) = (expected.asked.len() - ill, expected.asked.len());
        Self { detail: format!("{met} of {all} {what}"), complaints }
    }
}
