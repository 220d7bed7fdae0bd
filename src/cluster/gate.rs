//! Gates: named conditions of a cluster that close a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::consul;
use super::{Answer, Answers};
use crate::inventory::HostName;
use crate::plan::Situation;

/// The gates roles may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Every server sees the same, expected raft peers and one leader.
    ConsulServers,
    /// Every client has joined, and the servers have it in the catalog.
    ConsulClients,
}

/// Who must be there for a gate to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Members by their cluster address, reachable or not.
    pub members: BTreeMap<HostName, IpAddr>,
    /// Members that are asked: all but those this run has set aside or leaves out.
    pub asked: BTreeSet<HostName>,
    /// Members that are known to be down. They use up failure tolerance.
    pub missing: usize,
}

/// Whether a gate is met, in the operator's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met { detail: String },
    NotYet { reason: String },
}

impl Gate {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "consul-servers" => Some(Self::ConsulServers),
            "consul-clients" => Some(Self::ConsulClients),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::ConsulServers => "consul-servers",
            Self::ConsulClients => "consul-clients",
        }
    }

    /// The agent's unit, whose journal explains a gate that is not met.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ConsulServers | Self::ConsulClients => "consul.service",
        }
    }

    /// The port on which the agent answers on its host's loopback.
    pub fn port(self, variables: &Map<String, Value>) -> u16 {
        match self {
            Self::ConsulServers | Self::ConsulClients => consul::http_port(variables),
        }
    }

    /// What an agent is asked. The order is the order of asking.
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Self::ConsulServers => &consul::SERVER_PATHS,
            Self::ConsulClients => &consul::CLIENT_PATHS,
        }
    }

    /// Where an agent keeps its state.
    pub fn data_directory(self, variables: &Map<String, Value>) -> String {
        match self {
            Self::ConsulServers | Self::ConsulClients => consul::data_dir(variables),
        }
    }

    /// Whether its members keep raft data there.
    pub fn has_raft(self) -> bool {
        match self {
            Self::ConsulServers => true,
            Self::ConsulClients => false,
        }
    }

    pub fn judge(self, expected: &Expected, answers: &Answers) -> Verdict {
        match self {
            Self::ConsulServers => consul::judge_servers(expected, answers),
            Self::ConsulClients => consul::judge_clients(expected, answers),
        }
    }

    /// What stands now, read from the members' answers.
    pub fn situation(self, expected: &Expected, answers: &Answers) -> Situation {
        match self {
            Self::ConsulServers => consul::situation(expected, answers),
            Self::ConsulClients => Situation {
                members: answers
                    .iter()
                    .filter(|(_, answer)| consul::client_has_joined(answer))
                    .map(|(host, _)| host.clone())
                    .collect(),
                ..Situation::default()
            },
        }
    }

    /// Lines for the closing summary: leader, peers, where to look next.
    pub fn notes(self, expected: &Expected, answers: &Answers) -> Vec<String> {
        match self {
            Self::ConsulServers => consul::notes(expected, answers),
            Self::ConsulClients => Vec::new(),
        }
    }

    /// How the members that an agent knows are named, for a message about a foreign cluster.
    pub fn describe(self, answer: &Answer) -> Option<String> {
        match self {
            Self::ConsulServers => consul::describe(answer),
            Self::ConsulClients => None,
        }
    }
}
