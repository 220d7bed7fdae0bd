//! `--shard 2/3`: which hosts of an inventory one of several runs sets up.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::model::HostName;
use crate::roles::{Wanted, WantedHost};

/// One of the parts of an inventory, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            Some((_, 0)) | None => {
                Err("write the number of the part and how many there are: `2/3`".to_owned())
            }
            Some((_, of)) => Err(format!("there is no such part: they are 1/{of} to {of}/{of}")),
        }
    }
}

impl Shard {
    /// How many there are.
    pub fn of(self) -> usize {
        self.of
    }

    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Its hosts: of those that others depend on all or none, of the rest every so many-th.
    pub fn hosts(self, wanted: &Wanted) -> BTreeSet<HostName> {
        let (serving, rest): (Vec<&WantedHost>, Vec<&WantedHost>) =
            wanted.hosts.iter().partition(|host| host.roles.iter().any(|role| role.quorum || role.serves));
        let serving = serving.into_iter().filter(|_| self.is_first());
        let own = rest.into_iter().skip(self.number - 1).step_by(self.of);
        serving.chain(own).map(|host| host.host.name.clone()).collect()
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::testing::wanted;

    const INVENTORY: &str = r#"
cluster: dc1
hosts:
  a-[1-4]: { address: "10.0.1.[1-4]" }
  s-[1-3]: { address: "10.0.0.[1-3]" }
  b-[1-4]: { address: "10.0.2.[1-4]" }
groups:
  servers: { hosts: ["s-*"], roles: [consul-server] }
  clients: { hosts: ["a-*", "b-*"], roles: [consul-client] }
"#;

    #[test]
    fn servers_are_in_the_first_and_each_host_is_in_one() {
        let wanted = wanted(INVENTORY);
        let hosts = |shard: &str| -> Vec<String> {
            let shard: Shard = shard.parse().unwrap();
            shard.hosts(&wanted).iter().map(HostName::to_string).collect()
        };
        assert_eq!(hosts("1/3"), ["a-1", "a-4", "b-3", "s-1", "s-2", "s-3"]);
        assert_eq!(hosts("2/3"), ["a-2", "b-1", "b-4"]);
        assert_eq!(hosts("3/3"), ["a-3", "b-2"]);
        assert_eq!(hosts("1/1").len(), wanted.hosts.len());
        assert_eq!(hosts("20/20"), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for (text, says) in [
            ("0/3", "they are 1/3 to 3/3"),
            ("4/3", "they are 1/3 to 3/3"),
            ("1/0", "`2/3`"),
            ("3", "`2/3`"),
            ("a/b", "`2/3`"),
        ] {
            let said = text.parse::<Shard>().unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
