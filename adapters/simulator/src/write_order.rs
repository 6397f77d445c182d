//! The oracle for simulated disks: finds the position of a recovered machine in the order of
//! writes. It is simple and exact, because the order over all disks is known.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use contract::Timestamp;
use witness::ledger::RecordNumber;

use crate::disk::SECTOR;
use crate::epoch::{Epoch, Sector, sectors};
use crate::{SimWrite, Snapshot};

/// Bytes of a disk that may differ from the log, such as a hydrated boot partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Index of the disk.
    pub disk: usize,
    /// The bytes, aligned to sectors.
    pub bytes: Range<u64>,
}

/// The verdict on a recovered machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The disks hold exactly the first writes of the log. The number of writes is a range, because
    /// writes that change nothing make several numbers true.
    Exact(RangeInclusive<usize>),
    /// The disks hold everything up to a flush, and some of the writes between it and the next.
    EpochConsistent(Epoch),
    /// The disks match no number of writes, and are not epoch-consistent either.
    Broken(Mismatch),
    /// The disks are not as many as those of the source, or differ from them in size, if only by a
    /// byte.
    OtherDisks(DiskSizes),
    /// The source has no disks, so there was nothing to compare; never a pass.
    Unknown(String),
}

/// The sizes of a source's disks and of those that were recovered from it, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSizes {
    /// The source's disks.
    pub expected: Vec<u64>,
    /// The recovered disks.
    pub found: Vec<u64>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(writes) => write!(f, "they hold the first {} writes", writes.end()),
            Self::EpochConsistent(epoch) => write!(f, "{epoch}"),
            Self::Broken(mismatch) => write!(f, "{mismatch:?}"),
            Self::OtherDisks(sizes) => write!(f, "{sizes}"),
            Self::Unknown(why) => write!(f, "{why}"),
        }
    }
}

impl fmt::Display for DiskSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, found } = self;
        write!(f, "the disks of the source have the sizes {expected:?} bytes, those recovered {found:?}")
    }
}

/// The best matching number of writes, and the first wrong sector there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The number of writes at which most sectors match.
    pub cut: usize,
    /// Number of wrong sectors there.
    pub wrong: usize,
    /// Disk of the first wrong sector.
    pub disk: usize,
    /// Offset of that sector, in bytes.
    pub offset: u64,
    /// What that sector holds.
    pub holds: PrefixMatch,
}

/// How the log explains the content of a wrong sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixMatch {
    /// The content before the first write, or after an earlier write.
    Stale,
    /// The content after the later write with this index.
    Ahead(usize),
    /// Content that was never written there.
    Foreign,
}

/// Finds how many writes of `log` lead from `base` to `recovered`, ignoring the bytes in `allowed`.
/// Each slice has one entry per disk, in the same order.
#[must_use]
pub fn cut_of(base: &[Snapshot], log: &[SimWrite], recovered: &[Snapshot], allowed: &[Allowed]) -> Cut {
    let sizes = |disks: &[Snapshot]| -> Vec<u64> { disks.iter().map(Snapshot::size).collect() };
    let (expected, found) = (sizes(base), sizes(recovered));
    if expected.iter().all(|size| *size == 0) {
        return Cut::Unknown(format!("the source's disks have {expected:?} bytes"));
    }
    if expected != found {
        return Cut::OtherDisks(DiskSizes { expected, found });
    }
    let exempt = |(disk, offset): &Sector| {
        allowed.iter().any(|allowed| allowed.disk == *disk && allowed.bytes.contains(offset))
    };
    let mut wrong: BTreeSet<Sector> = initially_wrong(base, recovered);
    wrong.retain(|sector| !exempt(sector));
    let mut best = (wrong.len(), 0);
    let mut exact = None;
    for cut in 0..=log.len() {
        if wrong.is_empty() {
            let first = exact.as_ref().map_or(cut, |range: &RangeInclusive<usize>| *range.start());
            exact = Some(first..=cut);
        } else if exact.is_some() {
            break;
        }
        best = best.min((wrong.len(), cut));
        if let Some(write) = log.get(cut) {
            for (sector, fits) in sectors(write, recovered).filter(|(sector, _)| !exempt(sector)) {
                if fits {
                    wrong.remove(&sector);
                } else {
                    wrong.insert(sector);
                }
            }
        }
    }
    if let Some(range) = exact {
        return Cut::Exact(range);
    }
    let at_first = initially_wrong(base, recovered).into_iter().filter(|sector| !exempt(sector)).collect();
    match Epoch::find(log, recovered, &exempt, at_first) {
        Some(epoch) => Cut::EpochConsistent(epoch),
        None => Cut::Broken(mismatch(base, log, recovered, &exempt, best)),
    }
}

/// How many writes of a log were flushed before a moment, so that no loss of power undoes them.
#[must_use]
pub fn durable_before(log: &[SimWrite], moment: Timestamp) -> usize {
    log.iter().rposition(|write| write.flushed && write.at < moment).map_or(0, |last| last + 1)
}

/// The last ledger record among the first `cut` writes; 0 if there is none.
#[must_use]
pub fn last_record(log: &[SimWrite], cut: usize) -> RecordNumber {
    log.iter().take(cut).filter_map(SimWrite::record).next_back().map_or(0, |record| record.number)
}

fn initially_wrong(base: &[Snapshot], recovered: &[Snapshot]) -> BTreeSet<Sector> {
    let disks = base.iter().zip(recovered).enumerate();
    let differ = |(disk, (base, found)): (usize, (&Snapshot, &Snapshot))| {
        base.differences(found, SECTOR).into_iter().map(move |offset| (disk, offset))
    };
    disks.flat_map(differ).collect()
}

fn mismatch(
    base: &[Snapshot],
    log: &[SimWrite],
    recovered: &[Snapshot],
    exempt: &dyn Fn(&Sector) -> bool,
    (count, cut): (usize, usize),
) -> Mismatch {
    let mut wrong = initially_wrong(base, recovered);
    for write in &log[..cut] {
        for (sector, fits) in sectors(write, recovered) {
            if fits {
                wrong.remove(&sector);
            } else {
                wrong.insert(sector);
            }
        }
    }
    wrong.retain(|sector| !exempt(sector));
    let (disk, offset) = wrong.first().copied().unwrap_or_default();
    let holds = prefix_match(base, log, recovered, cut, (disk, offset));
    Mismatch { cut, wrong: count, disk, offset, holds }
}

fn prefix_match(
    base: &[Snapshot],
    log: &[SimWrite],
    recovered: &[Snapshot],
    cut: usize,
    at: Sector,
) -> PrefixMatch {
    let holds = |write: &SimWrite| sectors(write, recovered).any(|(sector, fits)| sector == at && fits);
    if let Some(later) = log.iter().skip(cut).position(holds) {
        return PrefixMatch::Ahead(cut + later);
    }
    let (disk, offset) = at;
    let unwritten = base[disk].bytes(offset, SECTOR) == recovered[disk].bytes(offset, SECTOR);
    if unwritten || log.iter().take(cut).any(holds) { PrefixMatch::Stale } else { PrefixMatch::Foreign }
}

#[cfg(test)]
#[path = "write_order_tests.rs"]
mod tests;
