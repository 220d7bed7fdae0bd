//! What the rest of the program knows of a product: its parts, and what each can do.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::access::{Access, Header};
use super::drill::Drills;
use super::snapshot::Snapshot;
use super::versions::{VersionChange, no_way_back};
use super::{Answer, Answers, Member, Questions, Responses, TlsFiles, views};
use crate::model::{
    Arg, Call, ClusterState, Endpoint, Expected, HostName, NulInArgument, PrefetchOf, Review, Secret, Verdict,
};
use crate::raft::{self, Peer, RaftState, Views};

/// What all parts of a product have in common.
pub trait Product: Sync {
    /// Its name, which is its key in an inventory's variables: `consul`.
    fn name(&self) -> &'static str;

    /// The version of the agent that answered.
    fn version(&self, answer: &Answer) -> Option<String>;

    /// Whether a member of another version than the inventory wants is not as expected.
    fn demands_version(&self) -> bool {
        false
    }

    /// Whether its members are told apart by what their hardware says of itself too.
    fn looks_at_hardware(&self) -> bool {
        false
    }

    /// What ends, on a host, all that a former member of another cluster may have left running there.
    fn clean_up(&self) -> Option<&'static str> {
        None
    }

    /// What stops a member on its host for good, where something would outlive its unit.
    fn stop_command(&self) -> Option<Vec<&'static str>> {
        None
    }

    /// The `data` of an endpoint, by a file that configures an agent; `None`: it does not say.
    fn data_in(&self, _configuration: &str) -> Option<String> {
        None
    }

    /// How the state of an agent is known that somebody else has set up, wherever on the host that is.
    fn traces(&self) -> Traces {
        Traces::default()
    }

    /// Its own program for people, as it finds the agent on its host.
    fn client(&self, _endpoint: &Endpoint) -> Option<Client> {
        None
    }

    /// The line at the head of a request by which its agents know who asks: `X-Consul-Token`.
    fn token_header(&self) -> Option<&'static str> {
        None
    }

    /// The file that its agents have where they know who asks: with the tokens that they show themselves.
    fn token_file(&self) -> Option<&'static str> {
        None
    }

    /// The variable in which its own programs find the token that they show.
    fn token_variable(&self) -> Option<&'static str> {
        None
    }

    /// The pages that its agents serve for people.
    fn ui(&self) -> Option<Ui> {
        None
    }

    /// The command that changes the keys of its gossip, of products that have gossip of their own.
    fn keyring_command(&self) -> Option<&'static str> {
        None
    }

    /// The settings of its agents that its roles write, by their names in the agents' own files: nobody else may set them beside.
    fn settings(&self) -> &'static [&'static str] {
        &[]
    }

    /// All that its agents make below `data`, the folder that an inventory names: that may hold other things too.
    fn state(&self, data: &str) -> Vec<String>;

    /// What of it makes the host a member: it must be out of reach before the host can be one anew.
    fn membership(&self, data: &str) -> Vec<String> {
        self.state(data)
    }

    /// The files below `data` in which its agents keep the keys of their gossip: these count, and not what a configuration says.
    fn keyrings(&self, _data: &str) -> Vec<String> {
        Vec::new()
    }

    /// What removes all that made the host a member, where that is more than its data.
    fn purge_command(&self) -> Option<Vec<&'static str>> {
        None
    }
}

/// A product's own program for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `consul`
    pub program: &'static str,
    /// What it has to know, in its environment.
    pub variables: Vec<(&'static str, String)>,
}

/// Pages of an agent for people, on the port of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ui {
    /// Where they begin: `/ui/`.
    pub page: &'static str,
    /// What is asked by POST, and changes nothing.
    pub reads: &'static [&'static str],
}

/// What agents leave on a host, however they were set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traces {
    /// Below the folder of an agent's data: what is there once it has been a member. Paths without blanks.
    pub state: &'static [&'static str],
    /// The folders of data that packages and guides have, `*` for any name in one; below an endpoint's own `data` where they are not
    /// absolute.
    pub folders: &'static [&'static str],
}

/// An agent of a part on its host.
#[derive(Clone, Debug)]
pub struct Agent<'a> {
    pub host: &'a HostName,
    pub endpoint: &'a Endpoint,
    /// The agents of other products on the same host.
    pub beside: Vec<&'a Endpoint>,
}

/// A part of a product whose members stand together: Consul's servers, its clients. A role names it as its `gate`.
pub trait Part: Sync {
    /// Its name in `role.yaml`: `consul-servers`.
    fn name(&self) -> &'static str;

    /// Whose part it is.
    fn product(&self) -> &'static dyn Product;

