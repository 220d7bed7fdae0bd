//! Calls of prelude functions -> the text a host runs; its output -> records and observations.
//!
//! Knows how a script is framed and how its reply is read, not what the calls are for nor how the
//! text reaches a host.

mod ahead;
mod nonce;
mod observation;
mod parser;
mod prefetch;
mod prelude;
mod record;
#[allow(clippy::module_inception)]
mod script;
mod validation;

pub use nonce::Nonce;
pub use observation::{Fields, Observation};
pub use parser::Parser;
pub use record::Record;
pub use script::{LockHolder, Script};
