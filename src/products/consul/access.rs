//! Who may do what by Consul's API: policies and tokens.
//!
//! Shapes: `/v1/acl/policies`, `/v1/acl/tokens` and `/v1/acl/bootstrap`; the same from 1.8 to 1.21. Tokens may be made with ids that are
//! chosen (since 1.5), so each is written down before it is of any use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::model::{AccessToken, Secret, uuid};
use crate::products::{Access, AccessChange, FirstToken, Method, Request, Response, Responses, operator};

pub(super) const POLICIES: &str = "/v1/acl/policies";
pub(super) const TOKENS: &str = "/v1/acl/tokens";

/// The token of whoever shows none, in every datacenter.
const ANONYMOUS: &str = "00000000-0000-0000-0000-000000000002";
/// Before the names of our policies, and the descriptions of our tokens.
const OURS: &str = "bootstrap-";
const DESCRIBED: &str = "bootstrap: ";
const MANAGEMENT: &str = "management";

pub(super) struct Acl;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    /// Of name, description, rules and datacenters, in base64.
    #[serde(default)]
    hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Token {
    #[serde(rename = "AccessorID")]
    accessor: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    policies: Option<Vec<Link>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Link {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Bootstrapped {
    #[serde(rename = "AccessorID")]
    accessor: String,
    #[serde(rename = "SecretID")]
    secret: String,
}

impl Access for Acl {
    fn paths(&self) -> &'static [&'static str] {
        &[POLICIES, TOKENS]
    }

    fn changes(
        &self,
        wanted: &[AccessToken],
        manage: &Secret,
        said: &Responses,
    ) -> Result<Vec<Vec<AccessChange>>, String> {
        let policies: Vec<Policy> = said.get(POLICIES).ok_or("it was not asked for its policies")?.json()?;
        let tokens: Vec<Token> = said.get(TOKENS).ok_or("it was not asked for its tokens")?.json()?;
        let mut changes = vec![
            policy_changes(wanted, &policies),
            token_changes(wanted, &tokens),
            old_tokens(wanted, manage, &tokens),
            old_policies(wanted, &policies),
        ];
        changes.retain(|list| !list.is_empty());
        Ok(changes)
    }

    fn bootstrap(&self, manage: &Secret) -> Request {
        // Newer versions take the token that they are told, older ones do not read it.
        Request::new(Method::Put, "/v1/acl/bootstrap", json!({"BootstrapSecret": manage}).to_string())
    }

    fn first_token(&self, answer: &Response) -> FirstToken {
        match answer.status {
            200 => match answer.json::<Bootstrapped>() {
                Ok(made) => FirstToken::Made { secret: Secret::new(made.secret), id: made.accessor },
                Err(reason) => FirstToken::NotYet(reason),
            },
            // `ACL bootstrap no longer allowed (reset index: 13)`
            403 => {
                let text = answer.start();
                let index = text.split_once("reset index:").and_then(|(_, rest)| {
                    rest.trim().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
                });
                FirstToken::Taken { reset: index }
            }
            _ => FirstToken::NotYet(answer.start()),
        }
    }

    fn leader(&self) -> Request {
        operator::leader()
    }

    fn read_leader(&self, body: &str) -> Option<SocketAddr> {
        operator::read_leader(body)?.parse().ok()
    }

    fn reset_file(&self) -> &'static str {
        "acl-bootstrap-reset"
    }

    fn manager(&self, manage: &Secret) -> Request {
        let body = json!({
            "AccessorID": accessor(manage),
            "SecretID": manage,
            "Description": format!("{DESCRIBED}{MANAGEMENT}"),
            "Policies": [{"Name": "global-management"}],
        });
        Request::new(Method::Put, "/v1/acl/token", body.to_string())
    }

    fn removal(&self, id: &str) -> Request {
        Request::new(Method::Delete, format!("/v1/acl/token/{id}"), "")
    }
}

