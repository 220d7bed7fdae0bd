//! Plan -> the text `bootstrap plan` prints: stage by stage, hosts with the same changes together.

use std::collections::BTreeMap;

use similar::{ChangeTag, TextDiff};

use super::summary::nothing_to_do;
use super::text::{Paint, and_others, count, count_of, names, natural_key, printable};
use crate::model::{Action, Batch, HostName, JobPlan, Plan, Stage, Step};

/// A new file is shown to its 20th line: that is enough to know it again.
const NEW_FILE_LINES: usize = 20;

/// So many tokens that are alike are shown by name.
const ALIKE: usize = 8;

/// How to show a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanTextOptions {
    pub color: bool,
    /// New files in full.
    pub verbose: bool,
    /// How many hosts were looked at, for `Nothing to do`.
    pub hosts_total: usize,
}

/// How much is left to be done, and where: `pending on node-1, node-2: 2 files, 1 unit`.
pub fn pending(plan: &Plan) -> Vec<String> {
    let mut kinds: BTreeMap<&HostName, BTreeMap<&str, usize>> = BTreeMap::new();
    for (host, step) in plan.steps() {
        let kind = step.id.0.split(' ').next().unwrap_or_default();
        *kinds.entry(host).or_default().entry(kind).or_default() += 1;
    }
    let mut shared: Vec<(String, Vec<&str>)> = Vec::new();
    for (host, kinds) in kinds {
        let what: Vec<String> = kinds.into_iter().map(|(kind, number)| count_of(kind, number)).collect();
        let what = what.join(", ");
        match shared.iter_mut().find(|(known, _)| *known == what) {
            Some((_, hosts)) => hosts.push(host.as_str()),
            None => shared.push((what, vec![host.as_str()])),
        }
    }
    let of_hosts = shared.into_iter().map(|(what, hosts)| format!("pending on {}: {what}", names(hosts)));
    let jobs = plan.changed_jobs().count();
    of_hosts.chain((jobs > 0).then(|| format!("pending: {}", count(jobs, "job")))).collect()
}

/// The plan for people. Ends with a line break.
pub fn plan_text(plan: &Plan, options: &PlanTextOptions) -> String {
    let paint = Paint(options.color);
    if plan.is_empty() {
        return nothing_to_do(options.hosts_total) + "\n";
    }
    let mut lines = Vec::new();
    for stage in &plan.stages {
        lines.extend(stage_lines(stage, paint, options.verbose));
    }
    lines.extend(access_lines(plan, paint));
    lines.extend(job_lines(plan, paint));
    let hosts = plan.steps_by_host();
    let (changes, hosts) = (count(hosts.values().sum(), "change"), count(hosts.len(), "host"));
    let others = and_others(plan.changed_tokens(), plan.changed_jobs().count());
    lines.push(paint.bold(&format!("Plan: {changes} on {hosts}{others}; nothing is changed until 'up'")));
    lines.join("\n") + "\n"
}

fn stage_lines(stage: &Stage, paint: Paint, verbose: bool) -> Vec<String> {
    let batches: Vec<&Batch> = stage.batches.iter().filter(|batch| !batch.steps.is_empty()).collect();
    let Some(last) = batches.len().checked_sub(1) else { return Vec::new() };
    let mut title = paint.bold(&stage.name.0);
    if let Some(gate) = &stage.gate {
        let when = if last == 0 { "then" } else { "after each batch" };
        title += &paint.dim(&format!(", {when} the gate {gate}"));
    }
    let mut lines = vec![title];
    for (index, batch) in batches.iter().enumerate() {
        if last > 0 {
            lines.push(format!("  batch {} of {}", index + 1, last + 1));
        }
        let indent = if last > 0 { "    " } else { "  " };
        lines.extend(batch_lines(batch, indent, paint, verbose));
    }
    lines.push(String::new());
    lines
}

/// Tokens and rights that are not as wanted.
fn access_lines(plan: &Plan, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    for access in &plan.access {
        lines.push(paint.bold("tokens") + &paint.dim(&format!(", by {}", access.gate)));
        // One of many hosts has some of each kind.
        let mut alike: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for (what, why) in &access.changes {
            let (kind, _) = what.split_once('`').unwrap_or((what, ""));
            match alike.iter_mut().find(|(known, reason, _)| *known == kind && reason == why) {
                Some((_, _, all)) => all.push(what),
                None => alike.push((kind, why, vec![what])),
            }
        }
        for (_, why, all) in alike {
            let more = all.len().saturating_sub(ALIKE);
            lines.extend(all.iter().take(ALIKE).map(|what| format!("  {}: {why}", printable(what))));
            lines.extend((more > 0).then(|| format!("  and {more} more: {why}")));
        }
        lines.push(String::new());
    }
    lines
}

/// What Nomad says of the jobs that would be submitted.
fn job_lines(plan: &Plan, paint: Paint) -> Vec<String> {
    let changed: Vec<&JobPlan> = plan.changed_jobs().collect();
    if changed.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![paint.bold("jobs")];
    for job in changed {
        lines.push(match job.action {
            Action::Later => format!("  {}: planned and submitted when Nomad stands", job.source),
            _ => format!("  {}:", job.source),
        });
        lines.extend(job.lines.iter().map(|line| format!("    {}", printable(line))));
        lines.extend(job.warnings.iter().map(|line| format!("    warning: {}", printable(line))));
    }
    lines.push(String::new());
    lines
}

