//! See the module list in `lib.rs`.

pub mod lab;
