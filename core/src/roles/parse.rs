//! The files of one role -> [`Role`]; what roles say of each other.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::folder::Folder;
use super::library::with_included;
use super::{
    Ask, Filesystem, Forms, From, Generate, Port, Protocol, Refusal, Renderer, Require, Role, RoleSet, Rule,
    Token, Variable, VariableType, renderer,
};
use crate::inventory::node::{Document, Entry, Kind, Located, Node};
use crate::inventory::reader::{Reader, list, nearest};
use crate::inventory::yaml;
use crate::model::{Diagnostic, Endpoint, RoleName};

const KEYS: &[&str] = &[
    "doc",
    "includes",
    "needs",
    "conflicts",
    "after",
    "variables",
    "rules",
    "define",
    "resources",
    "ports",
    "require",
    "filesystems",
    "asks",
    "refuse",
    "tokens",
    "others",
    "verify",
    "drill",
    "gate",
    "endpoint",
    "lists_hosts",
    "removable",
    "quorum",
    "serves",
    "forms",
];
/// Keys of a resource that are no kind.
const BESIDE_KIND: [&str; 3] = ["when", "for_each", "removable"];
const REQUIRE_KEYS: &[&str] = &["that", "message", "help", "together"];
const FILESYSTEM_KEYS: &[&str] = &["name", "when", "remedy"];
const VARIABLE_KEYS: &[&str] =
    &["type", "default", "optional", "secret", "generate", "doc", "choices", "of", "fields"];
const FIELD_KEYS: &[&str] = &["type", "default", "optional", "doc", "choices", "of", "fields"];
const ASK_KEYS: &[&str] = &["port", "protocol", "at", "doc", "help"];
const PORT_KEYS: &[&str] = &["port", "protocol", "from", "on", "at", "program", "when", "for_each", "doc"];
const OTHERS_KEYS: &[&str] =
    &["unit", "variables", "files", "sets", "options", "until", "warns", "why", "take", "leave", "when"];
const TOKEN_KEYS: &[&str] = &["product", "name", "secret", "rules", "when"];
const REFUSAL_KEYS: &[&str] = &["when", "reason", "remedy", "warns"];

/// Reads one role; `None` if nothing can be made of its folder. What is wrong goes to `problems`.
pub fn parse(
    folder: &Folder,
    library: &BTreeMap<String, String>,
    problems: &mut Vec<Diagnostic>,
) -> Option<(Role, Document)> {
    let file = folder.path.join("role.yaml");
    let mut fail = |problem: Diagnostic| {
        problems.push(problem);
        None
    };
    let Some(bytes) = folder.files.get("role.yaml") else {
        return fail(
            Diagnostic::error(format!("the role folder {} has no role.yaml", folder.path.display()))
                .help("write one, or move the folder out of the roles folder"),
        );
    };
    let name = match RoleName::parse(folder.name.clone()) {
        Ok(name) => name,
        Err(error) => {
            return fail(
                Diagnostic::error(format!("{}: {error}", folder.path.display())).help("rename the folder"),
            );
        }
    };
    let text = match yaml::text(bytes.to_vec(), &file) {
        Ok(text) => text,
        Err(problem) => return fail(*problem),
    };
    let mut templates = IndexMap::new();
    for (path, bytes) in &folder.files {
        let Some(template) = path.strip_prefix("templates/") else { continue };
        let file = folder.path.join(path);
        match yaml::text(bytes.to_vec(), &file).and_then(|text| with_included(text, library, &file)) {
            Ok(text) => drop(templates.insert(template.to_owned(), text)),
            Err(problem) => problems.push(*problem),
        }
    }
    let (document, mut wrong) = yaml::parse(&text, &file);
    problems.append(&mut wrong);
    let document = document?;
    let mut reader = Reader::new(&document);
    let role = role(&mut reader, name, templates);
    problems.append(&mut reader.problems);
    Some((role, document))
}

