//! Faults of a core that decides wrongly where the built-in core asks its hook.

use crate::core_under_test::{BootEntries, Extent, FaultHook, Merging, Periods};

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

/// Thins points out by periods that move with the present.
pub(super) struct DriftingPeriods;

impl FaultHook for DriftingPeriods {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn merging(&self) -> Merging {
        Merging { batch: 1, periods: Periods::FromNow, ..Merging::default() }
    }
}
