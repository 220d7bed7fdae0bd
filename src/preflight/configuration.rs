//! What else configures an agent of ours on its host: files that somebody else has put into the folder that it reads, and drop-ins of its
//! unit. They would contradict what the roles write, and no gate could say why.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Subject;
use crate::model::{Arg, Call, Check, Endpoint, Finding, HostName, StepId};
use crate::products::Gate;
use crate::roles::{WantedHost, WantedRole};
use crate::script::Fields;

/// Settings of a unit that make another program of it, or another user's.
const OF_UNIT: [&str; 4] = ["ExecStart", "User", "Group", "Type"];

fn id(unit: &str) -> StepId {
    StepId(format!("preflight configuration of {unit}"))
}

/// The agents of a host, each once, with the role that sets it up.
pub(super) fn agents(wanted: &WantedHost) -> Vec<(&WantedRole, &Endpoint)> {
    let mut units = BTreeSet::new();
    let roles = wanted.roles.iter().filter(|role| role.gate.as_deref().and_then(Gate::parse).is_some());
    let agents = roles.filter_map(|role| Some((role, role.endpoint.as_ref()?)));
    agents.filter(|(_, endpoint)| units.insert(endpoint.unit.as_str())).collect()
}

/// One for each agent: what lies there that no role has written.
pub(super) fn probes(wanted: &WantedHost) -> Vec<(StepId, Call)> {
    let files = wanted.roles.iter().flat_map(|role| &role.resources).filter_map(|resource| resource.path());
    let own: BTreeSet<&str> = files.collect();
    let probe = |(_, endpoint): (&WantedRole, &Endpoint)| {
        let folder = endpoint.config.as_deref().unwrap_or_default();
        let inside = format!("{folder}/");
        let drop_ins = format!("/{}.d/", endpoint.unit);
        let known = own.iter().filter(|path| {
            !folder.is_empty() && path.starts_with(&inside) || path.contains(drop_ins.as_str())
        });
        let words = [endpoint.unit.as_str(), folder].into_iter().chain(known.copied()).map(Arg::lossy);
        (id(&endpoint.unit), Call::new("config_probe", words))
    };
    agents(wanted).into_iter().map(probe).collect()
}

pub(super) fn judge(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (role, endpoint) in agents(subject.wanted) {
        let said = subject.observation.of(&id(&endpoint.unit).0);
        let Some(gate) = role.gate.as_deref().and_then(Gate::parse) else { continue };
        let keys = gate.product().settings();
        for file in files(&said) {
            let set = match file.is_drop_in {
                // A package's own is part of what the role starts, where it starts what a package brings.
                _ if file.package.is_some() && endpoint.version.is_none() => None,
                true => of_unit(file.body),
                false => of_agent(file.body, keys),
            };
            findings.extend(set.map(|set| finding(&subject.name(), role, endpoint, &file, &set)));
        }
    }
    findings
}

/// A file that no role has written.
struct StrangeFile<'a> {
    path: &'a str,
    body: &'a str,
    package: Option<&'a str>,
    is_drop_in: bool,
}

fn files<'a>(said: &Fields<'a>) -> Vec<StrangeFile<'a>> {
    let mut files = Vec::new();
    for (kind, is_drop_in) in [("file", false), ("drop-in", true)] {
        let bodies = said.all_bytes(if is_drop_in { "drop-in-body" } else { "file-body" });
        let packages = said.all(if is_drop_in { "drop-in-package" } else { "file-package" });
        for ((path, body), package) in said.all(kind).zip(bodies).zip(packages) {
            let package = Some(package).filter(|package| !package.is_empty());
            let Ok(body) = std::str::from_utf8(body) else { continue };
            files.push(StrangeFile { path, body, package, is_drop_in });
        }
    }
    files
}

/// The first setting of a file that is the role's, with the number of its line.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    line: usize,
    key: String,
}

fn of_unit(text: &str) -> Option<Setting> {
    let key = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let key = OF_UNIT.into_iter().find(|own| *own == key.trim())?;
        // An empty one clears those before it.
        (!value.trim().is_empty()).then_some(key)
    };
    let mut lines = text.lines().enumerate();
    lines.find_map(|(number, line)| Some(Setting { line: number + 1, key: key(line)?.to_owned() }))
}

