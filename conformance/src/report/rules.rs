//! The rules of a run, grouped as reports show them.

use std::collections::BTreeMap;

use crate::outcome::{Results, RuleOutcome};
use crate::rules::{Class, RuleId, Score};

/// Every rule that a run judged, once, with its worst outcome over both tiers.
pub(crate) struct JudgedRules<'a>(Vec<&'a RuleOutcome>);

impl<'a> JudgedRules<'a> {
    pub(crate) fn of(results: &'a Results) -> Self {
        let mut worst: BTreeMap<RuleId, &RuleOutcome> = BTreeMap::new();
        for outcome in &results.rules {
            let known = worst.entry(outcome.id).or_insert(outcome);
            if outcome.severity() > known.severity() {
                *known = outcome;
            }
        }
        Self(worst.into_values().collect())
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a RuleOutcome> {
        self.0.iter().copied()
    }

    /// The outcome of a rule, if the run judged it.
    pub(super) fn outcome(&self, id: RuleId) -> Option<&'a RuleOutcome> {
        self.all().find(|outcome| outcome.id == id)
    }

    /// The rules that decide the verdict: guarantees, and those about stand-ins.
    pub(super) fn deciding(&self) -> impl Iterator<Item = &'a RuleOutcome> {
        self.of_class(|class| matches!(class, Class::Guarantee | Class::StandIn))
    }

    /// The documented limits of the product.
    pub(super) fn limitations(&self) -> impl Iterator<Item = &'a RuleOutcome> {
        self.of_class(|class| class == Class::Limitation)
    }

    /// Advice.
    pub(super) fn advice(&self) -> impl Iterator<Item = &'a RuleOutcome> {
        self.of_class(|class| class == Class::Advice)
    }

    /// All rules with one of these scores, by id.
    pub(super) fn scored(&self, scores: &[Score]) -> impl Iterator<Item = &'a RuleOutcome> {
        self.0.iter().copied().filter(|rule| scores.contains(&rule.score))
    }

    /// The ids of the rules that were skipped, by the capability that they need.
    pub(super) fn skipped(&self) -> BTreeMap<&'a str, Vec<String>> {
        let mut skipped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for rule in self.scored(&[Score::Skipped]) {
            let capability = rule.needs.as_deref().unwrap_or_default();
            skipped.entry(capability).or_default().push(rule.id.to_string());
        }
        skipped
    }

    fn of_class(&self, wanted: impl Fn(Class) -> bool) -> impl Iterator<Item = &'a RuleOutcome> {
        self.0.iter().copied().filter(move |rule| wanted(rule.class))
    }
}

/// How many of these rules have a score.
pub(super) fn count<'a>(rules: impl Iterator<Item = &'a RuleOutcome>, score: Score) -> usize {
    rules.filter(|rule| rule.score == score).count()
}
