//! On random histories with random damage the oracle's verdict equals the model's.

use harness::oracle::Verdict;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::Config;

use crate::compare::{Damage, apply, check, flushed, judged, materialise};
use crate::model::CONTENTS;
use crate::strategies::history;

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        // One content more than any history uses.
        2 => (0..64usize, 0..=CONTENTS).prop_map(|(sector, content)| Damage::Set { sector, content }),
        3 => (0..64usize, 0..64usize, 1..16usize)
            .prop_map(|(cut, start, count)| Damage::FromCut { cut, start, count }),
    ]
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn every_prefix_is_exact(history in history(40), choice: u64) {
        for (cut, state) in history.states().iter().enumerate() {
            let disk = materialise(state, choice);
            let verdict = judged(&history, &disk, &[]).verdict;
            let Verdict::Exact { feasible, .. } = &verdict else { panic!("cut {cut}: {verdict}") };
            let cut = harness::oracle::Cut(cut as u64);
            prop_assert!(feasible.iter().any(|range| range.contains(cut)), "{cut} not in {feasible:?}");
        }
    }

    #[test]
    fn damaged_disks_get_the_verdict_of_the_model(
        history in history(24).prop_map(flushed),
        cut: prop::sample::Index,
        choice: u64,
        damages in prop::collection::vec(damage(), 0..4),
        exempt in prop::collection::vec((0u64..64, 0u64..6), 0..2),
    ) {
        let states = history.states();
        let mut disk = materialise(&states[cut.index(states.len())], choice);
        for damage in &damages {
            apply(&mut disk, &states, damage, choice.rotate_left(17));
        }
        let exempt: Vec<_> = exempt.iter().map(|(start, len)| *start..*start + *len).collect();
        check(&history, &states, &disk, &exempt);
    }
}

/// Proves that the comparison with the model meets every class of verdict.
#[test]
fn the_random_damage_reaches_every_class() {
    let strategy =
        (history(24).prop_map(flushed), any::<prop::sample::Index>(), prop::collection::vec(damage(), 0..4));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..3000 {
        let (history, cut, damages) = strategy.new_tree(&mut runner).unwrap().current();
        let states = history.states();
        let mut disk = materialise(&states[cut.index(states.len())], 5);
        for damage in &damages {
            apply(&mut disk, &states, damage, 9);
        }
        let verdict = judged(&history, &disk, &[]).verdict;
        let class = serde_json::to_value(&verdict).unwrap()["class"].to_string();
        *seen.entry(class).or_insert(0) += 1;
    }
    let rare: Vec<_> = seen.iter().filter(|(_, times)| **times < 50).collect();
    assert!(seen.len() == 5 && rare.is_empty(), "{seen:?}");
}
