//! The inventory's values as the defaults of a job file's variables.
//!
//! Nomad's own API takes variables since 1.6 only, so the file that it parses has them in it. Everything else of the file
//! stays as written, and so does the line on which a mistake is.

use hcl_edit::Decorate;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Attribute, Block, Body};
use serde_json::{Map, Value};

/// Why variables cannot be set in a job file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    #[error("line {line}: {message}")]
    NoHcl { line: usize, message: String },
    #[error("it declares no variable `{name}`")]
    Undeclared { name: String, declared: Vec<String> },
    #[error("the variable `{name}` cannot be written in HCL: {message}")]
    Value { name: String, message: String },
}

/// The text of a job file with these values; without any, the text as it is.
pub fn fill(text: &str, variables: &Map<String, Value>) -> Result<String, Vec<FillError>> {
    if variables.is_empty() {
        return Ok(text.to_owned());
    }
    let mut body: Body = text.parse().map_err(|error: hcl_edit::parser::Error| {
        vec![FillError::NoHcl { line: error.location().line(), message: error.message().to_owned() }]
    })?;
    let label = |block: &Block| block.labels.first().map(|label| label.as_str().to_owned());
    let declared: Vec<String> = body.get_blocks("variable").filter_map(label).collect();
    let mut errors = Vec::new();
    for (name, value) in variables {
        let expression = match expression(value).parse::<Expression>() {
            Ok(expression) => expression.decorated((" ", "")),
            Err(error) => {
                let message = error.message().to_owned();
                errors.push(FillError::Value { name: name.clone(), message });
                continue;
            }
        };
        let Some(block) = body.get_blocks_mut("variable").find(|block| label(block).as_ref() == Some(name))
        else {
            errors.push(FillError::Undeclared { name: name.clone(), declared: declared.clone() });
            continue;
        };
        match block.body.get_attribute_mut("default") {
            Some(mut default) => *default.value_mut() = expression,
            None => block.body.push(Attribute::new(hcl_edit::Ident::new("default"), expression)),
        }
    }
    if errors.is_empty() { Ok(body.to_string()) } else { Err(errors) }
}

/// JSON is HCL, but for what starts a template inside of texts.
fn expression(value: &Value) -> String {
    value.to_string().replace("${", "$${").replace("%{", "%%{")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "# A job.\nvariable \"count\" {\n  type    = number\n  default = 1 # one\n}\n\
                        variable \"tags\" {}\njob \"a\" {\n  x = \"${var.count}\"\n}\n";

    fn filled(variables: Value) -> Result<String, Vec<FillError>> {
        let Value::Object(variables) = variables else { unreachable!("an object literal") };
        fill(FILE, &variables)
    }

    #[test]
    fn values_become_defaults_and_nothing_else_changes() {
        assert_eq!(filled(json!({})).unwrap(), FILE);
        let text = filled(json!({"count": 3})).unwrap();
        assert_eq!(text.lines().nth(3).unwrap().split('#').next().unwrap().trim(), "default = 3");
        assert_eq!(text.lines().count(), FILE.lines().count());
        assert!(text.contains("x = \"${var.count}\""), "{text}");
    }

    #[test]
    fn texts_cannot_become_templates_and_lists_and_maps_are_taken() {
        let text = filled(json!({"tags": ["a\"b", "${var.count}", "%{ if true }"]})).unwrap();
        assert!(text.contains(r#"["a\"b","$${var.count}","%%{ if true }"]"#), "{text}");
        let text = filled(json!({"tags": {"k": [1, true, null]}})).unwrap();
        let body: Body = text.parse().unwrap();
        assert!(
            body.get_blocks("variable").nth(1).unwrap().body.get_attribute("default").is_some(),
            "{text}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let errors = filled(json!({"cuont": 3})).unwrap_err();
        let declared = vec!["count".to_owned(), "tags".to_owned()];
        assert_eq!(errors, [FillError::Undeclared { name: "cuont".into(), declared }]);
        let Value::Object(variables) = json!({"a": 1}) else { unreachable!("an object literal") };
        let errors = fill("job \"a\" {\n  x = = 1\n}\n", &variables).unwrap_err();
        assert!(matches!(errors.as_slice(), [FillError::NoHcl { line: 2, .. }]), "{errors:?}");
    }

    #[test]
    fn the_ready_jobs_take_variables() {
        for (name, text) in super::super::ready::READY {
            let Value::Object(variables) = json!({"datacenters": ["east"]}) else {
                unreachable!("an object literal")
            };
            let filled = fill(text, &variables).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            assert!(filled.contains(r#"default = ["east"]"#), "{name}:\n{filled}");
        }
    }
}
