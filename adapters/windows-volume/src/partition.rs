//! Where the volume is on a disk: the table of partitions in the first sector.

use std::ops::Range;

const SECTOR: usize = 512;
/// Offset of the table in the first sector.
const TABLE: usize = 446;
/// Length of an entry of the table in bytes.
pub const ENTRY_BYTES: usize = 16;
/// Type of a partition with NTFS.
const NTFS: u8 = 0x07;
/// Cylinder, head and sector of a place that such numbers cannot express.
const NO_CYLINDER: [u8; 3] = [0xfe, 0xff, 0xff];

/// The bytes of the first NTFS partition of a disk of `disk_bytes` bytes, of which `first` is the
/// first sector. `None` if there is none, or if it ends behind the disk.
#[must_use]
pub fn partition(first: &[u8], disk_bytes: u64) -> Option<Range<u64>> {
    let table = first.get(TABLE..SECTOR - 2)?;
    if first.get(SECTOR - 2..SECTOR)? != [0x55, 0xaa] {
        return None;
    }
    let entry = table.chunks_exact(ENTRY_BYTES).find(|entry| entry[4] == NTFS)?;
    let sectors = |at: usize| {
        let number = u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        u64::from(number) * SECTOR as u64
    };
    let range = sectors(8)..sectors(8) + sectors(12);
    (!range.is_empty() && range.end <= disk_bytes).then_some(range)
}

/// The entry of an NTFS partition with these bytes, which are whole sectors below 2 TiB.
#[must_use]
pub fn partition_entry(bytes: &Range<u64>) -> [u8; ENTRY_BYTES] {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR as u64).unwrap_or(u32::MAX).to_le_bytes();
    let mut entry = [0; ENTRY_BYTES];
    entry[1..4].copy_from_slice(&NO_CYLINDER);
    entry[4] = NTFS;
    entry[5..8].copy_from_slice(&NO_CYLINDER);
    entry[8..12].copy_from_slice(&sectors(bytes.start));
    entry[12..].copy_from_slice(&sectors(bytes.end - bytes.start));
    entry
}
