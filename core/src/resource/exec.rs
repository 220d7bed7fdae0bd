//! `exec`: a command that runs once, with a guard that says whether it did.

use serde::Deserialize;

use super::values::{is_runnable, optional_words, words};
use super::{Error, HostPath, Phase, Planned, call_of, seen};
use crate::model::{Call, Change, Delegation, Effect, RoleName, StepId};
use crate::script::Fields;

/// A command, for what no other kind does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// What it does, in a few words.
    pub name: String,
    /// An argument list, never a line for a shell.
    #[serde(deserialize_with = "words")]
    pub command: Vec<String>,
    /// It is done when this exists.
    #[serde(default)]
    pub creates: Option<HostPath>,
    /// It is done when this command succeeds; it only reads.
    #[serde(default, deserialize_with = "optional_words")]
    pub unless: Option<Vec<String>>,
    /// Files that the guard reads. Where one of them is about to change, what it said of the old one does not count.
    #[serde(default)]
    pub reads: Vec<HostPath>,
    /// Takes back what it did, in a removable role: runs when the role is removed, after its files are back. It must
    /// succeed also when there is nothing to take back: the command or an earlier try may have been cut short.
    #[serde(default, deserialize_with = "optional_words")]
    pub undo: Option<Vec<String>>,
    /// When it runs. What starts something belongs to `activate`.
    #[serde(default = "prepare")]
    pub phase: Phase,
    /// What a host of some role, never this one, does before it and after it.
    #[serde(default)]
    pub delegated: Option<Delegated>,
    /// It interrupts what serves: voters go one at a time, the leader last, other hosts a share at a time.
    #[serde(default)]
    pub interrupts: bool,
    /// What `unless` prints before it fails is what would change, and stands in the plan.
    #[serde(default)]
    pub diff: bool,
}

/// What another host does for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegated {
    /// A role of the host that helps; one that stands is asked before others.
    pub by: RoleName,
    /// Argument lists, as `command` is. Of hosts that are changed together it runs once for all.
    #[serde(deserialize_with = "words")]
    pub before: Vec<String>,
    /// Runs also when the command has failed.
    #[serde(deserialize_with = "words")]
    pub after: Vec<String>,
}

fn prepare() -> Phase {
    Phase::Prepare
}

const NOT_SO: &str = "not as wanted";

