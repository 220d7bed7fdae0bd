//! What this run will already have changed on a host.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::StepId;

/// Ids already planned for this host in this run: a unit that watches `/etc/x` must restart when
/// `file /etc/x` is planned.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub steps: &'a BTreeSet<StepId>,
    /// The keys that change at the top of JSON files, by path.
    pub keys: &'a BTreeMap<String, BTreeSet<String>>,
}

impl Planned<'_> {
    /// Whether all that is planned for this file are changes of these keys.
    pub fn only_changes(&self, path: &str, keys: &[String]) -> bool {
        self.keys.get(path).is_some_and(|changed| changed.iter().all(|key| keys.contains(key)))
    }

    /// Whether a planned step changes this path, or something in it if it is a folder.
    pub fn touches_path(&self, path: &str) -> bool {
        let below = |touched: &str| {
            touched.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // What a removed role wrote is put back: `restore file /etc/hosts`.
        fn plain(id: &str) -> &str {
            ["restore ", "remove "].iter().find_map(|verb| id.strip_prefix(verb)).unwrap_or(id)
        }
        self.steps.iter().any(|id| match plain(&id.0).split_once(' ') {
            Some(("file" | "certificate" | "json-merge" | "download", touched)) => below(touched),
            // `block-in-file /etc/hosts (MARKER)`
            Some(("block-in-file", rest)) => {
                rest.rsplit_once(" (").is_some_and(|(touched, _)| below(touched))
            }
            // `release consul 1.21.4 /usr/local/bin/consul`: its links end its id.
            Some(("release", rest)) => rest.split(' ').skip(2).any(below),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_links_of_releases_are_touched() {
        let ids = [
            "file /etc/a b",
            "certificate /etc/tls.pem",
            "json-merge /etc/d/x.json",
            "block-in-file /etc/hosts (us)",
            "release consul 1.2 /bin/consul",
            "download /srv/network.yaml",
            "restore file /etc/resolv.conf",
            "remove file /etc/e/f",
            "unit a.service",
        ];
        let ids: BTreeSet<_> = ids.map(|id| StepId(id.into())).into();
        let keys = BTreeMap::from([("/etc/d/x.json".to_owned(), BTreeSet::from(["a".to_owned()]))]);
        let planned = Planned { steps: &ids, keys: &keys };
        let of = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        assert!(planned.only_changes("/etc/d/x.json", &of(&["b", "a"])));
        assert!(!planned.only_changes("/etc/d/x.json", &of(&["b"])));
        assert!(!planned.only_changes("/etc/a", &of(&["a"])));
        for path in [
            "/etc/a b",
            "/etc/tls.pem",
            "/etc/d/x.json",
            "/etc/d",
            "/etc/hosts",
            "/bin/consul",
            "/srv/network.yaml",
            "/etc/resolv.conf",
            "/etc/e",
        ] {
            assert!(planned.touches_path(path), "{path}");
        }
        for path in ["/etc/a", "/etc/d/x", "consul", "a.service", "/etc/a b/c"] {
            assert!(!planned.touches_path(path), "{path}");
        }
    }
}
