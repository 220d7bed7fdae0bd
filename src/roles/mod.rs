//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod model;
mod render;

pub use model::{Generate, Role, RoleSet, Variable, VariableType};
pub use render::{RenderError, Renderer, merge};
