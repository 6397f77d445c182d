//! How a site divides a disk into extents when it tells which parts changed or hold data.

use nbd::Extent;
use witness::random::Random;

use crate::seeds::seed_of;
use crate::{Extents, SimSite, Storage};

/// The longest extent that is joined to its neighbours, in bytes.
const JOINED: u64 = 256 * 1024;
/// Extents begin and end at multiples of this, in bytes.
const UNIT: u64 = 512;

/// What extents tell: what changed, or what holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    Changes,
    Data,
}

impl Telling {
    /// The flags that never leave anything out.
    fn safe_flags(self) -> u64 {
        match self {
            Self::Changes => 1,
            Self::Data => 0,
        }
    }
}

/// How a disk is divided. The same extents and the same division give the same answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Division {
    pub(crate) by: Extents,
    pub(crate) seed: u64,
}

impl Division {
    /// Divides the extents of a disk.
    pub(crate) fn of(self, extents: Vec<Extent>, telling: Telling) -> Vec<Extent> {
        if self.by == Extents::AsTracked {
            return extents;
        }
        let mut random = Random::new(self.seed);
        let mut all = Vec::new();
        for extent in extents {
            let joined = extent.length <= JOINED && random.below(4) == 0;
            let flags = if joined { telling.safe_flags() } else { extent.flags };
            split(Extent { flags, ..extent }, &mut random, &mut all);
        }
        all
    }

    /// The most extents in one answer to a client of another process.
    pub(crate) fn at_once(self) -> usize {
        match self.by {
            Extents::AsTracked => usize::MAX,
            Extents::Irregular => 1 + (self.seed % 5) as usize,
        }
    }
}

impl SimSite {
    /// How this site divides a disk of this name into extents.
    pub(crate) fn division(&self, name: &str) -> Division {
        let Storage { extents, .. } = self.config().storage;
        Division { by: extents, seed: seed_of(self.seed(), &[&self.config().id.0, name], 0) }
    }
}

/// Adds an extent in one to three parts.
fn split(extent: Extent, random: &mut Random, all: &mut Vec<Extent>) {
    let mut rest = extent;
    for _ in 0..random.below(3) {
        let units = rest.length / UNIT;
        if units < 2 {
            break;
        }
        let length = (1 + random.below(units - 1)) * UNIT;
        all.push(Extent { length, ..rest });
        rest.offset += length;
        rest.length -= length;
    }
    all.push(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Vec<Extent> {
        let lengths = [512, 4096, 1 << 20, 512, 65536, 1 << 30, 1024, 300 * 1024];
        let mut offset = 0;
        let number = |(index, length): (usize, u64)| {
            offset += length;
            Extent { offset: offset - length, length, flags: index as u64 % 2 }
        };
        lengths.into_iter().enumerate().map(number).collect()
    }

    #[test]
    fn a_divided_disk_has_no_gap_and_leaves_nothing_out() {
        for seed in 0..100 {
            for telling in [Telling::Changes, Telling::Data] {
                let division = Division { by: Extents::Irregular, seed };
                let divided = division.of(extents(), telling);
                assert_eq!(divided, division.of(extents(), telling));
                let mut end = 0;
                for extent in &divided {
                    assert_eq!(extent.offset, end);
                    assert!(extent.length > 0);
                    end += extent.length;
                    let inside =
                        |one: &&Extent| one.offset <= extent.offset && end <= one.offset + one.length;
                    let before = extents().iter().find(inside).copied().expect("a part of one extent");
                    assert!(extent.flags == before.flags || extent.flags == telling.safe_flags());
                }
                assert_eq!(end, extents().iter().map(|extent| extent.length).sum::<u64>());
            }
        }
    }

    #[test]
    fn extents_stay_as_they_are_tracked() {
        let division = Division { by: Extents::AsTracked, seed: 1 };
        assert_eq!(division.of(extents(), Telling::Changes), extents());
    }
}
