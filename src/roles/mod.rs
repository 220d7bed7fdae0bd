//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod check;
mod load;
mod model;
mod parse;
mod render;
mod schema;
mod types;
mod values;
mod variables;
mod wanted;

pub use check::{check, load_inventory, shown};
pub use model::{From, Generate, Port, Protocol, Require, Role, RoleSet, Variable, VariableType};
pub use render::{RenderError, Renderer, merge};
pub use schema::schema;
pub use types::Fault;
pub use variables::variables;
pub use wanted::{
    ClusterAddresses, Unmet, Wanted, WantedError, WantedHost, WantedPort, WantedRole, declared_address,
    unmet, variables_to_generate,
};
