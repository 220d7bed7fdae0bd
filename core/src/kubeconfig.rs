//! Credentials as kubeadm writes them -> an entry of somebody's kubeconfig, named after the cluster. Pure.

use serde_json::{Map, Value, json};

use crate::inventory::yaml;

/// Why a kubeconfig cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("{what} is no kubeconfig: {reason}")]
    Shape { what: &'static str, reason: String },
}

/// What of a file of credentials belongs to the cluster, under its name; `existing` keeps everything else that it has.
pub fn merge(existing: Option<&str>, credentials: &str, cluster: &str) -> Result<String, KubeconfigError> {
    let theirs = read("what the control plane has", credentials)?;
    let first = |list: &str, key: &str| {
        theirs[list].as_array().and_then(|items| items.first()?.get(key)).cloned().ok_or_else(|| {
            KubeconfigError::Shape {
                what: "what the control plane has",
                reason: format!("it has no `{list}`"),
            }
        })
    };
    let user = format!("{cluster}-admin");
    let mut config = match existing.filter(|text| !text.trim().is_empty()) {
        Some(text) => read("the file", text)?,
        None => json!({"apiVersion": "v1", "kind": "Config"}),
    };
    let Value::Object(fields) = &mut config else {
        return Err(KubeconfigError::Shape { what: "the file", reason: "it is no map".to_owned() });
    };
    put(fields, "clusters", json!({"name": cluster, "cluster": first("clusters", "cluster")?}));
    put(fields, "users", json!({"name": user, "user": first("users", "user")?}));
    put(fields, "contexts", json!({"name": cluster, "context": {"cluster": cluster, "user": user}}));
    fields.insert("current-context".to_owned(), json!(cluster));
    yaml::to_text(&config).map_err(|reason| KubeconfigError::Shape { what: "the file", reason })
}

fn read(what: &'static str, text: &str) -> Result<Value, KubeconfigError> {
    yaml::plain(text).map_err(|reason| KubeconfigError::Shape { what, reason })
}

/// An entry of a list, in the place of the one of its name.
fn put(fields: &mut Map<String, Value>, list: &str, entry: Value) {
    // kubectl writes `null` for a list without entries.
    let mut items = fields.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
    match items.iter_mut().find(|item| item["name"] == entry["name"]) {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
    fields.insert(list.to_owned(), Value::Array(items));
}

#[cfg(test)]
mod tests {
    use super::*;
    use indoc::indoc;

    const ADMIN: &str = indoc! {"
        apiVersion: v1
        clusters:
        - cluster:
            certificate-authority-data: Q0E=
            server: https://10.0.0.9:6443
          name: kubernetes
        contexts:
        - context:
            cluster: kubernetes
            user: kubernetes-admin
          name: kubernetes-admin@kubernetes
        current-context: kubernetes-admin@kubernetes
        kind: Config
        preferences: {}
        users:
        - name: kubernetes-admin
          user:
            client-certificate-data: Q0VSVA==
            client-key-data: S0VZ
    "};

    #[test]
    fn a_new_file_has_the_cluster_under_its_name() {
        let config = yaml::plain(&merge(None, ADMIN, "dc1").unwrap()).unwrap();
        assert_eq!(
            config,
            json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "dc1",
                "clusters": [{"name": "dc1", "cluster": {"certificate-authority-data": "Q0E=", "server": "https://10.0.0.9:6443"}}],
                "users": [{"name": "dc1-admin", "user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"}}],
                "contexts": [{"name": "dc1", "context": {"cluster": "dc1", "user": "dc1-admin"}}],
            })
        );
    }

    #[test]
    fn what_else_a_file_has_stays_and_an_older_entry_goes() {
        let once =
            merge(Some("clusters: null\nusers: [ { name: me, user: { token: \"012\" } } ]\n"), ADMIN, "dc1")
                .unwrap();
        let again = ADMIN.replace("10.0.0.9", "10.0.0.10");
        let config = yaml::plain(&merge(Some(&once), &again, "dc1").unwrap()).unwrap();
        assert_eq!(config["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.0.0.10:6443");
        assert_eq!(config["users"][0], json!({"name": "me", "user": {"token": "012"}}));
        assert_eq!(config["users"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_kubeconfig_is_left_alone() {
        for (existing, credentials, what) in [
            (Some("- a\n"), ADMIN, "the file"),
            (None, "kind: Config\n", "control plane"),
            (None, "a: [", "control plane"),
        ] {
            let error = merge(existing, credentials, "dc1").unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
