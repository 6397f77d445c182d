//! Whether a variant is at work.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a variant has done anything differently so far.
#[derive(Debug, Default)]
pub(super) struct Activity(AtomicBool);

impl Activity {
    pub(super) fn note(&self, differed: bool) {
        if differed {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    pub(super) fn has_differed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
