//! The rules of the NFS roles: exports, mounts and accounts of all hosts against each other.
//!
//! What has the wrong type is reported for that, and left out here.

mod client;
mod options;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use self::client::Client;
use self::options::{ExportOption, meaning};
use super::VariableType;
use super::draft::Check;
use crate::inventory::node::{Kind, Node, Span};
use crate::inventory::reader::{list, nearest};
use crate::model::Diagnostic;
use crate::resource::HostPath;

const SERVER: &str = "nfs-server";

/// One export as written.
struct Export<'n> {
    node: &'n Node,
    path: Text<'n>,
    clients: Vec<Text<'n>>,
    /// The defaults where none are written.
    options: Vec<Text<'n>>,
}

#[derive(Clone, Copy)]
struct Text<'n> {
    text: &'n str,
    span: Span,
}

impl Export<'_> {
    /// Clients of version 4 see it as the root of the server.
    fn is_root(&self) -> bool {
        self.options.iter().any(|option| matches!(option.text, "fsid=0" | "fsid=root"))
    }
}

/// A path is inside another one that holds it at any depth.
fn is_inside(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

/// Paths, clients and options of the exports of each host.
pub fn exports(check: &Check<'_>, hosts: &[usize]) -> Vec<Diagnostic> {
    let defaults = default_options(check);
    let mut problems = Vec::new();
    for host in hosts {
        let vars = check.draft.vars_of(*host);
        let exports = exports_of(&vars, &defaults);
        let judge = ExportJudge {
            check,
            everyone: is_true(&vars, "allow_everyone"),
            ganesha: text_at(&vars, "implementation").is_some_and(|text| text.text == "ganesha"),
        };
        problems.extend(outside(check, at(&vars, "grace_seconds"), "`nfs.grace_seconds`", 0..=180));
        for (index, export) in exports.iter().enumerate() {
            problems.extend(outside(check, export.node.get("id"), "the `id` of an export", 1..=EXPORT_IDS));
            problems.extend(judge.one(export));
            for earlier in &exports[..index] {
                problems.extend(judge.pair(earlier, export));
            }
        }
    }
    problems
}

struct ExportJudge<'c, 'k> {
    check: &'c Check<'k>,
    everyone: bool,
    ganesha: bool,
}

impl ExportJudge<'_, '_> {
    fn error(&self, span: Span, message: String) -> Diagnostic {
        self.check.draft.document.error(span, message)
    }

    fn one(&self, export: &Export<'_>) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        problems.extend(unusable_path(self.check, export.path));
        if export.clients.is_empty()
            && let Some(clients) = export.node.get("clients")
        {
            problems.push(
                self.error(clients.span, format!("`{}` is exported to nobody", export.path.text))
                    .help("name networks, addresses or hosts: [10.0.0.0/24]"),
            );
        }
        for written in &export.clients {
            problems.extend(self.client(export, *written));
        }
        problems.extend(self.options(export));
        problems
    }

    fn client(&self, export: &Export<'_>, written: Text<'_>) -> Option<Diagnostic> {
        let client = match Client::parse(written.text) {
            Ok(client) => client,
            Err((message, help)) => return Some(self.error(written.span, message).help(help)),
        };
        if client.is_everyone() && !self.everyone {
            let message = format!(
                "`{}` exports {} to every host that reaches the server",
                written.text, export.path.text
            );
            return Some(self.error(written.span, message).label("everyone").help(
                "name the networks of the clients, or set `nfs: { allow_everyone: true }` if that is meant",
            ));
        }
        let mask = written.text.split_once('/').is_some_and(|(_, mask)| mask.contains('.'));
        if self.ganesha
            && mask
            && let Client::Network(network) = client
        {
            let message = format!("NFS-Ganesha reads no netmask: `{}`", written.text);
            return Some(self.error(written.span, message).help(format!("write {network}")));
        }
        None
    }

    fn options(&self, export: &Export<'_>) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut known: Vec<(ExportOption<'_>, Span)> = Vec::new();
        for written in &export.options {
            let option = match ExportOption::parse(written.text) {
                Ok(option) => option,
                Err(mistake) => {
                    problems.push(self.error(written.span, mistake.message).help(mistake.help));
                    continue;
                }
            };
            if self.ganesha && !option.in_ganesha() {
                problems.push(
                    self.error(written.span, format!("NFS-Ganesha has nothing like `{}`", option.text))
                        .help("leave it out, or serve from the kernel: `nfs: { implementation: kernel }`"),
                );
            }
            // With several `sec`, each has the options that follow it.
            let several = export.options.iter().filter(|option| option.text.starts_with("sec=")).count() > 1;
            if let Some((other, span)) = known.iter().find(|(other, _)| !several && option.contradicts(other))
            {
                problems.push(
                    self.error(written.span, format!("`{}` contradicts `{}`", option.text, other.text))
                        .also(span.range(), format!("`{}`", other.text))
                        .help("keep one of them"),
                );
            }
            known.push((option, written.span));
        }
        problems
    }

    /// Two exports of one host: the same path, or one inside the other.
    fn pair(&self, earlier: &Export<'_>, export: &Export<'_>) -> Option<Diagnostic> {
        let (a, b) = (earlier.path.text, export.path.text);
        if a == b {
            return Some(
                self.error(export.path.span, format!("`{b}` is exported twice"))
                    .also(earlier.path.span.range(), "first here")
                    .help("name all its clients in one export"),
            );
        }
        if self.ganesha && number(earlier) == number(export) {
            let message = format!("`{a}` and `{b}` would have the same number in NFS-Ganesha");
            return Some(
                self.error(export.path.span, message)
                    .also(earlier.path.span.range(), "the other one")
                    .help("give one of them another: `id: 1`"),
            );
        }
        let (inner, outer) = match (is_inside(b, a), is_inside(a, b)) {
            (true, _) => (export, earlier),
            (_, true) => (earlier, export),
            _ => return None,
        };
        let parse = |export: &Export<'_>| {
            export
                .options
                .iter()
                .map(|option| ExportOption::parse(option.text).ok())
                .collect::<Option<Vec<_>>>()
                .map(|options| meaning(&options))
        };
        // What is no option is reported for that.
        if parse(inner)? == parse(outer)? {
            return None;
        }
        let written = |export: &Export<'_>| {
            let options: Vec<&str> = export.options.iter().map(|option| option.text).collect();
            format!("[{}]", options.join(", "))
        };
        let message = format!(
            "`{}` is inside `{}`, which is exported with other options: {} here, {} there",
            inner.path.text,
            outer.path.text,
            written(inner),
            written(outer)
        );
        Some(
            self.error(inner.path.span, message)
                .also(outer.path.span.range(), format!("exported with {}", written(outer)))
                .help(
                    "a client that may use the outer one reaches the inner one through it: \
                     give both the same options, or export folders beside each other",
                ),
        )
    }
}

