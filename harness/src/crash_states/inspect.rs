//! Checks one state.

use std::path::PathBuf;

use witness::ledger::{RecordNumber, oldest_due};
use witness::ledger_scan::{DISKS, DiskScan};

use super::CrashState;
use crate::oracle::{Cut, LedgerIndex, Position, WriteLog};
use crate::recovered::{CheckError, Damage, DiskCopies, DiskLayout, Part, read_contents, recover, undo};

/// Checks the states of one disk.
pub(super) struct Inspector<'a> {
    copies: &'a DiskCopies,
    layout: DiskLayout,
    undo_file: PathBuf,
    /// The record that the disk held when its log began; 0 if none.
    initial: RecordNumber,
    /// Where records were written, with the highest record so far.
    written: Vec<(Position, RecordNumber)>,
}

/// What a state shows.
pub(super) struct Inspection {
    pub(super) damage: Option<Damage>,
    /// Transfers of the bank, if there is one that is sound.
    pub(super) transfers: Option<u64>,
}

impl<'a> Inspector<'a> {
    /// `initial_record` is the last record of the machine before its logs began.
    pub(super) fn new(
        copies: &'a DiskCopies,
        layout: DiskLayout,
        log: &WriteLog,
        initial_record: RecordNumber,
    ) -> Result<Self, CheckError> {
        let index = LedgerIndex::scan(log)?;
        let mut sightings: Vec<_> = index.sightings().map(|s| (s.position, s.record.number)).collect();
        sightings.sort_unstable();
        let mut highest = 0;
        let written = sightings.into_iter().map(|(position, number)| {
            highest = highest.max(number);
            (position, highest)
        });
        let written = written.collect();
        let initial = (0..=initial_record).rev().take(DISKS).find(|number| on_disk(*number, layout.disk));
        let undo_file = copies.path("undo");
        Ok(Self { copies, layout, undo_file, initial: initial.unwrap_or(0), written })
    }

    /// Checks the state in `image`, which stays as it is. `transfers` are durable.
    pub(super) fn inspect(
        &self,
        image: &std::path::Path,
        state: &CrashState,
        transfers: Option<u64>,
    ) -> Result<Inspection, CheckError> {
        let recovery = recover(image, Some(&self.undo_file))?;
        let contents = match recovery.damage {
            Some(damage) => Err(damage),
            None => read_contents(self.copies, image, &self.layout)?,
        };
        undo(image, &self.undo_file)?;
        let contents = match contents {
            Ok(contents) => contents,
            Err(damage) => return Ok(Inspection { damage: Some(damage), transfers: None }),
        };
        let found = contents.bank.map(|bank| bank.transfers);
        let damage = self.ledger_damage(&contents.ledger, state.cut).map(|w| Damage::new(Part::Ledger, w));
        let damage = damage.or_else(|| bank_damage(found, transfers));
        Ok(Inspection { damage, transfers: found })
    }

    fn ledger_damage(&self, ledger: &DiskScan, cut: Cut) -> Option<String> {
        if let Some(torn) = ledger.torn.first() {
            return Some(format!("record {torn} is torn"));
        }
        let highest = ledger.records.last().map_or(0, |record| record.number);
        let oldest = oldest_due(highest);
        let mut expected = (oldest..).find(|number| on_disk(*number, self.layout.disk)).unwrap_or(oldest);
        for record in ledger.records.iter().filter(|record| record.number >= oldest) {
            if record.number != expected {
                return Some(format!("record {expected} is missing, and record {} is there", record.number));
            }
            expected += DISKS as u64;
        }
        let durable = self.durable(cut);
        (highest < durable)
            .then(|| format!("record {durable} was durable, and {highest} is the last that is there"))
    }

    /// The last record of this disk that was durable after so many writes: the one before the last
    /// that was written, because the guest waits for each.
    fn durable(&self, cut: Cut) -> RecordNumber {
        let before = self.written.partition_point(|(position, _)| cut.includes(*position));
        let written = before.checked_sub(1).map_or(0, |last| self.written[last].1);
        written.saturating_sub(DISKS as u64).max(self.initial)
    }
}

/// Whether a record lies on this disk.
fn on_disk(number: RecordNumber, disk: usize) -> bool {
    number > 0 && (number - 1) % DISKS as u64 == disk as u64
}

fn bank_damage(found: Option<u64>, durable: Option<u64>) -> Option<Damage> {
    let durable = durable?;
    let words = match found {
        Some(found) if found >= durable => return None,
        Some(found) => format!("{durable} transfers were durable, and {found} are there"),
        None => format!("it is gone, and {durable} transfers were durable"),
    };
    Some(Damage::new(Part::Bank, words))
}

#[cfg(test)]
mod tests {
    use witness::ledger::{RECORDS_PER_DISK, Record};

    use super::*;

    /// The last record of a ledger that has gone round; it lies on the second disk.
    const NEWEST: RecordNumber = 10 * DISKS as u64 * RECORDS_PER_DISK + 300;

    /// What is wrong with the second disk's part of the ledger if `change` is done to it: every
    /// slot is used, and the last record of the disk was written as the seventh write.
    fn damage(change: impl FnOnce(&mut DiskScan)) -> Option<String> {
        let layout = DiskLayout { disk: 1, file_system: 0..0, ledger: "/ledger", bank: None };
        let copies = DiskCopies::new(0).expect("a directory");
        let written = vec![(Position(3), NEWEST - 2), (Position(7), NEWEST)];
        let inspector =
            Inspector { copies: &copies, layout, undo_file: PathBuf::new(), initial: NEWEST - 4, written };
        let record = |number| Record { number, epoch: 1, uptime_ms: 0, seen: 0, quiesced: false };
        let oldest = NEWEST - DISKS as u64 * (RECORDS_PER_DISK - 1);
        let records = (oldest..=NEWEST).step_by(DISKS).map(record).collect();
        let mut scan = DiskScan { records, ..DiskScan::default() };
        change(&mut scan);
        inspector.ledger_damage(&scan, Cut(7))
    }

    fn without(number: RecordNumber) -> impl FnOnce(&mut DiskScan) {
        move |scan| scan.records.retain(|record| record.number != number)
    }

    #[test]
    fn a_ledger_that_has_gone_round_is_sound_with_the_records_that_are_due() {
        assert_eq!(damage(|_| ()), None);
        let due = oldest_due(NEWEST);
        assert_eq!(damage(|scan| scan.records.retain(|record| record.number >= due)), None);
        // The last record was on its way.
        assert_eq!(damage(without(NEWEST)), None);
    }

    #[test]
    fn a_ledger_that_has_gone_round_is_damaged_without_a_due_or_durable_record() {
        let first_due = (oldest_due(NEWEST)..).find(|number| on_disk(*number, 1)).expect("a record");
        for number in [first_due, NEWEST - 1000] {
            let found = damage(without(number)).expect("damage");
            assert!(found.starts_with(&format!("record {number} is missing")), "{found}");
        }
        let lost = damage(|scan| scan.records.truncate(scan.records.len() - 2)).expect("damage");
        assert_eq!(
            lost,
            format!("record {} was durable, and {} is the last that is there", NEWEST - 2, NEWEST - 4)
        );
        assert!(damage(|scan| scan.torn.push(NEWEST - 6)).is_some_and(|found| found.contains("torn")));
    }
}
