//! An inventory as written, with the place of everything: what the cross checks point at.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::node::{self, Document, Kind, Located, Node, Span};
use super::{Become, Host, HostKeys, Inventory, SshSettings};
use crate::model::{ClusterName, GroupName, HostName, RoleName};

/// A parsed inventory before groups and variables are merged into the hosts. Parts that were wrong
/// are missing from it and have their diagnostics.
#[derive(Clone, Debug)]
pub struct Draft {
    pub document: Document,
    pub cluster: Option<Located<ClusterName>>,
    pub ssh: DraftSsh,
    /// Ranges are expanded.
    pub hosts: Vec<DraftHost>,
    /// Keys of `hosts` that are no names: reported once, not again by every group that has them.
    pub unnamed: Vec<String>,
    pub groups: Vec<DraftGroup>,
    pub vars: Option<Node>,
    pub jobs: Vec<DraftJob>,
    /// Variables by dotted name whose maps replace each other instead of being merged; the roles
    /// know them, so a draft starts without.
    pub whole: HashSet<String>,
    /// Nothing is missing from it: what follows from all hosts and roles together can be judged.
    pub complete: bool,
}

/// One host with what is written at its own key.
#[derive(Clone, Debug)]
pub struct DraftHost {
    /// The span is that of the key; hosts of one range share it.
    pub name: Located<HostName>,
    /// What the key says, when it is a range.
    pub range: Option<String>,
    /// Without one, SSH goes to the name.
    pub address: Option<Located<String>>,
    pub cluster_address: Option<Located<IpAddr>>,
    pub cluster_interface: Option<String>,
    pub ssh: DraftSsh,
    pub roles: Vec<Located<RoleName>>,
    pub vars: Option<Node>,
}

impl DraftHost {
    /// Where SSH goes.
    pub fn address(&self) -> &str {
        self.address.as_ref().map_or(self.name.value.as_str(), |address| &address.value)
    }
}

/// One group with what is written at its key.
#[derive(Clone, Debug)]
pub struct DraftGroup {
    pub name: Located<GroupName>,
    /// Names, globs and ranges as written.
    pub hosts: Vec<Located<String>>,
    /// Indices into `Draft::hosts`, without repetition, with the place that named each.
    pub members: Vec<(usize, Span)>,
    pub roles: Vec<Located<RoleName>>,
    pub ssh: DraftSsh,
    pub vars: Option<Node>,
}

/// One entry of `jobs`.
#[derive(Clone, Debug)]
pub struct DraftJob {
    /// A file's path as written, or the name of a ready job.
    pub source: Located<String>,
    pub is_file: bool,
    pub variables: Option<Node>,
}

/// SSH settings of one level; what is absent comes from the level below.
#[derive(Clone, Debug, Default)]
pub struct DraftSsh {
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_file: Option<PathBuf>,
    pub known_hosts: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub jump: Option<Vec<String>>,
    pub host_keys: Option<HostKeys>,
    pub r#become: Option<Become>,
    pub kex: Option<Vec<String>>,
    pub persist: Option<Duration>,
}

impl DraftSsh {
    fn over(self, under: DraftSsh) -> Self {
        Self {
            user: self.user.or(under.user),
            port: self.port.or(under.port),
            identity_file: self.identity_file.or(under.identity_file),
            known_hosts: self.known_hosts.or(under.known_hosts),
            config: self.config.or(under.config),
            jump: self.jump.or(under.jump),
            host_keys: self.host_keys.or(under.host_keys),
            r#become: self.r#become.or(under.r#become),
            kex: self.kex.or(under.kex),
            persist: self.persist.or(under.persist),
        }
    }
}

impl Draft {
    /// The groups of a host, in the order of the file.
    pub fn groups_of(&self, host: usize) -> impl Iterator<Item = &DraftGroup> {
        self.groups.iter().filter(move |group| group.members.iter().any(|(member, _)| *member == host))
    }

    /// The roles of a host, groups first, without repetition.
    pub fn roles_of(&self, host: usize) -> Vec<&Located<RoleName>> {
        let mut roles: Vec<&Located<RoleName>> = Vec::new();
        let written = self.groups_of(host).flat_map(|group| &group.roles).chain(&self.hosts[host].roles);
        for role in written {
            if !roles.iter().any(|known| known.value == role.value) {
                roles.push(role);
            }
        }
        roles
    }

    /// The variables of a host: `vars` < groups in the order of the file < the host's own.
    pub fn vars_of(&self, host: usize) -> Node {
        let mut merged = Node { span: Span { start: 0, end: 0 }, kind: Kind::Map(Vec::new()) };
        let groups = self.groups_of(host).filter_map(|group| group.vars.as_ref());
        for vars in self.vars.iter().chain(groups).chain(&self.hosts[host].vars) {
            node::merge(&mut merged, vars, "", &self.whole);
        }
        merged
    }

    /// The SSH settings of a host, merged like its variables.
    pub fn ssh_of(&self, host: usize) -> DraftSsh {
        let groups = self.groups_of(host).map(|group| group.ssh.clone());
        let levels = std::iter::once(self.ssh.clone()).chain(groups).chain([self.hosts[host].ssh.clone()]);
        levels.fold(DraftSsh::default(), |under, over| over.over(under))
    }

    /// The inventory of a draft that has no errors, but for its jobs, which are files of their own; `None` if even its
    /// cluster name is missing.
    ///
    /// `home` replaces `~/` in file names; relative ones start at the inventory's own folder.
    pub fn inventory(&self, home: Option<&Path>) -> Option<Inventory> {
        let folder = self.document.file.parent().unwrap_or(Path::new(""));
        let resolve = |path: PathBuf| match (path.strip_prefix("~"), home) {
            (Ok(rest), Some(home)) => home.join(rest),
            (Ok(_), None) => path,
            (Err(_), _) => folder.join(path),
        };
        let hosts = self.hosts.iter().enumerate().map(|(index, host)| {
            let ssh = self.ssh_of(index);
            let vars = match self.vars_of(index).to_json() {
                Value::Object(vars) => vars,
                _ => Map::new(),
            };
            Host {
                name: host.name.value.clone(),
                address: host.address().to_owned(),
                cluster_address: host.cluster_address.as_ref().map(|address| address.value),
                cluster_interface: host.cluster_interface.clone(),
                ssh: SshSettings {
                    user: ssh.user,
                    port: ssh.port,
                    identity_file: ssh.identity_file.map(resolve),
                    known_hosts: ssh.known_hosts.map(resolve),
                    config: ssh
                        .config
                        .map(|file| if file == Path::new("none") { file } else { resolve(file) }),
                    jump: ssh.jump.unwrap_or_default(),
                    host_keys: ssh.host_keys.unwrap_or_default(),
                    r#become: ssh.r#become.unwrap_or_default(),
                    kex: ssh.kex.unwrap_or_default(),
                    persist: ssh.persist,
                },
                groups: self.groups_of(index).map(|group| group.name.value.clone()).collect(),
                roles: self.roles_of(index).into_iter().map(|role| role.value.clone()).collect(),
                vars,
            }
        });
        Some(Inventory {
            cluster: self.cluster.as_ref()?.value.clone(),
            hosts: hosts.collect(),
            jobs: Vec::new(),
            path: self.document.file.clone(),
        })
    }
}
