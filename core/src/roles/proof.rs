//! A real use of what a role set up: what is asked on the host, and whether the answer is right. Pure.

use serde::Deserialize;

use crate::model::{Arg, Call, NulInArgument, StepId};
use crate::resource::HostPath;
use crate::script::Fields;

/// One real use, written `- lookup: {name: …, type: A}` in the role's `verify`.
///
/// The observe script asks it, so that a host where nothing is to be done is judged by it; after changes it is asked
/// until it is right.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Proof {
    /// What works if it is right: `the service consul resolves`.
    pub name: String,
    pub asked: Asked,
    /// The observe script asks it only where this exists: elsewhere the role was never set up, and to wait for an
    /// answer would take long.
    pub if_exists: Option<HostPath>,
    /// It must only be right afterwards if it was right before.
    pub as_before: bool,
    /// Not asked by the observe script: it takes long, or leaves traces while it runs.
    pub after_changes: bool,
}

/// The same as a role writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    lookup: Option<Lookup>,
    outside: Option<Outside>,
    #[serde(default, deserialize_with = "crate::resource::optional_words")]
    command: Option<Vec<String>>,
    if_exists: Option<HostPath>,
    #[serde(default)]
    as_before: bool,
    #[serde(default)]
    after_changes: bool,
}

impl TryFrom<Written> for Proof {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, if_exists, as_before, after_changes, .. } = written;
        let asked = match (written.lookup, written.outside, written.command) {
            (None, Some(outside), None) => Asked::Outside(outside),
            (Some(lookup), None, None) if lookup.server.is_some() && lookup.record == RecordType::A => {
                return Err(format!("`{name}`: `server` is for service records (`type: SRV`)"));
            }
            (Some(lookup), None, None) => Asked::Lookup(lookup),
            (None, None, Some(command)) if command.first().is_some_and(|word| !word.is_empty()) => {
                Asked::Command(command)
            }
            _ => {
                return Err(format!(
                    "`{name}` needs either a `lookup`, or `outside`, or a `command` with its program"
                ));
            }
        };
        Ok(Self { name, asked, if_exists, as_before, after_changes })
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A name, by the host's own resolver.
    Lookup(Lookup),
    /// A name outside, where the host's own name servers know it.
    Outside(Outside),
    /// A command, as an argument list: right if it ends well. It changes nothing.
    Command(Vec<String>),
}

/// A name of the world outside: what the host finds by itself is found by whoever the role sets up too. What the host does not find
/// nobody need find, as where there is no way out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// Empty: that of a site of packages, as the host is set.
    pub name: String,
    /// These name servers know it too.
    pub servers: Option<Vec<String>>,
    /// This finds it too, as its last argument.
    #[serde(default, deserialize_with = "crate::resource::optional_words")]
    pub command: Option<Vec<String>>,
    /// What to do where it does not.
    pub help: String,
}

/// A DNS lookup as a program of the host would do it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    pub name: String,
    #[serde(rename = "type")]
    pub record: RecordType,
    /// What must be among the answers: an address, or the port of a service record. May use facts.
    #[serde(default, deserialize_with = "crate::resource::optional_from_text")]
    pub answer: Option<String>,
    /// The address of the name server to ask, of a service record; unset, those of the host.
    #[serde(default)]
    pub server: Option<std::net::Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// By the C library, which also reads /etc/hosts.
    A,
    /// By a query to the first name server of /etc/resolv.conf that answers.
    Srv,
}

impl RecordType {
    fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Srv => "SRV",
        }
    }
}

/// How a use turned out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UseResult {
    Right,
    /// In the operator's words.
    Wrong(String),
    /// The host has not been set up.
    NotAsked,
}

impl Proof {
    /// Its probe's id; `role` is the one that wants it.
    pub fn id(&self, role: &str) -> StepId {
        StepId(format!("verify {role}: {}", self.name))
    }

    /// Whether an answer may take some seconds of nothing but waiting.
    pub fn waits_for_others(&self) -> bool {
        matches!(self.asked, Asked::Outside(_))
    }

