//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod model;
mod render;
mod wanted;

pub use model::{Generate, Role, RoleSet, Variable, VariableType};
pub use render::{RenderError, Renderer, merge};
pub use wanted::{
    ClusterAddresses, Wanted, WantedError, WantedHost, WantedRole, declared_address, variables_to_generate,
    with_included,
};
