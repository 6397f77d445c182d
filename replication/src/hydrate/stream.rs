//! A byte range of an NBD export as a stream.
//!
//! A file system reads a few bytes at a time, and each request to an export costs as much as a
//! block of them. So blocks that were read are kept, until they are written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::ops::Range;
use std::rc::Rc;

use fatfs::Dir;
use nbd::Client;

/// Bytes that are read at a time.
const BLOCK: u64 = 4096;
/// Most blocks that are kept, which is 4 MiB.
const MOST_KEPT: usize = 1024;

/// A directory of a partition.
pub(super) type FatDir<'a> = Dir<'a, DiskStream>;

/// Reads and writes bytes of one partition.
pub(super) struct DiskStream {
    client: Rc<RefCell<Client>>,
    range: Range<u64>,
    at: u64,
    /// Blocks of the partition, by their number. The last one may be shorter.
    kept: HashMap<u64, Vec<u8>>,
}

impl DiskStream {
    pub(super) fn new(client: Rc<RefCell<Client>>, range: Range<u64>) -> Self {
        Self { client, range, at: 0, kept: HashMap::new() }
    }

    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Number of bytes that can be read or written at the current position, at most `wanted`.
    fn room(&self, wanted: usize) -> usize {
        usize::try_from(self.length().saturating_sub(self.at)).unwrap_or(usize::MAX).min(wanted)
    }

    /// Reads a block, unless it is kept.
    fn keep(&mut self, number: u64) -> Result<&[u8]> {
        if !self.kept.contains_key(&number) {
            let begin = number * BLOCK;
            let mut block = vec![0; BLOCK.min(self.length() - begin) as usize];
            self.client.borrow_mut().read(self.range.start + begin, &mut block)?;
            if self.kept.len() >= MOST_KEPT {
                self.kept.clear();
            }
            self.kept.insert(number, block);
        }
        Ok(&self.kept[&number])
    }
}

impl Read for DiskStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let wanted = self.room(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let (number, skip) = (self.at / BLOCK, (self.at % BLOCK) as usize);
        let found = &self.keep(number)?[skip..];
        let count = found.len().min(wanted);
        buffer[..count].copy_from_slice(&found[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for DiskStream {
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let count = self.room(data.len());
        // Also if the write fails, because a part of it may have been done.
        for number in self.at / BLOCK..(self.at + count as u64).div_ceil(BLOCK) {
            self.kept.remove(&number);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use nbd::{Export, Extent, Refusal};

    use super::*;

    /// A disk of which the reads are counted.
    struct Ram {
        bytes: Mutex<Vec<u8>>,
        reads: AtomicUsize,
    }

    impl Export for Ram {
        fn size(&self) -> u64 {
            self.bytes.lock().unwrap().len() as u64
        }

        fn read(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), Refusal> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            buffer.copy_from_slice(&self.bytes.lock().unwrap()[offset as usize..][..buffer.len()]);
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::result::Result<(), Refusal> {
            self.bytes.lock().unwrap()[offset as usize..][..data.len()].copy_from_slice(data);
            Ok(())
        }

        fn zero(&self, offset: u64, length: u64) -> std::result::Result<(), Refusal> {
            self.write(offset, &vec![0; length as usize])
        }

        fn flush(&self) -> std::result::Result<(), Refusal> {
            Ok(())
        }

        fn extents(&self, _context: &str) -> std::result::Result<Option<Vec<Extent>>, Refusal> {
            Ok(None)
        }
    }

    #[test]
    fn few_requests_read_many_small_pieces_and_every_write_is_seen() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
        let ram = Arc::new(Ram { bytes: Mutex::new(bytes.clone()), reads: AtomicUsize::new(0) });
        let served = nbd::serve("stream", Arc::clone(&ram) as _);
        let client = Rc::new(RefCell::new(Client::connect(&served.uri()).unwrap()));
        let mut stream = DiskStream::new(client, 1_000..31_000);

        let mut read = Vec::new();
        let mut piece = [0; 7];
        loop {
            match stream.read(&mut piece).unwrap() {
                0 => break,
                count => read.extend_from_slice(&piece[..count]),
            }
        }
        assert_eq!(read, bytes[1_000..31_000]);
        assert_eq!(ram.reads.load(Ordering::Relaxed), 8, "one for each block");

        // Across the border of two blocks.
        stream.seek(SeekFrom::Start(4_090)).unwrap();
        stream.write_all(&[255; 12]).unwrap();
        stream.seek(SeekFrom::Start(4_088)).unwrap();
        let mut around = [0; 16];
        stream.read_exact(&mut around).unwrap();
        assert_eq!(around[2..14], [255; 12]);
        assert_eq!([around[0], around[15]], [bytes[5_088], bytes[5_103]]);

        stream.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(stream.write(&[1]).unwrap(), 0, "nothing beyond the partition");
    }
}
