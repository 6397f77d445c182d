//! A machine at the site where it runs.

use std::sync::Arc;

use standins::{Boot, StandInSite};
use witness::ledger::RecordNumber;

/// A machine at the site where it runs.
#[derive(Clone)]
pub(crate) struct Running {
    /// The site.
    pub(crate) site: Arc<StandInSite>,
    /// Its boot there: the disks before power-on, the write logs and the guest.
    pub(crate) boot: Arc<Boot>,
    /// The last ledger record that was on its disks when it booted.
    pub(crate) initial_record: RecordNumber,
}

impl Running {
    /// The last ledger record that it is known to hold: acknowledged in this boot, or already on
    /// its disks when it booted.
    pub(crate) fn last_record(&self) -> RecordNumber {
        self.boot.guest.witness().last_ack().max(self.initial_record)
    }
}
