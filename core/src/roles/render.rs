//! Templates and expressions of roles -> text and values. Pure: what they may use is in the scope.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{LazyLock, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{
    Environment, Error as JinjaError, ErrorKind, Expression, Template, UndefinedBehavior, Value as Jinja,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Scope;
use super::scope::with_role;
use crate::model::quoted;
use crate::resource::unit_name;

/// Renders what role files write in `{{ … }}`.
///
/// Undefined names are errors, nothing is escaped, a trailing newline stays. Beyond minijinja's own
/// filters there are `json` (indented), `merge` (deep, the argument wins), `with_role`,
/// `stable_number(most)` (1 to `most`, always the same for a text), `unit_name(type)` (of the systemd
/// unit for a path), `pem(label)` (the blocks of that label in a text),
/// `bracketed` (an address as it stands before a port), `quoted` (one word of a shell's script), `base64`, `texts` (of a map, with every value as a text), `name_values` (of a map, as a list of such pairs) and the functions
/// `version_at_least(version, least)` and `numbered_subnet(network, address)` (the /24 of an IPv4 network that has the
/// number in which the address ends), `nth_address(network, n)` (counted from the network's own, which is 0) and
/// `in_networks(address, networks)`.
///
/// There is one, [`renderer`]: what it has compiled it keeps, since a template is rendered for each host.
pub struct Renderer {
    environment: Environment<'static>,
    templates: Compiled<Template<'static, 'static>>,
    expressions: Compiled<Expression<'static, 'static>>,
    /// The names that a template, or an expression, takes from the scope.
    names: Compiled<BTreeSet<String>>,
    expression_names: Compiled<BTreeSet<String>>,
}

/// What was made of sources, by source. Roles have a few hundred, and they live as long as the program.
type Compiled<T> = RwLock<HashMap<&'static str, &'static T>>;

/// Makes it once.
fn compiled<T>(
    known: &'static Compiled<T>,
    source: &str,
    compile: impl FnOnce(&'static str) -> Result<T, JinjaError>,
) -> Result<&'static T, JinjaError> {
    if let Some(found) = known.read().unwrap_or_else(PoisonError::into_inner).get(source) {
        return Ok(found);
    }
    let source: &'static str = Box::leak(source.into());
    let made: &'static T = Box::leak(Box::new(compile(source)?));
    known.write().unwrap_or_else(PoisonError::into_inner).insert(source, made);
    Ok(made)
}

/// A template or expression of a role that cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("in {place}: {message}")]
pub struct RenderError {
    /// Role and resource.
    pub place: String,
    /// The engine's message with the line inside the template.
    pub message: String,
}

