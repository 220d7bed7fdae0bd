//! The words that all other modules share: hosts and steps, what is wrong, what happens. Data without I/O; it knows
//! nothing else of this program.

mod call;
pub mod diagnostic;
mod endpoint;
mod event;
mod finding;
mod hex;
mod job;
mod name;
mod plan;
mod secret;
mod verdict;

pub use call::{Arg, Call, NulInArgument, Prefetch, PrefetchOf, quoted};
pub use diagnostic::{Diagnostic, Excerpt, Place, Severity};
pub use endpoint::{Endpoint, LOOPBACK, Scheme, Tokens};
pub use event::{Event, HostOutcome, StepOutcome};
pub use finding::{Check, Finding};
pub use hex::{hex, uuid};
pub use job::{Action, JobPlan, Submission};
pub use name::{ClusterName, GroupName, HostName, NameError, RoleName};
pub use plan::{
    AccessPlan, Batch, Change, ClusterState, Delegation, Effect, Keep, Plan, Stage, StageName, Step, StepId,
};
pub use secret::{AccessToken, Secret};
pub use verdict::{Expected, Problem, ProblemKind, Review, Verdict};