    /// What the programs of a host are asked, in this order.
    fn questions(&self, agent: &Agent<'_>) -> Questions;

    /// The version of the agent that answered.
    fn version(&self, answer: &Answer) -> Option<String> {
        self.product().version(answer)
    }

    /// Whether the agent that answered speaks TLS with the others of its cluster; `None`: it does not say.
    fn speaks_tls(&self, _answer: &Answer) -> Option<bool> {
        None
    }

    /// Its members know who calls their API.
    fn access(&self) -> Option<&dyn Access> {
        None
    }

    /// The call of the prelude's probe that looks for what a member keeps.
    ///
    /// # Errors
    /// A folder whose name has a NUL in it.
    fn data_probe(&self, endpoint: &Endpoint) -> Result<Call, NulInArgument> {
        let log = format!("{}/raft/raft.db", endpoint.data);
        let probe = Call::new("raft_data", [Arg::new(endpoint.data.clone())?]);
        Ok(probe.with_prefetch([PrefetchOf::Path.named(log)]))
    }

    /// Whether what its probe finds makes a host somebody's. Clients of Consul and Nomad keep nothing that would.
    fn has_claims(&self) -> bool {
        self.raft().is_some()
    }

    /// Where members that run one version cannot be brought to another by its product's own tools: what to do instead.
    fn no_way_between(&self, change: &VersionChange<'_>) -> Option<String> {
        no_way_back(self.product().name(), change)
    }

    /// Everything that is not as expected, the gravest first.
    fn review(&self, expected: &Expected, answers: &Answers) -> Review;

    /// What keeps the next member from joining a cluster that is just being made, one member after the other, where that is less
    /// than all that is expected of it in the end.
    fn admission(&self, expected: &Expected, answers: &Answers) -> Review {
        self.review(expected, answers)
    }

    /// What stands now, read from the members' answers.
    fn cluster_state(&self, expected: &Expected, answers: &Answers) -> ClusterState;

    /// How the members that an agent knows are named, for a message about a foreign cluster.
    fn describe(&self, _answer: &Answer) -> Option<String> {
        None
    }

    /// Whom one of its members takes for alive, beside those that answer us.
    fn roster(&self) -> &dyn Roster;

    /// The command that makes the cluster forget a member of this name for good.
    fn forget_command(&self, _member: &str) -> Option<String> {
        None
    }

    /// What is measured while one of its members is killed, or a program of it; none: there are no drills of it.
    fn drills(&self) -> Vec<&dyn Drills> {
        Vec::new()
    }

    /// Every node of the cluster that an answer lists, whoever has set it up. What members are asked anyway says so; nothing of
    /// parts whose answers do not.
    ///
    /// # Errors
    /// It does not say, or what it says is not understood.
    fn listed(&self, _said: &Responses) -> Result<Vec<Member>, String> {
        Ok(Vec::new())
    }

    /// Whether a node that is gone stays on that list until somebody takes it off.
    fn keeps_nodes(&self) -> bool {
        true
    }

    /// Where its members keep credentials for whoever governs the cluster.
    fn credentials(&self) -> Option<&'static str> {
        None
    }

    /// What it does while the state of the part `state` is replaced by that of a snapshot; `None`: that is not its concern.
    fn watches(&self, _state: &str) -> Option<Watching> {
        None
    }

    /// Its members are servers that elect one of them.
    fn raft(&self) -> Option<&dyn Raft> {
        None
    }

    /// Its state can be saved, and put back.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// How a member leaves.
    fn leaving(&self) -> &dyn Leaving;
}

/// Whom a cluster takes for alive, by the word of one of its members. A host that SSH does not reach may be well.
pub trait Roster: Sync {
    /// What says so, for a message: `gossip`.
    fn source(&self) -> &'static str;

    /// What that member is asked.
    fn questions(&self, endpoint: &Endpoint) -> Questions;

    /// Everybody whom it knows.
    ///
    /// # Errors
    /// It does not say, or what it says is not understood.
    fn members(&self, answer: &Answer) -> Result<Vec<Member>, String>;

    /// How long a member that is gone is still taken for alive.
    fn lag(&self) -> Duration;
}

/// Servers that elect one of them.
pub trait Raft: Sync {
    /// The peers that a server knows.
    ///
    /// # Errors
    /// It does not say, or what it says is not understood.
    fn peers(&self, answer: &Answer) -> Result<Vec<Peer>, String>;

    /// Where a server says at which addresses its peers are.
    fn places(&self) -> PlacesIn;

    /// A server's own place in raft, of products that tell it.
    fn standing(&self, _answer: &Answer) -> Option<RaftState> {
        None
    }

    /// Stands before the table of peers.
    fn label(&self) -> &'static str;

    /// The command that shows the members on a host.
    fn members_command(&self) -> &'static str;

