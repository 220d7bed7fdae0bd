//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod model;

pub use model::{Generate, Role, RoleSet, Variable, VariableType};
