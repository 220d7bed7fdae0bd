//! `role.yaml` -> [`Role`]; with an inventory -> what each host should be.

mod check;
mod load;
mod model;
mod parse;
mod schema;
mod types;
mod values;
mod variables;

pub use check::{check, load_inventory, shown};
pub use model::{Generate, Role, RoleSet, Variable, VariableType};
pub use schema::schema;
pub use types::Fault;
pub use variables::variables;
