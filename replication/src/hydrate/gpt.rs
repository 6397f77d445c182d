//! The GUID partition table of a disk.

use std::ops::Range;

use nbd::Client;

/// Sizes of a logical sector. The table does not say which one it was written with.
const SECTORS: [u64; 2] = [512, 4096];
const SIGNATURE: &[u8] = b"EFI PART";
/// Smallest and largest header.
const HEADER: [usize; 2] = [92, 512];
/// Largest list of partitions that is read.
const LIST_BYTES: usize = 1 << 20;
const SMALLEST_ENTRY: usize = 128;
/// Type of an EFI system partition: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const EFI_SYSTEM: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// Byte range of the EFI system partition, by the first copy of the table or, if that is damaged,
/// by the one at the end of the disk.
pub(super) fn boot_partition(client: &mut Client) -> Result<Range<u64>, String> {
    let size = client.size();
    let mut read = |offset: u64, bytes: usize| -> Option<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        let end = offset.checked_add(bytes as u64)?;
        (end <= size).then_some(())?;
        client.read(offset, &mut buffer).ok()?;
        Some(buffer)
    };
    find(&mut read, size)
}

fn find(read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>, size: u64) -> Result<Range<u64>, String> {
    let places = SECTORS.into_iter().flat_map(|sector| {
        [sector, size.saturating_sub(sector)].into_iter().map(move |offset| (sector, offset))
    });
    let mut tables = places.filter_map(|(sector, offset)| Some((sector, partitions(read, sector, offset)?)));
    let (sector, list) = tables.next().ok_or("neither copy of the disk's GPT is sound")?;
    let entry = list.into_iter().find(|entry| entry[..16] == EFI_SYSTEM);
    let entry = entry.ok_or("the disk's GPT has no EFI system partition")?;
    let range = number(&entry, 32)
        .checked_mul(sector)
        .zip(number(&entry, 40).checked_add(1).and_then(|end| end.checked_mul(sector)))
        .map(|(start, end)| start..end)
        .filter(|range| !range.is_empty() && range.end <= size);
    range.ok_or_else(|| format!("the EFI system partition ends behind the disk, which has {size} bytes"))
}

/// The entries of the table whose header is at `offset`; `None` if a checksum is wrong.
fn partitions(
    read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>,
    sector: u64,
    offset: u64,
) -> Option<Vec<Vec<u8>>> {
    let mut header = read(offset, HEADER[1])?;
    let [at_least, at_most] = HEADER;
    let length = small(&header, 12);
    (header.starts_with(SIGNATURE) && (at_least..=at_most).contains(&length)).then_some(())?;
    let checksum = u32::from_le_bytes(header[16..20].try_into().ok()?);
    header[16..20].fill(0);
    (crc32fast::hash(&header[..length]) == checksum).then_some(())?;
    let (count, entry) = (small(&header, 80), small(&header, 84));
    let bytes = count.checked_mul(entry).filter(|bytes| *bytes <= LIST_BYTES)?;
    (entry >= SMALLEST_ENTRY).then_some(())?;
    let list = read(number(&header, 72).checked_mul(sector)?, bytes)?;
    let checksum = u32::from_le_bytes(header[88..92].try_into().ok()?);
    (crc32fast::hash(&list) == checksum).then_some(())?;
    Some(list.chunks_exact(entry).map(<[u8]>::to_vec).collect())
}

fn small(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: usize = 4;

    /// A disk with both copies of a table whose second partition is the one to find.
    fn disk(sector: usize, first: u64, last: u64) -> Vec<u8> {
        let mut disk = vec![0; 64 * sector];
        let mut list = vec![0; ENTRIES * SMALLEST_ENTRY];
        let entry = &mut list[SMALLEST_ENTRY..];
        entry[..16].copy_from_slice(&EFI_SYSTEM);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (header_at, list_at) in [(1, 2), (63, 60)] {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(SIGNATURE);
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            header[72..80].copy_from_slice(&(list_at as u64).to_le_bytes());
            header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
            header[84..88].copy_from_slice(&(SMALLEST_ENTRY as u32).to_le_bytes());
            header[88..92].copy_from_slice(&crc32fast::hash(&list).to_le_bytes());
            let checksum = crc32fast::hash(&header);
            header[16..20].copy_from_slice(&checksum.to_le_bytes());
            disk[header_at * sector..][..92].copy_from_slice(&header);
            disk[list_at * sector..][..list.len()].copy_from_slice(&list);
        }
        disk
    }

    fn found(disk: &[u8]) -> Result<Range<u64>, String> {
        let mut read = |offset: u64, bytes: usize| Some(disk.get(offset as usize..)?.get(..bytes)?.to_vec());
        find(&mut read, disk.len() as u64)
    }

    #[test]
    fn the_partition_is_found_with_either_size_of_a_sector() {
        assert_eq!(found(&disk(512, 10, 19)), Ok(5120..10240));
        assert_eq!(found(&disk(4096, 10, 19)), Ok(40960..81920));
    }

    #[test]
    fn the_copy_at_the_end_is_used_if_the_first_one_is_damaged() {
        for damaged in [512 + 20, 1024 + 200] {
            let mut disk = disk(512, 10, 19);
            disk[damaged] ^= 1;
            assert_eq!(found(&disk), Ok(5120..10240), "byte {damaged}");
        }
    }

    #[test]
    fn a_table_that_is_damaged_twice_or_leads_out_of_the_disk_is_refused() {
        let mut damaged = disk(512, 10, 19);
        damaged[512 + 20] ^= 1;
        damaged[63 * 512 + 20] ^= 1;
        assert!(found(&damaged).is_err());
        for (first, last) in [(10, 64), (10, u64::MAX), (20, 10)] {
            assert!(found(&disk(512, first, last)).is_err(), "{first} to {last}");
        }
        assert!(found(&[0; 4096]).is_err());
    }
}
