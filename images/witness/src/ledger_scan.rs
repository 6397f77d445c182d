//! Reads the ledger's files: inside a guest, and on the host from the disks of a machine.

use std::io::{self, Read};

use crate::ledger::{RECORD_BYTES, Record, RecordNumber, oldest_due, slot};
use crate::protocol::LedgerFinding;

/// Number of disks that share the ledger.
pub const DISKS: usize = 2;
/// Largest number of record numbers listed in a finding.
const LISTED: usize = 16;
/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// What the ledger's file on one disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskScan {
    /// The valid records that lie at their places, in ascending order.
    pub records: Vec<Record>,
    /// Numbers of records that are torn or lie at the place of another.
    pub torn: Vec<RecordNumber>,
    /// Where those lie, in bytes.
    pub torn_at: Vec<u64>,
}

/// Reads the ledger's file on disk number `disk`.
///
/// # Errors
/// The file cannot be read.
pub fn scan_disk(disk: usize, file: &mut dyn Read) -> io::Result<DiskScan> {
    let mut scan = DiskScan::default();
    let empty = vec![0; CHUNK];
    let mut chunk = vec![0; CHUNK];
    let mut start = 0;
    loop {
        let length = read_full(file, &mut chunk)?;
        // Most of the file is empty: whole chunks are compared before their sectors are.
        if chunk[..length] != empty[..length] {
            for (offset, sector) in (start..).step_by(RECORD_BYTES).zip(chunk[..length].chunks(RECORD_BYTES))
            {
                if sector != &empty[..sector.len()] {
                    scan.see(disk, offset, sector);
                }
            }
        }
        if length < CHUNK {
            scan.records.sort_by_key(|record| record.number);
            return Ok(scan);
        }
        start += CHUNK as u64;
    }
}

impl DiskScan {
    fn see(&mut self, disk: usize, offset: u64, sector: &[u8]) {
        let here = |record: &Record| {
            slot(record.number, DISKS).is_some_and(|slot| slot.disk == disk && slot.offset == offset)
        };
        let torn = match Record::decode(sector) {
            Ok(Some(record)) if here(&record) => return self.records.push(record),
            // A valid record at the wrong place was copied there by something else.
            Ok(Some(record)) => record.number,
            Ok(None) => offset / RECORD_BYTES as u64 * DISKS as u64 + disk as u64 + 1,
            Err(damaged) => damaged.number,
        };
        self.torn.push(torn);
        self.torn_at.push(offset);
    }
}

/// What the ledger holds over all disks.
#[must_use]
pub fn finding(disks: &[DiskScan]) -> LedgerFinding {
    let mut records: Vec<Record> = disks.iter().flat_map(|disk| disk.records.iter().copied()).collect();
    records.sort_by_key(|record| record.number);
    let mut torn: Vec<_> = disks.iter().flat_map(|disk| disk.torn.iter().copied()).collect();
    torn.truncate(LISTED);
    let highest = records.last().map_or(0, |record| record.number);
    let mut missing: Vec<RecordNumber> = Vec::new();
    let oldest = oldest_due(highest);
    let mut expected = oldest;
    // Of older records some are overwritten.
    for record in records.iter().filter(|record| record.number >= oldest) {
        missing.extend((expected..record.number).take(LISTED - missing.len()));
        expected = record.number + 1;
    }
    LedgerFinding {
        contiguous: missing.first().map_or(highest, |first| first - 1),
        highest,
        missing,
        torn,
        ends_quiesced: records.last().is_some_and(|record| record.quiesced),
    }
}

fn read_full(file: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
