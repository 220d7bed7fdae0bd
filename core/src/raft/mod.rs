//! Servers that elect one of them: what they say of each other, whether that is one quorum, and who may leave it. Pure; it
//! does not know whose servers they are.

mod leave;
mod quorum;
mod recovery;
pub mod testing;
mod view;
#[cfg(test)]
mod world;

pub use leave::{Departure, Refusal, departure, strangers, without};
pub use quorum::{Peer, agree, majority, tolerance};
pub use recovery::{Recovery, lost_quorum, recovery, unfinished};
pub use view::{Agreement, RaftState, View, Views, agreement, cluster_state, led, notes};
