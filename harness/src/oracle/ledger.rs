//! Joins the write orders of several disks through the witness's ledger.
//!
//! Record `i + 1` is written only after record `i` was acknowledged, whichever disks they lie on.
//! So disks recovered together hold consecutive records; a record whose predecessor is on no disk
//! proves a state that never existed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use witness::ledger::{Record, RecordNumber};

use super::cut::Grouped;
use super::{Cut, CutRange, LogError, Position, SECTOR, SECTOR_BYTES, WriteLog};

/// Where a record was first written on one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The record.
    pub record: Record,
    /// The first write that holds it.
    pub position: Position,
    /// The sector it lies on.
    pub sector: u64,
}

/// The ledger records in one disk's write log.
#[derive(Clone, Debug, Default)]
pub struct LedgerIndex {
    sightings: BTreeMap<(u32, RecordNumber), Sighting>,
    first: BTreeMap<RecordNumber, Sighting>,
    torn: u64,
}

/// Sectors of log data read at a time.
const CHUNK_SECTORS: u64 = 2048;

impl LedgerIndex {
    /// Finds all records in `log`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn scan(log: &WriteLog) -> Result<Self, LogError> {
        Self::scan_without(log, &[])
    }

    /// Finds all records in `log` but for those of some writes, in ascending order: the writes that
    /// a disk lost between two flushes.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn scan_without(log: &WriteLog, lost: &[Position]) -> Result<Self, LogError> {
        let mut index = Self::default();
        let mut data = Vec::new();
        for (position, entry) in (1..).map(Position).zip(log.entries()) {
            if entry.is_discard() || lost.binary_search(&position).is_ok() {
                continue;
            }
            for skip in (0..entry.sectors).step_by(CHUNK_SECTORS as usize) {
                data.resize((entry.sectors - skip).min(CHUNK_SECTORS) as usize * SECTOR, 0);
                log.read_data(entry, skip, &mut data)?;
                for (sector, bytes) in (entry.sector + skip..).zip(data.chunks(SECTOR)) {
                    index.see(position, sector, bytes);
                }
            }
        }
        Ok(index)
    }

    fn see(&mut self, position: Position, sector: u64, bytes: &[u8]) {
        match Record::decode(bytes) {
            Ok(Some(record)) => {
                let sighting = Sighting { record, position, sector };
                self.sightings.entry((record.epoch, record.number)).or_insert(sighting);
                self.first.entry(record.number).or_insert(sighting);
            }
            Ok(None) => {}
            Err(_) => self.torn += 1,
        }
    }

    /// The first write of a record of one epoch, which is one boot.
    #[must_use]
    pub fn sighting(&self, epoch: u32, number: RecordNumber) -> Option<&Sighting> {
        self.sightings.get(&(epoch, number))
    }

    /// All records by epoch and number.
    pub fn sightings(&self) -> impl Iterator<Item = &Sighting> {
        self.sightings.values()
    }

    /// Sectors that begin like a record but are invalid.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// The highest record on the disk at `cut`.
    #[must_use]
    pub fn highest_at(&self, cut: Cut) -> Option<&Sighting> {
        self.first.values().rev().find(|sighting| cut.includes(sighting.position))
    }

    fn position_of(&self, number: RecordNumber) -> Option<Position> {
        self.first.get(&number).map(|sighting| sighting.position)
    }
}

/// What the ledger shows about disks recovered together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LedgerJoin {
    /// Whether the disks are consistent with each other.
    pub verdict: JoinVerdict,
    /// The earliest cut of each disk, within its range, at which the disks are consistent; if they
    /// are not, the cuts at which that was found.
    pub cuts: Vec<Cut>,
    /// Highest record on each disk at `cuts`, ignoring those written before the log began.
    pub highest: Vec<Option<RecordNumber>>,
    /// All records up to this one are on the disks at `cuts`.
    pub contiguous: RecordNumber,
    /// The last record written before the logs began.
    pub already: RecordNumber,
    /// In a replication group: the highest record of the neighbour that a record at `cuts` refers
    /// to, so that the neighbour must hold it too. 0 if none.
    pub seen: u64,
}

/// Whether disks recovered together were ever in that state at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum JoinVerdict {
    /// For some choice of cuts within the ranges no record is missing.
    Consistent {
        /// Whether this is so for every choice.
        every_choice: bool,
    },
    /// For every choice of cuts a record is missing.
    Broken {
        /// A record that is on a disk.
        present: RecordNumber,
        /// The record before it, which is not.
        missing: RecordNumber,
        /// Index of the disk that holds `present`.
        disk_present: usize,
        /// Index of the disk whose log holds `missing` after its cut; `None`: no log holds it.
        disk_missing: Option<usize>,
    },
}

/// Joins the disks of one machine, each with the range of cuts found for it.
///
/// `already` is the last record that was on the disks before the logs began; 0 for a new machine.
#[must_use]
pub fn join(disks: &[(&LedgerIndex, CutRange)], already: RecordNumber) -> LedgerJoin {
    let mut joint = Joint::new(disks, already);
    let verdict = match joint.close() {
        Ok(()) => JoinVerdict::Consistent { every_choice: joint.every_choice() },
        Err(broken) => broken,
    };
    LedgerJoin {
        verdict,
        highest: joint.highest(),
        contiguous: joint.contiguous(),
        already,
        seen: joint.seen(),
        cuts: joint.cuts,
    }
}

/// The disks, and a cut for each that is raised only as far as a record requires.
struct Joint<'a> {
    disks: &'a [(&'a LedgerIndex, CutRange)],
    already: RecordNumber,
    cuts: Vec<Cut>,
    /// Every record in any log, with the disks whose logs contain it.
    records: BTreeMap<RecordNumber, Vec<usize>>,
}