impl Exec {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.creates.is_some() == self.unless.is_some() {
            return Err(Error::Guard { id: self.id().0 });
        }
        if self.interrupts && self.phase != Phase::Activate {
            return Err(Error::InterruptsEarly { id: self.id().0 });
        }
        let delegated = self.delegated.iter().flat_map(|delegated| [&delegated.before, &delegated.after]);
        let own = [Some(&self.command), self.unless.as_ref(), self.undo.as_ref()];
        let mut all = own.into_iter().flatten().chain(delegated);
        if !all.all(|words| is_runnable(words)) {
            return Err(Error::NoProgram { id: self.id().0 });
        }
        Ok(())
    }

    pub(super) fn id(&self) -> StepId {
        StepId(format!("exec {}", self.name))
    }

    pub(super) fn probe(&self) -> Result<Call, Error> {
        match (&self.creates, &self.unless) {
            (Some(path), _) => call_of(&self.id(), "exec_creates", [path.as_str()]),
            (None, Some(guard)) if self.diff => call_of(&self.id(), "exec_diff", guard),
            (None, Some(guard)) => call_of(&self.id(), "exec_unless", guard),
            (None, None) => Err(Error::Guard { id: self.id().0 }),
        }
    }

    pub(super) fn decide(&self, seen: &Fields<'_>, planned: &Planned<'_>) -> Result<Option<Change>, Error> {
        let id = self.id();
        let changed = self.reads.iter().find(|path| planned.touches_path(path.as_str()));
        let satisfied = seen::text(&id, seen, "satisfied")? == "yes";
        let reason = match (changed, &self.creates) {
            (Some(path), _) if satisfied => format!("{path} changes"),
            _ if satisfied => return Ok(None),
            (_, Some(path)) => format!("{path} absent"),
            (_, None) => match self.unless.as_deref().unwrap_or_default() {
                // A script says less than the name of the step.
                [shell, option, ..] if shell == "sh" && option == "-c" => NOT_SO.to_owned(),
                _ if self.diff => NOT_SO.to_owned(),
                guard => format!("`{}` fails", guard.join(" ")),
            },
        };
        let effect = match self.phase {
            Phase::Activate if self.interrupts => Effect::Restart,
            Phase::Activate => Effect::Start,
            _ => Effect::Quiet,
        };
        Ok(Some(Change {
            reason,
            diff: seen
                .text("diff")
                .filter(|text| !text.trim().is_empty() && changed.is_none())
                .map(str::to_owned),
            effect,
            calls: vec![call_of(&id, "exec_run", &self.command)?],
        }))
    }

    /// What another host has to do for it.
    pub(super) fn help(&self) -> Result<Option<Delegation>, Error> {
        let Some(delegated) = &self.delegated else { return Ok(None) };
        let call = |words: &[String]| call_of(&self.id(), "exec_run", words);
        let (before, after) = (call(&delegated.before)?, call(&delegated.after)?);
        Ok(Some(Delegation { role: delegated.by.clone(), before, after }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{calls, decide_with, facts, reason, reason_of, resource};
    use super::super::{Error, Phase, Resource};
    use crate::model::Effect;

    #[test]
    fn it_runs_when_its_guard_says_so() {
        let creates = || json!({"exec": {"name": "make it", "command": ["make", "it's"], "creates": "/it"}});
        let unless =
            || json!({"exec": {"name": "make it", "command": ["make"], "unless": ["test", "-e", "/it"]}});
        assert_eq!(resource(creates()).probe().unwrap().to_string(), "exec_creates '/it'");
        assert_eq!(resource(unless()).probe().unwrap().to_string(), "exec_unless 'test' '-e' '/it'");
        assert_eq!(reason(creates(), &[("satisfied", "yes")]), "-");
        assert_eq!(reason(creates(), &[("satisfied", "no")]), "/it absent");
        assert_eq!(reason(unless(), &[("satisfied", "no")]), "`test -e /it` fails");
        let script =
            json!({"exec": {"name": "make it", "command": ["make"], "unless": ["sh", "-c", "a long one"]}});
        assert_eq!(reason(script, &[("satisfied", "no")]), "not as wanted");
        assert_eq!(calls(creates(), &[("satisfied", "no")]), [r"exec_run 'make' 'it'\''s'"]);
        // As `"{{ web.port }}"` gives it.
        let number = json!({"exec": {"name": "x", "command": ["listen", 9101], "unless": ["asks", 9101]}});
        assert_eq!(resource(number.clone()).probe().unwrap().to_string(), "exec_unless 'asks' '9101'");
        assert_eq!(calls(number, &[("satisfied", "no")]), ["exec_run 'listen' '9101'"]);
    }

    #[test]
    fn what_the_guard_said_of_a_file_that_changes_does_not_count() {
        let apply = json!({"exec": {"name": "apply it", "command": ["apply", "/it"], "unless": ["is-applied", "/it"],
            "reads": ["/it"]}});
        let reason = |satisfied: &str, planned: &[&str]| {
            let (said, facts) = ([("satisfied", satisfied)], facts("x86_64"));
            reason_of(decide_with(&resource(apply.clone()), &said, &facts, planned))
        };
        assert_eq!(reason("yes", &[]), "-");
        assert_eq!(reason("yes", &["file /other"]), "-");
        assert_eq!(reason("yes", &["file /it"]), "/it changes");
        assert_eq!(reason("no", &["file /it"]), "`is-applied /it` fails");
        let mut shows = apply.clone();
        shows["exec"]["diff"] = json!(true);
        let said = [("satisfied", "no"), ("diff", "-a\n+b\n")];
        let diff = |planned: &[&str]| {
            decide_with(&resource(shows.clone()), &said, &facts("x86_64"), planned).unwrap().unwrap().diff
        };
        assert_eq!((diff(&["file /it"]), diff(&[])), (None, Some("-a\n+b\n".to_owned())));
    }

    #[test]
    fn another_host_may_help() {
        let joins = json!({"exec": {"name": "join", "command": ["join"], "creates": "/it", "phase": "activate",
            "delegated": {"by": "server", "before": ["let", "in"], "after": ["shut"]}}});
        let join = resource(joins.clone());
        let help = join.help().unwrap().unwrap();
        assert_eq!(help.before.to_string(), "exec_run 'let' 'in'");
        assert_eq!((help.role.as_str(), help.after.to_string()), ("server", "exec_run 'shut'".to_owned()));
        let change = decide_with(&join, &[("satisfied", "no")], &facts("x86_64"), &[]).unwrap().unwrap();
        assert_eq!((join.phase(), change.effect), (Phase::Activate, Effect::Start));
        let mut nobody = joins;
        nobody["exec"]["delegated"]["after"] = json!([]);
        assert!(matches!(Resource::from_value(nobody), Err(Error::NoProgram { .. })));
    }

    #[test]
    fn what_a_guard_prints_may_be_the_difference() {
        let apply =
            json!({"exec": {"name": "apply", "command": ["apply"], "unless": ["diff"], "diff": true}});
        assert_eq!(resource(apply.clone()).probe().unwrap().to_string(), "exec_diff 'diff'");
        let decide = |seen: &[(&str, &str)]| {
            decide_with(&resource(apply.clone()), seen, &facts("x86_64"), &[]).unwrap().unwrap()
        };
        let change = decide(&[("satisfied", "no"), ("diff", "-a\n+b\n")]);
        assert_eq!((change.reason.as_str(), change.diff.as_deref()), ("not as wanted", Some("-a\n+b\n")));
        assert_eq!(decide(&[("satisfied", "no"), ("diff", "")]).diff, None);
    }

    #[test]
    fn what_interrupts_goes_as_a_restart_does() {
        let renew = json!({"exec": {"name": "renew", "command": ["renew"], "creates": "/new", "phase": "activate",
            "interrupts": true}});
        let change = decide_with(&resource(renew.clone()), &[("satisfied", "no")], &facts("x86_64"), &[]);
        assert_eq!(change.unwrap().unwrap().effect, Effect::Restart);
        let mut early = renew;
        early["exec"]["phase"] = json!("prepare");
        assert!(matches!(Resource::from_value(early), Err(Error::InterruptsEarly { .. })));
    }

    #[test]
    fn it_needs_one_guard_and_a_program() {
        for value in [
            json!({"exec": {"name": "x", "command": ["x"]}}),
            json!({"exec": {"name": "x", "command": ["x"], "creates": "/x", "unless": ["x"]}}),
        ] {
            assert!(matches!(Resource::from_value(value), Err(Error::Guard { .. })));
        }
        for command in [json!([]), json!([""]), json!(["-v"])] {
            let value = json!({"exec": {"name": "x", "command": command, "creates": "/x"}});
            assert!(matches!(Resource::from_value(value), Err(Error::NoProgram { .. })));
        }
    }
}
