//! Random numbers that follow from a seed (SplitMix64), so that a campaign can be repeated.

use std::time::Duration;

/// A source of random numbers.
pub struct Chance(u64);

impl Chance {
    /// The numbers of this kill of a campaign.
    pub fn new(seed: u64, kill: u64) -> Self {
        let mut chance = Self(seed);
        let mixed = chance.next() ^ kill;
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of several things; nothing if there are none.
    pub fn pick<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        let count = u64::try_from(things.len()).ok().filter(|count| *count > 0)?;
        things.get(usize::try_from(self.next() % count).ok()?).copied()
    }

    /// A time up to a bound.
    pub fn within(&mut self, bound: Duration) -> Duration {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers_and_kills_differ() {
        let numbers = |seed, kill| {
            let mut chance = Chance::new(seed, kill);
            [chance.next(), chance.next()]
        };
        assert_eq!(numbers(1, 1), numbers(1, 1));
        assert_ne!(numbers(1, 1), numbers(1, 2));
        assert_ne!(numbers(1, 1), numbers(2, 1));
    }

    #[test]
    fn what_is_drawn_is_within_its_bounds() {
        let mut chance = Chance::new(7, 7);
        let bound = Duration::from_secs(3);
        assert!((0..100).all(|_| chance.within(bound) < bound));
        assert_eq!(chance.pick::<u8>(&[]), None);
        let drawn: std::collections::BTreeSet<_> = (0..100).filter_map(|_| chance.pick(&[1, 2, 3])).collect();
        assert_eq!(drawn.len(), 3);
    }
}
