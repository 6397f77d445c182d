//! The GUID partition table of a disk, of which there are two copies.

use std::io;

use crate::oracle::SectorSource;

const SIGNATURE: &[u8] = b"EFI PART";
/// Largest list of partitions that is read.
const MOST_BYTES: u64 = 1 << 20;
/// Bytes of a header that are read; what it says is shorter.
const HEADER: usize = 512;

/// What is wrong with the GPT on a disk with sectors of `sector` bytes: each copy must be sound,
/// the first in the second sector and the other at the end of the disk, and both must say the same.
/// `None` if nothing is.
///
/// # Errors
/// The disk cannot be read.
pub fn check_partition_table(disk: &dyn SectorSource, sector: u32) -> io::Result<Option<String>> {
    let sector = u64::from(sector);
    let last = disk.bytes() / sector - 1;
    let first = read_copy(disk, sector, 1, last)?;
    let second = read_copy(disk, sector, last, 1)?;
    Ok(match (first, second) {
        (Err(why), _) => Some(format!("the first copy of the partition table {why}")),
        (_, Err(why)) => Some(format!("the copy of the partition table at the end of the disk {why}")),
        (Ok(first), Ok(second)) if first != second => {
            Some("the two copies of the partition table differ".to_owned())
        }
        _ => None,
    })
}

/// The list of partitions of the copy whose header is in sector `at`, or what is wrong with it. The
/// header of the other copy is in sector `other`.
fn read_copy(
    disk: &dyn SectorSource,
    sector: u64,
    at: u64,
    other: u64,
) -> io::Result<Result<Vec<u8>, String>> {
    let mut header = [0; HEADER];
    disk.read_at(at * sector, &mut header)?;
    let number = |from: usize, bytes: usize| {
        header[from..from + bytes].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let (length, checksum) = (number(12, 4) as usize, number(16, 4));
    let (list_at, list_bytes) = (number(72, 8), number(80, 4) * number(84, 4));
    let list_checksum = number(88, 4);
    if !header.starts_with(SIGNATURE) {
        return Ok(Err("is not there".to_owned()));
    }
    if number(24, 8) != at || number(32, 8) != other {
        return Ok(Err("names another place for itself or for the other copy".to_owned()));
    }
    header[16..20].fill(0);
    if header.get(..length).is_none_or(|header| u64::from(crc32fast::hash(header)) != checksum) {
        return Ok(Err("has a header with a wrong checksum".to_owned()));
    }
    let end = list_at.saturating_mul(sector).saturating_add(list_bytes);
    if list_bytes > MOST_BYTES || end > disk.bytes() {
        return Ok(Err("has its list of partitions behind the end of the disk".to_owned()));
    }
    let mut list = vec![0; list_bytes as usize];
    disk.read_at(list_at * sector, &mut list)?;
    match u64::from(crc32fast::hash(&list)) == list_checksum {
        true => Ok(Ok(list)),
        false => Ok(Err("has a list of partitions with a wrong checksum".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::oracle::{RawSource, SECTOR};

    const BYTES: u64 = 4 << 20;

    /// What is found on a disk that `sfdisk` partitioned, after `change`.
    fn found(change: impl FnOnce(&File)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        File::create(&path).unwrap().set_len(BYTES).unwrap();
        let mut sfdisk = Command::new("/usr/sbin/sfdisk");
        let mut child = sfdisk.arg("-q").arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"label: gpt\nsize=1MiB\n").unwrap();
        assert!(child.wait().unwrap().success());
        change(&File::options().read(true).write(true).open(&path).unwrap());
        check_partition_table(&RawSource::open(&path).unwrap(), SECTOR as u32).unwrap()
    }

    #[test]
    fn a_table_that_another_program_wrote_is_sound() {
        assert_eq!(found(|_| ()), None);
    }

    #[test]
    fn damage_of_either_copy_is_found() {
        let at_end = BYTES - SECTOR as u64;
        for (offset, words) in [
            (512 + 60, "first copy"),
            (1024 + 3, "first copy"),
            (at_end, "end of the disk is not there"),
            (at_end + 60, "end of the disk has a header"),
            (at_end - 32 * 512 + 3, "end of the disk has a list"),
        ] {
            let found = found(|disk| disk.write_all_at(&[0xa5], offset).unwrap());
            assert!(found.as_deref().is_some_and(|found| found.contains(words)), "{offset}: {found:?}");
        }
    }

    #[test]
    fn a_copy_that_is_not_at_the_end_is_found() {
        let found = found(|disk| disk.set_len(BYTES + (1 << 20)).unwrap());
        assert!(found.is_some(), "the disk has become larger");
    }
}
