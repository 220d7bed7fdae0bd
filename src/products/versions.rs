//! Whether members that run one version can be brought to another.

use semver::Version;

/// What a member runs and is to run, and how far its cluster is.
#[derive(Clone, Copy, Debug)]
pub struct VersionChange<'a> {
    pub runs: &'a str,
    pub wanted: &'a str,
    /// What the oldest of the members that answer runs.
    pub oldest: &'a str,
}

/// The way out where a whole cluster is to go back to an older minor release: what the newer one has written that one need not
/// understand. Within a minor release nothing of that changes. And while some members run the older release, the cluster
/// writes what all of them understand, so that an upgrade that is not finished can be taken back:
/// <https://etcd.io/docs/v3.6/upgrades/upgrade_3_6/>, "Mixed versions"; Consul and Nomad switch on what a release brings
/// once all servers have it.
pub(super) fn no_way_back(product: &str, change: &VersionChange<'_>) -> Option<String> {
    let minor = |version: &str| {
        let version = Version::parse(version.trim_start_matches('v')).ok()?;
        Some((version.major, version.minor))
    };
    let wanted = minor(change.wanted)?;
    let goes_back = |from: &str| minor(from).is_some_and(|from| wanted < from);
    (goes_back(change.runs) && goes_back(change.oldest)).then(|| {
        format!(
            "an older release need not read what this one has written: set `{product}.version` to {} or later. Who must go back \
             makes the cluster anew with the older release, by `bootstrap down --purge` and `bootstrap up`, and puts back a snapshot \
             that was saved under it, by `bootstrap snapshot restore --foreign`",
            change.runs.trim_start_matches('v')
        )
    })
}

/// The oldest of some versions.
pub fn oldest<'v>(versions: impl IntoIterator<Item = &'v str>) -> Option<&'v str> {
    versions.into_iter().min_by_key(|version| Version::parse(version.trim_start_matches('v')).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_cluster_does_not_go_back_to_an_older_minor_release() {
        // What the member runs, what the inventory wants, what the others run; whether that is refused.
        for (runs, wanted, others, refused) in [
            ("1.14.11", "1.8.7", &["1.14.11", "1.14.11"][..], true),
            ("1.14.11", "1.13.9", &["1.14.11"], true),
            ("v1.14.11+ent", "1.13.9", &["1.14.11"], true),
            ("3.6.14", "3.5.21", &[], true),
            ("2.0.0", "1.9.0", &["2.0.0"], true),
            // Within a minor release, and forwards.
            ("1.14.11", "1.14.2", &["1.14.11"], false),
            ("3.6.14", "3.6.1", &["3.6.14"], false),
            ("1.8.7", "1.14.11", &["1.8.7"], false),
            // An upgrade that is not finished is taken back: some run the older release still.
            ("1.14.11", "1.13.9", &["1.13.9", "1.13.9"], false),
            ("1.14.11", "1.13.9", &["1.14.11", "1.13.2"], false),
            // But not to an older one than that.
            ("1.14.11", "1.12.0", &["1.13.9", "1.13.9"], true),
            ("1.13.9", "1.12.0", &["1.14.11", "1.13.9"], true),
            ("unknown", "1.12.0", &[], false),
        ] {
            let oldest = oldest(others.iter().copied().chain([runs])).unwrap();
            let way_out = no_way_back("consul", &VersionChange { runs, wanted, oldest });
            assert_eq!(way_out.is_some(), refused, "{runs} -> {wanted} among {others:?}: {way_out:?}");
            let names = |text: String| {
                text.contains(&format!("`consul.version` to {}", runs.trim_start_matches('v')))
            };
            assert!(way_out.is_none_or(names));
        }
    }
}
