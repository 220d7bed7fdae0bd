//! Events of a run -> what a person or a machine reads. It prints; nothing else does.
//!
//! One task owns the receiver, the clock and the terminal ([`render()`]). It knows plans and events, and
//! neither `ssh` nor the engine: what it shows of a host is what an event said.

mod bars;
mod channel;
mod frame;
mod health_text;
mod log;
mod plain;
mod plan_text;
mod problem;
mod progress;
mod render;
mod screen;
mod summary;
mod survey_text;
mod text;
mod timings;
mod trace;

pub use channel::{Events, Receiver, events};
pub use health_text::{health_text, nagios, prometheus};
pub use log::RunLog;
pub use plan_text::{PlanTextOptions, pending, plan_text};
pub use problem::problem;
pub use render::{Output, RenderOptions, RunResult, render};
pub use survey_text::{finding, survey_summary, survey_table, wrapped};
pub use text::human;
pub use timings::Timings;
pub use trace::init_tracing;