fn of_agent(text: &str, keys: &[&str]) -> Option<Setting> {
    if let Ok(Value::Object(settings)) = serde_json::from_str(text) {
        let key = keys.iter().find(|key| settings.contains_key(**key))?;
        let quoted = format!("\"{key}\"");
        let line = text.lines().position(|line| line.contains(&quoted)).unwrap_or_default();
        return Some(Setting { line: line + 1, key: (*key).to_owned() });
    }
    // HCL: names at the outermost level, before `=` or `{`.
    let (mut depth, mut in_comment) = (0_i64, false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if in_comment {
            in_comment = !line.contains("*/");
            continue;
        }
        if line.starts_with("/*") {
            in_comment = !line.contains("*/");
            continue;
        }
        if line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        if depth == 0 {
            let name: String = line
                .trim_start_matches('"')
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let rest = line.trim_start_matches('"')[name.len()..].trim_start_matches('"').trim_start();
            if keys.contains(&name.as_str()) && rest.starts_with(['=', '{', '[']) {
                return Some(Setting { line: number + 1, key: name });
            }
        }
        depth += line.chars().map(|c| i64::from(c == '{') - i64::from(c == '}')).sum::<i64>();
    }
    None
}

fn finding(
    host: &HostName,
    role: &WantedRole,
    endpoint: &Endpoint,
    file: &StrangeFile<'_>,
    set: &Setting,
) -> Finding {
    let StrangeFile { path, package, is_drop_in, .. } = file;
    let from = package.map(|package| format!(", of package {package},")).unwrap_or_default();
    let why = match is_drop_in {
        true => format!("it is a drop-in of {}", endpoint.unit),
        false => "the agent reads both".to_owned(),
    };
    let reason =
        format!("{path}:{}{from} sets `{}`, which role `{}` sets: {why}", set.line, set.key, role.name);
    let remedy = format!(
        "to take it over, say in the inventory what is wanted of it and move it away: `mv {path} {path}.off`; to leave it, take the role \
         from this host"
    );
    Finding::error(Check::System, vec![host.clone()], reason, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["server", "bootstrap_expect", "data_dir"];

    fn found(text: &str) -> Option<(usize, String)> {
        of_agent(text, &KEYS).map(|set| (set.line, set.key))
    }

    #[test]
    fn what_the_role_sets_is_nobody_elses() {
        for (text, wanted) in [
            ("server = true\nbootstrap_expect = 1\n", Some((1, "server"))),
            ("# server = true\n\nbootstrap_expect=1\n", Some((3, "bootstrap_expect"))),
            ("/* server = true\n server = true */\n// data_dir = 1\n", None),
            ("service {\n  server = true\n  data_dir = \"/x\"\n}\n", None),
            ("service { check { a = 1 } }\nserver {\n  enabled = true\n}\n", Some((2, "server"))),
            ("{\n  \"service\": {\"server\": 1},\n  \"data_dir\": \"/x\"\n}", Some((3, "data_dir"))),
            ("{\"service\": {\"name\": \"server\"}}", None),
            ("\"server\" = true\n", Some((1, "server"))),
            ("server_name = \"a\"\n", None),
            ("not { closed", None),
            ("", None),
        ] {
            assert_eq!(found(text), wanted.map(|(line, key)| (line, key.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_drop_in_may_limit_a_unit_and_make_no_other_of_it() {
        let set = |text: &str| of_unit(text).map(|set| (set.line, set.key));
        assert_eq!(set("[Service]\nMemoryMax=1G\nLimitNOFILE=10\n"), None);
        assert_eq!(set("[Service]\nExecStart=\nExecStart=/bin/other\n"), Some((3, "ExecStart".to_owned())));
        assert_eq!(set("[Service]\nUser = root\n"), Some((2, "User".to_owned())));
        assert_eq!(set("[Service]\nExecStartPre=/bin/true\n"), None);
    }
}
