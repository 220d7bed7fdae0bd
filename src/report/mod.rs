//! Events of a run -> what a person or a machine reads. It prints; nothing else does.

mod event;

pub use event::{Event, HostOutcome, StepOutcome};
