//! Where the workload keeps its files.

use std::ops::Range;

use images::shape::Shape;
use witness::files::{BANK, LEDGERS};

/// What a disk of a machine with the workload holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLayout {
    /// Number of the disk in ledger order.
    pub disk: usize,
    /// Bytes of the disk that the ext4 file system takes.
    pub file_system: Range<u64>,
    /// Path of the ledger in the file system.
    pub ledger: &'static str,
    /// Path of the bank, if it lies on this disk.
    pub bank: Option<&'static str>,
}

impl DiskLayout {
    /// The layout of the disk with this name in results, of a machine of this shape; `None` if the
    /// workload has none of that name, or the disk holds no ext4 file system.
    #[must_use]
    pub fn named(name: &str, shape: &Shape) -> Option<Self> {
        let (disk, bank) = match name {
            "system" => (0, None),
            "data" => (1, Some(BANK)),
            _ => return None,
        };
        let (offset, bytes) = shape.ext4_on(name)?;
        Some(Self { disk, file_system: offset..offset + bytes, ledger: LEDGERS[disk], bank })
    }
}
