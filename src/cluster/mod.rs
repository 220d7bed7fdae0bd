//! What the products say of their clusters -> verdicts. Pure: it knows which questions to ask and
//! how to read the answers, not how they travel.
//!
//! The same questions are asked in the observe script (by the host's own `http_get` or `tls_get`) and by a gate
//! (through a forwarded socket, or by the host again where only it has the certificates), and one reading serves both.

mod answer;
mod consul;
mod etcd;
mod gate;
mod identity;
mod kube;
mod leave;
mod nomad;
mod quorum;
mod raft;
mod recovery;
mod roster;
pub mod snapshot;
#[cfg(test)]
mod testing;

pub use answer::{Answer, Answers, Question, Questions, Response, TlsFiles, TlsQuestion, heard};
pub use etcd::{ETCD_PORT, MEMBER};
pub use gate::{Complaint, ComplaintKind, Expected, Gate, Review, Verdict};
pub use identity::{Claim, IdentityError, Marker, check_identity};
pub use kube::{KUBE_RUN, STATIC_PODS};
pub use leave::{Departure, Stays, departure, without};
pub use quorum::{majority, tolerance};
pub use raft::Standing;
pub use recovery::{Recovery, recovery};
pub use roster::{Member, members as roster};
