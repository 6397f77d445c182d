//! Sources of disk content.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::SeekFrom;

use super::{SECTOR, SECTOR_BYTES, SourceError};

/// A disk that can be read, from several threads at once.
pub trait SectorSource: Sync {
    /// Size of the disk in bytes.
    fn bytes(&self) -> u64;

    /// Bytes that are stored. Less than [`Self::bytes`] only for a file that ends inside a sector,
    /// which reads as zeroes from there on.
    fn stored_bytes(&self) -> u64 {
        self.bytes()
    }

    /// Fills `buf` from byte `offset`.
    ///
    /// # Errors
    /// The range is not inside the disk, or cannot be read completely.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The first range of bytes at or after `offset` that may hold anything but zeroes; everything
    /// before it reads as zeroes. `None`: zeroes to the end. The default implementation reports no
    /// holes.
    ///
    /// # Errors
    /// The layout cannot be read.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.bytes();
        Ok((offset < end).then_some(offset..end))
    }
}

/// Refuses a range that is not inside a disk of `bytes` bytes.
pub(crate) fn check_range(bytes: u64, offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= bytes => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes at {offset} leave a disk of {bytes} bytes"),
        )),
    }
}

/// Fills `buf` from `offset`, skipping known holes.
pub(crate) fn read_sparse(source: &dyn SectorSource, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let end = offset + buf.len() as u64;
    let mut at = offset;
    while at < end {
        let data = source.next_data(at)?.filter(|d| d.start < end && d.end > d.start).unwrap_or(end..end);
        let start = data.start.max(at);
        let stop = data.end.clamp(start, end);
        buf[(at - offset) as usize..(start - offset) as usize].fill(0);
        source.read_at(start, &mut buf[(start - offset) as usize..(stop - offset) as usize])?;
        at = stop;
    }
    Ok(())
}

/// A raw image file, sparse or not. Its size is read once, when it is opened.
#[derive(Debug)]
pub struct RawSource {
    path: PathBuf,
    file: File,
    file_bytes: u64,
}

impl RawSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// The file cannot be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(SourceError::Unusable { path: path.to_owned(), what: "not a regular file".into() });
        }
        Ok(Self { path: path.to_owned(), file, file_bytes: metadata.len() })
    }

    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }

    /// The offset at which the next data (or hole) begins according to the file system.
    fn seek(&self, to: SeekFrom) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.file, to) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(self.named(error.into())),
        }
    }
}

impl SectorSource for RawSource {
    /// The file's size, rounded up to a whole sector as QEMU does.
    fn bytes(&self) -> u64 {
        self.file_bytes.next_multiple_of(SECTOR_BYTES)
    }

    fn stored_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.bytes(), offset, buf.len())?;
        // Only the padding of the last sector may be absent; a file that shrank is an error.
        let present = self.file_bytes.saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[present..].fill(0);
        self.file.read_exact_at(&mut buf[..present], offset).map_err(|e| self.named(e))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= self.file_bytes {
            return Ok(None);
        }
        let Some(start) = self.seek(SeekFrom::Data(offset))? else { return Ok(None) };
        let end = self.seek(SeekFrom::Hole(start))?.unwrap_or(self.file_bytes);
        Ok(Some(start..if end >= self.file_bytes { self.bytes() } else { end }))
    }
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource(pub Vec<u8>);

impl SectorSource for MemorySource {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.bytes(), offset, buf.len())?;
        buf.copy_from_slice(&self.0[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }
}

/// A client that reads a disk over a connection, such as NBD.
pub trait BlockClient {
    /// Size of the disk in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from byte `offset`.
    ///
    /// # Errors
    /// The server refused, or the connection ended.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Like [`SectorSource::next_data`], for clients that can query block status.
    ///
    /// # Errors
    /// The server refused, or the connection ended.
    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.size();
        Ok((offset < end).then_some(offset..end))
    }
}

/// Largest single request sent to a [`BlockClient`]; NBD servers need not accept more than 32 MiB.
const REQUEST_BYTES: usize = 8 << 20;

/// A [`SectorSource`] that reads through a [`BlockClient`].
#[derive(Debug)]
pub struct ClientSource<C> {
    bytes: u64,
    client: Mutex<C>,
}

impl<C: BlockClient> ClientSource<C> {
    /// Reads through `client`, whose size is read once.
    pub fn new(client: C) -> Self {
        Self { bytes: client.size(), client: Mutex::new(client) }
    }
}

impl<C: BlockClient + Send> SectorSource for ClientSource<C> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.bytes, offset, buf.len())?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        for (i, part) in buf.chunks_mut(REQUEST_BYTES).enumerate() {
            client.read(offset + (i * REQUEST_BYTES) as u64, part)?;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).next_data(offset)
    }
}

/// Bytes compared at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// The next bytes to compare in `at..end`, where at least one of two disks may hold data. `None`:
/// both read as zeroes up to `end`.
pub(crate) fn next_chunk(
    a: &dyn SectorSource,
    b: &dyn SectorSource,
    at: u64,
    end: u64,
) -> io::Result<Option<Range<u64>>> {
    let nearest = [a.next_data(at)?, b.next_data(at)?]
        .into_iter()
        .flatten()
        .filter(|data| data.end > at)
        .min_by_key(|data| data.start.max(at));
    let Some(data) = nearest.filter(|data| data.start < end) else { return Ok(None) };
    // File systems report blocks, and images have any size: widen to whole sectors.
    let start = data.start.max(at) / SECTOR_BYTES * SECTOR_BYTES;
    let stop = data.end.next_multiple_of(SECTOR_BYTES).min(end).min(start + CHUNK_BYTES);
    Ok(Some(start.max(at)..stop))
}

/// The first sector in which two readers of the same disk differ. `None`: they agree on every byte.
///
/// # Errors
/// The sizes differ, or one of them cannot be read.
pub fn compare(a: &dyn SectorSource, b: &dyn SectorSource) -> io::Result<Option<u64>> {
    compare_range(a, b, 0..u64::MAX)
}

/// Like [`compare`], for a range of sectors; the part of it past the end is ignored.
///
/// # Errors
/// As [`compare`].
pub fn compare_range(
    a: &dyn SectorSource,
    b: &dyn SectorSource,
    sectors: Range<u64>,
) -> io::Result<Option<u64>> {
    if a.bytes() != b.bytes() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the disks have {} and {} bytes", a.bytes(), b.bytes()),
        ));
    }
    let end = sectors.end.saturating_mul(SECTOR_BYTES).min(a.bytes());
    let (mut left, mut right) = (vec![0; CHUNK_BYTES as usize], vec![0; CHUNK_BYTES as usize]);
    let mut at = sectors.start.saturating_mul(SECTOR_BYTES);
    while let Some(chunk) = next_chunk(a, b, at, end)? {
        let len = (chunk.end - chunk.start) as usize;
        a.read_at(chunk.start, &mut left[..len])?;
        b.read_at(chunk.start, &mut right[..len])?;
        if left[..len] != right[..len] {
            let sectors = left[..len].chunks(SECTOR).zip(right[..len].chunks(SECTOR));
            let within = sectors.take_while(|(x, y)| x == y).count() as u64;
            return Ok(Some(chunk.start / SECTOR_BYTES + within));
        }
        at = chunk.end;
    }
    Ok(None)
}
