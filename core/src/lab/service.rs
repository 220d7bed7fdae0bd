//! What the lab's hidden subcommands do: each is a process that outlives the command it came from.

use std::time::Duration;

use super::layout::{CONTROLLER, LabHost, MAX_HOSTS, MIRROR_PORT, mirror_folder};
use super::parallel::join;
use super::{Error, Suite, host, machine, mirror, process, relay};

/// Becomes the container of the host called `name`, or its virtual machine where it has a kernel of its own. Returns on failure only.
pub fn launch(name: &str, suite: Suite, own_kernel: bool) -> Result<(), Error> {
    let host = LabHost::named(name, MAX_HOSTS)
        .ok_or_else(|| Error::NoHost { name: name.to_owned(), hosts: "node-1, node-2, …".into() })?;
    Err(if own_kernel { machine::launch(host, suite) } else { host::launch(host, suite) })
}

/// Serves the releases until killed.
pub fn serve_mirror() -> Result<(), Error> {
    process::detach();
    let serve = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(mirror::serve(&mirror_folder(), (CONTROLLER, MIRROR_PORT).into()))
    };
    // A thread of its own: the caller's may belong to a runtime already.
    std::thread::scope(|scope| join(scope.spawn(serve))).map_err(Error::io("serve", mirror_folder()))
}

/// Delays frames until killed.
pub fn serve_relay(rtt_ms: u32) -> Result<(), Error> {
    process::detach();
    relay::serve(Duration::from_millis(rtt_ms.into()))
}
