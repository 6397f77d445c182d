//! Every variant is accepted.

use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique_and_there_are_enough() {
    let names: BTreeSet<_> = VARIANTS.iter().map(|variant| variant.name).collect();
    assert_eq!(names.len(), VARIANTS.len());
    assert!(names.len() >= 20);
}

/// Every variant whose place in the list is `part` modulo 4, so that tests can run side by side.
fn every_one_is_accepted(part: usize) {
    let mine = VARIANTS.iter().skip(part).step_by(4);
    let rejected: Vec<_> =
        mine.map(Acceptance::of).filter(|one| !one.is_accepted()).map(|one| one.to_string()).collect();
    assert!(rejected.is_empty(), "{}", rejected.join("\n"));
}

#[test]
fn every_variant_is_accepted_part_1() {
    every_one_is_accepted(0);
}

#[test]
fn every_variant_is_accepted_part_2() {
    every_one_is_accepted(1);
}

#[test]
fn every_variant_is_accepted_part_3() {
    every_one_is_accepted(2);
}

#[test]
fn every_variant_is_accepted_part_4() {
    every_one_is_accepted(3);
}