/// Hosts with the same step for the same reason share it; runs of steps with the same hosts share a heading.
fn batch_lines(batch: &Batch, indent: &str, paint: Paint, verbose: bool) -> Vec<String> {
    let mut shared: Vec<(&Step, Vec<&str>)> = Vec::new();
    for (host, steps) in &batch.steps {
        let mut after = 0;
        for step in steps {
            match shared
                .iter()
                .position(|(known, hosts)| alike(known, step) && !hosts.contains(&host.as_str()))
            {
                Some(index) => {
                    shared[index].1.push(host.as_str());
                    after = index + 1;
                }
                None => {
                    // Beside the steps it stands between on its host, so that the order stays readable.
                    let place = after.max(
                        shared.iter().rposition(|(known, _)| known.id == step.id).map_or(after, |i| i + 1),
                    );
                    shared.insert(place.min(shared.len()), (step, vec![host.as_str()]));
                    after = place + 1;
                }
            }
        }
    }
    for (_, hosts) in &mut shared {
        hosts.sort_by_key(|host| natural_key(host));
    }
    let mut lines = Vec::new();
    let mut heading: Option<&[&str]> = None;
    for (index, (step, hosts)) in shared.iter().enumerate() {
        if heading != Some(hosts) {
            lines.push(format!("{indent}{}:", names(hosts.iter().copied())));
            heading = Some(hosts);
        }
        let model = shared[..index].iter().find(|(known, _)| known.id == step.id && is_new(known));
        let likeness =
            model.filter(|_| !verbose && is_new(step)).and_then(|(known, on)| likeness(known, on[0], step));
        lines.extend(step_lines(step, likeness, indent, paint, verbose));
    }
    lines
}

fn alike(one: &Step, other: &Step) -> bool {
    one.id == other.id && one.change.reason == other.change.reason && one.change.diff == other.change.diff
}

fn is_new(step: &Step) -> bool {
    step.change.reason == "absent"
}

/// A new file that is nearly the same as on another host: which, and the lines that are not.
struct SimilarFile {
    host: String,
    lines: Vec<String>,
}

/// None when the files have too little in common, or this one lacks lines of the other.
fn likeness(model: &Step, host: &str, step: &Step) -> Option<SimilarFile> {
    let (old, new) = (model.change.diff.as_deref()?, step.change.diff.as_deref()?);
    let diff = TextDiff::from_lines(old, new);
    let changed = |tag| diff.iter_all_changes().filter(move |change| change.tag() == tag);
    let lines: Vec<String> =
        changed(ChangeTag::Insert).map(|line| line.value().trim_end().to_owned()).collect();
    let common = changed(ChangeTag::Equal).count();
    let near = changed(ChangeTag::Delete).count() <= lines.len()
        && lines.len() <= common / 2
        && lines.len() < NEW_FILE_LINES;
    near.then(|| SimilarFile { host: host.to_owned(), lines })
}

fn step_lines(
    step: &Step,
    likeness: Option<SimilarFile>,
    indent: &str,
    paint: Paint,
    verbose: bool,
) -> Vec<String> {
    let new = is_new(step);
    let sign = match step.id.0.split(' ').next() {
        _ if new => paint.green("+"),
        Some("remove") => paint.red("-"),
        // Of a removed role: nothing is done to it.
        Some("leave") => "=".to_owned(),
        _ => paint.yellow("~"),
    };
    let reason = printable(&step.change.reason);
    let reason = match &likeness {
        Some(like) => format!("({reason}; as on {} except:)", like.host),
        None => format!("({reason})"),
    };
    let mut lines = vec![format!("{indent}  {sign} {} {}", printable(&step.id.0), paint.dim(&reason))];
    let body: Vec<&str> = match (&likeness, &step.change.diff) {
        (Some(like), _) => like.lines.iter().map(String::as_str).collect(),
        // The step's name says which file it is, and all of a new one is added.
        (None, Some(diff)) => diff
            .lines()
            .skip_while(|line| {
                line.starts_with("--- ") || line.starts_with("+++ ") || new && line.starts_with("@@")
            })
            .collect(),
        (None, None) => return lines,
    };
    let shown = if new && !verbose && body.len() > NEW_FILE_LINES { NEW_FILE_LINES } else { body.len() };
    lines.extend(
        body[..shown]
            .iter()
            .map(|line| format!("{indent}      {}", diff_line(line, paint)).trim_end().to_owned()),
    );
    if shown < body.len() {
        let more = format!("… {} (-v shows all)", count(body.len() - shown, "more line"));
        lines.push(format!("{indent}      {}", paint.dim(&more)));
    }
    lines
}

fn diff_line(line: &str, paint: Paint) -> String {
    let text = printable(line);
    match line.as_bytes().first() {
        Some(b'+') => paint.green(&text),
        Some(b'-') => paint.red(&text),
        Some(b'@') => paint.cyan(&text),
        _ => text,
    }
}
