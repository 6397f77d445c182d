//! How a site's record of changes, or its map of what holds data, can be wrong without saying so.

use contract::Millis;
use nbd::Extent;

/// A record of changes that is wrong and looks right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackerLie {
    /// What a guest writes while a snapshot is closed is not recorded (VMware KB 2136854).
    OmitsWhileClosing,
    /// Closing a snapshot has ended, but the site still merges it: what a guest writes in the next
    /// twenty seconds is not recorded (kubev2v/forklift#1193).
    OmitsWhileMerging,
    /// It names nothing in the second half of a disk (VMware KB 2090639).
    OmitsSecondHalf,
    /// It names nothing on any disk but the first.
    NamesFirstDiskOnly,
    /// It answers for another moment than the one that is asked about: it names nothing.
    AnswersForLaterMoment,
    /// It names everything.
    NamesEverything,
}

/// How long a site still merges a snapshot that was closed.
pub(crate) const MERGING: Millis = Millis(20_000);

/// The flag of what changed, in a list of changes.
const CHANGED: u64 = 1;

impl TrackerLie {
    /// What is told instead of these changes of a disk with this number and size.
    pub(crate) fn instead(self, changes: Vec<Extent>, disk: usize, size: u64) -> Vec<Extent> {
        let whole = |flags| vec![Extent { offset: 0, length: size, flags }];
        match self {
            Self::OmitsWhileClosing | Self::OmitsWhileMerging => changes,
            Self::OmitsSecondHalf => without_second_half(changes, size, 0),
            Self::NamesFirstDiskOnly if disk == 0 => changes,
            Self::NamesFirstDiskOnly | Self::AnswersForLaterMoment => whole(0),
            Self::NamesEverything => whole(CHANGED),
        }
    }
}

/// The extents of a disk, with these flags for its second half.
pub(crate) fn without_second_half(extents: Vec<Extent>, size: u64, flags: u64) -> Vec<Extent> {
    let half = size / 2;
    let first = extents.into_iter().filter(|extent| extent.offset < half);
    let cut = |extent: Extent| Extent { length: extent.length.min(half - extent.offset), ..extent };
    let mut told: Vec<_> = first.map(cut).collect();
    told.push(Extent { offset: half, length: size - half, flags });
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lie_covers_the_whole_disk() {
        let extent = |offset, length, flags| Extent { offset, length, flags };
        let changes = vec![extent(0, 300, 0), extent(300, 500, 1), extent(800, 200, 0)];
        let told = TrackerLie::OmitsSecondHalf.instead(changes.clone(), 0, 1000);
        assert_eq!(told, [extent(0, 300, 0), extent(300, 200, 1), extent(500, 500, 0)]);
        let nothing = [extent(0, 1000, 0)];
        assert_eq!(TrackerLie::NamesFirstDiskOnly.instead(changes.clone(), 0, 1000), changes);
        assert_eq!(TrackerLie::NamesFirstDiskOnly.instead(changes.clone(), 1, 1000), nothing);
        assert_eq!(TrackerLie::NamesEverything.instead(changes, 0, 1000), [extent(0, 1000, 1)]);
    }
}
