//! Parts of products that were set up on a host, by its own marker, and that none of its roles names any more: they leave their
//! cluster, or the operator is told why they cannot.

use std::collections::{BTreeMap, BTreeSet};

use super::tasks::{self, step};
use crate::model::{Arg, Call, Check, Delegation, Finding, HostName, NulInArgument, Plan, StageName, Step};
use crate::plan::{BatchSize, removal_stage};
use crate::preflight::{HostMarker, HostPart, Marker};
use crate::products::{DepartureNotice, Gate, Task};
use crate::raft::{Peer, Views, led};
use crate::roles::{ClusterAddresses, Wanted, WantedHost};

/// What is to be done about the parts that hosts have lost.
#[derive(Debug, Default)]
pub(crate) struct LostParts {
    /// Which ones leave, of each host.
    pub leave: BTreeMap<HostName, Vec<Gate>>,
    steps: BTreeMap<HostName, Vec<Step>>,
    /// Why some of them must not.
    pub findings: Vec<Finding>,
}

/// The marker that each host is to have.
pub(crate) fn markers(wanted: &Wanted, marker: &Marker) -> BTreeMap<HostName, String> {
    let of_host = |host: &WantedHost| {
        let parts = host.roles.iter().filter_map(|role| {
            let gate = role.gate.as_deref().and_then(Gate::parse)?;
            Some((gate.name().to_owned(), HostPart::new(&role.name, role.endpoint.as_ref()?)))
        });
        (host.host.name.clone(), HostMarker::new(marker, parts.collect()).to_string())
    };
    wanted.hosts.iter().map(of_host).collect()
}

/// Compares what the markers that hosts carry tell with what their roles say; `views`: what the members of a gate say of its peers.
pub(crate) fn lost(
    wanted: &Wanted,
    marker: &Marker,
    carried: &BTreeMap<&HostName, &str>,
    views: &dyn Fn(Gate) -> Views,
    addresses: &ClusterAddresses,
) -> LostParts {
    let mut lost = LostParts::default();
    for host in &wanted.hosts {
        let name = &host.host.name;
        let Some(text) = carried.get(name) else { continue };
        // What comes last to a host goes first from it.
        let parts = HostMarker::parts(text);
        let gates = Gate::ALL.into_iter().rev();
        let gone: Vec<(Gate, &HostPart)> = gates
            .filter(|gate| host.endpoint(gate.name()).is_none())
            .filter_map(|gate| Some((gate, parts.get(gate.name())?)))
            .collect();
        let standings: Vec<Standing> =
            gone.iter().map(|(gate, _)| standing(*gate, host, views, addresses)).collect();
        let unknown = gone.iter().zip(&standings).filter(|(_, standing)| **standing == Standing::Unknown);
        lost.findings.extend(unknown.map(|((gate, _), _)| refusal(*gate, name)));
        if gone.is_empty() || standings.iter().any(|standing| *standing != Standing::Free) {
            continue;
        }
        // A name with a NUL byte was refused long before.
        let Ok(steps) = leave(wanted, host, marker, &gone) else { continue };
        lost.leave.insert(name.clone(), gone.iter().map(|(gate, _)| *gate).collect());
        lost.steps.insert(name.clone(), steps);
    }
    lost
}

impl LostParts {
    /// The plan with their leaving before all else: what follows starts from hosts that are free of them.
    pub(crate) fn first(&self, mut plan: Plan, share: BatchSize) -> Plan {
        if !self.steps.is_empty() {
            let roles: BTreeSet<&str> =
                self.steps.values().flatten().map(|step| step.role.as_str()).collect();
            let name = StageName::leaving(roles);
            plan.stages.insert(0, removal_stage(name, share, self.steps.clone()));
        }
        plan
    }

