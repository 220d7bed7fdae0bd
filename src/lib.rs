//! Bare hosts to a running cluster, over SSH.
//!
//! ```text
//! inventory ──► roles ──► observe ──► plan ──► apply ──► verify
//!    YAML     resources   1 script    diff    1 script   gates
//!                         per host   (pure)   per stage
//!               every step sends events ──► report: terminal, plain, JSON
//! ```
//!
//! Each step takes what the step before it returned and returns a new value; imports run the same
//! way. From `inventory` to `plan` code is functions over data: no clock, no environment, no
//! network. `ssh` knows scripts but not resources, `report` knows plans but not `ssh`, and only
//! `operations` imports `engine`.

pub mod cli;
pub mod engine;
pub mod health;
pub mod operations;
pub mod preflight;
pub mod products;
pub mod report;

// Named here too, so that a reader of this crate need not know which of the two a module is in.
pub use bootstrap_core::{
    certificate, facts, files, http, inventory, kubeconfig, lab, ledger, model, plan, raft, releases,
    resource, roles, script, secrets, ssh,
};