/// The number by which NFS-Ganesha and its clients know an export: a changed list must not change it.
fn number(export: &Export<'_>) -> u64 {
    let written = export.node.get("id").and_then(|node| node.to_json().as_u64());
    written.unwrap_or_else(|| super::render::stable_number(export.path.text, EXPORT_IDS))
}

/// Export ids have 16 bits, and 0 is the root of the pseudo file system.
const EXPORT_IDS: u64 = 65535;

/// A number that is not within its bounds.
fn outside(
    check: &Check<'_>,
    node: Option<&Node>,
    what: &str,
    bounds: std::ops::RangeInclusive<u64>,
) -> Option<Diagnostic> {
    let node = node.filter(|node| matches!(node.kind, Kind::Number(_)))?;
    let fits = node.to_json().as_u64().is_some_and(|number| bounds.contains(&number));
    let message = format!("{what} is a number from {} to {}", bounds.start(), bounds.end());
    (!fits).then(|| check.draft.document.error(node.span, message))
}

/// Paths that need no quoting in exports, in unit files and in NFS-Ganesha's configuration.
fn unusable_path(check: &Check<'_>, path: Text<'_>) -> Option<Diagnostic> {
    // A relative one has not the type of a path.
    if !path.text.starts_with('/') {
        return None;
    }
    let plain = path.text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:".contains(c));
    let help = match path.text.parse::<HostPath>() {
        Ok(_) if plain => return None,
        Ok(_) => "it is made of letters, digits and `/._-+@:`".to_owned(),
        Err(_) if path.text == "/" => "name a folder below it".to_owned(),
        Err(_) => "leave out `.` and `..`, doubled slashes and the slash at its end".to_owned(),
    };
    let problem = check.draft.document.error(path.span, format!("`{}` cannot be shared by NFS", path.text));
    Some(problem.help(help))
}

