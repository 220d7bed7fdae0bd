//! Who may call the API of a product: what its servers tell of tokens and rights, compared with what is wanted, and made so by one of
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;

use super::api::{AGENT, Socket, response};
use super::members::Members;
use super::questions::http_send;
use super::wait::{Unmet, Waiting};
use super::{Fleet, Run, steps, tasks};
use crate::model::{AccessPlan, AccessToken, HostName, Secret, StageName, StepId};
use crate::products::{Access, AccessChange, Answers, FirstToken, Gate, Header, Method, Request, Response};
use crate::roles::{ClusterAddresses, Wanted};
use crate::script::{Nonce, Observation, Script};
use crate::ssh::Connection;

/// A server answers such a request within a round of raft.
const REQUEST: Duration = Duration::from_secs(5);
/// Changes that are under way at the same time.
const AT_ONCE: usize = 8;
/// What is told so often and is not so afterwards will not be.
const ROUNDS: usize = 5;
/// So long a server may not know a token that the others know: around the restart of a leader, and before it hears of a new one.
const UNKNOWN: Duration = Duration::from_secs(5);

/// What a product's servers are to know.
struct WantedAccess {
    access: &'static dyn Access,
    tokens: Vec<AccessToken>,
    manage: Secret,
}

/// `None`: behind this gate nobody is asked who calls.
fn wanted_access(gate: Gate, wanted: &Wanted) -> Option<WantedAccess> {
    let access = gate.access()?;
    let endpoint = wanted.hosts.iter().find_map(|host| host.endpoint(gate.name()))?;
    let (observe, manage) = (endpoint.tokens.observe.as_ref()?, endpoint.tokens.manage.clone()?);
    let roles = wanted.hosts.iter().flat_map(|host| &host.roles);
    let of_product =
        roles.flat_map(|role| &role.tokens).filter(|wanted| wanted.product == gate.product().name());
    let mut known = BTreeSet::new();
    let tokens: Vec<AccessToken> =
        of_product.map(|wanted| &wanted.token).filter(|token| known.insert(&token.name)).cloned().collect();
    // Those of other roles are of no use to agents that answer everybody.
    let is_on = tokens.iter().any(|token| token.secret.as_ref() == Some(observe));
    is_on.then_some(WantedAccess { access, tokens, manage })
}

/// What differs, of each gate whose servers were asked.
pub(super) fn plan<'a>(
    wanted: &Wanted,
    clusters: impl Iterator<Item = (Gate, &'a Answers)>,
) -> Vec<AccessPlan> {
    let of_cluster = |(gate, answers): (Gate, &Answers)| {
        let wanted = wanted_access(gate, wanted)?;
        let told = answers.values().flatten();
        let mut told =
            told.filter_map(|said| wanted.access.changes(&wanted.tokens, &wanted.manage, said).ok());
        // Where no server tells, there is nothing yet.
        let changes = told.next().or_else(|| wanted.absent().ok())?;
        let shown = |change: AccessChange| (change.what, change.reason.to_owned());
        let changes: Vec<_> = changes.into_iter().flatten().map(shown).collect();
        (!changes.is_empty()).then(|| AccessPlan { gate: gate.name().to_owned(), changes })
    };
    clusters.filter_map(of_cluster).collect()
}

impl WantedAccess {
    /// All that is to be made where there is nothing.
    fn absent(&self) -> Result<Vec<Vec<AccessChange>>, String> {
        let nothing = |path: &&'static str| (*path, Response { status: 200, body: b"[]".to_vec() });
        self.access.changes(
            &self.tokens,
            &self.manage,
            &self.access.paths().iter().map(nothing).collect::<BTreeMap<_, _>>(),
        )
    }
}

/// A way to a server, as one who shows a token.
struct Server<'a> {
    connection: &'a Connection,
    port: u16,
    header: Option<Header>,
    /// `None`: sshd forbids forwarding, and the host itself asks.
    socket: Option<Socket>,
}

/// What is done of the changes: what somebody is about to show is made first, and what nobody shows any more is taken away last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Grants,
    All,
}

