//! What hosts shall be and how that reaches them: inventories, roles, resources, scripts, SSH, plans, releases, lab hosts.
//!
//! No product of a cluster is known here; those, the loops that change hosts and the commands are in the crate `bootstrap`.

pub mod certificate;
pub mod facts;
pub mod files;
pub mod http;
pub mod inventory;
pub mod kubeconfig;
pub mod lab;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod raft;
pub mod releases;
pub mod resource;
pub mod roles;
pub mod script;
pub mod secrets;
pub mod ssh;
