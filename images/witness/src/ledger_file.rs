//! The ledger's files on the disks: reading and continuing them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use witness::ledger::{LEDGER_BYTES, RECORD_BYTES, Record, RecordNumber, slot};
use witness::ledger_scan::{DISKS, DiskScan, finding, scan_disk};
use witness::protocol::LedgerFinding;

use crate::machine::uptime_ms;

/// Result of a scan.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) finding: LedgerFinding,
    /// For each disk, where sectors lie that are no record, or one after the last contiguous one.
    beyond: [Vec<u64>; DISKS],
}

/// Reads the ledger on all disks. A missing file counts as empty.
pub(crate) fn scan(files: &[PathBuf; DISKS]) -> io::Result<Scan> {
    let mut disks = [DiskScan::default(), DiskScan::default()];
    for (disk, path) in files.iter().enumerate() {
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => disks[disk] = scan_disk(disk, &mut opened?)?,
        }
    }
    let finding = finding(&disks);
    let beyond = disks.map(|disk| beyond(disk, finding.contiguous));
    Ok(Scan { finding, beyond })
}

fn beyond(disk: DiskScan, contiguous: RecordNumber) -> Vec<u64> {
    let later = disk.records.iter().filter(|record| record.number > contiguous);
    let later = later.filter_map(|record| slot(record.number, DISKS)).map(|slot| slot.offset);
    later.chain(disk.torn_at).collect()
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
        for (file, beyond) in files.iter().zip(&scan.beyond) {
            wipe(file, beyond)?;
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
        let file = self.place(number, quiesced)?;
        self.files[file].sync_data()?;
        self.next += 1;
        Ok(number)
    }

    /// Writes a record to its place, and returns on which disk that is.
    fn place(&self, number: RecordNumber, quiesced: bool) -> io::Result<usize> {
        let slot = slot(number, DISKS).ok_or_else(|| io::Error::other("no record has the number 0"))?;
        let record = Record { number, epoch: self.epoch, uptime_ms: uptime_ms(), seen: self.seen, quiesced };
        self.files[slot.disk].write_all_at(&record.encode(), slot.offset)?;
        Ok(slot.disk)
    }
}

fn wipe(file: &File, offsets: &[u64]) -> io::Result<()> {
    for offset in offsets {
        file.write_all_at(&[0; RECORD_BYTES], *offset)?;
    }
    if offsets.is_empty() { Ok(()) } else { file.sync_data() }
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
    use witness::ledger::RECORDS_PER_DISK;

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
    fn a_ledger_goes_on_after_a_lap_and_a_gap_is_still_found() {
        let (_dir, files) = files();
        let lap = DISKS as u64 * RECORDS_PER_DISK;
        let mut ledger = Ledger::open(&files).expect("opened");
        // The lap before, without waiting for the disk at each record.
        for number in 1..=lap {
            ledger.place(number, false).expect("written");
        }
        ledger.next = lap + 1;
        for _ in 0..9 {
            ledger.append(false).expect("written");
        }
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.highest), (lap + 9, lap + 9));
        zero(&files, lap + 4);
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.missing), (lap + 3, vec![lap + 4]));
        assert_eq!(Ledger::open(&files).expect("opened").last(), lap + 3);
        let finding = scan(&files).expect("scanned").finding;
        assert_eq!((finding.contiguous, finding.highest), (lap + 3, lap + 3));
        assert!(finding.missing.is_empty(), "what was wiped was older than what has to be there");
        let size = |file: &PathBuf| std::fs::metadata(file).expect("a file").len();
        assert_eq!(files.each_ref().map(size), [LEDGER_BYTES; DISKS]);
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
        assert_eq!(finding.missing.len(), 16);
        assert_eq!(finding.contiguous, 1);
    }
}
