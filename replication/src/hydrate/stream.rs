//! A byte range of an NBD export as a stream.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::ops::Range;
use std::rc::Rc;

use nbd::Client;

/// Reads and writes bytes of one partition.
pub(super) struct DiskStream {
    client: Rc<RefCell<Client>>,
    range: Range<u64>,
    at: u64,
}

impl DiskStream {
    pub(super) fn new(client: Rc<RefCell<Client>>, range: Range<u64>) -> Self {
        Self { client, range, at: 0 }
    }

    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Number of bytes that can be read or written at the current position, at most `wanted`.
    fn room(&self, wanted: usize) -> usize {
        usize::try_from(self.length().saturating_sub(self.at)).unwrap_or(usize::MAX).min(wanted)
    }
}

impl Read for DiskStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.room(buffer.len());
        self.client.borrow_mut().read(self.range.start + self.at, &mut buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for DiskStream {
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let count = self.room(data.len());
        self.client.borrow_mut().write(self.range.start + self.at, &data[..count])?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.client.borrow_mut().flush()?)
    }
}

impl Seek for DiskStream {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "seek before the partition"))?;
        Ok(self.at)
    }
}
