//! The ledger on a simulated machine's disks: the witness's records in a ring buffer, so that a
//! machine can run for long on small disks.

use contract::DiskId;
use witness::ledger::{Record, RecordNumber, slot};
use witness::protocol::LedgerFinding;

use crate::Snapshot;
use crate::disk::{Layout, SECTOR};

/// Largest number of record numbers listed in a finding.
const LISTED: usize = 16;

/// Disk and offset in bytes of a record.
pub(crate) fn position(layouts: &[Layout], number: RecordNumber) -> Option<(usize, u64)> {
    let lap = capacity(layouts);
    let within = number.checked_sub(1)?.checked_rem(lap)? + 1;
    let slot = slot(within, layouts.len())?;
    Some((slot.disk, layouts.get(slot.disk)?.ledger_at + slot.offset))
}

/// Number of records that fit all disks together.
fn capacity(layouts: &[Layout]) -> u64 {
    layouts.iter().map(|layout| layout.ledger_rows).min().unwrap_or(0) * layouts.len() as u64
}

/// Result of a scan of the ledger.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) finding: LedgerFinding,
    /// Positions of records after the last contiguous one.
    pub(crate) beyond: Vec<(usize, u64)>,
}

/// Reads the ledger on all disks.
pub(crate) fn scan(layouts: &[Layout], disks: &[Snapshot]) -> Scan {
    let mut records = Vec::new();
    let mut torn = Vec::new();
    for (index, (layout, disk)) in layouts.iter().zip(disks).enumerate() {
        for row in 0..layout.ledger_rows {
            let offset = layout.ledger_at + row * SECTOR as u64;
            let sector = disk.bytes(offset, SECTOR);
            match Record::decode(&sector) {
                Ok(Some(record)) if position(layouts, record.number) == Some((index, offset)) => {
                    records.push(record);
                }
                Ok(Some(record)) => torn.push(record.number),
                Ok(None) if sector.iter().all(|byte| *byte == 0) => {}
                Ok(None) => torn.push(row * layouts.len() as u64 + index as u64 + 1),
                Err(damaged) => torn.push(damaged.number),
            }
        }
    }
    records.sort_by_key(|record| record.number);
    torn.truncate(LISTED);
    judge(layouts, &records, torn)
}

fn judge(layouts: &[Layout], records: &[Record], torn: Vec<RecordNumber>) -> Scan {
    let last = records.last();
    let highest = last.map_or(0, |record| record.number);
    // Older records were overwritten in the ring buffer.
    let lowest = highest.saturating_sub(capacity(layouts)) + 1;
    let mut missing = Vec::new();
    let mut expected = lowest;
    for record in records.iter().filter(|record| record.number >= lowest) {
        missing.extend(expected..record.number);
        expected = record.number + 1;
    }
    let contiguous = missing.first().map_or(highest, |first| first - 1);
    missing.truncate(LISTED);
    let beyond = records.iter().filter(|record| record.number > contiguous);
    Scan {
        beyond: beyond.filter_map(|record| position(layouts, record.number)).collect(),
        finding: LedgerFinding {
            contiguous,
            highest,
            missing,
            torn,
            ends_quiesced: last.is_some_and(|record| record.quiesced),
        },
    }
}

/// The layouts of all disks, checked for consistency.
pub(crate) fn layouts(names: &[DiskId], disks: &[Snapshot]) -> Result<Vec<Layout>, String> {
    let all = disks.iter().enumerate().map(|(index, disk)| Layout::read(disk, index));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    match all.iter().zip(names).find(|(layout, _)| layout.disks != disks.len()) {
        Some((layout, name)) => {
            Err(format!("disk {name} belongs to a machine with {} disks, not {}", layout.disks, disks.len()))
        }
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage;
    use crate::disk::{BOOT_PARTITION, Load};
    use crate::store::Store;

    const NAMES: [&str; 2] = ["system", "data"];

    struct Disks {
        store: Store,
        layouts: Vec<Layout>,
    }

    impl Disks {
        fn new() -> Self {
            let mut store = Store::new(Storage::default());
            let layouts = (0..2)
                .map(|index| Layout::new(index, 2, 1 << 20, Load::default(), &BOOT_PARTITION))
                .collect();
            NAMES.iter().for_each(|name| store.insert(&(*name).into(), 1 << 20, None));
            Self { store, layouts }
        }

        fn write(&mut self, number: RecordNumber, data: &[u8]) {
            let (disk, offset) = position(&self.layouts, number).unwrap();
            self.store.write(&NAMES[disk].into(), offset, data).unwrap();
        }

        fn records(&mut self, numbers: std::ops::RangeInclusive<RecordNumber>) {
            for number in numbers {
                let record = Record { number, epoch: 3, uptime_ms: 0, seen: 0, quiesced: false };
                self.write(number, &record.encode());
            }
        }

        fn scan(&self) -> Scan {
            let disks = NAMES.map(|name| self.store.snapshot(&name.into()).unwrap());
            scan(&self.layouts, &disks)
        }
    }

    #[test]
    fn the_first_lap_has_the_positions_of_the_witness() {
        let disks = Disks::new();
        let first = [1, 2, 3].map(|number| position(&disks.layouts, number).unwrap());
        let starts = [disks.layouts[0].ledger_at, disks.layouts[1].ledger_at];
        assert_eq!(first, [(0, starts[0]), (1, starts[1]), (0, starts[0] + 512)]);
        assert_eq!(position(&disks.layouts, 257), Some(first[0]));
    }

    #[test]
    fn a_ring_that_wrapped_around_is_contiguous() {
        let mut disks = Disks::new();
        disks.records(1..=1000);
        let scan = disks.scan();
        assert_eq!((scan.finding.contiguous, scan.finding.highest), (1000, 1000));
        assert!(scan.finding.missing.is_empty() && scan.finding.torn.is_empty() && scan.beyond.is_empty());
    }

    #[test]
    fn a_record_whose_predecessor_is_missing_is_not_contiguous() {
        for (lost, last) in [(6, 8), (600, 603)] {
            let mut disks = Disks::new();
            disks.records(1..=last);
            disks.write(lost, &[0; SECTOR]);
            let scan = disks.scan();
            assert_eq!((scan.finding.contiguous, scan.finding.highest), (lost - 1, last));
            assert_eq!(scan.finding.missing, [lost]);
            assert_eq!(scan.beyond.len() as u64, last - lost);
        }
    }

    #[test]
    fn a_damaged_or_misplaced_record_is_torn() {
        let mut disks = Disks::new();
        disks.records(1..=4);
        disks.write(2, &[7; SECTOR]);
        let record = Record { number: 9, epoch: 1, uptime_ms: 0, seen: 0, quiesced: false };
        disks.write(4, &record.encode());
        assert_eq!(disks.scan().finding.torn, [2, 9]);
        assert_eq!(disks.scan().finding.contiguous, 1);
    }
}