fn policy_changes(wanted: &[AccessToken], policies: &[Policy]) -> Vec<AccessChange> {
    let known: BTreeMap<&str, &Policy> =
        policies.iter().map(|policy| (policy.name.as_str(), policy)).collect();
    let change = |token: &AccessToken| {
        let (name, description) = (policy_name(&token.name), format!("{DESCRIBED}{}", token.name));
        let body = json!({"Name": name, "Description": description, "Rules": token.rules}).to_string();
        let (reason, path) = match known.get(name.as_str()) {
            None => ("absent", "/v1/acl/policy".to_owned()),
            Some(policy) if policy.hash.as_deref() != Some(&*hash(&name, &description, &token.rules)) => {
                ("other rules", format!("/v1/acl/policy/{}", policy.id))
            }
            Some(_) => return None,
        };
        let what = format!("policy `{name}`");
        Some(AccessChange { what, reason, request: Request::new(Method::Put, path, body) })
    };
    wanted.iter().filter_map(change).collect()
}

fn token_changes(wanted: &[AccessToken], tokens: &[Token]) -> Vec<AccessChange> {
    let known: BTreeMap<&str, &Token> = tokens.iter().map(|token| (token.accessor.as_str(), token)).collect();
    let linked = |accessor: &str| -> Option<BTreeSet<&str>> {
        let policies = known.get(accessor)?.policies.iter().flatten();
        Some(policies.map(|link| link.name.as_str()).collect())
    };
    let change = |token: &AccessToken| {
        let accessor = accessor(token.secret.as_ref()?);
        let policy = policy_name(&token.name);
        let mut body = described(&accessor, &format!("{DESCRIBED}{}", token.name), [policy.as_str()]);
        let (reason, path) = match linked(&accessor) {
            None => {
                body["SecretID"] = json!(token.secret);
                ("absent", "/v1/acl/token".to_owned())
            }
            Some(linked) if linked.iter().eq([&policy.as_str()]) => return None,
            Some(_) => ("other rights", format!("/v1/acl/token/{accessor}")),
        };
        let request = Request::new(Method::Put, path, body.to_string());
        Some(AccessChange { what: format!("token `{}`", token.name), reason, request })
    };
    let everybodys = everybodys_rights(wanted, linked(ANONYMOUS).unwrap_or_default());
    everybodys.into_iter().chain(wanted.iter().filter_map(change)).collect()
}

/// The token of whoever shows none has these rights, beside those that somebody else gave it.
fn everybodys_rights(wanted: &[AccessToken], linked: BTreeSet<&str>) -> Option<AccessChange> {
    let rights = wanted.iter().filter(|token| token.secret.is_none());
    let rights: BTreeSet<String> = rights.map(|token| policy_name(&token.name)).collect();
    if rights.iter().all(|right| linked.contains(right.as_str())) {
        return None;
    }
    let all = linked.into_iter().chain(rights.iter().map(String::as_str)).collect::<BTreeSet<_>>();
    let body = described(ANONYMOUS, "Anonymous Token", all);
    let request = Request::new(Method::Put, format!("/v1/acl/token/{ANONYMOUS}"), body.to_string());
    Some(AccessChange { what: "the rights of everybody".to_owned(), reason: "other rights", request })
}

/// A token as it is written.
fn described<'a>(
    accessor: &str,
    description: &str,
    policies: impl IntoIterator<Item = &'a str>,
) -> serde_json::Value {
    let links: Vec<_> = policies.into_iter().map(|name| json!({"Name": name})).collect();
    json!({"AccessorID": accessor, "Description": description, "Policies": links})
}

const NOT_WANTED: &str = "not wanted any more";

/// Tokens that were made before in this way.
fn old_tokens(wanted: &[AccessToken], manage: &Secret, tokens: &[Token]) -> Vec<AccessChange> {
    let secrets = wanted.iter().filter_map(|token| token.secret.as_ref()).chain([manage]);
    let accessors: BTreeSet<String> = secrets.map(accessor).collect();
    let is_old =
        |token: &&Token| token.description.starts_with(DESCRIBED) && !accessors.contains(&token.accessor);
    let removal = |token: &Token| AccessChange {
        what: format!("token `{}`", token.description.trim_start_matches(DESCRIBED)),
        reason: NOT_WANTED,
        request: Acl.removal(&token.accessor),
    };
    tokens.iter().filter(is_old).map(removal).collect()
}