/// Has the servers of a gate know what is wanted; they need a leader for it.
///
/// # Errors
/// They do not, in time; or they know somebody else as the one who may change everything.
pub(crate) async fn make(
    fleet: &Fleet,
    members: &Members<'_>,
    addresses: &ClusterAddresses,
    doing: Doing,
    run: Run<'_>,
) -> Result<(), Unmet> {
    let gate = members.gate;
    let Some(wanted) = wanted_access(gate, run.wanted) else { return Ok(()) };
    let mut servers = Vec::new();
    for host in members.hosts() {
        let (Some(connection), Some(endpoint)) =
            (fleet.connections.get(&host.host.name), host.endpoint(gate.name()))
        else {
            continue;
        };
        servers.push(Server::open(connection, endpoint.port, gate.header(Some(&wanted.manage))).await);
    }
    let mut waiting =
        Waiting::new(format!("{} tokens", gate.name()), run.options.timeout, run.events, run.stop);
    let (mut made, mut rounds, mut may_reset) = (0, 0, run.options.resets_tokens);
    let mut unknown: Option<Instant> = None;
    loop {
        let round = match round(gate, &wanted, &servers, doing).await {
            Round::Taken(_) if unknown.get_or_insert_with(Instant::now).elapsed() < UNKNOWN => {
                Round::NotYet("its servers do not know this cluster's tokens".to_owned())
            }
            round => round,
        };
        let reason = match round {
            Round::Done if made == 0 => return Ok(()),
            Round::Done => {
                waiting.met(format!("{made} tokens and policies changed"));
                return Ok(());
            }
            Round::Changed(number) => {
                made += number;
                rounds += 1;
                if rounds < ROUNDS {
                    continue;
                }
                "its servers do not keep what they are told of tokens".to_owned()
            }
            Round::NotYet(reason) if waiting.goes_on(&reason).await => continue,
            _ if run.stop.requested() => return Err(Unmet::Stopped),
            Round::Taken(Some(number)) if may_reset => {
                may_reset = false;
                let leader = leader(&wanted, &servers, addresses).await;
                match reset(fleet, members, &wanted, (leader, number), run).await {
                    Ok(()) => continue,
                    Err(reason) => reason,
                }
            }
            Round::Taken(_) => {
                waiting.failed("its servers know none of this cluster's tokens", String::new());
                return Err(Unmet::Asks(format!(
                    "The servers of {} know none of the tokens in this cluster's secrets: somebody else has made their first token, or \
                     the secrets were lost. They are given another one, by the file {} in the leader's data folder; the tokens that \
                     they know stay.",
                    gate.name(),
                    wanted.access.reset_file()
                )));
            }
            Round::NotYet(reason) | Round::Never(reason) => reason,
        };
        let reason = waiting.failed(&reason, String::new());
        return Err(Unmet::Late(format!("{}: {reason}", gate.name())));
    }
}

/// Lets the leader make a first token once more.
async fn reset(
    fleet: &Fleet,
    members: &Members<'_>,
    wanted: &WantedAccess,
    (leader, number): (Option<HostName>, u64),
    run: Run<'_>,
) -> Result<(), String> {
    // Who leads is told to everybody. The file counts on the leader alone, and goes with the first token.
    let write = "umask 077 && printf %s \"$1\" >\"$2/$3\" && chown \"$(stat -c %u:%g \"$2\")\" \"$2/$3\"";
    let leader = leader.ok_or("no server says who leads")?;
    let (Some(host), Some(connection)) =
        (members.hosts().find(|host| host.host.name == leader), fleet.connections.get(&leader))
    else {
        return Err(format!("{leader} leads, and cannot be reached"));
    };
    let Some(endpoint) = host.endpoint(members.gate.name()) else { return Err("it has no agent".to_owned()) };
    let number = number.to_string();
    let words = ["sh", "-ec", write, "sh", &number, &endpoint.data, wanted.access.reset_file()];
    let id = format!("let {} make a first token", members.gate.name());
    let step = tasks::step(host, id, "the operator has agreed", "exec_run", &words);
    let step = [step.map_err(|error| error.to_string())?];
    let stage = StageName("tokens".to_owned());
    let done = steps::run(connection, &leader, &stage, &step, None, run).await;
    done.map(drop).map_err(|failure| failure.explanation())
}

