//! The rules, and what a run found of them.
//!
//! - [`catalogue()`]: every rule, from `conformance/rules.toml`
//! - [`ids`]: a constant for each
//! - [`RuleLog`]: what a scenario or a check found

mod catalogue;

pub use catalogue::{Class, Rule, RuleId, Source, catalogue, ids};

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

    /// Records whether a rule held, and what was found.
    pub fn check(&mut self, id: RuleId, held: bool, found: impl Into<String>) {
        let verdict = if held { Verdict::Pass } else { Verdict::Fail };
        self.add(RuleOutcome { id, tier: self.tier.to_owned(), verdict, found: found.into() });
    }

    /// Records that nothing can be said of a rule.
    pub fn unknown(&mut self, id: RuleId, why: impl Into<String>) {
        let verdict = Verdict::Unknown;
        self.add(RuleOutcome { id, tier: self.tier.to_owned(), verdict, found: why.into() });
    }

    /// Takes over what was found elsewhere.
    pub fn add(&mut self, found: RuleOutcome) {
        match self.found.iter_mut().find(|rule| rule.id == found.id) {
            Some(rule) if found.verdict > rule.verdict => *rule = found,
            Some(_) => {}
            None => self.found.push(found),
        }
    }

    /// Whether a rule was looked at.
    #[must_use]
    pub fn looked_at(&self, id: RuleId) -> bool {
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
        self.found.sort_by_key(|rule| rule.id);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::ids::FO_04;
    use super::*;

    #[test]
    fn a_rule_once_broken_stays_broken() {
        let mut log = RuleLog::default();
        log.check(FO_04, true, "first");
        log.check(FO_04, false, "second");
        log.check(FO_04, true, "third");
        assert_eq!(log.broken().map(|rule| rule.found.as_str()), Some("second"));
        assert_eq!(log.into_outcomes().len(), 1);
    }
}
