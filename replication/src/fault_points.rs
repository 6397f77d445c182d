//! Where a fault hook changes what the core does: each answer without a hook is that of the core as
//! it is.

use contract::MachineId;

use crate::context::Context;
use crate::fault_hook::{BootEntries, Flushes, GRAIN, Merging, RegistryEdits, Verifying, test_machine};

impl Context {
    /// How recovery points are merged away that can no longer be chosen.
    pub(crate) fn merging(&self) -> Merging {
        self.fault_hook().map_or_else(Merging::default, |hook| hook.merging())
    }

    /// Which connections to a replica are flushed.
    pub(crate) fn flushes(&self) -> Flushes {
        self.fault_hook().map_or(Flushes::All, |hook| hook.flushes())
    }

    /// Whether a full copy writes zeroes where the target holds something else.
    pub(crate) fn clears_target(&self) -> bool {
        self.fault_hook().is_none_or(|hook| hook.clears_target())
    }

    /// How far a verification goes.
    pub(crate) fn verifying(&self) -> Verifying {
        self.fault_hook().map_or(Verifying::Everything, |hook| hook.verifying())
    }

    /// Which start types are changed on a Windows disk.
    pub(crate) fn registry_edits(&self) -> RegistryEdits {
        self.fault_hook().map_or(RegistryEdits::Needed, |hook| hook.registry_edits())
    }

    /// How machines get what their firmware variables name.
    pub(crate) fn boot_entries(&self) -> BootEntries {
        self.fault_hook().map_or(BootEntries::Both, |hook| hook.boot_entries())
    }

    /// Granularity of transfers in bytes.
    pub(crate) fn grain(&self) -> u64 {
        self.fault_hook().map_or(GRAIN, |hook| hook.grain())
    }

    /// Name of the machine that a test failover starts.
    pub(crate) fn test_machine(&self, target: &MachineId) -> MachineId {
        self.fault_hook().map_or_else(|| test_machine(target), |hook| hook.test_machine(target))
    }
}
