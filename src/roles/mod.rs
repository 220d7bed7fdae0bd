//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod check;
mod load;
mod model;
mod schema;
mod types;
mod variables;

pub use check::{check, load_inventory, shown};
pub use model::{Generate, Role, RoleSet, Variable, VariableType};
pub use schema::schema;
pub use types::Fault;
pub use variables::variables;
