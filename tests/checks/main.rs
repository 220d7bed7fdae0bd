//! All tests that need no host but this machine: one program, since each one more takes seconds to link.

#[path = "../support/rendered.rs"]
mod rendered;
#[path = "../cases/report/runs.rs"]
mod runs;
#[path = "../shells/mod.rs"]
mod shells;
#[path = "../support/signer.rs"]
mod signer;
#[path = "../support/lab.rs"]
mod support;

mod composition;
mod consul_config;
mod dns_config;
mod docker_config;
mod docker_services;
mod documentation;
mod edge_config;
mod etcd_config;
mod fabio_config;
mod hostile;
mod installing;
mod inventory;
mod kube_config;
mod kube_manifests;
mod mariadb_config;
mod messages;
mod newcomer;
mod nfs_config;
mod nomad_config;
mod prelude;
mod products;
mod registry_config;
mod releases;
mod remedies;
mod report;
mod report_demo;
mod report_timings;
mod report_trace;
mod role_page;
mod scale;
mod script_ask;
mod script_converge;
mod script_files;
mod script_framing;
mod script_keep;
mod script_names;
mod script_packages;
mod script_prefetch;
mod script_preflight;
mod script_reach;
mod script_release;
mod script_text;
mod script_undo;
mod script_unit;
mod starters;
mod vagrant;
