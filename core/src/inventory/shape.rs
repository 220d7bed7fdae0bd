//! The tree of an inventory file -> [`Draft`]: its keys, their types, ranges expanded.

use std::collections::HashSet;
use std::path::PathBuf;

use super::draft::{Draft, DraftGroup, DraftHost, DraftJob, DraftSsh};
use super::node::{Entry, Kind, Located, Node};
use super::reader::{Fields, Reader, SSH, duration};
use super::{Become, HostKeys, address, range};
use crate::model::{ClusterName, GroupName, RoleName};

/// The keys of each level; `schema` describes the same ones, and a test compares.
pub const TOP: &[&str] = &["cluster", "ssh", "hosts", "groups", "vars", "jobs"];
pub const HOST: &[&str] = &["address", "cluster_address", "cluster_interface", "ssh", "roles", "vars"];
pub const GROUP: &[&str] = &["hosts", "roles", "ssh", "vars"];
pub const JOB: &[&str] = &["file", "ready", "variables"];

/// Reads the whole draft; group members are found later, by `check`.
pub fn draft(reader: &mut Reader<'_>) -> Draft {
    let document = reader.document;
    let mut draft = Draft {
        cluster: None,
        ssh: DraftSsh::default(),
        hosts: Vec::new(),
        unnamed: Vec::new(),
        groups: Vec::new(),
        vars: None,
        jobs: Vec::new(),
        whole: HashSet::new(),
        complete: false,
        document: document.clone(),
    };
    let root = &document.root;
    match root.kind {
        Kind::Map(_) => {}
        Kind::Null => {
            let problem = document.error(root.span, "the inventory is empty").help(
                "`bootstrap init FILE` writes a commented starter; `cluster:` and `hosts:` are the least",
            );
            reader.note(problem.without_excerpt());
            return draft;
        }
        _ => {
            reader.fields(root, "the inventory", TOP);
            return draft;
        }
    }
    let fields = reader.fields(root, "the inventory", TOP);
    match fields.written("cluster") {
        Some(node) => {
            let text = reader.text(node, "`cluster`");
            draft.cluster = text.and_then(|text| reader.name(&text, ClusterName::parse));
        }
        None => missing(reader, &fields, "cluster", "the cluster's name, for example `cluster: dc1`"),
    }
    draft.ssh = fields.written("ssh").map(|node| ssh(reader, node)).unwrap_or_default();
    match fields.written("hosts") {
        Some(node) if !matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) => {
            if let Kind::List(_) = node.kind {
                reader.wrong_type(node, "`hosts`", "a map of host names to their settings").help = Some(
                    "write `node-1: { address: 10.0.0.11 }`, one host to a line, without `-`".to_owned(),
                );
            }
            for entry in node.entries() {
                let hosts = hosts(reader, entry);
                if hosts.is_empty() {
                    draft.unnamed.push(entry.key.value.clone());
                }
                draft.hosts.extend(hosts);
            }
            if !matches!(node.kind, Kind::Map(_) | Kind::List(_)) {
                reader.wrong_type(node, "`hosts`", "a map of host names to their settings");
            }
        }
        _ => missing(
            reader,
            &fields,
            "hosts",
            "at least one host, for example `node-1: { address: 10.0.0.11 }`",
        ),
    }
    if let Some(node) = fields.written("groups") {
        for entry in reader.entries(node, "`groups`", "a map of group names to their hosts and roles") {
            draft.groups.extend(group(reader, entry));
        }
    }
    draft.vars = fields.written("vars").and_then(|node| vars(reader, node, "`vars`"));
    if let Some(node) = fields.written("jobs") {
        for item in reader.items(node, "`jobs`", "a list of jobs") {
            draft.jobs.extend(job(reader, item));
        }
    }
    draft
}

/// `{ file: jobs/web.nomad.hcl, variables: { count: 2 } }` or `{ ready: fabio }`.
fn job<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<DraftJob> {
    let fields = reader.fields(node, "a job", JOB);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    let (file, ready) = (fields.written("file"), fields.written("ready"));
    let (written, is_file) = match (file, ready) {
        (Some(file), None) => (file, true),
        (None, Some(ready)) => (ready, false),
        _ => {
            let problem = reader.document.error(node.span, "a job has either `file` or `ready`");
            reader.note(problem.help("write `- file: jobs/web.nomad.hcl`, or `- ready: fabio`"));
            return None;
        }
    };
    let source = reader.text(written, if is_file { "`file`" } else { "`ready`" })?;
    let variables = match fields.written("variables") {
        Some(node) if !matches!(node.kind, Kind::Map(_)) => {
            reader.wrong_type(node, "`variables`", "a map of the job file's variables");
            None
        }
        variables => variables.cloned(),
    };
    Some(DraftJob { source, is_file, variables })
}

