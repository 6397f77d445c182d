//! What a recovered machine was started from, compared with what its source wrote.

use std::ops::RangeInclusive;
use std::sync::Arc;

use contract::{Millis, Timestamp};
use witness::ledger::RecordNumber;

use super::error::{NotAPrefix, TestbedError};
use crate::{Cut, Epoch, SimBoot, SimWrite, cut_of, last_record};

/// The last boot of a machine, and of the machine that was recovered from it.
#[derive(Clone, Debug)]
pub struct Boots {
    /// The machine that replication reads.
    pub source: Arc<SimBoot>,
    /// The machine that was started from its replica.
    pub target: Arc<SimBoot>,
}

/// How much of its source a recovered machine was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contained {
    /// How many of the source's writes the disks contain, and no other: the highest such number.
    pub writes: usize,
    /// The last ledger record among them; 0 if there is none.
    pub last_record: RecordNumber,
}

/// The time during which a source's disks can have been those that a machine was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When the last write was made that they hold, in milliseconds.
    pub from: u64,
    /// When the guest next flushed after the writes that they contain, in milliseconds.
    pub until: u64,
}

impl Validity {
    /// All time, with which an intersection begins.
    pub const ALWAYS: Self = Self { from: 0, until: u64::MAX };

    /// The time that is part of both.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }

    /// Whether there is any such time.
    #[must_use]
    pub fn is_possible(self) -> bool {
        self.from <= self.until
    }
}

/// The place of a machine's disks in its source's writes.
enum Place {
    /// These numbers of writes lead to them; there are several where writes changed nothing.
    Exact(RangeInclusive<usize>),
    /// They hold some of the writes between two flushes.
    EpochConsistent(Epoch),
}

impl Place {
    /// The most writes that the disks contain without one that is missing among them.
    fn most(&self) -> usize {
        match self {
            Self::Exact(range) => *range.end(),
            Self::EpochConsistent(epoch) => epoch.flushed,
        }
    }

    /// The fewest writes that had been made when the source's disks were in this state.
    fn fewest(&self) -> usize {
        match self {
            Self::Exact(range) => *range.start(),
            Self::EpochConsistent(epoch) => epoch.latest,
        }
    }
}

fn place(source: &SimBoot, log: &[SimWrite], target: &SimBoot) -> Result<Place, NotAPrefix> {
    match cut_of(&source.bases(), log, &target.bases(), &target.hydrated_since(&source.bases())) {
        Cut::Exact(range) => Ok(Place::Exact(range)),
        Cut::EpochConsistent(epoch) => Ok(Place::EpochConsistent(epoch)),
        cut => Err(NotAPrefix { machine: target.machine.clone(), boot: target.number, cut }),
    }
}

/// How many of its source's writes a machine was started with, and the last ledger record among
/// them.
///
/// # Errors
/// Its disks are no prefix of the source's writes.
pub fn contained(source: &SimBoot, target: &SimBoot) -> Result<Contained, NotAPrefix> {
    let log = source.log();
    let writes = place(source, &log, target)?.most();
    Ok(Contained { writes, last_record: last_record(&log, writes) })
}

impl Boots {
    /// How many of the source's writes the target was started with, and the last ledger record
    /// among them.
    ///
    /// # Errors
    /// The target's disks are no prefix of the source's writes.
    pub fn contained(&self) -> Result<Contained, TestbedError> {
        Ok(contained(&self.source, &self.target)?)
    }

    /// How few of its writes the source may have made when its disks were those that the target was
    /// started from.
    ///
    /// # Errors
    /// The target's disks are no prefix of the source's writes.
    pub fn fewest_writes(&self) -> Result<usize, TestbedError> {
        Ok(place(&self.source, &self.source.log(), &self.target)?.fewest())
    }

    /// Whether the target was started with everything that the source wrote, and nothing else.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.contained().is_ok_and(|contained| contained.writes == self.source.log().len())
    }

    /// Whether the target was started from a state with the applications at rest: the last write
    /// that it contains is the ledger's quiesce mark, apart from writes that changed nothing.
    ///
    /// # Errors
    /// The target's disks are no prefix of the source's writes.
    pub fn is_quiesced(&self) -> Result<bool, TestbedError> {
        let log = self.source.log();
        let marks = |write: &SimWrite| write.record().is_some_and(|record| record.quiesced);
        let Place::Exact(mut cuts) = place(&self.source, &log, &self.target)? else { return Ok(false) };
        Ok(cuts.any(|cut| cut.checked_sub(1).is_some_and(|last| marks(&log[last]))))
    }

    /// When the source's disks can have been those that the target was started from. A loss of
    /// power may undo what was not flushed, so that is until the first flush after what they
    /// contain.
    ///
    /// # Errors
    /// The target's disks are no prefix of the source's writes.
    pub fn validity(&self) -> Result<Validity, TestbedError> {
        let log = self.source.log();
        let place = place(&self.source, &log, &self.target)?;
        let at = |index: usize| log[index].at.0;
        let flush = log.iter().skip(place.most()).find(|write| write.flushed);
        Ok(Validity {
            from: place.fewest().checked_sub(1).map_or(0, at),
            until: flush.map_or(u64::MAX, |write| write.at.0),
        })
    }

    /// Whether the source had ended before the target was started, so that they never ran at the
    /// same time.
    #[must_use]
    pub fn never_overlap(&self) -> bool {
        self.source.ended().is_some_and(|(off, _)| off <= self.target.started)
    }

    /// The age, at the time of the disaster, of the oldest acknowledged record that a machine with
    /// records up to `last_record` lacks: the data loss in time.
    #[must_use]
    pub fn lost(&self, last_record: RecordNumber, disaster: Timestamp) -> Millis {
        lost(&self.source, last_record, disaster)
    }
}

/// The age, at the time of the disaster, of the oldest acknowledged record of `source` after
/// `last_record`: the data loss in time of a machine that was recovered with records up to that
/// one.
#[must_use]
pub fn lost(source: &SimBoot, last_record: RecordNumber, disaster: Timestamp) -> Millis {
    let missing = |ack: &crate::Ack| ack.number > last_record && ack.at <= disaster;
    source.acks().into_iter().find(missing).map_or(Millis(0), |ack| disaster.since(ack.at))
}