impl<'a> Joint<'a> {
    fn new(disks: &'a [(&'a LedgerIndex, CutRange)], already: RecordNumber) -> Self {
        let mut records: BTreeMap<RecordNumber, Vec<usize>> = BTreeMap::new();
        for (disk, (index, _)) in disks.iter().enumerate() {
            for number in index.first.keys().filter(|number| **number > already) {
                records.entry(*number).or_default().push(disk);
            }
        }
        let cuts = disks.iter().map(|(_, range)| range.earliest).collect();
        Self { disks, already, cuts, records }
    }

    fn holder(&self, number: RecordNumber) -> Option<usize> {
        let on = self.records.get(&number)?;
        on.iter().copied().find(|disk| self.holds(*disk, number))
    }

    fn holds(&self, disk: usize, number: RecordNumber) -> bool {
        self.disks[disk].0.position_of(number).is_some_and(|position| self.cuts[disk].includes(position))
    }

    fn top(&self) -> Option<RecordNumber> {
        self.records.keys().rev().copied().find(|number| self.holder(*number).is_some())
    }

    /// Raises cuts until no record is missing. Every raise is forced, so the result is the earliest
    /// choice, and a record that is still missing is missing for every choice.
    fn close(&mut self) -> Result<(), JoinVerdict> {
        let mut closed = self.already;
        while let Some(top) = self.top().filter(|top| *top > closed) {
            self.fill(closed, top)?;
            closed = top;
        }
        Ok(())
    }

    /// Makes sure that all records after `closed` and before `top` are on a disk; `top` is.
    fn fill(&mut self, closed: RecordNumber, top: RecordNumber) -> Result<(), JoinVerdict> {
        let mut present = top;
        while present - 1 > closed {
            let wanted = present - 1;
            if self.holder(wanted).is_none() && !self.raise_for(wanted) {
                let disk_present = self.holder(present).unwrap_or_default();
                let disk_missing = self.records.get(&wanted).and_then(|on| on.first().copied());
                return Err(JoinVerdict::Broken { present, missing: wanted, disk_present, disk_missing });
            }
            present = wanted;
        }
        Ok(())
    }

    /// Raises the cut of a disk to the first one that includes `number`, if its range allows.
    fn raise_for(&mut self, number: RecordNumber) -> bool {
        let on = self.records.get(&number).into_iter().flatten();
        let reach = on.filter_map(|disk| {
            let (index, range) = self.disks[*disk];
            let cut = index.position_of(number)?.cut();
            (cut <= range.latest).then_some((*disk, cut))
        });
        // A record lies on one disk; if there is a copy on another, the smaller step is taken.
        let Some((disk, cut)) = reach.min_by_key(|(disk, cut)| cut.0.saturating_sub(self.cuts[*disk].0))
        else {
            return false;
        };
        self.cuts[disk] = self.cuts[disk].max(cut);
        true
    }

    /// Whether no choice of cuts includes a record without its predecessor.
    fn every_choice(&self) -> bool {
        self.records.keys().all(|number| *number == self.already + 1 || self.always_after(*number))
    }

    /// Whether `number` is on a disk only when its predecessor is.
    fn always_after(&self, number: RecordNumber) -> bool {
        let on = self.records.get(&number).into_iter().flatten();
        on.into_iter().all(|disk| {
            let (index, range) = self.disks[*disk];
            let Some(cut) = index.position_of(number).map(Position::cut) else { return true };
            cut > range.latest || self.surely(number - 1, *disk, cut.max(range.earliest))
        })
    }

    /// Whether `number` is on a disk whenever `disk` stands at `cut` or later.
    fn surely(&self, number: RecordNumber, disk: usize, cut: Cut) -> bool {
        let on = self.records.get(&number).into_iter().flatten();
        on.into_iter().any(|other| {
            let (index, range) = self.disks[*other];
            let at_least = if *other == disk { cut } else { range.earliest };
            index.position_of(number).is_some_and(|position| at_least.includes(position))
        })
    }

    fn contiguous(&self) -> RecordNumber {
        let missing = |number: &RecordNumber| self.holder(*number).is_none();
        let mut last = self.already;
        for number in self.records.keys() {
            if *number != last + 1 || missing(number) {
                break;
            }
            last = *number;
        }
        last
    }

    fn highest(&self) -> Vec<Option<RecordNumber>> {
        let on_disk = |(disk, (index, _)): (usize, &(&LedgerIndex, CutRange))| {
            let top = index.highest_at(self.cuts[disk])?.record.number;
            (top > self.already).then_some(top)
        };
        self.disks.iter().enumerate().map(on_disk).collect()
    }

    fn seen(&self) -> u64 {
        let records = self.disks.iter().zip(&self.cuts).flat_map(|((index, _), cut)| {
            index.sightings().filter(|s| cut.includes(s.position)).map(|s| s.record.seen)
        });
        records.max().unwrap_or(0)
    }
}

impl std::fmt::Display for LedgerJoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.verdict {
            JoinVerdict::Consistent { every_choice } => {
                let how = if *every_choice { "" } else { " at some cuts within their ranges" };
                write!(f, "consistent: the disks hold records up to {}{how}", Grouped(self.contiguous))
            }
            JoinVerdict::Broken { present, missing, disk_present, disk_missing } => {
                write!(f, "broken cut: disk {disk_present} holds record {}, ", Grouped(*present))?;
                match disk_missing {
                    Some(disk) => write!(f, "disk {disk} lacks record {}", Grouped(*missing)),
                    None => write!(f, "no log contains record {}", Grouped(*missing)),
                }
            }
        }
    }
}

const _: () = assert!(witness::ledger::RECORD_BYTES as u64 == SECTOR_BYTES);