fn missing(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, wanted: &str) {
    let document = reader.document;
    let problem = match fields.key(key) {
        Some(span) => document.error(span, format!("`{key}` has no value")).label("nothing follows"),
        None => document.error(document.root.span, format!("the inventory has no `{key}`")).without_excerpt(),
    };
    reader.note(problem.help(format!("it needs {wanted}")));
}

fn vars(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Node> {
    match node.kind {
        Kind::Map(_) => Some(node.clone()),
        _ => {
            reader.wrong_type(node, what, "a map of variables by namespace").help =
                Some("for example `vars: { consul: { version: 1.21.4 } }`".to_owned());
            None
        }
    }
}

fn ssh<'d>(reader: &mut Reader<'d>, node: &'d Node) -> DraftSsh {
    let fields = reader.fields(node, "`ssh`", SSH);
    let mut path = |key: &str| {
        let text = fields.written(key).and_then(|node| reader.text(node, &format!("`{key}`")));
        text.map(|text| PathBuf::from(text.value))
    };
    let (identity_file, known_hosts, config) = (path("identity_file"), path("known_hosts"), path("config"));
    DraftSsh {
        identity_file,
        known_hosts,
        config,
        user: fields.written("user").and_then(|node| user(reader, node)),
        port: fields.written("port").and_then(|node| port(reader, node)),
        jump: fields.written("jump").map(|node| jump(reader, node)),
        host_keys: fields.written("host_keys").and_then(|node| {
            let words = [("strict", HostKeys::Strict), ("accept-new", HostKeys::AcceptNew)];
            let found = reader.choice(node, "`host_keys`", &words);
            if found.is_none() {
                reader.advise(
                    "`strict` refuses unknown host keys, `accept-new` learns them; \
                     checking them cannot be switched off",
                );
            }
            found
        }),
        r#become: fields.written("become").and_then(|node| {
            let words = [("auto", Become::Auto), ("sudo", Become::Sudo), ("none", Become::None)];
            reader.choice(node, "`become`", &words)
        }),
        kex: fields.written("kex").map(|node| kex(reader, node)),
        persist: fields.written("persist").and_then(|node| match &node.kind {
            Kind::Text(text) if duration(text).is_some() => duration(text),
            _ => {
                reader.wrong_type(node, "`persist`", "a duration").help =
                    Some("a number with a unit: 30s, 10m, 1h".to_owned());
                None
            }
        }),
    }
}

fn user(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "`user`")?;
    let odd = text.value.starts_with('-')
        || text.value.contains(|c: char| c.is_whitespace() || c.is_control() || "@:/\\'\"$`;".contains(c));
    if !odd {
        return Some(text.value);
    }
    let problem = reader.document.error(text.span, format!("`{}` is no user name", text.value));
    reader.note(problem.help("the name of an account on the hosts: root, admin, debian"));
    None
}

fn port(reader: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let port = match &node.kind {
        Kind::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        _ => None,
    };
    if port.is_none_or(|port| port == 0) {
        let help = match &node.kind {
            Kind::Text(text) if text.parse::<u16>().is_ok() => Some(format!("write {text} without quotes")),
            _ => None,
        };
        reader.wrong_type(node, "`port`", "a number from 1 to 65535").help = help;
        return None;
    }
    port
}

fn jump<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Vec<String> {
    let hops = reader.texts(node, "`jump`", "a list of jump hosts");
    for hop in &hops {
        let odd = hop.value.starts_with('-')
            || hop.value.contains(|c: char| c.is_whitespace() || c.is_control() || ",'\"$`;/".contains(c));
        if odd {
            let problem = reader.document.error(hop.span, format!("`{}` is no jump host", hop.value));
            reader.note(problem.help(
                "each is `[user@]host[:port]`, in the order they are passed, or a `Host` of ~/.ssh/config",
            ));
        }
    }
    hops.into_iter().map(|hop| hop.value).collect()
}

