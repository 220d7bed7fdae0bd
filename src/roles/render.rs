//! Templates and expressions of roles -> text and values. Pure: what they may use is in the scope.

use std::collections::BTreeSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error as JinjaError, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::resource::unit_name;

/// Renders what role files write in `{{ … }}`.
///
/// Undefined names are errors, nothing is escaped, a trailing newline stays. Beyond minijinja's own
/// filters there are `json` (indented), `merge` (deep, the argument wins), `with_role`,
/// `stable_number(most)` (1 to `most`, always the same for a text), `unit_name(type)` (of the systemd
/// unit for a path) and the function `version_at_least(version, least)`.
pub struct Renderer {
    environment: Environment<'static>,
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

impl Default for Renderer {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the standard delimiters are valid"));
        environment.add_filter("json", json);
        environment.add_filter("merge", |base: &Jinja, over: &Jinja| -> Result<Jinja, JinjaError> {
            let mut merged = plain(base)?;
            merge(&mut merged, plain(over)?);
            Ok(Jinja::from(Serde(merged)))
        });
        environment.add_filter("with_role", |hosts: &Jinja, role: &str| -> Result<Jinja, JinjaError> {
            let Value::Array(hosts) = plain(hosts)? else {
                return Err(JinjaError::new(ErrorKind::InvalidOperation, "with_role takes a list of hosts"));
            };
            let has = |host: &Value| host["roles"].as_array().is_some_and(|r| r.iter().any(|r| r == role));
            Ok(Jinja::from(Serde(hosts.into_iter().filter(has).collect::<Vec<_>>())))
        });
        environment.add_filter("stable_number", |text: &str, most: u64| stable_number(text, most));
        environment.add_filter("unit_name", |path: &str, r#type: &str| unit_name(path, r#type));
        environment.add_function("version_at_least", |version: &str, least: &str| {
            let parse = |text: &str| {
                semver::Version::parse(text).map_err(|error| {
                    JinjaError::new(ErrorKind::InvalidOperation, format!("`{text}` is no version: {error}"))
                })
            };
            Ok(parse(version)? >= parse(least)?)
        });
        Self { environment }
    }
}

impl Renderer {
    /// A template's text.
    pub fn text(&self, place: &str, source: &str, scope: &Map<String, Value>) -> Result<String, RenderError> {
        self.environment.render_str(source, Jinja::from(Serde(scope))).map_err(|error| at(place, &error))
    }

    /// The names that a text with `{{ … }}` takes from the scope; none if it cannot be read.
    pub fn names(&self, source: &str) -> Option<BTreeSet<String>> {
        let template = self.environment.template_from_str(source).ok()?;
        Some(template.undeclared_variables(false).into_iter().collect())
    }

    /// Whether an expression takes one of these names from the scope.
    pub fn waits(&self, source: &str, late: &BTreeSet<String>) -> bool {
        let compiled = self.environment.compile_expression(source);
        compiled.is_ok_and(|expression| {
            expression.undeclared_variables(false).iter().any(|name| late.contains(name))
        })
    }

    /// Whether a text can be an expression at all; what it names is looked at when it is evaluated.
    pub fn check_expression(&self, source: &str) -> Result<(), String> {
        let compiled = self.environment.compile_expression(source);
        compiled.map(drop).map_err(|error| error.detail().map_or_else(|| error.to_string(), str::to_owned))
    }

    /// The value of an expression, with its type.
    pub fn expression(
        &self,
        place: &str,
        source: &str,
        scope: &Map<String, Value>,
    ) -> Result<Value, RenderError> {
        self.environment
            .compile_expression(source)
            .and_then(|expression| expression.eval(Jinja::from(Serde(scope))))
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
        &self,
        place: &str,
        raw: &Value,
        scope: &Map<String, Value>,
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

fn json(value: &Jinja) -> Result<String, JinjaError> {
    serde_json::to_string_pretty(&plain(value)?)
        .map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()))
}

fn plain(value: &Jinja) -> Result<Value, JinjaError> {
    serde_json::to_value(value)
        .map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()))
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
    use serde_json::json;

    use super::*;

    fn scope() -> Map<String, Value> {
        let Value::Object(scope) = json!({
            "consul": {"version": "1.8.7", "source": {"mirror": "http://m"}, "extra": {"ports": {"http": 1}}},
            "hosts": [{"name": "a", "roles": ["x"]}, {"name": "b", "roles": ["y"]}],
        }) else {
            unreachable!("an object literal")
        };
        scope
    }

    #[test]
    fn a_lone_expression_keeps_its_type() {
        let raw = json!({"source": "{{ consul.source }}", "url": "v{{ consul.version }}", "content": "{{ later }}"});
        let rendered = Renderer::default().value("t", &raw, &scope(), &["content"]).unwrap();
        assert_eq!(
            rendered,
            json!({"source": {"mirror": "http://m"}, "url": "v1.8.7", "content": "{{ later }}"})
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_with_its_place() {
        let error = Renderer::default().text("role x", "line\n{{ consul.nothing }}\n", &scope()).unwrap_err();
        assert!(error.to_string().starts_with("in role x: undefined value"), "{error}");
        assert!(Renderer::default().expression("role x", "consul.nothing", &scope()).is_err());
    }

    #[test]
    fn the_filters_of_roles() {
        let text = |source| Renderer::default().text("t", source, &scope()).unwrap();
        assert_eq!(text("{{ (hosts | with_role('y'))[0].name }}\n"), "b\n");
        assert_eq!(
            text("{{ {'ports': {'dns': 2}} | merge(consul.extra) | json }}"),
            "{\n  \"ports\": {\n    \"dns\": 2,\n    \"http\": 1\n  }\n}"
        );
        assert_eq!(text("{{ 'new' if version_at_least(consul.version, '1.9.0') else 'old' }}"), "old");
        assert_eq!(text("{{ (['127.0.0.1'] + ['10.0.0.1']) | unique | join(' ') }}"), "127.0.0.1 10.0.0.1");
        assert_eq!(text("{{ [2, 3] | min }}"), "2");
        assert_eq!(text("{{ '/data/app1' | unit_name('automount') }}"), "data-app1.automount");
        // For ever: clients know an export by it.
        assert_eq!(text("{{ '/data/app1' | stable_number(65535) }}"), "48198");
    }
}
