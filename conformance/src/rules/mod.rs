//! Checks of catalogue rules on the way through a scenario.

use crate::outcome::{RuleOutcome, Verdict};

/// The rules looked at so far. A rule may be looked at more than once; its worst verdict counts.
#[derive(Clone, Debug)]
pub struct RuleLog {
    tier: &'static str,
    found: Vec<RuleOutcome>,
}

impl Default for RuleLog {
    fn default() -> Self {
        Self { tier: "real", found: Vec::new() }
    }
}

impl RuleLog {
    /// For rules looked at in memory.
    #[must_use]
    pub fn simulated() -> Self {
        Self { tier: "sim", found: Vec::new() }
    }

    /// Records whether rule `id` held, and what was found.
    pub fn expect(&mut self, id: &str, held: bool, found: impl Into<String>) {
        let verdict = if held { Verdict::Pass } else { Verdict::Fail };
        let (id, why, tier) = (id.to_owned(), found.into(), self.tier.to_owned());
        self.add(RuleOutcome { id, tier, verdict, why });
    }

    /// Takes over what was found elsewhere.
    pub fn add(&mut self, found: RuleOutcome) {
        match self.found.iter_mut().find(|rule| rule.id == found.id) {
            Some(rule) if found.verdict > rule.verdict => *rule = found,
            Some(_) => {}
            None => self.found.push(found),
        }
    }

    /// Records that nothing can be said of a rule.
    pub fn unknown(&mut self, id: &str, why: impl Into<String>) {
        let (id, tier) = (id.to_owned(), self.tier.to_owned());
        self.add(RuleOutcome { id, tier, verdict: Verdict::Unknown, why: why.into() });
    }

    /// Whether a rule was looked at.
    #[must_use]
    pub fn looked_at(&self, id: &str) -> bool {
        self.found.iter().any(|rule| rule.id == id)
    }

    /// The first rule that was broken.
    #[must_use]
    pub fn broken(&self) -> Option<&RuleOutcome> {
        self.found.iter().find(|rule| rule.verdict == Verdict::Fail)
    }

    /// All rules, by id.
    #[must_use]
    pub fn into_outcomes(mut self) -> Vec<RuleOutcome> {
        self.found.sort_by(|a, b| a.id.cmp(&b.id));
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_once_broken_stays_broken() {
        let mut log = RuleLog::default();
        log.expect("FO-04", true, "first");
        log.expect("FO-04", false, "second");
        log.expect("FO-04", true, "third");
        assert_eq!(log.broken().map(|rule| rule.why.as_str()), Some("second"));
        assert_eq!(log.into_outcomes().len(), 1);
    }
}
