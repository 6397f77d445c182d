//! The seam at which the suite makes this core faulty on purpose.
//!
//! A suite that never saw a wrong core proves little about right ones. A tap sees every extent between landing log
//! and recovery point and may alter, withhold or exchange it. Without one, nothing is touched.

use contract::MachineSpec;

/// Content of a stretch of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the disk in the machine.
    pub disk: usize,
    /// First byte.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Sees extents on their way into a recovery point.
pub trait Tap: Send + Sync {
    /// `batch` counts transfers from 1. Returns whether the extent shall still be written.
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool;

    /// Hears of every write to the core's store once it is done, before anything follows from it. A process that dies
    /// dies between two of them.
    fn stored(&self) {}

    /// Whether disks are compared whose source cannot tell what changed.
    fn compares(&self) -> bool {
        true
    }

    /// Whether target copies are hydrated, where that is due.
    fn hydrates(&self) -> bool {
        true
    }

    /// Sees what a target machine shall be before it is made, and may change it.
    fn shape(&self, _spec: &mut MachineSpec) {}
}
