//! A GUID partition table for sectors of any size: the `sfdisk` of many distributions writes tables
//! for sectors of 512 bytes only.

use std::collections::BTreeMap;
use std::fs::File;

use camino::Utf8Path;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::Type;
use gpt::{GptConfig, GptError};
use uuid::Uuid;

use crate::error::{AtPath, ImageError};

/// The identifier of the disk. Those of its partitions follow it, so that each build is the same.
const IDENTIFIER: Uuid = Uuid::from_u128(0x5254_0001_0000_4000_8000_0000_0000_0001);

/// A partition: its type, and its place in bytes, both multiples of the sector.
pub(super) type Place = (Type, std::ops::Range<u64>);

/// Writes both copies of a table for sectors of `sector` bytes, and a protective boot record, to a
/// raw disk.
///
/// # Errors
/// The size of a sector is neither 512 nor 4096 bytes, the partitions do not fit, or the disk
/// cannot be written.
pub(super) fn write_table(disk: &Utf8Path, sector: u32, partitions: &[Place]) -> Result<(), ImageError> {
    let write = || -> Result<(), GptError> {
        let mut file = File::options().read(true).write(true).open(disk)?;
        let last = file.metadata()?.len() / u64::from(sector) - 1;
        ProtectiveMBR::with_lb_size(u32::try_from(last).unwrap_or(u32::MAX))
            .overwrite_lba0(&mut file)
            .map_err(std::io::Error::other)?;
        let sector = LogicalBlockSize::try_from(u64::from(sector))?;
        let config = GptConfig::new().writable(true).logical_block_size(sector);
        let mut table = config.create_from_device(file, Some(IDENTIFIER))?;
        table.update_partitions(entries(sector.as_u64(), partitions))?;
        table.write_inplace()
    };
    write().map_err(std::io::Error::other).at("cannot partition", disk)
}

fn entries(sector: u64, partitions: &[Place]) -> BTreeMap<u32, Partition> {
    let entry = |(number, (kind, bytes)): (u32, &Place)| {
        let entry = Partition {
            part_type_guid: kind.clone(),
            part_guid: Uuid::from_u128(IDENTIFIER.as_u128() + u128::from(number)),
            first_lba: bytes.start / sector,
            last_lba: bytes.end / sector - 1,
            flags: 0,
            name: String::new(),
        };
        (number, entry)
    };
    (1..).zip(partitions).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use gpt::partition_types::{EFI, LINUX_FS};

    use super::*;

    fn disk(sector: u32) -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("disk")).expect("UTF-8");
        File::create(&path).and_then(|file| file.set_len(16 << 20)).expect("a disk");
        let partitions = [(EFI, 1 << 20..4 << 20), (LINUX_FS, 4 << 20..15 << 20)];
        write_table(&path, sector, &partitions).expect("a table");
        (dir, path)
    }

    #[test]
    fn the_table_is_as_another_program_reads_it() {
        let (_dir, path) = disk(512);
        let said = |argument| {
            let output =
                crate::tools::command("sfdisk").args([argument, path.as_str()]).output().expect("run");
            assert!(output.status.success());
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let verified = said("--verify");
        assert!(verified.contains("No errors detected"), "{verified}");
        let dump = said("--dump");
        for part in ["start=        2048, size=        6144", "start=        8192, size=       22528"] {
            assert!(dump.contains(part), "{part}: {dump}");
        }
    }

    #[test]
    fn both_copies_are_in_whole_sectors_of_4096_bytes() {
        let (_dir, path) = disk(4096);
        let bytes = std::fs::read(&path).expect("read");
        for header in [4096, bytes.len() - 4096] {
            assert!(bytes[header..].starts_with(b"EFI PART"), "a header at {header}");
        }
        assert_eq!(bytes[510..512], [0x55, 0xaa]);
        let first_entry = &bytes[2 * 4096..];
        assert_eq!(first_entry[32..40], 256_u64.to_le_bytes());
        assert_eq!(first_entry[40..48], 1023_u64.to_le_bytes());
    }

    #[test]
    fn two_builds_are_equal() {
        let ((_one, first), (_other, second)) = (disk(4096), disk(4096));
        assert!(std::fs::read(first).expect("read") == std::fs::read(second).expect("read"));
    }
}
