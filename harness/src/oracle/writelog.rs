//! Reads a write log: the index is kept in memory, data is read on demand.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;

use super::logformat::{self, DEFAULT_SECTOR_BYTES, Flags, HEADER_BYTES, Header};
use super::{Cut, LogError, Position, SECTOR, SECTOR_BYTES};

/// One write or discard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First sector.
    pub sector: u64,
    /// Number of sectors, at least 1.
    pub sectors: u64,
    flags: Flags,
    data_offset: u64,
}

impl Entry {
    /// The sectors it covers.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.sector..self.sector + self.sectors
    }

    /// Whether it discards instead of writing.
    #[must_use]
    pub fn is_discard(&self) -> bool {
        self.flags.discard()
    }

    /// Whether it had to be durable before it was acknowledged.
    #[must_use]
    pub fn is_fua(&self) -> bool {
        self.flags.fua()
    }

    /// Bytes that it writes; 0 for a discard.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        if self.is_discard() { 0 } else { self.sectors * SECTOR_BYTES }
    }

    /// Byte offset of its data in the log.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// The log ends after its last entry.
    Complete,
    /// The log ends inside the header of an entry.
    PartialHeader {
        /// Byte offset of that header.
        offset: u64,
    },
    /// The log ends inside the data of an entry, which is ignored.
    PartialData {
        /// Byte offset of that entry's header.
        offset: u64,
        /// First sector it was to write.
        sector: u64,
        /// Sectors it was to write.
        sectors: u64,
        /// Bytes of data that are missing.
        missing: u64,
    },
    /// An entry is missing although later ones were written: a killed QEMU had several in flight.
    Gap {
        /// Byte offset of the missing entry.
        offset: u64,
        /// Bytes of log after it, which cannot be divided into entries.
        lost: u64,
    },
    /// The log ends between two entries, but the superblock counts more.
    MissingEntries {
        /// Number of entries of any kind according to the superblock.
        counted: u64,
        /// Number of entries of any kind in the file.
        found: u64,
    },
}

#[derive(Debug)]
enum Store {
    File(File),
    Memory(Vec<u8>),
}

/// The write log of one disk.
///
/// The file must have been new when QEMU opened it: QEMU does not truncate an old log, and old
/// content after the new entries would be read as further entries.
#[derive(Debug)]
pub struct WriteLog {
    name: String,
    store: Store,
    bytes: u64,
    disk_bytes: u64,
    entries: Vec<Entry>,
    barriers: Vec<Cut>,
    flushes: u64,
    end: LogEnd,
}