impl Renderer {
    fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the standard delimiters are valid"));
        environment.add_filter("json", pretty);
        environment.add_filter("merge", |base: &Jinja, over: &Jinja| -> Result<Jinja, JinjaError> {
            let mut merged = plain(base)?;
            merge(&mut merged, plain(over)?);
            Ok(Jinja::from(Serde(merged)))
        });
        environment.add_filter("with_role", |hosts: &Jinja, role: &str| -> Result<Jinja, JinjaError> {
            with_role(hosts, role).ok_or_else(|| {
                let message = "with_role takes a list of hosts";
                JinjaError::new(ErrorKind::InvalidOperation, message)
            })
        });
        environment.add_filter("stable_number", |text: &str, most: u64| stable_number(text, most));
        environment.add_filter("unit_name", |path: &str, r#type: &str| unit_name(path, r#type));
        environment.add_filter("pem", |text: &str, label: &str| pem(text, label));
        environment.add_filter("bracketed", |address: &str| match address.contains(':') {
            true => format!("[{address}]"),
            false => address.to_owned(),
        });
        environment.add_filter("quoted", |text: &str| quoted(text));
        environment.add_filter("digest", |text: &str| match text {
            "" => String::new(),
            _ => crate::resource::digest(text.as_bytes()),
        });
        environment.add_filter("base64", |text: &str| STANDARD.encode(text));
        environment.add_filter("texts", |map: &Jinja| -> Result<Jinja, JinjaError> {
            let texts: Map<String, Value> =
                texts(map)?.into_iter().map(|(key, text)| (key, text.into())).collect();
            Ok(Jinja::from(Serde(texts)))
        });
        environment.add_filter("name_values", |map: &Jinja| -> Result<Jinja, JinjaError> {
            let pairs = texts(map)?.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
            Ok(Jinja::from(Serde(pairs.collect::<Vec<_>>())))
        });
        environment.add_function("in_networks", |address: &str, networks: Vec<String>| {
            let address = address.parse::<std::net::IpAddr>();
            let within = |network: &String| {
                let network = network.parse::<ipnet::IpNet>();
                address.as_ref().is_ok_and(|address| network.is_ok_and(|network| network.contains(address)))
            };
            networks.iter().any(within)
        });
        // Addresses and networks, the latter also several in one text; what is unknown or a name overlaps nothing.
        environment.add_function("overlaps", |one: Option<&str>, other: Option<&str>| {
            let (one, other) = (networks(one.unwrap_or_default()), networks(other.unwrap_or_default()));
            one.iter().any(|one| other.iter().any(|other| one.contains(other) || other.contains(one)))
        });
        environment.add_filter("same_numbers", |addresses: Vec<Option<String>>| same_numbers(&addresses));
        environment.add_function("numbered_subnet", |network: &str, address: &str| {
            numbered_subnet(network, address).ok_or_else(|| {
                let message = format!("there is no subnet of `{network}` for `{address}`: both must be IPv4, and the network a /16 or wider");
                JinjaError::new(ErrorKind::InvalidOperation, message)
            })
        });
        environment.add_function("nth_address", |network: &str, n: u32| {
            nth_address(network, n).ok_or_else(|| {
                let message = format!("`{network}` has no address number {n}");
                JinjaError::new(ErrorKind::InvalidOperation, message)
            })
        });
        environment.add_function("version_at_least", |version: &str, least: &str| {
            let parse = |text: &str| {
                semver::Version::parse(text).map_err(|error| {
                    JinjaError::new(ErrorKind::InvalidOperation, format!("`{text}` is no version: {error}"))
                })
            };
            Ok(parse(version)? >= parse(least)?)
        });
        Self {
            environment,
            templates: Compiled::default(),
            expressions: Compiled::default(),
            names: Compiled::default(),
            expression_names: Compiled::default(),
        }
    }
}

/// The one of the program.
pub fn renderer() -> &'static Renderer {
    static RENDERER: LazyLock<Renderer> = LazyLock::new(Renderer::new);
    &RENDERER
}

impl Renderer {
    /// A template's text.
    pub fn text(&'static self, place: &str, source: &str, scope: &Scope) -> Result<String, RenderError> {
        self.template(source)
            .and_then(|template| template.render(scope.context()))
            .map_err(|error| at(place, &error))
    }

    fn template(&'static self, source: &str) -> Result<&'static Template<'static, 'static>, JinjaError> {
        compiled(&self.templates, source, |source| self.environment.template_from_str(source))
    }

    fn compiled_expression(
        &'static self,
        source: &str,
    ) -> Result<&'static Expression<'static, 'static>, JinjaError> {
        compiled(&self.expressions, source, |source| self.environment.compile_expression(source))
    }

    /// The names that a text with `{{ … }}` takes from the scope; none if it cannot be read.
    pub fn names(&'static self, source: &str) -> Option<&'static BTreeSet<String>> {
        let names = |source: &'static str| {
            Ok(self.template(source)?.undeclared_variables(false).into_iter().collect())
        };
        compiled(&self.names, source, names).ok()
    }

