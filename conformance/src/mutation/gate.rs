//! Every guarantee that is judged in memory is broken by a mutant, or excused in writing.

use std::collections::BTreeSet;

use crate::mutants::mutants;
use crate::rules::{Class, RuleId};
use crate::sim;

/// Guarantees that no mutant breaks in memory, each with the reason.
const EXCUSED: &[(RuleId, &str)] = &[];

/// The guarantees that are judged in memory, that no mutant names and that are not excused.
pub(super) fn gaps() -> Vec<String> {
    let named: BTreeSet<RuleId> = mutants().flat_map(|mutant| mutant.breaks).copied().collect();
    let excused: BTreeSet<RuleId> = EXCUSED.iter().map(|(rule, _)| *rule).collect();
    let judged: BTreeSet<RuleId> = sim::checks().flat_map(|check| check.rules).copied().collect();
    let guarantees = judged.into_iter().filter(|rule| rule.rule().class == Class::Guarantee);
    let left = guarantees.filter(|rule| !named.contains(rule) && !excused.contains(rule));
    left.map(|rule| format!("{rule}: no mutant breaks this guarantee")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guarantee_that_is_judged_in_memory_is_broken_by_a_mutant_or_excused() {
        assert_eq!(gaps(), Vec::<String>::new());
    }

    #[test]
    fn an_excuse_has_a_reason_and_ends_when_a_mutant_breaks_the_rule() {
        for (rule, reason) in EXCUSED {
            assert!(!reason.is_empty());
            let broken_by = mutants().find(|mutant| mutant.breaks.contains(rule));
            assert!(broken_by.is_none(), "{rule} is broken by {:?}", broken_by.map(|mutant| mutant.name));
        }
    }
}
