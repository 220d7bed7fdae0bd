//! All tests on lab hosts. They need root; `tests/run` installs what they need.

#[path = "../support/lab.rs"]
mod support;

mod acl;
mod agents;
mod containers;
mod day_two;
mod discovery;
mod dns;
mod docker;
mod edge;
mod edge_address;
mod edges;
mod etcd;
mod fabio;
mod faults;
mod hosts;
mod kubernetes;
mod mariadb;
mod nfs;
mod nomad;
mod preflight;
mod registry;
mod releases;
mod remedies;
mod starters;
mod tls;
mod trust;
mod ui;
mod undo;
mod ways;
