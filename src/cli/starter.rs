//! The three answers of `bootstrap init` -> an inventory: which hosts, as whom to log in, what shall run there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;

use clap::ValueEnum;

use super::templates;
use crate::inventory::range::{self, RangeError};
use crate::model::HostName;

/// As whom SSH logs in if nobody says so.
const USER: &str = "root";

/// So many servers survive the loss of one; with fewer hosts there is one server.
const SERVERS: usize = 3;

/// What shall run on the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Consul: servers, and a client on every other host.
    #[default]
    Consul,
    /// Consul and Nomad, with Docker and `*.consul` names where jobs run.
    Nomad,
    /// Kubernetes: a control plane, and workers.
    Kubernetes,
}

/// What an operator has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Addresses, each once, ranges expanded; empty: not said.
    pub hosts: Vec<String>,
    pub user: Option<String>,
    pub purpose: Option<Purpose>,
}

/// Addresses as they are typed: separated by commas or blanks, with ranges.
pub fn addresses(text: &str) -> Result<Vec<String>, RangeError> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    Ok(words.map(range::expand).collect::<Result<Vec<_>, _>>()?.concat())
}

/// Asks which hosts, and for the rest of what is not said yet. Whoever names no host gets the example, and is asked no more.
pub fn ask(given: Given, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Given> {
    let Given { mut user, mut purpose, .. } = given;
    writeln!(
        output,
        "Which hosts? Their addresses, for example 10.0.0.1[1-3] or a.example.org b.example.org."
    )?;
    let hosts = answer("Hosts [an example to edit]: ", input, output, |text| {
        addresses(text).map_err(|error| format!("{error}; {}", error.help()))
    })?;
    if hosts.is_empty() {
        return Ok(Given::default());
    }
    if user.is_none() {
        let question = format!("SSH logs in as [{USER}]: ");
        user = answer(&question, input, output, |text| Ok((!text.is_empty()).then(|| text.to_owned())))?;
    }
    if purpose.is_none() {
        let values = Purpose::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        let question = format!("What shall run there: {}? [{}]: ", names.join(", "), names[0]);
        purpose = answer(&question, input, output, |text| {
            let text = if text.is_empty() { &names[0] } else { text };
            Purpose::from_str(text, true).map(Some).map_err(|_| format!("`{text}` is none of these"))
        })?;
    }
    Ok(Given { hosts, user, purpose })
}

/// Asks until the answer can be read.
fn answer<T>(
    question: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
    read: impl Fn(&str) -> Result<T, String>,
) -> io::Result<T> {
    loop {
        write!(output, "{question}")?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(output)?;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no answer: nothing was written"));
        }
        match read(line.trim()) {
            Ok(value) => return Ok(value),
            Err(reason) => writeln!(output, "{reason}")?,
        }
    }
}

/// The inventory, with the comments of the example.
pub fn inventory(given: &Given) -> String {
    let user = given.user.as_deref().unwrap_or(USER);
    let names = names(&given.hosts);
    let purpose = given.purpose.unwrap_or_default();
    let servers = if names.len() < SERVERS { 1 } else { SERVERS };
    let (title, servers) = match purpose {
        Purpose::Consul => ("A cluster of Consul.", servers),
        Purpose::Nomad => ("A cluster of Consul and Nomad.", servers),
        Purpose::Kubernetes => ("A cluster of Kubernetes.", 1),
    };
    let (servers, others) = names.split_at(servers);
    let example = templates::text(templates::USUAL).unwrap_or_default();
    let mut sections: Vec<String> = example.trim_end().split("\n\n").map(str::to_owned).collect();
    for section in &mut sections {
        if let Some((_, rest)) = section.split_once("# A cluster of three Consul servers.") {
            *section = format!("# {title}{rest}");
        } else if section.contains("\nssh:\n") {
            *section = section.replacen("user: root ", &format!("user: {:<4} ", scalar(user)), 1);
        } else if section.contains("\nhosts:\n") {
            *section = hosts(&names, &given.hosts, purpose);
        } else if section.contains("\ngroups:\n") {
            *section = groups(purpose, servers, others);
        } else if section.contains("\nvars:\n") {
            *section = vars(purpose, &given.hosts[0], section);
        }
    }
    sections.join("\n\n") + "\n"
}

