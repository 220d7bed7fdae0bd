//! The steps of one host in one script.

use std::time::Instant;

use super::failure::PutBack;
use super::{HostFailure, Run, elapsed_ms};
use crate::model::{Event, HostName, Keep, StageName, Step, StepOutcome};
use crate::script::{Nonce, Record, Script};
use crate::ssh::Connection;

/// One apply script on one host: how many steps it did.
pub(crate) async fn run(
    connection: &Connection,
    host: &HostName,
    stage: &StageName,
    steps: &[Step],
    keep: Option<Keep>,
    run: Run<'_>,
) -> Result<usize, HostFailure> {
    let script = Script::keeping(keep, &Nonce::random(), &run.options.holder, steps);
    let mut began = Instant::now();
    let mut failed = None;
    let mut in_hand = None;
    let outcome = connection
        .run(&script, run.options.script_timeout, |record| match record {
            Record::Begin { id } => {
                began = Instant::now();
                if let Some(step) = steps.iter().find(|step| step.id.0 == *id) {
                    in_hand = Some(&step.id);
                    run.events.send(Event::StepStarted {
                        host: host.clone(),
                        stage: stage.clone(),
                        step: step.id.clone(),
                    });
                }
            }
            Record::End { id, status, output } => {
                let Some(step) = steps.iter().find(|step| step.id.0 == *id) else { return };
                in_hand = None;
                let outcome = if *status == 0 {
                    StepOutcome::Changed
                } else {
                    failed = Some(HostFailure::Step {
                        stage: stage.clone(),
                        step: step.id.clone(),
                        status: *status,
                        put_back: PutBack::Nothing,
                    });
                    StepOutcome::Failed { output: output.clone() }
                };
                run.events.send(Event::StepFinished {
                    host: host.clone(),
                    stage: stage.clone(),
                    step: step.id.clone(),
                    outcome,
                    elapsed_ms: elapsed_ms(began),
                });
            }
            Record::Seen { .. } | Record::LockHeld { .. } | Record::Finished => {}
        })
        .await;
    let records = outcome.map_err(|source| {
        let step = in_hand.map(|step| format!(", step `{step}`")).unwrap_or_default();
        HostFailure::Link { doing: format!("in stage {stage}{step}"), source }
    })?;
    for record in records {
        if let Record::LockHeld { holder } = record {
            return Err(HostFailure::Locked { holder });
        }
    }
    failed.map_or(Ok(steps.len()), Err)
}
