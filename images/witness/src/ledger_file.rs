//! The ledger's files on the disks: reading and continuing them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use witness::ledger::{LEDGER_BYTES, RECORD_BYTES, Record, RecordNumber, slot};
use witness::protocol::LedgerFinding;

use crate::machine::uptime_ms;

const DISKS: usize = 2;
/// Largest number of record numbers listed in a finding.
const LISTED: usize = 16;
/// Bytes read at a time while scanning.
const CHUNK: usize = 64 * 1024;

/// Result of a scan.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) finding: LedgerFinding,
    /// For each disk, the end of its last sector that is not empty.
    used: [u64; DISKS],
}

/// Reads the ledger on all disks. A missing file counts as empty.
pub(crate) fn scan(files: &[PathBuf; DISKS]) -> io::Result<Scan> {
    let mut records: Vec<Record> = Vec::new();
    let mut torn = Vec::new();
    let mut used = [0; DISKS];
    for (disk, path) in files.iter().enumerate() {
        each_sector(path, |offset, sector| {
            used[disk] = offset + RECORD_BYTES as u64;
            match Record::decode(sector) {
                Ok(Some(record)) if lies_at(&record, disk, offset) => records.push(record),
                // A valid record at the wrong place was copied there by something else.
                Ok(Some(record)) => torn.push(record.number),
                Ok(None) => torn.push(offset / RECORD_BYTES as u64 * DISKS as u64 + disk as u64 + 1),
                Err(damaged) => torn.push(damaged.number),
            }
        })?;
    }
    records.sort_by_key(|record| record.number);
    torn.truncate(LISTED);
    Ok(Scan { finding: finding(&records, torn), used })
}

fn lies_at(record: &Record, disk: usize, offset: u64) -> bool {
    slot(record.number, DISKS).is_some_and(|slot| slot.disk == disk && slot.offset == offset)
}

fn finding(records: &[Record], torn: Vec<RecordNumber>) -> LedgerFinding {
    let in_order = records.iter().zip(1..).take_while(|(record, number)| record.number == *number);
    let highest = records.last().map_or(0, |record| record.number);
    let mut missing = Vec::new();
    let mut expected = 1;
    for record in records {
        missing.extend((expected..record.number).take(LISTED - missing.len()));
        expected = record.number + 1;
    }
    LedgerFinding {
        contiguous: in_order.count() as u64,
        highest,
        missing,
        torn,
        ends_quiesced: records.last().is_some_and(|record| record.quiesced),
    }
}

