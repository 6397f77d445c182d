//! Background writes: random writes to a file on each disk, with holes punched now and then so that
//! the file system also frees and allocates space, and with zeroes over data now and then, which a
//! faulty core may take for nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags};
use witness::random::Random;

use crate::ledger_file::preallocate;

/// Size of the file on each disk, in bytes.
pub(crate) const FILE_BYTES: u64 = 24 * 1024 * 1024;
/// Largest single write.
pub(crate) const LARGEST_WRITE: u32 = 1024 * 1024;
/// The size of a write must be a multiple of this.
pub(crate) const BLOCK: u32 = 4096;
const PUNCH_EVERY: u64 = 64;
/// Every so many operations the content does not compress: a core that compresses has to transfer
/// that as well. The rest compresses, so that evidence does, which holds every write.
const RANDOM_EVERY: u64 = 8;
/// Every so many operations one region of the file is filled and another one, which was filled
/// earlier, is overwritten with zeroes.
const ERASE_EVERY: u64 = 16;
/// How many rounds lie between the two: several times the interval of a transfer.
const ROUNDS_FILLED: u64 = 4;
/// Size of such a region: wherever it lies on the disk, it covers a whole grain of 64 KiB.
const REGION: usize = 128 * 1024;
const SYNC_EVERY: u64 = 16;

/// The background writes on one disk.
pub(crate) struct BackgroundWrites {
    file: File,
    direct: bool,
    buffer: Vec<u8>,
    /// Offset in `buffer` of a block boundary in memory, which direct writes require.
    aligned: usize,
    length: usize,
    random: Random,
    operations: u64,
}

impl BackgroundWrites {
    /// Opens the file on one disk for writes of `bytes` bytes.
    pub(crate) fn open(path: &Path, bytes: u32, random: Random) -> io::Result<Self> {
        preallocate(path, FILE_BYTES)?;
        let direct = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
        let (file, direct) = match direct {
            Ok(file) => (file, true),
            Err(_) => (OpenOptions::new().write(true).open(path)?, false),
        };
        let buffer = vec![0; bytes.max(REGION as u32) as usize + BLOCK as usize];
        let aligned = buffer.as_ptr().align_offset(BLOCK as usize);
        Ok(Self { file, direct, buffer, aligned, length: bytes as usize, random, operations: 0 })
    }

    /// Writes new content at a random offset, or punches a hole.
    pub(crate) fn operate(&mut self) -> io::Result<()> {
        let slots = FILE_BYTES / self.length as u64;
        let offset = self.random.below(slots) * self.length as u64;
        self.operations += 1;
        if self.operations.is_multiple_of(PUNCH_EVERY) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            return Ok(rustix::fs::fallocate(&self.file, flags, offset, self.length as u64)?);
        }
        if self.operations.is_multiple_of(ERASE_EVERY) {
            return self.erase(self.operations / ERASE_EVERY);
        }
        let content = &mut self.buffer[self.aligned..self.aligned + self.length];
        if self.operations % RANDOM_EVERY == 1 {
            self.random.fill(content);
        } else {
            self.random.fill_sectors(content);
        }
        self.file.write_all_at(content, offset)?;
        if !self.direct && self.operations.is_multiple_of(SYNC_EVERY) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Fills the region of this round with data, and overwrites the region of an earlier round with
    /// zeroes.
    fn erase(&mut self, round: u64) -> io::Result<()> {
        let regions = FILE_BYTES / REGION as u64;
        let at = |round: u64| round % regions * REGION as u64;
        let content = &mut self.buffer[self.aligned..self.aligned + REGION];
        self.random.fill_sectors(content);
        self.file.write_all_at(content, at(round))?;
        if let Some(filled) = round.checked_sub(ROUNDS_FILLED) {
            content.fill(0);
            self.file.write_all_at(content, at(filled))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn writes_stay_inside_the_file_and_holes_free_space() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("churn");
        let mut writes = BackgroundWrites::open(&path, 2 * BLOCK, Random::for_stream(1, 0)).expect("opened");
        for _ in 0..3 * PUNCH_EVERY {
            writes.operate().expect("written");
        }
        let file = std::fs::metadata(&path).expect("there");
        assert_eq!(file.len(), FILE_BYTES);
        assert!(file.blocks() * 512 < FILE_BYTES);
    }

    #[test]
    fn what_was_filled_is_overwritten_with_zeroes_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("churn");
        let mut writes = BackgroundWrites::open(&path, BLOCK, Random::for_stream(1, 0)).expect("opened");
        let mut region = |round: u64| {
            writes.erase(round).expect("written");
            let mut content = vec![0; REGION];
            let file = File::open(&path).expect("opened");
            file.read_exact_at(&mut content, REGION as u64).expect("read");
            content.iter().any(|byte| *byte != 0)
        };
        assert!(region(1) && region(ROUNDS_FILLED));
        assert!(!region(1 + ROUNDS_FILLED));
    }
}
