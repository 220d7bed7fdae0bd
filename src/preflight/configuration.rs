//! What else configures the programs of roles on their host: files that somebody else has put into the folder that an agent reads,
//! drop-ins of its unit, and whatever a role names as `others`. One of the two would not count, and no gate could say why.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Subject;
use crate::model::{Arg, Call, Check, Endpoint, Finding, HostName, Severity, StepId};
use crate::products::Gate;
use crate::roles::{WantedHost, WantedOther, WantedRole};
use crate::script::Fields;

/// How a file that configures a program of ours is taken over, where nothing else is said.
const MOVE_AWAY: &str = "say in the inventory what is wanted of it and move it away: `mv {file} {file}.off`";

/// Settings of a unit that make another program of it, or another user's.
const OF_UNIT: [&str; 4] = ["ExecStart", "User", "Group", "Type"];

/// Files that cloud-init writes anew at each boot where it is told to, and how that is said.
const REWRITTEN: [(&str, &str); 2] =
    [("/etc/hosts", "manage_etc_hosts"), ("/etc/resolv.conf", "manage_resolv_conf")];

/// Where cloud-init is told, what comes later winning: by the image, and by who made the machine.
const CLOUD: [&str; 3] =
    ["/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg", "/var/lib/cloud/instance/cloud-config.txt"];

/// How the files begin that roles write in formats with comments.
const OURS: &str = "# Written by bootstrap";

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

/// Everything that roles write on the host.
fn own(wanted: &WantedHost) -> BTreeSet<&str> {
    wanted.roles.iter().flat_map(|role| &role.resources).filter_map(|resource| resource.path()).collect()
}

/// What lies there that no role has written: one for the folder of each agent, one for all else that could configure a program.
pub(super) fn probes(wanted: &WantedHost) -> Vec<(StepId, Call)> {
    let own = own(wanted);
    let folder = |(_, endpoint): (&WantedRole, &Endpoint)| {
        let folder = endpoint.config.as_deref()?;
        let inside = format!("{folder}/");
        let known = own.iter().copied().filter(|path| path.starts_with(&inside));
        let words = [folder].into_iter().chain(known).map(Arg::lossy);
        Some((id(&endpoint.unit), Call::new("config_probe", words)))
    };
    let folders = agents(wanted).into_iter().filter_map(folder);
    folders.chain(looks(wanted).iter().map(|look| (look.id(), look.call()))).collect()
}

pub(super) fn judge(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (role, endpoint) in agents(subject.wanted) {
        let said = subject.observation.of(&id(&endpoint.unit).0);
        let Some(gate) = role.gate.as_deref().and_then(Gate::parse) else { continue };
        let keys = gate.product().settings();
        for file in files(&said).into_iter().filter(|file| !is_part(endpoint, file.package)) {
            findings.extend(of_agent(file.body, keys).map(|set| finding(&subject.name(), role, &file, &set)));
        }
    }
    let own = own(subject.wanted);
    for look in looks(subject.wanted) {
        findings.extend(look.judge(&subject.name(), &own, &subject.observation.of(&look.id().0)));
    }
    findings
}

/// One look at what else configures a program.
struct Look<'a> {
    /// What is looked at, for the probe.
    name: String,
    role: &'a WantedRole,
    /// Whose unit's drop-ins these are; `None`: what the role itself names.
    agent: Option<&'a Endpoint>,
    other: WantedOther,
}

fn looks<'a>(wanted: &'a WantedHost) -> Vec<Look<'a>> {
    let agents = agents(wanted).into_iter().map(|(role, endpoint)| {
        let other = WantedOther {
            unit: Some(endpoint.unit.clone()),
            sets: OF_UNIT.map(str::to_owned).to_vec(),
            ..WantedOther::default()
        };
        Look { name: format!("drop-ins of {}", endpoint.unit), role, agent: Some(endpoint), other }
    });
    let of_role = |role: &'a WantedRole| {
        let look = move |other: &WantedOther| {
            let name = format!("others of {} {}", role.name, other.number);
            Look { name, role, agent: None, other: other.clone() }
        };
        role.others.iter().map(look)
    };
    agents.chain(wanted.roles.iter().flat_map(of_role)).chain(rewritten(wanted)).collect()
}

