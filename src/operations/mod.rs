//! What an operator does with clusters: what each command is to do, in which order, and what has to be so before it may.
//!
//! Whoever changes hosts goes through one door, [`change()`]: a command is an [`Operation`], which says what is its own of
//! each step there. It knows no product, and hosts by what the engine tells of them.

mod add;
mod agents;
mod app_drill;
mod change;
mod check;
mod commands;
mod credentials;
mod down;
mod drill;
mod exec;
mod forget;
mod health;
mod leave;
mod observed_hosts;
mod recover;
mod restore;
mod snapshot;
mod ui;
mod up;
mod watching;

pub use add::Add;
pub use app_drill::{AppDrillReport, AppDriller, FaultReport};
pub use change::{Ask, Decision, Door, Operation, change};
pub use check::check;
pub use down::Down;
pub use drill::{Drill, DrillReport, Power, Victim};
pub use exec::{Executed, execute};
pub use forget::Forget;
pub use health::health;
pub use leave::Leave;
pub use observed_hosts::{ObservedHosts, look};
pub use recover::Recover;
pub use restore::{Restore, takes_streams};
pub use snapshot::SnapshotSource;
pub use ui::{UiRequest, open_ui};
pub use up::{Up, Waits, plan};

pub use crate::engine::{EngineError, HostFailure, Options, Outcome, Run, Stop, check_gates, check_roles};

/// The commands that change hosts, as they are typed.
pub const COMMANDS: [&str; 10] = [
    "up",
    "add-node",
    "remove-node",
    "replace-node",
    "forget",
    "recover",
    "snapshot restore",
    "certs renew",
    "drill",
    "down",
];