    /// What it means, for the operator to agree to; nothing where nobody leaves.
    pub(crate) fn question(&self) -> Option<String> {
        let mut of_gate: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, gates) in &self.leave {
            for gate in gates {
                of_gate.entry(gate.name()).or_default().push(host.as_str());
            }
        }
        let said: Vec<String> =
            of_gate.iter().map(|(gate, hosts)| format!("{} from {gate}", hosts.join(", "))).collect();
        let said = said.join("; ");
        (!said.is_empty()).then(|| {
            format!(
                "Hosts have lost roles, and leave their clusters: {said}. Their work moves to others and their agents stop."
            )
        })
    }
}

/// What a part that a host has lost is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// None of its voters.
    Free,
    /// One of them: that is told where the living cluster is compared with the inventory.
    Voter,
    /// Nobody says.
    Unknown,
}

fn standing(
    gate: Gate,
    host: &WantedHost,
    views: &dyn Fn(Gate) -> Views,
    addresses: &ClusterAddresses,
) -> Standing {
    if !gate.has_raft() {
        return Standing::Free;
    }
    let views = views(gate);
    let Some(peers) = led(&views) else { return Standing::Unknown };
    let name = host.host.name.as_str();
    let address = addresses.get(&host.host.name);
    let is_it =
        |peer: &Peer| peer.node.split('.').next() == Some(name) || address == Some(&peer.address.ip());
    if peers.iter().any(is_it) { Standing::Voter } else { Standing::Free }
}

/// Its vote may be what the others need.
fn refusal(gate: Gate, host: &HostName) -> Finding {
    let reason = format!(
        "it is one of {}, by its own marker, its role for that is not in the inventory, and no living cluster says whether it \
         still is",
        gate.name()
    );
    let remedy = format!(
        "give it its role again, and bring the cluster back; then `bootstrap remove-node INVENTORY {host}` takes it out. To end \
         the whole cluster: `bootstrap down INVENTORY --purge`, with the roles that it had"
    );
    Finding::error(Check::Quorum, vec![host.clone()], reason, remedy)
}

/// The steps with which a host leaves its clusters.
fn leave(
    wanted: &Wanted,
    host: &WantedHost,
    marker: &Marker,
    gone: &[(Gate, &HostPart)],
) -> Result<Vec<Step>, NulInArgument> {
    let mut steps = Vec::new();
    for (gate, part) in gone {
        let goes_on = host
            .roles
            .iter()
            .any(|role| role.endpoint.as_ref().is_some_and(|endpoint| endpoint.unit == part.unit));
        let mut own = match goes_on && !gate.has_raft() {
            true => {
                let own = guarded(gate.leaving().hands_over(&part.api), &[], &part.unit);
                let own = tasks::signed(*gate, wanted, own);
                let aside = tasks::aside(*gate, host, &part.data)?;
                tasks::tasks(host, own)?.into_iter().chain(aside).collect()
            }
            false => ends(*gate, wanted, host, part)?,
        };
        if let Some(first) = own.first_mut() {
            first.help = help(*gate, wanted, host)?;
        }
        own.iter_mut().for_each(|step| step.role = part.role.clone());
        steps.extend(own);
    }
    if let (true, Some((_, part))) = (host.roles.is_empty(), gone.last()) {
        let text = HostMarker::new(marker, BTreeMap::new()).to_string();
        let id = "marker cluster".to_owned();
        let marks = step(host, id, "nothing is set up there any more", "cluster_write", &[&text])?;
        steps.push(Step { role: part.role.clone(), ..marks });
    }
    Ok(steps)
}

/// An agent tells the others, as far as it runs, and stops for good.
fn ends(gate: Gate, wanted: &Wanted, host: &WantedHost, part: &HostPart) -> Result<Vec<Step>, NulInArgument> {
    let leaving = gate.leaving();
    let always = leaving.on_host(&part.api, false);
    let own = guarded(leaving.on_host(&part.api, true), &always, &part.unit);
    let before = tasks::tasks(host, tasks::signed(gate, wanted, own))?;
    let rest = tasks::ends(gate, host, &part.unit, &part.data)?;
    Ok(before.into_iter().chain(rest).collect())
}

