//! Epoch consistency: between two flushes a disk may keep any of the writes that it was given and
//! lose the others, as a disk does that loses power.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::disk::SECTOR;
use crate::{SimWrite, Snapshot};

/// A sector: index of the disk, offset in bytes.
pub(crate) type Sector = (usize, u64);

/// The place of an epoch-consistent machine in the order of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// How many writes were made before a flush. The disks hold all of them.
    pub flushed: usize,
    /// How many writes had been made, at the least, when the disks were in this state. The disks
    /// lack some of those after the flush.
    pub latest: usize,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flushed, latest } = self;
        write!(
            f,
            "they hold the first {flushed} writes, after which the guest flushed, and some of the next ones, \
             up to number {latest}"
        )
    }
}

impl Epoch {
    /// Finds the last flush after which the disks hold some of the writes up to the next one, and
    /// nothing else. `wrong` are the sectors that differ from the disks before the first write.
    pub(crate) fn find(
        log: &[SimWrite],
        recovered: &[Snapshot],
        exempt: &dyn Fn(&Sector) -> bool,
        mut wrong: BTreeSet<Sector>,
    ) -> Option<Self> {
        let mut last = None;
        for flushed in 0..=log.len() {
            let is_flush = flushed.checked_sub(1).is_none_or(|before| log[before].flushed);
            if is_flush && let Some(latest) = latest_present(log, recovered, exempt, flushed, &wrong) {
                last = Some(Self { flushed, latest });
            }
            let written = log.get(flushed).into_iter().flat_map(|write| sectors(write, recovered));
            for (sector, fits) in written.filter(|(sector, _)| !exempt(sector)) {
                if fits {
                    wrong.remove(&sector);
                } else {
                    wrong.insert(sector);
                }
            }
        }
        last
    }
}

/// The end of the epoch that begins after `start` writes: the number of writes up to the next
/// flush.
pub(crate) fn end_of_epoch(log: &[SimWrite], start: usize) -> usize {
    log.iter().skip(start).position(|write| write.flushed).map_or(log.len(), |after| start + after + 1)
}

/// The number of the last write of an epoch that the disks must have, if some of its writes explain
/// all sectors that are wrong where it begins; `None` otherwise.
///
/// Going backwards, it is always right to take a write for present whose open sectors all match: it
/// hides what earlier writes put there. A write with an open sector that does not match is missing.
fn latest_present(
    log: &[SimWrite],
    recovered: &[Snapshot],
    exempt: &dyn Fn(&Sector) -> bool,
    start: usize,
    wrong: &BTreeSet<Sector>,
) -> Option<usize> {
    let epoch = start..end_of_epoch(log, start);
    let written: usize = log[epoch.clone()].iter().map(|write| write.length as usize / SECTOR).sum();
    if wrong.len() > written {
        return None;
    }
    let mut settled = BTreeSet::new();
    let mut first_to_explain = BTreeMap::new();
    for index in epoch.rev() {
        let all: Vec<_> = sectors(&log[index], recovered).filter(|(sector, _)| !exempt(sector)).collect();
        for (sector, _) in all.iter().filter(|(sector, fits)| *fits && wrong.contains(sector)) {
            first_to_explain.insert(*sector, index + 1);
        }
        let mut open = all.iter().filter(|(sector, _)| !settled.contains(sector));
        if open.all(|(_, fits)| *fits) {
            settled.extend(all.into_iter().map(|(sector, _)| sector));
        }
    }
    let explained = wrong.iter().all(|sector| settled.contains(sector));
    explained.then(|| first_to_explain.into_values().max().unwrap_or(start))
}

/// The sectors of a write, each with whether `recovered` holds the written content.
pub(crate) fn sectors<'a>(
    write: &'a SimWrite,
    recovered: &'a [Snapshot],
) -> impl Iterator<Item = (Sector, bool)> {
    let data = write.data();
    let found =
        recovered.get(write.disk).map(|disk| disk.bytes(write.offset, data.len())).unwrap_or_default();
    let offsets = (write.offset..).step_by(SECTOR);
    let fits: Vec<bool> = data.chunks(SECTOR).zip(found.chunks(SECTOR)).map(|(a, b)| a == b).collect();
    offsets.zip(fits).map(|(offset, fits)| ((write.disk, offset), fits))
}
