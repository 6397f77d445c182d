//! One image that goes from state to state.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use std::ops::Range;

use crate::oracle::{Entry, SECTOR_BYTES, WriteLog};
use crate::recovered::{CheckError, on};

/// Bytes of a write that are applied at a time.
const CHUNK: u64 = 1 << 20;

/// A part of a disk that can take writes back.
#[derive(Debug)]
pub(super) struct StateImage {
    path: PathBuf,
    file: File,
    /// Bytes of the disk that it holds.
    range: Range<u64>,
    undo: Vec<(u64, Vec<u8>)>,
}

impl StateImage {
    pub(super) fn open(path: PathBuf, range: Range<u64>) -> Result<Self, CheckError> {
        let file = File::options().read(true).write(true).open(&path).map_err(on(&path))?;
        Ok(Self { path, file, range, undo: Vec::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Applies a write, or a discard as zeroes, which [`Self::undo`] can revert.
    pub(super) fn apply(&mut self, log: &WriteLog, entry: &Entry) -> Result<(), CheckError> {
        let bytes = entry.range().start * SECTOR_BYTES..entry.range().end * SECTOR_BYTES;
        let (start, end) = (bytes.start.max(self.range.start), bytes.end.min(self.range.end));
        let mut at = start;
        while at < end {
            let length = (end - at).min(CHUNK);
            let mut data = vec![0; length as usize];
            log.read_data(entry, (at - bytes.start) / SECTOR_BYTES, &mut data)?;
            self.write(at - self.range.start, &data).map_err(on(&self.path.clone()))?;
            at += length;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut old = vec![0; data.len()];
        self.file.read_exact_at(&mut old, offset)?;
        self.undo.push((offset, old));
        self.file.write_all_at(data, offset)
    }

    /// Reverts all writes since [`Self::keep`].
    pub(super) fn undo(&mut self) -> Result<(), CheckError> {
        while let Some((offset, old)) = self.undo.pop() {
            self.file.write_all_at(&old, offset).map_err(on(&self.path))?;
        }
        Ok(())
    }

    /// Keeps all writes so far.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }
}
