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
pub mod facts;
pub mod files;
pub mod health;
pub mod http;
pub mod inventory;
pub mod kubeconfig;
pub mod lab;
pub mod ledger;
pub mod model;
pub mod operations;
pub mod plan;
pub mod preflight;
pub mod products;
pub mod raft;
pub mod releases;
pub mod report;
pub mod resource;
pub mod roles;
pub mod script;
pub mod secrets;
pub mod ssh;
