//! Before a cluster is formed: does any host belong to something else already?
//!
//! A host that has once been prepared carries a marker with the cluster's name and id. Raft data
//! beside our own marker is ours, whatever state it is in; raft data without it is somebody's, and
//! starting a server on it could join two clusters or bring back a dead one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, Endpoint, RoleName};

/// Says on a host which cluster it belongs to. Written before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub cluster: ClusterName,
    /// Made once per cluster and kept with its secrets.
    pub id: String,
}

/// A part of a product as it was set up on a host: what is needed to take it away once no role says so any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPart {
    pub role: RoleName,
    /// The API, for programs on the host itself.
    pub api: String,
    pub unit: String,
    pub data: String,
}

impl HostPart {
    pub fn new(role: &RoleName, endpoint: &Endpoint) -> Self {
        let (role, unit, data) = (role.clone(), endpoint.unit.clone(), endpoint.data.clone());
        Self { role, api: endpoint.url(), unit, data }
    }
}

/// What the marker of one host says, as JSON: whose it is, and which parts were set up there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMarker {
    pub cluster: ClusterName,
    pub id: String,
    /// By their names. Markers of earlier versions have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, HostPart>,
}

impl HostMarker {
    pub fn new(marker: &Marker, parts: BTreeMap<String, HostPart>) -> Self {
        Self { cluster: marker.cluster.clone(), id: marker.id.clone(), parts }
    }

    /// Whether a marker's text says that the agent which runs as a unit was set up there. Markers of earlier versions, and those of
    /// hosts without any agent, name no parts: they do not tell.
    pub fn has_set_up(text: &str, unit: &str) -> Option<bool> {
        let parts = Self::parts(text);
        (!parts.is_empty()).then(|| parts.values().any(|part| part.unit == unit))
    }

    /// The parts that a marker's text tells; none where it is not to be read.
    pub fn parts(text: &str) -> BTreeMap<String, HostPart> {
        serde_json::from_str(text).map(|marker: Self| marker.parts).unwrap_or_default()
    }
}

impl fmt::Display for HostMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster `{}` (id {})", self.cluster, self.id)
    }
}

/// What one host carries.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The marker's text, if there is a marker.
    pub marker: Option<String>,
    /// Raft data that was found, of each product: where, whose and how old, in words.
    pub raft_data: Vec<String>,
    /// That of parts which the marker, though it is ours and names others, does not name.
    pub unmarked: Vec<String>,
    /// The running agents, in words.
    pub agents: Vec<String>,
    /// All files and folders of a former member that would be in the way of a new one, where they are more than the above.
    pub remains: Vec<String>,
    /// What ends all that may run of it, on the host.
    pub clean_up: Option<&'static str>,
}

/// Why a host must not be touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("it belongs to {theirs}, this inventory is {ours}")]
    OtherCluster { theirs: String, ours: Marker },
    #[error("it carries data that is not from {ours}: {found}")]
    StaleData { found: String, ours: Marker, remains: Vec<String>, clean_up: Option<&'static str> },
}

impl IdentityError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::OtherCluster { .. } => {
                "if it was yours before, put the `.bootstrap/` folder with that id beside the inventory; if its \
                 old cluster is gone for good, remove /var/lib/bootstrap/cluster and the data directories on it"
            }
            Self::StaleData { remains, clean_up, .. } if !remains.is_empty() => {
                let clean_up = clean_up.map_or(String::new(), |command| format!("{command}; "));
                return format!(
                    "if nothing of it is of use any more, this ends what runs there and deletes all that would be in the way, \
                     on that host: `{clean_up}rm -rf {}`; then run again",
                    remains.join(" ")
                );
            }
            Self::StaleData { .. } => {
                "if that data is of no use any more, move it away and run again; to leave it as it is, take the role from this host"
            }
        }
        .to_owned()
    }
}