    /// The call that asks it in the observe script, or once everything is set up; `before` is the name outside that was found then.
    pub fn probe(&self, is_set_up: bool, before: Option<&str>) -> Result<Call, NulInArgument> {
        let guard = self.if_exists.as_ref().filter(|_| !is_set_up).map_or("", HostPath::as_str);
        let (function, words) = match &self.asked {
            Asked::Lookup(Lookup { name, record, server, .. }) => {
                let server = server.map(|server| server.to_string());
                let words = [Some(name.clone()), Some(record.as_str().to_owned()), server];
                ("lookup_ask", words.into_iter().flatten().collect())
            }
            Asked::Command(command) => ("command_ask", command.clone()),
            Asked::Outside(outside) => return outside.probe(before.unwrap_or_default(), guard),
        };
        let words = [guard.to_owned(), function.to_owned()].into_iter().chain(words).map(Arg::new);
        Ok(Call::new("use_probe", words.collect::<Result<Vec<_>, _>>()?))
    }

    /// What the probe's answer means.
    pub fn judge(&self, seen: &Fields<'_>) -> UseResult {
        if seen.is_empty() {
            return UseResult::NotAsked;
        }
        let trouble = seen.text("trouble").or(seen.text("error")).map(str::trim).unwrap_or_default();
        let why = if trouble.is_empty() { String::new() } else { format!(": {trouble}") };
        match &self.asked {
            Asked::Command(command) if !seen.has("right") => {
                let name = command.first().map(String::as_str).unwrap_or_default();
                UseResult::Wrong(format!("{} is not so, says `{name}`{why}", self.name))
            }
            Asked::Command(_) => UseResult::Right,
            Asked::Outside(outside) => outside.judge(&self.name, seen, &why),
            Asked::Lookup(lookup) => lookup.judge(&seen.all("answer").collect::<Vec<_>>(), &why),
        }
    }
}

impl Outside {
    fn probe(&self, before: &str, guard: &str) -> Result<Call, NulInArgument> {
        let (how, words) = match (&self.servers, &self.command) {
            (Some(servers), _) => ("servers", servers.clone()),
            (None, Some(command)) => ("command", command.clone()),
            (None, None) => ("host", Vec::new()),
        };
        let first = [before, guard, &self.name, how].map(str::to_owned);
        let words = first.into_iter().chain(words).map(Arg::new);
        Ok(Call::new("outside_ask", words.collect::<Result<Vec<_>, _>>()?))
    }

    fn judge(&self, what: &str, seen: &Fields<'_>, why: &str) -> UseResult {
        let Some(name) = seen.text("outside") else { return UseResult::NotAsked };
        match (seen.has("right"), seen.has("trouble")) {
            (true, _) => return UseResult::Right,
            // Known, and whoever is to find it is not set up yet.
            (false, false) => return UseResult::NotAsked,
            (false, true) => {}
        }
        let own = match seen.text("own").unwrap_or_default() {
            "" => "by the host itself".to_owned(),
            own => format!("by the host's own name servers ({own})"),
        };
        let asked = match seen.text("asked").map(str::trim).unwrap_or_default() {
            "" => "and not so".to_owned(),
            asked => format!("and not by {asked}"),
        };
        UseResult::Wrong(format!("{what}: `{name}` is found {own}, {asked}{why}; {}", self.help))
    }
}

