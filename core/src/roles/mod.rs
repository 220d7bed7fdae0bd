//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod check;
mod draft;
mod drill;
mod folder;
mod library;
mod load;
mod model;
mod nfs;
mod parse;
mod proof;
mod render;
mod rules;
mod schema;
mod scope;
pub mod testing;
mod types;
mod values;
mod variables;
mod wanted;

pub use check::{check, load_inventory, parse_inventory};
pub use draft::shown;
pub use drill::{AppDrill, Kill, KilledBy};
pub use model::{
    Ask, Filesystem, Forms, From, Generate, Port, Protocol, Refusal, Require, Role, RoleSet, Rule, Token,
    Variable, VariableType,
};
pub use proof::{Asked, Lookup, Proof, RecordType, UseResult};
pub use render::{RenderError, Renderer, merge, renderer};
pub use schema::schema;
pub use scope::{ClusterAddresses, Everyone, Scope, declared_address};
pub use types::Fault;
pub use variables::variables;
pub use wanted::{
    Condition, Formed, Refused, UnmetRequirement, Wanted, WantedAsk, WantedError, WantedFilesystem,
    WantedHost, WantedOther, WantedPort, WantedProof, WantedRole, unmet, variables_to_generate,
};