    /// The command that shows on each server of a split cluster what that server thinks.
    fn stale_command(&self) -> String {
        format!("{} -stale", self.members_command())
    }

    /// Where the API of a leader has it hand over to another server, by POST; `None` of versions that cannot.
    fn step_down(&self, _leader: &Answer) -> Option<String> {
        None
    }

    /// The shell command that starts a server which runs as `unit`, on its host.
    fn start_command(&self, unit: &str) -> String {
        // Some are ready only once they have a quorum.
        format!("systemctl --no-block start {unit}")
    }

    /// Whether whoever has the data of a member, and nothing else, has been one.
    fn is_told_by_data(&self) -> bool {
        true
    }

    /// How the survivors become the whole cluster where quorum is lost for good.
    fn recovery(&self) -> Recovers;
}

/// How the survivors of a cluster become the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovers {
    /// Each reads `raft/peers.json` in its data folder when it starts: all are told while none runs.
    PeersJson,
    /// One goes on alone with the data that it has, and the others join it anew, one after the other. The script of its role does it:
    /// `stop`, `alone`, `rejoin ADDRESS`.
    OneGoesOn { script: &'static str },
}

/// Where in an answer the addresses of peers are, for who looks at it with a shell's means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacesIn {
    /// Of one of the questions that its servers are asked.
    pub path: &'static str,
    /// Each of them is the text, or the first of the list of URLs, below this key.
    pub key: &'static str,
}

/// A state that can be saved and put back.
pub trait Snapshots: Sync {
    /// How it travels.
    fn transfer(&self) -> Transfer;

    /// Where the log of a member stands, of products whose snapshots do not say so.
    fn position(&self, _answer: &Answer) -> Option<Snapshot> {
        None
    }
}

/// How a snapshot travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The API gives it by GET, and takes it by PUT.
    Api { path: &'static str },
    /// A gateway gives it as a stream of JSON; every member takes it by a script of its role, while its `unit`, if it is
    /// one, does not run.
    Stream {
        path: &'static str,
        port: u16,
        files: TlsFiles,
        script: &'static str,
        unit: Option<&'static str>,
    },
}

/// What those do who serve or watch a state that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Before: nobody serves the old state while the new one comes.
    pub pause: Option<Command>,
    pub resume: Option<Command>,
    /// After: what they remember is of another state.
    pub look_again: Command,
}

/// A command and what it is called in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub name: &'static str,
    pub words: [&'static str; 2],
}

/// A command that a host runs for a change of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What it does, in the operator's words; also its name.
    pub id: String,
    /// Why.
    pub reason: String,
    /// That of the prelude which runs it.
    pub function: &'static str,
    pub words: Vec<String>,
    /// What its command finds in its environment: name and value.
    pub variable: Option<(&'static str, Secret)>,
}

impl Task {
    /// What the host is to run.
    ///
    /// # Errors
    /// A word with a NUL in it.
    pub fn call(&self) -> Result<Call, NulInArgument> {
        let words: Result<Vec<Arg>, _> = self.words.iter().map(|word| Arg::new(word.clone())).collect();
        let call = Call::new(self.function, words?);
        let Some((name, value)) = &self.variable else { return Ok(call) };
        Ok(call.made_by("with_variable", [Arg::new(*name)?, Arg::secret(value.reveal())?]))
    }

    /// How long the others are asked to take somebody out, in seconds: an election takes some, and until it is over nothing
    /// can be removed.
    const REMOVAL_SECONDS: &str = "30";

    /// A command that is run once.
    pub fn run(id: impl Into<String>, reason: &str, words: &[&str]) -> Self {
        Self::by("exec_run", id, reason, words)
    }

    /// A command that takes somebody out, repeated while there is no leader to do it.
    pub fn remove(id: impl Into<String>, reason: &str, words: &[&str]) -> Self {
        Self::by("forget_until", id, reason, &[&[Self::REMOVAL_SECONDS], words].concat())
    }

    /// A PUT to an API, repeated while there is no leader to do it.
    pub fn put(id: impl Into<String>, reason: &str, url: &str) -> Self {
        Self::by("http_put_until", id, reason, &[Self::REMOVAL_SECONDS, url])
    }

    /// The same while a unit runs; nothing where it does not. Of commands that are run once.
    #[must_use]
    pub fn while_active(self, unit: &str) -> Self {
        let words = [unit.to_owned()].into_iter().chain(self.words).collect();
        Self { function: "exec_while_active", words, ..self }
    }

    fn by(function: &'static str, id: impl Into<String>, reason: &str, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { id: id.into(), reason: reason.to_owned(), function, words, variable: None }
    }
}

/// How long the work of a member may take to move to others.
pub(super) const DRAIN_DEADLINE: &str = "10m";

