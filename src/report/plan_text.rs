//! Plan -> the text `bootstrap plan` prints: stage by stage, hosts with the same changes together.

use super::summary::nothing_to_do;
use super::text::{Paint, count, names, natural_key, printable};
use crate::plan::{Batch, Plan, Stage, Step};

/// A new file is shown to its 20th line: that is enough to know it again.
const NEW_FILE_LINES: usize = 20;

/// How to show a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanTextOptions {
    pub color: bool,
    /// New files in full.
    pub verbose: bool,
    /// How many hosts were looked at, for `Nothing to do`.
    pub hosts_total: usize,
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
    let hosts = plan.steps_by_host();
    let (changes, hosts) = (count(hosts.values().sum(), "change"), count(hosts.len(), "host"));
    lines.push(paint.bold(&format!("Plan: {changes} on {hosts}; nothing is changed until 'up'")));
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
    for (step, hosts) in &shared {
        if heading != Some(hosts) {
            lines.push(format!("{indent}{}:", names(hosts.iter().copied())));
            heading = Some(hosts);
        }
        lines.extend(step_lines(step, indent, paint, verbose));
    }
    lines
}

fn alike(one: &Step, other: &Step) -> bool {
    one.id == other.id && one.change.reason == other.change.reason && one.change.diff == other.change.diff
}

fn step_lines(step: &Step, indent: &str, paint: Paint, verbose: bool) -> Vec<String> {
    let new = step.change.reason == "absent";
    let sign = if new { paint.green("+") } else { paint.yellow("~") };
    let reason = paint.dim(&format!("({})", printable(&step.change.reason)));
    let mut lines = vec![format!("{indent}  {sign} {} {reason}", printable(&step.id.0))];
    let Some(diff) = &step.change.diff else { return lines };
    // The step's name says which file it is.
    let body: Vec<&str> =
        diff.lines().skip_while(|line| line.starts_with("--- ") || line.starts_with("+++ ")).collect();
    let shown = if new && !verbose && body.len() > NEW_FILE_LINES { NEW_FILE_LINES } else { body.len() };
    for line in &body[..shown] {
        let text = printable(line);
        let text = match line.as_bytes().first() {
            Some(b'+') => paint.green(&text),
            Some(b'-') => paint.red(&text),
            Some(b'@') => paint.cyan(&text),
            _ => text,
        };
        lines.push(format!("{indent}      {text}").trim_end().to_owned());
    }
    if shown < body.len() {
        let more = format!("… {} (-v shows all)", count(body.len() - shown, "more line"));
        lines.push(format!("{indent}      {}", paint.dim(&more)));
    }
    lines
}