fn kex<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Vec<String> {
    let names = reader.texts(node, "`kex`", "a list of key exchange algorithms");
    for name in &names {
        let good = |c: char| c.is_ascii_alphanumeric() || "@.-".contains(c);
        if name.value.is_empty() || name.value.starts_with('-') || !name.value.chars().all(good) {
            let text = format!("`{}` is no key exchange algorithm", name.value);
            let problem = reader.document.error(name.span, text);
            reader.note(problem.help("`ssh -Q kex` lists those that this machine knows"));
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

/// One entry of `hosts`: one host, or as many as its range has.
fn hosts<'d>(reader: &mut Reader<'d>, entry: &'d Entry) -> Vec<DraftHost> {
    let (key, node) = (&entry.key, &entry.value);
    let what = format!("host `{}`", key.value);
    if let Kind::Text(text) = &node.kind {
        let help = format!("write `{}: {{ address: {text} }}`", key.value);
        reader.wrong_type(node, &what, "a map").help = Some(help);
    }
    let fields = match node.kind {
        Kind::Text(_) => Fields::default(),
        _ => reader.fields(node, &what, HOST),
    };
    let names = address::names(reader, key);
    let mut addresses = fields.written("address").and_then(|node| {
        let text = reader.text(node, "`address`")?;
        address::pairwise(reader, key, names.len(), &text)
    });
    if let Some(texts) = &mut addresses {
        texts.retain(|text| address::check_address(reader, text));
    }
    let cluster_addresses = fields.written("cluster_address").and_then(|node| {
        let text = reader.text(node, "`cluster_address`")?;
        let texts = address::pairwise(reader, key, names.len(), &text)?;
        Some(texts.iter().filter_map(|text| address::ip_address(reader, text)).collect::<Vec<_>>())
    });
    let cluster_interface = fields.written("cluster_interface").and_then(|node| {
        if let Some(other) = fields.get("cluster_address") {
            let problem = reader
                .document
                .error(node.span, format!("{what} has both `cluster_address` and `cluster_interface`"))
                .label("the address of an interface")
                .also(other.span.range(), "one address")
                .help("keep one of them: each says at which address the agents talk to each other");
            reader.note(problem);
        }
        address::interface(reader, node)
    });
    let ssh = fields.written("ssh").map(|node| ssh(reader, node)).unwrap_or_default();
    let roles = fields.written("roles").map(|node| roles(reader, node, &what)).unwrap_or_default();
    let vars = fields.written("vars").and_then(|node| vars(reader, node, &format!("`vars` of {what}")));
    let range = range::is_range(&key.value).then(|| key.value.clone());
    let host = |(index, name)| DraftHost {
        name: Located { value: name, span: key.span },
        range: range.clone(),
        // A wrong address is missing here: its diagnostic is written already.
        address: addresses.as_ref().and_then(|texts| texts.get(index).cloned()),
        cluster_address: cluster_addresses.as_ref().and_then(|addresses| addresses.get(index).cloned()),
        cluster_interface: cluster_interface.clone(),
        ssh: ssh.clone(),
        roles: roles.clone(),
        vars: vars.clone(),
    };
    names.into_iter().enumerate().map(host).collect()
}

fn roles<'d>(reader: &mut Reader<'d>, node: &'d Node, what: &str) -> Vec<Located<RoleName>> {
    let texts = reader.texts(node, &format!("`roles` of {what}"), "a list of roles");
    let mut roles: Vec<Located<RoleName>> = Vec::new();
    for text in &texts {
        let Some(role) = reader.name(text, RoleName::parse) else { continue };
        match roles.iter().find(|known| known.value == role.value) {
            Some(first) => {
                let problem = reader
                    .document
                    .warning(role.span, format!("{what} names the role `{}` twice", role.value))
                    .label("again here")
                    .also(first.span.range(), "first here")
                    .help("remove one of them");
                reader.note(problem);
            }
            None => roles.push(role),
        }
    }
    roles
}

fn group<'d>(reader: &mut Reader<'d>, entry: &'d Entry) -> Option<DraftGroup> {
    let (key, node) = (&entry.key, &entry.value);
    let what = format!("group `{}`", key.value);
    let fields = match node.kind {
        Kind::List(_) => {
            reader.wrong_type(node, &what, "a map").help =
                Some(format!("write `{}: {{ hosts: [...], roles: [...] }}`", key.value));
            Fields::default()
        }
        _ => reader.fields(node, &what, GROUP),
    };
    let name = reader.name(key, GroupName::parse);
    let hosts = fields.written("hosts");
    let empty = match hosts {
        None => true,
        Some(node) => matches!(&node.kind, Kind::List(items) if items.is_empty()),
    };
    if empty && !matches!(node.kind, Kind::List(_)) {
        let span = fields.key("hosts").unwrap_or(key.span);
        let problem = reader.document.error(span, format!("{what} has no hosts")).label("no hosts");
        reader.note(problem.help("name its hosts, `hosts: [node-1, \"web-*\"]`, or remove the group"));
    }
    Some(DraftGroup {
        hosts: hosts
            .map(|node| reader.texts(node, &format!("`hosts` of {what}"), "a list of host names"))
            .unwrap_or_default(),
        members: Vec::new(),
        roles: fields.written("roles").map(|node| roles(reader, node, &what)).unwrap_or_default(),
        ssh: fields.written("ssh").map(|node| ssh(reader, node)).unwrap_or_default(),
        vars: fields.written("vars").and_then(|node| vars(reader, node, &format!("`vars` of {what}"))),
        name: name?,
    })
}
