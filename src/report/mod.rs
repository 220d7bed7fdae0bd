//! Events of a run -> what a person or a machine reads. It prints; nothing else does.

pub mod diagnostic;
mod event;

pub use diagnostic::{Diagnostic, Excerpt, Place, Severity};
pub use event::{Event, HostOutcome, StepOutcome};
