//! Wanted against seen -> a [`Plan`]: ordered, serialisable data; equal inputs give equal bytes.

mod batch;
mod build;

pub use batch::{BatchSize, hold_back};
pub use build::{HostSeen, PlanError, Seen, lacking};
