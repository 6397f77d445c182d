//! The clock of a site, which may differ from that of its simulation.

use std::sync::atomic::Ordering;

use contract::Timestamp;

use crate::SimSite;

impl SimSite {
    /// Sets the site's own clock ahead of that of its simulation, or with a negative number behind
    /// it. It dates snapshots.
    pub fn set_clock_ahead(&self, ms: i64) {
        self.ahead.store(ms, Ordering::Relaxed);
    }

    /// A time as the site's own clock shows it.
    pub(crate) fn dated(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }
}
