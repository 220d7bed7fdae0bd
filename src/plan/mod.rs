//! What a run will do: ordered, serialisable data; equal inputs give equal bytes.

mod model;

pub use model::{Batch, Change, Plan, Stage, StageName, Step, StepId};