impl Lookup {
    fn judge(&self, answers: &[&str], why: &str) -> UseResult {
        let Self { name, record, answer, .. } = self;
        if answers.is_empty() {
            return UseResult::Wrong(match record {
                RecordType::A => format!("`{name}` has no address here{why}"),
                RecordType::Srv => format!("`{name}` has no service record here{why}"),
            });
        }
        let is_it = |wanted: &str| answers.iter().any(|said| said.split(' ').next() == Some(wanted));
        match answer.as_deref().filter(|wanted| !is_it(wanted)) {
            Some(wanted) => {
                let noun = if *record == RecordType::Srv { "port " } else { "" };
                UseResult::Wrong(format!("`{name}` is {} here, not {noun}{wanted}", answers.join(", ")))
            }
            None => UseResult::Right,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn proof(value: serde_json::Value) -> Proof {
        serde_json::from_value(value).unwrap()
    }

    fn judged(proof: &Proof, said: &[(&str, &str)]) -> String {
        let said: Vec<_> =
            said.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        match proof.judge(&Fields::new(&said)) {
            UseResult::Right => "right".to_owned(),
            UseResult::NotAsked => "not asked".to_owned(),
            UseResult::Wrong(reason) => reason,
        }
    }

    #[test]
    fn answers_are_judged() {
        let any = proof(json!({"name": "n", "lookup": {"name": "a.consul", "type": "A"}}));
        let one =
            proof(json!({"name": "n", "lookup": {"name": "a.consul", "type": "A", "answer": "10.0.0.1"}}));
        let port = proof(json!({"name": "n", "lookup": {"name": "a.consul", "type": "SRV", "answer": 8300}}));
        let command = proof(json!({"name": "it lists", "command": ["list", "it"]}));
        for (proof, said, judgement) in [
            (&any, vec![], "not asked"),
            (&any, vec![("answer", "10.0.0.9")], "right"),
            (&any, vec![("trouble", "timed out\n")], "`a.consul` has no address here: timed out"),
            (
                &any,
                vec![("error", "sh: getent: not found")],
                "`a.consul` has no address here: sh: getent: not found",
            ),
            (&one, vec![("answer", "10.0.0.9"), ("answer", "10.0.0.1")], "right"),
            (&one, vec![("answer", "10.0.0.11")], "`a.consul` is 10.0.0.11 here, not 10.0.0.1"),
            (&port, vec![("answer", "8300 n1.node.dc1.consul")], "right"),
            (
                &port,
                vec![("answer", "80 n1.node.dc1.consul")],
                "`a.consul` is 80 n1.node.dc1.consul here, not port 8300",
            ),
            (&port, vec![("trouble", "NXDOMAIN")], "`a.consul` has no service record here: NXDOMAIN"),
            (&command, vec![("right", "yes")], "right"),
            (&command, vec![("trouble", "no route")], "it lists is not so, says `list`: no route"),
        ] {
            assert_eq!(judged(proof, &said), judgement);
        }
    }

    #[test]
    fn it_is_asked_where_the_role_was_set_up() {
        let lookup = json!({"name": "n", "lookup": {"name": "it's", "type": "SRV"}, "if_exists": "/x"});
        let lookup = proof(lookup);
        assert_eq!(
            lookup.probe(false, None).unwrap().to_string(),
            r"use_probe '/x' 'lookup_ask' 'it'\''s' 'SRV'"
        );
        assert_eq!(
            lookup.probe(true, None).unwrap().to_string(),
            r"use_probe '' 'lookup_ask' 'it'\''s' 'SRV'"
        );
        let server = json!({"name": "n", "lookup": {"name": "a", "type": "SRV", "server": "10.96.0.10"}});
        assert_eq!(
            proof(server).probe(true, None).unwrap().to_string(),
            "use_probe '' 'lookup_ask' 'a' 'SRV' '10.96.0.10'"
        );
        let command = proof(json!({"name": "n", "command": ["a", "-b"]}));
        assert_eq!(command.probe(false, None).unwrap().to_string(), "use_probe '' 'command_ask' 'a' '-b'");
        for wrong in [
            json!({"name": "n"}),
            json!({"name": "n", "lookup": {"name": "x", "type": "MX"}}),
            json!({"name": "n", "lookup": {"name": "x", "type": "A", "server": "10.0.0.1"}}),
            json!({"name": "n", "lookup": {"name": "x", "type": "A"}, "if_exists": "x"}),
        ] {
            assert!(serde_json::from_value::<Proof>(wrong).is_err());
        }
    }
}
