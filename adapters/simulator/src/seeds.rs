//! Seeds derived from the seed of a simulation.

use witness::random::{Random, stream_seed};

/// A seed for a combination of names and a number; other combinations get other seeds.
pub(crate) fn seed_of(seed: u64, names: &[&str], number: u64) -> u64 {
    // Names are separated by a byte that occurs in none of them.
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0xff]));
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Random::new(stream_seed(seed ^ hash, number)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_name_and_number_and_repeat() {
        let all = [(&["a", "b"][..], 1), (&["ab"], 1), (&["a", "b"], 2), (&["b", "a"], 1)];
        let mut seeds: Vec<_> = all.iter().map(|(names, number)| seed_of(7, names, *number)).collect();
        assert_eq!(seeds[0], seed_of(7, &["a", "b"], 1));
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), all.len());
    }
}
