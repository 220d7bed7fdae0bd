//! Calls -> the text that a host's shell reads.

use std::fmt;
use std::time::Duration;

use super::ahead::Ahead;
use super::record::encode_id;
use super::{Nonce, prefetch, prelude, validation};
use crate::model::{Arg, Call, Keep, PrefetchOf, Step, StepId};

/// The probe id under which a host's facts are said.
const FACTS: &str = "facts";

/// Files that the facts tell.
const FILES_OF_FACTS: [&str; 4] =
    ["/etc/os-release", "/usr/lib/os-release", "/etc/resolv.conf", "/var/lib/bootstrap/resolver"];

/// Who holds a host's lock: shown to the next one who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// `user@machine pid`.
    pub who: String,
    /// When the run began, RFC 3339.
    pub since: String,
    /// How long the lock stays between two scripts of the run. It is free at once when the connection
    /// ends; this is for a host that does not notice, because this machine died without a word.
    pub between: Duration,
}

/// A whole script. Displayed it is what it does, with secrets redacted and without the prelude.
#[derive(Clone)]
pub struct Script {
    nonce: Nonce,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Probes(Probes),
    Steps(Steps),
}

/// Encoded ids and the calls that answer for them.
#[derive(Clone)]
struct Probes {
    /// Those that come before all others.
    first: Vec<(String, Call)>,
    /// What is asked for all that follow.
    prefetch: Vec<Call>,
    in_turn: Vec<(String, Call)>,
    /// Those that run meanwhile, since they may have to wait.
    beside: Vec<(String, Call)>,
}

/// What an apply script does.
#[derive(Clone)]
struct Steps {
    /// The call that takes the lock.
    lock: Call,
    /// The call that has files kept before they change.
    keep: Option<Call>,
    /// Packages that are installed before their turn.
    ahead: Option<Ahead>,
    /// Encoded ids and the calls of each step.
    steps: Vec<(String, Vec<Call>)>,
}

impl Script {
    /// The clock and `first`; then facts and every probe, with what they ask for together, and at the same time `beside`. Needs no
    /// lock, changes nothing.
    pub fn observe(
        nonce: &Nonce,
        first: &[(StepId, Call)],
        probes: &[(StepId, Call)],
        beside: &[(StepId, Call)],
    ) -> Self {
        let facts =
            Call::new("facts", []).with_prefetch(FILES_OF_FACTS.map(|path| PrefetchOf::Content.named(path)));
        let clock = (FACTS.to_owned(), Call::new("clock_probe", []));
        let first = [clock].into_iter().chain(encoded(first)).collect();
        let in_turn: Vec<_> = [(FACTS.to_owned(), facts)].into_iter().chain(encoded(probes)).collect();
        let prefetch = prefetch::calls(in_turn.iter().map(|(_, call)| call));
        let beside = encoded(beside).collect();
        Self { nonce: nonce.clone(), body: Body::Probes(Probes { first, prefetch, in_turn, beside }) }
    }

    /// Calls for their output alone: each a probe, no facts.
    pub fn ask(nonce: &Nonce, probes: &[(StepId, Call)]) -> Self {
        let probes = Probes {
            first: Vec::new(),
            prefetch: Vec::new(),
            in_turn: encoded(probes).collect(),
            beside: Vec::new(),
        };
        Self { nonce: nonce.clone(), body: Body::Probes(probes) }
    }

    /// Takes the host's lock, runs the steps in order, stops at the first that fails.
    pub fn apply(nonce: &Nonce, holder: &LockHolder, steps: &[Step]) -> Self {
        Self::keeping(None, nonce, holder, steps)
    }

    /// The same, and keeps of each file and link what it was, until the batch has proved itself.
    pub fn keeping(keep: Option<Keep>, nonce: &Nonce, holder: &LockHolder, steps: &[Step]) -> Self {
        let between = holder.between.as_secs().to_string();
        let lock =
            Call::new("take_lock", [&holder.who, &holder.since, &between].map(|text| Arg::lossy(text)));
        let ahead = Ahead::of(steps);
        let steps = steps.iter().map(|step| (encode_id(&step.id.0), step.change.calls.clone())).collect();
        let keep = keep.map(|keep| {
            let of = if keep == Keep::Now { "now" } else { "last-well" };
            Call::new("keep_begin", [Arg::lossy(of)])
        });
        Self { nonce: nonce.clone(), body: Body::Steps(Steps { lock, keep, ahead, steps }) }
    }

