//! Variants that transfer and keep data in another way.

use std::sync::atomic::{AtomicU64, Ordering};

use contract::{Capabilities, ChangesUnavailable, DiskSnapshot, MachineSpec};
use simulator::Capture;

use super::difference::Difference;
use crate::core_under_test::{BootEntries, Extent, FaultHook, Merging, Quiescing, RegistryEdits};

/// A hook that answers the questions that the rules leave open.
struct Choices {
    grain: u64,
    merging: Merging,
    quiescing: Quiescing,
    registry_edits: RegistryEdits,
    boot_entries: BootEntries,
    one_nic: bool,
}

impl Choices {
    fn usual() -> Self {
        Self {
            grain: 64 * 1024,
            merging: Merging::default(),
            quiescing: Quiescing::AtOnce,
            registry_edits: RegistryEdits::Needed,
            boot_entries: BootEntries::Both,
            one_nic: false,
        }
    }
}

impl FaultHook for Choices {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn grain(&self) -> u64 {
        self.grain
    }

    fn merging(&self) -> Merging {
        self.merging
    }

    fn quiescing(&self) -> Quiescing {
        self.quiescing
    }

    fn registry_edits(&self) -> RegistryEdits {
        self.registry_edits
    }

    fn boot_entries(&self) -> BootEntries {
        self.boot_entries
    }

    fn shape(&self, spec: &mut MachineSpec) {
        if self.one_nic {
            spec.more_nics.clear();
        }
    }
}

/// Transfers in larger pieces.
pub(super) struct LargeGrains;

impl Difference for LargeGrains {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { grain: 256 * 1024, ..Choices::usual() }))
    }
}

/// Merges points only when there are more than the policy keeps.
pub(super) struct NeverMerges;

impl Difference for NeverMerges {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        let merging = Merging { batch: usize::MAX, thins: false, ..Merging::default() };
        Some(Box::new(Choices { merging, ..Choices::usual() }))
    }
}

/// Merges each point as soon as it has expired.
pub(super) struct MergesAtOnce;

impl Difference for MergesAtOnce {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { merging: Merging { batch: 1, ..Merging::default() }, ..Choices::usual() }))
    }
}

/// Takes the first application-consistent point only after the policy's time between two of them.
pub(super) struct QuiescesLater;

impl Difference for QuiescesLater {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { quiescing: Quiescing::Later, ..Choices::usual() }))
    }
}

/// Quiesces the applications for every transfer, if the policy asks for that at all.
pub(super) struct QuiescesAlways;

impl Difference for QuiescesAlways {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { quiescing: Quiescing::Always, ..Choices::usual() }))
    }
}

/// Edits every control set of a registry.
pub(super) struct EveryControlSet;

impl Difference for EveryControlSet {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { registry_edits: RegistryEdits::EverySet, ..Choices::usual() }))
    }
}

/// Copies boot loaders to where firmware looks for them, on every platform.
pub(super) struct CopiesLoaders;

impl Difference for CopiesLoaders {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { boot_entries: BootEntries::OnlyLoaders, ..Choices::usual() }))
    }
}

/// Recovers the first network card of a machine only, and does not claim more.
pub(super) struct OneNic;

impl Difference for OneNic {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Choices { one_nic: true, ..Choices::usual() }))
    }

    fn capabilities(&self, all: Capabilities) -> Capabilities {
        Capabilities { several_nics: false, ..all }
    }
}

/// Keeps the order of writes only at the guest's flushes.
pub(super) struct EpochConsistent;

impl Difference for EpochConsistent {
    fn capture(&self) -> Option<Capture> {
        Some(Capture::PerFlush)
    }
}

/// Compares the disks of every fourth transfer instead of asking what has changed.
#[derive(Default)]
pub(super) struct ComparesOften {
    transfers: AtomicU64,
}

impl Difference for ComparesOften {
    fn snapshot(&self, mut snapshot: DiskSnapshot) -> DiskSnapshot {
        let has_changes = snapshot.disks.iter().any(|disk| disk.changed.is_some());
        if has_changes && self.transfers.fetch_add(1, Ordering::SeqCst) % 4 == 3 {
            snapshot.disks.iter_mut().for_each(|disk| disk.changed = None);
            snapshot.changes_unavailable = Some(ChangesUnavailable::RecordLost);
        }
        snapshot
    }
}