/// Who would write a file of a role anew, at the next boot.
fn rewritten(wanted: &WantedHost) -> Vec<Look<'_>> {
    let look = |(path, key): (&str, &str)| {
        let writes = |role: &&WantedRole| role.resources.iter().any(|resource| resource.path() == Some(path));
        let role = wanted.roles.iter().find(writes)?;
        let words = ["true", "True", "yes", "on", "template", "\"true\""];
        let other = WantedOther {
            files: CLOUD.map(str::to_owned).to_vec(),
            sets: words.map(|word| format!("{key}: {word}")).to_vec(),
            warns: true,
            why: format!(
                "cloud-init writes {path} anew when the host boots, and what is written into it is gone"
            ),
            take: Some(format!(
                "let cloud-init leave it alone: `{key}: false` in a file of /etc/cloud/cloud.cfg.d"
            )),
            leave: Some("`bootstrap up` after each boot writes it again".to_owned()),
            ..WantedOther::default()
        };
        Some(Look { name: format!("who rewrites {path}"), role, agent: None, other })
    };
    REWRITTEN.into_iter().filter_map(look).collect()
}

impl Look<'_> {
    fn id(&self) -> StepId {
        StepId(format!("preflight {}", self.name))
    }

    /// Whether what is there at all is the finding.
    fn is_presence(&self) -> bool {
        self.other.sets.is_empty() && self.other.options.is_empty()
    }

    fn call(&self) -> Call {
        let WantedOther { unit, variables, files, until, .. } = &self.other;
        let until = until.iter().map(|unit| format!("~{unit}"));
        let mark = if self.agent.is_some() { '!' } else { '@' };
        let unit = unit.iter().map(|unit| format!("{mark}{unit}"));
        let variables = variables.iter().map(|file| format!("?{file}"));
        let mark = if self.is_presence() { "+" } else { "" };
        let files = files.iter().map(|file| format!("{mark}{file}"));
        let words = [self.pattern()].into_iter().chain(until).chain(unit).chain(variables).chain(files);
        Call::new("others_probe", words.map(|word| Arg::lossy(&word)))
    }

    /// An extended expression for every line that may count, and for those that say whose a file is.
    fn pattern(&self) -> String {
        let WantedOther { unit, sets, options, .. } = &self.other;
        let any = |words: &[String]| words.iter().map(|word| escaped(word)).collect::<Vec<_>>().join("|");
        let sets = (!sets.is_empty()).then(|| format!("^[[:blank:]]*(\"|export )?({})", any(sets)));
        let variables = (unit.is_some() && sets.is_some()).then(|| "^[[:blank:]]*Environment".to_owned());
        let options = (!options.is_empty()).then(|| any(options));
        let header = Some(format!("^{OURS}"));
        [header, sets, variables, options].into_iter().flatten().collect::<Vec<_>>().join("|")
    }

    fn judge(&self, host: &HostName, own: &BTreeSet<&str>, said: &Fields<'_>) -> Vec<Finding> {
        let package = |path: &str| {
            let mut known = said.all("package").filter_map(|line| line.split_once(' '));
            known.find(|(_, of)| *of == path).map(|(package, _)| package)
        };
        let is_untouched = |path: &str| said.all("untouched").any(|untouched| untouched == path);
        // What a package has brought as it is serves nobody yet: a run that was cut short may have installed it.
        let present = said.all("there").filter(|path| !is_untouched(path));
        let mut findings: Vec<Finding> =
            present.map(|path| self.finding(host, path, package(path), &[])).collect();
        let mut found: BTreeMap<&str, Vec<Setting>> = BTreeMap::new();
        let mut ours = BTreeSet::new();
        for line in said.text("lines").unwrap_or_default().lines() {
            let Some((path, number, text)) = numbered(line) else { continue };
            if text.starts_with(OURS) {
                ours.insert(path);
            }
            let setting = self.setting(path, own, text).map(|key| Setting { line: number, key });
            found.entry(path).or_default().extend(setting);
        }
        for (path, settings) in found {
            let package = package(path);
            let is_named = self.other.files.iter().any(|file| file == path);
            let is_packaged = match self.agent {
                Some(endpoint) => is_part(endpoint, package),
                None => is_untouched(path) && !self.is_file_of_unit(path),
            };
            let is_ours = ours.contains(path) || own.contains(path) && !is_named;
            if !settings.is_empty() && !is_ours && !is_packaged {
                findings.push(self.finding(host, path, package, &settings));
            }
        }
        findings
    }

    /// Whether a path is that of the unit, not of a drop-in.
    fn is_file_of_unit(&self, path: &str) -> bool {
        self.other.unit.as_ref().is_some_and(|unit| path.ends_with(&format!("/systemd/system/{unit}")))
    }

    /// What a line sets that counts.
    fn setting(&self, path: &str, own: &BTreeSet<&str>, text: &str) -> Option<String> {
        let WantedOther { unit, sets, options, .. } = &self.other;
        let text = text.trim();
        if text.starts_with(['#', ';']) {
            return None;
        }
        let option = || options.iter().find(|option| has_word(text, option)).cloned();
        if self.is_file_of_unit(path) {
            // Where a role writes it, it is not what will be.
            let is_replaced = own.iter().any(|own| *own != path && self.is_file_of_unit(own));
            return option().filter(|_| !is_replaced);
        }
        let is_drop_in = unit.as_ref().is_some_and(|unit| path.contains(&format!("/{unit}.d/")));
        let set = match is_drop_in {
            true => of_unit(text, sets),
            false => sets.iter().find(|set| begins(text, set)).cloned(),
        };
        set.or_else(option)
    }

    fn finding(&self, host: &HostName, path: &str, package: Option<&str>, settings: &[Setting]) -> Finding {
        let role = &self.role.name;
        let from = from(package);
        let line = settings.first().map(|set| set.line.to_string()).unwrap_or_default();
        let more: Vec<String> = settings.iter().skip(1).map(|set| set.line.to_string()).collect();
        let more = match more.as_slice() {
            [] => String::new(),
            [line] => format!(", and more on line {line}"),
            lines => format!(", and more on lines {}", lines.join(", ")),
        };
        let (reason, take) = match (self.agent, settings.first()) {
            (Some(endpoint), Some(set)) => (
                format!(
                    "{path}:{line}{from} sets `{}`{more}, which role `{role}` sets: it is a drop-in of {}",
                    set.key, endpoint.unit
                ),
                None,
            ),
            (_, Some(set)) => (
                format!("{path}:{line}{from} says `{}`{more}: {} (role `{role}`)", set.key, self.other.why),
                self.other.take.as_deref(),
            ),
            (_, None) => (
                format!("{path}{from} is there: {} (role `{role}`)", self.other.why),
                self.other.take.as_deref(),
            ),
        };
        let take = take.unwrap_or(MOVE_AWAY).replace("{file}", path).replace("{line}", &line);
        let leave =
            self.other.leave.clone().unwrap_or_else(|| format!("take the role `{role}` from this host"));
        let remedy = format!("to take it over, {take}; to leave it, {leave}");
        let severity = if self.other.warns { Severity::Warning } else { Severity::Error };
        Finding { severity, ..Finding::error(Check::System, vec![host.clone()], reason, remedy) }
    }
}