fn role(reader: &mut Reader<'_>, name: RoleName, templates: IndexMap<String, String>) -> Role {
    let document = reader.document;
    let what = format!("role `{name}`");
    let fields = reader.fields(&document.root, &what, KEYS);
    let doc = match fields.written("doc") {
        Some(node) => reader.text(node, "`doc`").map(|text| text.value.trim().to_owned()),
        // What is no map at all is reported as that.
        None if !matches!(document.root.kind, Kind::Map(_) | Kind::Null) => None,
        None => {
            let problem =
                document.error(document.root.span, format!("{what} has no `doc`")).without_excerpt();
            reader
                .note(problem.help("one or two sentences on what it sets up: `bootstrap roles` shows them"));
            None
        }
    };
    let mut names = |key: &str| {
        let Some(node) = fields.written(key) else { return Vec::new() };
        let texts = reader.texts(node, &format!("`{key}`"), "a list of roles");
        texts.iter().filter_map(|text| reader.name(text, RoleName::parse)).map(|name| name.value).collect()
    };
    let (includes, needs, conflicts, after) =
        (names("includes"), names("needs"), names("conflicts"), names("after"));
    let mut variables = IndexMap::new();
    if let Some(node) = fields.written("variables") {
        for entry in reader.entries(node, "`variables`", "a map of variables by dotted name") {
            if let Some(variable) = variable(reader, entry) {
                variables.insert(entry.key.value.clone(), variable);
            }
        }
    }
    let mut rules = Vec::new();
    if let Some(node) = fields.written("rules") {
        for item in reader.items(node, "`rules`", "a list of rules by name") {
            rules.extend(reader.choice(item, "a rule", &Rule::WORDS));
        }
    }
    let mut define = IndexMap::new();
    if let Some(node) = fields.written("define") {
        for entry in reader.entries(node, "`define`", "a map of names to expressions") {
            let name = &entry.key.value;
            if let Some(text) = reader.text(&entry.value, &format!("`{name}`")) {
                define.insert(name.clone(), text.value);
            }
        }
    }
    let mut resources = Vec::new();
    if let Some(node) = fields.written("resources") {
        for item in reader.items(node, "`resources`", "a list of resources") {
            resources.extend(resource(reader, item, &templates));
        }
    }
    let mut ports = Vec::new();
    if let Some(node) = fields.written("ports") {
        for item in reader.items(node, "`ports`", "a list of ports") {
            ports.extend(port(reader, item));
        }
    }
    let mut require = Vec::new();
    if let Some(node) = fields.written("require") {
        for item in reader.items(node, "`require`", "a list of conditions") {
            require.extend(condition(reader, item));
        }
    }
    let mut filesystems = Vec::new();
    if let Some(node) = fields.written("filesystems") {
        for item in reader.items(node, "`filesystems`", "a list of file systems") {
            filesystems.extend(filesystem(reader, item));
        }
    }
    let mut asks = Vec::new();
    if let Some(node) = fields.written("asks") {
        for item in reader.items(node, "`asks`", "a list of ports that are asked") {
            asks.extend(ask(reader, item));
        }
    }
    let mut refuse = Vec::new();
    if let Some(node) = fields.written("refuse") {
        for item in reader.items(node, "`refuse`", "a list of refusals") {
            refuse.extend(refusal(reader, item));
        }
    }
    let mut tokens = Vec::new();
    if let Some(node) = fields.written("tokens") {
        for item in reader.items(node, "`tokens`", "a list of tokens of products") {
            tokens.extend(token(reader, item));
        }
    }
    let mut others = Vec::new();
    if let Some(node) = fields.written("others") {
        for item in reader.items(node, "`others`", "a list of what else configures its programs") {
            others.extend(other(reader, item));
        }
    }
    let mut lists_hosts = Vec::new();
    if let Some(node) = fields.written("lists_hosts") {
        for item in reader.items(node, "`lists_hosts`", "a list of files") {
            lists_hosts.extend(reader.text(item, "a file").map(|text| text.value));
        }
    }
    let mut verify = Vec::new();
    if let Some(node) = fields.written("verify") {
        for item in reader.items(node, "`verify`", "a list of uses") {
            let when = item.get("when").map_or(Some(()), |when| expression(reader, when, "when"));
            verify.extend(when.map(|()| item.to_json()));
        }
    }
    Role {
        name,
        doc: doc.unwrap_or_default(),
        includes,
        needs,
        conflicts,
        after,
        variables,
        rules,
        define,
        resources,
        ports,
        require,
        filesystems,
        asks,
        refuse,
        tokens,
        others,
        verify,
        drill: fields.written("drill").map(|node| node.to_json()),
        endpoint: fields.written("endpoint").and_then(|node| endpoint(reader, node)),
        gate: fields.written("gate").and_then(|node| reader.text(node, "`gate`")).map(|text| text.value),
        lists_hosts,
        removable: fields
            .written("removable")
            .and_then(|node| reader.bool(node, "`removable`"))
            .unwrap_or(true),
        quorum: fields.written("quorum").and_then(|node| reader.bool(node, "`quorum`")).unwrap_or(false),
        serves: fields.written("serves").and_then(|node| reader.bool(node, "`serves`")).unwrap_or(false),
        forms: fields
            .written("forms")
            .and_then(|node| {
                let words = [("together", Forms::Together), ("one-by-one", Forms::OneByOne)];
                reader.choice(node, "`forms`", &words)
            })
            .unwrap_or_default(),
        templates,
    }
}