    /// The nonce that marks the lines of the reply.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// The text a host's shell reads on its stdin, secrets included.
    ///
    /// `main` runs in a group that the very last bytes close: of a text that was cut short a shell
    /// runs nothing. Its stdin is /dev/null, so that no child swallows what is left of the script.
    pub fn for_host(&self) -> String {
        let body = self.body.text(&self.nonce, Call::for_host);
        prelude::needed_by(&body) + &body + "{ main </dev/null; }\n"
    }
}

impl Body {
    /// The functions of this script, each call written by `show`.
    fn text(&self, nonce: &Nonce, show: impl Fn(&Call) -> String) -> String {
        match self {
            Self::Probes(Probes { first, prefetch, in_turn, beside }) => {
                let lines = |probes: &[(String, Call)]| {
                    let line = |(id, call): &(String, Call)| format!("probe '{id}' {}\n", show(call));
                    probes.iter().map(line).collect::<String>()
                };
                // All in one stream: what the programs of a probe print comes before its end.
                let prefetch: String = prefetch.iter().map(|call| show(call) + "\n").collect();
                let (first, in_turn) = (lines(first), prefetch + &lines(in_turn));
                // What is said meanwhile waits in the pipe: a line that is written in parts stays whole.
                let lines = match lines(beside) {
                    none if none.is_empty() => in_turn,
                    beside => format!("{{\n{beside}}} 2>&1 | {{\n{{\n{in_turn}}} </dev/null\ncat\n}}\n"),
                };
                format!("main() {{\nstart '{nonce}'\n{{\n{first}{lines}}} 2>&1\nfinish_script\n}}\n")
            }
            Self::Steps(Steps { lock, keep, ahead, steps }) => {
                let keep = keep.as_ref().map(|keep| format!(" && {}", show(keep))).unwrap_or_default();
                let validations = validation::together(steps);
                let tried = |number: usize| match validations.get(&number) {
                    Some(call) => format!("validated=$({})\n", show(call)),
                    None => String::new(),
                };
                let begun = |number: usize| match ahead {
                    Some(ahead) if ahead.begin == number => show(&ahead.call()) + "\n",
                    _ => String::new(),
                };
                let awaited = |is_now: bool| if is_now { "ahead_await\n" } else { "" };
                let lines = steps.iter().enumerate().map(|(number, (id, calls))| {
                    let first = awaited(ahead.as_ref().is_some_and(|ahead| ahead.turn == number));
                    begun(number) + &tried(number) + &step_text(id, first, calls, &show)
                });
                let lines: String = lines.collect();
                let end = awaited(ahead.is_some());
                let written_down = written_down(steps).map(|call| show(&call) + "\n").unwrap_or_default();
                let first = steps.first().map(|(id, _)| id.as_str()).unwrap_or_default();
                // Under `if` the shell would ignore `set -e` in the condition, but not after `then`.
                format!(
                    "run_steps() {{\n:\n{written_down}{lines}}}\nmain() {{\nstart '{nonce}'\n\
                     if start_steps '{first}' && {}{keep}; then run_steps; fi\n{end}finish_script\n}}\n",
                    show(lock)
                )
            }
        }
    }
}

/// The call that makes ready for what the steps write down before they change it.
fn written_down(steps: &[(String, Vec<Call>)]) -> Option<Call> {
    let calls = steps.iter().flat_map(|(_, calls)| calls);
    let mut entries: Vec<&str> =
        calls.filter_map(|call| Some(call.maker("removable")?.first()?.as_str())).collect();
    entries.dedup();
    (entries.len() > 1).then(|| Call::new("undo_begin", entries.into_iter().map(Arg::lossy)))
}

/// A step's lines, `first` before its calls.
fn step_text(id: &str, first: &str, calls: &[Call], show: impl Fn(&Call) -> String) -> String {
    let calls: String = calls.iter().map(|call| format!("call {}\n", show(call))).collect();
    format!("begin '{id}'\n{first}{calls}finish || return 0\n")
}

fn encoded(probes: &[(StepId, Call)]) -> impl Iterator<Item = (String, Call)> {
    probes.iter().map(|(id, call)| (encode_id(&id.0), call.clone()))
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.text(&self.nonce, Call::to_string))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displayed_script_keeps_its_secrets() {
        let call = Call::new("file_write", [Arg::new("/etc/key").unwrap(), Arg::secret("hunter2").unwrap()]);
        let script = Script::ask(&Nonce::fixed("00ff"), &[(StepId("file /etc/key".into()), call)]);
        assert_eq!(
            script.to_string(),
            "main() {\nstart '00ff'\n{\nprobe 'file+/etc/key' file_write '/etc/key' <secret>\n} 2>&1\nfinish_script\n}\n"
        );
        assert!(script.for_host().contains("'hunter2'"));
    }
}
