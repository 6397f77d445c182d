//! Checks one state.

use std::path::PathBuf;

use witness::ledger::{RecordNumber, oldest_due};
use witness::ledger_scan::{DISKS, DiskScan};

use super::CrashState;
use crate::oracle::{Cut, LedgerIndex, Position, WriteLog};
use crate::recovered::{CheckError, Damage, DiskLayout, Part, Workshop, read_contents, recover, undo};

/// Checks the states of one disk.
pub(super) struct Inspector<'a> {
    workshop: &'a Workshop,
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
        workshop: &'a Workshop,
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
        let undo_file = workshop.path("undo");
        Ok(Self { workshop, layout, undo_file, initial: initial.unwrap_or(0), written })
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
            None => read_contents(self.workshop, image, &self.layout)?,
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