/// `{ name: nfsd, remedy: … }`.
fn filesystem<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Filesystem> {
    let fields = reader.fields(node, "a file system", FILESYSTEM_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    let mut needed = |key: &str, help: &str| match fields.written(key) {
        Some(value) => Some(reader.text(value, &format!("`{key}`"))?.value),
        None => {
            let problem =
                reader.document.error(node.span, format!("a file system has no `{key}`")).help(help);
            reader.note(problem);
            None
        }
    };
    let name = needed("name", "as /proc/filesystems has it: `nfsd`")?;
    let remedy = needed("remedy", "what to do on a host whose kernel lacks it")?;
    let when = written_expression(reader, fields.written("when"), "when")?;
    Some(Filesystem { name, when, remedy })
}

/// `{ that: "{{ nfs.exports }}", message: …, help: … }`.
fn condition<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Require> {
    let document = reader.document;
    let fields = reader.fields(node, "a condition", REQUIRE_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    let mut text = |key: &str, help: &str| match fields.written(key) {
        Some(node) => reader.text(node, &format!("`{key}`")).map(|text| text.value),
        None => {
            reader.note(document.error(node.span, format!("a condition has no `{key}`")).help(help));
            None
        }
    };
    let that = text("that", "an expression that must hold: `\"{{ nomad.retry_join }}\"`");
    let message = text("message", "what is wrong where it does not hold");
    let help = text("help", "what the operator can do about it");
    let together = fields.written("together").and_then(|node| reader.bool(node, "`together`"));
    Some(Require { that: that?, message: message?, help: help?, together: together.unwrap_or_default() })
}

/// A number of a port, or an expression that will be one.
fn port_number<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Value> {
    let written = node.to_json();
    let is_expression = matches!(&written, Value::String(text) if text.contains("{{"));
    if !is_expression && !written.as_u64().is_some_and(|port| (1..=65535).contains(&port)) {
        reader.wrong_type(node, "`port`", "a port from 1 to 65535");
        return None;
    }
    Some(written)
}

/// `{ port: 8301, protocol: tcp+udp, from: cluster, doc: … }`.
fn port<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Port> {
    let document = reader.document;
    let fields = reader.fields(node, "a port", PORT_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    let mut missing = |key: &str, help: &str| {
        let problem = document.error(node.span, format!("a port has no `{key}`")).help(help);
        reader.note(problem);
    };
    let Some(number) = fields.written("port") else {
        missing("port", "its number, or an expression: `\"{{ consul.http_port }}\"`");
        return None;
    };
    let Some(source) = fields.written("from") else {
        missing("from", "who must reach it: `host`, `role` or `cluster`");
        return None;
    };
    let Some(doc) = fields.written("doc") else {
        missing("doc", "a few words for `bootstrap roles`: what listens there");
        return None;
    };
    let doc = reader.text(doc, "`doc`")?.value;
    let written = port_number(reader, number)?;
    let protocols = match fields.written("protocol") {
        None => "tcp",
        Some(node) => {
            reader.choice(node, "`protocol`", &["tcp", "udp", "tcp+udp"].map(|word| (word, word)))?
        }
    };
    let protocols = match protocols {
        "tcp" => vec![Protocol::Tcp],
        "udp" => vec![Protocol::Udp],
        _ => vec![Protocol::Tcp, Protocol::Udp],
    };
    let from = [("host", From::Host), ("role", From::Role), ("cluster", From::Cluster)];
    let from = reader.choice(source, "`from`", &from)?;
    let mut asked = |key: &str| written_expression(reader, fields.written(key), key);
    let (when, for_each) = (asked("when")?, asked("for_each")?);
    let (on, at) = (fields.written("on").map(Node::to_json), fields.written("at").map(Node::to_json));
    let program = fields.written("program").and_then(|node| reader.text(node, "`program`"));
    let program = program.map(|text| text.value);
    Some(Port { port: written, protocols, from, on, at, program, when, for_each, doc })
}

/// `{ product: consul, port: "{{ consul.http_port }}", unit: consul.service, data: … }`.
fn endpoint<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Value> {
    let keys = [&Endpoint::NEEDED[..], &Endpoint::OPTIONAL].concat();
    reader.fields(node, "an endpoint", &keys);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    if let Some(missing) = Endpoint::NEEDED.iter().find(|key| node.get(key).is_none()) {
        let problem = reader.document.error(node.span, format!("an endpoint has no `{missing}`"));
        reader.note(
            problem.help("which product it is, the port of its API, its unit, and the folder of its data"),
        );
        return None;
    }
    port_number(reader, node.get("port")?)?;
    if let Some(scheme) = node.get("scheme") {
        reader.choice(scheme, "`scheme`", &[("http", ()), ("https", ())])?;
    }
    Some(node.to_json())
}

/// The texts of a value, each with its place.
fn texts(node: &Node) -> Vec<Located<String>> {
    match &node.kind {
        Kind::Map(_) => node.entries().iter().flat_map(|entry| texts(&entry.value)).collect(),
        Kind::List(items) => items.iter().flat_map(texts).collect(),
        _ => text_of(node).into_iter().collect(),
    }
}

/// Variables that endpoints name and that neither their role nor one that it includes has.
pub fn unknown_variables(set: &RoleSet) -> Vec<Diagnostic> {
    set.roles.values().flat_map(|role| unknown_variables_of(role, set)).collect()
}

fn unknown_variables_of(role: &Role, set: &RoleSet) -> Vec<Diagnostic> {
    let Some(document) = set.documents.get(&role.name) else { return Vec::new() };
    let Some(node) = document.root.get("endpoint") else { return Vec::new() };
    let known = set.closure([&role.name]);
    let variables: Vec<&str> =
        known.iter().flat_map(|role| role.variables.keys()).map(String::as_str).collect();
    let defined: Vec<&str> = known.iter().flat_map(|role| role.define.keys()).map(String::as_str).collect();
    // A part of a value, or all values that begin so.
    let is_known = |name: &str| {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let first = name.split('.').next().unwrap_or(name);
        Renderer::ALWAYS.contains(&first)
            || defined.contains(&first)
            || variables.iter().any(|variable| within(name, variable) || within(variable, name))
    };
    let mut problems = Vec::new();
    for text in texts(node) {
        for name in renderer().paths(&text.value).into_iter().filter(|name| !is_known(name)) {
            let help = match nearest(&name, variables.iter().chain(&defined).copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`bootstrap roles {}` lists the variables", role.name),
            };
            let message = format!("the endpoint of role `{}` names the unknown variable `{name}`", role.name);
            problems.push(document.error(text.span, message).label("no variable of this name").help(help));
        }
    }
    problems
}

/// `{ product: consul, name: observer, secret: "{{ … }}", rules: … }`.
fn token<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Token> {
    let document = reader.document;
    let fields = reader.fields(node, "a token", TOKEN_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    let mut text = |key: &str, help: &str| match fields.written(key) {
        Some(written) => reader.text(written, &format!("`{key}`")).map(|text| text.value),
        None => {
            reader.note(document.error(node.span, format!("a token has no `{key}`")).help(help));
            None
        }
    };
    let product = text("product", "whose API it is for: `consul`");
    let name = text("name", "a few words for whoever lists the tokens of the product");
    let rules = text("rules", "what whoever shows it may do, in the product's own language");
    let secret = match fields.written("secret") {
        Some(written) => Some(reader.text(written, "`secret`")?.value),
        None => None,
    };
    let when = written_expression(reader, fields.written("when"), "when")?;
    Some(Token { product: product?, name: name?, secret, rules: rules?, when })
}

/// `{ when: …, reason: …, remedy: … }`.
fn refusal<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Refusal> {
    let document = reader.document;
    let fields = reader.fields(node, "a refusal", REFUSAL_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    let mut text = |key: &str, help: &str| {
        let Some(written) = fields.written(key) else {
            let problem = document.error(node.span, format!("a refusal has no `{key}`")).help(help);
            reader.note(problem);
            return None;
        };
        if key == "when" {
            expression(reader, written, key)?;
        }
        reader.text(written, &format!("`{key}`")).map(|text| text.value)
    };
    let when = text("when", "the expression that makes the role impossible on a host");
    let reason = text("reason", "what was seen");
    let remedy = text("remedy", "what the operator can do");
    let warns = match fields.written("warns") {
        Some(node) => reader.bool(node, "`warns`")?,
        None => false,
    };
    Some(Refusal { when: when?, reason: reason?, remedy: remedy?, warns })
}

/// `{ files: [/etc/agent.conf], sets: [listen], why: … }`.
fn other<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Value> {
    let document = reader.document;
    let fields = reader.fields(node, "an entry of `others`", OTHERS_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    if fields.written("unit").is_none() && fields.written("files").is_none() {
        let problem =
            document.error(node.span, "an entry of `others` has neither `unit` nor `files`".to_owned());
        reader.note(
            problem.help("the unit whose drop-ins are looked at, or the files: `files: [/etc/agent.conf]`"),
        );
        return None;
    }
    if fields.written("why").is_none() {
        let problem = document.error(node.span, "an entry of `others` has no `why`".to_owned());
        reader.note(problem.help("what would become of it: `why: the agent would not read it any more`"));
        return None;
    }
    if let Some(when) = fields.written("when") {
        expression(reader, when, "when")?;
    }
    Some(node.to_json())
}

/// `{ port: 53, protocol: udp, at: [10.0.0.1], doc: …, help: … }`.
fn ask<'d>(reader: &mut Reader<'d>, node: &'d Node) -> Option<Ask> {
    let fields = reader.fields(node, "a port that is asked", ASK_KEYS);
    // What is no map at all is reported as that.
    let Kind::Map(_) = node.kind else { return None };
    if let Some(missing) = ASK_KEYS.iter().find(|key| fields.written(key).is_none()) {
        let problem = reader.document.error(node.span, format!("a port that is asked has no `{missing}`"));
        reader.note(problem.help("which port and protocol, at which addresses, for what, and what helps"));
        return None;
    }
    let number = fields.written("port")?;
    let port = number.to_json().as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    if port.is_none() {
        reader.wrong_type(number, "`port`", "a port from 1 to 65535");
    }
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    Some(Ask {
        port: port?,
        protocol: reader.choice(fields.written("protocol")?, "`protocol`", &protocols)?,
        at: fields.written("at")?.to_json(),
        doc: reader.text(fields.written("doc")?, "`doc`")?.value.trim().to_owned(),
        help: reader.text(fields.written("help")?, "`help`")?.value.trim().to_owned(),
    })
}

fn variable<'d>(reader: &mut Reader<'d>, entry: &'d Entry) -> Option<Variable> {
    let name = &entry.key.value;
    if !name.contains('.') || !name.split('.').all(is_word) {
        let problem = reader.document.error(entry.key.span, format!("`{name}` is no name of a variable"));
        reader.note(problem.help("a namespace and a name, of a-z, 0-9 and `_`: `consul.data_dir`"));
        return None;
    }
    typed(reader, entry, &format!("variable `{name}`"), VARIABLE_KEYS)
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The fields of a map: variables within a variable.
fn record<'d>(reader: &mut Reader<'d>, node: &'d Node) -> IndexMap<String, Variable> {
    let mut fields = IndexMap::new();
    for entry in reader.entries(node, "`fields`", "a map of fields by name") {
        let name = &entry.key.value;
        if !is_word(name) {
            let problem = reader.document.error(entry.key.span, format!("`{name}` is no name of a field"));
            reader.note(problem.help("it is made of a-z, 0-9 and `_`"));
        } else if let Some(field) = typed(reader, entry, &format!("field `{name}`"), FIELD_KEYS) {
            fields.insert(name.clone(), field);
        }
    }
    fields
}

/// A variable or field: `{ type: …, doc: … }`.
fn typed<'d>(reader: &mut Reader<'d>, entry: &'d Entry, what: &str, keys: &[&str]) -> Option<Variable> {
    let document = reader.document;
    let name = &entry.key.value;
    let fields = reader.fields(&entry.value, what, keys);
    let choices = fields.written("choices").map(|node| reader.texts(node, "`choices`", "a list of words"));
    let choices: Option<Vec<String>> =
        choices.map(|texts| texts.into_iter().map(|text| text.value).collect());
    let inner = fields.written("fields").map(|node| record(reader, node));
    let r#type = match fields.written("type") {
        Some(node) => variable_type(reader, node, fields.written("of"), choices, inner)?,
        None => {
            let problem = document.error(entry.key.span, format!("{what} has no `type`"));
            reader.note(problem.help(format!("one of {}", list(TYPES))));
            return None;
        }
    };
    let mut flag = |key: &str| {
        fields.written(key).and_then(|node| reader.bool(node, &format!("`{key}`"))).unwrap_or(false)
    };
    let (optional, secret) = (flag("optional"), flag("secret"));
    let generate =
        fields.written("generate").and_then(|node| reader.choice(node, "`generate`", &Generate::WORDS));
    let doc = fields.written("doc").and_then(|node| reader.text(node, "`doc`"));
    if doc.is_none() && fields.key("doc").is_none() {
        let problem = document.error(entry.key.span, format!("{what} has no `doc`"));
        reader.note(problem.help("a sentence for `bootstrap roles`: what it is, and what to choose"));
    }
    let default = fields.written("default");
    for fault in default.into_iter().flat_map(|node| r#type.faults(node, document)) {
        let problem = document
            .error(
                fault.span,
                format!("{}the default of `{name}` must be {}, got {}", fault.part, fault.wanted, fault.got),
            )
            .label(format!("expected {}", fault.wanted));
        reader.note(Diagnostic { help: fault.help, ..problem });
    }
    Some(Variable {
        r#type,
        default: default.map(Node::to_json),
        optional,
        secret,
        generate,
        doc: doc.map(|text| text.value.trim().to_owned()).unwrap_or_default(),
    })
}

const TYPES: &[&str] = &[
    "string", "word", "bool", "integer", "port", "path", "address", "hostname", "networks", "duration",
    "version", "choice", "source", "url", "sha256", "image", "account", "mode", "list", "map", "any",
];

fn variable_type<'d>(
    reader: &mut Reader<'d>,
    node: &'d Node,
    of: Option<&'d Node>,
    choices: Option<Vec<String>>,
    fields: Option<IndexMap<String, Variable>>,
) -> Option<VariableType> {
    let words: Vec<(&str, &str)> = TYPES.iter().map(|word| (*word, *word)).collect();
    let missing = |reader: &mut Reader<'_>, key: &str, help: &str| {
        let problem = reader.document.error(node.span, format!("this type needs `{key}`")).help(help);
        reader.note(problem);
    };
    Some(match reader.choice(node, "`type`", &words)? {
        "string" => VariableType::String,
        "bool" => VariableType::Bool,
        "integer" => VariableType::Integer,
        "port" => VariableType::Port,
        "path" => VariableType::Path,
        "hostname" => VariableType::HostName,
        "word" => VariableType::Word,
        "networks" => VariableType::Networks,
        "address" => VariableType::Address,
        "duration" => VariableType::Duration,
        "version" => VariableType::Version,
        "source" => VariableType::Source,
        "account" => VariableType::Account,
        "mode" => VariableType::Mode,
        "url" => VariableType::Url,
        "sha256" => VariableType::Sha256,
        "image" => VariableType::Image,
        "map" => fields.map_or(VariableType::Map, VariableType::Record),
        "choice" => match choices.filter(|words| !words.is_empty()) {
            Some(words) => VariableType::Choice(words),
            None => {
                missing(reader, "choices", "the words it takes: `choices: [info, warn]`");
                return None;
            }
        },
        "list" => match of {
            Some(of) => VariableType::List(Box::new(variable_type(reader, of, None, choices, fields)?)),
            None => VariableType::List(Box::new(VariableType::Any)),
        },
        // `choice` takes only the words above, so this is `any`.
        _ => VariableType::Any,
    })
}

