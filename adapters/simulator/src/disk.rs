//! Layout of a machine's disks. Each disk stores its layout in its second sector, so that a copy at
//! another site can boot from its disks alone.

use std::ops::Range;

use contract::Millis;
use serde::{Deserialize, Serialize};

use crate::Snapshot;

/// Unit in which a disk is written, in bytes.
pub(crate) const SECTOR: usize = 512;
/// Usual position of the boot partition on the first disk, in bytes.
pub(crate) const BOOT_PARTITION: Range<u64> = 0x1_0000..0x4_0000;
/// Where the boot partition is on a disk of `bytes` bytes, if it is the last thing there.
pub(crate) fn boot_partition_at_end(bytes: u64) -> Range<u64> {
    bytes.saturating_sub(BOOT_PARTITION.end - BOOT_PARTITION.start)..bytes
}

/// Smallest size of a disk, in bytes.
pub(crate) const SMALLEST: u64 = 512 * 1024;
const MAGIC: &str = "roundtrip sim disk 1";
const LEDGER_BYTES: u64 = 0x1_0000;

/// The workload of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Mean time between two ledger records; 0: no records.
    pub record_every: Millis,
    /// Mean time between two background writes on each disk; 0: no background writes.
    pub churn_every: Millis,
    /// Size of a background write in bytes; a multiple of 512. The largest one if they are of any
    /// size.
    pub churn_bytes: u32,
    /// Whether background writes are of any size and at any sector, and not all of one size and
    /// side by side. Those of zeroes are of the largest size and aligned to it, like discards.
    pub any_size: bool,
    /// Every how many background writes one is of zeroes.
    pub zero_every: u32,
    /// Length of the phases in which the guest writes and does not write in turn; 0: it always
    /// writes.
    pub phase: Millis,
}

impl Load {
    /// A record a second, and on each disk 4 KiB every two seconds, every sixteenth time zeroes.
    pub const USUAL: Self = Self {
        record_every: Millis(1000),
        churn_every: Millis(2000),
        churn_bytes: 4096,
        any_size: false,
        zero_every: 16,
        phase: Millis(0),
    };
}

impl Default for Load {
    fn default() -> Self {
        Self::USUAL
    }
}

/// The layout of a disk, as stored on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    magic: String,
    /// Index of the disk in its machine.
    pub(crate) disk: usize,
    /// Number of disks of the machine.
    pub(crate) disks: usize,
    /// Offset of this disk's part of the ledger, followed by the number of its records.
    pub(crate) ledger_at: u64,
    pub(crate) ledger_rows: u64,
    /// Range of the background writes, in bytes.
    pub(crate) churn: Range<u64>,
    /// Whether the guest also overwrites a whole grain of this disk with zeroes and with data in
    /// turn; see [`Layout::rewritten`].
    rewrites: bool,
    pub(crate) load: Load,
}

/// Granularity of change tracking of most platforms, in bytes.
const GRAIN: u64 = 64 * 1024;

impl Layout {
    /// The layout of disk number `disk` of `disks`, which has `bytes` bytes. The first one has its
    /// boot partition at `boot`.
    pub(crate) fn new(disk: usize, disks: usize, bytes: u64, load: Load, boot: &Range<u64>) -> Self {
        let boots_at_end = disk == 0 && boot.end == bytes;
        let bytes = if boots_at_end { boot.start } else { bytes };
        let ledger_at = if disk == 0 && !boots_at_end { boot.end } else { BOOT_PARTITION.start };
        let churn_at = ledger_at + LEDGER_BYTES;
        // The last grain of the last disk, and a grain that is never written before it.
        let end = (bytes / GRAIN).saturating_sub(2) * GRAIN;
        let rewrites = !load.any_size && disk + 1 == disks && end >= churn_at.saturating_add(GRAIN);
        Self {
            magic: MAGIC.to_owned(),
            disk,
            disks,
            ledger_at,
            ledger_rows: LEDGER_BYTES / SECTOR as u64,
            churn: churn_at..if rewrites { end } else { bytes },
            rewrites,
            load,
        }
    }

    /// The grain that the guest overwrites as a whole, in bytes. The grain before it is never
    /// written, so that a change of this one is an extent of its own in every transfer, and a lost
    /// extent of zeroes shows.
    pub(crate) fn rewritten(&self) -> Option<Range<u64>> {
        let start = self.churn.end + GRAIN;
        self.rewrites.then_some(start..start + GRAIN)
    }

    /// The content of the second sector.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sector = serde_json::to_vec(self).unwrap_or_default();
        sector.resize(SECTOR, 0);
        sector
    }

    /// Parses the second sector of disk number `disk`.
    pub(crate) fn read(content: &Snapshot, disk: usize) -> Result<Self, String> {
        let sector = content.bytes(SECTOR as u64, SECTOR);
        let length = sector.iter().position(|byte| *byte == 0).unwrap_or(SECTOR);
        let layout: Self = serde_json::from_slice(&sector[..length])
            .map_err(|error| format!("disk {disk} has no valid layout: {error}"))?;
        if layout.magic != MAGIC || layout.disk != disk || !layout.fits(content.size()) {
            return Err(format!("the layout on disk {disk} is that of another disk"));
        }
        Ok(layout)
    }

    /// Whether the layout fits a disk of `bytes` bytes.
    fn fits(&self, bytes: u64) -> bool {
        let ledger = self.ledger_rows.saturating_mul(SECTOR as u64).saturating_add(self.ledger_at);
        let churn = self.churn.end.saturating_sub(self.churn.start);
        let rewritten = self.rewritten().is_none_or(|range| range.end <= bytes);
        ledger <= bytes && self.churn.end <= bytes && churn >= SECTOR as u64 && rewritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_layout_fits_its_sector() {
        let most = Load {
            record_every: Millis(u64::MAX),
            churn_every: Millis(u64::MAX),
            churn_bytes: u32::MAX,
            any_size: false,
            zero_every: u32::MAX,
            phase: Millis(u64::MAX),
        };
        let layout = Layout::new(99, 101, u64::MAX, most, &BOOT_PARTITION);
        assert_eq!(layout.encode().len(), SECTOR);
        assert!(serde_json::to_vec(&layout).unwrap().len() < SECTOR);
    }
}