impl WriteLog {
    /// Reads the index of the log at `path`, made on a disk of `disk_bytes` bytes.
    ///
    /// A log that is being written, or was truncated, is read up to its last complete entry;
    /// [`Self::end`] reports that.
    ///
    /// # Errors
    /// The file cannot be read, or is malformed anywhere but at its end.
    pub fn open(path: &Path, disk_bytes: u64) -> Result<Self, LogError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((bytes, file)) => Self::index(name, Store::File(file), bytes, disk_bytes),
            Err(source) => Err(LogError::Io { log: name, offset: 0, source }),
        }
    }

    /// Reads the index of a log in memory; `name` replaces the path in error messages.
    ///
    /// # Errors
    /// It is malformed anywhere but at its end.
    pub fn from_bytes(name: &str, bytes: Vec<u8>, disk_bytes: u64) -> Result<Self, LogError> {
        let len = bytes.len() as u64;
        Self::index(name.to_owned(), Store::Memory(bytes), len, disk_bytes)
    }

    fn index(name: String, store: Store, bytes: u64, disk_bytes: u64) -> Result<Self, LogError> {
        let (entries, barriers, end) = (Vec::new(), Vec::new(), LogEnd::Complete);
        let mut log = Self { name, store, bytes, disk_bytes, entries, barriers, flushes: 0, end };
        let mut first = vec![0; bytes.min(SECTOR_BYTES) as usize];
        log.read(0, &mut first)?;
        let superblock = logformat::superblock(&first).map_err(|what| log.malformed(0, what))?;
        let unit = superblock.map_or(DEFAULT_SECTOR_BYTES, |s| s.sector_bytes);
        let found = log.index_entries(unit)?;
        let counted = superblock.map_or(0, |s| s.entries);
        if log.end == LogEnd::Complete && counted > found {
            log.end = LogEnd::MissingEntries { counted, found };
        }
        Ok(log)
    }

    /// Reads all headers; returns the number of entries of any kind.
    fn index_entries(&mut self, unit: u64) -> Result<u64, LogError> {
        let mut ahead = ReadAhead::default();
        let (mut at, mut found) = (unit, 0);
        while at < self.bytes {
            let sector = ahead.sector(self, at)?;
            let Some(header) = self.header_at(at, &sector, unit)? else {
                self.end = self.after_zero_header(at)?;
                break;
            };
            if let Some(end) = self.cut_in(at, unit, &header) {
                self.end = end;
                break;
            }
            self.push(&header, at + unit);
            found += 1;
            at += unit + header.data_bytes();
        }
        Ok(found)
    }

    /// The header at byte `at`; `None` if no header was written there.
    fn header_at(&self, at: u64, sector: &[u8], unit: u64) -> Result<Option<Header>, LogError> {
        if sector.len() < SECTOR {
            // The header is truncated: its bytes cannot be trusted, and need not be zero.
            return Ok((sector.iter().any(|b| *b != 0)).then_some(Header {
                sector: 0,
                sectors: 0,
                flags: Flags::default(),
            }));
        }
        logformat::header(sector, unit, self.disk_bytes).map_err(|what| self.malformed(at, what))
    }

    /// Whether the file ends within the entry at `at`.
    fn cut_in(&self, at: u64, unit: u64, header: &Header) -> Option<LogEnd> {
        let (there, sector, sectors) = (self.bytes - at, header.sector, header.sectors);
        if there < SECTOR_BYTES {
            return Some(LogEnd::PartialHeader { offset: at });
        }
        // A mark or flush may end inside its header's log sector: it has no data to miss.
        let missing = unit.saturating_add(header.data_bytes()).saturating_sub(there);
        (missing > 0 && header.data_bytes() > 0).then_some(LogEnd::PartialData {
            offset: at,
            sector,
            sectors,
            missing: missing.min(header.data_bytes()),
        })
    }

    fn push(&mut self, header: &Header, data_offset: u64) {
        if header.flags.flush() {
            self.flushes += 1;
            let barrier = Cut(self.len());
            if self.barriers.last() != Some(&barrier) {
                self.barriers.push(barrier);
            }
        }
        if header.sectors > 0 {
            let (sector, sectors, flags) = (header.sector, header.sectors, header.flags);
            self.entries.push(Entry { sector, sectors, flags, data_offset });
        }
    }

    /// Zeroes up to the end of the file are its end; later content means that an entry is missing
    /// here.
    fn after_zero_header(&self, offset: u64) -> Result<LogEnd, LogError> {
        let mut at = offset;
        let mut chunk = vec![0; 1 << 20];
        while at < self.bytes {
            at = self.skip_hole(at)?;
            let len = (self.bytes - at).min(chunk.len() as u64) as usize;
            self.read(at, &mut chunk[..len])?;
            if chunk[..len].iter().any(|b| *b != 0) {
                return Ok(LogEnd::Gap { offset, lost: self.bytes - offset });
            }
            at += len as u64;
        }
        Ok(LogEnd::Complete)
    }

    fn skip_hole(&self, at: u64) -> Result<u64, LogError> {
        let Store::File(file) = &self.store else { return Ok(at) };
        match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => Ok(data.min(self.bytes)),
            Err(rustix::io::Errno::NXIO) => Ok(self.bytes),
            Err(error) => Err(self.unreadable(at, error.into())),
        }
    }

    fn malformed(&self, offset: u64, what: String) -> LogError {
        LogError::Malformed { log: self.name.clone(), offset, what }
    }

    fn unreadable(&self, offset: u64, source: io::Error) -> LogError {
        LogError::Io { log: self.name.clone(), offset, source }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), LogError> {
        let done = match &self.store {
            Store::File(file) => file.read_exact_at(buf, offset),
            Store::Memory(bytes) => match bytes.get(offset as usize..offset as usize + buf.len()) {
                Some(found) => {
                    buf.copy_from_slice(found);
                    Ok(())
                }
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        };
        done.map_err(|source| self.unreadable(offset, source))
    }

    /// The log as it was when it held `writes` writes, for a log that has grown since. A log that
    /// is not longer stays as it is.
    #[must_use]
    pub fn truncated(mut self, writes: u64) -> Self {
        if writes < self.len() {
            self.entries.truncate(usize::try_from(writes).unwrap_or(usize::MAX));
            self.barriers.retain(|barrier| barrier.0 <= writes);
            self.end = LogEnd::Complete;
        }
        self
    }

    /// Number of writes, including discards; flushes and marks are not counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Size in bytes of the disk the log was made on.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// How the log ends.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// Number of flushes, including repeated ones.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Cuts at which a flush completed, ascending, each once.
    #[must_use]
    pub fn barriers(&self) -> &[Cut] {
        &self.barriers
    }

    /// All writes in order; the first has position 1.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The write at `position`, if the log has it.
    #[must_use]
    pub fn entry(&self, position: Position) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.0.checked_sub(1)?).ok()?)
    }

    /// Reads data of a write into `buf`, starting `skip` sectors into it; whole sectors only.
    ///
    /// # Errors
    /// The log cannot be read. A discard has no data and reads as zeroes.
    pub fn read_data(&self, entry: &Entry, skip: u64, buf: &mut [u8]) -> Result<(), LogError> {
        if entry.is_discard() {
            buf.fill(0);
            return Ok(());
        }
        self.read(entry.data_offset + skip * SECTOR_BYTES, buf)
    }

    /// Number and bytes of the writes that a disk at `cut` lacks. Discards count as writes of no
    /// bytes.
    #[must_use]
    pub fn writes_after(&self, cut: Cut) -> (u64, u64) {
        let first = usize::try_from(cut.0).unwrap_or(usize::MAX).min(self.entries.len());
        let lacking = &self.entries[first..];
        let bytes = lacking.iter().map(Entry::data_bytes).sum();
        (lacking.len() as u64, bytes)
    }

    /// The first write whose data contains `pattern`; a match across two writes is not found.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn first_position_of(&self, pattern: &[u8]) -> Result<Option<Position>, LogError> {
        let Some(first) = pattern.first() else { return Ok(None) };
        let mut data = Vec::new();
        for (i, entry) in self.entries.iter().enumerate().filter(|(_, e)| !e.is_discard()) {
            data.resize((entry.sectors * SECTOR_BYTES) as usize, 0);
            self.read_data(entry, 0, &mut data)?;
            let found =
                data.windows(pattern.len()).any(|window| window.first() == Some(first) && window == pattern);
            if found {
                return Ok(Some(Position(i as u64 + 1)));
            }
        }
        Ok(None)
    }

    /// The last write at or before `cut` that touched `sector`.
    #[must_use]
    pub fn last_write_of(&self, sector: u64, cut: Cut) -> Option<Position> {
        let end = usize::try_from(cut.0).unwrap_or(usize::MAX).min(self.entries.len());
        let index = self.entries[..end].iter().rposition(|entry| entry.range().contains(&sector))?;
        Some(Position(index as u64 + 1))
    }
}

/// Read buffer for headers: those of small writes are close together, so one read serves several.
#[derive(Default)]
struct ReadAhead {
    start: u64,
    /// Where the header before this one is.
    last: u64,
    bytes: Vec<u8>,
}

/// Bytes read at once where headers are close together.
const READ_AHEAD_BYTES: u64 = 16 << 10;
/// Distance of two headers beyond which only the header itself is read.
const FAR_APART: u64 = 4 << 10;

impl ReadAhead {
    /// The first 512 bytes at `at`, fewer at the end of the log.
    fn sector(&mut self, log: &WriteLog, at: u64) -> Result<Vec<u8>, LogError> {
        let want = (log.bytes - at).min(SECTOR_BYTES);
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || at + want > end {
            let ahead = if at - self.last > FAR_APART { SECTOR_BYTES } else { READ_AHEAD_BYTES };
            self.start = at;
            self.bytes.resize((log.bytes - at).min(ahead) as usize, 0);
            log.read(at, &mut self.bytes)?;
        }
        self.last = at;
        let from = (at - self.start) as usize;
        Ok(self.bytes[from..from + want as usize].to_vec())
    }
}

const _: () = assert!(HEADER_BYTES <= SECTOR);
