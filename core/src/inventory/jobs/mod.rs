//! The entries of `jobs` -> jobs: their files read, their variables filled in, every mistake noted.

mod fill;
mod ready;

use std::path::Path;

use serde_json::{Map, Value};

use super::draft::{Draft, DraftJob};
use super::model::{Body, Job};
use super::reader::{list, nearest};
use crate::model::Diagnostic;
use fill::{FillError, fill};
use ready::{READY, ready};

/// Every job of a draft that could be made.
pub fn read(draft: &Draft, problems: &mut Vec<Diagnostic>) -> Vec<Job> {
    let folder = draft.document.file.parent().unwrap_or(Path::new(""));
    draft.jobs.iter().filter_map(|job| one(draft, job, folder, problems)).collect()
}

fn one(draft: &Draft, job: &DraftJob, folder: &Path, problems: &mut Vec<Diagnostic>) -> Option<Job> {
    let source = &job.source.value;
    let mut fail = |problem: Diagnostic| {
        problems.push(problem);
        None
    };
    let error = |message: String| draft.document.error(job.source.span, message);
    let text = if job.is_file {
        let path = folder.join(source);
        match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(reason) => {
                return fail(
                    error(format!("the job file `{source}` cannot be read: {reason}"))
                        .label("no job to read")
                        .help("the path is relative to the inventory's folder"),
                );
            }
        }
    } else {
        match ready(source) {
            Some(text) => text.to_owned(),
            None => {
                let names: Vec<&str> = READY.iter().map(|(name, _)| *name).collect();
                let help = match nearest(source, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the ready ones are {}; your own are named by `file`", list(&names)),
                };
                return fail(error(format!("there is no ready job `{source}`")).label("unknown").help(help));
            }
        }
    };
    let variables = match job.variables.as_ref().map(super::node::Node::to_json) {
        Some(Value::Object(variables)) => variables,
        _ => Map::new(),
    };
    let body = if job.is_file && source.ends_with(".json") {
        if let Some(node) = job.variables.as_ref().filter(|_| !variables.is_empty()) {
            return fail(
                draft
                    .document
                    .error(node.span, format!("`{source}` is JSON, which has no variables"))
                    .help("write the values into the file, or the job in HCL"),
            );
        }
        match serde_json::from_str::<Value>(&text) {
            // As `nomad job inspect` prints it, or only what is in it.
            Ok(Value::Object(mut fields)) => {
                Body::Json(fields.remove("Job").unwrap_or(Value::Object(fields)))
            }
            Ok(_) => return fail(error(format!("`{source}` has no job: it is no object"))),
            Err(reason) => return fail(error(format!("`{source}` is no JSON: {reason}"))),
        }
    } else {
        match fill(&text, &variables) {
            Ok(text) => Body::Hcl(text),
            Err(errors) => {
                problems.extend(errors.iter().map(|reason| unfilled(draft, job, reason)));
                return None;
            }
        }
    };
    Some(Job { source: source.clone(), body })
}

fn unfilled(draft: &Draft, job: &DraftJob, reason: &FillError) -> Diagnostic {
    let source = &job.source.value;
    let (name, help) = match reason {
        FillError::NoHcl { .. } => (None, None),
        FillError::Undeclared { name, declared } => {
            let near = nearest(name, declared.iter().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if declared.is_empty() => "the file has no `variable` block".to_owned(),
                None => {
                    format!("it declares {}", list(&declared.iter().map(String::as_str).collect::<Vec<_>>()))
                }
            };
            (Some(name), Some(help))
        }
        FillError::Value { name, .. } => (Some(name), None),
    };
    let entries = job.variables.iter().flat_map(|node| node.entries());
    let key = entries.into_iter().find(|entry| Some(&entry.key.value) == name).map(|entry| entry.key.span);
    let problem =
        draft.document.error(key.unwrap_or(job.source.span), format!("the job file `{source}`: {reason}"));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}