/// Seconds since the epoch as a date and time.
pub fn age(seconds: &str) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds.trim().parse().ok()?).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Refuses hosts of other clusters and stale raft data.
pub fn check_identity(ours: &Marker, claim: &Claim) -> Result<(), IdentityError> {
    match &claim.marker {
        Some(text) => match serde_json::from_str::<Marker>(text) {
            Ok(theirs) if theirs.id == ours.id && claim.unmarked.is_empty() => Ok(()),
            Ok(theirs) if theirs.id == ours.id => Err(IdentityError::StaleData {
                found: claim.unmarked.join("; "),
                ours: ours.clone(),
                remains: claim.remains.clone(),
                clean_up: claim.clean_up,
            }),
            Ok(theirs) => Err(IdentityError::OtherCluster { theirs: theirs.to_string(), ours: ours.clone() }),
            Err(_) => Err(IdentityError::OtherCluster {
                theirs: format!("a cluster that its marker does not name legibly (`{}`)", text.trim()),
                ours: ours.clone(),
            }),
        },
        None => {
            let found: Vec<&str> = claim.raft_data.iter().chain(&claim.agents).map(String::as_str).collect();
            let found = match (found.is_empty(), claim.remains.is_empty()) {
                (true, true) => return Ok(()),
                (true, false) => claim.remains.join(", "),
                (false, _) => found.join("; "),
            };
            let (remains, clean_up) = (claim.remains.clone(), claim.clean_up);
            Err(IdentityError::StaleData { found, ours: ours.clone(), remains, clean_up })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_or_empty_hosts_pass() {
        let ours = Marker { cluster: ClusterName::parse("dc1").unwrap(), id: "aa".into() };
        let check = |marker: Option<&str>, raft: Option<&str>| {
            let claim = Claim {
                marker: marker.map(str::to_owned),
                raft_data: raft.map(str::to_owned).into_iter().collect(),
                ..Claim::default()
            };
            check_identity(&ours, &claim)
        };
        let own = r#"{"cluster":"dc1","id":"aa"}"#;
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some(own), None), Ok(()));
        assert_eq!(check(Some(own), Some("/opt/consul/raft")), Ok(()));
        assert!(matches!(check(None, Some("/opt/consul/raft")), Err(IdentityError::StaleData { .. })));
        // Of a part that was never set up there by us.
        let unmarked =
            Claim { marker: Some(own.to_owned()), unmarked: vec!["/opt/x/raft".into()], ..Claim::default() };
        assert!(matches!(check_identity(&ours, &unmarked), Err(IdentityError::StaleData { .. })));
        // What is left of a node, though nothing says of what cluster.
        let left = Claim {
            remains: vec!["/etc/kubernetes/pki".into(), "/var/lib/kubelet/pki".into()],
            clean_up: Some("kubeadm reset --force"),
            ..Claim::default()
        };
        let error = check_identity(&ours, &left).unwrap_err();
        assert!(error.to_string().ends_with(": /etc/kubernetes/pki, /var/lib/kubelet/pki"), "{error}");
        assert!(
            error
                .remedy()
                .contains("`kubeadm reset --force; rm -rf /etc/kubernetes/pki /var/lib/kubelet/pki`"),
            "{}",
            error.remedy()
        );
        // With the parts that were set up there.
        let endpoint = serde_json::from_value(serde_json::json!(
            {"product": "consul", "port": 8500, "unit": "consul.service", "data": "/opt/consul"}
        ));
        let part = HostPart::new(&RoleName::parse("consul-client").unwrap(), &endpoint.unwrap());
        let text = HostMarker::new(&ours, BTreeMap::from([("consul-clients".to_owned(), part)])).to_string();
        assert_eq!(check(Some(&text), None), Ok(()));
        assert_eq!(HostMarker::parts(&text)["consul-clients"].api, "http://127.0.0.1:8500");
        assert_eq!(HostMarker::new(&ours, BTreeMap::new()).to_string(), own);
        // The same name is not the same cluster.
        let other = r#"{"cluster":"dc1","id":"bb"}"#;
        assert!(matches!(check(Some(other), None), Err(IdentityError::OtherCluster { .. })));
        assert!(matches!(check(Some("garbage"), None), Err(IdentityError::OtherCluster { .. })));
    }
}
