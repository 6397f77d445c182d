//! What a scenario or a check has found out about rules so far.

use super::{RuleId, Score};
use crate::outcome::{RuleOutcome, Verdict};
use crate::scenario::Tier;

/// The rules that were judged so far. A rule may be judged more than once; its worst outcome
/// counts.
#[derive(Clone, Debug)]
pub struct RuleLog {
    tier: Tier,
    outcomes: Vec<RuleOutcome>,
    /// Rules that do not apply to what the core did.
    left_out: Vec<RuleId>,
}

impl Default for RuleLog {
    fn default() -> Self {
        Self { tier: Tier::Real, outcomes: Vec::new(), left_out: Vec::new() }
    }
}

impl RuleLog {
    /// A log of the simulated tier.
    #[must_use]
    pub fn simulated() -> Self {
        Self { tier: Tier::Sim, outcomes: Vec::new(), left_out: Vec::new() }
    }

    /// Records whether a rule held, and what was found. What was expected is the catalogue's
    /// evidence for the rule.
    pub fn check(&mut self, id: RuleId, held: bool, found: impl Into<String>) {
        self.add(RuleOutcome::new(id, self.tier, verdict_of(held), found));
    }

    /// Records whether a rule held for a check that expects something more particular than the
    /// catalogue says.
    pub fn check_for(&mut self, id: RuleId, held: bool, expected: &str, found: impl Into<String>) {
        let outcome = RuleOutcome::new(id, self.tier, verdict_of(held), found);
        self.add(RuleOutcome { expected: expected.to_owned(), ..outcome });
    }

    /// Records that nothing can be said about a rule.
    pub fn unknown(&mut self, id: RuleId, why: impl Into<String>) {
        self.add(RuleOutcome::new(id, self.tier, Verdict::Unknown, why));
    }

    /// Records that the core failed before a rule could be judged, at something that every rule
    /// presupposes. That counts against the core whatever the class of the rule.
    pub fn core_failed(&mut self, id: RuleId, why: impl Into<String>) {
        let outcome = RuleOutcome::new(id, self.tier, Verdict::Fail, why);
        self.add(RuleOutcome { score: Score::Broken, ..outcome });
    }

    /// Records that a rule does not apply to what the core did, which was right. It stays unjudged
    /// here.
    pub fn leave_out(&mut self, id: RuleId) {
        self.left_out.push(id);
    }

    /// Adds an outcome from another log.
    pub fn add(&mut self, outcome: RuleOutcome) {
        match self.outcomes.iter_mut().find(|known| known.id == outcome.id) {
            Some(known) if outcome.severity() > known.severity() => *known = outcome,
            Some(_) => {}
            None => self.outcomes.push(outcome),
        }
    }

    /// Whether a rule was judged, or found not to apply.
    #[must_use]
    pub fn looked_at(&self, id: RuleId) -> bool {
        self.left_out.contains(&id) || self.outcomes.iter().any(|rule| rule.id == id)
    }

    /// The first rule that did not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&RuleOutcome> {
        self.outcomes.iter().find(|rule| rule.verdict == Verdict::Fail)
    }

    /// All outcomes, ordered by the rules' ids.
    #[must_use]
    pub fn into_outcomes(mut self) -> Vec<RuleOutcome> {
        self.outcomes.sort_by_key(|rule| rule.id);
        self.outcomes
    }
}

fn verdict_of(held: bool) -> Verdict {
    if held { Verdict::Pass } else { Verdict::Fail }
}

#[cfg(test)]
mod tests {
    use super::super::ids::{FO_04, LC_14, TF_10};
    use super::*;

    #[test]
    fn the_worst_outcome_of_a_rule_counts() {
        let mut log = RuleLog::default();
        log.check(FO_04, true, "first");
        log.check(FO_04, false, "second");
        log.check(FO_04, true, "third");
        assert_eq!(log.broken().map(|rule| rule.found.as_str()), Some("second"));
        assert_eq!(log.into_outcomes().len(), 1);
    }

    #[test]
    fn a_core_that_fails_before_a_limitation_is_judged_fails_the_run() {
        let mut log = RuleLog::default();
        log.check(LC_14, false, "accepted");
        log.core_failed(LC_14, "the failover failed");
        let outcomes = log.into_outcomes();
        assert_eq!((outcomes[0].score, outcomes[0].found.as_str()), (Score::Broken, "the failover failed"));
    }

    #[test]
    fn advice_that_is_not_followed_stays_so_when_the_check_ends_early() {
        let mut log = RuleLog::simulated();
        log.check(TF_10, false, "no script ran");
        log.unknown(TF_10, "the check ended early");
        let outcome = &log.into_outcomes()[0];
        assert_eq!((outcome.verdict, outcome.score), (Verdict::Fail, Score::NotFollowed));
    }

    #[test]
    fn a_check_can_say_what_it_expects() {
        let mut log = RuleLog::default();
        log.check(FO_04, true, "0 points");
        assert_eq!(log.clone().into_outcomes()[0].expected, FO_04.rule().evidence);
        log.check_for(FO_04, false, "no file of a point", "3 files");
        assert_eq!(log.into_outcomes()[0].expected, "no file of a point");
    }
}