/// `{ KIND: { … }, when: …, for_each: …, removable: … }` as JSON, with `template: NAME` replaced by the template's text.
fn resource(reader: &mut Reader<'_>, node: &Node, templates: &IndexMap<String, String>) -> Option<Value> {
    let document = reader.document;
    let beside = |entry: &&Entry| BESIDE_KIND.contains(&entry.key.value.as_str());
    let kinds: Vec<&Entry> = node.entries().iter().filter(|entry| !beside(entry)).collect();
    let [kind] = kinds.as_slice() else {
        let problem = document.error(
            node.span,
            "a resource is a map with one kind, and perhaps `when`, `for_each` and `removable`",
        );
        reader.note(problem.help("for example `- file: { path: /etc/motd, template: motd }`"));
        return None;
    };
    for entry in node.entries().iter().filter(beside) {
        match entry.key.value.as_str() {
            "removable" => drop(reader.bool(&entry.value, "`removable`")?),
            key => expression(reader, &entry.value, key)?,
        }
    }
    let mut json = node.to_json();
    if let Some(template) = kind.value.get("template") {
        let name = reader.text(template, "`template`")?;
        let Some(text) = templates.get(&name.value) else {
            let near = nearest(&name.value, templates.keys().map(String::as_str));
            let problem = document
                .error(name.span, format!("there is no template `{}`", name.value))
                .label("not under templates/")
                .help(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if templates.is_empty() => {
                        "templates are files in the role's folder templates/".to_owned()
                    }
                    None => format!("templates/ has {}", list(&templates.keys().collect::<Vec<_>>())),
                });
            reader.note(problem);
            return None;
        };
        if let Some(content) = kind.value.get("content") {
            let problem = document
                .error(template.span, "`template` and `content` cannot both be written")
                .also(content.span.range(), "the content")
                .help("keep one of them");
            reader.note(problem);
            return None;
        }
        // The kind's value has a key, so it is a map.
        let fields = json.get_mut(&kind.key.value).and_then(Value::as_object_mut)?;
        let renamed = std::mem::take(fields).into_iter().map(|(key, value)| match key.as_str() {
            "template" => ("content".to_owned(), Value::String(text.clone())),
            _ => (key, value),
        });
        *fields = renamed.collect();
    }
    Some(json)
}