/// Tasks that need an agent that runs, each with the question whether its unit does; `always` are the others.
fn guarded(tasks: Vec<Task>, always: &[Task], unit: &str) -> Vec<Task> {
    let guarded = |task: Task| match always.contains(&task) {
        true => task,
        false => task.while_active(unit),
    };
    tasks.into_iter().map(guarded).collect()
}

/// What another member does before and after it.
fn help(gate: Gate, wanted: &Wanted, host: &WantedHost) -> Result<Option<Delegation>, NulInArgument> {
    let name = &host.host.name;
    let tells = |gate: Gate, product: &str| gate.product().name() == product && gate.leaving().can_tell();
    let others = wanted.hosts.iter().filter(|other| other.host.name != *name);
    let helper = others.flat_map(|other| &other.roles).find_map(|role| {
        let known = role.gate.as_deref().and_then(Gate::parse)?;
        let endpoint = role.endpoint.as_ref().filter(|_| tells(known, gate.product().name()))?;
        Some((role, endpoint))
    });
    let Some((role, endpoint)) = helper else { return Ok(None) };
    let leaving = gate.leaving();
    // It says itself that it goes.
    let said = Ok(BTreeMap::default());
    let notice = DepartureNotice { api: &endpoint.url(), host: name, peer: None, answer: Some(&said) };
    let signed = |tasks: Vec<Task>| tasks::signed(gate, wanted, tasks);
    let (mut before, mut told) = (signed(leaving.before(name, true)), signed(leaving.told(&notice)));
    let (before, told) = (before.pop(), told.pop());
    if before.is_none() && told.is_none() {
        return Ok(None);
    }
    Ok(Some(Delegation { role: role.name.clone(), before: call(before)?, after: call(told)? }))
}

/// The call of a task; one that does nothing for none.
fn call(task: Option<Task>) -> Result<Call, NulInArgument> {
    let Some(task) = task else { return Ok(Call::new("exec_run", [Arg::new("true")?])) };
    task.call()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterName, Endpoint, RoleName};
    use crate::raft::View;
    use crate::roles::testing::wanted;

    const INVENTORY: &str = r#"
cluster: dc1
hosts:
  s-[1-3]: { address: "10.0.0.[1-3]" }
  c-1: { address: 10.0.0.4 }
groups:
  servers: { hosts: ["s-*"], roles: [consul-server, nomad-server] }
