//! Divides a file into blocks, such that equal content yields equal blocks.
//!
//! Blocks of a disk begin at multiples of their size. In a write log the data of a write may begin
//! at any sector, so blocks begin where the data does, and further where the disk has a multiple of
//! the size.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use harness::oracle::{Entry, RawSource, SECTOR_BYTES, SectorSource as _, WriteLog};

use super::index::BLOCK_BYTES;

/// How a file is divided.
pub(super) enum Division {
    /// A disk.
    Disk,
    /// The log of the writes to a disk of so many bytes.
    Log(u64),
}

/// Calls `each` with every block that holds anything but zeroes, and its offset.
///
/// # Errors
/// The file cannot be read, or `each` fails.
pub(super) fn each_block(
    path: &Utf8Path,
    division: &Division,
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<u64> {
    let file = RawSource::open(path.as_std_path())?;
    let bytes = file.stored_bytes();
    let mut reader = Reader { file: &file, buffer: vec![0; BLOCK_BYTES as usize] };
    match division {
        Division::Disk => {
            let mut at = 0;
            while let Some(data) = file.next_data(at)?.filter(|data| data.end > at) {
                at = data.start.max(at) / BLOCK_BYTES * BLOCK_BYTES;
                while at < data.end.min(bytes) {
                    let end = (at + BLOCK_BYTES).min(bytes);
                    reader.block(at..end, &mut each)?;
                    at = end;
                }
                at = at.max(data.end);
            }
        }
        Division::Log(disk_bytes) => {
            let log = WriteLog::open(path.as_std_path(), *disk_bytes)
                .with_context(|| format!("divide the write log {path}"))?;
            let writes = log.entries().iter().filter(|entry| !entry.is_discard());
            let writes: BTreeMap<u64, &Entry> = writes.map(|entry| (entry.data_offset(), entry)).collect();
            let mut at = 0;
            for (start, write) in writes {
                reader.blocks(at..start, 0, &mut each)?;
                at = start + write.data_bytes();
                reader.blocks(start..at, write.sector * SECTOR_BYTES, &mut each)?;
            }
            reader.blocks(at..bytes, 0, &mut each)?;
        }
    }
    Ok(bytes)
}

struct Reader<'a> {
    file: &'a RawSource,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// The blocks of a range whose first byte is byte `place` of a disk.
    fn blocks(
        &mut self,
        range: Range<u64>,
        place: u64,
        each: &mut impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = range.start;
        let mut length = BLOCK_BYTES - place % BLOCK_BYTES;
        while at < range.end {
            let end = (at + length).min(range.end);
            self.block(at..end, each)?;
            (at, length) = (end, BLOCK_BYTES);
        }
        Ok(())
    }

    fn block(&mut self, range: Range<u64>, each: &mut impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let buffer = &mut self.buffer[..(range.end - range.start) as usize];
        self.file.read_at(range.start, buffer)?;
        if buffer.iter().any(|byte| *byte != 0) { each(range.start, buffer) } else { Ok(()) }
    }
}
