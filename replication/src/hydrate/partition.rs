//! The partition table of a disk.

use std::ops::Range;

use nbd::Client;

use super::gpt;

const SECTOR: u64 = 512;
/// Offset of the first entry in the boot record.
const ENTRIES: usize = 446;
/// Length of an entry.
const ENTRY: usize = 16;
/// Partition types of a FAT boot partition: FAT32, FAT32 with LBA, EFI system.
const FAT_TYPES: [u8; 3] = [0x0b, 0x0c, 0xef];
/// Partition type that keeps a disk with a GPT from tools that do not know it.
const PROTECTIVE: u8 = 0xee;
/// Type of a partition with NTFS.
const NTFS_TYPE: u8 = 0x07;

/// Byte range of the partition that the firmware boots from.
pub(super) fn boot_partition(client: &mut Client) -> Result<Range<u64>, String> {
    let sector = first_sector(client)?;
    if is_protective(&sector) {
        return gpt::boot_partition(client);
    }
    let first = find(&sector, client.size(), &FAT_TYPES)?.into_iter().next();
    first.ok_or_else(|| "the disk has no FAT boot partition".to_owned())
}

/// Byte ranges of the partitions with NTFS, which only a boot record lists.
pub(super) fn ntfs_partitions(client: &mut Client) -> Result<Vec<Range<u64>>, String> {
    find(&first_sector(client)?, client.size(), &[NTFS_TYPE])
}

fn first_sector(client: &mut Client) -> Result<[u8; SECTOR as usize], String> {
    let mut sector = [0; SECTOR as usize];
    client.read(0, &mut sector).map_err(|e| e.to_string())?;
    Ok(sector)
}

/// Whether the boot record only says that the disk has a GPT.
fn is_protective(sector: &[u8; SECTOR as usize]) -> bool {
    let mut entries = sector[ENTRIES..510].chunks_exact(ENTRY);
    sector[510..] == [0x55, 0xaa] && entries.any(|entry| entry[4] == PROTECTIVE)
}

fn find(sector: &[u8; SECTOR as usize], disk: u64, types: &[u8]) -> Result<Vec<Range<u64>>, String> {
    if sector[510..] != [0x55, 0xaa] {
        return Err("the disk has no boot record".to_owned());
    }
    let entries = sector[ENTRIES..510].chunks_exact(ENTRY);
    let range = |entry: &[u8]| {
        let number = |at: usize| {
            u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]))
        };
        let range = number(8) * SECTOR..(number(8) + number(12)) * SECTOR;
        if range.is_empty() || range.end > disk {
            return Err(format!("a partition has bytes {range:?}, but the disk has {disk} bytes"));
        }
        Ok(range)
    };
    entries.filter(|entry| types.contains(&entry[4])).map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: u8, start: u32, count: u32) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let second = ENTRIES + ENTRY;
        sector[second + 4] = kind;
        sector[second + 8..second + 12].copy_from_slice(&start.to_le_bytes());
        sector[second + 12..second + 16].copy_from_slice(&count.to_le_bytes());
        sector
    }

    #[test]
    fn the_fat_partition_is_found() {
        let whole = |range: Range<u64>| Ok(std::iter::once(range).collect());
        assert_eq!(find(&table(0xef, 8, 8), 1 << 20, &FAT_TYPES), whole(4096..8192));
        assert_eq!(find(&table(0x07, 8, 8), 1 << 20, &[NTFS_TYPE]), whole(4096..8192));
        assert_eq!(find(&table(0x83, 8, 8), 1 << 20, &FAT_TYPES), Ok(Vec::new()));
    }

    #[test]
    fn a_protective_record_is_recognised() {
        assert!(is_protective(&table(PROTECTIVE, 1, 8)));
        assert!(!is_protective(&table(0xef, 1, 8)) && !is_protective(&[0; 512]));
    }

    #[test]
    fn an_invalid_table_is_refused() {
        for invalid in [[0; 512], table(0xef, 8, 0), table(0xef, 8, u32::MAX)] {
            assert!(find(&invalid, 1 << 20, &FAT_TYPES).is_err());
        }
    }
}
