//! Where things lie on a machine's disks. Each disk says so itself, in its second sector, so that a copy on
//! another site comes up with nothing but its disks.

use std::ops::Range;

use contract::Millis;
use serde::{Deserialize, Serialize};

use crate::Snapshot;

/// Smallest unit a disk is written in, in bytes.
pub(crate) const SECTOR: usize = 512;
/// Where the boot partition lies on the first disk, in bytes.
pub(crate) const BOOT_PARTITION: Range<u64> = 0x1_0000..0x4_0000;
/// Smallest disk, in bytes.
pub(crate) const SMALLEST: u64 = 512 * 1024;
const MAGIC: &str = "roundtrip sim disk 1";
const LEDGER_BYTES: u64 = 0x1_0000;

/// What a guest puts on its disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Mean time between two ledger records; 0: none are written.
    pub record_every: Millis,
    /// Mean time between two random writes on each disk; 0: none.
    pub churn_every: Millis,
    /// Bytes of a random write; a multiple of 512.
    pub churn_bytes: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self { record_every: Millis(1000), churn_every: Millis(2000), churn_bytes: 4096 }
    }
}

/// What a disk says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    magic: String,
    /// Index of the disk in its machine.
    pub(crate) disk: usize,
    /// How many disks the machine has.
    pub(crate) disks: usize,
    /// First byte of this disk's part of the ledger, and its records.
    pub(crate) ledger_at: u64,
    pub(crate) ledger_rows: u64,
    /// Bytes that random writes go to.
    pub(crate) churn: Range<u64>,
    pub(crate) load: Load,
}

impl Layout {
    pub(crate) fn new(disk: usize, disks: usize, bytes: u64, load: Load) -> Self {
        let ledger_at = if disk == 0 { BOOT_PARTITION.end } else { BOOT_PARTITION.start };
        Self {
            magic: MAGIC.to_owned(),
            disk,
            disks,
            ledger_at,
            ledger_rows: LEDGER_BYTES / SECTOR as u64,
            churn: ledger_at + LEDGER_BYTES..bytes,
            load,
        }
    }

    /// The second sector.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sector = serde_json::to_vec(self).unwrap_or_default();
        sector.resize(SECTOR, 0);
        sector
    }

    /// Reads the second sector of disk number `disk`.
    pub(crate) fn read(content: &Snapshot, disk: usize) -> Result<Self, String> {
        let sector = content.bytes(SECTOR as u64, SECTOR);
        let length = sector.iter().position(|byte| *byte == 0).unwrap_or(SECTOR);
        let layout: Self = serde_json::from_slice(&sector[..length])
            .map_err(|error| format!("disk {disk} does not say what is on it: {error}"))?;
        if layout.magic != MAGIC || layout.disk != disk || !layout.fits(content.size()) {
            return Err(format!("disk {disk} says that it is another one"));
        }
        Ok(layout)
    }

    /// Whether everything lies on a disk of `bytes` bytes.
    fn fits(&self, bytes: u64) -> bool {
        let ledger = self.ledger_rows.saturating_mul(SECTOR as u64).saturating_add(self.ledger_at);
        let churn = self.churn.end.saturating_sub(self.churn.start);
        ledger <= bytes && self.churn.end <= bytes && churn >= SECTOR as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_layout_fits_its_sector() {
        let most =
            Load { record_every: Millis(u64::MAX), churn_every: Millis(u64::MAX), churn_bytes: u32::MAX };
        let layout = Layout::new(99, 100, u64::MAX, most);
        assert_eq!(layout.encode().len(), SECTOR);
        assert!(serde_json::to_vec(&layout).unwrap().len() < SECTOR);
    }
}
