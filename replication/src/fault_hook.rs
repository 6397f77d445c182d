//! Fault injection: lets the conformance suite make this core misbehave on purpose.
//!
//! A suite that has never seen a faulty core proves little about correct ones. A hook sees every
//! extent on its way from the landing log into a recovery point and can change, drop or replace it.
//! Without a hook the core is unmodified.

use contract::MachineSpec;

/// Content of a contiguous range of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the disk in the machine.
    pub disk: usize,
    /// First byte.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Intercepts what the core does with data and machines.
pub trait FaultHook: Send + Sync {
    /// Called for each extent that is about to be written into a recovery point. `batch` numbers
    /// transfers from 1. Returns whether to write the extent.
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool;

    /// Called after each write to the core's store, before the core acts on it. Tests crash the
    /// core here: a process can only die between two writes.
    fn stored(&self) {}

    /// Whether to compare disks whose source has no change record.
    fn compares(&self) -> bool {
        true
    }

    /// Whether to hydrate target copies that need it.
    fn hydrates(&self) -> bool {
        true
    }

    /// Whether to notice that a disk of the source has another size than its replica.
    fn notices_growth(&self) -> bool {
        true
    }

    /// Called before a target machine is created; can change its specification.
    fn shape(&self, _spec: &mut MachineSpec) {}
}