    /// What is there in every scope.
    pub const ALWAYS: [&'static str; 3] = ["cluster", "host", "hosts"];

    /// The same with the parts of them that it takes: `consul.http_port`.
    pub fn paths(&self, source: &str) -> BTreeSet<String> {
        let template = self.environment.template_from_str(source);
        let names = template.map(|template| template.undeclared_variables(true)).unwrap_or_default();
        let is_function = |name: &String| self.environment.globals().any(|(global, _)| global == name);
        names.into_iter().filter(|name| !is_function(name)).collect()
    }

    /// Whether an expression takes one of these names from the scope.
    pub fn waits(&'static self, source: &str, late: &BTreeSet<String>) -> bool {
        let names = |source: &'static str| {
            Ok(self.compiled_expression(source)?.undeclared_variables(false).into_iter().collect())
        };
        compiled(&self.expression_names, source, names).is_ok_and(|names| !names.is_disjoint(late))
    }

    /// Whether a text can be an expression at all; what it names is looked at when it is evaluated.
    pub fn check_expression(&self, source: &str) -> Result<(), String> {
        let compiled = self.environment.compile_expression(source);
        compiled.map(drop).map_err(|error| error.detail().map_or_else(|| error.to_string(), str::to_owned))
    }

    /// The value of an expression, with its type.
    pub fn expression(&'static self, place: &str, source: &str, scope: &Scope) -> Result<Value, RenderError> {
        self.compiled_expression(source)
            .and_then(|expression| expression.eval(scope.context()))
            .and_then(|value| {
                // A lone expression that ends in an undefined name is not caught by strict mode.
                if value.is_undefined() {
                    return Err(JinjaError::new(
                        ErrorKind::UndefinedError,
                        format!("`{source}` is undefined"),
                    ));
                }
                plain(&value)
            })
            .map_err(|error| at(place, &error))
    }

    /// A raw resource with every string rendered, but for the keys in `late`.
    ///
    /// A string that is one expression and nothing else, `"{{ consul.source }}"`, keeps the type of
    /// its value; any other becomes text.
    pub fn value(
        &'static self,
        place: &str,
        raw: &Value,
        scope: &Scope,
        late: &[&str],
    ) -> Result<Value, RenderError> {
        Ok(match raw {
            Value::String(source) => match lone_expression(source) {
                Some(expression) => self.expression(place, expression, scope)?,
                None if source.contains("{{") || source.contains("{%") => {
                    Value::String(self.text(place, source, scope)?)
                }
                None => raw.clone(),
            },
            Value::Array(items) => Value::Array(
                items.iter().map(|item| self.value(place, item, scope, late)).collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, value)| {
                        let value = if late.contains(&key.as_str()) {
                            value.clone()
                        } else {
                            self.value(place, value, scope, late)?
                        };
                        Ok((key.clone(), value))
                    })
                    .collect::<Result<_, RenderError>>()?,
            ),
            other => other.clone(),
        })
    }
}

/// `over` wins; maps are merged key by key, everything else is replaced.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(inner) => merge(inner, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn pretty(value: &Jinja) -> Result<String, JinjaError> {
    serde_json::to_string_pretty(&plain(value)?)
        .map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()))
}

fn plain(value: &Jinja) -> Result<Value, JinjaError> {
    serde_json::to_value(value)
        .map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()))
}

