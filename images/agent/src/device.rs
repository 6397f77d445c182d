//! Reads block devices past the page cache: a snapshot is read once and must not evict the
//! machine's own pages, and what the kernel itself writes to a snapshot's store is never in the
//! cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Alignment of offset, length and memory of a direct transfer.
pub(crate) const ALIGN: u64 = 4096;

/// Opens a device for direct I/O, or through the cache if its file system does not support that.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    let direct = options.clone().custom_flags(OFlags::DIRECT.bits() as i32).open(path);
    direct.or_else(|_| options.open(path))
}

/// A buffer for direct I/O.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// A buffer with room for `bytes` bytes at any offset of a disk.
    pub(crate) fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes.next_multiple_of(ALIGN as usize) + 3 * ALIGN as usize];
        let start = memory.as_ptr().align_offset(ALIGN as usize);
        Self { memory, start }
    }

    /// Reads `length` bytes at `offset` of a device of `bytes` bytes.
    pub(crate) fn read(&mut self, file: &File, bytes: u64, offset: u64, length: usize) -> io::Result<&[u8]> {
        let from = offset / ALIGN * ALIGN;
        let end = (offset + length as u64).next_multiple_of(ALIGN).min(bytes);
        let whole = (end - from) as usize;
        let window = self.memory.get_mut(self.start..self.start + whole);
        let window = window.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        file.read_exact_at(window, from)?;
        let skip = (offset - from) as usize;
        Ok(&self.memory[self.start + skip..self.start + skip + length])
    }

    /// Writes zeroes over `length` bytes at `offset` of a device; both are multiples of [`ALIGN`].
    pub(crate) fn write_zeroes(&mut self, file: &File, offset: u64, length: usize) -> io::Result<()> {
        let window = &mut self.memory[self.start..self.start + length];
        window.fill(0);
        file.write_all_at(window, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_of_a_device_is_read() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let content: Vec<u8> = (0..5 * ALIGN + 512).map(|i| (i % 251) as u8).collect();
        io::Write::write_all(&mut file, &content).expect("written");
        let device = open(file.path(), false).expect("opened");
        let mut buffer = Buffer::new(2 * ALIGN as usize);
        let bytes = content.len() as u64;
        for (offset, length) in [(0, 1), (5, 8192), (4095, 2), (5 * 4096, 512), (4096, 8192)] {
            let read = buffer.read(&device, bytes, offset, length).expect("read");
            assert_eq!(read, &content[offset as usize..offset as usize + length]);
        }
        assert!(buffer.read(&device, bytes, 0, 5 * ALIGN as usize).is_err());
    }
}