/// Mounts of each host: one place each, of what the server exports, to a client that it lets in.
pub fn mounts(check: &Check<'_>, hosts: &[usize]) -> Vec<Diagnostic> {
    let defaults = default_options(check);
    let servers: Vec<usize> = check.having(SERVER).into_iter().map(|(host, _)| host).collect();
    let mut problems = Vec::new();
    for host in hosts {
        let vars = check.draft.vars_of(*host);
        let own = if servers.contains(host) { exports_of(&vars, &defaults) } else { Vec::new() };
        let mut places: BTreeMap<&str, Span> = BTreeMap::new();
        for mount in items(&vars, "mounts") {
            let fields = ["export", "path", "server"].map(|field| text_of(mount.get(field)));
            let [Some(export), Some(place), Some(server)] = fields else { continue };
            // The root of a server is one that somebody else exports, or a folder that is told to be it.
            let paths =
                [export, place].into_iter().filter(|path| path.text != "/" || path.span == place.span);
            problems.extend(paths.filter_map(|path| unusable_path(check, path)));
            if let Some(first) = places.insert(place.text, place.span) {
                problems.push(
                    check
                        .draft
                        .document
                        .error(place.span, format!("`{}` is mounted twice", place.text))
                        .also(first.range(), "first here")
                        .help("one of them would hide the other: give it another `path`"),
                );
            }
            let itself = server.text == check.host(*host).as_str() && export.text == place.text;
            if let Some(hidden) = own.iter().find(|own| own.path.text == place.text).filter(|_| !itself) {
                let message =
                    format!("`{}` is mounted over what `{}` exports itself", place.text, check.host(*host));
                problems.push(
                    check
                        .draft
                        .document
                        .error(place.span, message)
                        .also(hidden.path.span.range(), "the export")
                        .help(
                            "mount it elsewhere: its own files would be hidden from it, but not from others",
                        ),
                );
            }
            for option in texts(mount.get("options")) {
                problems.extend(mount_option(check, option));
            }
            let server = match server_of(check, server, &servers) {
                Ok(Some(server)) => server,
                // Somebody outside the inventory: nothing is known of what it exports.
                Ok(None) => continue,
                Err(problem) => {
                    problems.push(*problem);
                    continue;
                }
            };
            let server_vars = check.draft.vars_of(server);
            let exports = exports_of(&server_vars, &defaults);
            problems.extend(judge_mount(check, *host, server, export, &exports));
        }
    }
    problems
}

fn mount_option(check: &Check<'_>, option: Text<'_>) -> Option<Diagnostic> {
    let parts: Vec<&str> = option.text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    (parts.len() != 1 || parts[0] != option.text).then(|| {
        check
            .draft
            .document
            .error(option.span, format!("`{}` is more than one option", option.text))
            .help(format!("each is an item of its own: [{}]", parts.join(", ")))
    })
}

/// The host that a mount is of, `None` for one that is not in the inventory.
fn server_of(
    check: &Check<'_>,
    written: Text<'_>,
    servers: &[usize],
) -> Result<Option<usize>, Box<Diagnostic>> {
    let names =
        |hosts: &[usize]| list(&hosts.iter().map(|host| check.host(*host).as_str()).collect::<Vec<_>>());
    let error = |span: Span, message: String| check.draft.document.error(span, message);
    let known = (0..check.draft.hosts.len()).find(|host| check.host(*host).as_str() == written.text);
    match known {
        Some(host) if servers.contains(&host) => Ok(Some(host)),
        Some(host) => Err(Box::new(
            error(
                written.span,
                format!("`{}` exports nothing: it has not the role `{SERVER}`", check.host(host)),
            )
            .help(match servers {
                [] => format!("give it the role: `roles: [{SERVER}]`"),
                _ => format!("hosts with the role: {}", names(servers)),
            }),
        )),
        None if written.text.contains('.') || written.text.parse::<IpAddr>().is_ok() => Ok(None),
        None => {
            let hosts = (0..check.draft.hosts.len()).map(|host| check.host(host).as_str());
            let help = match nearest(written.text, hosts) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a host of this inventory by its name, or any other by its address or full name"
                    .to_owned(),
            };
            Err(Box::new(error(written.span, format!("there is no host `{}`", written.text)).help(help)))
        }
    }
}

