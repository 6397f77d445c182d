//! Background writes: random writes to a file on each disk, with holes punched now and then so that
//! the file system also frees and allocates space.

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
        let buffer = vec![0; (bytes + BLOCK) as usize];
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
        let content = &mut self.buffer[self.aligned..self.aligned + self.length];
        self.random.fill(content);
        self.file.write_all_at(content, offset)?;
        if !self.direct && self.operations.is_multiple_of(SYNC_EVERY) {
            self.file.sync_data()?;
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
}