/// `web1.example.org` is `web1`; hosts without a name of their own are numbered, and so are all if two would have one name.
fn names(hosts: &[String]) -> Vec<String> {
    let own = |(at, address): (usize, &String)| {
        let first = address.split('.').next().filter(|_| address.parse::<IpAddr>().is_err());
        let first = first.map(str::to_lowercase).filter(|first| HostName::parse(first).is_ok());
        first.unwrap_or_else(|| format!("node-{}", at + 1))
    };
    let names: Vec<String> = hosts.iter().enumerate().map(own).collect();
    let is_unique = names.iter().collect::<BTreeSet<_>>().len() == names.len();
    if is_unique { names } else { (1..=hosts.len()).map(|at| format!("node-{at}")).collect() }
}

/// A value as YAML: in JSON's quotes unless it is plain.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !text.chars().all(|c| c.is_ascii_digit());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn hosts(names: &[String], addresses: &[String], purpose: Purpose) -> String {
    let mut text = String::from(match purpose {
        Purpose::Kubernetes => "# The names become node names.\nhosts:\n",
        _ => {
            "# Three servers survive the loss of one, five that of two. The names become node names.\nhosts:\n"
        }
    });
    for (name, address) in names.iter().zip(addresses) {
        let _ = writeln!(text, "  {name}: {{ address: {} }}", scalar(address));
    }
    text.push_str(
        "  # Where agents talk to each other over another network than SSH:\n  # name: { address: …, cluster_address: 10.0.0.14 }\n  # name: { address: …, cluster_interface: eth1 }",
    );
    text
}

fn groups(purpose: Purpose, servers: &[String], others: &[String]) -> String {
    let alone = others.is_empty();
    let groups: Vec<(&str, &[String], &str)> = match purpose {
        Purpose::Consul => vec![("servers", servers, "consul-server"), ("clients", others, "consul-client")],
        // Where there is no host for jobs alone, they run beside the servers.
        Purpose::Nomad if alone => {
            vec![("servers", servers, "consul-server, nomad-server, nomad-client, docker, dns")]
        }
        Purpose::Nomad => vec![
            ("servers", servers, "consul-server, nomad-server"),
            ("workers", others, "consul-client, nomad-client, docker, dns"),
        ],
        Purpose::Kubernetes => vec![
            ("control-planes", servers, "container-runtime, kube-control-plane"),
            ("workers", others, "container-runtime, kube-worker"),
        ],
    };
    let mut text = String::from(
        "# Roles are given to groups of hosts. Names, ranges and globs such as \"web-*\" are all fine.\n",
    );
    if purpose == Purpose::Kubernetes {
        text.push_str(
            "# Three control planes survive the loss of one; they want an address in front of them: `--template kubernetes` has one.\n",
        );
    }
    text.push_str("groups:");
    for (name, hosts, roles) in groups.into_iter().filter(|(_, hosts, _)| !hosts.is_empty()) {
        let _ = write!(text, "\n  {name}: {{ hosts: [{}], roles: [{roles}] }}", hosts.join(", "));
    }
    text
}

