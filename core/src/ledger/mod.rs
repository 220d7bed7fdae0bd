//! What roles change on a host, so that it can be put back.
//!
//! The host keeps a ledger (`/var/lib/bootstrap/undo`, see the prelude): before a role changes a thing for the
//! first time, how it was is written down. [`recorded`] makes the calls that do so; [`probe`] asks for what no role of
//! the host wants any more, also where a role is still there; [`removal`] makes the steps that put it back.
//!
//! Functions over data, as in `resource`.

mod record;
mod removal;
mod thing;

pub use record::{recorded, units};
pub use removal::{Removal, removal, stage_name};
pub use thing::{LedgerItem, things};

use crate::model::{Arg, Call, StepId};
use crate::resource::Resource;

/// The probe id of the ledger as a whole; its things have ids of their own that start so.
pub const PROBE: &str = "undo";

/// Asks for what the ledger holds besides the things that these resources want.
pub fn probe<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> (StepId, Call) {
    let wanted = resources.into_iter().flat_map(things).map(|thing| Arg::lossy(&thing.key()));
    (StepId(PROBE.to_owned()), Call::new("undo_probe", wanted))
}
