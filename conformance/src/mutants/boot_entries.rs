//! Faults in how a machine finds its boot loader.

use crate::core_under_test::{BootEntries, Extent, FaultHook};

/// Gives new machines less than they need to find their boot loader.
pub(super) struct LosesLoader(pub(super) BootEntries);

impl FaultHook for LosesLoader {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn boot_entries(&self) -> BootEntries {
        self.0
    }
}