fn vars(purpose: Purpose, first: &str, example: &str) -> String {
    let products = match purpose {
        Purpose::Consul => return example.to_owned(),
        Purpose::Nomad => "  consul: { version: 1.21.4 }\n  nomad: { version: 1.10.5 }".to_owned(),
        Purpose::Kubernetes => format!(
            "  kube:\n    version: 1.31.4\n    endpoint: {{ address: {} }}     # where everybody finds the API; it stays what it is\n    \
             cni: bridge                         # hosts of one network; or `network: {{ url: …, sha256: … }}` with flannel's or Calico's manifest",
            scalar(first)
        ),
    };
    format!("# Values for all hosts.\nvars:\n{products}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(hosts: &str, purpose: Purpose) -> Given {
        Given { hosts: addresses(hosts).unwrap(), user: Some("ops".to_owned()), purpose: Some(purpose) }
    }

    /// What was asked, and what came of it, for the lines that somebody typed.
    fn typed(given: Given, lines: &str) -> (String, io::Result<Given>) {
        let mut output = Vec::new();
        let answers = ask(given, &mut lines.as_bytes(), &mut output);
        (String::from_utf8(output).unwrap(), answers)
    }

    #[test]
    fn three_questions_and_each_has_an_answer_already() {
        let (asked, answers) = typed(Given::default(), "10.0.0.1[1-3]\n\n\n");
        let expected =
            Given { purpose: Some(Purpose::Consul), user: None, ..given("10.0.0.1[1-3]", Purpose::Consul) };
        assert_eq!(answers.unwrap(), expected);
        assert_eq!(asked.matches("]: ").count(), 3, "{asked}");

        // Whoever has no hosts yet gets the example.
        assert_eq!(typed(Given::default(), "\n").1.unwrap(), Given::default());
        // What was said is not asked.
        let said = given("a b", Purpose::Nomad);
        assert_eq!(typed(said.clone(), "a b\n").1.unwrap(), said);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_asked_for_again() {
        let (asked, answers) = typed(Given::default(), "10.0.0.[3-1]\n10.0.0.[1-3]\nops\nkonsul\nnomad\n");
        assert!(asked.contains("ends before it starts; did you mean `[1-3]`?"), "{asked}");
        assert!(asked.contains("`konsul` is none of these"), "{asked}");
        let answers = answers.unwrap();
        assert_eq!((answers.user.as_deref(), answers.purpose), (Some("ops"), Some(Purpose::Nomad)));
        assert_eq!(typed(Given::default(), "a b\n").1.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn hosts_have_their_own_names_or_are_numbered() {
        for (hosts, expected) in [
            ("10.0.0.1[1-2] fd00::1", "node-1 node-2 node-3"),
            ("Web1.example.org, db.example.org", "web1 db"),
            ("a.example.org a.example.net", "node-1 node-2"),
            ("10.0.0.1 db", "node-1 db"),
            ("node-2 10.0.0.1", "node-1 node-2"),
        ] {
            assert_eq!(names(&addresses(hosts).unwrap()).join(" "), expected, "{hosts}");
        }
    }

    #[test]
    fn whatever_is_answered_is_an_inventory() {
        let roles = crate::roles::RoleSet::embedded().unwrap();
        for purpose in Purpose::value_variants() {
            for hosts in [
                "10.0.0.11",
                "10.0.0.1[1-2]",
                "10.0.0.1[1-3]",
                "10.0.0.1[1-5]",
                "fd00::1 a.example.org 10.0.0.1[1-5]",
            ] {
                let text = inventory(&given(hosts, *purpose));
                let parsed =
                    crate::roles::parse_inventory(&text, std::path::Path::new("mine.yaml"), &roles, None);
                let (parsed, warnings) = parsed.unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
                // A cluster of one server is told to be one.
                assert!(
                    warnings.iter().all(|warning| warning.message.contains("is the only host with role")),
                    "{warnings:?}"
                );
                let expected = addresses(hosts).unwrap();
                assert_eq!(parsed.hosts.len(), expected.len());
                assert!(
                    parsed
                        .hosts
                        .iter()
                        .all(|host| !host.roles.is_empty() && host.ssh.user.as_deref() == Some("ops"))
                );
                // Nothing of the example's own answers is left, but in comments.
                assert!(
                    text.lines().all(|line| !line.contains("192.168.56.") || line.trim().starts_with('#')),
                    "{text}"
                );
            }
        }
        let text = inventory(&given("10.0.0.1[1-4]", Purpose::Nomad));
        for line in [
            "# A cluster of Consul and Nomad.",
            "  user: ops                             # anyone else needs sudo on the hosts",
            "  node-4: { address: 10.0.0.14 }",
            "  servers: { hosts: [node-1, node-2, node-3], roles: [consul-server, nomad-server] }",
            "  workers: { hosts: [node-4], roles: [consul-client, nomad-client, docker, dns] }",
        ] {
            assert!(text.lines().any(|written| written == line), "`{line}` is not in\n{text}");
        }
    }
}