/// Whether the server exports it, and to this host.
fn judge_mount(
    check: &Check<'_>,
    host: usize,
    server: usize,
    wanted: Text<'_>,
    exports: &[Export<'_>],
) -> Option<Diagnostic> {
    // Below a root (`fsid=0`) clients of version 4 name what they mount by its path from there.
    let roots = exports
        .iter()
        .filter(|export| export.is_root())
        .map(|root| format!("{}{}", root.path.text, wanted.text.trim_end_matches('/')));
    let names: Vec<String> = roots.chain([wanted.text.to_owned()]).collect();
    let within = |export: &&Export<'_>| {
        names.iter().any(|name| name == export.path.text || is_inside(name, export.path.text))
    };
    let Some(export) = exports.iter().filter(within).max_by_key(|export| export.path.text.len()) else {
        let paths: Vec<&str> = exports.iter().map(|export| export.path.text).collect();
        let help = match nearest(wanted.text, paths.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if paths.is_empty() => format!("`{}` exports nothing", check.host(server)),
            None => format!("`{}` exports {}", check.host(server), list(&paths)),
        };
        let message = format!("`{}` does not export `{}`", check.host(server), wanted.text);
        return Some(check.draft.document.error(wanted.span, message).label("no such export").help(help));
    };
    if host == server {
        return None;
    }
    let own = &check.draft.hosts[host];
    let written = own.cluster_address.as_ref().map(|address| address.value);
    let address = written.or_else(|| own.address().parse().ok())?;
    let name = check.host(host).as_str();
    let lets_in = |client: &Text<'_>| match Client::parse(client.text) {
        Ok(Client::Name) if client.text == name => Some(true),
        Ok(Client::Name) if check.draft.hosts.iter().any(|host| host.name.value.as_str() == client.text) => {
            Some(false)
        }
        Ok(client) => client.includes(address),
        Err(_) => None,
    };
    if !export.clients.iter().all(|client| lets_in(client) == Some(false)) || export.clients.is_empty() {
        return None;
    }
    let clients: Vec<&str> = export.clients.iter().map(|client| client.text).collect();
    let message = format!(
        "`{name}` ({address}) mounts `{}`, which is exported to {} alone",
        wanted.text,
        list(&clients)
    );
    Some(
        check
            .draft
            .document
            .warning(wanted.span, message)
            .also(export.path.span.range(), "the export")
            .help("add its address or network to the `clients` of the export"),
    )
}

/// Accounts that own shared files: a number each, and the same on all hosts.
pub fn users(check: &Check<'_>, hosts: &[usize]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut first: BTreeMap<(&str, String), (String, Span)> = BTreeMap::new();
    for host in hosts {
        let vars = check.draft.vars_of(*host);
        for user in items(&vars, "users") {
            let (Some(name), Some(uid)) = (text_of(user.get("name")), user.get("uid")) else { continue };
            let Kind::Number(number) = &uid.kind else { continue };
            let number = number.to_string();
            for (what, value, other, span) in [
                ("user", name.text.to_owned(), number.clone(), uid.span),
                ("uid", number.clone(), name.text.to_owned(), name.span),
            ] {
                let Some((known, known_span)) = first.get(&(what, value.clone())) else {
                    first.insert((what, value), (other, span));
                    continue;
                };
                if *known == other {
                    continue;
                }
                let message = match what {
                    "user" => format!("user `{value}` has the uid {other} here, {known} elsewhere"),
                    _ => format!("uid {value} is `{other}` here, `{known}` elsewhere"),
                };
                problems.push(
                    check
                        .draft
                        .document
                        .error(span, message)
                        .also(known_span.range(), "elsewhere")
                        .help("files are owned by numbers: a user needs the same one on every host"),
                );
            }
        }
    }
    problems
}

fn exports_of<'n>(vars: &'n Node, defaults: &'n [String]) -> Vec<Export<'n>> {
    let exports = items(vars, "exports").iter().filter_map(|node| {
        let path = text_of(node.get("path"))?;
        let options = match node.get("options") {
            Some(options) if !options.is_null() => texts(Some(options)),
            _ => defaults.iter().map(|text| Text { text, span: path.span }).collect(),
        };
        Some(Export { node, path, clients: texts(node.get("clients")), options })
    });
    exports.collect()
}

/// What the role says of exports that name no options.
fn default_options(check: &Check<'_>) -> Vec<String> {
    let role = check.roles.roles.values().find_map(|role| role.variables.get("nfs.exports"));
    let fields = role.map(|variable| &variable.r#type).and_then(VariableType::fields);
    let default = fields.and_then(|fields| fields.get("options")?.default.as_ref()?.as_array().cloned());
    default.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn at<'n>(vars: &'n Node, key: &str) -> Option<&'n Node> {
    vars.get("nfs")?.get(key)
}

fn items<'n>(vars: &'n Node, key: &str) -> &'n [Node] {
    match at(vars, key).map(|node| &node.kind) {
        Some(Kind::List(items)) => items,
        _ => &[],
    }
}

fn text_at<'n>(vars: &'n Node, key: &str) -> Option<Text<'n>> {
    text_of(at(vars, key))
}

fn is_true(vars: &Node, key: &str) -> bool {
    at(vars, key).is_some_and(|node| node.to_json() == Value::Bool(true))
}

fn text_of(node: Option<&Node>) -> Option<Text<'_>> {
    match node {
        Some(Node { kind: Kind::Text(text), span }) => Some(Text { text, span: *span }),
        _ => None,
    }
}

fn texts(node: Option<&Node>) -> Vec<Text<'_>> {
    match node.map(|node| &node.kind) {
        Some(Kind::List(items)) => items.iter().filter_map(|item| text_of(Some(item))).collect(),
        _ => Vec::new(),
    }
}
