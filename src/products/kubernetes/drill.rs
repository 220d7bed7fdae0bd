//! A drill of one API server, as clients of the cluster's endpoint notice it.

use serde::Deserialize;
use serde_json::json;

use super::super::{Drills, Keys, Method, Request, Way};
use super::{API_FILES, STATIC_PODS, shared_place};
use crate::model::{Endpoint, LOOPBACK};

/// Its own name for itself, which kubeadm writes into every API server's certificate.
const NAME: &str = "kubernetes";
/// Small, and of nobody else.
const MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const LABEL: &str = "bootstrap-drill";
const PROGRAM: &str = "kube-apiserver";

/// It is killed on one host, and written through the endpoint meanwhile.
pub(super) struct ApiServerDrill;

impl Drills for ApiServerDrill {
    fn way(&self, endpoint: &Endpoint) -> Way {
        let (address, port) = shared_place(endpoint)
            .and_then(|shared| shared.rsplit_once(':'))
            .and_then(|(address, port)| {
                Some((address.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
            })
            .unwrap_or_else(|| (LOOPBACK.to_owned(), endpoint.port));
        Way::Tls { address, port, name: NAME, files: API_FILES }
    }

    fn program(&self) -> Option<&'static str> {
        Some("api-server")
    }

    fn leader(&self) -> Request {
        Request::new(Method::Get, "/version", "")
    }

    /// All of them serve.
    fn read_leader(&self, _: &str) -> Option<String> {
        None
    }

    fn keys(&self) -> Option<&dyn Keys> {
        Some(self)
    }

    fn victim(&self) -> &'static str {
        "its API server"
    }

    fn kill(&self, _: &str) -> Vec<Vec<String>> {
        vec![[STATIC_PODS, "kill", PROGRAM].map(str::to_owned).into()]
    }

    fn revive(&self, _: &str) -> Vec<String> {
        [STATIC_PODS, "up"].map(str::to_owned).into()
    }
}

/// Each key is a ConfigMap; names of objects have no slash.
impl Keys for ApiServerDrill {
    fn put(&self, key: &str, value: &str) -> Request {
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": key.replace('/', "."), "labels": { LABEL: "true" } },
            "data": { "value": value },
        });
        Request::new(Method::Post, MAPS, body.to_string())
    }

    fn is_acknowledged(&self, _: &str) -> bool {
        true
    }

    fn list(&self, _: &str) -> Request {
        Request::new(Method::Get, format!("{MAPS}?labelSelector={LABEL}%3Dtrue"), "")
    }

    fn read_list(&self, body: &str) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Object>,
        }
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            name: String,
        }
        let list: List = serde_json::from_str(body).ok()?;
        Some(list.items.into_iter().map(|object| object.metadata.name.replace('.', "/")).collect())
    }

    fn remove(&self, _: &str) -> Request {
        Request::new(Method::Delete, format!("{MAPS}?labelSelector={LABEL}%3Dtrue"), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_where_everybody_finds_the_api() {
        let access = |shared: &str| {
            let endpoint = json!({"product": "kube", "port": 6444, "scheme": "https", "unit": "u", "data": "/d",
                "settings": {"endpoint": shared}});
            match ApiServerDrill.way(&serde_json::from_value(endpoint).unwrap()) {
                Way::Tls { address, port, .. } => (address, port),
                Way::Plain => unreachable!("it speaks TLS"),
            }
        };
        assert_eq!(access("api.example:6443"), ("api.example".to_owned(), 6443));
        assert_eq!(access("[fd00::1]:7443"), ("fd00::1".to_owned(), 7443));
    }

    #[test]
    fn keys_come_back_by_their_names() {
        let put = ApiServerDrill.put("bootstrap-drill/000007", "7");
        let name = serde_json::from_str::<serde_json::Value>(&put.body).unwrap()["metadata"]["name"].clone();
        let list = json!({ "items": [{ "metadata": { "name": name } }] }).to_string();
        assert_eq!(ApiServerDrill.read_list(&list), Some(vec!["bootstrap-drill/000007".to_owned()]));
    }
}
