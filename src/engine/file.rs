//! Reads a file of a host that no plan knows of.

use super::Options;
use crate::model::{Arg, Call, StepId};
use crate::script::{Nonce, Observation, Script};
use crate::ssh::Connection;

const PROBE: &str = "file";

/// Its text; `None` where it is not there, or is no text.
pub(crate) async fn read(connection: &Connection, path: &str, options: &Options) -> Option<String> {
    let probe = (StepId(PROBE.to_owned()), Call::new("file_read", [Arg::new(path).ok()?]));
    let script = Script::ask(&Nonce::random(), &[probe]);
    let records = connection.run(&script, options.script_timeout, |_| ()).await.ok()?;
    Observation::new(&records).of(PROBE).text("body").map(str::to_owned)
}