/// Whether a file of this package is part of what the role starts: it is, where the role starts what a package brings.
fn is_part(endpoint: &Endpoint, package: Option<&str>) -> bool {
    package.is_some() && endpoint.version.is_none()
}

/// For a message: whose a file is.
fn from(package: Option<&str>) -> String {
    package.map(|package| format!(", of package {package},")).unwrap_or_default()
}

/// A line of grep: `PATH:NUMBER:TEXT`.
fn numbered(line: &str) -> Option<(&str, usize, &str)> {
    let (path, rest) = line.split_once(':')?;
    let (number, text) = rest.split_once(':')?;
    Some((path, number.parse().ok()?, text))
}

/// A text as an extended expression that matches it alone.
fn escaped(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_/ =:,@\"'<>%&~".contains(c);
    text.chars().flat_map(|c| [(!plain(c)).then_some('\\'), Some(c)].into_iter().flatten()).collect()
}

/// Whether a line begins with a key, a section or a path, and with no longer one.
fn begins(text: &str, set: &str) -> bool {
    let text = text.strip_prefix("export ").map_or(text, str::trim_start);
    let rest =
        text.strip_prefix(set).or_else(|| text.strip_prefix('"')?.strip_prefix(set)?.strip_prefix('"'));
    rest.is_some_and(|rest| {
        let Some(next) = rest.chars().next() else { return true };
        next.is_whitespace() || "=:{[(.]".contains(next)
    })
}

/// Whether an option stands in a line by itself.
fn has_word(text: &str, word: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "\"'=".contains(c));
    text.match_indices(word).any(|(at, _)| {
        is_end(text[..at].chars().next_back()) && is_end(text[at + word.len()..].chars().next())
    })
}

