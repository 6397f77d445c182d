//! A GUID partition table for sectors of 4096 bytes, on the first disk of a machine that boots from
//! such a disk. Its first copy begins behind the sector of 512 bytes that holds the disk's layout.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::ops::Range;

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::EFI;
use gpt::{GptConfig, GptError};
use uuid::Uuid;

use crate::Snapshot;
use crate::disk::SECTOR;

const LOGICAL_SECTOR: u64 = 4096;
/// Bytes of a list of 128 partitions and of a header, which is all of a copy.
const COPY: u64 = 4 * LOGICAL_SECTOR + LOGICAL_SECTOR;
/// The identifier of every disk, and of its partition.
const IDENTIFIER: Uuid = Uuid::from_u128(0x5254_0001_0000_4000_8000_0000_0000_0001);
/// Largest disk whose table is read or written, which happens in memory.
const LARGEST: u64 = 64 << 20;

/// What of a disk with `bytes` bytes lies in front of its second copy.
pub(crate) fn end_before_copy(bytes: u64) -> u64 {
    bytes.saturating_sub(COPY)
}

/// The protective boot record and both copies of a table whose partition is the boot partition,
/// with their offsets in bytes.
pub(crate) fn format(bytes: u64, boot: &Range<u64>) -> io::Result<[(u64, Vec<u8>); 3]> {
    if bytes > LARGEST || !bytes.is_multiple_of(LOGICAL_SECTOR) {
        return Err(io::Error::other(format!("no GPT for a disk of {bytes} bytes")));
    }
    let disk = write(bytes, boot).map_err(io::Error::other)?;
    let part = |range: Range<u64>| (range.start, disk[range.start as usize..range.end as usize].to_vec());
    Ok([
        part(0..SECTOR as u64),
        part(LOGICAL_SECTOR..LOGICAL_SECTOR + COPY),
        part(end_before_copy(bytes)..bytes),
    ])
}

fn write(bytes: u64, boot: &Range<u64>) -> Result<Vec<u8>, GptError> {
    let mut disk = Cursor::new(vec![0; bytes as usize]);
    let last = (bytes / LOGICAL_SECTOR - 1) as u32;
    ProtectiveMBR::with_lb_size(last).overwrite_lba0(&mut disk).map_err(io::Error::other)?;
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb4096);
    let mut table = config.create_from_device(disk, Some(IDENTIFIER))?;
    let partition = Partition {
        part_type_guid: EFI,
        part_guid: IDENTIFIER,
        first_lba: boot.start / LOGICAL_SECTOR,
        last_lba: boot.end / LOGICAL_SECTOR - 1,
        flags: 0,
        name: String::new(),
    };
    table.update_partitions(BTreeMap::from([(1, partition)]))?;
    Ok(table.write()?.into_inner())
}

/// Where firmware finds the boot partition of a disk, in bytes, by the copy of the table that is
/// sound; `None` if there is no protective boot record, no sound copy, or no such partition.
pub(crate) fn boot_partition(disk: &Snapshot) -> Option<Range<u64>> {
    let record = ProtectiveMBR::from_bytes(&disk.bytes(0, SECTOR), LogicalBlockSize::Lb512);
    if record.is_err() || disk.size() > LARGEST {
        return None;
    }
    let content = Cursor::new(disk.bytes(0, disk.size() as usize));
    let config = GptConfig::new().logical_block_size(LogicalBlockSize::Lb4096);
    let table = config.open_from_device(content).ok()?;
    let boot = table.partitions().values().find(|partition| partition.part_type_guid == EFI)?;
    Some(boot.first_lba * LOGICAL_SECTOR..(boot.last_lba + 1) * LOGICAL_SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage;
    use crate::disk::BOOT_PARTITION;
    use crate::store::Store;

    const BYTES: u64 = 1 << 20;

    /// The boot partition of a disk with a table, of which the sectors at these offsets are
    /// altered.
    fn found(altered: &[u64]) -> Option<Range<u64>> {
        let mut store = Store::new(Storage::default());
        store.insert(&"disk".into(), BYTES, None);
        for (offset, data) in format(BYTES, &BOOT_PARTITION).unwrap() {
            store.write(&"disk".into(), offset, &data).unwrap();
        }
        altered.iter().for_each(|offset| store.write(&"disk".into(), *offset, &[0xa5; SECTOR]).unwrap());
        boot_partition(&store.snapshot(&"disk".into()).unwrap())
    }

    #[test]
    fn firmware_finds_the_partition_by_either_copy() {
        let [first, second] = [LOGICAL_SECTOR, BYTES - LOGICAL_SECTOR];
        assert_eq!(found(&[]), Some(BOOT_PARTITION));
        assert_eq!(found(&[first]), Some(BOOT_PARTITION));
        assert_eq!(found(&[second]), Some(BOOT_PARTITION));
        assert_eq!(found(&[first, second]), None);
        assert_eq!(found(&[0]), None);
    }

    #[test]
    fn the_layout_of_the_disk_is_not_part_of_it() {
        assert_eq!(found(&[SECTOR as u64]), Some(BOOT_PARTITION));
    }
}