fn texts(map: &Jinja) -> Result<Vec<(String, String)>, JinjaError> {
    let Value::Object(map) = plain(map)? else {
        return Err(JinjaError::new(ErrorKind::InvalidOperation, "a map is needed"));
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(map.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// The networks in a text, separated by commas; an address is one of itself alone.
fn networks(text: &str) -> Vec<ipnet::IpNet> {
    let network =
        |word: &str| word.parse().ok().or_else(|| Some(ipnet::IpNet::from(word.parse::<IpAddr>().ok()?)));
    text.split(',').filter_map(|word| network(word.trim())).collect()
}

/// Addresses whose last number another one has too: `numbered_subnet` gives both the same.
fn same_numbers(addresses: &[Option<String>]) -> Vec<String> {
    let number = |address: &str| Some(address.parse::<Ipv4Addr>().ok()?.octets()[3]);
    let known: Vec<&String> = addresses.iter().flatten().collect();
    let is_shared = |address: &&&String| {
        let own = number(address);
        own.is_some() && known.iter().filter(|other| number(other) == own).count() > 1
    };
    known.iter().filter(is_shared).map(|address| (*address).clone()).collect()
}

fn numbered_subnet(network: &str, address: &str) -> Option<String> {
    let network: ipnet::Ipv4Net = network.parse().ok()?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let [a, b, ..] = network.network().octets();
    (network.prefix_len() <= 16).then(|| format!("{a}.{b}.{}.0/24", address.octets()[3]))
}

/// Of several networks, separated by commas, the first counts.
fn nth_address(networks: &str, n: u32) -> Option<String> {
    let network: ipnet::IpNet = networks.split(',').next()?.trim().parse().ok()?;
    let address = match network.network() {
        IpAddr::V4(address) => IpAddr::from(Ipv4Addr::from(u32::from(address).checked_add(n)?)),
        IpAddr::V6(address) => IpAddr::from(Ipv6Addr::from(u128::from(address).checked_add(n.into())?)),
    };
    network.contains(&address).then(|| address.to_string())
}

/// The blocks of a PEM text that have this label, `CERTIFICATE`; what has none is an error, not an empty file.
fn pem(text: &str, label: &str) -> Result<String, JinjaError> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(&begin) {
        let Some(length) = rest[start..].find(&end) else { break };
        let stop = start + length + end.len();
        blocks.push_str(&rest[start..stop]);
        blocks.push('\n');
        rest = &rest[stop..];
    }
    if blocks.is_empty() {
        return Err(JinjaError::new(
            ErrorKind::InvalidOperation,
            format!("the text has no PEM block `{label}`"),
        ));
    }
    Ok(blocks)
}

/// A number from 1 to `most` that a text has for ever.
pub fn stable_number(text: &str, most: u64) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    number % most.max(1) + 1
}

fn lone_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner.trim())
}