/// Which of the settings a line of a drop-in makes, or which variable of these names.
fn of_unit(line: &str, sets: &[String]) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    // An empty one clears those before it.
    if value.is_empty() {
        return None;
    }
    let variables = value
        .split(|c: char| c.is_whitespace() || c == '"' || c == '\'')
        .filter_map(|word| word.split_once('='));
    let mut names = variables.map(|(name, _)| name).filter(|_| key == "Environment").chain([key]);
    names.find(|name| sets.iter().any(|set| set == name)).map(str::to_owned)
}

/// A file that no role has written.
struct StrangeFile<'a> {
    path: &'a str,
    body: &'a str,
    package: Option<&'a str>,
}

fn files<'a>(said: &Fields<'a>) -> Vec<StrangeFile<'a>> {
    let all = said.all("file").zip(said.all_bytes("file-body")).zip(said.all("file-package"));
    let file = |((path, body), package): ((&'a str, &'a [u8]), &'a str)| {
        let package = Some(package).filter(|package| !package.is_empty());
        Some(StrangeFile { path, body: std::str::from_utf8(body).ok()?, package })
    };
    all.filter_map(file).collect()
}

/// The first setting of a file that is the role's, with the number of its line.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    line: usize,
    key: String,
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

fn finding(host: &HostName, role: &WantedRole, file: &StrangeFile<'_>, set: &Setting) -> Finding {
    let StrangeFile { path, package, .. } = file;
    let from = from(*package);
    let reason = format!(
        "{path}:{}{from} sets `{}`, which role `{}` sets: the agent reads both",
        set.line, set.key, role.name
    );
    let take = MOVE_AWAY.replace("{file}", path);
    let remedy = format!("to take it over, {take}; to leave it, take the role from this host");
    Finding::error(Check::System, vec![host.clone()], reason, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{ClockOffset, Facts};
    use crate::preflight::Claim;
    use crate::script::{Observation, Record};

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

    /// What is found on a host with one role, where what the probe of `files` (or of the unit) said is this.
    fn of_role(role: &str, vars: &str, place: &str, said: &[(&str, &str)]) -> Vec<String> {
        let text = format!(
            "cluster: dc1\nhosts:\n  n1: {{ address: 10.0.0.11, roles: [{role}] }}\nvars: {{ {vars} }}\n"
        );
        let wanted = crate::roles::testing::wanted(&text);
        let wanted = &wanted.hosts[0];
        let place_of =
            |look: &Look<'_>| look.other.unit.iter().chain(&look.other.files).any(|of| of == place);
        let look = looks(wanted).into_iter().find(place_of).expect("a role looks there");
        let said: Vec<_> =
            said.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        let found = look.judge(&wanted.host.name, &own(wanted), &Fields::new(&said));
        found
            .iter()
            .map(|found| format!("{:?}: {}\n{}", found.severity, found.reason, found.remedy))
            .collect()
    }

    #[test]
    fn what_a_package_configures_counts_beside_a_release_alone() {
        for (source, count) in [("package", 0), ("release", 1)] {
            let text = format!(
                "cluster: dc1\nhosts:\n  n1: {{ address: 10.0.0.11, roles: [consul-server] }}\nvars: {{ consul: {{ source: {source} }} }}\n"
            );
            let wanted = crate::roles::testing::wanted(&text);
            let said = [
                ("file", "/etc/consul.d/a.hcl"),
                ("file-body", "log_level = 1\n"),
                ("file-package", "consul"),
            ];
            let record = |(key, value): (&str, &str)| Record::Seen {
                id: id("consul.service").0,
                key: key.to_owned(),
                value: value.as_bytes().to_vec(),
            };
            let subject = Subject {
                wanted: &wanted.hosts[0],
                facts: &Facts::example(),
                observation: &Observation::new(&said.map(record)),
                clock: ClockOffset { ms: 0, error_ms: 0 },
                claim: Claim::default(),
                node_id: None,
                changes: None,
            };
            assert_eq!(judge(&subject).len(), count, "{source}");
        }
    }

    #[test]
    fn what_else_configures_a_program_is_named_with_both_ways_on() {
        let balancer = |place: &str, said: &[(&str, &str)]| {
            of_role("kube-endpoint", "kube: { endpoint: { address: 10.0.0.50, vip: true } }", place, said)
        };
        let own = "/etc/haproxy/haproxy.cfg";
        let lines = "/etc/haproxy/haproxy.cfg:30:frontend web\n/etc/haproxy/haproxy.cfg:35:  # listen a\n/etc/haproxy/haproxy.cfg:41:listen sql";
        let found = balancer(own, &[("lines", lines), ("package", "haproxy /etc/haproxy/haproxy.cfg")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(
                "Error: /etc/haproxy/haproxy.cfg:30, of package haproxy, says `frontend`, and more on line 41: haproxy would read \
                 /etc/haproxy/bootstrap.cfg instead, and what this serves would be gone (role `kube-endpoint`)\nto take it over, have"
            ),
            "{found:?}"
        );
        assert!(
            found[0]
                .contains("`mv /etc/haproxy/haproxy.cfg /etc/haproxy/haproxy.cfg.off`; to leave it, give"),
            "{found:?}"
        );
        // As the package brings it, it is nobody's.
        assert!(balancer(own, &[("lines", lines), ("untouched", own)]).is_empty());

        let unit = "haproxy.service";
        let found = balancer(unit, &[("lines", "/etc/default/haproxy:4:CONFIG=\"/etc/mine.cfg\"")]);
        assert!(
            found[0].contains("/etc/default/haproxy:4 says `CONFIG`: haproxy would start with that"),
            "{found:?}"
        );
        assert!(found[0].contains("`sed -i '4s/^/#/' /etc/default/haproxy`"), "{found:?}");
        let theirs = "/etc/systemd/system/haproxy.service.d/z.conf:2:Environment=A=b CONFIG=/x";
        assert_eq!(balancer(unit, &[("lines", theirs)]).len(), 1);
        for harmless in [
            "/etc/default/haproxy:4:#CONFIG=/x",
            "/etc/default/haproxy:4:CONFIG_OF_MINE=/x",
            "/etc/systemd/system/haproxy.service.d/z.conf:2:Environment=A=b",
            "/etc/systemd/system/haproxy.service.d/bootstrap.conf:3:Environment=CONFIG=/etc/haproxy/bootstrap.cfg",
            "/lib/systemd/system/haproxy.service:9:ExecStart=/usr/sbin/haproxy -f $CONFIG",
        ] {
            assert_eq!(balancer(unit, &[("lines", harmless)]), Vec::<String>::new(), "{harmless}");
        }

        // The role writes the file itself: what stood there before is another's, what it has written is not.
        let keepalived = "/etc/keepalived/keepalived.conf";
        let before = "/etc/keepalived/keepalived.conf:3:vrrp_instance mine {";
        assert_eq!(balancer(keepalived, &[("lines", before)]).len(), 1);
        let after = format!("/etc/keepalived/keepalived.conf:1:# Written by bootstrap for n1.\n{before}");
        assert!(balancer(keepalived, &[("lines", &after)]).is_empty());
    }

    #[test]
    fn options_of_a_daemon_that_its_file_has_too() {
        let docker = |said: &str| {
            of_role(
                "docker",
                "docker: { daemon: { hosts: [a], log-opts: {}, insecure-registries: [], debug: null } }",
                "docker.service",
                &[("lines", said), ("untouched", "/lib/systemd/system/docker.service")],
            )
        };
        for (line, option) in [
            ("/etc/default/docker:7:DOCKER_OPTS=\"--log-opt max-size=1m\"", "--log-opt"),
            (
                "/etc/systemd/system/docker.service.d/a.conf:3:ExecStart=/usr/bin/dockerd --insecure-registry=a",
                "--insecure-registry",
            ),
            ("/lib/systemd/system/docker.service:13:ExecStart=/usr/bin/dockerd -H fd:// --x", "-H"),
        ] {
            let found = docker(line);
            assert!(
                found.len() == 1 && found[0].contains(&format!("says `{option}`: dockerd does not start")),
                "{found:?}"
            );
        }
        for harmless in [
            "/etc/default/docker:7:DOCKER_OPTS=\"--dns 192.0.2.1\"",
            "/etc/default/docker:7:#DOCKER_OPTS=\"--log-opt max-size=1m\"",
            "/etc/systemd/system/docker.service.d/a.conf:3:ExecStart=/usr/bin/dockerd -D",
        ] {
            assert_eq!(docker(harmless), Vec::<String>::new(), "{harmless}");
        }
        let snap = of_role("docker", "", "/snap/bin/docker", &[("there", "/snap/bin/docker")]);
        assert!(
            snap[0].contains("/snap/bin/docker is there: an engine of snap's")
                && snap[0].contains("`snap remove docker`"),
            "{snap:?}"
        );
        let as_packaged = [("there", "/snap/bin/docker"), ("untouched", "/snap/bin/docker")];
        assert_eq!(of_role("docker", "", "/snap/bin/docker", &as_packaged), [""; 0]);
        let exports = "nfs: { implementation: kernel, exports: [{ path: /srv/a, clients: [10.0.0.0/8], owner: root }] }";
        let found = of_role(
            "nfs-server",
            exports,
            "/etc/exports",
            &[("lines", "/etc/exports:2:/srv/a 10.0.0.1(ro)\n/etc/exports:3:/srv/ab *(ro)")],
        );
        assert!(
            found.len() == 1 && found[0].contains("/etc/exports:2 says `/srv/a`: that folder"),
            "{found:?}"
        );
        assert!(!found[0].contains("more on line"), "{found:?}");
    }

    #[test]
    fn what_cloud_init_writes_anew_is_warned_about() {
        let cloud =
            "/etc/cloud/cloud.cfg:9:manage_resolv_conf: true\n/etc/cloud/cloud.cfg:10:manage_etc_hosts: true";
        let text = "cluster: dc1\nhosts:\n  n1: { address: 10.0.0.11, roles: [consul-server, dns] }\n";
        let wanted = crate::roles::testing::wanted(text);
        let looks = rewritten(&wanted.hosts[0]);
        assert_eq!(looks.len(), 1);
        let said = [("lines".to_owned(), cloud.as_bytes().to_vec())];
        let found = looks[0].judge(&wanted.hosts[0].host.name, &BTreeSet::new(), &Fields::new(&said));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!found[0].is_error());
        assert!(
            found[0].reason.starts_with(
                "/etc/cloud/cloud.cfg:9 says `manage_resolv_conf: true`: cloud-init writes /etc/resolv.conf"
            ),
            "{found:?}"
        );
    }

    #[test]
    fn a_drop_in_may_limit_a_unit_and_make_no_other_of_it() {
        let sets = [&OF_UNIT[..], &["CONFIG"]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let set = |line: &str| of_unit(line, &sets);
        assert_eq!(set("MemoryMax=1G"), None);
        assert_eq!(set("ExecStart="), None);
        assert_eq!(set("ExecStart=/bin/other").as_deref(), Some("ExecStart"));
        assert_eq!(set("User = root").as_deref(), Some("User"));
        assert_eq!(set("ExecStartPre=/bin/true"), None);
        assert_eq!(set("Environment=\"A=b\" \"CONFIG=/etc/x\"").as_deref(), Some("CONFIG"));
        assert_eq!(set("Environment=CONFIG_DIR=/etc/x"), None);
    }

    #[test]
    fn lines_that_begin_with_what_a_role_sets() {
        for (line, set, is) in [
            ("CONFIG=/x", "CONFIG", true),
            ("export CONFIG=/x", "CONFIG", true),
            ("CONFIGS=/x", "CONFIG", false),
            ("frontend web", "frontend", true),
            ("frontends", "frontend", false),
            ("vrrp_instance a {", "vrrp_instance", true),
            ("listen", "listen", true),
            ("/srv/a b(ro)", "/srv/a", true),
            ("/srv/ab b(ro)", "/srv/a", false),
            ("\"/srv/a\" b(ro)", "/srv/a", true),
            ("dns=default", "dns=default", true),
            ("manage_etc_hosts: true", "manage_etc_hosts", true),
        ] {
            assert_eq!(begins(line, set), is, "{line}");
        }
        for (line, is) in [
            ("ExecStart=/usr/bin/dockerd --dns 192.0.2.1", true),
            ("DOCKER_OPTS=\"--dns=192.0.2.1\"", true),
            ("DOCKER_OPTS=\"--dns\"", true),
            ("--dns-search a", false),
            ("x--dns", false),
        ] {
            assert_eq!(has_word(line, "--dns"), is, "{line}");
        }
        assert_eq!(escaped("/srv/a.b [c]|$"), "/srv/a\\.b \\[c\\]\\|\\$");
        assert_eq!(numbered("/etc/a:12:b: c"), Some(("/etc/a", 12, "b: c")));
    }
}
