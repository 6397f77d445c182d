//! Whether the simulated tier rejects the core, with the first reason only: for judging many cores.

use anyhow::Result;
use serde::Serialize;

use crate::core_under_test::FaultInjection;
use crate::mutants::InjectedFault;
use crate::outcome::{RuleOutcome, Verdict};
use crate::rules::{RuleId, Score};
use crate::scenario::{self, Scenario};
use crate::sim::{runner, seeded_cycles, time_limit};

/// What the simulated tier says about a core, up to the first broken rule.
#[derive(Debug, Serialize)]
pub struct FirstFailure {
    /// Fail with the first broken rule, or else the worst verdict.
    pub verdict: Verdict,
    /// The rule that is broken, or of which nothing can be said.
    pub rule: Option<RuleId>,
    /// What was found.
    pub found: String,
    /// Whether a simulation came to no end.
    pub abandoned: bool,
    /// The first advice that is not followed, or limit that is not as documented. Neither decides
    /// the verdict, but a report shows both.
    pub noted: Option<Noted>,
}

/// A finding that does not decide a verdict.
#[derive(Debug, Serialize)]
pub struct Noted {
    /// The rule.
    pub rule: RuleId,
    /// What was found.
    pub found: String,
}

/// Judges the core under test by what the simulated tier consists of, and stops at the first broken
/// rule: a cycle of each scenario, every check, then the scenarios' other cycles.
///
/// # Errors
/// The scenarios cannot be read.
pub fn first_failure(seed: u64, seeds: u64) -> Result<FirstFailure> {
    let scenarios = scenario::all()?;
    let cycles: Vec<_> = scenarios.iter().filter(|scenario| scenario.script == "sim-cycle").collect();
    let mut worst = FirstFailure::default();
    let first = cycles.iter().map(|scenario| (*scenario, seed));
    let others = (seed + 1..seed + seeds).flat_map(|seed| cycles.iter().map(move |one| (*one, seed)));
    let cycle =
        |(scenario, seed): (&Scenario, u64)| seeded_cycles::judge_scenario(seed, scenario, unchanged());
    let checks = runner::every_check(seed, &unchanged).map(Ok);
    for outcomes in first.map(cycle).chain(checks).chain(others.map(cycle)) {
        match outcomes? {
            Some(outcomes) => outcomes.into_iter().for_each(|rule| worst.note(rule)),
            None => worst.abandon(),
        }
        if worst.verdict == Verdict::Fail || worst.abandoned {
            break;
        }
    }
    Ok(worst)
}

fn unchanged() -> Box<dyn FaultInjection> {
    Box::new(InjectedFault::default())
}

impl Default for FirstFailure {
    fn default() -> Self {
        Self { verdict: Verdict::Skipped, rule: None, found: String::new(), abandoned: false, noted: None }
    }
}

impl FirstFailure {
    /// Takes into account that a simulation came to no end.
    fn abandon(&mut self) {
        self.abandoned = true;
        if self.verdict < Verdict::Unknown {
            (self.verdict, self.found) = (Verdict::Unknown, time_limit::why());
        }
    }

    /// Takes a rule's outcome into account; the first of the worst ones stays.
    fn note(&mut self, rule: RuleOutcome) {
        let verdict = rule.score.verdict();
        if matches!(rule.score, Score::NotFollowed | Score::DiffersFromLimit) {
            self.noted.get_or_insert(Noted { rule: rule.id, found: rule.found.clone() });
        }
        if verdict > self.verdict {
            self.verdict = verdict;
            if verdict > Verdict::Pass {
                (self.rule, self.found) = (Some(rule.id), rule.found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleLog;
    use crate::rules::ids::{FO_04, FX_11, LC_14};

    #[test]
    fn a_broken_rule_outweighs_one_of_which_nothing_can_be_said() {
        let mut worst = FirstFailure::default();
        let mut log = RuleLog::simulated();
        log.check(LC_14, true, "refused");
        log.into_outcomes().into_iter().for_each(|rule| worst.note(rule));
        assert_eq!((worst.verdict, worst.rule), (Verdict::Pass, None));
        let mut log = RuleLog::simulated();
        log.unknown(LC_14, "not looked at");
        log.check(FO_04, false, "3 points");
        log.into_outcomes().into_iter().for_each(|rule| worst.note(rule));
        assert_eq!((worst.verdict, worst.rule, &*worst.found), (Verdict::Fail, Some(FO_04), "3 points"));
    }

    #[test]
    fn advice_that_is_not_followed_is_noted_beside_the_verdict() {
        let mut worst = FirstFailure::default();
        let mut log = RuleLog::simulated();
        log.check(FX_11, false, "the site does not answer");
        log.check(LC_14, true, "refused");
        log.into_outcomes().into_iter().for_each(|rule| worst.note(rule));
        assert_eq!((worst.verdict, worst.rule), (Verdict::Pass, None));
        assert_eq!(worst.noted.map(|noted| noted.rule), Some(FX_11));
    }

    #[test]
    fn the_built_in_core_is_not_rejected() {
        let found = first_failure(7, 1).expect("the scenarios");
        assert_eq!(found.verdict, Verdict::Pass, "{found:?}");
        assert!(found.noted.is_none(), "{found:?}");
    }
}
