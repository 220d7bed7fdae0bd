//! Calls of prelude functions -> the text a host runs; its output -> records.

mod call;

pub use call::{Arg, Call, NulInArgument};