"#;

    fn marker() -> Marker {
        Marker { cluster: ClusterName::parse("dc1").unwrap(), id: "aa".to_owned() }
    }

    /// What c-1 does that carries these parts, by role, gate, unit and data; each peer is a name with an address.
    fn of(inventory: &str, parts: &[[&str; 4]], peers: &[(&str, &str)]) -> LostParts {
        let wanted = wanted(inventory);
        let part = |[role, gate, unit, data]: &[&str; 4]| {
            let product = gate.split('-').next().unwrap();
            let text = serde_json::json!({"product": product, "port": 1, "unit": unit, "data": data});
            let endpoint: Endpoint = serde_json::from_value(text).unwrap();
            ((*gate).to_owned(), HostPart::new(&RoleName::parse(*role).unwrap(), &endpoint))
        };
        let text = HostMarker::new(&marker(), parts.iter().map(part).collect()).to_string();
        let host = HostName::parse("c-1").unwrap();
        let peer = |(number, (name, address)): (usize, &(&str, &str))| Peer {
            id: (*name).to_owned(),
            node: (*name).to_owned(),
            address: address.parse().unwrap(),
            leader: number == 0,
            voter: true,
        };
        let views = |_| {
            let peers: Vec<Peer> = peers.iter().enumerate().map(peer).collect();
            let one = (HostName::parse("s-1").unwrap(), View::Peers(peers));
            Some(one).into_iter().collect()
        };
        let addresses = BTreeMap::from([(host.clone(), "10.0.0.4".parse().unwrap())]);
        lost(&wanted, &marker(), &BTreeMap::from([(&host, text.as_str())]), &views, &addresses)
    }

    fn steps(lost: &LostParts) -> Vec<String> {
        let of_step = |step: &Step| format!("{} ({}): {}", step.id, step.role, step.change.calls[0]);
        lost.steps.values().flatten().map(of_step).collect()
    }

    #[test]
    fn clients_say_that_they_go_and_stop() {
        let client = ["consul-client", "consul-clients", "consul.service", "/opt/consul"];
        let nomad = ["nomad-client", "nomad-clients", "nomad.service", "/opt/nomad/data/server"];
        let lost = of(INVENTORY, &[client, nomad], &[]);
        assert_eq!(
            steps(&lost),
            [
                "drain nomad (nomad-client): exec_while_active 'nomad.service' 'nomad' 'node' 'drain' '-address=http://127.0.0.1:1' \
                 '-self' '-enable' '-yes' '-deadline' '10m'",
                "stop nomad.service (nomad-clients) (nomad-client): unit_stop 'nomad.service'",
                "remove keys of gossip (nomad-clients) (nomad-client): exec_run 'rm' '-f' '--' '/opt/nomad/data/server/serf.keyring'",
                "set aside /opt/nomad/data/client (nomad-client): data_aside '/opt/nomad/data/client'",
                "leave consul (consul-client): exec_while_active 'consul.service' 'consul' 'leave' '-http-addr=http://127.0.0.1:1'",
                "stop consul.service (consul-clients) (consul-client): unit_stop 'consul.service'",
                "remove keys of gossip (consul-clients) (consul-client): exec_run 'rm' '-f' '--' '/opt/consul/serf/local.keyring' \
                 '/opt/consul/serf/remote.keyring'",
                "marker cluster (consul-client): cluster_write '{\"cluster\":\"dc1\",\"id\":\"aa\"}'",
            ]
        );
        let question = lost.question().unwrap();
        assert!(question.contains("c-1 from consul-clients; c-1 from nomad-clients"), "{question}");
    }

    #[test]
    fn an_agent_that_goes_on_as_a_server_is_drained_and_not_stopped() {
        let inventory = INVENTORY.replace("s-*\"", "s-*\", c-1");
        let lost = of(&inventory, &[["nomad-client", "nomad-clients", "nomad.service", "/d/server"]], &[]);
        let steps = steps(&lost);
        assert!(steps[0].starts_with("drain nomad") && steps[1].contains("'/d/client'"), "{steps:?}");
        assert_eq!(steps.len(), 2, "{steps:?}");
    }

    #[test]
    fn of_servers_only_those_go_whom_the_living_cluster_does_not_count() {
        let server = ["consul-server", "consul-servers", "consul.service", "/opt/consul"];
        let leader = ("s-1", "10.0.0.1:8300");
        let lost = of(INVENTORY, &[server], &[leader, ("c-1", "10.0.0.4:8300")]);
        assert!(
            steps(&lost).is_empty() && lost.findings.is_empty(),
            "it is told by who compares the members"
        );
        let lost = of(INVENTORY, &[server], &[leader]);
        assert!(steps(&lost).iter().any(|step| step.contains("data_aside '/opt/consul/raft'")), "{lost:?}");
        let lost = of(INVENTORY, &[server], &[]);
        assert!(steps(&lost).is_empty());
        assert!(
            lost.findings[0].remedy.contains("bootstrap remove-node INVENTORY c-1"),
            "{:?}",
            lost.findings
        );
        // Nothing else of such a host is touched.
        let client = ["nomad-client", "nomad-clients", "nomad.service", "/d/server"];
        assert!(steps(&of(INVENTORY, &[server, client], &[])).is_empty());
    }
}
