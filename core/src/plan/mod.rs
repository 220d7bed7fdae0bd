//! Wanted against seen -> a [`Plan`]: ordered, serialisable data; equal inputs give equal bytes.

mod batch;
mod build;
mod newcomer;

pub use batch::{BatchSize, hold_back, interrupts, is_of_ill, keeps, still_ill};
pub use build::{HostSeen, PlanError, Seen, lacking, removal_stage, scripts};
