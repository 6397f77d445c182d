//! The place where copies of disks are checked.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use std::ops::Range;

use tempdirs::OwnedDir;

use super::{CheckError, on};
use crate::oracle::SectorSource;

/// A file system in memory that every user may write to.
const MEMORY: &str = "/dev/shm";
/// Free memory that a copy must leave.
const RESERVE: u64 = 256 << 20;
/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// Copies of disks in a directory, in memory if they fit there. It is removed when this is
/// dropped.
#[derive(Debug)]
pub struct DiskCopies {
    dir: OwnedDir,
}

impl DiskCopies {
    /// Makes a directory that can hold `bytes` bytes of copies.
    ///
    /// # Errors
    /// The host allows no directory.
    pub fn new(bytes: u64) -> Result<Self, CheckError> {
        let memory = Path::new(MEMORY);
        let free = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        let in_memory = (free >= bytes.saturating_add(RESERVE)).then(|| OwnedDir::new_in(memory, "check"));
        let dir = match in_memory {
            Some(Ok(dir)) => dir,
            _ => OwnedDir::new("check").map_err(on(&std::env::temp_dir()))?,
        };
        Ok(Self { dir })
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Copies a range of bytes of a disk into a new file; holes stay holes.
    ///
    /// # Errors
    /// The disk ends before the range does, or it cannot be copied.
    pub fn copy(
        &self,
        name: &str,
        disk: &dyn SectorSource,
        range: &Range<u64>,
    ) -> Result<PathBuf, CheckError> {
        let path = self.path(name);
        copy(&path, disk, range).map_err(on(&path))?;
        Ok(path)
    }
}

fn copy(path: &Path, disk: &dyn SectorSource, range: &Range<u64>) -> std::io::Result<()> {
    let file = File::create(path)?;
    file.set_len(range.end - range.start)?;
    let mut buffer = vec![0; CHUNK as usize];
    let mut at = range.start;
    while at < range.end {
        let Some(data) = disk.next_data(at)?.filter(|data| data.start < range.end) else { break };
        let start = data.start.max(at);
        let end = data.end.min(range.end).min(start + CHUNK);
        let part = &mut buffer[..(end - start) as usize];
        disk.read_at(start, part)?;
        file.write_all_at(part, start - range.start)?;
        at = end;
    }
    Ok(())
}

/// Bytes of data in a range of a disk.
pub(crate) fn data_bytes(disk: &dyn SectorSource, range: &Range<u64>) -> std::io::Result<u64> {
    let (mut at, mut bytes) = (range.start, 0);
    while let Some(data) = disk.next_data(at)?.filter(|data| data.start < range.end) {
        let end = data.end.min(range.end);
        bytes += end - data.start.max(at);
        at = end;
        if at >= range.end {
            break;
        }
    }
    Ok(bytes)
}
