//! Wanted against seen -> a [`Plan`]: ordered, serialisable data; equal inputs give equal bytes.

mod batch;
mod build;
mod model;

pub use batch::{Share, hold_back};
pub use build::{HostSeen, PlanError, Seen, Verified, downloads};
pub use model::{Batch, Change, Effect, Help, Plan, Situation, Stage, StageName, Step, StepId};
