//! The matrix is complete and consistent.

use std::collections::BTreeSet;

use super::mutants;
use crate::mutants::InjectedFault;
use crate::scenario::Tier;

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = mutants().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), mutants().count());
}

#[test]
fn every_mutant_names_a_rule_that_checks_or_guests_must_find_broken() {
    let aimless = mutants().find(|mutant| mutant.breaks.is_empty() && mutant.on_guests.is_empty());
    assert!(aimless.is_none(), "{:?}", aimless.map(|mutant| mutant.name));
    let aimless = mutants().flat_map(|mutant| mutant.on_guests).find(|run| run.breaks.is_empty());
    assert!(aimless.is_none(), "{aimless:?}");
}

#[test]
fn the_matrix_has_many_mutants_of_many_classes() {
    let classes: BTreeSet<_> = mutants().map(|mutant| mutant.class).collect();
    let on_guests = mutants().flat_map(|mutant| mutant.on_guests).count();
    assert!(mutants().count() >= 80 && classes.len() >= 15 && on_guests >= 20);
}

#[test]
fn every_run_on_guests_is_of_a_scenario_that_exists_at_an_edge_that_it_has() {
    let scenarios = crate::real::scenarios().expect("scenarios.toml is well formed");
    for mutant in mutants() {
        for run in mutant.on_guests {
            let scenario = scenarios.iter().find(|scenario| scenario.name == run.scenario);
            let scenario =
                scenario.unwrap_or_else(|| panic!("{}: no scenario {}", mutant.name, run.scenario));
            assert_eq!(scenario.tier, Tier::Real);
            let text = run.edge.map_or(mutant.name.to_owned(), |edge| format!("{}@{edge}", mutant.name));
            let fault = InjectedFault::for_edges(Some(&text), &scenario.edges);
            assert!(fault.is_ok(), "{:?}", fault.err());
        }
    }
}
