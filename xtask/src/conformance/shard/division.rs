//! Which scenario belongs to which shard.
//!
//! The longest scenario goes first, each to the shard with the least to do so far; of equal shards
//! to the first, of equal scenarios by name. So the longest shard takes at most 4/3 of what the
//! best division would take, and every shard finds the same division without asking another one.

use std::collections::BTreeSet;

/// Divides scenarios among `shards` shards by their durations. Every scenario is in exactly one
/// shard, each shard lists its scenarios by name.
pub fn divide(names: &[String], shards: usize, duration: impl Fn(&str) -> u64) -> Vec<Vec<String>> {
    let mut longest_first: Vec<(u64, &String)> =
        names.iter().collect::<BTreeSet<_>>().into_iter().map(|name| (duration(name), name)).collect();
    longest_first.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let mut parts = vec![(0_u64, Vec::new()); shards];
    for (duration, name) in longest_first {
        if let Some((load, part)) = parts.iter_mut().min_by_key(|(load, part)| (*load, part.len())) {
            *load = load.saturating_add(duration);
            part.push(name.clone());
        }
    }
    let sorted = |(_, mut part): (u64, Vec<String>)| {
        part.sort();
        part
    };
    parts.into_iter().map(sorted).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn load(part: &[String], durations: &BTreeMap<String, u64>) -> u64 {
        part.iter().map(|name| durations[name]).sum()
    }

    proptest! {
        #[test]
        fn every_scenario_is_in_exactly_one_shard(
            durations in prop::collection::btree_map("[a-z]{1,6}", 0_u64..1_000_000, 0..40),
            shards in 1_usize..9,
        ) {
            let names: Vec<String> = durations.keys().cloned().collect();
            let parts = divide(&names, shards, |name| durations[name]);
            prop_assert_eq!(parts.len(), shards);
            let mut all: Vec<String> = parts.concat();
            all.sort();
            prop_assert_eq!(all, names);
        }

        #[test]
        fn the_order_in_which_scenarios_are_named_does_not_matter(
            durations in prop::collection::btree_map("[a-z]{1,6}", 0_u64..50, 1..40),
            shards in 1_usize..9,
        ) {
            let names: Vec<String> = durations.keys().cloned().collect();
            let reversed: Vec<String> = names.iter().rev().cloned().collect();
            let by = |names: &[String]| divide(names, shards, |name| durations[name]);
            prop_assert_eq!(by(&names), by(&reversed));
        }

        #[test]
        fn no_shard_has_more_to_do_than_the_mean_and_one_scenario(
            durations in prop::collection::btree_map("[a-z]{1,6}", 1_u64..1_000_000, 1..40),
            shards in 1_usize..9,
        ) {
            let names: Vec<String> = durations.keys().cloned().collect();
            let parts = divide(&names, shards, |name| durations[name]);
            let total: u64 = durations.values().sum();
            let longest = durations.values().max().copied().unwrap_or_default();
            let worst = parts.iter().map(|part| load(part, &durations)).max().unwrap_or_default();
            prop_assert!(worst <= total / shards as u64 + longest, "{worst} of {total}");
        }

        #[test]
        fn no_shard_is_empty_while_there_are_scenarios_enough(
            durations in prop::collection::btree_map("[a-z]{1,6}", 0_u64..10, 1..40),
            shards in 1_usize..9,
        ) {
            let names: Vec<String> = durations.keys().cloned().collect();
            prop_assume!(names.len() >= shards);
            let parts = divide(&names, shards, |name| durations[name]);
            prop_assert!(parts.iter().all(|part| !part.is_empty()), "{parts:?}");
        }
    }

    #[test]
    fn the_longest_are_divided_first() {
        let durations: BTreeMap<_, _> = [("a", 9), ("b", 5), ("c", 4), ("d", 1)].into();
        let names = ["a", "b", "c", "d"].map(ToOwned::to_owned);
        assert_eq!(divide(&names, 2, |name| durations[name]), [vec!["a", "d"], vec!["b", "c"]]);
    }
}
