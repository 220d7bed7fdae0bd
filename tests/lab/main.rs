//! All tests on lab hosts. They need root; `tests/run` installs what they need.

#[path = "../support/lab.rs"]
mod support;

mod agents;
mod day_two;
mod dns;
mod docker;
mod edge;
mod edges;
mod etcd;
mod faults;
mod hosts;
mod kubernetes;
mod nfs;
mod nomad;
mod preflight;
mod releases;
mod remedies;
mod starters;
mod trust;
mod undo;
