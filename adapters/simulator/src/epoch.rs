//! Epoch consistency: between two flushes a disk may keep any of the writes that it was given and
//! lose the others, as a disk does that loses power.

use std::collections::BTreeSet;
use std::fmt;

use crate::write_order::{Sector, sectors};
use crate::{SimWrite, Snapshot};

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
            "they hold the first {flushed} writes, after which there was a flush, and some of the next ones up to number {latest}"
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

/// The end of the epoch that begins after `start` writes: the number of writes up to the next flush.
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
    let written: usize =
        log[epoch.clone()].iter().map(|write| write.length as usize / crate::disk::SECTOR).sum();
    if wrong.len() > written {
        return None;
    }
    let mut settled = BTreeSet::new();
    let mut first_to_explain = std::collections::BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use contract::Timestamp;

    use super::*;
    use crate::boot::Payload;
    use crate::store::Store;
    use crate::{Cut, Storage, cut_of};

    fn write(sector: u64, seed: u64, flushed: bool) -> SimWrite {
        let payload = Payload::Noise(seed);
        SimWrite { at: Timestamp(0), disk: 0, offset: sector * 512, length: 1024, payload, flushed }
    }

    /// Two flushed writes, and between them two that are not, and then one more.
    fn log() -> [SimWrite; 5] {
        [write(0, 1, true), write(4, 2, false), write(8, 3, false), write(5, 4, true), write(12, 5, false)]
    }

    /// A disk with these writes of the log and no others.
    fn disk(present: &[usize]) -> Snapshot {
        let (mut store, name) = (Store::new(Storage::default()), contract::VolumeId::from("disk"));
        store.insert(&name, 16 * 1024, None);
        for index in present {
            let write = &log()[*index];
            store.write(&name, write.offset, &write.data()).unwrap();
        }
        store.snapshot(&name).unwrap()
    }

    fn judge(present: &[usize]) -> Cut {
        cut_of(&[disk(&[])], &log(), &[disk(present)], &[])
    }

    #[test]
    fn writes_may_be_missing_between_two_flushes() {
        assert_eq!(judge(&[0, 2]), Cut::EpochConsistent(Epoch { flushed: 1, latest: 3 }));
        assert_eq!(judge(&[0, 1, 3]), Cut::EpochConsistent(Epoch { flushed: 1, latest: 4 }));
        assert_eq!(judge(&[0, 3]), Cut::EpochConsistent(Epoch { flushed: 1, latest: 4 }));
        assert_eq!(judge(&[0, 1, 2]), Cut::Exact(3..=3));
    }

    #[test]
    fn what_was_flushed_may_not_be_missing_nor_may_half_a_write() {
        for present in [&[1][..], &[0, 2, 4], &[0, 1, 3, 4]] {
            assert!(matches!(judge(present), Cut::Broken(_)), "{present:?}: {:?}", judge(present));
        }
        let torn = disk(&[0]).with(8 * 512, &log()[2].data()[..512]);
        assert!(matches!(cut_of(&[disk(&[])], &log(), &[torn], &[]), Cut::Broken(_)));
    }
}
