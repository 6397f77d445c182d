//! Every mutant of the matrix is found by the rules that it names. The tests share the mutants, so
//! that they can run side by side.

use super::judge::{Checks, Judged, judge};
use crate::mutants::mutants;

/// How many tests share the mutants.
const PARTS: usize = 4;

fn every_one_is_killed(part: usize) {
    let mine = mutants().filter(|mutant| !mutant.breaks.is_empty()).skip(part).step_by(PARTS);
    let found: Vec<_> = mine.filter_map(|mutant| Judged::objection(&judge(mutant, Checks::Named))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_mutant_is_killed_by_the_rules_that_it_names_part_1() {
    every_one_is_killed(0);
}

#[test]
fn every_mutant_is_killed_by_the_rules_that_it_names_part_2() {
    every_one_is_killed(1);
}

#[test]
fn every_mutant_is_killed_by_the_rules_that_it_names_part_3() {
    every_one_is_killed(2);
}

#[test]
fn every_mutant_is_killed_by_the_rules_that_it_names_part_4() {
    every_one_is_killed(3);
}