/// What is known when the others are told that a member has left.
pub struct DepartureNotice<'a> {
    /// The API of the member that is told, on its own loopback.
    pub api: &'a str,
    /// Who leaves.
    pub host: &'a HostName,
    /// Its id and name in raft, where it is a peer.
    pub peer: Option<&'a (String, String)>,
    /// What it answered while it was there; `None`: nothing.
    pub answer: Option<&'a Answer>,
}

impl DepartureNotice<'_> {
    /// Whether it was there to say itself that it goes.
    pub fn said_itself(&self) -> bool {
        self.answer.is_some_and(Result::is_ok)
    }
}

/// How a member leaves: the products' own programs do it, so that an operator can repeat it by hand.
pub trait Leaving: Sync {
    /// What another member does while `host` is still there; `answers`: its agent does.
    fn before(&self, _host: &HostName, _answers: bool) -> Vec<Task> {
        Vec::new()
    }

    /// What the host does itself before its unit is stopped; `api` is its own.
    fn on_host(&self, _api: &str, _answers: bool) -> Vec<Task> {
        Vec::new()
    }

    /// What the host does instead where its unit goes on as another part.
    fn hands_over(&self, _api: &str) -> Vec<Task> {
        Vec::new()
    }

    /// What it leaves in `data` that must be out of reach when it comes back, besides what makes a host a member.
    fn remains(&self, _data: &str) -> Vec<String> {
        Vec::new()
    }

    /// What the host does once its unit has stopped.
    fn after_stop(&self) -> Vec<Task> {
        Vec::new()
    }

    /// What another member is told, where the host did not say it itself.
    fn told(&self, _told: &DepartureNotice<'_>) -> Vec<Task> {
        Vec::new()
    }

    /// Whether its members can tell the cluster that one of them goes.
    fn can_tell(&self) -> bool {
        true
    }
}

/// A command of a product's own program, as an operator types it: on a host, or where its agents may want to know who asks from the
/// operator's machine, by a command of this program that shows it a token.
pub fn typed(command: &str, endpoint: Option<&Endpoint>) -> String {
    match endpoint.is_some_and(Endpoint::has_tokens) {
        true => format!("bootstrap exec INVENTORY -- {command}"),
        false => command.to_owned(),
    }
}

/// One part of one product, as all others hold it.
#[derive(Clone, Copy)]
pub struct Gate(&'static dyn Part);

impl Gate {
    pub const fn new(part: &'static dyn Part) -> Self {
        Self(part)
    }

    /// Whether all is as expected, or the gravest reason why not.
    pub fn judge(self, expected: &Expected, answers: &Answers) -> Verdict {
        self.review(expected, answers).verdict()
    }

    /// Whether the next member can join a cluster that is just being made.
    pub fn admits(self, expected: &Expected, answers: &Answers) -> Verdict {
        self.0.admission(expected, answers).verdict()
    }

    /// Whether its members keep raft data.
    pub fn has_raft(self) -> bool {
        self.raft().is_some()
    }

    /// Every node that an answer lists; none where it does not say.
    pub fn nodes(self, answer: &Answer) -> Vec<Member> {
        let listed = answer.as_ref().ok().and_then(|said| self.listed(said).ok());
        listed.unwrap_or_default()
    }

    /// Whether its own members are asked whom the cluster knows; of other parts the servers tell.
    pub fn knows_members(self) -> bool {
        self.has_raft() || self.forget_command("").is_some()
    }

    /// As [`Part::access`], for as long as the program runs.
    pub fn access(self) -> Option<&'static dyn Access> {
        self.0.access()
    }

    /// By which its agents know who shows this token.
    pub fn header(self, token: Option<&Secret>) -> Option<Header> {
        Some(Header { name: self.product().token_header()?, value: token?.clone() })
    }

    /// What each server says of its peers; nothing where they have none.
    pub fn views(self, answers: &Answers) -> Views {
        self.0
            .raft()
            .map(|raft| views(answers, raft.places().path, |answer| raft.peers(answer)))
            .unwrap_or_default()
    }

    /// Lines for the closing summary: leader, peers, where to look next.
    pub fn notes(self, endpoint: Option<&Endpoint>, expected: &Expected, answers: &Answers) -> Vec<String> {
        let Some(raft) = self.0.raft() else { return Vec::new() };
        let command = typed(raft.members_command(), endpoint);
        let see = |host: &HostName| match endpoint.is_some_and(Endpoint::has_tokens) {
            true => format!("`{command}`"),
            false => format!("`{command}` on any server, for example {host}"),
        };
        raft::notes(raft.label(), see, expected, &self.views(answers))
    }
}

impl Deref for Gate {
    type Target = dyn Part;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Gate {}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