fn at(place: &str, error: &JinjaError) -> RenderError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    RenderError { place: place.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indoc::indoc;

    fn scope() -> Scope {
        let Value::Object(scope) = json!({
            "consul": {"version": "1.8.7", "source": {"mirror": "http://m"}, "extra": {"ports": {"http": 1}}},
            "hosts": [{"name": "a", "roles": ["x"]}, {"name": "b", "roles": ["y"]}],
        }) else {
            unreachable!("an object literal")
        };
        Scope::from(&scope)
    }

    /// Also one whose braces would end a template's.
    #[test]
    fn what_an_expression_waits_for() {
        let late = BTreeSet::from(["facts".to_owned()]);
        for (source, waits) in [
            ("facts.swap", true),
            ("{'a': {'b': facts.swap}}.a.b", true),
            ("consul.version", false),
            ("(", false),
        ] {
            assert_eq!(renderer().waits(source, &late), waits, "{source}");
        }
    }

    #[test]
    fn an_address_by_its_number() {
        for (network, n, wanted) in [
            ("10.96.0.0/12", 10, Some("10.96.0.10")),
            ("10.96.0.0/12,fd00::/108", 1, Some("10.96.0.1")),
            ("fd00::/108", 1, Some("fd00::1")),
            ("10.0.0.0/30", 4, None),
            ("255.255.255.255/32", 1, None),
            ("here", 1, None),
        ] {
            assert_eq!(nth_address(network, n).as_deref(), wanted, "{network}");
        }
    }

    #[test]
    fn a_lone_expression_keeps_its_type() {
        let raw = json!({"source": "{{ consul.source }}", "url": "v{{ consul.version }}", "content": "{{ later }}"});
        let rendered = renderer().value("t", &raw, &scope(), &["content"]).unwrap();
        assert_eq!(
            rendered,
            json!({"source": {"mirror": "http://m"}, "url": "v1.8.7", "content": "{{ later }}"})
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_with_its_place() {
        let error = renderer().text("role x", "line\n{{ consul.nothing }}\n", &scope()).unwrap_err();
        assert!(error.to_string().starts_with("in role x: undefined value"), "{error}");
        assert!(renderer().expression("role x", "consul.nothing", &scope()).is_err());
    }

    #[test]
    fn the_filters_of_roles() {
        let text = |source: &str| renderer().text("t", source, &scope()).unwrap();
        assert_eq!(text("{{ (hosts | with_role('y'))[0].name }}\n"), "b\n");
        assert_eq!(
            text("{{ {'ports': {'dns': 2}} | merge(consul.extra) | json }}"),
            indoc! {r#"
                {
                  "ports": {
                    "dns": 2,
                    "http": 1
                  }
                }"#}
        );
        assert_eq!(text("{{ 'new' if version_at_least(consul.version, '1.9.0') else 'old' }}"), "old");
        assert_eq!(text("{{ (['127.0.0.1'] + ['10.0.0.1']) | unique | join(' ') }}"), "127.0.0.1 10.0.0.1");
        assert_eq!(text("{{ [2, 3] | min }}"), "2");
        assert_eq!(text("{{ '/data/app1' | unit_name('automount') }}"), "data-app1.automount");
        let pair =
            "'-----BEGIN A-----\\n1\\n-----END A-----\\r\\n-----BEGIN B-----\\n2\\n-----END B-----\\n'";
        assert_eq!(text(&format!("{{{{ {pair} | pem('B') }}}}")), "-----BEGIN B-----\n2\n-----END B-----\n");
        let refused = renderer().text("t", &format!("{{{{ {pair} | pem('C') }}}}"), &scope()).unwrap_err();
        assert!(refused.to_string().contains("no PEM block `C`"), "{refused}");
        assert_eq!(
            text("{% set t = {'a': 1, 'b': true} | texts %}{{ 'text' if t.a is string }} {{ t.b }}"),
            "text true"
        );
        assert_eq!(text("{% set p = {'a': 1} | name_values %}{{ p[0].name }}={{ p[0].value }}"), "a=1");
        assert_eq!(text("{{ 'it' | base64 }}"), "aXQ=");
        assert_eq!(text("{{ '10.0.0.1' | bracketed }} {{ 'fd00::1' | bracketed }}"), "10.0.0.1 [fd00::1]");
        assert_eq!(text("{{ 'a b' | quoted }} {{ \"it's $(one)\" | quoted }}"), r"'a b' 'it'\''s $(one)'");
        let within = |address: &str| {
            text(&format!("{{{{ 1 if in_networks('{address}', ['fd00::1/64', '10.0.0.11/24']) else 0 }}}}"))
        };
        assert_eq!(
            (within("10.0.0.200"), within("10.0.1.1"), within("no address")),
            ("1".into(), "0".into(), "0".into())
        );
        for (one, other, overlap) in [
            ("10.244.0.0/16", "10.244.3.4", true),
            ("10.96.0.0/12", "10.100.0.0/16", true),
            ("10.96.0.0/12", "10.244.0.0/16", false),
            ("10.96.0.0/12,fd00::/108", "fd00::1", true),
            ("10.96.0.0/12", "api.example", false),
        ] {
            let asked =
                format!("{{{{ (overlaps('{one}', '{other}') and overlaps('{other}', '{one}')) | json }}}}");
            assert_eq!(text(&asked), overlap.to_string(), "{one} {other}");
        }
        assert_eq!(text("{{ overlaps('10.0.0.0/8', none) | json }}"), "false");
        assert_eq!(
            text("{{ ['10.1.1.11', '10.1.2.11', none, '10.1.3.12'] | same_numbers | join(' ') }}"),
            "10.1.1.11 10.1.2.11"
        );
        assert_eq!(text("{{ numbered_subnet('10.244.0.0/16', '192.168.56.12') }}"), "10.244.12.0/24");
        // For ever: clients know an export by it.
        assert_eq!(text("{{ '/data/app1' | stable_number(65535) }}"), "48198");
    }
}
