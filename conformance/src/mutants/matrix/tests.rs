//! Every mutant of the matrix is caught by the rules that it names.

use std::collections::BTreeSet;

use super::*;
use crate::mutants::InjectedFault;
use crate::sim;

/// Which rules of a mutant no check in memory finds broken by an assertion of the rule, and
/// whether the mutant never altered anything.
fn objections(mutant: &Mutant) -> Option<String> {
    let fault = InjectedFault::parse(mutant.name).expect(mutant.name);
    let found = sim::run_checks_for(mutant.breaks, &fault, 7);
    let missed: Vec<_> = mutant.breaks.iter().filter(|rule| !found.broken.contains(rule)).collect();
    if !missed.is_empty() {
        let Mutant { name, .. } = mutant;
        return Some(format!(
            "{name}: no assertion finds {missed:?} broken, but {:?}; ended early: {:?}",
            found.broken, found.ended_early
        ));
    }
    let idle = fault.is_idle() && !mutant.breaks.is_empty();
    idle.then(|| format!("{}: the mutant was never activated", mutant.name))
}

/// Every mutant whose place in the list is `part` modulo 4, so that tests can run side by side.
fn every_one_is_caught(part: usize) {
    let mine = mutants().skip(part).step_by(4);
    let found: Vec<_> = mine.filter_map(objections).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_mutant_is_caught_by_the_rules_that_it_names_part_1() {
    every_one_is_caught(0);
}

#[test]
fn every_mutant_is_caught_by_the_rules_that_it_names_part_2() {
    every_one_is_caught(1);
}

#[test]
fn every_mutant_is_caught_by_the_rules_that_it_names_part_3() {
    every_one_is_caught(2);
}

#[test]
fn every_mutant_is_caught_by_the_rules_that_it_names_part_4() {
    every_one_is_caught(3);
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = mutants().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), mutants().count());
}

#[test]
fn every_mutant_that_needs_no_hook_breaks_a_rule() {
    let idle = mutants().find(|mutant| !mutant.needs_hook() && mutant.breaks.is_empty());
    assert!(idle.is_none(), "{:?}", idle.map(|mutant| mutant.name));
}
