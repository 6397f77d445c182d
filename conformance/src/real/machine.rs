//! A machine where it runs.

use std::sync::Arc;

use standins::{Boot, StandInSite};
use witness::ledger::RecordNumber;

/// The machine where it runs now.
#[derive(Clone)]
pub(crate) struct Running {
    /// The site it runs on.
    pub(crate) site: Arc<StandInSite>,
    /// Its boot there: disks before power-on, write logs, the guest.
    pub(crate) boot: Arc<Boot>,
    /// Last ledger record that it came up with.
    pub(crate) initial_record: RecordNumber,
}

impl Running {
    /// The last record it is known to hold: acknowledged here, or brought along.
    pub(crate) fn last_record(&self) -> RecordNumber {
        self.boot.guest.witness().last_ack().max(self.initial_record)
    }
}