/// Who leads the servers, as one of them says.
async fn leader(
    wanted: &WantedAccess,
    servers: &[Server<'_>],
    addresses: &ClusterAddresses,
) -> Option<HostName> {
    for server in servers {
        let Ok(answer) = server.send(&wanted.access.leader()).await else { continue };
        let leader = wanted.access.read_leader(&String::from_utf8_lossy(&answer.body));
        let at = |(_, address): &(&HostName, &IpAddr)| leader.is_some_and(|leader| leader.ip() == **address);
        if let Some((host, _)) = addresses.iter().find(at) {
            return Some(host.clone());
        }
    }
    None
}

/// What came of one look at the servers.
enum Round {
    /// All is as wanted.
    Done,
    /// So much was changed.
    Changed(usize),
    NotYet(String),
    Never(String),
    /// Somebody else has made the first token; with the number that lets another one be made.
    Taken(Option<u64>),
}

async fn round(gate: Gate, wanted: &WantedAccess, servers: &[Server<'_>], doing: Doing) -> Round {
    let (mut reason, mut taken) = ("no server can be asked".to_owned(), None);
    for server in servers {
        let mut said = BTreeMap::new();
        for path in wanted.access.paths() {
            match server.send(&Request::new(Method::Get, *path, "")).await {
                Ok(response) => drop(said.insert(*path, response)),
                Err(error) => reason = error,
            }
        }
        if said.values().any(Response::is_refused) {
            match first(gate, wanted, server).await {
                Round::NotYet(why) => reason = why,
                // Another one may know them.
                Round::Taken(number) => taken = Some(number),
                other => return other,
            }
            continue;
        }
        let changes = wanted.access.changes(&wanted.tokens, &wanted.manage, &said).map(|mut changes| {
            for list in &mut changes {
                list.retain(|change| doing == Doing::All || !change.revokes());
            }
            changes.retain(|list| !list.is_empty());
            changes
        });
        match changes {
            Ok(changes) if changes.is_empty() => return Round::Done,
            Ok(changes) => match apply(server, changes).await {
                Ok(number) => return Round::Changed(number),
                Err(why) => reason = why,
            },
            Err(why) if said.len() == wanted.access.paths().len() => reason = why,
            Err(_) => {}
        }
    }
    taken.map_or(Round::NotYet(reason), Round::Taken)
}

/// Makes the token by which all else is made.
async fn first(gate: Gate, wanted: &WantedAccess, server: &Server<'_>) -> Round {
    let answer = match server.send(&wanted.access.bootstrap(&wanted.manage)).await {
        Ok(answer) => answer,
        Err(reason) => return Round::NotYet(reason),
    };
    let (secret, id) = match wanted.access.first_token(&answer) {
        FirstToken::Made { secret, .. } if secret == wanted.manage => return Round::Changed(1),
        FirstToken::Made { secret, id } => (secret, id),
        FirstToken::NotYet(reason) => return Round::NotYet(reason),
        FirstToken::Taken { reset } => return Round::Taken(reset),
    };
    // What it was is kept nowhere: it makes one that is written down here already, and goes.
    let by_first = Server::open(server.connection, server.port, gate.header(Some(&secret))).await;
    // None removes itself.
    let changes = [(&by_first, wanted.access.manager(&wanted.manage)), (server, wanted.access.removal(&id))];
    for (who, request) in changes {
        let mut tries = 0;
        // Nobody could ask again: who makes the token knows it alone.
        while let Err(reason) = who.change(&request).await {
            tries += 1;
            if tries == 50 {
                return Round::Never(format!("its first token cannot make ours: {reason}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Round::Changed(1)
}

/// Has a server do all of it: how many changes that are.
async fn apply(server: &Server<'_>, changes: Vec<Vec<AccessChange>>) -> Result<usize, String> {
    let mut number = 0;
    for list in changes {
        let mut running =
            stream::iter(&list).map(|change| server.change(&change.request)).buffer_unordered(AT_ONCE);
        while let Some(result) = running.next().await {
            result?;
            number += 1;
        }
    }
    Ok(number)
}

impl<'a> Server<'a> {
    async fn open(connection: &'a Connection, port: u16, header: Option<Header>) -> Self {
        let socket = Socket::signed(connection, port, REQUEST, header.clone()).await;
        Self { connection, port, header, socket }
    }

    async fn send(&self, request: &Request) -> Result<Response, String> {
        let silent = |error: String| format!("its API does not answer: {error}");
        let Some(socket) = &self.socket else { return self.send_script(request).await.map_err(silent) };
        let answer = async { response(socket.send(AGENT, request).await?).await }.await;
        answer.map_err(|error| silent(error.to_string()))
    }

    /// By the host itself. What is sent is in no list of processes.
    async fn send_script(&self, request: &Request) -> Result<Response, String> {
        let call = http_send(self.port, self.header.as_ref(), request).map_err(|error| error.to_string())?;
        let id = StepId("request".to_owned());
        let script = Script::ask(&Nonce::random(), &[(id.clone(), call)]);
        let records = self.connection.run(&script, REQUEST * 2, |_| ()).await;
        let observation = Observation::new(&records.map_err(|error| error.to_string())?);
        let said = observation.of(&id.0);
        let status = said.text("status").and_then(|status| status.parse().ok());
        let body = said.bytes("body").map(<[u8]>::to_vec);
        match status.zip(body) {
            Some((status, body)) => Ok(Response { status, body }),
            None => Err(said.text("error").unwrap_or("it said nothing").to_owned()),
        }
    }

    /// A request that must end well.
    async fn change(&self, request: &Request) -> Result<(), String> {
        let answer = self.send(request).await?;
        match answer.status {
            200 => Ok(()),
            status => Err(format!("status {status} (`{}`) to {request:?}", answer.start())),
        }
    }
}