/// Calls `visit` with offset and content of every sector that is not all zero.
fn each_sector(path: &Path, mut visit: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut chunk = vec![0; CHUNK];
    let mut start = 0;
    loop {
        let length = read_full(&mut file, &mut chunk)?;
        for (index, sector) in chunk[..length].chunks_exact(RECORD_BYTES).enumerate() {
            if sector.iter().any(|byte| *byte != 0) {
                visit(start + (index * RECORD_BYTES) as u64, sector);
            }
        }
        if length < CHUNK {
            return Ok(());
        }
        start += CHUNK as u64;
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// The ledger, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    files: [File; DISKS],
    next: RecordNumber,
    /// Number of this boot, written into each record.
    pub(crate) epoch: u32,
    /// The neighbour's last durable record.
    pub(crate) seen: u64,
}

impl Ledger {
    /// Opens the ledger to continue after its last contiguous record. New files are preallocated.
    ///
    /// Everything after that record is wiped, because it could later be mistaken for a record of
    /// this boot.
    pub(crate) fn open(files: &[PathBuf; DISKS]) -> io::Result<Self> {
        let scan = scan(files)?;
        let next = scan.finding.contiguous + 1;
        let files = [preallocate(&files[0], LEDGER_BYTES)?, preallocate(&files[1], LEDGER_BYTES)?];
        for (disk, file) in files.iter().enumerate() {
            wipe(file, first_free(next, disk), scan.used[disk])?;
        }
        Ok(Self { files, next, epoch: 0, seen: 0 })
    }

    /// The last durable record; 0 if there is none.
    pub(crate) fn last(&self) -> RecordNumber {
        self.next - 1
    }

    /// Writes the next record and returns its number once it is durable.
    pub(crate) fn append(&mut self, quiesced: bool) -> io::Result<RecordNumber> {
        let number = self.next;
        let slot = slot(number, DISKS).ok_or_else(|| io::Error::other("the ledger is full"))?;
        let record = Record { number, epoch: self.epoch, uptime_ms: uptime_ms(), seen: self.seen, quiesced };
        let file = &self.files[slot.disk];
        file.write_all_at(&record.encode(), slot.offset)?;
        file.sync_data()?;
        self.next += 1;
        Ok(number)
    }
}

/// Offset of the first slot on `disk` that record `next` or a later one uses.
fn first_free(next: RecordNumber, disk: usize) -> u64 {
    let later = (next..next + DISKS as u64).filter_map(|number| slot(number, DISKS));
    later.filter(|slot| slot.disk == disk).map(|slot| slot.offset).next().unwrap_or(LEDGER_BYTES)
}

fn wipe(file: &File, from: u64, to: u64) -> io::Result<()> {
    if from >= to {
        return Ok(());
    }
    file.write_all_at(&vec![0; (to - from) as usize], from)?;
    file.sync_data()
}

/// Opens a file of exactly `bytes` bytes with all its space allocated.
pub(crate) fn preallocate(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() < bytes {
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, [PathBuf; DISKS]) {
        let dir = tempfile::tempdir().expect("a folder");
        let files = ["system", "data"].map(|name| dir.path().join(name));
        (dir, files)
    }

    fn write(files: &[PathBuf; DISKS], records: u64) -> Ledger {
        let mut ledger = Ledger::open(files).expect("opened");
        for _ in 0..records {
            ledger.append(false).expect("written");
        }
        ledger
    }

    fn zero(files: &[PathBuf; DISKS], number: u64) {
        let slot = slot(number, DISKS).expect("a slot");
        let file = OpenOptions::new().write(true).open(&files[slot.disk]).expect("opened");
        file.write_all_at(&[0; RECORD_BYTES], slot.offset).expect("written");
    }

    #[test]
    fn missing_files_are_an_empty_ledger() {
        let (_dir, files) = files();
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.highest), (0, 0));
        assert!(!finding.ends_quiesced);
    }

    #[test]
    fn a_complete_ledger_is_contiguous_and_ends_with_its_mark() {
        let (_dir, files) = files();
        write(&files, 9).append(true).expect("written");
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.highest), (10, 10));
        assert!(finding.ends_quiesced && finding.missing.is_empty() && finding.torn.is_empty());
    }

    #[test]
    fn a_gap_is_found_and_everything_after_it_is_wiped_on_opening() {
        let (_dir, files) = files();
        write(&files, 10);
        zero(&files, 7);
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.highest, finding.missing), (6, 10, vec![7]));
        let ledger = Ledger::open(&files).expect("opened");
        assert_eq!(ledger.last(), 6);
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.highest), (6, 6));
    }

    #[test]
    fn torn_and_misplaced_records_are_reported() {
        let (_dir, files) = files();
        write(&files, 6);
        let file = OpenOptions::new().read(true).write(true).open(&files[0]).expect("opened");
        file.write_all_at(b"x", 100).expect("written");
        let mut third = [0; RECORD_BYTES];
        file.read_exact_at(&mut third, RECORD_BYTES as u64).expect("read");
        file.write_all_at(&third, 2 * RECORD_BYTES as u64).expect("written");
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!(finding.torn, [1, 3]);
        assert_eq!((finding.contiguous, finding.highest), (0, 6));
        assert_eq!(finding.missing, [1, 5]);
    }

    #[test]
    fn a_long_gap_is_listed_in_part() {
        let (_dir, files) = files();
        write(&files, 60);
        (2..=50).for_each(|number| zero(&files, number));
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!(finding.missing.len(), LISTED);
        assert_eq!(finding.contiguous, 1);
    }
}
