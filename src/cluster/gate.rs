//! Gates: named conditions of a cluster that close a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{Answer, Answers, Question, Response, consul, nomad, raft};
use crate::inventory::{HostName, RoleName};
use crate::plan::Situation;

/// The gates roles may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Every server sees the same, expected raft peers and one leader.
    ConsulServers,
    /// Every client has joined, and the servers have it in the catalog.
    ConsulClients,
    /// The same of Nomad's servers; and where Nomad registers in Consul, its service passes.
    NomadServers,
    /// Every client's node is ready and eligible; and where Nomad registers in Consul, its service passes.
    NomadClients,
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

impl Verdict {
    pub(super) fn of(result: Result<String, String>) -> Self {
        match result {
            Ok(detail) => Self::Met { detail },
            Err(reason) => Self::NotYet { reason },
        }
    }

    /// Every asked member by itself: met when all are, else how many are, and why the first is not.
    pub(super) fn count(
        expected: &Expected,
        answers: &Answers,
        what: &str,
        judge: impl Fn(&HostName, &BTreeMap<&'static str, Response>) -> Result<(), String>,
    ) -> Self {
        let mut met = 0;
        let mut first_reason = None;
        for host in &expected.asked {
            let result = match answers.get(host) {
                None => Err("was not asked".to_owned()),
                Some(Err(reason)) => Err(reason.clone()),
                Some(Ok(answer)) => judge(host, answer),
            };
            match result {
                Ok(()) => met += 1,
                Err(reason) => first_reason = first_reason.or(Some(format!("{host}: {reason}"))),
            }
        }
        let count = format!("{met} of {} {what}", expected.asked.len());
        match first_reason {
            None => Self::Met { detail: count },
            Some(reason) => Self::NotYet { reason: format!("{count}; {reason}") },
        }
    }
}

impl Gate {
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ConsulServers, Self::ConsulClients, Self::NomadServers, Self::NomadClients]
            .into_iter()
            .find(|gate| gate.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::ConsulServers => "consul-servers",
            Self::ConsulClients => "consul-clients",
            Self::NomadServers => "nomad-servers",
            Self::NomadClients => "nomad-clients",
        }
    }

    /// The agent's unit, whose journal explains a gate that is not met.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ConsulServers | Self::ConsulClients => "consul.service",
            Self::NomadServers | Self::NomadClients => "nomad.service",
        }
    }

    /// What the agents on the loopback of a host with these variables and roles are asked, in this order.
    pub fn questions(self, variables: &Map<String, Value>, roles: &[RoleName]) -> Vec<Question> {
        let (own, consul): (&[&'static str], &[&'static str]) = match self {
            Self::ConsulServers => (&[], &consul::SERVER_PATHS),
            Self::ConsulClients => (&[], &consul::CLIENT_PATHS),
            Self::NomadServers => (&nomad::SERVER_PATHS, &nomad::SERVER_CONSUL_PATHS),
            Self::NomadClients => (&nomad::CLIENT_PATHS, &nomad::CLIENT_CONSUL_PATHS),
        };
        let consul = if own.is_empty() || nomad::registers(variables, roles) { consul } else { &[] };
        let at = |port: u16| move |path: &&'static str| Question { port, path };
        let own = own.iter().map(at(nomad::http_port(variables)));
        own.chain(consul.iter().map(at(consul::http_port(variables)))).collect()
    }

    /// Where an agent keeps what tells whose it is.
    pub fn data_directory(self, variables: &Map<String, Value>) -> String {
        match self {
            Self::ConsulServers | Self::ConsulClients => consul::data_dir(variables),
            Self::NomadServers | Self::NomadClients => nomad::data_dir(variables),
        }
    }

    /// Whether its members keep raft data there.
    pub fn has_raft(self) -> bool {
        match self {
            Self::ConsulServers | Self::NomadServers => true,
            Self::ConsulClients | Self::NomadClients => false,
        }
    }

    pub fn judge(self, expected: &Expected, answers: &Answers) -> Verdict {
        match self {
            Self::ConsulServers => consul::judge_servers(expected, answers),
            Self::ConsulClients => consul::judge_clients(expected, answers),
            Self::NomadServers => nomad::judge_servers(expected, answers),
            Self::NomadClients => nomad::judge_clients(expected, answers),
        }
    }

    /// What stands now, read from the members' answers.
    pub fn situation(self, expected: &Expected, answers: &Answers) -> Situation {
        let those = |stands: fn(&Answer) -> bool| Situation {
            members: answers
                .iter()
                .filter(|(_, answer)| stands(answer))
                .map(|(host, _)| host.clone())
                .collect(),
            ..Situation::default()
        };
        match self {
            Self::ConsulServers | Self::NomadServers => raft::situation(expected, answers),
            Self::ConsulClients => those(consul::client_has_joined),
            Self::NomadClients => those(nomad::is_ready_client),
        }
    }

    /// Lines for the closing summary: leader, peers, where to look next.
    pub fn notes(self, expected: &Expected, answers: &Answers) -> Vec<String> {
        match self {
            Self::ConsulServers => raft::notes("peers", "consul operator raft list-peers", expected, answers),
            Self::NomadServers => raft::notes("nomad", "nomad operator raft list-peers", expected, answers),
            Self::ConsulClients | Self::NomadClients => Vec::new(),
        }
    }

    /// How the members that an agent knows are named, for a message about a foreign cluster.
    pub fn describe(self, answer: &Answer) -> Option<String> {
        match self {
            Self::ConsulServers => consul::describe(answer),
            Self::NomadServers => nomad::describe(answer),
            Self::ConsulClients | Self::NomadClients => None,
        }
    }
}