/// The expression below a key, where one is written; the outer `None`: it is none, and that was noted.
fn written_expression(reader: &mut Reader<'_>, node: Option<&Node>, key: &str) -> Option<Option<String>> {
    let Some(node) = node else { return Some(None) };
    expression(reader, node, key)?;
    reader.text(node, &format!("`{key}`")).map(|text| Some(text.value))
}

/// The text of an expression, which stands without braces.
fn expression(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<()> {
    let text = reader.text(node, &format!("`{key}`"))?;
    if let Err(reason) = renderer().check_expression(&text.value) {
        let problem = reader.document.error(text.span, format!("`{key}` is no expression: {reason}"));
        let help = match text.value.contains("{{") {
            true => "it stands without braces".to_owned(),
            false => {
                format!("for example `{key}: {}`", if key == "when" { "consul.ui" } else { "nfs.exports" })
            }
        };
        reader.note(problem.help(help));
        return None;
    }
    Some(())
}

/// What one role says of others, and variables that several declare.
pub fn cross_check(written: &[(Role, Document)], problems: &mut Vec<Diagnostic>) {
    let names: Vec<&str> = written.iter().map(|(role, _)| role.name.as_str()).collect();
    let mut declared: Vec<(&str, &Variable, &Role)> = Vec::new();
    for (role, document) in written {
        for key in ["includes", "needs", "conflicts", "after"] {
            let items = match document.root.get(key).map(|node| &node.kind) {
                Some(Kind::List(items)) => items.as_slice(),
                _ => &[],
            };
            for (item, name) in items.iter().filter_map(|item| Some((item, text_of(item)?))) {
                if names.contains(&name.value.as_str()) {
                    continue;
                }
                let help = match nearest(&name.value, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "roles are the folders under roles/ and the one of `--roles`".to_owned(),
                };
                let message = format!("role `{}` {} the unknown role `{}`", role.name, verb(key), name.value);
                problems.push(document.error(item.span, message).label("no role of this name").help(help));
            }
        }
        if includes_itself(written, &role.name, &role.name, &mut Vec::new()) {
            let span = document.root.get("includes").map_or(document.root.span, |node| node.span);
            problems.push(
                document
                    .error(span, format!("role `{}` includes itself, directly or through others", role.name))
                    .help("move what they share into a role of its own, included by both"),
            );
        }
        for (name, variable) in &role.variables {
            let span = document
                .root
                .get("variables")
                .and_then(|node| node.entries().iter().find(|entry| entry.key.value == *name))
                .map_or(document.root.span, |entry| entry.key.span);
            for (other, theirs, owner) in &declared {
                if *other == name && theirs.r#type != variable.r#type {
                    let message = format!(
                        "`{name}` is {} here, but {} in role `{}`",
                        variable.r#type.describe(),
                        theirs.r#type.describe(),
                        owner.name
                    );
                    problems.push(
                        document
                            .error(span, message)
                            .help("declare it once, in a role that the others include"),
                    );
                }
                let inside = |inner: &str, outer: &str| {
                    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
                };
                if inside(name, other) || inside(other, name) {
                    let message = format!("`{name}` and `{other}` (role `{}`) overlap", owner.name);
                    problems.push(
                        document
                            .error(span, message)
                            .help("a variable is a value or a group of values, not both"),
                    );
                }
            }
            declared.push((name, variable, role));
        }
    }
}

fn text_of(node: &Node) -> Option<Located<String>> {
    match &node.kind {
        Kind::Text(text) => Some(Located { value: text.clone(), span: node.span }),
        _ => None,
    }
}

fn verb(key: &str) -> &'static str {
    match key {
        "includes" => "includes",
        "needs" => "needs",
        "conflicts" => "conflicts with",
        _ => "comes after",
    }
}

fn includes_itself(
    written: &[(Role, Document)],
    start: &RoleName,
    at: &RoleName,
    seen: &mut Vec<RoleName>,
) -> bool {
    let Some((role, _)) = written.iter().find(|(role, _)| role.name == *at) else { return false };
    role.includes.iter().any(|included| {
        if included == start {
            return true;
        }
        if seen.contains(included) {
            return false;
        }
        seen.push(included.clone());
        includes_itself(written, start, included, seen)
    })
}
