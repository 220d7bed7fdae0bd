//! What the probes of a look ask for -> a few calls that ask for all of it.

use std::collections::BTreeMap;

use crate::model::{Arg, Call, Prefetch, PrefetchOf};

/// The calls that come before these probes.
pub(super) fn calls<'a>(probes: impl IntoIterator<Item = &'a Call>) -> Vec<Call> {
    // Each once, for the most that is asked of it: a path may be asked for its content and its owner.
    let mut asked: BTreeMap<(&str, Option<PrefetchOf>), PrefetchOf> = BTreeMap::new();
    for Prefetch { of, name } in probes.into_iter().flat_map(Call::prefetch) {
        let is_path = *of <= PrefetchOf::Path;
        let most = asked.entry((name, (!is_path).then_some(*of))).or_insert(*of);
        *most = (*most).min(*of);
    }
    let names = |of: PrefetchOf| -> Vec<&str> {
        asked.iter().filter(|(_, most)| **most == of).map(|((name, _), _)| *name).collect()
    };
    let [content, digest] = [PrefetchOf::Content, PrefetchOf::Digest].map(names);
    let counts = [content.len().to_string(), digest.len().to_string()];
    let paths = [content, digest, names(PrefetchOf::Path)].concat();
    [
        ("prefetch_paths", counts.iter().map(String::as_str).collect(), paths),
        ("prefetch_units", Vec::new(), names(PrefetchOf::Unit)),
        ("prefetch_accounts", vec!["passwd"], names(PrefetchOf::User)),
        ("prefetch_accounts", vec!["group"], names(PrefetchOf::Group)),
        ("prefetch_packages", Vec::new(), names(PrefetchOf::Package)),
    ]
    .into_iter()
    .filter(|(_, _, names)| !names.is_empty())
    .map(|(function, first, names)| Call::new(function, [first, names].concat().into_iter().map(Arg::lossy)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(prefetch: &[(PrefetchOf, &str)]) -> Call {
        Call::new("a_probe", []).with_prefetch(prefetch.iter().map(|(of, name)| of.named(*name)))
    }

    #[test]
    fn each_thing_is_asked_for_once_and_for_the_most_that_is_asked_of_it() {
        use PrefetchOf::{Content, Digest, Group, Package, Path, Unit, User};
        let probes = [
            asking(&[(Path, "/etc/a"), (Path, "/etc/b"), (User, "www"), (Group, "www")]),
            asking(&[(Digest, "/etc/a"), (Unit, "a.service")]),
            asking(&[(Content, "/etc/a"), (Digest, "/etc/c")]),
            asking(&[(Unit, "a.service"), (Package, "curl")]),
        ];
        let lines: Vec<String> = calls(&probes).iter().map(Call::for_host).collect();
        assert_eq!(
            lines,
            [
                "prefetch_paths '1' '1' '/etc/a' '/etc/c' '/etc/b'",
                "prefetch_units 'a.service'",
                "prefetch_accounts 'passwd' 'www'",
                "prefetch_accounts 'group' 'www'",
                "prefetch_packages 'curl'",
            ]
        );
        assert!(calls(&[asking(&[])]).is_empty());
    }
}