fn old_policies(wanted: &[AccessToken], policies: &[Policy]) -> Vec<AccessChange> {
    let names: BTreeSet<String> = wanted.iter().map(|token| policy_name(&token.name)).collect();
    let is_old = |policy: &&Policy| policy.name.starts_with(OURS) && !names.contains(&policy.name);
    let removal = |policy: &Policy| AccessChange {
        what: format!("policy `{}`", policy.name),
        reason: NOT_WANTED,
        request: Request::new(Method::Delete, format!("/v1/acl/policy/{}", policy.id), ""),
    };
    policies.iter().filter(is_old).map(removal).collect()
}

/// Letters, digits, `-` and `_` are all that a policy's name may have.
fn policy_name(name: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => '-',
        letter if letter.is_ascii_alphanumeric() || letter == '-' => letter,
        _ => '_',
    };
    format!("{OURS}{}", name.chars().map(letter).collect::<String>())
}

/// The public id of a token: it follows from the secret, and does not tell it.
fn accessor(secret: &Secret) -> String {
    let digest = Sha256::digest(format!("accessor of {}", secret.reveal()));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid(bytes, 8)
}

/// As servers tell it of a policy without datacenters (agent/structs/acl.go, `SetHash`).
fn hash(name: &str, description: &str, rules: &str) -> String {
    let hash = Blake2b::<U32>::new().chain_update(name).chain_update(description).chain_update(rules);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "3b0b8c2e-5d0f-4c4f-9a55-2a3c1a7c4a11";

    fn wanted() -> Vec<AccessToken> {
        let token = |name: &str, secret: Option<&str>| AccessToken {
            name: name.to_owned(),
            secret: secret.map(Secret::new),
            rules: "operator = \"read\"".to_owned(),
        };
        vec![token("anonymous", None), token("agent of a.b", Some(SECRET))]
    }

    fn said(policies: &serde_json::Value, tokens: &serde_json::Value) -> Responses {
        let response =
            |body: &serde_json::Value| Response { status: 200, body: body.to_string().into_bytes() };
        BTreeMap::from([(POLICIES, response(policies)), (TOKENS, response(tokens))])
    }

    fn changes(policies: &serde_json::Value, tokens: &serde_json::Value) -> Vec<Vec<String>> {
        let manage = Secret::new("m");
        let changes = Acl.changes(&wanted(), &manage, &said(policies, tokens)).unwrap();
        let shown =
            |change: &AccessChange| format!("{}: {} by {:?}", change.what, change.reason, change.request);
        changes.iter().map(|list| list.iter().map(shown).collect()).collect()
    }

    fn policy(name: &str, rules: &str) -> serde_json::Value {
        let described = name.trim_start_matches(OURS).replace("-of-", " of ").replace('_', ".");
        json!({"ID": format!("id of {name}"), "Name": name, "Hash": hash(name, &format!("{DESCRIBED}{described}"), rules)})
    }

    fn token(accessor: &str, description: &str, policies: &[&str]) -> serde_json::Value {
        let links: Vec<_> = policies.iter().map(|name| json!({"ID": "x", "Name": name})).collect();
        json!({"AccessorID": accessor, "Description": description, "Policies": links, "Local": false})
    }

    #[test]
    fn all_is_made_where_there_is_nothing() {
        let accessor = accessor(&Secret::new(SECRET));
        assert_eq!(
            changes(&json!([]), &json!([])),
            [
                vec![
                    "policy `bootstrap-anonymous`: absent by Put /v1/acl/policy".to_owned(),
                    "policy `bootstrap-agent-of-a_b`: absent by Put /v1/acl/policy".to_owned(),
                ],
                vec![
                    format!("the rights of everybody: other rights by Put /v1/acl/token/{ANONYMOUS}"),
                    "token `agent of a.b`: absent by Put /v1/acl/token".to_owned(),
                ],
            ]
        );
        // What is public of it does not tell it.
        assert!(accessor.len() == 36 && !accessor.contains(&SECRET[..8]), "{accessor}");
    }

    #[test]
    fn what_is_as_wanted_stays_and_what_is_not_ours_too() {
        let rules = "operator = \"read\"";
        let policies = json!([
            policy("bootstrap-anonymous", rules),
            policy("bootstrap-agent-of-a_b", rules),
            {"ID": "1", "Name": "global-management", "Hash": "x"},
            {"ID": "2", "Name": "somebodys", "Hash": null},
        ]);
        let own = accessor(&Secret::new(SECRET));
        let manager = accessor(&Secret::new("m"));
        let mut tokens = vec![
            token(ANONYMOUS, "Anonymous Token", &["somebodys", "bootstrap-anonymous"]),
            token(&own, "bootstrap: agent of a.b", &["bootstrap-agent-of-a_b"]),
            token(&manager, "bootstrap: management", &["global-management"]),
            token("3", "a person's", &["global-management"]),
        ];
        assert_eq!(changes(&policies, &json!(tokens)), Vec::<Vec<String>>::new());
        // Somebody gave it more than it is for; another is of a host that has left.
        tokens[1] = token(&own, "bootstrap: agent of a.b", &["bootstrap-agent-of-a_b", "global-management"]);
        tokens.push(token("4", "bootstrap: agent of gone", &["bootstrap-agent-of-gone"]));
        let mut all = policies.as_array().unwrap().clone();
        all.push(policy("bootstrap-agent-of-gone", rules));
        all[0] = policy("bootstrap-anonymous", "operator = \"write\"");
        assert_eq!(
            changes(&json!(all), &json!(tokens)),
            [
                vec![
                    "policy `bootstrap-anonymous`: other rules by Put /v1/acl/policy/id of bootstrap-anonymous".to_owned()
                ],
                vec![format!("token `agent of a.b`: other rights by Put /v1/acl/token/{own}")],
                vec!["token `agent of gone`: not wanted any more by Delete /v1/acl/token/4".to_owned()],
                vec![
                    "policy `bootstrap-agent-of-gone`: not wanted any more by Delete /v1/acl/policy/id of bootstrap-agent-of-gone"
                        .to_owned()
                ],
            ]
        );
    }

    #[test]
    fn what_a_server_does_not_tell_is_no_change() {
        let refused = Response { status: 403, body: b"ACL not found".to_vec() };
        let said = BTreeMap::from([(POLICIES, refused.clone()), (TOKENS, refused)]);
        let reason = Acl.changes(&wanted(), &Secret::new("m"), &said).unwrap_err();
        assert!(reason.contains("403"), "{reason}");
        assert!(Acl.changes(&wanted(), &Secret::new("m"), &BTreeMap::new()).is_err());
    }

    #[test]
    fn the_first_token_is_made_once() {
        let answer =
            |status, body: &str| Acl.first_token(&Response { status, body: body.as_bytes().to_vec() });
        let made = r#"{"ID":"s","AccessorID":"a","SecretID":"s","Description":"Bootstrap Token (Global Management)"}"#;
        assert_eq!(answer(200, made), FirstToken::Made { secret: Secret::new("s"), id: "a".to_owned() });
        let taken =
            "Permission denied: rpc error making call: ACL bootstrap no longer allowed (reset index: 13)";
        assert_eq!(answer(403, taken), FirstToken::Taken { reset: Some(13) });
        assert_eq!(answer(403, "Permission denied"), FirstToken::Taken { reset: None });
        for (status, body) in
            [(500, "The ACL system is currently in legacy mode."), (500, "No cluster leader"), (200, "x")]
        {
            assert!(matches!(answer(status, body), FirstToken::NotYet(_)), "{body}");
        }
        assert!(Acl.bootstrap(&Secret::new("m")).body.contains("\"BootstrapSecret\":\"m\""));
    }
}
